//! The publisher's receiver against a naive one that keeps a map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn ms(ms: u64) -> Instant {
    Instant(1_000_000_000 + ms * 1_000_000)
}

struct Bed {
    nacks: Nacks,
    stream: NackStream,
}

impl Bed {
    fn new() -> Self {
        Bed { nacks: Nacks::new(), stream: NackStream::default() }
    }

    fn packet(&mut self, at: u64, index: u64) -> Hope {
        self.nacks.on_packet(&mut self.stream, ms(at), index)
    }

    fn due(&mut self, at: u64) -> (Vec<u16>, Hope) {
        let mut lost = Lost::new();
        let hope = self.nacks.due(&mut self.stream, ms(at), &mut lost);
        (lost.to_vec(), hope)
    }
}

#[test]
fn a_reordered_packet_is_not_asked_for() {
    let mut bed = Bed::new();
    bed.packet(0, 70_000);
    bed.packet(1, 70_002);
    assert_eq!(bed.due(5).0, []);
    bed.packet(6, 70_001);
    assert!(bed.stream.is_whole());
    assert_eq!(bed.due(50).0, []);
}

#[test]
fn a_lost_packet_is_asked_for_after_ten_milliseconds_or_three_packets() {
    let mut bed = Bed::new();
    bed.packet(0, 10);
    bed.packet(0, 12);
    assert_eq!(bed.due(9).0, []);
    assert_eq!(bed.due(10).0, [11]);
    bed.packet(20, 14);
    bed.packet(20, 15);
    assert_eq!(bed.due(20).0, []);
    bed.packet(20, 16);
    assert_eq!(bed.due(20).0, [13]);
}

#[test]
fn repeats_are_a_round_trip_apart_and_follow_its_estimate() {
    let mut bed = Bed::new();
    bed.packet(0, 0);
    bed.packet(0, 2);
    assert_eq!(bed.due(10).0, [1]);
    assert_eq!(bed.due(109).0, []);
    assert_eq!(bed.due(110).0, [1]);
    bed.packet(120, 1);
    assert_eq!(bed.stream.rtt_us, 110_000, "the first repair tells it");
    // Repairs that take 30 ms pull the estimate there.
    for round in 0..60 {
        let (at, index) = (1000 + round * 100, 10 + 2 * round);
        bed.packet(at, index);
        let lost = bed.due(at + 10).0;
        assert!(!lost.is_empty());
        for seq in lost {
            bed.packet(at + 40, u64::from(seq));
        }
    }
    assert!((29..32).contains(&(bed.stream.rtt_us / 1000)), "{:?}", bed.stream.rtt_us);
}

#[test]
fn after_eight_requests_or_a_second_it_is_given_up() {
    let mut bed = Bed::new();
    bed.packet(0, 0);
    bed.packet(0, 2);
    let asked: Vec<u64> = (0..200)
        .map(|turn| turn * 10)
        .filter(|at| {
            let (lost, _) = bed.due(*at);
            !lost.is_empty()
        })
        .collect();
    assert_eq!(asked, [10, 110, 210, 310, 410, 510, 610, 710]);
    assert!(bed.stream.is_whole());
    bed.packet(3000, 4);
    assert_eq!(bed.due(3999).1, Hope::Kept);
    assert_eq!(bed.due(4000), (vec![], Hope::Lost));
}

#[test]
fn a_packet_that_the_replay_window_would_refuse_is_given_up() {
    let mut bed = Bed::new();
    bed.packet(0, 0);
    bed.packet(0, 2);
    for index in 3..1024 {
        bed.packet(0, index);
    }
    assert_eq!(bed.due(20), (vec![1], Hope::Kept));
    bed.packet(20, 1024);
    assert_eq!(bed.due(20), (vec![], Hope::Lost));
}

#[test]
fn a_large_jump_is_given_up_at_once() {
    let mut bed = Bed::new();
    bed.packet(0, 0);
    assert_eq!(bed.packet(0, NACK_STREAM_MAX as u64 + 1), Hope::Kept);
    assert_eq!(bed.due(10).0.len(), NACK_STREAM_MAX);
    assert_eq!(bed.packet(11, NACK_STREAM_MAX as u64 + 3), Hope::Lost);
    assert!(bed.stream.is_whole());
    assert_eq!(bed.packet(12, 1 << 40), Hope::Lost);
    assert_eq!(bed.due(100), (vec![], Hope::Kept));
    assert_eq!(bed.nacks.pool.vacant(), NACK_POOL);
}

#[test]
fn an_empty_pool_gives_up_and_takes_nothing_from_others() {
    let mut bed = Bed::new();
    let mut others = vec![];
    while bed.nacks.pool.vacant() >= NACK_STREAM_MAX {
        let mut other = NackStream::default();
        bed.nacks.on_packet(&mut other, ms(0), 0);
        bed.nacks.on_packet(&mut other, ms(0), NACK_STREAM_MAX as u64 + 1);
        others.push(other);
    }
    bed.packet(0, 0);
    assert_eq!(bed.packet(0, NACK_STREAM_MAX as u64 + 1), Hope::Lost);
    for other in &mut others {
        assert_eq!(usize::from(other.len), NACK_STREAM_MAX);
        bed.nacks.clear(other);
    }
    assert_eq!(bed.nacks.pool.vacant(), NACK_POOL);
}

/// What the naive receiver remembers of a missing packet: since, asked, due, tries.
type Model = BTreeMap<u64, (u64, u64, u64, u8)>;

proptest! {
    #[test]
    fn behaves_like_a_map(
        steps in prop::collection::vec((0u64..40, 0u64..12, prop::bool::weighted(0.1)), 1..400),
    ) {
        let mut bed = Bed::new();
        let (mut model, mut next, mut at) = (Model::new(), 0, 0);
        for (wait, step, back) in steps {
            at += wait;
            let index = if back { next.max(20) - 1 - step.min(15) } else { next + step / 4 };
            let hope = bed.packet(at, index);
            if index < next {
                model.remove(&index);
            } else {
                let from = if next == 0 { index } else { next };
                model.extend((from..index).map(|index| (index, (at, 0, at + 10, 0))));
                next = index + 1;
            }
            let overfull = model.len() > NACK_STREAM_MAX;
            prop_assert_eq!(hope == Hope::Lost, overfull);
            if overfull {
                model.clear();
            }
            let rtt_us = bed.stream.rtt().0 / 1000;
            let interval = rtt_us / 1000;
            let (lost, hope) = bed.due(at);
            let before = model.len();
            model.retain(|index, (since, _, due, tries)| {
                at - *since < 1000 && index + 1024 > next && !(at >= *due && *tries == 8)
            });
            prop_assert_eq!(hope == Hope::Lost, model.len() < before);
            let mut wanted = vec![];
            for (index, (_, asked, due, tries)) in &mut model {
                // The estimate has fractions of a millisecond; a request within one of them may differ.
                if at >= *due || (*tries == 0 && index + 3 < next) {
                    wanted.push(*index as u16);
                    *asked = at;
                    *due = at + interval + u64::from(!rtt_us.is_multiple_of(1000));
                    *tries += 1;
                }
            }
            prop_assert_eq!(lost, wanted);
            prop_assert_eq!(usize::from(bed.stream.len), model.len());
            for index in next.saturating_sub(30)..next {
                let awaited = bed.nacks.find(&bed.stream, index).is_some();
                prop_assert_eq!(awaited, model.contains_key(&index));
            }
        }
        bed.nacks.clear(&mut bed.stream);
        prop_assert_eq!(bed.nacks.pool.vacant(), NACK_POOL);
    }
}
