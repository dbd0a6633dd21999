//! Pools of packet buffers.

use std::ffi::CString;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use arrayvec::ArrayVec;
use dpdk_sys::{self as sys, RteMempool};

use crate::eal::{self, Retired};
use crate::error::reason;
use crate::{Eal, Error, Mbuf};

/// Buffers DPDK keeps per lcore at most.
const CACHE_MAX: u32 = 512;
/// Buffers one `alloc_bulk` gives at most.
const BULK_MAX: usize = 64;

/// Size and shape of a pool.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// Its name, at most 25 characters, unique in the process.
    pub name: String,
    /// Buffers.
    pub mbufs: u32,
    /// Buffers each lcore keeps for itself; lowered to what the pool's size allows.
    pub cache: u32,
    /// Bytes of a buffer, its headroom of 128 included.
    pub data_room: u16,
}

impl Default for PoolConfig {
    fn default() -> Self {
        PoolConfig { name: "mbufs".into(), mbufs: 16_383, cache: 256, data_room: 2176 }
    }
}

/// A pool of packet buffers; a handle that can be cloned and used from any thread, fastest from an
/// [`crate::Lcore`]. Its memory is given back when the last handle is gone and every buffer is
/// back.
#[derive(Debug, Clone)]
pub struct Mempool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    raw: NonNull<RteMempool>,
    mbufs: u32,
    data_room: u16,
    eal: Arc<eal::Inner>,
}

// SAFETY: DPDK's pools may be used from any thread.
unsafe impl Send for Inner {}
// SAFETY: their stack takes several producers and consumers, and a cache belongs to one lcore.
unsafe impl Sync for Inner {}

impl Mempool {
    /// Makes a pool.
    ///
    /// # Errors
    /// [`Error::Pool`] when memory does not suffice or the name is taken.
    pub fn new(eal: &Eal, config: &PoolConfig) -> Result<Mempool, Error> {
        let PoolConfig { name, mbufs, cache, data_room } = config;
        let fail = |reason| Error::Pool { name: name.clone(), mbufs: *mbufs, reason };
        let c_name = CString::new(name.as_str()).map_err(|_| fail("a NUL in its name".into()))?;
        // DPDK refuses a cache of more than two thirds of the pool.
        let cache = (*cache).min(CACHE_MAX).min(mbufs / 3 * 2);
        let _control = eal.inner.control();
        let mut error = 0;
        // SAFETY: EAL is up while a handle exists; the name is NUL-terminated; -1 is any NUMA node.
        let raw = unsafe {
            sys::rl_pool_create(c_name.as_ptr(), *mbufs, cache, *data_room, -1, &mut error)
        };
        let raw = NonNull::new(raw).ok_or_else(|| fail(reason(error)))?;
        let eal = Arc::clone(&eal.inner);
        Ok(Mempool { inner: Arc::new(Inner { raw, mbufs: *mbufs, data_room: *data_room, eal }) })
    }

    /// An empty buffer with 128 bytes of headroom, or `None` when the pool is empty.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool is live while a handle exists.
        let raw = unsafe { sys::rl_mbuf_alloc(self.raw()) };
        // SAFETY: a fresh buffer is empty, single and ours.
        NonNull::new(raw).map(|raw| unsafe { Mbuf::from_raw(raw) })
    }

    /// Appends `n` empty buffers to `out`, or none: when the pool has fewer, `out` has no room for
    /// them, or `n` is over 64. Returns whether it did.
    #[inline]
    pub fn alloc_bulk<const N: usize>(&self, n: usize, out: &mut ArrayVec<Mbuf, N>) -> bool {
        if n > out.remaining_capacity() || n > BULK_MAX {
            return false;
        }
        let mut raws = [null_mut(); BULK_MAX];
        // SAFETY: the pool is live, `raws` has room for n.
        if unsafe { sys::rl_mbuf_alloc_bulk(self.raw(), raws.as_mut_ptr(), n as u32) } != 0 {
            return false;
        }
        for raw in raws.into_iter().take(n).filter_map(NonNull::new) {
            // SAFETY: a fresh buffer is empty, single and ours.
            out.push(unsafe { Mbuf::from_raw(raw) });
        }
        true
    }

    /// Buffers that are out: neither in the stack nor in an lcore's cache. Costs a look at every
    /// cache.
    pub fn in_use(&self) -> usize {
        // SAFETY: the pool is live while a handle exists.
        unsafe { sys::rl_pool_in_use(self.raw()) as usize }
    }

    /// Buffers in all.
    pub fn capacity(&self) -> usize {
        self.inner.mbufs as usize
    }

    /// Bytes of a buffer, its headroom included.
    pub fn data_room(&self) -> u16 {
        self.inner.data_room
    }

    pub(crate) fn raw(&self) -> *mut RteMempool {
        self.inner.raw.as_ptr()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut control = self.eal.control();
        control.retired.push(Retired(self.raw));
        control.free_retired();
    }
}
