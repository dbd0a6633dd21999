//! The ring through which the kernel gets buffers to receive into.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, Ordering};
use std::io;

use io_uring::types::BufRingEntry;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Shared with the kernel: entries we append, which it consumes. The tail lives in the first entry.
pub(crate) struct BufRing {
    entries: NonNull<BufRingEntry>,
    len: u16,
    tail: u16,
}

// SAFETY: the mapping is plain memory owned by this value.
unsafe impl Send for BufRing {}

impl BufRing {
    /// A ring of `len` entries, a power of two. Page-aligned, as the kernel wants it.
    pub(crate) fn new(len: u16) -> io::Result<Self> {
        debug_assert!(len.is_power_of_two());
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        let (null, bytes) = (core::ptr::null_mut(), Self::bytes(len));
        // SAFETY: the kernel chooses the address, so no existing mapping is replaced.
        let base = unsafe { mmap_anonymous(null, bytes, prot, MapFlags::PRIVATE) }?;
        let entries = NonNull::new(base.cast()).expect("mmap never returns null");
        Ok(Self { entries, len, tail: 0 })
    }

    fn bytes(len: u16) -> usize {
        usize::from(len) * size_of::<BufRingEntry>()
    }

    /// What to register; valid until this is dropped.
    pub(crate) fn address(&self) -> u64 {
        self.entries.as_ptr() as u64
    }

    pub(crate) fn len(&self) -> u16 {
        self.len
    }

    /// Appends a buffer; [`Self::publish`] shows it to the kernel. The caller never has more than
    /// `len` buffers in the ring and leaves them alone until the kernel returns them.
    pub(crate) fn add(&mut self, buffer: NonNull<u8>, len_bytes: u32, id: u16) {
        let at = usize::from(self.tail & (self.len - 1));
        // SAFETY: `at` is below `len`.
        let mut entry = unsafe { self.entries.add(at) };
        // SAFETY: the entry is mapped, and the kernel does not read it before `publish`.
        let entry = unsafe { entry.as_mut() };
        entry.set_addr(buffer.as_ptr() as u64);
        entry.set_len(len_bytes);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows what was added to the kernel.
    pub(crate) fn publish(&mut self) {
        // SAFETY: the pointer is the first entry of a mapped, zero-initialised ring.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) };
        // SAFETY: 16 aligned bits that nobody else writes and the kernel reads atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for BufRing {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours; the kernel was told to forget it, or pins the pages itself.
        let unmapped = unsafe { munmap(self.entries.as_ptr().cast(), Self::bytes(self.len)) };
        debug_assert!(unmapped.is_ok());
    }
}
