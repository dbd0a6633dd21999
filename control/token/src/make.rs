//! Making tokens: the same content the official libraries write.

use crate::envelope::UserSig;
use crate::limits::INTEGER_MAX;
use crate::privileges::Privileges;
use crate::room::{RoomError, RoomId};
use crate::secret::Secret;
use crate::ticket::PrivateMapKey;
use crate::user::UserId;

/// Why a token cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MakeError {
    /// Issue time plus lifetime leaves the field: 2^53 - 1, or 2^32 - 1 inside a PrivateMapKey.
    #[error("issue time plus lifetime is too far in the future for the token's fields")]
    TooFar,
    /// The room is not legal.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// The userbuf would make the token longer than 1024 bytes.
    #[error("the userbuf makes the token longer than 1024 bytes")]
    TooLong,
}

/// Makes a UserSig for `user` of `app`, issued at `now_unix` and valid for `lifetime_s` seconds.
///
/// # Errors
/// [`MakeError::TooFar`].
pub fn make_user_sig(
    app: u32,
    secret: &Secret,
    user: &UserId,
    now_unix: u64,
    lifetime_s: u64,
) -> Result<String, MakeError> {
    emit(app, secret, user, now_unix, lifetime_s, None)
}

/// Makes a UserSig that carries `userbuf`, which verifiers authenticate and do not read.
///
/// # Errors
/// [`MakeError::TooFar`], [`MakeError::TooLong`].
pub fn make_user_sig_with_userbuf(
    app: u32,
    secret: &Secret,
    user: &UserId,
    now_unix: u64,
    lifetime_s: u64,
    userbuf: &[u8],
) -> Result<String, MakeError> {
    emit(app, secret, user, now_unix, lifetime_s, Some(userbuf))
}

/// Makes a PrivateMapKey: `user` of `app` may use `privileges` in `room` for `lifetime_s` seconds
/// from `now_unix`.
///
/// # Errors
/// [`MakeError::TooFar`], [`MakeError::Room`].
pub fn make_private_map_key(
    app: u32,
    secret: &Secret,
    user: &UserId,
    room: &RoomId,
    privileges: Privileges,
    now_unix: u64,
    lifetime_s: u64,
) -> Result<String, MakeError> {
    room.check()?;
    let expires = now_unix.checked_add(lifetime_s).ok_or(MakeError::TooFar)?;
    let (auth_id, room_text) = match room {
        RoomId::Number(number) => (*number, None),
        RoomId::Text(name) => (0, Some(name.clone().into_bytes())),
    };
    let ticket = PrivateMapKey {
        account: user.as_str().as_bytes().to_vec(),
        app,
        auth_id,
        expires_unix: u32::try_from(expires).map_err(|_| MakeError::TooFar)?,
        privilege_map: u32::from(privileges.bits()),
        account_type: 0,
        room_text,
    };
    emit(app, secret, user, now_unix, lifetime_s, Some(&ticket.emit()))
}

fn emit(
    app: u32,
    secret: &Secret,
    user: &UserId,
    now_unix: u64,
    lifetime_s: u64,
    userbuf: Option<&[u8]>,
) -> Result<String, MakeError> {
    let expires = now_unix.checked_add(lifetime_s).ok_or(MakeError::TooFar)?;
    if expires > INTEGER_MAX {
        return Err(MakeError::TooFar);
    }
    UserSig::sign(user.as_str(), app, now_unix, lifetime_s, userbuf, secret)
        .emit()
        .ok_or(MakeError::TooLong)
}
