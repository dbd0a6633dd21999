//! Numbers by which the data plane knows apps, rooms, members and sessions.
//!
//! Names (user ids, room names) stay in the control plane. Numbers are never reused within one life
//! of a node, except session slots, which carry a generation.

use bincode::{Decode, Encode};

/// A tenant, as it appears in tokens and URLs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode, Default)]
pub struct SdkAppId(pub u32);

/// A shard: the rooms of one core. At most 64 in a node (a `u64` masks them).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode, Default)]
pub struct ShardId(pub u8);

/// A room's number: unique for the life of the control plane's state, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode, Default)]
pub struct RoomNo(pub u64);

/// A user's number within a room: unique, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode, Default)]
pub struct MemberNo(pub u64);

/// A published stream's number, the CSRC of what subscribers receive. Unique on the node while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode, Default)]
pub struct PublicationNo(pub u32);

/// A codec with its parameters, interned by the control plane; equal ids mean forwardable without change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode, Default)]
pub struct CodecId(pub u16);

impl CodecId {
    // Formats, as the upper byte of an id has them; the lower byte has the parameters that must be equal.
    /// RFC 7587.
    pub const OPUS: u8 = 1;
    /// G.711 mu-law.
    pub const PCMU: u8 = 2;
    /// G.711 A-law.
    pub const PCMA: u8 = 3;
    /// G.722.
    pub const G722: u8 = 4;
    /// RFC 7741.
    pub const VP8: u8 = 16;
    /// RFC 9628.
    pub const VP9: u8 = 17;
    /// AV1.
    pub const AV1: u8 = 18;
    /// RFC 6184.
    pub const H264: u8 = 19;
    /// RFC 7798.
    pub const H265: u8 = 20;

    /// From a format and its parameters.
    pub const fn new(format: u8, parameters: u8) -> Self {
        CodecId((format as u16) << 8 | parameters as u16)
    }

    /// The format.
    pub const fn format(self) -> u8 {
        (self.0 >> 8) as u8
    }
}

/// A session: shard (8 bits), slot in the shard's table (24 bits), generation of that slot (16 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode, Default)]
pub struct SessionId(pub u64);

impl SessionId {
    /// Packs the three parts; `slot` uses its low 24 bits.
    pub const fn new(shard: ShardId, slot: u32, generation: u16) -> Self {
        SessionId((shard.0 as u64) << 40 | ((slot & 0xff_ffff) as u64) << 16 | generation as u64)
    }

    /// The shard that owns the session for life.
    pub const fn shard(self) -> ShardId {
        ShardId((self.0 >> 40) as u8)
    }

    /// The index in that shard's session table.
    pub const fn slot(self) -> u32 {
        (self.0 >> 16) as u32 & 0xff_ffff
    }

    /// How often the slot was given out before.
    pub const fn generation(self) -> u16 {
        self.0 as u16
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "s{}-{}-{}", self.shard().0, self.slot(), self.generation())
    }
}

impl std::str::FromStr for SessionId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.strip_prefix('s').ok_or(())?.split('-');
        let mut next = || parts.next().ok_or(());
        let shard = next()?.parse().map_err(|_| ())?;
        let slot: u32 = next()?.parse().map_err(|_| ())?;
        let generation = next()?.parse().map_err(|_| ())?;
        if parts.next().is_some() || slot > 0xff_ffff {
            return Err(());
        }
        Ok(SessionId::new(ShardId(shard), slot, generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_id_keeps_its_parts() {
        let id = SessionId::new(ShardId(63), 0xff_fffe, 0xfffd);
        assert_eq!((id.shard(), id.slot(), id.generation()), (ShardId(63), 0xff_fffe, 0xfffd));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("s1-2".parse::<SessionId>(), Err(()));
        assert_eq!("s1-16777216-0".parse::<SessionId>(), Err(()));
    }
}
