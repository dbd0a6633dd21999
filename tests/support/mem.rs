//! The outside of a shard in memory: a counted pool, a wire that keeps everything, a ledger that
//! outlives the shard.

use std::collections::VecDeque;

use port::slab::{SlabBuf, SlabPool};
use proto::region::LEDGER_WORDS;
use proto::{PublicationNo, SessionId, ShardId};
use roomlane_core::{Datagram, Io, Pool, RelayFeedback, RelayPacket, Start};

/// A relayed packet that owns its bytes.
#[derive(Debug, Clone)]
pub struct Relayed {
    /// The stream.
    pub publication: PublicationNo,
    ssrc: u32,
    start: Start,
    index: u64,
    timestamp: u32,
    marker: bool,
    padding: bool,
    extension_profile: u16,
    extension: Vec<u8>,
    payload: Vec<u8>,
    report: (u64, u32),
}

impl Relayed {
    fn new(packet: &RelayPacket<'_>) -> Self {
        Relayed {
            publication: packet.publication,
            ssrc: packet.ssrc,
            start: packet.start,
            index: packet.index,
            timestamp: packet.timestamp,
            marker: packet.marker,
            padding: packet.padding,
            extension_profile: packet.extension_profile,
            extension: packet.extension.to_vec(),
            payload: packet.payload.to_vec(),
            report: packet.report,
        }
    }

    /// As the receiving shard takes it.
    pub fn view(&self) -> RelayPacket<'_> {
        RelayPacket {
            publication: self.publication,
            ssrc: self.ssrc,
            start: self.start,
            index: self.index,
            timestamp: self.timestamp,
            marker: self.marker,
            padding: self.padding,
            extension_profile: self.extension_profile,
            extension: &self.extension,
            payload: &self.payload,
            report: self.report,
        }
    }
}

/// One shard's outside.
pub struct MemIo {
    /// Buffers; empty at the end or something leaked.
    pub pool: SlabPool,
    /// Sent and not delivered yet.
    pub sent: VecDeque<Datagram<SlabBuf>>,
    /// Copies for other shards.
    pub relays: VecDeque<(ShardId, Relayed)>,
    /// Wishes for other shards.
    pub feedback: VecDeque<(ShardId, RelayFeedback)>,
    /// DTLS for the control plane, and how much of it there is room for.
    pub punts: VecDeque<(SessionId, Vec<u8>)>,
    /// See `punts`.
    pub punts_max: usize,
    /// Survives a crash of the shard.
    pub ledger: Vec<u64>,
}

impl MemIo {
    /// A pool of `bufs` buffers and a ledger for `sessions` sessions.
    pub fn new(bufs: usize, sessions: usize) -> Self {
        MemIo {
            pool: SlabPool::new(bufs),
            sent: VecDeque::new(),
            relays: VecDeque::new(),
            feedback: VecDeque::new(),
            punts: VecDeque::new(),
            punts_max: 256,
            ledger: vec![0; sessions * LEDGER_WORDS],
        }
    }
}

impl Io for MemIo {
    type Buf = SlabBuf;

    fn alloc(&mut self) -> Option<SlabBuf> {
        self.pool.alloc()
    }
    fn free(&mut self, buf: SlabBuf) {
        self.pool.free(buf);
    }
    fn send(&mut self, datagram: Datagram<SlabBuf>) {
        self.sent.push_back(datagram);
    }
    fn relay(&mut self, to: ShardId, packet: &RelayPacket<'_>) -> bool {
        self.relays.push_back((to, Relayed::new(packet)));
        true
    }
    fn relay_feedback(&mut self, home: ShardId, feedback: RelayFeedback) -> bool {
        self.feedback.push_back((home, feedback));
        true
    }
    fn punt(&mut self, session: SessionId, datagram: &[u8]) -> bool {
        let has_room = self.punts.len() < self.punts_max;
        if has_room {
            self.punts.push_back((session, datagram.to_vec()));
        }
        has_room
    }
    fn ledger_load(&self, slot: u32, word: usize) -> u64 {
        self.ledger[slot as usize * LEDGER_WORDS + word]
    }
    fn ledger_store(&mut self, slot: u32, word: usize, value: u64) {
        self.ledger[slot as usize * LEDGER_WORDS + word] = value;
    }
}
