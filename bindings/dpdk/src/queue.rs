//! Receive and transmit queues: one call into DPDK per burst.

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::forget;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use arrayvec::ArrayVec;
use dpdk_sys::{self as sys, RteMbuf};

use crate::{Mbuf, ethdev};

/// Buffers one receive call asks the device for.
pub const RX_BURST_MAX: usize = 32;
/// Buffers one transmit call takes at most.
pub const TX_BURST_MAX: usize = 64;

/// A receive queue: one thread at a time, best a registered [`crate::Lcore`].
///
/// ```compile_fail
/// fn share(queue: &dpdk::RxQueue) {
///     std::thread::scope(|scope| { scope.spawn(|| queue.refused()); });
/// }
/// ```
#[derive(Debug)]
pub struct RxQueue {
    dev: Arc<ethdev::Inner>,
    queue: u16,
    refused: u64,
    /// Received and not yet handed out: `burst[next..len]`. Every one is an owned, single buffer.
    burst: [*mut RteMbuf; RX_BURST_MAX],
    next: usize,
    len: usize,
    _one_thread: PhantomData<Cell<()>>,
}

// SAFETY: the queue belongs to no thread, only to one at a time; its buffers may be freed anywhere.
unsafe impl Send for RxQueue {}

impl RxQueue {
    pub(crate) fn new(dev: Arc<ethdev::Inner>, queue: u16) -> RxQueue {
        let burst = [null_mut(); RX_BURST_MAX];
        RxQueue { dev, queue, refused: 0, burst, next: 0, len: 0, _one_thread: PhantomData }
    }

    /// Hands at most `max` received buffers to `each` and returns how many. The device is always
    /// asked for a full burst (some drivers round smaller ones down to nothing), so what is over
    /// `max` waits here.
    #[inline]
    pub fn burst(&mut self, max: usize, mut each: impl FnMut(Mbuf)) -> usize {
        let mut handed = 0;
        while handed < max {
            if self.next == self.len && !self.refill() {
                break;
            }
            let raw = self.burst[self.next];
            self.next += 1;
            let Some(raw) = NonNull::new(raw) else { continue };
            // SAFETY: the shim hands out owned buffers of one segment and one reference, and `next`
            // moved on.
            each(unsafe { Mbuf::from_raw(raw) });
            handed += 1;
        }
        handed
    }

    /// Packets of several segments, or shared ones, that were freed instead of handed out.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Its number on the device.
    pub fn index(&self) -> u16 {
        self.queue
    }

    /// Asks the device, once; false when nothing came.
    #[inline]
    fn refill(&mut self) -> bool {
        let burst = self.burst.as_mut_ptr();
        // SAFETY: the device is started while a queue exists; `&mut self` of a value that is not
        // `Sync` keeps the queue to one thread; there is room for a burst.
        let got = unsafe {
            sys::rl_rx_burst(
                self.dev.port,
                self.queue,
                burst,
                RX_BURST_MAX as u16,
                &mut self.refused,
            )
        };
        (self.next, self.len) = (0, got.into());
        got > 0
    }
}

impl Drop for RxQueue {
    fn drop(&mut self) {
        let waiting = &mut self.burst[self.next..self.len];
        // SAFETY: these were received, never handed out, and are ours.
        unsafe { sys::rl_mbuf_free_bulk(waiting.as_mut_ptr(), waiting.len() as u32) }
    }
}

/// A transmit queue: one thread at a time, best a registered [`crate::Lcore`].
#[derive(Debug)]
pub struct TxQueue {
    dev: Arc<ethdev::Inner>,
    queue: u16,
    _one_thread: PhantomData<Cell<()>>,
}

impl TxQueue {
    pub(crate) fn new(dev: Arc<ethdev::Inner>, queue: u16) -> TxQueue {
        TxQueue { dev, queue, _one_thread: PhantomData }
    }

    /// Sends from the front of `tx` and returns how many the device took; what stays in `tx` is
    /// still the caller's. One call takes at most 64.
    #[inline]
    pub fn burst<const N: usize>(&mut self, tx: &mut ArrayVec<Mbuf, N>) -> usize {
        let mut raws = [null_mut(); TX_BURST_MAX];
        let n = tx.len().min(TX_BURST_MAX);
        for (raw, mbuf) in raws.iter_mut().zip(tx.iter_mut()) {
            *raw = mbuf.as_raw();
        }
        // SAFETY: the device is started while a queue exists; `&mut self` of a value that is not
        // `Sync` keeps the queue to one thread; the buffers are owned, and those taken are
        // forgotten below.
        let taken =
            unsafe { sys::rl_tx_burst(self.dev.port, self.queue, raws.as_mut_ptr(), n as u16) };
        tx.drain(..usize::from(taken)).for_each(forget);
        taken.into()
    }

    /// Its number on the device.
    pub fn index(&self) -> u16 {
        self.queue
    }
}
