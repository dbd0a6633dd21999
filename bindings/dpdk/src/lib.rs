//! Safe, owned wrappers over DPDK: the environment (EAL), lcores, pools, buffers, devices,
//! telemetry.
//!
//! *Invariants.* An [`Mbuf`] is one segment with one owner. Memory of a pool is given back only
//! when every buffer lies in the pool's stack, and DPDK's memory is unmapped only when every pool
//! could be given back. DPDK's control functions are called under one lock. A device is stopped,
//! closed and unplugged when its last handle goes, so an XDP program is detached and a tap
//! interface removed whenever values are dropped (a signal handler that ends the process without
//! unwinding skips that).
//!
//! Without libdpdk the crate compiles, [`AVAILABLE`] is false and [`Eal::start`] says what to
//! install; no other type can be made then, because each needs a started [`Eal`].
//!
//! Start reading at [`Eal::start`], then [`EthDev::probe`] and [`EthDev::start`].

mod cycles;
mod devargs;
mod eal;
mod error;
mod ethdev;
mod info;
mod lcore;
pub mod log;
mod mbuf;
mod memory;
mod mempool;
mod queue;
pub mod telemetry;

pub use cycles::{cycles, cycles_hz, prefetch};
pub use devargs::Devargs;
pub use eal::{Eal, EalConfig};
pub use error::{Error, Fault, Step};
pub use ethdev::{DevConfig, DevStats, EthDev};
pub use info::{DevInfo, Link};
pub use lcore::Lcore;
pub use mbuf::{Checksum, Mbuf};
pub use memory::{Memory, MemoryMode};
pub use mempool::{Mempool, PoolConfig};
pub use queue::{RX_BURST_MAX, RxQueue, TX_BURST_MAX, TxQueue};

/// Whether libdpdk is in this build.
pub const AVAILABLE: bool = dpdk_sys::AVAILABLE;

/// How libdpdk is linked: `static`, `shared`, or empty without it.
pub const LINK: &str = dpdk_sys::LINK;

/// The version of libdpdk, such as `DPDK 22.11.11`; `None` without it.
pub fn version() -> Option<&'static str> {
    if !AVAILABLE {
        return None;
    }
    // SAFETY: no precondition.
    let text = unsafe { dpdk_sys::rl_version() };
    // SAFETY: rte_version returns a NUL-terminated string that lives as long as the process.
    let text = unsafe { std::ffi::CStr::from_ptr(text) };
    text.to_str().ok()
}

/// The drivers linked into this binary, for `--version`. Empty without libdpdk, and with
/// `dpdk-shared`, where drivers are found at run time.
pub fn drivers() -> impl Iterator<Item = &'static str> {
    dpdk_sys::drivers()
}
