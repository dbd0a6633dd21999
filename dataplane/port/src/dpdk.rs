//! The DPDK device: frames in and out of a NIC or a virtual device, under [`crate::netif`].
//!
//! One [`Dpdk`] per process holds EAL, the pool and the device; each of its [`DpdkDevice`]s is one
//! queue pair for one worker. A device with a single queue yields one, and its worker does the I/O
//! for the others.
//!
//! Checksums: what a PCI device says of a received one is passed on; virtual devices are not asked,
//! so that a local sender's partial sum never counts as an error. Sent ones are netif's, always
//! complete.
//!
//! The node reaches the binding through this module: [`log`], [`telemetry`], [`cycles`], versions,
//! drivers.

use std::fmt;

use arrayvec::ArrayVec;
use roomlane_core::buf::{BUF_CAPACITY, HEADROOM};
use roomlane_core::{BURST_MAX, Buf, Pool, TX_BURST_MAX};

pub use ::dpdk::{
    AVAILABLE, DevInfo, DevStats, Devargs, Eal, Error, Fault, LINK, Lcore, Link, Memory,
    MemoryMode, cycles, cycles_hz, drivers, log, prefetch, telemetry, version,
};
use ::dpdk::{Checksum, DevConfig, EalConfig, EthDev, Mbuf, Mempool, PoolConfig, RxQueue, TxQueue};

use crate::{EtherCaps, EtherDevice, Frame, RxChecksum};

/// Bytes of a buffer that DPDK is told: room in front and a full frame behind it.
const DATA_ROOM: u16 = (HEADROOM + BUF_CAPACITY) as u16;
/// Bytes a buffer costs with its headers: DPDK's `rte_mbuf` and pool header, rounded up.
const MBUF_BYTES: u64 = DATA_ROOM as u64 + 256;
/// MiB that EAL and drivers take for themselves.
const EAL_MIB: u32 = 48;
/// Bytes that XDP keeps in front of a frame inside a buffer (XDP_PACKET_HEADROOM); not free for the
/// packet.
const XDP_HEADROOM: u16 = 256;
/// Ethernet header with two VLAN tags.
const FRAME_OVERHEAD: u16 = 22;

// A burst of the core is a burst of the device.
const _: () = assert!(BURST_MAX == ::dpdk::RX_BURST_MAX && TX_BURST_MAX == ::dpdk::TX_BURST_MAX);

/// What the node decides about the device.
#[derive(Debug, Clone)]
pub struct DpdkConfig {
    /// A PCI address or a virtual device's argument, such as `net_af_xdp0,iface=media0`.
    pub device: String,
    /// Queue pairs wanted: one per worker. A device with fewer gives what it has.
    pub queues: u16,
    /// Largest IP packet in bytes.
    pub mtu: u16,
    /// Buffers of the pool, shared by all queues; a power of two less one wastes least.
    pub mbufs: u32,
    /// Which memory.
    pub memory: Memory,
    /// Tells nodes on one host apart; names the directory of the telemetry socket.
    pub file_prefix: String,
    /// The CPU of EAL's own thread, which only sleeps; the first allowed one by default.
    pub main_cpu: Option<usize>,
    /// Whether to open DPDK's telemetry socket.
    pub telemetry: bool,
    /// All of EAL's arguments, instead of what follows from the above.
    pub eal_args: Option<Vec<String>>,
}

impl DpdkConfig {
    /// The usual choices for `device`: one queue, 1500 bytes, 16,383 buffers.
    pub fn new(device: impl Into<String>) -> DpdkConfig {
        DpdkConfig {
            device: device.into(),
            queues: 1,
            mtu: 1500,
            mbufs: 16_383,
            memory: Memory::Auto,
            file_prefix: format!("roomlane-{}", std::process::id()),
            main_cpu: None,
            telemetry: true,
            eal_args: None,
        }
    }

    /// MiB that EAL needs for the pool and itself.
    pub fn memory_mib(&self) -> u32 {
        let pool = (u64::from(self.mbufs) * MBUF_BYTES).div_ceil(1 << 20);
        u32::try_from(pool).unwrap_or(u32::MAX).saturating_add(EAL_MIB)
    }
}

/// What an operator should know of `device` before using it, or `None`.
pub fn warning(device: &str) -> Option<&'static str> {
    device.starts_with("net_memif").then_some(
        "net_memif is for benches: the side that stays can crash when its peer leaves (DPDK 22.11)",
    )
}

/// A started device with its EAL and pool: what the node keeps beside the workers' queues. The
/// device closes when this and every queue is dropped; closing detaches XDP programs and removes
/// tap interfaces.
#[derive(Debug)]
pub struct Dpdk {
    dev: EthDev,
    info: DevInfo,
    pool: Mempool,
    eal: Eal,
}

impl Dpdk {
    /// Starts EAL, makes or attaches the device and starts it. Once per process.
    ///
    /// # Errors
    /// The binding's, with DPDK's own words and the party at fault.
    pub fn open(config: &DpdkConfig) -> Result<(Dpdk, Vec<DpdkDevice>), Error> {
        let devargs = Devargs::parse(&config.device)?;
        let eal = Eal::start(&EalConfig {
            memory: config.memory,
            memory_mib: config.memory_mib(),
            file_prefix: config.file_prefix.clone(),
            main_cpu: config.main_cpu,
            devices: vec![devargs.clone()],
            telemetry: config.telemetry,
            extra_args: vec![],
            eal_args: config.eal_args.clone(),
        })?;
        let pool = Mempool::new(
            &eal,
            &PoolConfig { mbufs: config.mbufs, data_room: DATA_ROOM, ..PoolConfig::default() },
        )?;
        let mut dev = EthDev::probe(&eal, &devargs)?;
        let before = dev.info()?;
        let mtu_max = mtu_max(&before);
        if config.mtu > mtu_max {
            let (device, asked, min) = (before.name, config.mtu, before.mtu_min);
            return Err(Error::Mtu { device, asked, min, max: mtu_max });
        }
        let queues = dev.start(
            &DevConfig {
                queues: config.queues.clamp(1, before.queues_max.max(1)),
                mtu: Some(config.mtu),
                // A virtual device would compute it in software, or call a partial sum wrong.
                rx_checksum: devargs.is_pci(),
                ..DevConfig::default()
            },
            &pool,
        )?;
        let info = dev.info()?;
        let caps =
            EtherCaps { mtu: info.mtu.into(), queues_max: info.queues_max.into(), can_wait: false };
        let held = pool.in_use();
        let device = |(rx, tx)| DpdkDevice {
            rx,
            tx,
            stock: Stock::new(&pool),
            held,
            mac: info.mac,
            caps,
            eal: eal.clone(),
        };
        let devices = queues.into_iter().map(device).collect();
        Ok((Dpdk { dev, info, pool, eal }, devices))
    }

    /// The device as it was when it started.
    pub fn info(&self) -> &DevInfo {
        &self.info
    }

    /// The memory it runs on, and why.
    pub fn memory(&self) -> &MemoryMode {
        self.eal.memory()
    }

    /// EAL, for telemetry commands.
    pub fn eal(&self) -> &Eal {
        &self.eal
    }

    /// The state of its link now.
    ///
    /// # Errors
    /// When the device does not answer.
    pub fn link(&self) -> Result<Link, Error> {
        self.dev.link()
    }

    /// The device's own totals.
    ///
    /// # Errors
    /// When the device has none.
    pub fn stats(&self) -> Result<DevStats, Error> {
        self.dev.stats()
    }

    /// The driver's own counters, by its names.
    ///
    /// # Errors
    /// When the device has none.
    pub fn xstats(&self) -> Result<Vec<(String, u64)>, Error> {
        self.dev.xstats()
    }

    /// A handle of the device's pool, for a shard whose packets another worker receives and sends.
    pub fn pool(&self) -> DpdkPool {
        DpdkPool(Stock::new(&self.pool))
    }

    /// Buffers of the pool that are out, those in the device's rings included.
    pub fn pool_in_use(&self) -> usize {
        self.pool.in_use()
    }
}

/// The largest MTU whose frame fits one buffer of ours on this device.
fn mtu_max(info: &DevInfo) -> u16 {
    let xdp = if info.driver == "net_af_xdp" { XDP_HEADROOM } else { 0 };
    info.mtu_max.min(BUF_CAPACITY as u16 - FRAME_OVERHEAD - xdp)
}

/// One queue pair of a device: an [`EtherDevice`] for one worker.
pub struct DpdkDevice {
    rx: RxQueue,
    tx: TxQueue,
    stock: Stock,
    /// Buffers that lay in the device's rings when it started.
    held: usize,
    mac: [u8; 6],
    caps: EtherCaps,
    eal: Eal,
}

impl DpdkDevice {
    /// Makes the calling thread an lcore for as long as the guard lives. The worker calls it on its
    /// own thread before its first burst: with it, buffers come from the thread's cache instead of
    /// the shared stack.
    ///
    /// # Errors
    /// When the thread is one already or no lcore id is left.
    pub fn register_thread(&self) -> Result<Lcore, Error> {
        Lcore::register(&self.eal)
    }

    /// Frames that the driver gave in pieces, or shared, and that were freed unseen.
    pub fn refused(&self) -> u64 {
        self.rx.refused()
    }
}

impl fmt::Debug for DpdkDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DpdkDevice")
            .field("queue", &self.rx.index())
            .field("caps", &self.caps)
            .finish_non_exhaustive()
    }
}

impl Pool for DpdkDevice {
    type Buf = DpdkBuf;

    #[inline]
    fn alloc(&mut self) -> Option<DpdkBuf> {
        self.stock.alloc()
    }

    #[inline]
    fn free(&mut self, buf: DpdkBuf) {
        drop(buf);
    }

    /// Of the whole pool, not of this queue, less what lay in the device's rings at its start.
    /// Drivers refill and reclaim lazily, so an idle device may be off by a burst.
    fn in_use(&self) -> usize {
        self.stock.in_use().saturating_sub(self.held)
    }
}

impl EtherDevice for DpdkDevice {
    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn ether_caps(&self) -> EtherCaps {
        self.caps
    }

    #[inline]
    fn rx_frames(&mut self, rx: &mut ArrayVec<Frame<DpdkBuf>, BURST_MAX>) -> usize {
        self.rx.burst(rx.remaining_capacity(), |mut mbuf| {
            let checksum = checksum(&mbuf);
            // The last subscription sends the received buffer itself: it must not ask what was
            // received.
            mbuf.clear_offloads();
            rx.push(Frame { buf: DpdkBuf(mbuf), checksum });
        })
    }

    #[inline]
    fn tx_frames(&mut self, tx: &mut ArrayVec<DpdkBuf, TX_BURST_MAX>) -> usize {
        let mut burst: ArrayVec<Mbuf, TX_BURST_MAX> = tx.drain(..).map(|buf| buf.0).collect();
        let taken = self.tx.burst(&mut burst);
        tx.extend(burst.into_iter().map(DpdkBuf));
        taken
    }

    fn wait(&mut self, timeout_ns: u64) {
        std::thread::sleep(std::time::Duration::from_nanos(timeout_ns));
    }
}

/// The device's word, when it is one on both checksums. UDP over IPv6 has no header checksum of IP,
/// so there "unknown" for IP is no gap; but then the frame's kind is not known here, and netif
/// checks what it can.
#[inline]
fn checksum(mbuf: &Mbuf) -> RxChecksum {
    use Checksum::{Absent, Bad, Good};
    match (mbuf.ip_checksum(), mbuf.udp_checksum()) {
        (Bad, _) | (_, Bad) => RxChecksum::Bad,
        (Good | Absent, Good | Absent) => RxChecksum::Good,
        _ => RxChecksum::Unchecked,
    }
}

/// The pool of a device without its queues; see [`Dpdk::pool`].
#[derive(Debug)]
pub struct DpdkPool(Stock);

impl Pool for DpdkPool {
    type Buf = DpdkBuf;

    #[inline]
    fn alloc(&mut self) -> Option<DpdkBuf> {
        self.0.alloc()
    }

    #[inline]
    fn free(&mut self, buf: DpdkBuf) {
        drop(buf);
    }

    /// Of the whole pool, those in the device's rings included.
    fn in_use(&self) -> usize {
        self.0.in_use()
    }
}

/// A few buffers on their way from the pool to who asks for them. The pool gives them by the handful, and their
/// headers and first lines are in the nearest cache by the time they are written.
#[derive(Debug)]
struct Stock {
    pool: Mempool,
    ready: ArrayVec<DpdkBuf, STOCK>,
}

/// Buffers of a [`Stock`]: a batch of copies.
const STOCK: usize = 32;

impl Stock {
    fn new(pool: &Mempool) -> Stock {
        Stock { pool: pool.clone(), ready: ArrayVec::new() }
    }

    #[inline]
    fn alloc(&mut self) -> Option<DpdkBuf> {
        if self.ready.is_empty() {
            self.refill();
        }
        self.ready.pop()
    }

    #[inline(never)]
    fn refill(&mut self) {
        let mut bufs = ArrayVec::<Mbuf, STOCK>::new();
        if !self.pool.alloc_bulk(STOCK, &mut bufs) {
            // The last few of the pool.
            bufs.extend(self.pool.alloc());
        }
        for buf in bufs {
            buf.prefetch_for_write();
            self.ready.push(DpdkBuf(buf));
        }
    }

    /// Of the whole pool, what waits here not counted.
    fn in_use(&self) -> usize {
        self.pool.in_use().saturating_sub(self.ready.len())
    }
}

/// A buffer of a [`DpdkDevice`].
#[derive(Debug)]
#[repr(transparent)]
pub struct DpdkBuf(Mbuf);

impl Buf for DpdkBuf {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }
    #[inline]
    fn headroom(&self) -> usize {
        self.0.headroom()
    }
    #[inline]
    fn tailroom(&self) -> usize {
        self.0.tailroom()
    }
    #[inline]
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        self.0.prepend(n)
    }
    #[inline]
    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        self.0.append(n)
    }
    #[inline]
    fn advance(&mut self, n: usize) {
        self.0.advance(n);
    }
    #[inline]
    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }
    #[inline]
    fn prefetch(&self) {
        self.0.prefetch();
    }
}

#[cfg(test)]
mod tests;
