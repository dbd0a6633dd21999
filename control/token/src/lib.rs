//! UserSig and PrivateMapKey: parse, verify, make.
//!
//! A token proves that the operator of an app let one user in until a point in time; a
//! PrivateMapKey (here: ticket) further names one room and what the user may do in it. Both are
//! made by the app's own server with the official libraries, and interoperating with those is a
//! promise: every reading below is held by vectors they made.
//!
//! This crate is pure: `now`, secrets and what is expected are arguments; it has no clock, no I/O
//! and no randomness. It must never answer "valid" before the MAC over the literal strings was
//! compared in constant time, and never put a secret or a token into an error.
//!
//! The way of a token, cheapest check first: length, base64, zlib (capped while inflating), JSON
//! (flat, strict), MAC, version, user, app, times, and for a ticket the binary inside. What the
//! format leaves open is decided so:
//!
//! | question | decision |
//! |---|---|
//! | unknown JSON fields | refused: no official library writes any, and the MAC covers none |
//! | `TLS.ver` | must be `2.0`, though the MAC does not cover it |
//! | integers | plain decimals up to 2^53 - 1, what every issuer's language holds exactly |
//! | a UserSig with an opaque userbuf | accepted (the format has it), the userbuf unread |
//! | a PrivateMapKey shown as a UserSig | refused: it would open rooms it does not name |
//! | line breaks in the userbuf's base64 | accepted where MIME puts them (an older Java library) |
//! | a ticket for the string room `""` (npm: cVer 1, length 0; others: number 0) | refused: it names no room |
//! | `dwAccountType` | must be 0, all that the official libraries write |
//! | privilege bits above the eight | refused |
//!
//! Start reading at [`verify`]; the envelope is in `envelope.rs`, the ticket in `ticket.rs`.
#![forbid(unsafe_code)]

mod encoding;
mod envelope;
mod explain;
pub mod fuzzing;
mod inflate;
mod json;
pub mod limits;
mod make;
mod mask;
mod privileges;
mod refusal;
mod room;
mod secret;
mod ticket;
mod user;
mod verify;

pub use envelope::UserSig;
pub use explain::Explanation;
pub use make::{MakeError, make_private_map_key, make_user_sig, make_user_sig_with_userbuf};
pub use mask::mask;
pub use privileges::{Privileges, UnknownPrivilege};
pub use refusal::{Refusal, RefusalClass};
pub use room::{RoomError, RoomId};
pub use secret::{AppKeys, AppKeysError, Secret, SecretError};
pub use ticket::{PrivateMapKey, TicketRoom};
pub use user::{UserError, UserId};
pub use verify::{
    Check, Entry, EntryRequest, Verified, split_bearer, verify_entry, verify_private_map_key,
    verify_user_sig,
};
