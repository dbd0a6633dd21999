//! An Ethernet cable in memory: two devices for `netif` above them. A full far side refuses frames.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrayvec::ArrayVec;
use roomlane_core::{BURST_MAX, Pool, TX_BURST_MAX};

use crate::slab::{SlabBuf, SlabPool};
use crate::{EtherCaps, EtherDevice, Frame, RxChecksum};

/// One direction of the cable.
type Lane = Arc<Mutex<VecDeque<SlabBuf>>>;

/// One end of the cable.
#[derive(Debug)]
pub struct SimEther {
    mac: [u8; 6],
    pool: SlabPool,
    inward: Lane,
    outward: Lane,
    queue_len: usize,
    mtu: usize,
    checksum: RxChecksum,
}

/// A cable with `macs` at its ends. `queue_len` frames may wait at each end, `mtu` is the largest
/// frame payload in bytes, `buffers` are those of each end.
pub fn pair(macs: [[u8; 6]; 2], queue_len: usize, mtu: usize, buffers: usize) -> [SimEther; 2] {
    let lane = || Arc::new(Mutex::new(VecDeque::with_capacity(queue_len)));
    let (there, back): (Lane, Lane) = (lane(), lane());
    let end = |mac, inward: &Lane, outward: &Lane| SimEther {
        mac,
        pool: SlabPool::new(buffers),
        inward: Arc::clone(inward),
        outward: Arc::clone(outward),
        queue_len,
        mtu,
        checksum: RxChecksum::Unchecked,
    };
    [end(macs[0], &back, &there), end(macs[1], &there, &back)]
}

impl SimEther {
    /// What this end says of received checksums from now on; `Unchecked` at the start.
    pub fn set_checksum(&mut self, checksum: RxChecksum) {
        self.checksum = checksum;
    }
}

fn lock(lane: &Lane) -> MutexGuard<'_, VecDeque<SlabBuf>> {
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool for SimEther {
    type Buf = SlabBuf;

    fn alloc(&mut self) -> Option<SlabBuf> {
        self.pool.alloc()
    }

    fn free(&mut self, buf: SlabBuf) {
        self.pool.free(buf);
    }

    fn in_use(&self) -> usize {
        self.pool.in_use()
    }
}

impl EtherDevice for SimEther {
    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn ether_caps(&self) -> EtherCaps {
        EtherCaps { mtu: self.mtu, queues_max: 1, can_wait: false }
    }

    fn rx_frames(&mut self, rx: &mut ArrayVec<Frame<SlabBuf>, BURST_MAX>) -> usize {
        let mut lane = lock(&self.inward);
        let count = lane.len().min(rx.remaining_capacity());
        rx.extend(lane.drain(..count).map(|buf| Frame { buf, checksum: self.checksum }));
        count
    }

    fn tx_frames(&mut self, tx: &mut ArrayVec<SlabBuf, TX_BURST_MAX>) -> usize {
        let mut lane = lock(&self.outward);
        let count = tx.len().min(self.queue_len.saturating_sub(lane.len()));
        lane.extend(tx.drain(..count));
        count
    }

    /// Virtual time does not pass by sleeping, so this returns at once.
    fn wait(&mut self, _timeout_ns: u64) {}
}
