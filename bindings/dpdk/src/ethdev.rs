//! Ethernet devices: attach, configure by capability, start, watch; closing is dropping.

use std::ffi::CString;
use std::sync::{Arc, OnceLock};

use dpdk_sys::{self as sys, RlEthConf, RlEthInfo, RlEthStats, RlXstat};

use crate::error::reason;
use crate::queue::{RxQueue, TxQueue};
use crate::{DevInfo, Devargs, Eal, Error, Link, Mempool, Step, eal, info, log};

/// Ethernet header with two VLAN tags: what a frame is longer than its MTU.
const FRAME_OVERHEAD: u16 = 22;

/// What is asked of a device; what it cannot do is left off, and [`EthDev::info`] says what it can.
#[derive(Debug, Clone)]
pub struct DevConfig {
    /// Queue pairs, for as many workers.
    pub queues: u16,
    /// Receive descriptors per queue, adjusted to the device's limits.
    pub rx_desc: u16,
    /// Transmit descriptors per queue, adjusted likewise.
    pub tx_desc: u16,
    /// MTU in bytes; `None` keeps the device's, and so does a device with a fixed one that is
    /// larger.
    pub mtu: Option<u16>,
    /// Receive frames for any unicast address.
    pub promiscuous: bool,
    /// Receive every multicast frame (NDP needs some).
    pub allmulticast: bool,
    /// Let the device check received checksums.
    pub rx_checksum: bool,
}

impl Default for DevConfig {
    fn default() -> Self {
        DevConfig {
            queues: 1,
            rx_desc: 1024,
            tx_desc: 1024,
            mtu: None,
            promiscuous: false,
            allmulticast: true,
            rx_checksum: true,
        }
    }
}

/// A device's totals since it was attached.
pub type DevStats = RlEthStats;

/// An attached device. It is stopped, closed and unplugged when this handle and all its queues are
/// gone.
#[derive(Debug)]
pub struct EthDev {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) port: u16,
    name: String,
    /// Where its receive queues take buffers from; set by `start`. Before `eal`, so dropped before
    /// it.
    pool: OnceLock<Mempool>,
    eal: Arc<eal::Inner>,
}

impl EthDev {
    /// Makes the virtual device, or attaches the PCI device, that `devargs` names.
    ///
    /// # Errors
    /// [`Error::Probe`] with DPDK's own words; [`Error::InUse`] when this process holds it already.
    pub fn probe(eal: &Eal, devargs: &Devargs) -> Result<EthDev, Error> {
        let device = devargs.name().to_owned();
        let mark = log::mark();
        let mut control = eal.inner.control();
        // PCI devices are attached when EAL starts.
        let port = match find(devargs.name()) {
            Ok(port) if control.ports.contains(&port) => return Err(Error::InUse { device }),
            Ok(port) => Ok(port),
            Err(_) => attach(devargs.as_str()).and_then(|()| find(devargs.name())),
        };
        let fail = |rc| {
            // Drivers return a bare -1 for anything; as an error number it would read "not
            // permitted".
            let reason = if rc == -1 { "the driver refused".to_owned() } else { reason(rc) };
            Error::Probe { device: device.clone(), reason, detail: log::since(mark) }
        };
        let port = port.map_err(fail)?;
        control.ports.push(port);
        let eal = Arc::clone(&eal.inner);
        let name = devargs.name().to_owned();
        Ok(EthDev { inner: Arc::new(Inner { port, name, pool: OnceLock::new(), eal }) })
    }

    /// Its name, such as `net_tap0`.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What it is and can do.
    ///
    /// # Errors
    /// [`Error::Start`] at [`Step::Info`] when the device does not answer.
    pub fn info(&self) -> Result<DevInfo, Error> {
        let mark = log::mark();
        // SAFETY: all-zero is a valid value of the structure: numbers and arrays of numbers.
        let mut raw: RlEthInfo = unsafe { std::mem::zeroed() };
        let _control = self.inner.eal.control();
        // SAFETY: the device is attached while a handle exists.
        let rc = unsafe { sys::rl_eth_info(self.inner.port, &mut raw) };
        self.check(rc, Step::Info, mark)?;
        Ok(DevInfo::from_raw(&raw))
    }

    /// The state of its link.
    ///
    /// # Errors
    /// As [`EthDev::info`].
    pub fn link(&self) -> Result<Link, Error> {
        Ok(self.info()?.link)
    }

    /// Configures the device, starts it with buffers from `pool`, and returns its queue pairs;
    /// once.
    ///
    /// # Errors
    /// [`Error::Queues`] and [`Error::Mtu`] when the device or the buffers do not allow what is
    /// asked, [`Error::InUse`] when it was started before, [`Error::Start`] with DPDK's own words
    /// otherwise.
    pub fn start(
        &mut self,
        config: &DevConfig,
        pool: &Mempool,
    ) -> Result<Vec<(RxQueue, TxQueue)>, Error> {
        let info = self.info()?;
        let conf = self.checked(config, &info, pool)?;
        if self.inner.pool.set(pool.clone()).is_err() {
            return Err(Error::InUse { device: self.inner.name.clone() });
        }
        let mark = log::mark();
        let control = self.inner.eal.control();
        let mut step = 0;
        // SAFETY: the device is attached, and the pool lives as long as `inner`, whose drop closes
        // the device.
        let rc = unsafe { sys::rl_eth_start(self.inner.port, &conf, pool.raw(), &mut step) };
        drop(control);
        self.check(rc, Step::from_raw(step), mark)?;
        let pair = |queue| {
            (
                RxQueue::new(Arc::clone(&self.inner), queue),
                TxQueue::new(Arc::clone(&self.inner), queue),
            )
        };
        Ok((0..config.queues).map(pair).collect())
    }

    /// Totals since it was attached.
    ///
    /// # Errors
    /// [`Error::Start`] at [`Step::Info`] when the device has none.
    pub fn stats(&self) -> Result<DevStats, Error> {
        let mark = log::mark();
        let mut stats = RlEthStats::default();
        let _control = self.inner.eal.control();
        // SAFETY: the device is attached while a handle exists.
        let rc = unsafe { sys::rl_eth_stats(self.inner.port, &mut stats) };
        self.check(rc, Step::Info, mark)?;
        Ok(stats)
    }

    /// Extended statistics, by the driver's names.
    ///
    /// # Errors
    /// As [`EthDev::stats`].
    pub fn xstats(&self) -> Result<Vec<(String, u64)>, Error> {
        let mark = log::mark();
        let _control = self.inner.eal.control();
        // SAFETY: the device is attached; nothing is written to no room.
        let count = unsafe { sys::rl_eth_xstats(self.inner.port, std::ptr::null_mut(), 0) };
        self.check(count.min(0), Step::Info, mark)?;
        let blank = RlXstat { name: [0; sys::RL_NAME_MAX], value: 0 };
        let mut raw = vec![blank; count as usize];
        // SAFETY: `raw` has room for `count`.
        let rc = unsafe { sys::rl_eth_xstats(self.inner.port, raw.as_mut_ptr(), count as u32) };
        self.check(rc.min(0), Step::Info, mark)?;
        Ok(raw.iter().map(|xstat| (info::text(&xstat.name), xstat.value)).collect())
    }

    /// Refuses what the device or the buffers cannot do before DPDK is asked.
    fn checked(
        &self,
        config: &DevConfig,
        info: &DevInfo,
        pool: &Mempool,
    ) -> Result<RlEthConf, Error> {
        let device = self.inner.name.clone();
        if config.queues == 0 || config.queues > info.queues_max {
            return Err(Error::Queues { device, asked: config.queues, max: info.queues_max });
        }
        let mtu = config.mtu.unwrap_or(info.mtu);
        let room = pool.data_room().saturating_sub(sys::RTE_PKTMBUF_HEADROOM);
        let max = info.mtu_max.min(room.saturating_sub(FRAME_OVERHEAD));
        if mtu < info.mtu_min || mtu > max {
            return Err(Error::Mtu { device, asked: mtu, min: info.mtu_min, max });
        }
        const CHECK: u64 = sys::RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | sys::RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
        Ok(RlEthConf {
            rx_offloads: if config.rx_checksum && info.can_check_rx_checksum { CHECK } else { 0 },
            // Checksums are always written by software: right on every device, and cheap beside the
            // cipher.
            tx_offloads: 0,
            queues: config.queues,
            rx_desc: config.rx_desc,
            tx_desc: config.tx_desc,
            mtu,
            promiscuous: config.promiscuous.into(),
            allmulticast: config.allmulticast.into(),
            rss: 1,
            pad: [0; 5],
        })
    }

    fn check(&self, rc: i32, step: Step, mark: u64) -> Result<(), Error> {
        if rc >= 0 {
            return Ok(());
        }
        let (device, reason, detail) = (self.inner.name.clone(), reason(rc), log::since(mark));
        Err(Error::Start { device, step, reason, detail })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut control = self.eal.control();
        control.ports.retain(|port| *port != self.port);
        // SAFETY: the last handle is gone, so no queue is polled or ever will be. A failure leaves
        // nothing to do: the device is gone either way.
        let _ = unsafe { sys::rl_eth_close(self.port) };
        // Buffers that lay in the device's queues are back.
        control.free_retired();
    }
}

fn find(name: &str) -> Result<u16, i32> {
    let name = c_string(name);
    // SAFETY: the caller holds the control lock of a started EAL; the name is NUL-terminated.
    let port = unsafe { sys::rl_eth_find(name.as_ptr()) };
    u16::try_from(port).map_err(|_| port)
}

fn attach(devargs: &str) -> Result<(), i32> {
    let devargs = c_string(devargs);
    // SAFETY: as in `find`.
    match unsafe { sys::rl_eth_probe(devargs.as_ptr()) } {
        0 => Ok(()),
        rc => Err(rc),
    }
}

fn c_string(text: &str) -> CString {
    CString::new(text).expect("Devargs holds printable ASCII")
}
