//! Rewrites the index and timestamp of one subscription, so that its receiver sees one unbroken stream.
//!
//! Egress index = extended ingress index + the segment's offset: gaps and late packets keep their place.
//! A segment starts at every switch, above everything ever sent, and a packet older than its segment has
//! no place any more. This file alone makes `EgressIndex` values: within a segment the ingress replay
//! window lets each index through once, and segments do not overlap, so none is made twice.

use proto::DropReason;
use srtp::{EgressIndex, PacketIndex};

use crate::Instant;

/// State of one slot towards its subscriber.
#[derive(Debug, Clone, Copy)]
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
        }
    }

    /// The next packet starts a segment: another publisher, another layer, unmute.
    pub fn end_segment(&mut self) {
        self.in_segment = false;
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

    /// Whether the present segment has a packet.
    pub fn is_running(&self) -> bool {
        self.in_segment
    }

    fn start_segment(&mut self, now: Instant, index: u64, timestamp: u32, clock_rate: u32) {
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
