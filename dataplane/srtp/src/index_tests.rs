//! Index estimation against a naive model, and what it does at the ends.

use proptest::prelude::*;

use super::*;

fn index(roc: u32, seq: u16) -> PacketIndex {
    PacketIndex::from_parts(roc, seq)
}

/// Of the indices with this sequence number, the one nearest to `highest`; at the same distance
/// the one with the same rollover counter.
fn nearest(highest: PacketIndex, seq: u16) -> PacketIndex {
    let roc = i64::from(highest.roc());
    let candidates = [roc, roc - 1, roc + 1].into_iter().filter_map(|roc| {
        let roc = u32::try_from(roc).ok()?;
        Some(index(roc, seq))
    });
    candidates.min_by_key(|c| c.value().abs_diff(highest.value())).expect("its own ROC is there")
}

#[test]
fn the_first_packet_has_rollover_counter_0() {
    for seq in [0, 1, 32767, 32768, 65530, 65535] {
        assert_eq!(RocState::new().estimate(seq), index(0, seq));
    }
}

#[test]
fn a_sender_that_began_below_a_wrap_is_found_after_a_failure() {
    let fresh = RocState::new();
    assert_eq!(fresh.estimate_after(0, 3), index(0, 3), "nothing has failed yet");
    for failures in [1, 2, 3, u32::MAX] {
        assert_eq!(fresh.estimate_after(failures, 2), index(0, 2));
        assert_eq!(fresh.estimate_after(failures, 3), index(1, 3));
        assert_eq!(fresh.estimate_after(failures, 65_531), index(0, 65_531));
    }
    let known = RocState::resume(index(7, 100));
    assert_eq!(known.estimate_after(1, 103), index(7, 103));
}

#[test]
fn late_packets_from_before_the_wrap_keep_the_old_counter() {
    let mut roc = RocState::new();
    roc.commit(index(0, 65534));
    assert_eq!(roc.estimate(1), index(1, 1));
    roc.commit(index(1, 1));
    assert_eq!(roc.estimate(65535), index(0, 65535));
    roc.commit(index(0, 65535));
    assert_eq!(roc.highest(), Some(index(1, 1)), "an older packet must not move it back");
    assert_eq!(roc.estimate(0), index(1, 0));
}

#[test]
fn two_streams_of_one_session_wrap_independently() {
    let (mut first, mut second) = (RocState::new(), RocState::new());
    first.commit(index(0, 65530));
    second.commit(index(0, 10));
    first.commit(first.estimate(4));
    second.commit(second.estimate(11));
    assert_eq!((first.highest(), second.highest()), (Some(index(1, 4)), Some(index(0, 11))));
}

#[test]
fn estimates_stay_inside_the_48_bits() {
    assert_eq!(estimate(Some(index(0, 5)), 65530), index(0, 65530));
    assert_eq!(estimate(Some(PacketIndex::MAX), 5), index(u32::MAX, 5));
}

/// Every sequence number, so that both sides of exactly half the space are among them.
#[test]
fn the_estimate_is_the_nearest_index_up_to_the_edge() {
    for highest in [0, 1, 32_767, 32_768, 32_769, 65_535] {
        for roc in 0..3 {
            let highest = index(roc, highest);
            for seq in 0..=u16::MAX {
                assert_eq!(
                    estimate(Some(highest), seq),
                    nearest(highest, seq),
                    "{highest:?} {seq}"
                );
            }
        }
    }
}

#[test]
fn key_limits_of_rfc_3711_section_9_2_refuse() {
    assert_eq!(PacketIndex::new((1 << 48) - 1), Some(PacketIndex::MAX));
    assert_eq!(PacketIndex::new(1 << 48), None);
    assert_eq!(PacketIndex::MAX.checked_add(0), Some(PacketIndex::MAX));
    assert_eq!(PacketIndex::MAX.checked_add(1), None);
    assert_eq!(PacketIndex::MAX.checked_add(u64::MAX), None);
    assert_eq!(RtcpIndex::new((1 << 31) - 1), Some(RtcpIndex::MAX));
    assert_eq!(RtcpIndex::new(1 << 31), None);
    assert_eq!(RtcpIndex::MAX.checked_add(1), None);
    assert_eq!(RtcpIndex::MAX.checked_add(u32::MAX), None);
}

proptest! {
    #![proptest_config(crate::seeds::config(4096))]

    #[test]
    fn the_estimate_is_the_nearest_index(roc in 0u32..4, high: u16, seq: u16) {
        let highest = index(roc, high);
        // Below index 0 there is nothing: the model agrees that ROC 0 stays.
        prop_assert_eq!(estimate(Some(highest), seq), nearest(highest, seq));
    }

    #[test]
    fn every_packet_less_than_half_the_space_away_is_found(
        highest in 40_000u64..(1 << 40),
        distance in -32_767i64..=32_767,
    ) {
        let truth = PacketIndex::new(highest.checked_add_signed(distance).unwrap()).unwrap();
        let highest = PacketIndex::new(highest);
        prop_assert_eq!(estimate(highest, truth.seq()), truth);
    }

    #[test]
    fn a_reordered_stream_over_many_wraps_is_followed(
        start in 0u64..65_536,
        steps in proptest::collection::vec((0u64..3_000, 0u64..2_000), 200..400),
    ) {
        let mut roc = RocState::new();
        let mut sent = start;
        roc.commit(PacketIndex::new(sent).unwrap());
        let mut top = sent;
        for (jump, late) in steps {
            sent += jump;
            let truth = PacketIndex::new(sent.saturating_sub(late).max(start)).unwrap();
            prop_assert_eq!(roc.estimate(truth.seq()), truth);
            roc.commit(truth);
            top = top.max(truth.value());
            prop_assert_eq!(roc.highest().map(PacketIndex::value), Some(top));
        }
    }

    #[test]
    fn parts_and_index_are_the_same_thing(value in 0u64..(1 << 48)) {
        let index = PacketIndex::new(value).unwrap();
        prop_assert_eq!(PacketIndex::from_parts(index.roc(), index.seq()), index);
        prop_assert_eq!(index.value(), value);
    }
}
