//! The publisher's receiver: which packets of a stream are missing, when to ask for them, when to give up.
//!
//! One list per stream, in order, threaded through a pool that all streams of the shard share, so that a
//! stream without loss costs a few words. The rules are those of `limits::NACK_*`: a first request once a
//! packet is more than reordered, repeats a round trip apart, and an end. What cannot be repaired is told
//! to the caller, who asks for a keyframe.

use arrayvec::ArrayVec;
use srtp::REPLAY_WIDTH;

use crate::limits::{
    NACK_AGE_MAX, NACK_POOL, NACK_REORDER_PACKETS, NACK_REORDER_TIME, NACK_RTT, NACK_RTT_START,
    NACK_STREAM_MAX, NACK_TRIES_MAX,
};
use crate::slab::{NONE, Slab};
use crate::{Duration, Instant};

/// Sequence numbers of one request.
pub type Lost = ArrayVec<u16, NACK_STREAM_MAX>;

/// One packet that did not arrive.
#[derive(Debug, Clone, Copy, Default)]
struct Missing {
    /// Extended ingress index.
    index: u64,
    /// When a later packet told of it.
    since: Instant,
    /// When it was asked for first; zero before.
    asked: Instant,
    /// When it is asked for next.
    due: Instant,
    /// The next one of the stream.
    next: u32,
    /// Requests so far.
    tries: u8,
}

/// What one stream misses.
#[derive(Debug, Clone, Copy)]
pub struct NackStream {
    /// Highest index that arrived, plus one; zero before the first.
    next: u64,
    first: u32,
    last: u32,
    len: u16,
    /// From a request to the packet, smoothed, in microseconds; zero before the first.
    rtt_us: u32,
}

impl Default for NackStream {
    fn default() -> Self {
        NackStream { next: 0, first: NONE, last: NONE, len: 0, rtt_us: 0 }
    }
}

impl NackStream {
    /// Whether nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.len == 0
    }

    /// From a request to the packet, smoothed, in microseconds; zero before the first.
    pub fn rtt_us(&self) -> u32 {
        self.rtt_us
    }

    /// A packet came so long after it was asked for first. Of several requests the first counts: the
    /// estimate may be too long for a while, and is never kept too short by its own repeats.
    fn on_repair(&mut self, took: Duration) {
        let took = took.0.clamp(NACK_RTT.0.0, NACK_RTT.1.0) / 1000;
        let before = if self.rtt_us == 0 { took } else { self.rtt_us.into() };
        self.rtt_us = ((7 * before + took) / 8) as u32;
    }

    /// What the next request for a packet is paced by.
    fn rtt(&self) -> Duration {
        if self.rtt_us == 0 { NACK_RTT_START } else { Duration::from_us(self.rtt_us.into()) }
    }
}

/// Whether a stream can still be made whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hope {
    /// Nothing was given up.
    Kept,
    /// Something was: only a keyframe helps.
    Lost,
}

/// The missing packets of all streams of a shard.
#[derive(Debug)]
pub struct Nacks {
    pool: Slab<Missing>,
}

impl Nacks {
    /// An empty pool with all its memory.
    pub fn new() -> Self {
        Nacks { pool: Slab::new(NACK_POOL, Missing::default) }
    }

    /// Takes note of an accepted packet, sent or sent again.
    pub fn on_packet(&mut self, stream: &mut NackStream, now: Instant, index: u64) -> Hope {
        if index < stream.next {
            self.repaired(stream, now, index);
            return Hope::Kept;
        }
        let from = if stream.next == 0 { index } else { stream.next };
        stream.next = index + 1;
        let fits = index - from <= (NACK_STREAM_MAX - usize::from(stream.len)) as u64;
        if fits && (from..index).all(|index| self.push(stream, now, index)) {
            return Hope::Kept;
        }
        // Requests for so many would be a storm, and the picture is gone anyway.
        self.clear(stream);
        Hope::Lost
    }

    /// Collects what is to be asked for now, in ascending order.
    pub fn due(&mut self, stream: &mut NackStream, now: Instant, lost: &mut Lost) -> Hope {
        let mut hope = Hope::Kept;
        let (mut before, mut at) = (NONE, stream.first);
        while at != NONE {
            let missing = &mut self.pool[at];
            let next = missing.next;
            let is_due = now >= missing.due;
            if now.since(missing.since) >= NACK_AGE_MAX
                || missing.index + REPLAY_WIDTH as u64 <= stream.next
                || (is_due && missing.tries == NACK_TRIES_MAX)
            {
                self.unlink(stream, before, at);
                hope = Hope::Lost;
            } else {
                let overtaken = missing.index + NACK_REORDER_PACKETS < stream.next;
                if is_due || (missing.tries == 0 && overtaken) {
                    if missing.tries == 0 {
                        missing.asked = now;
                    }
                    missing.tries += 1;
                    missing.due = now + stream.rtt();
                    lost.push(missing.index as u16);
                }
                before = at;
            }
            at = next;
        }
        hope
    }

    /// Forgets what is missing.
    pub fn clear(&mut self, stream: &mut NackStream) {
        let mut at = stream.first;
        while at != NONE {
            let next = self.pool[at].next;
            self.pool.remove(at);
            at = next;
        }
        (stream.first, stream.last, stream.len) = (NONE, NONE, 0);
    }

    fn push(&mut self, stream: &mut NackStream, now: Instant, index: u64) -> bool {
        let due = now + NACK_REORDER_TIME;
        let missing = Missing { index, since: now, due, next: NONE, ..Missing::default() };
        let Some(at) = self.pool.insert(missing) else { return false };
        match stream.last {
            NONE => stream.first = at,
            last => self.pool[last].next = at,
        }
        stream.last = at;
        stream.len += 1;
        true
    }

    fn repaired(&mut self, stream: &mut NackStream, now: Instant, index: u64) {
        let Some((before, at)) = self.find(stream, index) else { return };
        let missing = self.pool[at];
        if missing.tries > 0 {
            stream.on_repair(now.since(missing.asked));
        }
        self.unlink(stream, before, at);
    }

    /// The place of an index and the place before it.
    fn find(&self, stream: &NackStream, index: u64) -> Option<(u32, u32)> {
        let (mut before, mut at) = (NONE, stream.first);
        while at != NONE {
            let missing = &self.pool[at];
            if missing.index >= index {
                return (missing.index == index).then_some((before, at));
            }
            (before, at) = (at, missing.next);
        }
        None
    }

    fn unlink(&mut self, stream: &mut NackStream, before: u32, at: u32) {
        let next = self.pool[at].next;
        match before {
            NONE => stream.first = next,
            before => self.pool[before].next = next,
        }
        if stream.last == at {
            stream.last = before;
        }
        stream.len -= 1;
        self.pool.remove(at);
    }
}

#[cfg(test)]
#[path = "nack_tests.rs"]
mod tests;
