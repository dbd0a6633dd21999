//! Datagrams on their way out: what the kernel reads until it answers.

use core::ptr::{null_mut, without_provenance_mut};
use std::net::SocketAddr;

use crate::Packet;
use crate::socket::{CONTROL_BYTES, NAME_BYTES, write_control, write_name};

/// Everything one `sendmsg` points to. Boxed by [`TxSlots`], so that it does not move.
struct TxSlot {
    header: libc::msghdr,
    vector: libc::iovec,
    name: Name,
    control: Control,
    packet: Option<Packet>,
}

#[repr(align(8))]
struct Name([u8; NAME_BYTES]);

#[repr(align(8))]
struct Control([u8; CONTROL_BYTES]);

impl TxSlot {
    fn empty() -> Self {
        let vector = libc::iovec { iov_base: null_mut(), iov_len: 0 };
        Self {
            header: empty_header(),
            vector,
            name: Name([0; NAME_BYTES]),
            control: Control([0; CONTROL_BYTES]),
            packet: None,
        }
    }
}

/// A `msghdr` of nothing.
pub(crate) fn empty_header() -> libc::msghdr {
    // SAFETY: null pointers and zero lengths are a valid `msghdr`.
    unsafe { core::mem::zeroed() }
}

/// A fixed number of slots, each free or with one datagram that the kernel has.
pub(crate) struct TxSlots {
    slots: Box<[TxSlot]>,
    free: Vec<u16>,
}

// SAFETY: the pointers in the slots point into the slots' own box and into packets they own.
unsafe impl Send for TxSlots {}

impl TxSlots {
    pub(crate) fn new(len: u16) -> Self {
        let slots = (0..len).map(|_| TxSlot::empty()).collect();
        Self { slots, free: (0..len).rev().collect() }
    }

    /// Datagrams that the kernel has.
    pub(crate) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn room(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Prepares a datagram; returns its slot and the header for the kernel, which stays valid until
    /// [`Self::finish`]. `None` (and the packet) when there is no slot.
    pub(crate) fn prepare(
        &mut self,
        mut packet: Packet,
        remote: SocketAddr,
        source: Option<std::net::IpAddr>,
        dscp: u8,
    ) -> Result<(u16, *const libc::msghdr), Packet> {
        let Some(index) = self.free.pop() else { return Err(packet) };
        let slot = &mut self.slots[usize::from(index)];
        let payload = packet.bytes_mut();
        slot.vector.iov_len = payload.len();
        slot.vector.iov_base = payload.as_mut_ptr().cast();
        slot.packet = Some(packet);
        let control_bytes = write_control(source, dscp, remote.is_ipv4(), &mut slot.control.0);
        slot.header.msg_namelen = write_name(remote, &mut slot.name.0);
        slot.header.msg_name = slot.name.0.as_mut_ptr().cast();
        slot.header.msg_iov = &raw mut slot.vector;
        slot.header.msg_iovlen = 1;
        slot.header.msg_controllen = control_bytes as _;
        slot.header.msg_control = match control_bytes {
            0 => without_provenance_mut(0),
            _ => slot.control.0.as_mut_ptr().cast(),
        };
        Ok((index, &raw const slot.header))
    }

    /// The kernel is done with the slot: its packet, or `None` for a slot that it did not have.
    pub(crate) fn finish(&mut self, index: u16) -> Option<Packet> {
        let packet = self.slots.get_mut(usize::from(index))?.packet.take()?;
        self.free.push(index);
        Some(packet)
    }

    /// Keeps the memory for good: the kernel could not be made to let go of it.
    pub(crate) fn leak(&mut self) {
        core::mem::forget(core::mem::take(&mut self.slots));
        self.free.clear();
    }
}
