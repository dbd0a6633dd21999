//! The room id: a number or a string, never both.

use std::fmt;

use crate::limits::ROOM_TEXT_MAX_BYTES;
use crate::mask::mask;

/// A room within an app. Number 123 and string "123" are different rooms. `Debug` masks names.
///
/// Built by [`RoomId::number`] and [`RoomId::text`], which check; whoever builds a variant
/// directly calls [`RoomId::check`]. Verifying never returns an illegal one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RoomId {
    /// A numeric room, 1 to 4294967295. (The web client stops one below; the documents do not.)
    Number(u32),
    /// A string room: 1 to 64 bytes of the permitted alphabet.
    Text(String),
}

/// Why something is not a room id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// Zero or above 4294967295.
    #[error("a room number is 1 to 4294967295")]
    Number,
    /// Empty or longer than 64 bytes.
    #[error("a room name is 1 to 64 bytes long")]
    Length,
    /// A character outside the permitted alphabet.
    #[error(
        "a room name consists of A-Z a-z 0-9, space and ! # $ % & ( ) + - : ; < = . > ? @ [ ] ^ _ {{ }} | ~ ,"
    )]
    Alphabet,
}

impl RoomId {
    /// A numeric room.
    pub fn number(number: u64) -> Result<RoomId, RoomError> {
        match u32::try_from(number) {
            Ok(number) if number != 0 => Ok(RoomId::Number(number)),
            _ => Err(RoomError::Number),
        }
    }

    /// A string room.
    pub fn text(name: &str) -> Result<RoomId, RoomError> {
        if name.is_empty() || name.len() > ROOM_TEXT_MAX_BYTES {
            return Err(RoomError::Length);
        }
        if !name.bytes().all(is_room_byte) {
            return Err(RoomError::Alphabet);
        }
        Ok(RoomId::Text(name.to_owned()))
    }

    /// Whether this is a legal room, however it was built.
    pub fn check(&self) -> Result<(), RoomError> {
        match self {
            RoomId::Number(number) => RoomId::number(u64::from(*number)).map(drop),
            RoomId::Text(name) => RoomId::text(name).map(drop),
        }
    }

    /// The masked form, for people. Numbers are names as well.
    pub fn masked(&self) -> String {
        match self {
            RoomId::Number(number) => mask(&number.to_string()),
            RoomId::Text(name) => mask(name),
        }
    }
}

const fn is_room_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b' ' | b'!' | b'#' | b'$' | b'%' | b'&' | b'(' | b')' | b'+' | b'-' | b':' | b';'
        )
        || matches!(
            byte,
            b'<' | b'=' | b'.' | b'>' | b'?' | b'@' | b'[' | b']' | b'^' | b'_' | b'{' | b'}'
        )
        || matches!(byte, b'|' | b'~' | b',')
}

impl fmt::Debug for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            RoomId::Number(_) => "Number",
            RoomId::Text(_) => "Text",
        };
        write!(f, "{kind}({})", self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_reach_from_one_to_the_largest_u32() {
        assert_eq!(RoomId::number(0), Err(RoomError::Number));
        assert_eq!(RoomId::number(1), Ok(RoomId::Number(1)));
        assert_eq!(RoomId::number(4_294_967_295), Ok(RoomId::Number(u32::MAX)));
        assert_eq!(RoomId::number(4_294_967_296), Err(RoomError::Number));
        assert!(RoomId::Number(0).check().is_err());
    }

    #[test]
    fn names_are_held_to_length_and_alphabet() {
        let documented = " !#$%&()+-:;<=.>?@[]^_{}|~,";
        let permitted: String =
            ('a'..='z').chain('A'..='Z').chain('0'..='9').chain(documented.chars()).collect();
        for byte in 0..=127u8 {
            let name = char::from(byte).to_string();
            assert_eq!(RoomId::text(&name).is_ok(), permitted.contains(&name), "byte {byte}");
        }
        assert_eq!(RoomId::text(""), Err(RoomError::Length));
        assert!(RoomId::text(&"x".repeat(64)).is_ok());
        assert_eq!(RoomId::text(&"x".repeat(65)), Err(RoomError::Length));
        assert_eq!(RoomId::text("Zürich"), Err(RoomError::Alphabet));
    }

    #[test]
    fn a_number_and_its_digits_are_different_rooms() {
        assert_ne!(RoomId::number(8888).unwrap(), RoomId::text("8888").unwrap());
    }
}
