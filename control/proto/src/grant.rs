//! What a member may do, in the 64 bits that are checked on every packet.

use bincode::{Decode, Encode};

/// The eight privilege bits of a PrivateMapKey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Privileges(pub u8);

impl Privileges {
    /// May create the room by entering it first.
    pub const CREATE_ROOM: u8 = 1;
    /// May enter the room.
    pub const ENTER_ROOM: u8 = 2;
    /// May send audio.
    pub const SEND_AUDIO: u8 = 4;
    /// May receive audio.
    pub const RECEIVE_AUDIO: u8 = 8;
    /// May send camera video.
    pub const SEND_VIDEO: u8 = 16;
    /// May receive camera video.
    pub const RECEIVE_VIDEO: u8 = 32;
    /// May send the substream (screen).
    pub const SEND_SUBSTREAM: u8 = 64;
    /// May receive the substream.
    pub const RECEIVE_SUBSTREAM: u8 = 128;
    /// All eight.
    pub const ALL: Privileges = Privileges(255);

    /// Whether every bit of `bits` is there.
    pub const fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }
}

/// What a stream carries; the right to send and to receive it follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Encode, Decode)]
#[repr(u8)]
pub enum MediaKind {
    /// Sound.
    #[default]
    Audio,
    /// The camera.
    Video,
    /// The one screen share of a room.
    Substream,
}

impl MediaKind {
    /// The privilege bit for sending it.
    pub const fn send_bit(self) -> u8 {
        match self {
            MediaKind::Audio => Privileges::SEND_AUDIO,
            MediaKind::Video => Privileges::SEND_VIDEO,
            MediaKind::Substream => Privileges::SEND_SUBSTREAM,
        }
    }

    /// The privilege bit for receiving it.
    pub const fn receive_bit(self) -> u8 {
        self.send_bit() << 1
    }

    /// `audio`, `video`, `substream`.
    pub const fn name(self) -> &'static str {
        match self {
            MediaKind::Audio => "audio",
            MediaKind::Video => "video",
            MediaKind::Substream => "substream",
        }
    }
}

/// Deadline (32 bits, whole seconds of the host's monotonic clock), room epoch (24), privileges (8).
///
/// A packet passes when the deadline lies ahead, the epoch is the room's, and the bit of its kind is set.
/// The zero word lets nothing pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct GrantWord(pub u64);

/// Why a grant word let nothing pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantRefusal {
    /// The deadline has passed.
    Expired,
    /// The room's epoch moved on, or the session was kicked.
    Revoked,
    /// The privilege bit is missing.
    NoRight,
}

impl GrantWord {
    /// Packs the parts; `epoch` uses its low 24 bits.
    pub const fn new(deadline_s: u32, epoch: u32, privileges: Privileges) -> Self {
        GrantWord(
            (deadline_s as u64) << 32 | ((epoch & 0xff_ffff) as u64) << 8 | privileges.0 as u64,
        )
    }

    /// First second of the monotonic clock at which nothing passes any more.
    pub const fn deadline_s(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The room epoch it belongs to.
    pub const fn epoch(self) -> u32 {
        (self.0 >> 8) as u32 & 0xff_ffff
    }

    /// The privilege bits.
    pub const fn privileges(self) -> Privileges {
        Privileges(self.0 as u8)
    }

    /// Checks one packet: `now_s` in seconds of the monotonic clock, the room's epoch, the bit needed.
    #[inline]
    pub const fn check(self, now_s: u64, epoch: u32, bit: u8) -> Result<(), GrantRefusal> {
        let holds = self.epoch() == epoch & 0xff_ffff && self.privileges().has(bit);
        if holds && now_s < self.deadline_s() as u64 {
            Ok(())
        } else {
            Err(self.refusal(now_s, epoch))
        }
    }

    /// Why a packet does not pass: out of line, since nearly all do.
    #[cold]
    const fn refusal(self, now_s: u64, epoch: u32) -> GrantRefusal {
        if self.0 == 0 || self.epoch() != epoch & 0xff_ffff {
            return GrantRefusal::Revoked;
        }
        if now_s >= self.deadline_s() as u64 {
            return GrantRefusal::Expired;
        }
        GrantRefusal::NoRight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_keeps_its_parts_and_each_can_refuse() {
        let word = GrantWord::new(100, 0xabcdef, Privileges(Privileges::SEND_AUDIO));
        assert_eq!((word.deadline_s(), word.epoch(), word.privileges().0), (100, 0xabcdef, 4));
        assert_eq!(word.check(99, 0xabcdef, 4), Ok(()));
        assert_eq!(word.check(100, 0xabcdef, 4), Err(GrantRefusal::Expired));
        assert_eq!(word.check(99, 0xabcdee, 4), Err(GrantRefusal::Revoked));
        assert_eq!(word.check(99, 0xabcdef, 16), Err(GrantRefusal::NoRight));
        assert_eq!(GrantWord(0).check(0, 0, 0), Err(GrantRefusal::Revoked));
    }

    #[test]
    fn receive_bit_follows_send_bit() {
        assert_eq!(MediaKind::Audio.receive_bit(), Privileges::RECEIVE_AUDIO);
        assert_eq!(MediaKind::Video.receive_bit(), Privileges::RECEIVE_VIDEO);
        assert_eq!(MediaKind::Substream.receive_bit(), Privileges::RECEIVE_SUBSTREAM);
    }
}
