//! One `mmap` of a descriptor, unmapped on drop; locked and wiped on drop where it holds keys.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use std::os::fd::BorrowedFd;

use rustix::io;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap, munmap};

use crate::WORD_BYTES;
use crate::sync::AtomicU64;

/// A shared mapping of whole words.
pub(crate) struct Mapping {
    slice: NonNull<[AtomicU64]>,
    writable: bool,
    wipe_on_drop: AtomicBool,
}

// SAFETY: the mapping is plain address space owned by this value; it is reached only as atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `size_bytes` bytes from the start of `fd`, shared.
    ///
    /// The caller has checked that the file is at least that long and sealed against shrinking:
    /// a page that vanishes would be a SIGBUS.
    pub(crate) fn new(fd: BorrowedFd<'_>, size_bytes: usize, writable: bool) -> io::Result<Self> {
        let prot = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: the kernel chooses the address, so no existing mapping is replaced.
        let base =
            unsafe { mmap(core::ptr::null_mut(), size_bytes, prot, MapFlags::SHARED, fd, 0) }?;
        let base = NonNull::new(base.cast::<AtomicU64>()).expect("mmap never returns null");
        let slice = NonNull::slice_from_raw_parts(base, size_bytes / WORD_BYTES);
        Ok(Self { slice, writable, wipe_on_drop: AtomicBool::new(false) })
    }

    pub(crate) fn slice(&self) -> NonNull<[AtomicU64]> {
        self.slice
    }

    fn size_bytes(&self) -> usize {
        self.slice.len() * WORD_BYTES
    }

    /// Keeps the pages in memory and out of core dumps.
    pub(crate) fn lock(&self) -> io::Result<()> {
        let base = self.slice.as_ptr().cast();
        // SAFETY: the range is exactly this mapping; locking changes no content.
        unsafe { mlock(base, self.size_bytes()) }?;
        // SAFETY: as above; DONTDUMP changes no content.
        unsafe { madvise(base, self.size_bytes(), Advice::LinuxDontDump) }
    }

    /// Zero the words when the last view goes.
    pub(crate) fn wipe_on_drop(&self) {
        debug_assert!(self.writable);
        self.wipe_on_drop.store(true, Ordering::Relaxed);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.wipe_on_drop.load(Ordering::Relaxed) && self.writable {
            // SAFETY: still mapped, writable, and reached as atomics only.
            let words = unsafe { self.slice.as_ref() };
            words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        }
        // SAFETY: the range is exactly this mapping, and views hold an `Arc` of it, so none is left.
        let unmapped = unsafe { munmap(self.slice.as_ptr().cast(), self.size_bytes()) };
        debug_assert!(unmapped.is_ok());
    }
}
