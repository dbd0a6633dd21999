//! What the kernel asks of a packet: its owner has a record of it anyway, and nobody writes another one.

use crate::context::Context;
use crate::{IV, payload_len};

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

/// A packet of whoever has no record of its own.
#[derive(Debug)]
pub struct Record<'a, const R: usize> {
    context: &'a Context<R>,
    iv: [u8; IV],
    header: usize,
    packet: &'a mut [u8],
    /// Whether its tag held; `false` as long as nobody looked.
    pub is_authentic: bool,
}

impl<'a, const R: usize> Record<'a, R> {
    /// `packet` is the whole packet: a header of `header` bytes, the payload or room for it, the tag or room for it.
    /// `None` when the kernel does not take its shape: a header above [`HEADER_MAX`], a payload above
    /// [`PAYLOAD_MAX`], no room for a tag.
    ///
    /// [`HEADER_MAX`]: crate::HEADER_MAX
    /// [`PAYLOAD_MAX`]: crate::PAYLOAD_MAX
    #[inline]
    pub fn new(
        context: &'a Context<R>,
        iv: [u8; IV],
        header: usize,
        packet: &'a mut [u8],
    ) -> Option<Record<'a, R>> {
        payload_len(packet.len(), header)?;
        Some(Record { context, iv, header, packet, is_authentic: false })
    }
}

impl<'a, const R: usize> Packet<'a, R> for Record<'a, R> {
    #[inline(always)]
    fn context(&self) -> &'a Context<R> {
        self.context
    }

    #[inline(always)]
    fn iv(&self) -> [u8; IV] {
        self.iv
    }

    #[inline(always)]
    fn bytes(&mut self) -> (&mut [u8], usize) {
        (self.packet, self.header)
    }
}

impl<'a, const R: usize> SealedPacket<'a, R> for Record<'a, R> {
    #[inline(always)]
    fn set_authentic(&mut self, is_authentic: bool) {
        self.is_authentic = is_authentic;
    }
}
