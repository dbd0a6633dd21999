//! Everything a shard may do to the world outside, as one trait that its worker implements.

use proto::{PublicationNo, SessionId, ShardId};

use crate::{Buf, Datagram, Start};

/// The outside of a shard: buffers, the wire, other shards, the ledger, the cycle counter.
pub trait Io {
    /// The port's buffers.
    type Buf: Buf;

    /// An empty buffer with headroom, or `None` when the pool is empty.
    fn alloc(&mut self) -> Option<Self::Buf>;
    /// Gives a buffer back.
    fn free(&mut self, buf: Self::Buf);
    /// Sends a sealed datagram. What the port does not accept in time is counted by the worker
    /// (`tx_full`); a sealed packet is never sealed again.
    fn send(&mut self, datagram: Datagram<Self::Buf>);
    /// Copies an opened packet to another shard; `false` when its ring is full.
    fn relay(&mut self, to: ShardId, packet: &RelayPacket<'_>) -> bool;
    /// Tells the home shard of a remote publication what its subscribers ask for.
    fn relay_feedback(&mut self, home: ShardId, feedback: RelayFeedback) -> bool;
    /// Hands a DTLS datagram of a validated path to the control plane; `false` when its ring is full.
    fn punt(&mut self, session: SessionId, datagram: &[u8]) -> bool;
    /// Reads a word of a session's ledger record (`proto::region::ledger`).
    fn ledger_load(&self, slot: u32, word: usize) -> u64;
    /// Writes a word of a session's ledger record, before anything that depends on it is sent.
    fn ledger_store(&mut self, slot: u32, word: usize, value: u64);
    /// Asks for the cache line in which `what` begins before it is needed; a hint.
    #[inline(always)]
    fn prefetch<T>(&self, what: &T) {
        let _ = what;
    }
    /// The processor's cycle counter, for sampling; constant zero in simulation.
    fn cycles(&self) -> u64 {
        0
    }
}

/// An opened packet on its way to the subscribers of another shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayPacket<'a> {
    /// The stream.
    pub publication: PublicationNo,
    /// The publisher's SSRC. Another one than before is another layer, with numbers of its own.
    pub ssrc: u32,
    /// What it is to somebody who waits for a picture.
    pub start: Start,
    /// Extended ingress index (ROC and sequence number, RFC 3711 3.3.1).
    pub index: u64,
    /// RTP timestamp as received.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// RTP padding bit; the padding is part of the payload.
    pub padding: bool,
    /// Profile of the extension block (RFC 3550 5.3.1), zero when there is none.
    pub extension_profile: u16,
    /// The extension block's content, as received.
    pub extension: &'a [u8],
    /// The payload, never looked into.
    pub payload: &'a [u8],
    /// The latest sender report of the publisher on the node's clock: NTP time and RTP timestamp;
    /// zero before the first.
    pub report: (u64, u32),
}

/// What subscribers on one shard ask of a publication that lives on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayFeedback {
    /// The stream.
    pub publication: PublicationNo,
    /// A picture-loss indication is wanted.
    pub keyframe: bool,
}
