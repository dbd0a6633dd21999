//! Packet buffers: one segment, one owner, freed on drop.

use std::ptr::NonNull;
use std::slice;

use dpdk_sys::{self as sys, RteMbuf};

/// What the device said of a checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// It did not look, or cannot.
    Unknown,
    /// It is wrong.
    Bad,
    /// It is right.
    Good,
    /// The field does not hold it (a local sender left a partial sum), but the data is intact.
    Absent,
}

/// An owned packet buffer. Not `Clone`; dropping it gives it back to its pool, from any thread.
///
/// Invariant: the pointer is a live `rte_mbuf` with one segment and one reference, ours;
/// `data_off + data_len <= buf_len` and `pkt_len == data_len`.
#[repr(transparent)]
pub struct Mbuf(NonNull<RteMbuf>);

// SAFETY: the buffer has one owner, and pools take buffers back from any thread.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes ownership.
    ///
    /// # Safety
    /// The type's invariant holds for `raw`, and nobody else uses it any more.
    pub(crate) unsafe fn from_raw(raw: NonNull<RteMbuf>) -> Mbuf {
        Mbuf(raw)
    }

    /// The pointer, for calls that may take ownership.
    #[inline]
    pub(crate) fn as_raw(&mut self) -> *mut RteMbuf {
        self.0.as_ptr()
    }

    fn raw(&self) -> &RteMbuf {
        // SAFETY: live and ours by the invariant.
        unsafe { self.0.as_ref() }
    }

    fn raw_mut(&mut self) -> &mut RteMbuf {
        // SAFETY: live and ours alone by the invariant.
        unsafe { self.0.as_mut() }
    }

    /// The first byte of the data.
    fn data(&self) -> *mut u8 {
        let raw = self.raw();
        raw.buf_addr.wrapping_add(raw.data_off.into())
    }

    /// The data.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: data_off + data_len lies within the buffer, which is ours and initialised (DPDK's
        // memory starts zeroed).
        unsafe { slice::from_raw_parts(self.data(), self.raw().data_len.into()) }
    }

    /// The data, writable.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; the buffer has no other owner.
        unsafe { slice::from_raw_parts_mut(self.data(), self.raw().data_len.into()) }
    }

    /// Bytes of data.
    #[inline]
    pub fn len(&self) -> usize {
        self.raw().data_len.into()
    }

    /// Whether there is no data.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Free bytes in front of the data.
    #[inline]
    pub fn headroom(&self) -> usize {
        self.raw().data_off.into()
    }

    /// Free bytes behind the data.
    #[inline]
    pub fn tailroom(&self) -> usize {
        let raw = self.raw();
        // By the invariant this cannot go below zero.
        usize::from(raw.buf_len) - usize::from(raw.data_off) - usize::from(raw.data_len)
    }

    /// Grows the data by `n` bytes in front, whose content is unspecified, and returns them.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.headroom() {
            return None;
        }
        let raw = self.raw_mut();
        // `n` is at most a u16 here.
        raw.data_off -= n as u16;
        raw.data_len += n as u16;
        raw.pkt_len = raw.data_len.into();
        Some(&mut self.bytes_mut()[..n])
    }

    /// Grows the data by `n` bytes behind, whose content is unspecified, and returns them.
    #[inline]
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.tailroom() {
            return None;
        }
        let start = self.len();
        let raw = self.raw_mut();
        // `n` is at most a u16 here.
        raw.data_len += n as u16;
        raw.pkt_len = raw.data_len.into();
        Some(&mut self.bytes_mut()[start..])
    }

    /// Cuts `n` bytes in front; cutting more than there are leaves no data (DPDK's `adj`).
    #[inline]
    pub fn advance(&mut self, n: usize) {
        let raw = self.raw_mut();
        let n = n.min(raw.data_len.into()) as u16;
        raw.data_off += n;
        raw.data_len -= n;
        raw.pkt_len = raw.data_len.into();
    }

    /// Keeps the first `len` bytes (DPDK's `trim`, told what stays).
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        let raw = self.raw_mut();
        raw.data_len = len.min(raw.data_len.into()) as u16;
        raw.pkt_len = raw.data_len.into();
    }

    /// What the device said of the IPv4 header checksum.
    #[inline]
    pub fn ip_checksum(&self) -> Checksum {
        match self.raw().ol_flags & sys::RTE_MBUF_F_RX_IP_CKSUM_MASK {
            sys::RTE_MBUF_F_RX_IP_CKSUM_BAD => Checksum::Bad,
            sys::RTE_MBUF_F_RX_IP_CKSUM_GOOD => Checksum::Good,
            sys::RTE_MBUF_F_RX_IP_CKSUM_NONE => Checksum::Absent,
            _ => Checksum::Unknown,
        }
    }

    /// What the device said of the UDP checksum.
    #[inline]
    pub fn udp_checksum(&self) -> Checksum {
        match self.raw().ol_flags & sys::RTE_MBUF_F_RX_L4_CKSUM_MASK {
            sys::RTE_MBUF_F_RX_L4_CKSUM_BAD => Checksum::Bad,
            sys::RTE_MBUF_F_RX_L4_CKSUM_GOOD => Checksum::Good,
            sys::RTE_MBUF_F_RX_L4_CKSUM_NONE => Checksum::Absent,
            _ => Checksum::Unknown,
        }
    }

    /// Forgets what a device said on receipt, so that a buffer that is sent on asks no offload.
    #[inline]
    pub fn clear_offloads(&mut self) {
        self.raw_mut().ol_flags = 0;
    }

    /// Asks the processor to load what a new packet is written to first: the line in front of the data, where
    /// the headers below UDP go, and the first line of the data; a hint.
    #[inline]
    pub fn prefetch_for_write(&self) {
        crate::cycles::prefetch_at(self.data().wrapping_sub(64));
        crate::cycles::prefetch_at(self.data());
    }

    /// Asks the processor to load the first line of the data; a hint.
    #[inline]
    pub fn prefetch(&self) {
        crate::cycles::prefetch_at(self.data());
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: ours, and never used again.
        unsafe { sys::rl_mbuf_free(self.0.as_ptr()) }
    }
}

impl std::fmt::Debug for Mbuf {
    /// Sizes only: the bytes are somebody's media.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mbuf")
            .field("len", &self.len())
            .field("headroom", &self.headroom())
            .field("tailroom", &self.tailroom())
            .finish()
    }
}
