//! One queue for several shards: the worker that owns a single-queue port receives and transmits
//! for all.
//!
//! [`split`] makes of one port an [`Owner`], which is the port of the shard whose worker does the
//! I/O, and a [`Sharer`] for every other shard. Unopened datagrams go to the shard that their
//! destination UDP port names, over a ring; sealed ones come back over another. Each ring has one
//! producer and one consumer. A full ring towards a shard drops (`steer_full`); a full ring back
//! refuses, as a full device does.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration as StdDuration;

use proto::DropReason;
use roomlane_core::{Buf, Burst, Datagram, Duration, Instant, Pool, TxBurst};
use rtrb::{Consumer, Producer, RingBuffer};

use crate::{Port, PortCaps, PortStats};

/// Datagrams each ring has room for.
pub const RING_LEN: usize = 1024;
/// Datagrams taken back from one shard per turn, so that one cannot starve the others.
pub const TAKE_BACK_MAX: usize = 64;
/// How long the owner sleeps at most while it expects datagrams back: a shard cannot wake a
/// sleeping device.
const BUSY_WAIT_NS: u64 = 100_000;
/// How long after steering datagrams the owner expects some back.
const BUSY: Duration = Duration::from_ms(10);

/// Where one shard's UDP port lies, and who owns the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SteerConfig {
    /// Shard `i` has the UDP port `udp_base + i`.
    pub udp_base: u16,
    /// How many shards there are.
    pub shards: u16,
    /// The shard whose worker owns the device.
    pub owner: u16,
}

/// What went over the rings of one shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaneStats {
    /// Unopened datagrams handed to the shard.
    pub steered: u64,
    /// Unopened datagrams dropped because its ring was full.
    pub full: u64,
    /// Sealed datagrams taken back.
    pub taken_back: u64,
}

/// The owner's ends of the two rings of one shard.
struct Lane<B> {
    out: Producer<Datagram<B>>,
    back: Consumer<Datagram<B>>,
    sleeper: Arc<OnceLock<Thread>>,
    stats: LaneStats,
}

/// The port of the shard that owns the device.
pub struct Owner<P: Port> {
    port: P,
    config: SteerConfig,
    /// By shard; `None` for the owner itself.
    lanes: Vec<Option<Lane<P::Buf>>>,
    /// Received for the owner while its burst was full.
    waiting: VecDeque<Datagram<P::Buf>>,
    received: Burst<P::Buf>,
    /// Taken back and not yet accepted by the device.
    unsent: TxBurst<P::Buf>,
    steered_at: Option<Instant>,
    now: Instant,
    own_drops: [u64; 2],
    stats: PortStats,
}

/// The port of any other shard.
pub struct Sharer<Q: Pool> {
    pool: Q,
    incoming: Consumer<Datagram<Q::Buf>>,
    outgoing: Producer<Datagram<Q::Buf>>,
    sleeper: Arc<OnceLock<Thread>>,
    caps: PortCaps,
    stats: PortStats,
}

/// Splits `port` among the shards of `config`. `pool` makes the handle by which shard `i` allocates
/// and frees; its buffers are of the port's kind.
///
/// The sharers come in the order of their shards, without the owner's.
pub fn split<P: Port, Q: Pool<Buf = P::Buf>>(
    port: P,
    config: SteerConfig,
    mut pool: impl FnMut(u16) -> Q,
) -> (Owner<P>, Vec<(u16, Sharer<Q>)>) {
    let caps = PortCaps { queues_max: 1, can_wait: true, ..port.caps() };
    let mut lanes = Vec::new();
    let mut sharers = Vec::new();
    for shard in 0..config.shards {
        if shard == config.owner {
            lanes.push(None);
            continue;
        }
        let (out, incoming) = RingBuffer::new(RING_LEN);
        let (outgoing, back) = RingBuffer::new(RING_LEN);
        let sleeper = Arc::new(OnceLock::new());
        let stats = PortStats::default();
        let pool = pool(shard);
        let sharer =
            Sharer { pool, incoming, outgoing, sleeper: Arc::clone(&sleeper), caps, stats };
        sharers.push((shard, sharer));
        lanes.push(Some(Lane { out, back, sleeper, stats: LaneStats::default() }));
    }
    let stats = *port.stats();
    let owner = Owner {
        port,
        config,
        lanes,
        waiting: VecDeque::with_capacity(2 * roomlane_core::BURST_MAX),
        received: Burst::new(),
        unsent: TxBurst::new(),
        steered_at: None,
        now: Instant(0),
        own_drops: [0; 2],
        stats,
    };
    (owner, sharers)
}

impl<P: Port> Owner<P> {
    /// The port inside.
    pub fn inner(&self) -> &P {
        &self.port
    }

    /// What went over the rings of `shard`; `None` for the owner itself.
    pub fn lane_stats(&self, shard: u16) -> Option<LaneStats> {
        self.lanes.get(usize::from(shard))?.as_ref().map(|lane| lane.stats)
    }

    /// Receives one burst and hands every datagram to its shard.
    fn receive(&mut self, now: Instant) -> usize {
        let mut received = std::mem::take(&mut self.received);
        let count = self.port.rx_burst(now, &mut received);
        for datagram in received.drain(..) {
            self.steer(now, datagram);
        }
        self.received = received;
        for lane in self.lanes.iter().flatten() {
            lane.wake();
        }
        count
    }

    fn steer(&mut self, now: Instant, datagram: Datagram<P::Buf>) {
        let udp_port = datagram.path.local.port;
        let shard = udp_port.checked_sub(self.config.udp_base);
        match shard.and_then(|shard| self.lanes.get_mut(usize::from(shard))) {
            None => {
                self.own_drops[0] += 1;
                self.port.free(datagram.buf);
            }
            Some(None) => self.waiting.push_back(datagram),
            Some(Some(lane)) => match lane.out.push(datagram) {
                Ok(()) => {
                    lane.stats.steered += 1;
                    self.steered_at = Some(now);
                }
                Err(rtrb::PushError::Full(datagram)) => {
                    lane.stats.full += 1;
                    self.own_drops[1] += 1;
                    self.port.free(datagram.buf);
                }
            },
        }
    }

    /// Sends what the shards have sealed. Returns whether the device took all there was.
    fn take_back(&mut self, now: Instant) -> bool {
        for index in 0..self.lanes.len() {
            for _ in 0..TAKE_BACK_MAX {
                if self.unsent.is_full() && !self.send_unsent(now) {
                    return false;
                }
                let Some(Some(lane)) = self.lanes.get_mut(index) else { break };
                let Ok(datagram) = lane.back.pop() else { break };
                lane.stats.taken_back += 1;
                self.unsent.push(datagram);
            }
        }
        self.send_unsent(now)
    }

    fn send_unsent(&mut self, now: Instant) -> bool {
        if !self.unsent.is_empty() {
            self.port.tx_burst(now, &mut self.unsent);
        }
        self.unsent.is_empty()
    }

    fn update_stats(&mut self) {
        self.stats = *self.port.stats();
        self.stats.drops[DropReason::NoPort as usize] += self.own_drops[0];
        self.stats.drops[DropReason::SteerFull as usize] += self.own_drops[1];
    }

    fn expects_something(&self) -> bool {
        let is_recent = |at: Instant| self.now.since(at) < BUSY;
        self.steered_at.is_some_and(is_recent) || !self.unsent.is_empty()
    }
}

impl<B> Lane<B> {
    /// Wakes the shard's worker if it may sleep over datagrams.
    fn wake(&self) {
        // `slots` counts what is free: fewer than all means that something waits.
        if self.out.slots() < RING_LEN
            && let Some(thread) = self.sleeper.get()
        {
            thread.unpark();
        }
    }
}

impl<P: Port> Pool for Owner<P> {
    type Buf = P::Buf;

    fn alloc(&mut self) -> Option<P::Buf> {
        self.port.alloc()
    }

    fn free(&mut self, buf: P::Buf) {
        self.port.free(buf);
    }

    fn in_use(&self) -> usize {
        self.port.in_use()
    }
}

impl<P: Port> Port for Owner<P> {
    fn rx_burst(&mut self, now: Instant, rx: &mut Burst<P::Buf>) -> usize {
        self.now = now;
        self.take_back(now);
        let before = rx.len();
        // A burst may hold nothing for the owner; it is received only while all of it could be
        // kept.
        if self.waiting.len() <= roomlane_core::BURST_MAX {
            self.receive(now);
        }
        while !rx.is_full() {
            let Some(datagram) = self.waiting.pop_front() else { break };
            rx.push(datagram);
        }
        self.update_stats();
        rx.len() - before
    }

    fn tx_burst(&mut self, now: Instant, tx: &mut TxBurst<P::Buf>) -> usize {
        let taken = self.port.tx_burst(now, tx);
        self.update_stats();
        taken
    }

    fn wait(&mut self, timeout_ns: u64) {
        if self.lanes.iter().flatten().any(|lane| !lane.back.is_empty()) {
            return;
        }
        let limit = if self.expects_something() { BUSY_WAIT_NS } else { u64::MAX };
        self.port.wait(timeout_ns.min(limit));
    }

    fn caps(&self) -> PortCaps {
        PortCaps { queues_max: 1, ..self.port.caps() }
    }

    fn stats(&self) -> &PortStats {
        &self.stats
    }
}

impl<Q: Pool> Pool for Sharer<Q> {
    type Buf = Q::Buf;

    fn alloc(&mut self) -> Option<Q::Buf> {
        self.pool.alloc()
    }

    fn free(&mut self, buf: Q::Buf) {
        self.pool.free(buf);
    }

    fn in_use(&self) -> usize {
        self.pool.in_use()
    }
}

impl<Q: Pool> Port for Sharer<Q> {
    fn rx_burst(&mut self, _now: Instant, rx: &mut Burst<Q::Buf>) -> usize {
        let before = rx.len();
        while !rx.is_full() {
            let Ok(datagram) = self.incoming.pop() else { break };
            self.stats.rx_packets += 1;
            self.stats.rx_bytes += datagram.buf.bytes().len() as u64;
            rx.push(datagram);
        }
        rx.len() - before
    }

    fn tx_burst(&mut self, _now: Instant, tx: &mut TxBurst<Q::Buf>) -> usize {
        let count = tx.len().min(self.outgoing.slots());
        for datagram in tx.drain(..count) {
            let len = datagram.buf.bytes().len() as u64;
            match self.outgoing.push(datagram) {
                Ok(()) => {
                    self.stats.tx_packets += 1;
                    self.stats.tx_bytes += len;
                }
                // Room was counted above and nobody else pushes; a drop keeps the books honest all
                // the same.
                Err(rtrb::PushError::Full(datagram)) => {
                    self.stats.drop(DropReason::SteerFull);
                    self.pool.free(datagram.buf);
                }
            }
        }
        count
    }

    fn wait(&mut self, timeout_ns: u64) {
        self.sleeper.get_or_init(thread::current);
        if self.incoming.is_empty() {
            thread::park_timeout(StdDuration::from_nanos(timeout_ns));
        }
    }

    fn caps(&self) -> PortCaps {
        self.caps
    }

    fn stats(&self) -> &PortStats {
        &self.stats
    }
}
