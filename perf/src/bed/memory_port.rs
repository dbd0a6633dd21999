//! A port whose wire is memory: what arrives waits in a queue, what is sent is counted and freed.

use std::collections::VecDeque;

use port::slab::{SlabBuf, SlabPool};
use port::{Port, PortCaps, PortStats};
use roomlane_core::{BUF_CAPACITY, Buf, Burst, Datagram, Instant, Path, Pool, TxBurst};

/// The port in memory.
#[derive(Debug)]
pub struct MemoryPort {
    pool: SlabPool,
    arrived: VecDeque<Datagram<SlabBuf>>,
    queue_len: usize,
    stats: PortStats,
}

impl MemoryPort {
    /// With so many buffers; at most `queue_len` datagrams wait.
    pub fn new(buffers: usize, queue_len: usize) -> MemoryPort {
        MemoryPort {
            pool: SlabPool::new(buffers),
            arrived: VecDeque::with_capacity(queue_len),
            queue_len,
            stats: PortStats::default(),
        }
    }

    /// Lets a datagram arrive that `write` makes in place; it returns the length. False when the queue
    /// is full or no buffer is free.
    pub fn arrive(&mut self, path: Path, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        if self.arrived.len() == self.queue_len {
            return false;
        }
        let Some(mut buf) = self.pool.alloc() else { return false };
        let Some(space) = buf.append(BUF_CAPACITY) else { return false };
        let len = write(space);
        buf.truncate(len);
        self.arrived.push_back(Datagram { path, dscp: 0, buf });
        true
    }

    /// Payload bytes sent so far.
    #[cfg(test)]
    pub fn sent_bytes(&self) -> u64 {
        self.stats.tx_bytes
    }
}

impl Pool for MemoryPort {
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

impl Port for MemoryPort {
    #[inline]
    fn rx_burst(&mut self, _now: Instant, rx: &mut Burst<SlabBuf>) -> usize {
        let count = rx.remaining_capacity().min(self.arrived.len());
        rx.extend(self.arrived.drain(..count));
        self.stats.rx_packets += count as u64;
        count
    }

    #[inline]
    fn tx_burst(&mut self, _now: Instant, tx: &mut TxBurst<SlabBuf>) -> usize {
        let count = tx.len();
        for datagram in tx.drain(..) {
            self.stats.tx_bytes += datagram.buf.bytes().len() as u64;
            self.pool.free(datagram.buf);
        }
        self.stats.tx_packets += count as u64;
        count
    }

    /// Nothing ever arrives by itself.
    fn wait(&mut self, _timeout_ns: u64) {}

    fn caps(&self) -> PortCaps {
        PortCaps { mtu: 1500, queues_max: 1, can_wait: false }
    }

    fn stats(&self) -> &PortStats {
        &self.stats
    }
}
