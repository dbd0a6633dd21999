//! Every limit of this crate, by name.

/// Longest token read, in bytes. Official libraries write at most 524.
pub const TOKEN_MAX_BYTES: usize = 1024;
/// Most bytes a token may inflate to; inflating stops there.
pub const INFLATED_MAX_BYTES: usize = 4096;
/// Longest user id, in bytes.
pub const USER_MAX_BYTES: usize = 32;
/// Longest name of a string room, in bytes.
pub const ROOM_TEXT_MAX_BYTES: usize = 64;
/// Largest integer in a token: 2^53 - 1, exact in every issuer's language.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;
/// Secrets an app may have at once, so that one can be rotated out while others are in use.
pub const SECRETS_PER_APP_MAX: usize = 4;
/// Length of a secret: 64 hexadecimal characters, used as ASCII and never decoded.
pub const SECRET_BYTES: usize = 64;
/// Length of the HMAC-SHA256 in a token, in bytes.
pub const MAC_BYTES: usize = 32;
/// Characters per line where a MIME encoder breaks base64.
pub const MIME_LINE_CHARS: usize = 76;

const _: () = assert!(INFLATED_MAX_BYTES > TOKEN_MAX_BYTES);
const _: () = assert!(INTEGER_MAX.checked_add(INTEGER_MAX).is_some());
