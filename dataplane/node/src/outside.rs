//! The outside of a shard, as its worker has it: the port, the ledger, the relay rings, the control plane.

use port::{Port, PortStats};
use proto::{DropReason, SessionId, ShardId};
use roomlane_core::{Datagram, Instant, Io, RelayFeedback, RelayPacket, TxBurst};

use crate::ledger::Ledger;
use crate::mailbox::Mailbox;
use crate::relay::Relays;

/// How long a datagram that the port does not accept is offered again, in nanoseconds.
pub const TX_PATIENCE_NS: u64 = 50_000;

/// What a shard reaches through [`Io`].
pub struct Outside<P: Port> {
    pub(crate) port: P,
    pub(crate) relays: Relays,
    pub(crate) mailbox: Option<Mailbox>,
    tx: TxBurst<P::Buf>,
    ledger: Ledger,
    tx_full: u64,
    now: Instant,
}

impl<P: Port> Outside<P> {
    /// Around a port.
    pub fn new(port: P, ledger: Ledger, relays: Relays, mailbox: Option<Mailbox>) -> Self {
        let (tx, now) = (TxBurst::new(), Instant::default());
        Outside { port, relays, mailbox, tx, ledger, tx_full: 0, now }
    }

    /// A turn begins.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.now = now;
    }

    /// Hands everything collected to the port. What it does not take within [`TX_PATIENCE_NS`] is
    /// dropped and counted: it is sealed, and must not be sealed again.
    #[inline(never)]
    pub(crate) fn flush(&mut self) {
        if self.tx.is_empty() {
            return;
        }
        usdt::tx_burst(self.tx.len() as u64);
        self.port.tx_burst(self.now, &mut self.tx);
        if self.tx.is_empty() {
            return;
        }
        let patience_ends_ns = shm::clock::monotonic_ns() + TX_PATIENCE_NS;
        while !self.tx.is_empty() && shm::clock::monotonic_ns() < patience_ends_ns {
            if self.port.tx_burst(self.now, &mut self.tx) == 0 {
                std::hint::spin_loop();
            }
        }
        self.tx_full += self.tx.len() as u64;
        for datagram in self.tx.drain(..) {
            usdt::dropped(DropReason::TxFull as u64, u64::from(u32::MAX));
            self.port.free(datagram.buf);
        }
    }

    /// The port's drops, and those of this side of it.
    pub(crate) fn drops(&self, stats: &PortStats) -> [u64; DropReason::COUNT] {
        let mut drops = stats.drops;
        drops[DropReason::TxFull as usize] += self.tx_full;
        drops
    }
}

impl<P: Port> Io for Outside<P> {
    type Buf = P::Buf;

    fn alloc(&mut self) -> Option<P::Buf> {
        self.port.alloc()
    }

    fn free(&mut self, buf: P::Buf) {
        self.port.free(buf);
    }

    /// In line wherever it is called: behind a call, the datagram is read back before it is written.
    #[inline(always)]
    fn send(&mut self, datagram: Datagram<P::Buf>) {
        self.tx.push(datagram);
        if self.tx.is_full() {
            self.flush();
        }
    }

    fn relay(&mut self, to: ShardId, packet: &RelayPacket<'_>) -> bool {
        self.relays.send(to, packet)
    }

    fn relay_feedback(&mut self, home: ShardId, feedback: RelayFeedback) -> bool {
        self.relays.send_feedback(home, feedback)
    }

    fn punt(&mut self, session: SessionId, datagram: &[u8]) -> bool {
        self.mailbox.as_mut().is_some_and(|mailbox| mailbox.punt(session, datagram))
    }

    fn ledger_load(&self, slot: u32, word: usize) -> u64 {
        self.ledger.load(slot, word)
    }

    fn ledger_store(&mut self, slot: u32, word: usize, value: u64) {
        self.ledger.store(slot, word, value);
    }

    #[inline(always)]
    fn prefetch<T>(&self, what: &T) {
        srtp::prefetch(what);
    }

    fn cycles(&self) -> u64 {
        shm::clock::cycles()
    }
}
