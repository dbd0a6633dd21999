//! Ports without a network: datagrams move between them in memory, on virtual time. The same calls
//! with the same times give the same bytes, on one thread; on several threads a port may be moved
//! to each.

pub mod ether;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::DropReason;
use roomlane_core::{Burst, Datagram, Duration, Endpoint, Instant, Path, Pool, TxBurst};

use crate::slab::{SlabBuf, SlabPool};
use crate::{Port, PortCaps, PortStats};

/// A network to which ports are attached by address.
#[derive(Debug, Clone, Default)]
pub struct Hub {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    inboxes: Vec<Inbox>,
}

#[derive(Debug)]
struct Inbox {
    addresses: Vec<IpAddr>,
    udp_ports: std::ops::RangeInclusive<u16>,
    limit: usize,
    /// In order of arrival; the latency is the same for all, so also in order of delivery.
    queue: VecDeque<(Instant, Datagram<SlabBuf>)>,
}

/// How a port is attached.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its UDP ports; a datagram to another port of its addresses goes to whoever has that one.
    pub udp_ports: std::ops::RangeInclusive<u16>,
    /// Buffers of its own.
    pub buffers: usize,
    /// Datagrams that may wait for it.
    pub queue_len: usize,
    /// Time a datagram from it spends on the way.
    pub latency: Duration,
    /// Largest IP packet in bytes.
    pub mtu: usize,
}

impl SimConfig {
    /// One address, all UDP ports, 4,096 buffers, a queue of 1,024, no latency, an MTU of 1,500.
    pub fn new(address: IpAddr) -> Self {
        SimConfig {
            addresses: vec![address],
            udp_ports: 0..=u16::MAX,
            buffers: 4096,
            queue_len: 1024,
            latency: Duration(0),
            mtu: 1500,
        }
    }
}

impl Hub {
    /// An empty network.
    pub fn new() -> Self {
        Hub::default()
    }

    /// Attaches a port.
    pub fn attach(&self, config: SimConfig) -> SimPort {
        let SimConfig { addresses, udp_ports, buffers, queue_len, latency, mtu } = config;
        let queue = VecDeque::with_capacity(queue_len);
        let mut shared = lock(&self.shared);
        let index = shared.inboxes.len();
        shared.inboxes.push(Inbox { addresses, udp_ports, limit: queue_len, queue });
        drop(shared);
        SimPort {
            shared: Arc::clone(&self.shared),
            index,
            pool: SlabPool::new(buffers),
            latency,
            mtu,
            stats: PortStats::default(),
        }
    }

    /// Datagrams on their way at this moment.
    pub fn in_flight(&self) -> usize {
        lock(&self.shared).inboxes.iter().map(|inbox| inbox.queue.len()).sum()
    }
}

/// Two ports on a network of their own.
pub fn pair(a: SimConfig, b: SimConfig) -> (SimPort, SimPort) {
    let hub = Hub::new();
    (hub.attach(a), hub.attach(b))
}

/// A port attached to a [`Hub`].
#[derive(Debug)]
pub struct SimPort {
    shared: Arc<Mutex<Shared>>,
    index: usize,
    pool: SlabPool,
    latency: Duration,
    mtu: usize,
    stats: PortStats,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What becomes of a datagram that is sent.
enum Fate {
    To(usize),
    /// The receiver's queue is full: it stays with the sender.
    Stays,
    Dropped(DropReason),
}

impl SimPort {
    fn fate(&self, shared: &Shared, path: &Path, payload_len: usize) -> Fate {
        let header_len = if path.remote.as_v4().is_some() { 28 } else { 48 };
        if payload_len + header_len > self.mtu {
            return Fate::Dropped(DropReason::Oversize);
        }
        let Endpoint { port, .. } = path.remote;
        let ip = path.remote.ip();
        let has_it = |i: &Inbox| i.addresses.contains(&ip) && i.udp_ports.contains(&port);
        match shared.inboxes.iter().position(has_it) {
            None => Fate::Dropped(DropReason::NoNeighbour),
            Some(to) if shared.inboxes[to].queue.len() >= shared.inboxes[to].limit => Fate::Stays,
            Some(to) => Fate::To(to),
        }
    }
}

impl Pool for SimPort {
    type Buf = SlabBuf;

    fn alloc(&mut self) -> Option<SlabBuf> {
        self.pool.alloc()
    }

    fn free(&mut self, buf: SlabBuf) {
        self.pool.free(buf);
    }

    fn in_use(&self) -> usize {
        self.pool.in_use()
    }
}

impl Port for SimPort {
    fn rx_burst(&mut self, now: Instant, rx: &mut Burst<SlabBuf>) -> usize {
        let before = rx.len();
        let mut shared = lock(&self.shared);
        let queue = &mut shared.inboxes[self.index].queue;
        while !rx.is_full() {
            let Some((_, datagram)) = queue.pop_front_if(|(due, _)| *due <= now) else { break };
            self.stats.rx_packets += 1;
            self.stats.rx_bytes += roomlane_core::Buf::bytes(&datagram.buf).len() as u64;
            rx.push(datagram);
        }
        rx.len() - before
    }

    fn tx_burst(&mut self, now: Instant, tx: &mut TxBurst<SlabBuf>) -> usize {
        let offered = tx.len();
        let shared = Arc::clone(&self.shared);
        let mut shared = lock(&shared);
        let mut kept = TxBurst::new();
        for datagram in tx.drain(..) {
            let Datagram { path, buf, .. } = datagram;
            let len = roomlane_core::Buf::bytes(&buf).len();
            // Once one stays, all behind it stay: a device takes from the front.
            let fate = if kept.is_empty() { self.fate(&shared, &path, len) } else { Fate::Stays };
            match fate {
                Fate::To(to) => {
                    self.stats.tx_packets += 1;
                    self.stats.tx_bytes += len as u64;
                    let path = Path { local: path.remote, remote: path.local };
                    let arrived = Datagram { path, dscp: 0, buf };
                    shared.inboxes[to].queue.push_back((now + self.latency, arrived));
                }
                Fate::Stays => kept.push(Datagram { path, dscp: datagram.dscp, buf }),
                Fate::Dropped(reason) => {
                    self.stats.drop(reason);
                    self.pool.free(buf);
                }
            }
        }
        *tx = kept;
        offered - tx.len()
    }

    /// Virtual time does not pass by sleeping, so this returns at once.
    fn wait(&mut self, _timeout_ns: u64) {}

    fn caps(&self) -> PortCaps {
        PortCaps { mtu: self.mtu, queues_max: 1, can_wait: false }
    }

    fn stats(&self) -> &PortStats {
        &self.stats
    }
}
