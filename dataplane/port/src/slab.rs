//! Packet buffers on the heap for the ports that have no memory of their own: all made at the
//! start, none after. A buffer knows its home, so it may be dropped anywhere, on another worker
//! too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use roomlane_core::buf::{BUF_CAPACITY, HEADROOM};
use roomlane_core::{Buf, Pool};

const SLOT_LEN: usize = HEADROOM + BUF_CAPACITY;
// Offsets are kept in 16 bits.
const _: () = assert!(SLOT_LEN <= u16::MAX as usize);

/// One buffer's memory, which stays where it is while its owner moves.
struct Slot(Box<Memory>);

/// A fresh payload begins a cache line: ciphers load and store half a line at a time.
#[repr(C, align(64))]
struct Memory {
    bytes: [u8; SLOT_LEN],
    home: Weak<Home>,
    /// The payload is `bytes[start..end]`. It is kept here and not in the buffer, as in DPDK's mbuf, so
    /// that a buffer is one pointer: moving several young fields at once would stall the processor.
    start: u16,
    end: u16,
}

const _: () = assert!(HEADROOM.is_multiple_of(64));

/// Where buffers wait that were dropped instead of freed. The lock is taken when a buffer is
/// dropped and when the pool ran out of its own; `free`, the common way, does not take it.
struct Home {
    returned: Mutex<Vec<Slot>>,
}

impl Home {
    fn returned(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fixed number of buffers.
pub struct SlabPool {
    free: Vec<Slot>,
    home: Arc<Home>,
    capacity: usize,
}

impl SlabPool {
    /// Makes `capacity` buffers of about 2 KiB each.
    pub fn new(capacity: usize) -> Self {
        let home = Arc::new(Home { returned: Mutex::new(Vec::with_capacity(capacity)) });
        let memory = |_| Memory {
            bytes: [0; SLOT_LEN],
            home: Arc::downgrade(&home),
            start: HEADROOM as u16,
            end: HEADROOM as u16,
        };
        let slot = |number| Slot(Box::new(memory(number)));
        let free = (0..capacity).map(slot).collect();
        SlabPool { free, home, capacity }
    }
}

impl SlabPool {
    /// Takes back what was dropped. Both vectors have room for all buffers, so nothing is allocated here.
    #[cold]
    fn collect(&mut self) {
        self.free.append(&mut self.home.returned());
    }
}

impl Pool for SlabPool {
    type Buf = SlabBuf;

    #[inline]
    fn alloc(&mut self) -> Option<SlabBuf> {
        if self.free.is_empty() {
            self.collect();
        }
        let mut slot = self.free.pop()?;
        (slot.0.start, slot.0.end) = (HEADROOM as u16, HEADROOM as u16);
        Some(SlabBuf { slot: Some(slot) })
    }

    #[inline]
    fn free(&mut self, mut buf: SlabBuf) {
        let is_ours = |slot: &mut Slot| slot.0.home.as_ptr() == Arc::as_ptr(&self.home);
        if let Some(slot) = buf.slot.take_if(is_ours) {
            self.free.push(slot);
        }
    }

    fn in_use(&self) -> usize {
        self.capacity - self.free.len() - self.home.returned().len()
    }
}

impl std::fmt::Debug for SlabPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SlabPool({} of {} in use)", self.in_use(), self.capacity)
    }
}

/// One buffer; dropping it sends it home.
#[repr(transparent)]
pub struct SlabBuf {
    /// Present until the buffer is freed or dropped.
    slot: Option<Slot>,
}

impl SlabBuf {
    #[inline]
    fn range(&self) -> (usize, usize) {
        self.slot.as_ref().map_or((0, 0), |slot| (slot.0.start.into(), slot.0.end.into()))
    }
}

impl Buf for SlabBuf {
    #[inline]
    fn bytes(&self) -> &[u8] {
        let (start, end) = self.range();
        self.slot.as_ref().map_or(&[], |slot| &slot.0.bytes[start..end])
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        let (start, end) = self.range();
        self.slot.as_mut().map_or(&mut [], |slot| &mut slot.0.bytes[start..end])
    }

    #[inline]
    fn headroom(&self) -> usize {
        self.range().0
    }

    #[inline]
    fn tailroom(&self) -> usize {
        SLOT_LEN - self.range().1
    }

    #[inline]
    fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        let memory = &mut *self.slot.as_mut()?.0;
        let end = usize::from(memory.start);
        let start = end.checked_sub(n)?;
        memory.start = start as u16;
        Some(&mut memory.bytes[start..end])
    }

    #[inline]
    fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        let memory = &mut *self.slot.as_mut()?.0;
        let start = usize::from(memory.end);
        let end = start.checked_add(n).filter(|end| *end <= SLOT_LEN)?;
        memory.end = end as u16;
        Some(&mut memory.bytes[start..end])
    }

    #[inline]
    fn advance(&mut self, n: usize) {
        if let Some(Slot(memory)) = &mut self.slot {
            memory.start += n.min(usize::from(memory.end - memory.start)) as u16;
        }
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        if let Some(Slot(memory)) = &mut self.slot {
            let kept = usize::from(memory.end - memory.start).min(len);
            memory.end = memory.start + kept as u16;
        }
    }
}

impl Drop for SlabBuf {
    #[inline]
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            go_home(slot);
        }
    }
}

/// A pool that is gone takes nothing back; its memory goes with the last buffer.
#[cold]
fn go_home(slot: Slot) {
    if let Some(home) = slot.0.home.upgrade() {
        home.returned().push(slot);
    }
}

impl std::fmt::Debug for SlabBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SlabBuf({} bytes)", self.bytes().len())
    }
}

const _: () = assert!(size_of::<SlabBuf>() == size_of::<usize>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_grows_and_shrinks_at_both_ends_within_its_memory() {
        let mut pool = SlabPool::new(1);
        let mut buf = pool.alloc().unwrap();
        assert_eq!((buf.headroom(), buf.tailroom(), buf.bytes().len()), (128, 2048, 0));
        buf.append(4).unwrap().copy_from_slice(b"body");
        buf.prepend(2).unwrap().copy_from_slice(b"a ");
        assert_eq!(buf.bytes(), b"a body");
        buf.advance(3);
        buf.truncate(2);
        assert_eq!((buf.bytes(), buf.headroom(), buf.tailroom()), (&b"od"[..], 129, 2045));
        buf.truncate(100);
        assert!(buf.append(2046).is_none() && buf.prepend(130).is_none());
        assert_eq!(buf.append(2045).unwrap().len(), 2045);
        assert_eq!(buf.prepend(129).unwrap().len(), 129);
        buf.advance(usize::MAX);
        assert!(buf.bytes().is_empty());
    }

    #[test]
    fn freed_and_dropped_buffers_come_back_clean_and_none_is_made() {
        let mut pool = SlabPool::new(2);
        let (mut a, b) = (pool.alloc().unwrap(), pool.alloc().unwrap());
        a.append(9).unwrap();
        assert!(pool.alloc().is_none());
        assert_eq!(pool.in_use(), 2);
        pool.free(a);
        drop(b);
        assert_eq!(pool.in_use(), 0);
        let again = [pool.alloc().unwrap(), pool.alloc().unwrap()];
        assert!(again.iter().all(|b| b.bytes().is_empty() && b.headroom() == HEADROOM));
        assert!(pool.alloc().is_none());
    }

    #[test]
    fn a_buffer_freed_elsewhere_goes_to_its_own_home() {
        let (mut ours, mut theirs) = (SlabPool::new(1), SlabPool::new(1));
        let buf = ours.alloc().unwrap();
        std::thread::scope(|s| {
            s.spawn(|| theirs.free(buf));
        });
        assert_eq!((ours.in_use(), theirs.in_use()), (0, 0));
        let their_only_one = theirs.alloc();
        assert!(their_only_one.is_some() && theirs.alloc().is_none());
        let orphan = ours.alloc().unwrap();
        drop(ours);
        drop(orphan);
    }
}
