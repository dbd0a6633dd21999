//! A port in memory with a generator and a sink inside: what it receives was sealed before, what it sends is
//! counted and gone. For workers that run at full speed beside each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use port::slab::{SlabBuf, SlabPool};
use port::{Port, PortCaps, PortStats};
use roomlane_core::{BURST_MAX, Buf, Burst, Datagram, Instant, Path, Pool, TX_BURST_MAX, TxBurst};

use super::OUT;

/// Buffers: a burst received, copies that wait for the port, some to spare.
const BUFFERS: usize = 2 * (BURST_MAX + TX_BURST_MAX);

/// How far a generator may be ahead of a sink on another worker, so that nothing is lost between them.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Copies that the other sink has counted so far.
    pub sunk: Arc<AtomicU64>,
    /// Copies that each packet becomes there.
    pub fanout: u64,
    /// Packets ahead at most.
    pub ahead_max: u64,
}

/// The port.
pub struct Source {
    pool: SlabPool,
    stored: Vec<(Path, Vec<u8>)>,
    at: usize,
    generated: u64,
    pace: Option<Pace>,
    sunk: Arc<AtomicU64>,
    stats: PortStats,
}

impl Source {
    /// Nothing stored; with a pace, it waits for another port's sink.
    pub fn new(pace: Option<Pace>) -> Source {
        Source {
            pool: SlabPool::new(BUFFERS),
            stored: vec![],
            at: 0,
            generated: 0,
            pace,
            sunk: Arc::default(),
            stats: PortStats::default(),
        }
    }

    /// What the sink has counted, for whoever wants to know on another thread.
    pub fn sunk(&self) -> &Arc<AtomicU64> {
        &self.sunk
    }

    /// How many buffers there are.
    pub fn buffers(&self) -> u64 {
        BUFFERS as u64
    }

    /// What arrives next; what was stored before has arrived.
    ///
    /// # Panics
    /// When something has not arrived yet.
    pub fn store(&mut self, packets: impl Iterator<Item = (Path, Vec<u8>)>) {
        assert_eq!(self.at, self.stored.len(), "everything stored before has arrived");
        self.stored.clear();
        self.stored.extend(packets);
        self.at = 0;
    }

    fn may_generate(&self) -> usize {
        let Some(pace) = &self.pace else { return BURST_MAX };
        let arrived = pace.sunk.load(Ordering::Acquire) / pace.fanout;
        (arrived + pace.ahead_max).saturating_sub(self.generated) as usize
    }
}

impl Pool for Source {
    type Buf = SlabBuf;

    #[inline]
    fn alloc(&mut self) -> Option<SlabBuf> {
        self.pool.alloc()
    }

    #[inline]
    fn free(&mut self, buf: SlabBuf) {
        self.pool.free(buf);
    }

    fn in_use(&self) -> usize {
        self.pool.in_use()
    }
}

impl Port for Source {
    fn rx_burst(&mut self, _now: Instant, rx: &mut Burst<SlabBuf>) -> usize {
        let count = rx.remaining_capacity().min(self.may_generate());
        let end = self.stored.len().min(self.at + count);
        for (path, packet) in &self.stored[self.at..end] {
            let Some(mut buf) = self.pool.alloc() else { break };
            let Some(space) = buf.append(packet.len()) else { break };
            space.copy_from_slice(packet);
            rx.push(Datagram { path: *path, dscp: 0, buf });
            self.at += 1;
        }
        self.generated += rx.len() as u64;
        self.stats.rx_packets += rx.len() as u64;
        rx.len()
    }

    fn tx_burst(&mut self, _now: Instant, tx: &mut TxBurst<SlabBuf>) -> usize {
        let count = tx.len();
        let mut copies = 0;
        for datagram in tx.drain(..) {
            // Reports to publishers and subscribers go the same way.
            copies += u64::from(datagram.buf.bytes()[1] & 0x7f == OUT);
            self.pool.free(datagram.buf);
        }
        self.stats.tx_packets += count as u64;
        self.sunk.store(self.sunk.load(Ordering::Relaxed) + copies, Ordering::Release);
        count
    }

    /// Nothing ever arrives by itself, and nobody here sleeps.
    fn wait(&mut self, _timeout_ns: u64) {}

    fn caps(&self) -> PortCaps {
        PortCaps { mtu: 1500, queues_max: 1, can_wait: false }
    }

    fn stats(&self) -> &PortStats {
        &self.stats
    }
}
