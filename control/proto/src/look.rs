//! What a shard tells of one session when it is asked: numbers for whoever looks for the place where
//! media stops. No keys, no names, no addresses.

use bincode::{Decode, Encode};

use crate::{GrantWord, MediaKind, MemberNo, PublicationNo, SlotState};

/// One part of the answer to [`Command::Look`](crate::Command::Look): first the transport, then each
/// stream in, then each slot, then `Done`. Of a session that is not there: `Done` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Look {
    /// The session itself.
    Transport(Transport),
    /// A stream in: all its layers and repairs together.
    Stream {
        /// Which.
        publication: PublicationNo,
        /// Its authentic packets.
        received: u64,
        /// Those that were lost on their way to us, by RFC 3550 A.3.
        lost: u64,
    },
    /// A slot.
    Slot {
        /// Its place in the session.
        place: u8,
        /// What it takes.
        kind: MediaKind,
        /// What it shows.
        state: SlotState,
        /// Only this member's streams, when set.
        publisher: Option<MemberNo>,
        /// RTP packets sent.
        sent: u32,
        /// Packets are kept back until a picture starts.
        awaits_keyframe: bool,
        /// What its subscriber lost of them, by its last report, in 1/256 (RFC 3550 6.4.1).
        fraction_lost: u8,
    },
    /// That was all.
    Done,
}

/// A session's transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Transport {
    /// When it was looked at, in nanoseconds of the monotonic clock.
    pub at_ns: u64,
    /// Rights, epoch and deadline.
    pub grant: GrantWord,
    /// The epoch that its room has.
    pub epoch: u32,
    /// Both key contexts are there.
    pub has_keys: bool,
    /// Its peer's address is known, and the peer wants what is sent there (RFC 7675).
    pub has_path: bool,
    /// It has an ICE agent.
    pub has_ice: bool,
    /// When something authentic arrived last, on the same clock; zero before.
    pub heard_ns: u64,
    /// Accepted packets.
    pub rx_packets: u64,
    /// Failed authentications.
    pub auth_failures: u64,
}
