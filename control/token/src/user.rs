//! The user id: who a token speaks for.

use std::fmt;

use crate::limits::USER_MAX_BYTES;
use crate::mask::mask;

/// A legal user id: 1 to 32 bytes of `A-Za-z0-9_-`. `Debug` masks it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(String);

/// The text is not 1 to 32 characters of `A-Za-z0-9_-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user id is 1 to 32 characters of A-Z a-z 0-9 _ -")]
pub struct UserError;

impl UserId {
    /// Checks length and alphabet.
    pub fn new(text: &str) -> Result<UserId, UserError> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if text.is_empty() || text.len() > USER_MAX_BYTES || !text.bytes().all(legal) {
            return Err(UserError);
        }
        Ok(UserId(text.to_owned()))
    }

    /// The id in the clear: for comparing and for the wire, not for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The masked form, for people.
    pub fn masked(&self) -> String {
        mask(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({})", self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids_are_held_to_length_and_alphabet() {
        for good in ["a", "Alice_01-x", &"u".repeat(32)] {
            assert!(UserId::new(good).is_ok(), "{good}");
        }
        for bad in ["", &"u".repeat(33), "a b", "a\n", "a\0", "über", "a.b", "a@b", "a/b"] {
            assert_eq!(UserId::new(bad), Err(UserError), "{bad:?}");
        }
    }

    #[test]
    fn debug_does_not_show_the_user() {
        assert_eq!(format!("{:?}", UserId::new("alice").unwrap()), "UserId(a***)");
    }
}
