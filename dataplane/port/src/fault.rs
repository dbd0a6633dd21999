//! A port that misbehaves by a seed: it loses, doubles, delays and reorders datagrams of the port
//! inside it. Delays are counted in datagrams that pass meanwhile, so a run does not depend on
//! time.

use std::collections::VecDeque;

use roomlane_core::{Buf, Burst, Datagram, Instant, Pool, TxBurst};

use crate::rng::Rng;
use crate::{Port, PortCaps, PortStats};

/// What happens to the datagrams of one direction; chances are in millionths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Lost.
    pub loss_ppm: u32,
    /// Delivered twice; the second follows as if it had been sent right after.
    pub duplicate_ppm: u32,
    /// Held back while 1 to `reorder_depth` later datagrams pass.
    pub reorder_ppm: u32,
    /// How far back a held datagram falls at most.
    pub reorder_depth: u16,
    /// Every datagram waits until this many more have come.
    pub delay_packets: u16,
}

/// What a `Fault` did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultStats {
    /// Datagrams lost.
    pub lost: u64,
    /// Datagrams doubled.
    pub duplicated: u64,
    /// Datagrams held back.
    pub reordered: u64,
}

/// A datagram that waits until `release` datagrams have come.
#[derive(Debug)]
struct Held<B> {
    release: u64,
    datagram: Datagram<B>,
}

/// One direction.
#[derive(Debug)]
struct Way<B> {
    faults: Faults,
    rng: Rng,
    stats: FaultStats,
    seen: u64,
    /// Sorted by `release`; among equals the one that came later goes first, so that a datagram held
    /// for one other really lets it pass.
    held: VecDeque<Held<B>>,
}

impl<B: Buf> Way<B> {
    fn new(faults: Faults, seed: u64) -> Self {
        let (rng, stats) = (Rng::new(seed), FaultStats::default());
        Way { faults, rng, stats, seen: 0, held: VecDeque::new() }
    }

    fn take_in<P: Pool<Buf = B>>(&mut self, datagram: Datagram<B>, pool: &mut P) {
        self.seen += 1;
        if self.rng.happens(self.faults.loss_ppm) {
            self.stats.lost += 1;
            pool.free(datagram.buf);
            return;
        }
        let copy =
            if self.rng.happens(self.faults.duplicate_ppm) { copy(&datagram, pool) } else { None };
        self.hold(datagram);
        if let Some(copy) = copy {
            self.stats.duplicated += 1;
            self.hold(copy);
        }
    }

    fn hold(&mut self, datagram: Datagram<B>) {
        let mut release = self.seen + u64::from(self.faults.delay_packets);
        if self.faults.reorder_depth > 0 && self.rng.happens(self.faults.reorder_ppm) {
            self.stats.reordered += 1;
            release += 1 + self.rng.below(self.faults.reorder_depth.into());
        }
        let at = self.held.partition_point(|h| h.release < release);
        self.held.insert(at, Held { release, datagram });
    }

    fn next_due(&mut self) -> Option<Datagram<B>> {
        let seen = self.seen;
        self.held.pop_front_if(|h| h.release <= seen).map(|h| h.datagram)
    }
}

fn copy<P: Pool>(datagram: &Datagram<P::Buf>, pool: &mut P) -> Option<Datagram<P::Buf>> {
    let mut buf = pool.alloc()?;
    let bytes = datagram.buf.bytes();
    match buf.append(bytes.len()) {
        Some(space) => space.copy_from_slice(bytes),
        None => {
            pool.free(buf);
            return None;
        }
    }
    Some(Datagram { path: datagram.path, dscp: datagram.dscp, buf })
}

/// A port with faults on both directions.
#[derive(Debug)]
pub struct Fault<P: Port> {
    inner: P,
    rx: Way<P::Buf>,
    tx: Way<P::Buf>,
    /// Received from the inner port and not yet taken in.
    received: Burst<P::Buf>,
}

impl<P: Port> Fault<P> {
    /// Wraps `inner`; the same seed and traffic give the same faults.
    pub fn new(inner: P, rx: Faults, tx: Faults, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let (rx, tx) = (Way::new(rx, rng.next()), Way::new(tx, rng.next()));
        Fault { inner, rx, tx, received: Burst::new() }
    }

    /// The port inside.
    pub fn inner(&self) -> &P {
        &self.inner
    }

    /// What happened to received datagrams, and to sent ones.
    pub fn fault_stats(&self) -> (FaultStats, FaultStats) {
        (self.rx.stats, self.tx.stats)
    }

    /// Changes the faults of both directions; what is held keeps its place.
    pub fn set_faults(&mut self, rx: Faults, tx: Faults) {
        self.rx.faults = rx;
        self.tx.faults = tx;
    }

    /// Lets all that is held come out with the next bursts, as at the end of a test.
    pub fn release_held(&mut self) {
        for way in [&mut self.rx, &mut self.tx] {
            way.held.iter_mut().for_each(|h| h.release = 0);
        }
    }

    /// Hands what is due to the inner port. `false` when that is full.
    fn flush_tx(&mut self, now: Instant) -> bool {
        loop {
            let mut burst = TxBurst::new();
            while !burst.is_full() {
                let Some(datagram) = self.tx.next_due() else { break };
                burst.push(datagram);
            }
            if burst.is_empty() {
                return true;
            }
            self.inner.tx_burst(now, &mut burst);
            if !burst.is_empty() {
                while let Some(datagram) = burst.pop() {
                    self.tx.held.push_front(Held { release: 0, datagram });
                }
                return false;
            }
        }
    }
}

impl<P: Port> Pool for Fault<P> {
    type Buf = P::Buf;

    fn alloc(&mut self) -> Option<P::Buf> {
        self.inner.alloc()
    }

    fn free(&mut self, buf: P::Buf) {
        self.inner.free(buf);
    }

    fn in_use(&self) -> usize {
        self.inner.in_use()
    }
}

impl<P: Port> Port for Fault<P> {
    fn rx_burst(&mut self, now: Instant, rx: &mut Burst<P::Buf>) -> usize {
        self.flush_tx(now);
        let before = rx.len();
        self.inner.rx_burst(now, &mut self.received);
        for datagram in self.received.drain(..) {
            self.rx.take_in(datagram, &mut self.inner);
        }
        while !rx.is_full() {
            let Some(datagram) = self.rx.next_due() else { break };
            rx.push(datagram);
        }
        rx.len() - before
    }

    fn tx_burst(&mut self, now: Instant, tx: &mut TxBurst<P::Buf>) -> usize {
        // What was taken before goes first; while it cannot, nothing more is taken.
        if !self.flush_tx(now) {
            return 0;
        }
        let taken = tx.len();
        for datagram in tx.drain(..) {
            self.tx.take_in(datagram, &mut self.inner);
        }
        self.flush_tx(now);
        taken
    }

    fn wait(&mut self, timeout_ns: u64) {
        self.inner.wait(timeout_ns);
    }

    fn caps(&self) -> PortCaps {
        self.inner.caps()
    }

    fn stats(&self) -> &PortStats {
        self.inner.stats()
    }
}
