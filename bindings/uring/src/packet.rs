//! Packet buffers: fixed slots of one slab, owned one by one.
//!
//! A slot is [`HEADROOM_BYTES`] and [`CAPACITY_BYTES`] behind them. While the kernel receives into
//! it, what it tells about the datagram fills exactly the headroom. The slab lives as long as any
//! of its packets. Dropping a packet gives its slot back; [`Pool::free`] does the same faster.

use core::ptr::NonNull;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Bytes in front of a fresh payload.
pub const HEADROOM_BYTES: usize = 128;

/// Bytes a payload may have behind the headroom.
pub const CAPACITY_BYTES: usize = 2048;

/// Bytes of a slot: a whole number of cache lines.
pub(crate) const SLOT_BYTES: usize = HEADROOM_BYTES + CAPACITY_BYTES;

const _: () = assert!(SLOT_BYTES.is_multiple_of(64) && SLOT_BYTES <= u16::MAX as usize);

/// One anonymous mapping, zero-filled and backed by memory from the start.
struct Slab {
    base: NonNull<u8>,
    slots: u32,
    /// Slots whose packets were dropped instead of freed.
    dropped: Mutex<Vec<u32>>,
}

// SAFETY: the mapping is plain memory; a slot is reached only through the one packet that owns it.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Slab {
    fn new(slots: u32) -> io::Result<Self> {
        let size_bytes = slots as usize * SLOT_BYTES;
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
        // SAFETY: the kernel chooses the address, so no existing mapping is replaced.
        let base = unsafe { mmap_anonymous(core::ptr::null_mut(), size_bytes, prot, flags) }?;
        let base = NonNull::new(base.cast()).expect("mmap never returns null");
        Ok(Self { base, slots, dropped: Mutex::new(Vec::with_capacity(slots as usize)) })
    }

    fn dropped(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        // A list of numbers is whole after a panic too.
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and every packet holds the slab, so none is left.
        let unmapped =
            unsafe { munmap(self.base.as_ptr().cast(), self.slots as usize * SLOT_BYTES) };
        debug_assert!(unmapped.is_ok());
    }
}

/// One packet buffer, owned. Its payload may grow and shrink at both ends within the slot.
pub struct Packet {
    slab: Arc<Slab>,
    slot: u32,
    start: u16,
    len: u16,
}

impl Packet {
    pub(crate) fn slot_ptr(&self) -> NonNull<u8> {
        // SAFETY: slot numbers are below the slab's number of slots.
        unsafe { self.slab.base.add(self.slot as usize * SLOT_BYTES) }
    }

    /// The whole slot: what the kernel wrote while it had it.
    pub(crate) fn slot_bytes(&self) -> &[u8] {
        let slot = NonNull::slice_from_raw_parts(self.slot_ptr(), SLOT_BYTES);
        // SAFETY: the slot lies in the slab, is initialised (zeros at first), and this packet is
        // its only owner; the kernel gave it back with the completion that named it.
        unsafe { slot.as_ref() }
    }

    fn slot_bytes_mut(&mut self) -> &mut [u8] {
        let mut slot = NonNull::slice_from_raw_parts(self.slot_ptr(), SLOT_BYTES);
        // SAFETY: as in `slot_bytes`, and we are borrowed exclusively.
        unsafe { slot.as_mut() }
    }

    pub(crate) fn set_payload(&mut self, start: usize, len: usize) {
        assert!(start + len <= SLOT_BYTES);
        // Both fit: `SLOT_BYTES` does.
        (self.start, self.len) = (start as u16, len as u16);
    }

    fn reset(&mut self) {
        self.set_payload(HEADROOM_BYTES, 0);
    }

    /// The payload.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let start = usize::from(self.start);
        &self.slot_bytes()[start..start + usize::from(self.len)]
    }

    /// The payload, writable.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let (start, len) = (usize::from(self.start), usize::from(self.len));
        &mut self.slot_bytes_mut()[start..start + len]
    }

    /// Free bytes in front of the payload.
    #[must_use]
    pub fn headroom(&self) -> usize {
        usize::from(self.start)
    }

    /// Free bytes behind the payload.
    #[must_use]
    pub fn tailroom(&self) -> usize {
        SLOT_BYTES - usize::from(self.start) - usize::from(self.len)
    }

    /// Grows the payload by `n` bytes in front (content unspecified) and returns them.
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        let start = self.headroom().checked_sub(n)?;
        self.set_payload(start, n + usize::from(self.len));
        Some(&mut self.bytes_mut()[..n])
    }

    /// Grows the payload by `n` bytes behind (content unspecified) and returns them.
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        let len = usize::from(self.len);
        self.tailroom().checked_sub(n)?;
        self.set_payload(self.headroom(), len + n);
        Some(&mut self.bytes_mut()[len..])
    }

    /// Cuts `n` bytes in front; cutting more than there are leaves an empty payload.
    pub fn advance(&mut self, n: usize) {
        let n = n.min(usize::from(self.len));
        self.set_payload(self.headroom() + n, usize::from(self.len) - n);
    }

    /// Keeps the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.set_payload(self.headroom(), len.min(usize::from(self.len)));
    }

    /// Asks the processor to load the payload's first line; a hint.
    pub fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let line = self.bytes().as_ptr().cast();
            // SAFETY: a prefetch reads nothing, whatever the address.
            // WHY: the payload was written by the kernel, often on another core.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
        }
    }
}

impl core::fmt::Debug for Packet {
    // Never the content: it is somebody's media.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Packet({} bytes)", self.len)
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        self.slab.dropped().push(self.slot);
    }
}

/// The packets of a slab that nobody uses.
#[derive(Debug)]
pub(crate) struct Pool {
    slab: Arc<Slab>,
    free: Vec<Packet>,
}

impl core::fmt::Debug for Slab {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Slab({} slots)", self.slots)
    }
}

impl Pool {
    pub(crate) fn new(slots: u32) -> io::Result<Self> {
        let slab = Arc::new(Slab::new(slots)?);
        let packet = |slot| Packet { slab: Arc::clone(&slab), slot, start: 0, len: 0 };
        let free = (0..slots).rev().map(packet).collect();
        Ok(Self { slab, free })
    }

    /// An empty packet.
    pub(crate) fn alloc(&mut self) -> Option<Packet> {
        if self.free.is_empty() {
            self.collect_dropped();
        }
        let mut packet = self.free.pop()?;
        packet.reset();
        Some(packet)
    }

    /// Takes a packet back. One of another slab just goes back to that.
    pub(crate) fn free(&mut self, packet: Packet) {
        if Arc::ptr_eq(&self.slab, &packet.slab) {
            self.free.push(packet);
        }
    }

    /// Packets that are out.
    pub(crate) fn out(&self) -> usize {
        self.slab.slots as usize - self.free.len() - self.slab.dropped().len()
    }

    fn collect_dropped(&mut self) {
        let mut dropped = self.slab.dropped();
        let packet = |slot| Packet { slab: Arc::clone(&self.slab), slot, start: 0, len: 0 };
        self.free.extend(dropped.drain(..).map(packet));
    }

    /// Keeps the memory mapped for good: the kernel could not be made to let go of it.
    pub(crate) fn leak(&self) {
        core::mem::forget(Arc::clone(&self.slab));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_grows_and_shrinks_within_its_slot() {
        let mut pool = Pool::new(1).expect("slab");
        let mut packet = pool.alloc().expect("one");
        assert_eq!((packet.headroom(), packet.tailroom()), (HEADROOM_BYTES, CAPACITY_BYTES));
        packet.append(3).expect("room").copy_from_slice(b"xyz");
        packet.prepend(2).expect("room").copy_from_slice(b"ab");
        assert_eq!(packet.bytes(), b"abxyz");
        packet.advance(1);
        packet.truncate(3);
        assert_eq!(packet.bytes(), b"bxy");
        assert_eq!(packet.headroom(), HEADROOM_BYTES - 1);
        assert!(packet.append(CAPACITY_BYTES).is_none());
        assert!(packet.prepend(HEADROOM_BYTES).is_none());
        assert!(packet.prepend(usize::MAX).is_none() && packet.append(usize::MAX).is_none());
        assert_eq!(packet.bytes(), b"bxy");
        packet.advance(9);
        assert_eq!(packet.bytes(), b"");
    }

    #[test]
    fn slots_do_not_overlap_and_come_back_by_free_or_drop() {
        let mut pool = Pool::new(3).expect("slab");
        let mut packets: Vec<_> = (0..3).map(|_| pool.alloc().expect("three")).collect();
        assert!(pool.alloc().is_none());
        assert_eq!(pool.out(), 3);
        for (i, packet) in packets.iter_mut().enumerate() {
            packet.prepend(HEADROOM_BYTES).expect("room");
            packet.append(CAPACITY_BYTES).expect("room");
            packet.bytes_mut().fill(i as u8 + 1);
        }
        for (i, packet) in packets.iter().enumerate() {
            assert!(packet.bytes().iter().all(|&byte| byte == i as u8 + 1));
        }
        pool.free(packets.pop().expect("third"));
        drop(packets.pop());
        assert_eq!(pool.out(), 1);
        let again = (pool.alloc().expect("freed"), pool.alloc().expect("dropped"));
        assert!(again.0.bytes().is_empty() && again.0.headroom() == HEADROOM_BYTES);
        assert!(pool.alloc().is_none());
    }

    #[test]
    fn a_packet_outlives_its_pool_and_may_die_elsewhere() {
        let mut pool = Pool::new(2).expect("slab");
        let mut packet = pool.alloc().expect("two");
        packet.append(1).expect("room")[0] = 7;
        drop(pool);
        let sum = std::thread::spawn(move || packet.bytes()[0]).join();
        assert_eq!(sum.expect("thread"), 7);
    }

    #[test]
    fn a_foreign_packet_does_not_enter_the_pool() {
        let (mut a, mut b) = (Pool::new(1).expect("slab"), Pool::new(1).expect("slab"));
        let packet = a.alloc().expect("one");
        b.free(packet);
        assert_eq!((a.out(), b.out()), (0, 0));
        let own = b.alloc();
        assert!(own.is_some() && b.alloc().is_none());
        assert!(a.alloc().is_some());
    }
}
