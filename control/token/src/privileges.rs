//! The eight rights a PrivateMapKey can give.

/// What a user may do in a room: the privilege map's eight bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Privileges(u8);

/// A name that is none of [`Privileges::NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "privileges are: all, audience, a number 0 to 255, or a comma list of create_room, enter_room, \
     send_audio, receive_audio, send_video, receive_video, send_substream, receive_substream"
)]
pub struct UnknownPrivilege;

impl Privileges {
    /// No right at all.
    pub const NONE: Privileges = Privileges(0);
    /// Create a room that does not exist yet.
    pub const CREATE_ROOM: Privileges = Privileges(1);
    /// Enter the room.
    pub const ENTER_ROOM: Privileges = Privileges(2);
    /// Send audio.
    pub const SEND_AUDIO: Privileges = Privileges(4);
    /// Receive audio.
    pub const RECEIVE_AUDIO: Privileges = Privileges(8);
    /// Send camera video.
    pub const SEND_VIDEO: Privileges = Privileges(16);
    /// Receive camera video.
    pub const RECEIVE_VIDEO: Privileges = Privileges(32);
    /// Send the substream (screen share).
    pub const SEND_SUBSTREAM: Privileges = Privileges(64);
    /// Receive the substream. Comments in several official libraries say 200; the bit is 128.
    pub const RECEIVE_SUBSTREAM: Privileges = Privileges(128);
    /// Every right: what a UserSig alone gives where no PrivateMapKey is required.
    pub const ALL: Privileges = Privileges(255);
    /// Enter, receive audio, receive video (42).
    pub const AUDIENCE: Privileges = Privileges(42);

    /// The names of the bits, lowest first.
    pub const NAMES: [&str; 8] = [
        "create_room",
        "enter_room",
        "send_audio",
        "receive_audio",
        "send_video",
        "receive_video",
        "send_substream",
        "receive_substream",
    ];

    /// From the bits of the privilege map.
    pub const fn from_bits(bits: u8) -> Privileges {
        Privileges(bits)
    }

    /// The bits of the privilege map.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether every right in `other` is in here.
    pub const fn contains(self, other: Privileges) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of the rights in here, lowest bit first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, name)| name)
    }
}

impl std::ops::BitOr for Privileges {
    type Output = Privileges;

    fn bitor(self, other: Privileges) -> Privileges {
        Privileges(self.0 | other.0)
    }
}

impl std::fmt::Display for Privileges {
    /// The names joined by commas, or `nothing`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.names().collect();
        if names.is_empty() { f.write_str("nothing") } else { f.write_str(&names.join(",")) }
    }
}

impl std::str::FromStr for Privileges {
    type Err = UnknownPrivilege;

    /// Reads `all`, `audience`, a number up to 255 or a comma list of names.
    fn from_str(text: &str) -> Result<Privileges, UnknownPrivilege> {
        match text {
            "all" => return Ok(Privileges::ALL),
            "audience" => return Ok(Privileges::AUDIENCE),
            _ => {}
        }
        if text.bytes().next().is_some_and(|b| b.is_ascii_digit()) {
            return text.parse().map(Privileges).map_err(|_| UnknownPrivilege);
        }
        text.split(',').try_fold(Privileges::NONE, |so_far, name| {
            let bit = Self::NAMES.iter().position(|known| *known == name);
            bit.map(|bit| so_far | Privileges(1 << bit)).ok_or(UnknownPrivilege)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audience_enters_and_receives_only() {
        let names: Vec<_> = Privileges::AUDIENCE.names().collect();
        assert_eq!(names, ["enter_room", "receive_audio", "receive_video"]);
        assert!(!Privileges::AUDIENCE.contains(Privileges::SEND_AUDIO));
    }

    #[test]
    fn every_set_of_bits_survives_its_names() {
        for bits in 1..=255u8 {
            assert_eq!(Privileges(bits).to_string().parse(), Ok(Privileges(bits)));
            assert_eq!(bits.to_string().parse(), Ok(Privileges(bits)));
        }
        assert_eq!("all".parse(), Ok(Privileges::ALL));
        for bad in ["", "256", "-1", "1.0", "fly", "send_audio,", "ALL", "send_audio fly"] {
            assert_eq!(bad.parse::<Privileges>(), Err(UnknownPrivilege), "{bad:?}");
        }
    }
}
