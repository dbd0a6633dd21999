//! Ports: devices that move datagrams in bursts. A port owns its buffers, and everything below UDP.
//!
//! A [`Port`] moves datagrams. [`udp`] and [`sim`] are ports by themselves; an Ethernet device
//! becomes one under [`netif`]. [`fault`] and [`pcap`] wrap any port and are ports; [`steer`] lets
//! several shards share the one queue of a port. [`slab`] has the buffers of ports without memory
//! of their own, [`config`] what the operator says of a port.
#![forbid(unsafe_code)]

pub mod config;
pub mod dpdk;
pub mod fault;
pub mod netif;
pub mod pcap;
mod rng;
pub mod sim;
pub mod slab;
pub mod steer;
pub mod udp;
pub mod uring;

pub use config::{ConfigError, PortConfig, Prefix};

use arrayvec::ArrayVec;
use proto::DropReason;
use roomlane_core::{BURST_MAX, Burst, Instant, Pool, TX_BURST_MAX, TxBurst};

/// A device that moves UDP datagrams in bursts, with its own buffers.
pub trait Port: Pool {
    /// Appends received datagrams to `rx` until it is full or nothing is left; returns how many.
    fn rx_burst(&mut self, now: Instant, rx: &mut Burst<Self::Buf>) -> usize;
    /// Takes datagrams from the front of `tx` while the device accepts them; returns how many were
    /// taken. What stays was not accepted: try again or drop it as `tx_full`. A datagram that can
    /// never leave (`oversize`, `no_neighbour`) counts as taken and is counted in `stats().drops`.
    fn tx_burst(&mut self, now: Instant, tx: &mut TxBurst<Self::Buf>) -> usize;
    /// Sleeps until something may have arrived, or `timeout_ns` has passed. Devices that can only
    /// be polled sleep for the whole time.
    fn wait(&mut self, timeout_ns: u64);
    /// What it can do.
    fn caps(&self) -> PortCaps;
    /// What it did.
    fn stats(&self) -> &PortStats;
}

/// What a port can do; the worker asks instead of knowing drivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortCaps {
    /// Largest IP packet, in bytes.
    pub mtu: usize,
    /// Receive queues that can be used by different workers.
    pub queues_max: usize,
    /// `wait` wakes up early when a datagram arrives.
    pub can_wait: bool,
}

/// Running totals of a port.
#[derive(Debug, Clone, Copy)]
pub struct PortStats {
    /// Datagrams handed to the worker.
    pub rx_packets: u64,
    /// Their payload bytes.
    pub rx_bytes: u64,
    /// Datagrams given to the device.
    pub tx_packets: u64,
    /// Their payload bytes.
    pub tx_bytes: u64,
    /// Pings, ARP and NDP requests answered.
    pub answered: u64,
    /// Packets dropped below UDP, by reason.
    pub drops: [u64; DropReason::COUNT],
}

impl Default for PortStats {
    fn default() -> Self {
        PortStats {
            rx_packets: 0,
            rx_bytes: 0,
            tx_packets: 0,
            tx_bytes: 0,
            answered: 0,
            drops: [0; DropReason::COUNT],
        }
    }
}

impl PortStats {
    /// Counts one drop.
    pub fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }
}

/// What the device says of a received frame's IPv4 and UDP checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RxChecksum {
    /// It did not look, or cannot. On virtual devices the field may hold a partial sum: not an
    /// error.
    Unchecked,
    /// It looked, and they are right.
    Good,
    /// It looked, and one is wrong.
    Bad,
}

/// A received Ethernet frame: `buf.bytes()` starts at the destination address.
#[derive(Debug)]
pub struct Frame<B> {
    /// The whole frame, without FCS.
    pub buf: B,
    /// The device's word on checksums.
    pub checksum: RxChecksum,
}

/// An Ethernet device below `netif`, which turns its frames into datagrams.
pub trait EtherDevice: Pool {
    /// Its link address.
    fn mac(&self) -> [u8; 6];
    /// What it can do.
    fn ether_caps(&self) -> EtherCaps;
    /// Appends received frames until `rx` is full or nothing is left; returns how many.
    fn rx_frames(&mut self, rx: &mut ArrayVec<Frame<Self::Buf>, BURST_MAX>) -> usize;
    /// Takes frames from the front of `tx` while the device accepts them; returns how many.
    fn tx_frames(&mut self, tx: &mut ArrayVec<Self::Buf, TX_BURST_MAX>) -> usize;
    /// As `Port::wait`.
    fn wait(&mut self, timeout_ns: u64);
}

/// What an Ethernet device can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EtherCaps {
    /// Largest frame payload, in bytes.
    pub mtu: usize,
    /// Queue pairs.
    pub queues_max: usize,
    /// `wait` wakes up early.
    pub can_wait: bool,
}
