//! Packet buffers, as the core sees them: somebody else's memory with room on both sides.

/// One packet buffer. `bytes` is the UDP payload while the core holds it; the headroom in front takes
/// the headers below UDP when a port transmits it.
pub trait Buf {
    /// The payload.
    fn bytes(&self) -> &[u8];
    /// The payload, writable.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Free bytes in front of the payload.
    fn headroom(&self) -> usize;
    /// Free bytes behind the payload.
    fn tailroom(&self) -> usize;
    /// Grows the payload by `n` bytes in front (content unspecified) and returns them.
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]>;
    /// Grows the payload by `n` bytes behind (content unspecified) and returns them.
    fn append(&mut self, n: usize) -> Option<&mut [u8]>;
    /// Cuts `n` bytes in front; cutting more than there are leaves an empty payload.
    fn advance(&mut self, n: usize);
    /// Keeps the first `len` bytes.
    fn truncate(&mut self, len: usize);
    /// Asks the processor to load the first line; a hint.
    fn prefetch(&self) {}
}

/// Where buffers come from and go to. Dropping a buffer is allowed and releases it too; `free` is the
/// way that keeps it for the next `alloc`.
pub trait Pool {
    /// Its buffers.
    type Buf: Buf;
    /// An empty buffer with `HEADROOM` in front, or `None` when the pool is empty.
    fn alloc(&mut self) -> Option<Self::Buf>;
    /// Takes a buffer back.
    fn free(&mut self, buf: Self::Buf);
    /// Buffers that are out at this moment.
    fn in_use(&self) -> usize;
}

/// Bytes in front of a fresh payload: Ethernet with a VLAN tag (18), IPv6 (40) and UDP (8), rounded up
/// to what DPDK reserves.
pub const HEADROOM: usize = 128;
/// Payload bytes a buffer has room for behind the headroom.
pub const BUF_CAPACITY: usize = 2048;
