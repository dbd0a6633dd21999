//! A thick C shim over libdpdk and its declarations, written by hand.
//!
//! Built without libdpdk (`AVAILABLE` is false) the functions exist and panic: the safe crate above
//! refuses to start EAL then, and everything else needs a started EAL.
//!
//! Start reading at shim.c. Errors are negative errno values. "Same contract" below means the
//! contract of the DPDK function of that name.

mod types;

pub use types::*;

use core::ffi::{c_char, c_int};

/// Whether libdpdk is in this build.
pub const AVAILABLE: bool = cfg!(dpdk);

/// How libdpdk is linked: `static`, `shared`, or empty without it.
pub const LINK: &str = match option_env!("ROOMLANE_DPDK_LINK") {
    Some(link) => link,
    None => "",
};

/// The drivers linked into this binary, in DPDK's names without `librte_`. Empty without libdpdk,
/// and with dynamic linking, where drivers are found at run time.
pub fn drivers() -> impl Iterator<Item = &'static str> {
    option_env!("ROOMLANE_DPDK_DRIVERS").unwrap_or_default().split_whitespace()
}

/// Declares the shim's functions, or panicking ones of the same signatures without libdpdk.
macro_rules! shim {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)?;)*) => {
        #[cfg(dpdk)]
        unsafe extern "C" {
            $($(#[$meta])* pub fn $name($($arg: $type),*) $(-> $ret)?;)*
        }
        $(
            $(#[$meta])*
            ///
            /// # Safety
            /// Never returns: this build has no DPDK.
            #[cfg(not(dpdk))]
            pub unsafe extern "C" fn $name($(_: $type),*) $(-> $ret)? {
                panic!("{} needs DPDK, which is not in this build", stringify!($name))
            }
        )*
    };
}

shim! {
    /// The fact at `index` of the table of layouts and constants: its name, null after the last;
    /// its value goes to `value`.
    fn rl_fact(index: u32, value: *mut u64) -> *const c_char;
    /// `rte_version`.
    fn rl_version() -> *const c_char;
    /// `rte_eal_init`: same contract. `argv` must live as long as the process.
    fn rl_eal_init(argc: c_int, argv: *mut *mut c_char) -> c_int;
    /// `rte_eal_cleanup`: unmaps all of DPDK's memory; nothing of DPDK may be used afterwards.
    fn rl_eal_cleanup() -> c_int;
    /// The directory of EAL's sockets; it exists once EAL is up and stays behind.
    fn rl_runtime_dir() -> *const c_char;
    /// 1 when EAL runs on hugepages.
    fn rl_has_hugepages() -> c_int;
    /// The text of an errno value of either sign; valid until the thread's next call.
    fn rl_strerror(error: c_int) -> *const c_char;
    /// Ticks per second of the time-stamp counter, as EAL measured it.
    fn rl_tsc_hz() -> u64;
    /// Sends DPDK's log to `cb`, from any thread, for the rest of the process.
    fn rl_log_open(cb: RlLogCb) -> c_int;
    /// Writes one line to DPDK's log as a driver would.
    fn rl_log(level: u32, text: *const c_char) -> c_int;
    /// Gives the calling thread an lcore id and returns it; same contract as `rte_thread_register`.
    fn rl_thread_register() -> c_int;
    /// Flushes the thread's buffer caches and gives its lcore id back.
    fn rl_thread_unregister();
    /// The calling thread's lcore id, -1 when it has none.
    fn rl_lcore_id() -> c_int;
    /// A pool of packet buffers over a stack; null and `*error` on failure.
    fn rl_pool_create(name: *const c_char, mbufs: u32, cache: u32, data_room: u16, socket: c_int,
        error: *mut c_int) -> *mut RteMempool;
    /// `rte_mempool_free`: no buffer of the pool may be out, no thread inside one of its functions.
    fn rl_pool_free(pool: *mut RteMempool);
    /// Buffers that are neither in the stack nor in a cache.
    fn rl_pool_in_use(pool: *const RteMempool) -> u32;
    /// 1 when every buffer lies in the pool's stack, caches not counted.
    fn rl_pool_is_whole(pool: *const RteMempool) -> c_int;
    /// `rte_pktmbuf_alloc`; null when the pool is empty.
    fn rl_mbuf_alloc(pool: *mut RteMempool) -> *mut RteMbuf;
    /// `rte_pktmbuf_alloc_bulk`: all `n` or none.
    fn rl_mbuf_alloc_bulk(pool: *mut RteMempool, mbufs: *mut *mut RteMbuf, n: u32) -> c_int;
    /// `rte_pktmbuf_free`.
    fn rl_mbuf_free(mbuf: *mut RteMbuf);
    /// `rte_pktmbuf_free_bulk`; the buffers may be of several pools.
    fn rl_mbuf_free_bulk(mbufs: *mut *mut RteMbuf, n: u32);
    /// `rte_pktmbuf_chain`; `tail` then belongs to `head`.
    fn rl_mbuf_chain(head: *mut RteMbuf, tail: *mut RteMbuf) -> c_int;
    /// The number of the device with this name.
    fn rl_eth_find(name: *const c_char) -> c_int;
    /// `rte_dev_probe`: makes a virtual device or attaches a PCI one.
    fn rl_eth_probe(devargs: *const c_char) -> c_int;
    /// What the device is and can do.
    fn rl_eth_info(port: u16, out: *mut RlEthInfo) -> c_int;
    /// Configures and starts; `*step` is one of `RL_STEP_*`.
    fn rl_eth_start(port: u16, conf: *const RlEthConf, pool: *mut RteMempool, step: *mut c_int)
        -> c_int;
    /// Stops, closes and unplugs; no queue of the device may be in use or used again.
    fn rl_eth_close(port: u16) -> c_int;
    /// Totals.
    fn rl_eth_stats(port: u16, out: *mut RlEthStats) -> c_int;
    /// Extended statistics: fills `out` when `n` suffices, and returns how many there are.
    fn rl_eth_xstats(port: u16, out: *mut RlXstat, n: u32) -> c_int;
    /// Receives at most `n` buffers of one segment and one reference each; others are freed and
    /// added to `refused`. One thread per queue.
    fn rl_rx_burst(port: u16, queue: u16, mbufs: *mut *mut RteMbuf, n: u16, refused: *mut u64)
        -> u16;
    /// Sends from the front and returns how many were taken. One thread per queue.
    fn rl_tx_burst(port: u16, queue: u16, mbufs: *mut *mut RteMbuf, n: u16) -> u16;
    /// Registers a command of DPDK's telemetry socket; all commands share the last `cb`.
    fn rl_telemetry_register(cmd: *const c_char, help: *const c_char, cb: RlTelemetryCb) -> c_int;
    /// Makes the answer a string.
    fn rl_tel_string(out: *mut RteTelData, text: *const c_char) -> c_int;
    /// Makes the answer a dictionary.
    fn rl_tel_dict(out: *mut RteTelData) -> c_int;
    /// Adds a number to a dictionary.
    fn rl_tel_dict_u64(out: *mut RteTelData, name: *const c_char, value: u64) -> c_int;
    /// Adds a string to a dictionary.
    fn rl_tel_dict_string(out: *mut RteTelData, name: *const c_char, text: *const c_char) -> c_int;
}
