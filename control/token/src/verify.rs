//! Verifying: the MAC first, then every field by itself.

use crate::envelope::UserSig;
use crate::privileges::Privileges;
use crate::refusal::Refusal;
use crate::room::RoomId;
use crate::secret::AppKeys;
use crate::ticket::{PrivateMapKey, resembles_ticket};
use crate::user::UserId;

/// What a token is held against.
#[derive(Debug, Clone, Copy)]
pub struct Check<'a> {
    /// The time, Unix seconds.
    pub now_unix: u64,
    /// How far the issuer's clock may be off, seconds: both ends of the lifetime give way by it.
    pub skew_s: u64,
    /// The user it must be for; `None` takes the token's.
    pub user: Option<&'a str>,
}

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Whom it speaks for.
    pub user: UserId,
    /// The SdkAppId it was made for.
    pub app: u32,
    /// When it was issued, Unix seconds.
    pub issued_unix: u64,
    /// Its last valid second, Unix, without skew; of a PrivateMapKey the earlier of its two.
    pub expires_unix: u64,
    /// The one room it is for: of a PrivateMapKey only.
    pub room: Option<RoomId>,
    /// What it allows: of a PrivateMapKey only.
    pub privileges: Option<Privileges>,
}

/// Verifies a UserSig: its MAC under any of the app's secrets, then version, user, app, times.
///
/// # Errors
/// The first reason found. A token with a PrivateMapKey inside is [`Refusal::NotAUserSig`].
pub fn verify_user_sig(
    token: &[u8],
    keys: &AppKeys,
    check: &Check<'_>,
) -> Result<Verified, Refusal> {
    let (verified, userbuf) = verify_envelope(token, keys, check)?;
    match userbuf {
        Some(bytes) if resembles_ticket(&bytes, verified.user.as_str()) => {
            Err(Refusal::NotAUserSig)
        }
        _ => Ok(verified),
    }
}

/// Verifies a PrivateMapKey: the envelope like a UserSig's, then everything inside it. `room` is
/// the room it must be for; `None` takes the token's, which an entry must never do.
///
/// # Errors
/// The first reason found.
pub fn verify_private_map_key(
    token: &[u8],
    keys: &AppKeys,
    check: &Check<'_>,
    room: Option<&RoomId>,
) -> Result<Verified, Refusal> {
    let (verified, userbuf) = verify_envelope(token, keys, check)?;
    let ticket = PrivateMapKey::parse(&userbuf.ok_or(Refusal::NotAPrivateMapKey)?)?;
    let (named, privileges) =
        ticket.check(verified.user.as_str(), keys.app(), room, check.now_unix, check.skew_s)?;
    Ok(Verified {
        expires_unix: verified.expires_unix.min(ticket.expires_unix.into()),
        room: Some(named),
        privileges: Some(privileges),
        ..verified
    })
}

fn verify_envelope(
    token: &[u8],
    keys: &AppKeys,
    check: &Check<'_>,
) -> Result<(Verified, Option<Vec<u8>>), Refusal> {
    let claims = UserSig::parse(token)?;
    if !claims.is_signed_by(keys) {
        return Err(Refusal::BadSignature);
    }
    if !claims.has_known_version() {
        return Err(Refusal::UnsupportedVersion);
    }
    let user = UserId::new(&claims.identifier).map_err(|_| Refusal::MalformedUser)?;
    if claims.app != u64::from(keys.app()) {
        return Err(Refusal::WrongApp);
    }
    if check.user.is_some_and(|wanted| wanted != user.as_str()) {
        return Err(Refusal::WrongUser);
    }
    let expires_unix = claims.expires_unix().ok_or(Refusal::NumberOutOfRange)?;
    if claims.issued_unix > check.now_unix.saturating_add(check.skew_s) {
        return Err(Refusal::NotYetValid);
    }
    if check.now_unix > expires_unix.saturating_add(check.skew_s) {
        return Err(Refusal::Expired);
    }
    let userbuf = claims.userbuf()?;
    let verified = Verified {
        user,
        app: keys.app(),
        issued_unix: claims.issued_unix,
        expires_unix,
        room: None,
        privileges: None,
    };
    Ok((verified, userbuf))
}

/// Someone at the door: what they showed and where they want to go.
#[derive(Clone, Copy)]
pub struct EntryRequest<'a> {
    /// The UserSig.
    pub user_sig: &'a [u8],
    /// The PrivateMapKey, if one was shown. One that was shown always counts, required or not.
    pub private_map_key: Option<&'a [u8]>,
    /// Whether the app demands a PrivateMapKey ("advanced permission control").
    pub private_map_key_required: bool,
    /// The room asked for.
    pub room: &'a RoomId,
    /// The time, Unix seconds.
    pub now_unix: u64,
    /// How far the issuer's clock may be off, seconds.
    pub skew_s: u64,
}

/// A verified right to enter a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who enters.
    pub user: UserId,
    /// The last second of it, Unix, without skew: the earliest of all expiries shown.
    pub expires_unix: u64,
    /// What they may do there; everything where only a UserSig was due and shown.
    pub privileges: Privileges,
}

/// Verifies what a peer shows on entering a room: the UserSig, and the PrivateMapKey for the same
/// user and this very room.
///
/// # Errors
/// The first reason found, the UserSig's before the PrivateMapKey's.
pub fn verify_entry(request: &EntryRequest<'_>, keys: &AppKeys) -> Result<Entry, Refusal> {
    request.room.check().map_err(|_| Refusal::MalformedRoom)?;
    let check = Check { now_unix: request.now_unix, skew_s: request.skew_s, user: None };
    let user_sig = verify_user_sig(request.user_sig, keys, &check)?;
    let Some(private_map_key) = request.private_map_key else {
        if request.private_map_key_required {
            return Err(Refusal::PrivateMapKeyRequired);
        }
        return Ok(Entry {
            user: user_sig.user,
            expires_unix: user_sig.expires_unix,
            privileges: Privileges::ALL,
        });
    };
    let check = Check { user: Some(user_sig.user.as_str()), ..check };
    let ticket = verify_private_map_key(private_map_key, keys, &check, Some(request.room))?;
    let privileges = ticket.privileges.unwrap_or(Privileges::NONE);
    if !privileges.contains(Privileges::ENTER_ROOM) {
        return Err(Refusal::EnterNotAllowed);
    }
    let expires_unix = user_sig.expires_unix.min(ticket.expires_unix);
    Ok(Entry { user: user_sig.user, expires_unix, privileges })
}

/// Splits a bearer credential into its UserSig and, after a dot, its PrivateMapKey. A dot is in
/// neither alphabet, so a second one stays in the latter and makes it no base64.
pub fn split_bearer(credential: &str) -> (&str, Option<&str>) {
    match credential.split_once('.') {
        Some((user_sig, private_map_key)) => (user_sig, Some(private_map_key)),
        None => (credential, None),
    }
}
