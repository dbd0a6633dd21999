//! The outside of the measured shard, as its worker has it: datagrams are collected and flushed at 64,
//! the ledger is plain memory.

use port::Port;
use proto::region::LEDGER_WORDS;
use proto::{SessionId, ShardId};
use roomlane_core::{Datagram, Instant, Io, RelayFeedback, RelayPacket, TxBurst};

/// A port and a ledger.
pub struct PortIo<P: Port> {
    /// The port.
    pub port: P,
    tx: TxBurst<P::Buf>,
    ledger: Vec<u64>,
    now: Instant,
    refused: u64,
}

impl<P: Port> PortIo<P> {
    /// Around a port, with a ledger for `sessions` sessions.
    pub fn new(port: P, sessions: usize) -> Self {
        let ledger = vec![0; sessions * LEDGER_WORDS];
        PortIo { port, tx: TxBurst::new(), ledger, now: Instant(0), refused: 0 }
    }

    /// Hands everything collected to the port; what it refuses is freed and counted.
    #[inline]
    pub fn flush(&mut self, now: Instant) {
        self.now = now;
        if self.tx.is_empty() {
            return;
        }
        self.port.tx_burst(now, &mut self.tx);
        for datagram in self.tx.drain(..) {
            self.refused += 1;
            self.port.free(datagram.buf);
        }
    }

    #[inline(never)]
    fn flush_full(&mut self) {
        self.flush(self.now);
    }

    /// Datagrams that the port refused.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

impl<P: Port> Io for PortIo<P> {
    type Buf = P::Buf;

    #[inline]
    fn alloc(&mut self) -> Option<P::Buf> {
        self.port.alloc()
    }

    #[inline]
    fn free(&mut self, buf: P::Buf) {
        self.port.free(buf);
    }

    /// In line wherever it is called: behind a call, the datagram is read back before it is written.
    #[inline(always)]
    fn send(&mut self, datagram: Datagram<P::Buf>) {
        self.tx.push(datagram);
        if self.tx.is_full() {
            self.flush_full();
        }
    }

    /// One shard has no others.
    fn relay(&mut self, _to: ShardId, _packet: &RelayPacket<'_>) -> bool {
        false
    }

    fn relay_feedback(&mut self, _home: ShardId, _feedback: RelayFeedback) -> bool {
        false
    }

    /// There is no control plane.
    fn punt(&mut self, _session: SessionId, _datagram: &[u8]) -> bool {
        false
    }

    #[inline(always)]
    fn prefetch<T>(&self, what: &T) {
        srtp::prefetch(what);
    }

    fn ledger_load(&self, slot: u32, word: usize) -> u64 {
        self.ledger[slot as usize * LEDGER_WORDS + word]
    }

    #[inline]
    fn ledger_store(&mut self, slot: u32, word: usize, value: u64) {
        self.ledger[slot as usize * LEDGER_WORDS + word] = value;
    }
}
