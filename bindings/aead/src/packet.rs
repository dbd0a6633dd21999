//! What the kernel asks of a packet: its owner has a record of it anyway, and nobody writes another one.

use crate::IV;
use crate::context::Context;

/// A packet to seal.
pub trait Packet<'a, const R: usize> {
    /// Its key.
    fn context(&self) -> &'a Context<R>;
    /// Its IV.
    fn iv(&self) -> [u8; IV];
    /// A finished header and what is behind it; and the header's length. To seal: room for payload and tag, or more.
    /// To open: both of them, and nothing behind.
    fn bytes(&mut self) -> (&mut [u8], usize);
}

/// A packet to open.
pub trait SealedPacket<'a, const R: usize>: Packet<'a, R> {
    /// Is told whether the tag held.
    fn set_authentic(&mut self, is_authentic: bool);
}
