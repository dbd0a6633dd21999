//! What a shard tells of packets that an operator captures: addresses and headers, never a payload.

use bincode::{Decode, Encode};

use crate::{List, Path, RoomNo, SessionId};

/// Captures of one shard at a time.
pub const CAPTURES_MAX: usize = 4;
/// Packets of one capture at most.
pub const CAPTURE_PACKETS_MAX: u32 = 10_000;
/// Seconds of one capture at most.
pub const CAPTURE_SECONDS_MAX: u32 = 3600;
/// Bytes of the longest header that is told: RTP with fifteen CSRCs and the first word of an extension.
/// Elements of extensions are not: what peers write there may name somebody.
pub const HEAD_MAX: usize = 12 + 15 * 4 + 4;

/// The headers of packets are to be told from now on. A count of zero ends the capture of that number, and
/// of number zero all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct CaptureOrder {
    /// Names it.
    pub capture: u32,
    /// Whose packets.
    pub room: RoomNo,
    /// Only those of this session.
    pub session: Option<SessionId>,
    /// How many on this shard, at most [`CAPTURE_PACKETS_MAX`].
    pub count: u32,
    /// Not after this moment of the monotonic clock, in nanoseconds.
    pub until_ns: u64,
}

/// One record of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Captured {
    /// A packet.
    Packet(Head),
    /// No packet of this capture comes any more from this shard.
    Over {
        /// Which capture.
        capture: u32,
        /// Packets that were not told, since too many events waited.
        skipped: u32,
    },
}

/// The front of a packet, and where it came from or went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Head {
    /// Which capture.
    pub capture: u32,
    /// Whose.
    pub session: SessionId,
    /// It left the node; otherwise it came.
    pub is_sent: bool,
    /// When, in nanoseconds since 1970.
    pub unix_ns: u64,
    /// Both ends, seen from the node.
    pub path: Path,
    /// Bytes of the datagram.
    pub len: u16,
    /// Its first bytes, as far as they are a header.
    pub bytes: List<u8, HEAD_MAX>,
}

/// How many bytes at the front of a datagram are a header that tells nothing of what is behind it: of RTP
/// up to the first word of an extension; of SRTCP its first packet's, with the sender's SSRC; of DTLS the
/// record's; of STUN the message's. Of anything else none.
pub fn head_len(datagram: &[u8]) -> usize {
    let len = match datagram {
        [0..=3, _, ..] => 20,
        [20..=63, _, ..] => 13,
        [128..=191, 192..=223, ..] => 8,
        [first @ 128..=191, _, ..] => {
            12 + usize::from(first & 0x0f) * 4 + usize::from(first >> 4 & 1) * 4
        }
        _ => 0,
    };
    len.min(datagram.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_behind_a_header_is_one() {
        let of = |first: u8, second: u8| {
            let mut datagram = [0; 200];
            (datagram[0], datagram[1]) = (first, second);
            head_len(&datagram)
        };
        assert_eq!((of(0x80, 111), of(0x80, 111 | 0x80)), (12, 12));
        assert_eq!((of(0x82, 111), of(0x90, 111), of(0x9f, 111)), (20, 16, HEAD_MAX));
        assert_eq!((of(0x80, 200), of(0, 1), of(22, 254), of(70, 0)), (8, 20, 13, 0));
        assert_eq!((head_len(&[0x80, 111, 0]), head_len(&[0x80]), head_len(&[])), (3, 0, 0));
        for first in 0..=255 {
            assert!(of(first, 111) <= HEAD_MAX);
        }
    }
}
