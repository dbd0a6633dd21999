//! What can go wrong on the cold path, and whose fault it is.

use std::ffi::CStr;
use std::fmt;

/// Who has to act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The configuration asks for something that cannot be.
    Operator,
    /// The machine lacks something: memory, a right, an interface.
    Host,
    /// We called DPDK wrongly.
    Bug,
}

/// Where starting a device failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Asking the device what it is.
    Info,
    /// Setting the number of queues and descriptors.
    Configure,
    /// Setting the MTU.
    Mtu,
    /// Setting up a receive queue.
    RxQueue,
    /// Setting up a transmit queue.
    TxQueue,
    /// Starting.
    Start,
}

impl Step {
    pub(crate) fn from_raw(step: i32) -> Step {
        match step {
            dpdk_sys::RL_STEP_INFO => Step::Info,
            dpdk_sys::RL_STEP_CONFIGURE => Step::Configure,
            dpdk_sys::RL_STEP_MTU => Step::Mtu,
            dpdk_sys::RL_STEP_RX_QUEUE => Step::RxQueue,
            dpdk_sys::RL_STEP_TX_QUEUE => Step::TxQueue,
            _ => Step::Start,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Info => "query",
            Step::Configure => "configure",
            Step::Mtu => "set the MTU",
            Step::RxQueue => "set up a receive queue",
            Step::TxQueue => "set up a transmit queue",
            Step::Start => "start",
        })
    }
}

/// An error of the cold path. `detail` is what DPDK logged meanwhile, empty or beginning with ": ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Built without libdpdk.
    #[error("DPDK is not in this build: install libdpdk-dev and rebuild")]
    Absent,
    /// EAL starts once per process, also when the first start failed or ended.
    #[error("EAL was started in this process before; it can start only once")]
    AlreadyStarted,
    /// EAL refused to start.
    #[error("EAL did not start ({reason}){detail}")]
    Eal {
        /// The text of DPDK's error number.
        reason: String,
        /// What DPDK logged.
        detail: String,
    },
    /// The host has no such thread, file or right.
    #[error("{what}: {reason}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        reason: String,
    },
    /// Not a device DPDK could have.
    #[error("`{devargs}` is no DPDK device: {reason}")]
    Devargs {
        /// As configured.
        devargs: String,
        /// What is allowed.
        reason: &'static str,
    },
    /// The device could not be made or attached.
    #[error("{device}: cannot attach ({reason}){detail}")]
    Probe {
        /// Its name.
        device: String,
        /// The text of DPDK's error number.
        reason: String,
        /// What DPDK logged.
        detail: String,
    },
    /// Somebody in this process holds the device already.
    #[error("{device}: in use by another port of this process")]
    InUse {
        /// Its name.
        device: String,
    },
    /// The device could not be started.
    #[error("{device}: cannot {step} ({reason}){detail}")]
    Start {
        /// Its name.
        device: String,
        /// Where it failed.
        step: Step,
        /// The text of DPDK's error number.
        reason: String,
        /// What DPDK logged.
        detail: String,
    },
    /// More queues than the device has, or none.
    #[error("{device}: {asked} queue pairs asked, it has 1 to {max}")]
    Queues {
        /// Its name.
        device: String,
        /// Asked for.
        asked: u16,
        /// What the device has.
        max: u16,
    },
    /// An MTU that the device or the buffers cannot hold.
    #[error("{device}: MTU {asked} is not within {min} to {max} bytes")]
    Mtu {
        /// Its name.
        device: String,
        /// Asked for, in bytes.
        asked: u16,
        /// Least, in bytes.
        min: u16,
        /// Largest, in bytes.
        max: u16,
    },
    /// A pool could not be made.
    #[error("pool {name} of {mbufs} buffers: {reason}")]
    Pool {
        /// Its name.
        name: String,
        /// Buffers asked for.
        mbufs: u32,
        /// The text of DPDK's error number.
        reason: String,
    },
    /// No lcore id for this thread.
    #[error("this thread cannot become an lcore: {reason}")]
    Lcore {
        /// The text of DPDK's error number.
        reason: String,
    },
    /// A telemetry command was refused.
    #[error("telemetry command {command}: {reason}")]
    Telemetry {
        /// The command.
        command: String,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Error::Devargs { .. }
            | Error::Queues { .. }
            | Error::Mtu { .. }
            | Error::InUse { .. } => Fault::Operator,
            Error::AlreadyStarted | Error::Telemetry { .. } | Error::Lcore { .. } => Fault::Bug,
            Error::Absent
            | Error::Eal { .. }
            | Error::Host { .. }
            | Error::Probe { .. }
            | Error::Start { .. }
            | Error::Pool { .. } => Fault::Host,
        }
    }
}

/// The text of a DPDK error number of either sign.
pub(crate) fn reason(rc: i32) -> String {
    // SAFETY: no precondition; the text is copied before this thread can call it again.
    let text = unsafe { dpdk_sys::rl_strerror(rc) };
    // SAFETY: NUL-terminated, in thread-local storage of this thread.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}
