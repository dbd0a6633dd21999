//! Rewrites the index and timestamp of one subscription, so that its receiver sees one unbroken stream.
//!
//! Egress index = extended ingress index + the segment's offset: gaps and late packets keep their place.
//! A segment starts at every switch, above everything ever sent, and a packet older than its segment has
//! no place any more. This file alone makes `EgressIndex` values: within a segment the ingress replay
//! window lets each index through once, and segments do not overlap, so none is made twice.

use proto::DropReason;
use srtp::{EgressIndex, PacketIndex};

use crate::Instant;
use crate::limits::{CLAIM, EGRESS_LEAP_MAX};

/// State of one slot towards its subscriber; what every packet asks comes first.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Munger {
    /// First egress index that was never used.
    next: u64,
    /// Egress minus ingress index in the present segment.
    offset: i64,
    /// First ingress index of the present segment.
    start: u64,
    /// Egress minus ingress timestamp in the present segment.
    timestamp_offset: u32,
    last_timestamp: u32,
    last_at: Instant,
    in_segment: bool,
    sent: bool,
    /// The ingress stream of the present segment, by the caller's number.
    source: u32,
    /// Below this egress index nobody can say any more what a packet was.
    known_from: u64,
    /// The segment before.
    before: Segment,
}

/// A stretch of egress indices that follow one ingress stream.
#[derive(Debug, Clone, Copy, Default)]
struct Segment {
    /// Its first egress index.
    first: u64,
    offset: i64,
    timestamp_offset: u32,
    source: u32,
}

/// What an egress index was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The ingress stream, by the number given to [`Munger::set_source`].
    pub source: u32,
    /// Extended ingress index.
    pub index: u64,
    /// Egress minus ingress timestamp.
    pub timestamp_offset: u32,
}

/// Where a packet goes in the egress stream.
#[derive(Debug)]
pub struct Place {
    /// Consumed by the seal.
    pub index: EgressIndex,
    /// RTP timestamp.
    pub timestamp: u32,
}

impl Munger {
    /// Starts at egress index `next` (for a new stream, a sequence number below 2^15), with
    /// `timestamp_offset` in its first segment.
    pub fn new(next: u64, timestamp_offset: u32) -> Self {
        Munger {
            next,
            offset: 0,
            start: 0,
            timestamp_offset,
            last_timestamp: 0,
            last_at: Instant(0),
            in_segment: false,
            sent: false,
            known_from: next,
            source: 0,
            before: Segment::default(),
        }
    }

    /// The next packet starts a segment: another publisher, another layer, unmute.
    pub fn end_segment(&mut self) {
        self.in_segment = false;
    }

    /// The present segment follows the ingress stream `source`.
    pub fn set_source(&mut self, source: u32) {
        self.source = source;
    }

    /// Nothing that was sent so far is to be sent again: it was somebody else's.
    pub fn forget_origins(&mut self) {
        self.known_from = self.next;
    }

    /// What the packet with this sequence number was, if it was sent in one of the last two segments;
    /// of several with this number the latest.
    pub fn origin(&self, sequence: u16) -> Option<Origin> {
        let last = self.next.checked_sub(1)?;
        let back = (last as u16).wrapping_sub(sequence);
        let egress = last.checked_sub(u64::from(back))?;
        let present = Segment {
            first: self.start.wrapping_add_signed(self.offset),
            offset: self.offset,
            timestamp_offset: self.timestamp_offset,
            source: self.source,
        };
        let segment = if egress >= present.first { present } else { self.before };
        if egress < self.known_from || egress < segment.first {
            return None;
        }
        Some(Origin {
            source: segment.source,
            index: egress.wrapping_add_signed(segment.offset.wrapping_neg()),
            timestamp_offset: segment.timestamp_offset,
        })
    }

    /// The place of a packet with this extended ingress index and timestamp; `clock_rate` in hertz.
    ///
    /// # Errors
    /// `LateAfterSwitch` for a packet older than its segment, `KeyExhausted` above 2^48.
    pub fn place(
        &mut self,
        now: Instant,
        index: u64,
        timestamp: u32,
        clock_rate: u32,
    ) -> Result<Place, DropReason> {
        if !self.in_segment {
            self.start_segment(now, index, timestamp, clock_rate);
        }
        if index < self.start {
            return Err(DropReason::LateAfterSwitch);
        }
        let egress = index.wrapping_add_signed(self.offset);
        let packet_index = PacketIndex::new(egress).ok_or(DropReason::KeyExhausted)?;
        let timestamp = timestamp.wrapping_add(self.timestamp_offset);
        if egress >= self.next {
            self.next = egress + 1;
            self.last_timestamp = timestamp;
            self.last_at = now;
        }
        Ok(Place { index: EgressIndex::new(packet_index), timestamp })
    }

    /// What an RTP timestamp of the publisher is for this subscriber; meaningless before the first packet.
    pub fn timestamp(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_add(self.timestamp_offset)
    }

    /// Egress minus ingress timestamp, and the last timestamp sent.
    pub fn timestamps(&self) -> (u32, u32) {
        (self.timestamp_offset, self.last_timestamp)
    }

    /// Whether the packet with this ingress index is so far ahead of what was sent that a receiver could
    /// lose the rollover counter (RFC 3711 section 3.3.1 guesses within 2^15).
    pub fn leaps(&self, index: u64) -> bool {
        index.wrapping_add_signed(self.offset).saturating_sub(self.next) > EGRESS_LEAP_MAX
    }

    /// Whether the present segment has a packet.
    pub fn is_running(&self) -> bool {
        self.in_segment
    }

    fn start_segment(&mut self, now: Instant, index: u64, timestamp: u32, clock_rate: u32) {
        self.before = Segment {
            first: self.start.wrapping_add_signed(self.offset),
            offset: self.offset,
            timestamp_offset: self.timestamp_offset,
            source: self.source,
        };
        self.in_segment = true;
        self.start = index;
        self.offset = self.next.wrapping_sub(index) as i64;
        if self.sent {
            // The receiver's clock went on while nothing was sent; at least one unit has passed.
            let elapsed_ns = u128::from(now.since(self.last_at).0);
            let elapsed = (elapsed_ns * u128::from(clock_rate) / 1_000_000_000) as u32;
            let first = self.last_timestamp.wrapping_add(elapsed.max(1));
            self.timestamp_offset = first.wrapping_sub(timestamp);
        }
        self.sent = true;
    }
}

/// The indices of a slot's repair stream (RFC 4588), which has an SSRC of its own: each is given out
/// once, after it was claimed in the ledger.
#[derive(Debug, Clone, Copy, Default)]
pub struct RepairCounter {
    next: u64,
    ceiling: u64,
}

impl RepairCounter {
    /// Starts at `next`: for a new stream a sequence number below 2^15, for a resumed one its ceiling.
    pub fn new(next: u64) -> Self {
        RepairCounter { next, ceiling: next }
    }

    /// The next index; `claim` is told a new ceiling before the first index below it is given out.
    ///
    /// # Errors
    /// `KeyExhausted` above 2^48.
    pub fn take(&mut self, claim: impl FnOnce(u64)) -> Result<EgressIndex, DropReason> {
        let index = PacketIndex::new(self.next).ok_or(DropReason::KeyExhausted)?;
        if self.next >= self.ceiling {
            self.ceiling = self.next + CLAIM;
            claim(self.ceiling);
        }
        self.next += 1;
        Ok(EgressIndex::new(index))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(place: Result<Place, DropReason>) -> u64 {
        place.unwrap().index.index().value()
    }

    #[test]
    fn gaps_and_late_packets_keep_their_place() {
        let mut munger = Munger::new(1000, 7);
        let mut at = |index| value(munger.place(Instant(0), index, 0, 90_000));
        assert_eq!([at(70_000), at(70_002), at(70_001)], [1000, 1002, 1001]);
    }

    #[test]
    fn a_packet_older_than_its_segment_is_late() {
        let mut munger = Munger::new(0, 0);
        munger.place(Instant(0), 10, 0, 90_000).unwrap();
        let late = munger.place(Instant(0), 9, 0, 90_000);
        assert_eq!(late.err(), Some(DropReason::LateAfterSwitch));
    }

    #[test]
    fn the_clock_goes_on_across_a_switch() {
        let mut munger = Munger::new(0, 5);
        assert_eq!(munger.place(Instant(0), 1, 100, 90_000).unwrap().timestamp, 105);
        munger.end_segment();
        let place = munger.place(Instant(1_000_000_000), 900_000, 77, 90_000).unwrap();
        assert_eq!((place.index.index().value(), place.timestamp), (1, 90_105));
        assert_eq!(munger.timestamp(78), 90_106);
    }

    #[test]
    fn the_key_limit_ends_the_stream() {
        let mut munger = Munger::new((1 << 48) - 1, 0);
        assert_eq!(value(munger.place(Instant(0), 5, 0, 1)), (1 << 48) - 1);
        assert_eq!(munger.place(Instant(0), 6, 0, 1).err(), Some(DropReason::KeyExhausted));
    }

    #[test]
    fn repair_indices_are_claimed_before_they_are_used() {
        let (mut counter, mut ledger, mut highest) = (RepairCounter::new(7), 0, 0);
        for _ in 0..3 * CLAIM {
            let index = counter.take(|ceiling| ledger = ceiling).unwrap().index().value();
            assert!(index < ledger && (highest == 0 || index == highest + 1));
            highest = index;
        }
        let mut resumed = RepairCounter::new(ledger);
        assert!(resumed.take(|_| ()).unwrap().index().value() > highest);
        let mut spent = RepairCounter::new(1 << 48);
        assert_eq!(spent.take(|_| ()).err(), Some(DropReason::KeyExhausted));
    }

    #[test]
    fn the_origin_of_the_last_two_segments_is_known_until_it_is_forgotten() {
        let mut munger = Munger::new(65_530, 7);
        assert_eq!(munger.origin(65_530), None);
        let send = |munger: &mut Munger, source, index, timestamp| {
            let place = munger.place(Instant(0), index, timestamp, 90_000).unwrap();
            munger.set_source(source);
            place.index.index().seq()
        };
        let first = send(&mut munger, 1, 500, 1000);
        let second = send(&mut munger, 1, 510, 1000);
        let origin = |source, index| Origin { source, index, timestamp_offset: 7 };
        assert_eq!(munger.origin(first), Some(origin(1, 500)));
        assert_eq!(munger.origin(second), Some(origin(1, 510)));
        assert_eq!(munger.origin(second.wrapping_sub(1)), Some(origin(1, 509)));
        assert_eq!(munger.origin(first.wrapping_sub(1)), None);
        assert_eq!(munger.origin(second.wrapping_add(1)), None);
        munger.end_segment();
        let third = send(&mut munger, 2, 90_000, 1008);
        assert_eq!(munger.origin(second), Some(origin(1, 510)));
        assert_eq!(munger.origin(third).map(|origin| origin.source), Some(2));
        munger.end_segment();
        let fourth = send(&mut munger, 1, 600, 1008);
        assert_eq!(munger.origin(second), None);
        assert_eq!(munger.origin(third).map(|origin| origin.index), Some(90_000));
        munger.forget_origins();
        assert_eq!(munger.origin(fourth), None);
    }

    proptest! {
        /// The oracle: a map of what every egress index was made of.
        #[test]
        fn origins_are_true(
            steps in prop::collection::vec((0u64..200, 0u32..40), 1..300),
        ) {
            let mut munger = Munger::new(30_000, 0);
            let mut made = std::collections::HashMap::new();
            let mut source = 0;
            for (index, switch) in steps {
                if switch < 3 {
                    munger.end_segment();
                    source = switch;
                }
                if switch == 3 {
                    munger.forget_origins();
                    munger.end_segment();
                    made.clear();
                }
                if let Ok(place) = munger.place(Instant(0), index, 0, 48_000) {
                    munger.set_source(source);
                    made.insert(place.index.index().seq(), (source, index));
                }
                let mut known = 0;
                for sequence in 29_000..33_000 {
                    if let Some(origin) = munger.origin(sequence)
                        && let Some(truth) = made.get(&sequence)
                    {
                        prop_assert_eq!(*truth, (origin.source, origin.index));
                        known += 1;
                    }
                }
                prop_assert!(known > 0 || made.is_empty() || switch < 4);
            }
        }
    }

    proptest! {
        /// The oracle: a set of every egress index ever made.
        #[test]
        fn no_index_is_made_twice_whatever_switches_happen(
            steps in prop::collection::vec((0u64..200, prop::bool::weighted(0.1)), 1..300),
        ) {
            let mut munger = Munger::new(30_000, 0);
            let mut made = std::collections::HashSet::new();
            let mut stream = 0;
            let mut accepted = std::collections::HashSet::new();
            for (index, switch) in steps {
                if switch {
                    munger.end_segment();
                    stream += 1;
                }
                // What the ingress replay window grants: each index of a stream once.
                if !accepted.insert((stream, index)) {
                    continue;
                }
                if let Ok(place) = munger.place(Instant(0), index, 0, 48_000) {
                    prop_assert!(made.insert(place.index.index().value()));
                }
            }
        }
    }
}
