//! The handshake between control and data plane, and what a console gets: a small message beside the
//! descriptors, over Unix SEQPACKET sockets.

use bincode::{Decode, Encode};

/// File name of the socket on which the data plane waits for its control plane.
pub const DATAPLANE_SOCKET: &str = "dataplane.sock";
/// File name of the socket that hands the stats region to anyone who may connect.
pub const STATS_SOCKET: &str = "stats.sock";
/// File name of the control plane's admin socket (JSON lines).
pub const ADMIN_SOCKET: &str = "control.sock";
/// File name of what a draining node remembers over a restart of its control plane.
pub const DRAIN_FILE: &str = "draining";

/// First message of a control plane. With it goes at most one descriptor: the control region of the
/// data plane that died, whose ledger the new one continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// [`crate::region::LAYOUT_VERSION`].
    pub layout_version: u32,
    /// Whether a control region comes along.
    pub has_ledger: bool,
}

/// The data plane's answer. With it go, in this order: control region, stats region, then per shard the
/// eventfd that wakes the shard, then one eventfd that wakes the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// [`crate::region::LAYOUT_VERSION`].
    pub layout_version: u32,
    /// Differs between any two data planes that ever ran.
    pub instance: u64,
    /// Sizes by which both sides compute offsets.
    pub shards: u32,
    /// Sessions per shard.
    pub sessions_max: u32,
    /// Rooms per shard.
    pub rooms_max: u32,
    /// UDP port of shard 0.
    pub udp_base: u16,
    /// The old ledger was taken over.
    pub adopted: bool,
    /// Sessions are open already: ask for `Resync` before opening others.
    pub resync: bool,
}
