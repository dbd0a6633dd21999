//! Arrival times by transport-wide sequence number, for sessions whose sender controls congestion by them
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).
//!
//! Per session a ring of the last [`TRANSPORT_CC_STATUSES`] numbers: whether and when each arrived. The
//! rings lie in one pool whose pages stay untouched until a session needs them. Each round reports what
//! came since the one before, a packet that was late by less than a round included.

use std::ops::Range;

use arrayvec::ArrayVec;

use crate::limits::{TRANSPORT_CC_INTERVAL, TRANSPORT_CC_REPORT_MAX, TRANSPORT_CC_STATUSES};
use crate::slab::Slab;
use crate::{Duration, Instant};

/// The unit of arrival times: 250 microseconds.
pub const ARRIVAL_UNIT: Duration = Duration::from_us(250);
/// Times in the ring are kept modulo 2^16 units, 16.4 s; what is older than this is never looked at.
const MEMORY: Duration = Duration::from_s(4);
const WORDS: usize = TRANSPORT_CC_STATUSES / 64;

/// Where one session's numbers are. They are unwrapped, and start above 2^16 so that there is room below.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    /// First number of the next round.
    begin: u64,
    /// Highest number that arrived, plus one; zero before the first.
    end: u64,
    /// `end` at the last round, and at the one before: a late packet may reach back to the latter.
    reported: u64,
    reported_before: u64,
    /// When the last round ended.
    round_at: Instant,
    /// When the next round is due; `None` while nothing came since the last.
    due: Option<Instant>,
    /// Number of the next feedback packet.
    count: u8,
}

/// The rings of all sessions of a shard.
#[derive(Debug)]
pub struct TransportCc {
    heads: Slab<Head>,
    /// One ring behind the other.
    times: Vec<u16>,
    arrived: Vec<u64>,
}

/// When each of several packets in a row arrived, in microseconds of the monotonic clock.
pub type Arrivals = ArrayVec<Option<u64>, TRANSPORT_CC_REPORT_MAX>;

/// Where the words of a ring are.
fn words(ring: u32) -> Range<usize> {
    let start = ring as usize * WORDS;
    start..start + WORDS
}

const fn place(number: u64) -> usize {
    number as usize % TRANSPORT_CC_STATUSES
}

const fn units(at: Instant) -> u64 {
    at.0 / ARRIVAL_UNIT.0
}

impl TransportCc {
    /// Rings for so many sessions.
    pub fn new(sessions: usize) -> Self {
        TransportCc {
            heads: Slab::new(sessions, Head::default),
            // Zeroed by the kernel when it is first touched, which arrays of arrays are not.
            times: vec![0; sessions * TRANSPORT_CC_STATUSES],
            arrived: vec![0; sessions * WORDS],
        }
    }

    /// A ring for a session; `None` when all are taken.
    pub fn open(&mut self) -> Option<u32> {
        self.heads.insert(Head::default())
    }

    /// Gives a ring back.
    pub fn close(&mut self, ring: u32) {
        self.heads.remove(ring);
    }

    /// When a round is due; `None` while there is nothing to report.
    pub fn due(&self, ring: u32) -> Option<Instant> {
        self.heads[ring].due
    }

    /// Takes note of an authentic packet.
    pub fn on_packet(&mut self, ring: u32, now: Instant, sequence: u16) {
        let head = &mut self.heads[ring];
        if head.end == 0 {
            head.begin = (1 << 16) + u64::from(sequence);
            (head.end, head.reported) = (head.begin, head.begin);
            head.reported_before = head.begin;
            self.arrived[words(ring)].fill(0);
        }
        let highest = head.end - 1;
        let ahead = sequence.wrapping_sub(highest as u16) as i16;
        let number = highest.wrapping_add_signed(i64::from(ahead));
        if number >= head.end {
            self.advance(ring, number);
        } else if !self.reach_back(ring, now, number) {
            return;
        }
        let place = place(number);
        self.times[ring as usize * TRANSPORT_CC_STATUSES + place] = units(now) as u16;
        self.arrived[words(ring)][place / 64] |= 1 << (place % 64);
        let head = &mut self.heads[ring];
        head.due = head.due.or(Some(now + TRANSPORT_CC_INTERVAL));
    }

    /// Makes `number` the highest; what falls out of the ring is forgotten.
    fn advance(&mut self, ring: u32, number: u64) {
        let head = &mut self.heads[ring];
        let arrived = &mut self.arrived[words(ring)];
        if number - head.end >= TRANSPORT_CC_STATUSES as u64 {
            arrived.fill(0);
        } else {
            for gone in (head.end..=number).map(place) {
                arrived[gone / 64] &= !(1 << (gone % 64));
            }
        }
        head.end = number + 1;
        let oldest = head.end.saturating_sub(TRANSPORT_CC_STATUSES as u64);
        head.begin = head.begin.max(oldest);
        head.reported_before = head.reported_before.max(oldest);
    }

    /// Whether a late packet is news that can still be told; a round may have called it lost.
    fn reach_back(&mut self, ring: u32, now: Instant, number: u64) -> bool {
        let head = &mut self.heads[ring];
        let place = place(number);
        if number < head.reported_before
            || (number < head.reported && now.since(head.round_at) >= MEMORY)
            || self.arrived[words(ring)][place / 64] >> (place % 64) & 1 != 0
        {
            return false;
        }
        head.begin = head.begin.min(number);
        true
    }

    /// What the next feedback packet of a round is to report: the first number, the count of the packet,
    /// and the arrivals. `None` when the round has told everything.
    pub fn report(&self, ring: u32, now: Instant, arrivals: &mut Arrivals) -> Option<(u16, u8)> {
        let head = &self.heads[ring];
        arrivals.clear();
        let arrived = &self.arrived[words(ring)];
        let times = &self.times[ring as usize * TRANSPORT_CC_STATUSES..][..TRANSPORT_CC_STATUSES];
        let numbers = (head.begin..head.end).take(TRANSPORT_CC_REPORT_MAX);
        arrivals.extend(numbers.map(|number| {
            let place = place(number);
            let is_there = arrived[place / 64] >> (place % 64) & 1 != 0;
            let age = (units(now) as u16).wrapping_sub(times[place]);
            is_there.then(|| (units(now) - u64::from(age)) * ARRIVAL_UNIT.0 / 1000)
        }));
        (!arrivals.is_empty()).then_some((head.begin as u16, head.count))
    }

    /// A feedback packet told of so many numbers; of `None` where nothing of `len` numbers arrived, which
    /// no packet can say. The last one ends the round.
    pub fn told(&mut self, ring: u32, now: Instant, covered: Option<usize>, len: usize) {
        let head = &mut self.heads[ring];
        head.count = head.count.wrapping_add(u8::from(covered.is_some()));
        head.begin += covered.unwrap_or(len).clamp(1, len.max(1)) as u64;
        if head.begin >= head.end {
            head.reported_before = head.reported;
            (head.begin, head.reported) = (head.end, head.end);
            head.round_at = now;
            head.due = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant(7_000_000_000 + ms * 1_000_000)
    }

    /// One round's packets: count, base, arrivals in milliseconds.
    fn round(cc: &mut TransportCc, ring: u32, at: u64) -> Vec<(u8, u16, Vec<Option<u64>>)> {
        let (mut reports, mut arrivals) = (vec![], Arrivals::new());
        while let Some((base, count)) = cc.report(ring, ms(at), &mut arrivals) {
            let times = arrivals.iter().map(|time| time.map(|us| us / 1000 - 7000));
            reports.push((count, base, times.collect()));
            let something = arrivals.iter().any(Option::is_some);
            cc.told(ring, ms(at), something.then_some(arrivals.len()), arrivals.len());
        }
        reports
    }

    fn arrive(cc: &mut TransportCc, ring: u32, packets: &[(u64, u16)]) {
        for (at, sequence) in packets {
            cc.on_packet(ring, ms(*at), *sequence);
        }
    }

    #[test]
    fn a_round_reports_what_came_since_the_last_with_gaps() {
        let mut cc = TransportCc::new(1);
        let ring = cc.open().unwrap();
        assert_eq!(cc.due(ring), None);
        arrive(&mut cc, ring, &[(1, 65_534), (2, 65_535), (9, 2), (9, 1)]);
        assert_eq!(cc.due(ring), Some(ms(51)));
        assert_eq!(
            round(&mut cc, ring, 51),
            [(0, 65_534, vec![Some(1), Some(2), None, Some(9), Some(9)])]
        );
        assert_eq!((cc.due(ring), round(&mut cc, ring, 60)), (None, vec![]));
        arrive(&mut cc, ring, &[(70, 3)]);
        assert_eq!(round(&mut cc, ring, 120), [(1, 3, vec![Some(70)])]);
    }

    #[test]
    fn a_late_packet_corrects_the_round_before_but_no_older_one() {
        let mut cc = TransportCc::new(1);
        let ring = cc.open().unwrap();
        arrive(&mut cc, ring, &[(0, 10), (1, 12)]);
        round(&mut cc, ring, 50);
        arrive(&mut cc, ring, &[(60, 13), (61, 11)]);
        assert_eq!(round(&mut cc, ring, 110), [(1, 11, vec![Some(61), Some(1), Some(60)])]);
        arrive(&mut cc, ring, &[(120, 15)]);
        round(&mut cc, ring, 170);
        arrive(&mut cc, ring, &[(180, 17)]);
        round(&mut cc, ring, 230);
        arrive(&mut cc, ring, &[(240, 14)]);
        assert_eq!(cc.due(ring), None);
    }

    #[test]
    fn a_jump_beyond_the_ring_starts_anew() {
        let mut cc = TransportCc::new(1);
        let ring = cc.open().unwrap();
        arrive(&mut cc, ring, &[(0, 10), (1, 11), (2, 11 + TRANSPORT_CC_STATUSES as u16 + 500)]);
        let reports = round(&mut cc, ring, 50);
        let told: Vec<_> = reports.iter().flat_map(|(_, _, times)| times.clone()).collect();
        assert_eq!(told.len(), TRANSPORT_CC_STATUSES);
        assert_eq!(told.iter().flatten().collect::<Vec<_>>(), [&2]);
        assert!(reports.len() >= 2, "no packet reports on more than fits");
    }

    #[test]
    fn a_ring_given_back_comes_without_its_past() {
        let mut cc = TransportCc::new(1);
        let ring = cc.open().unwrap();
        assert_eq!(cc.open(), None);
        arrive(&mut cc, ring, &[(0, 10), (0, 11)]);
        cc.close(ring);
        let ring = cc.open().unwrap();
        arrive(&mut cc, ring, &[(5, 9), (5, 12)]);
        assert_eq!(round(&mut cc, ring, 60), [(0, 9, vec![Some(5), None, None, Some(5)])]);
    }

    proptest! {
        /// The oracle: a map of every first arrival. What is reported is true; what came in order is
        /// reported in its round.
        #[test]
        fn reports_equal_what_arrived(
            steps in prop::collection::vec((0u64..30, -20i64..60, 0u8..20), 1..500),
        ) {
            let mut cc = TransportCc::new(2);
            cc.open().unwrap();
            let ring = cc.open().unwrap();
            let mut model = BTreeMap::new();
            let (mut at, mut highest, mut reported, mut count) = (0, 100_000_i64, 0, 0_u8);
            for (wait, step, turn) in steps {
                at += wait;
                let number = (highest + if turn == 0 { step * 20 } else { step.min(3) }).max(1 << 16);
                cc.on_packet(ring, ms(at), number as u16);
                if model.is_empty() {
                    (highest, reported) = (number, number);
                }
                model.entry(number).or_insert(at);
                highest = highest.max(number);
                if cc.due(ring).is_none_or(|due| ms(at) < due) {
                    continue;
                }
                let mut next = None;
                for (number, base, times) in round(&mut cc, ring, at) {
                    prop_assert_eq!(number, count);
                    count = count.wrapping_add(u8::from(times.iter().any(Option::is_some)));
                    let base = highest - i64::from((highest as u16).wrapping_sub(base));
                    prop_assert!(next.is_none_or(|next| next == base));
                    next = Some(base + times.len() as i64);
                    prop_assert!(times.len() <= TRANSPORT_CC_REPORT_MAX);
                    for (number, told) in (base..).zip(times) {
                        if let Some(told) = told {
                            prop_assert_eq!(model.get(&number), Some(&told));
                        } else if number >= reported {
                            prop_assert_eq!(model.get(&number), None);
                        }
                    }
                }
                prop_assert_eq!(next, Some(highest + 1));
                reported = highest + 1;
            }
        }
    }
}
