//! Who asks: the bearer credential in its three forms, and what its tokens allow.

use axum::http::{HeaderMap, header};
use proto::Privileges;
use token::{EntryRequest, RoomId, UserId, split_bearer, verify_entry};

use crate::api::AppAccess;
use crate::problem::{Code, Problem};

/// The header for a PrivateMapKey, where it does not follow the UserSig after a dot.
pub const PRIVATE_MAP_KEY: &str = "x-private-map-key";

/// What a request shows.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    user_sig: &'a str,
    private_map_key: Option<&'a str>,
}

impl<'a> Credentials<'a> {
    /// Reads `Authorization: Bearer <UserSig>`, `Bearer <UserSig>.<PrivateMapKey>`, and
    /// `X-Private-Map-Key`.
    ///
    /// # Errors
    /// 401 without a credential; 400 with two, with another scheme, or with two PrivateMapKeys.
    pub fn read(headers: &'a HeaderMap) -> Result<Self, Problem> {
        let one = |name: &str| -> Result<Option<&'a str>, Problem> {
            let mut values = headers.get_all(name).iter();
            let first = values.next();
            if values.next().is_some() {
                return Err(Code::AuthorizationInvalid.because(format!("{name} stands twice")));
            }
            let text = first.map(|value| value.to_str());
            text.transpose().map_err(|_| Code::AuthorizationInvalid.because("not ASCII"))
        };
        let authorization =
            one(header::AUTHORIZATION.as_str())?.ok_or(Code::AuthorizationMissing)?;
        let (scheme, credential) = authorization.split_once(' ').unwrap_or((authorization, ""));
        let credential = credential.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || credential.contains(' ') {
            return Err(Code::AuthorizationInvalid.into());
        }
        if credential.is_empty() {
            return Err(Code::AuthorizationMissing.into());
        }
        let (user_sig, behind_dot) = split_bearer(credential);
        let private_map_key = match (behind_dot, one(PRIVATE_MAP_KEY)?) {
            (Some(_), Some(_)) => {
                return Err(Code::AuthorizationInvalid.because("two PrivateMapKeys"));
            }
            (behind_dot, in_header) => behind_dot.or(in_header.map(str::trim)),
        };
        Ok(Credentials { user_sig, private_map_key })
    }
}

/// A verified right to be in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Who.
    pub user: UserId,
    /// Rights.
    pub privileges: Privileges,
    /// First second of the monotonic clock at which they end.
    pub deadline_s: u32,
}

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    /// Unix seconds.
    pub unix_s: u64,
    /// Seconds of the monotonic clock.
    pub monotonic_s: u64,
}

impl Clocks {
    /// Now.
    pub fn now() -> Clocks {
        Clocks {
            unix_s: shm::clock::unix_ns() / 1_000_000_000,
            monotonic_s: shm::clock::monotonic_ns() / 1_000_000_000,
        }
    }
}

/// Verifies a request's tokens for `room`.
///
/// # Errors
/// 400, 401 or 403 with the token's own code.
pub fn verify(
    app: &AppAccess,
    credentials: Credentials<'_>,
    room: &RoomId,
    clocks: Clocks,
    skew_s: u64,
) -> Result<Access, Problem> {
    let request = EntryRequest {
        user_sig: credentials.user_sig.as_bytes(),
        private_map_key: credentials.private_map_key.map(str::as_bytes),
        private_map_key_required: app.private_map_key_required,
        room,
        now_unix: clocks.unix_s,
        skew_s,
    };
    let entry = verify_entry(&request, &app.keys)?;
    // The last valid second passes, and so do those that the skew gives.
    let left_s = entry.expires_unix.saturating_add(skew_s + 1).saturating_sub(clocks.unix_s);
    let deadline_s = clocks.monotonic_s.saturating_add(left_s);
    Ok(Access {
        user: entry.user,
        privileges: Privileges(entry.privileges.bits()),
        deadline_s: u32::try_from(deadline_s).unwrap_or(u32::MAX),
    })
}
