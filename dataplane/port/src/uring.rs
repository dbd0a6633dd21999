//! A port on the kernel's UDP sockets, a burst per system call by io_uring.
//!
//! Everything below UDP is the kernel's: ARP, NDP, ping, routes, checksums, fragments. A received datagram
//! is forwarded from the buffer that the kernel wrote it to. Each shard has a port of its own, with one
//! socket per address, so the kernel's socket table does the steering.
//!
//! Sending never waits: what a socket's send buffer does not take is dropped as `tx_full` by the kernel's
//! answer, after `tx_burst` counted it as taken.

use std::io;
use std::net::SocketAddr;

use proto::DropReason;
use roomlane_core::{Buf, Burst, Datagram, Duration, Instant, Path, Pool, TxBurst};
use uring::{Config, Departure, Packet, RingStats, SendError, UdpRing};

use crate::{Port, PortCaps, PortConfig, PortStats};

pub use uring::UringError;

// The binding knows nothing of the core; its buffers must be what the core expects.
const _: () = assert!(uring::HEADROOM_BYTES == roomlane_core::buf::HEADROOM);
const _: () = assert!(uring::CAPACITY_BYTES == roomlane_core::buf::BUF_CAPACITY);

/// Between two questions to the kernel about what it dropped: a system call per socket.
const KERNEL_DROPS_INTERVAL: Duration = Duration::from_ms(100);

/// IP and UDP headers in bytes, without options (RFC 791, RFC 8200, RFC 768).
const fn header_bytes(is_ipv4: bool) -> usize {
    if is_ipv4 { 20 + 8 } else { 40 + 8 }
}

/// One packet buffer of a [`UringPort`].
#[derive(Debug)]
pub struct UringBuf(Packet);

impl Buf for UringBuf {
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }
    fn headroom(&self) -> usize {
        self.0.headroom()
    }
    fn tailroom(&self) -> usize {
        self.0.tailroom()
    }
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        self.0.prepend(n)
    }
    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        self.0.append(n)
    }
    fn advance(&mut self, n: usize) {
        self.0.advance(n);
    }
    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
    fn prefetch(&self) {
        self.0.prefetch();
    }
}

/// The port of one shard. It may move to its worker's thread before its first burst, and not after.
#[derive(Debug)]
pub struct UringPort {
    ring: UdpRing,
    caps: PortCaps,
    stats: PortStats,
    /// The ring's totals up to here are in `stats`.
    counted: RingStats,
    kernel_drops: u64,
    kernel_drops_due: Instant,
    fault: Option<io::Error>,
}

impl UringPort {
    /// Listens for `shard` on every address of `config`, which has passed its `check`, with
    /// `pool_buffers` buffers in all: more than 1,024, which wait for datagrams.
    ///
    /// # Errors
    /// The binding's, with the switch to turn where io_uring is not permitted.
    pub fn bind(config: &PortConfig, shard: u16, pool_buffers: u32) -> Result<Self, UringError> {
        let udp_port = config.udp_base.saturating_add(shard);
        let addresses = config.addresses.iter().map(|at| SocketAddr::new(at.ip, udp_port));
        let sizes = Config::new(addresses.collect());
        let ring = UdpRing::bind(&Config { pool_buffers, ..sizes })?;
        let queues_max = usize::from(config.shards);
        Ok(UringPort {
            ring,
            caps: PortCaps { mtu: config.mtu, queues_max, can_wait: true },
            stats: PortStats::default(),
            counted: RingStats::default(),
            kernel_drops: 0,
            kernel_drops_due: Instant::default(),
            fault: None,
        })
    }

    /// What broke the port for good: it neither receives nor sends any more. Never seen so far; a worker
    /// reports it and stops.
    pub fn fault(&self) -> Option<&io::Error> {
        self.fault.as_ref()
    }

    /// Adds what happened in the ring since the last time to the port's totals.
    fn count(&mut self) {
        let (new, old) = (self.ring.stats(), self.counted);
        self.counted = new;
        let drops = &mut self.stats.drops;
        let mut add = |reason: DropReason, count: u64| drops[reason as usize] += count;
        add(DropReason::Oversize, new.rx_oversize - old.rx_oversize);
        add(DropReason::Oversize, new.tx_oversize - old.tx_oversize);
        add(DropReason::BadLength, new.rx_errors - old.rx_errors);
        add(DropReason::TxFull, new.tx_full - old.tx_full);
        // No route, neighbour or permission: the kernel's word is not finer than that.
        add(DropReason::NoNeighbour, new.tx_errors - old.tx_errors);
        self.stats.rx_packets = new.rx_packets;
        self.stats.rx_bytes = new.rx_bytes;
        self.stats.tx_packets = new.tx_packets;
        self.stats.tx_bytes = new.tx_bytes;
    }

    /// Now and then: datagrams that found neither a buffer nor room in the socket.
    fn count_kernel_drops(&mut self, now: Instant) {
        if now < self.kernel_drops_due {
            return;
        }
        self.kernel_drops_due = now + KERNEL_DROPS_INTERVAL;
        if let Ok(total) = self.ring.kernel_drops() {
            let new = total.saturating_sub(self.kernel_drops);
            self.stats.drops[DropReason::NoMbuf as usize] += new;
            self.kernel_drops = total;
        }
    }

    /// Queues one datagram, or drops it with its reason.
    fn queue(&mut self, datagram: Datagram<UringBuf>) {
        let Datagram { path, dscp, buf: UringBuf(packet) } = datagram;
        let headers = header_bytes(path.remote.as_v4().is_some());
        if packet.bytes().len() + headers > self.caps.mtu {
            self.stats.drop(DropReason::Oversize);
            self.ring.free(packet);
            return;
        }
        let (remote, local) = (path.remote.socket_addr(), path.local.socket_addr());
        if let Err((packet, error)) = self.ring.send(packet, Departure { remote, local, dscp }) {
            self.stats.drop(match error {
                SendError::Full => DropReason::TxFull,
                SendError::NoSocket => DropReason::NotOurs,
            });
            self.ring.free(packet);
        }
    }

    fn keep_fault<T: Default>(&mut self, done: io::Result<T>) -> T {
        done.unwrap_or_else(|error| {
            self.fault.get_or_insert(error);
            T::default()
        })
    }
}

impl Pool for UringPort {
    type Buf = UringBuf;

    fn alloc(&mut self) -> Option<UringBuf> {
        self.ring.alloc().map(UringBuf)
    }

    fn free(&mut self, buf: UringBuf) {
        self.ring.free(buf.0);
    }

    fn in_use(&self) -> usize {
        self.ring.in_use()
    }
}

impl Port for UringPort {
    fn rx_burst(&mut self, now: Instant, rx: &mut Burst<UringBuf>) -> usize {
        if self.fault.is_some() {
            return 0;
        }
        let received = self.ring.recv_burst(rx.remaining_capacity(), |packet, arrival| {
            let path = Path { local: arrival.local.into(), remote: arrival.remote.into() };
            rx.push(Datagram { path, dscp: 0, buf: UringBuf(packet) });
        });
        let received = self.keep_fault(received);
        self.count();
        self.count_kernel_drops(now);
        received
    }

    fn tx_burst(&mut self, _now: Instant, tx: &mut TxBurst<UringBuf>) -> usize {
        if self.fault.is_some() {
            return 0;
        }
        let taken = tx.len().min(self.ring.tx_room());
        for datagram in tx.drain(..taken) {
            self.queue(datagram);
        }
        let submitted = self.ring.submit();
        self.keep_fault(submitted);
        self.count();
        taken
    }

    fn wait(&mut self, timeout_ns: u64) {
        let timeout = std::time::Duration::from_nanos(timeout_ns);
        if self.fault.is_some() {
            // Not a busy loop, whatever the worker makes of the fault.
            std::thread::sleep(timeout);
            return;
        }
        let waited = self.ring.wait(timeout);
        self.keep_fault(waited);
    }

    fn caps(&self) -> PortCaps {
        self.caps
    }

    fn stats(&self) -> &PortStats {
        &self.stats
    }
}

#[cfg(test)]
mod tests;
