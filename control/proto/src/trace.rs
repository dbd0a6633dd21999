//! What a shard tells of the packets that it traces: headers and decisions, never a payload.

use bincode::{Decode, Encode};

use crate::{RoomNo, SessionId};

/// Packets of one trace at most.
pub const TRACE_PACKETS_MAX: u16 = 1000;
/// Copies of one packet that are told at most.
pub const TRACE_COPIES_MAX: u8 = 16;

/// The next packets of a room are to be told. A count of zero ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct TraceOrder {
    /// Whose packets.
    pub room: RoomNo,
    /// How many on this shard, at most [`TRACE_PACKETS_MAX`].
    pub count: u16,
    /// Only packets that were dropped, or a copy of which was.
    pub drops_only: bool,
}

/// How a packet ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Ended {
    /// As it should, here.
    Done,
    /// At least one copy left.
    Forwarded,
    /// With the control plane.
    Punted,
    /// By a [`DropReason`](crate::DropReason), its place in the table.
    Dropped(u8),
}

/// One record. Copies come before their packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Traced {
    /// A received packet.
    Packet {
        /// Counts up on its shard.
        number: u32,
        /// Whose.
        session: SessionId,
        /// 0 STUN, 1 DTLS, 2 RTP, 3 RTCP, 4 none of them.
        class: u8,
        /// Bytes of the datagram.
        len: u16,
        /// RTP: payload type, sequence number, SSRC as they stand in the header; else zeros.
        rtp: (u8, u16, u32),
        /// Where it ended: its place in [`STAGES`](crate::counters::STAGES).
        stage: u8,
        /// How.
        ended: Ended,
    },
    /// What was decided about a copy for a subscriber.
    Copy {
        /// Of which packet.
        number: u32,
        /// Whose.
        to: SessionId,
        /// By which reason it was not sent; `None` when it was handed on to be sealed.
        dropped: Option<u8>,
    },
    /// All packets were told.
    Over {
        /// Packets that were not told, since too many events waited.
        skipped: u32,
    },
}
