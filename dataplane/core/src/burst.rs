//! Datagrams and the fixed arrays in which they travel.

use arrayvec::ArrayVec;
pub use proto::{Endpoint, Path};

/// Datagrams a port receives in one call.
pub const BURST_MAX: usize = 32;
/// Datagrams a worker collects before it hands them to the port.
pub const TX_BURST_MAX: usize = 64;

/// A UDP payload with the addresses it came from or goes to.
#[derive(Debug)]
pub struct Datagram<B> {
    /// Both ends, seen from the node.
    pub path: Path,
    /// Differentiated services code point, 0 to 63 (RFC 2474); received ones are 0.
    pub dscp: u8,
    /// The payload.
    pub buf: B,
}

/// What one receive call yields.
pub type Burst<B> = ArrayVec<Datagram<B>, BURST_MAX>;
/// What one transmit call takes.
pub type TxBurst<B> = ArrayVec<Datagram<B>, TX_BURST_MAX>;
