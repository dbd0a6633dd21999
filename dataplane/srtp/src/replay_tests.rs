//! The windows against a set of everything ever accepted.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn at(value: u64) -> PacketIndex {
    PacketIndex::new(value).expect("tests stay below 2^48")
}

/// What RFC 3711 asks for, told naively.
struct Oracle {
    accepted: HashSet<u64>,
    highest: Option<u64>,
    width: u64,
}

impl Oracle {
    fn new(width: usize) -> Oracle {
        Oracle { accepted: HashSet::new(), highest: None, width: width as u64 }
    }

    fn commit(&mut self, index: u64) -> Result<(), Replay> {
        if self.highest.is_some_and(|highest| index + self.width <= highest) {
            return Err(Replay::TooOld);
        }
        if !self.accepted.insert(index) {
            return Err(Replay::Seen);
        }
        self.highest = self.highest.max(Some(index));
        Ok(())
    }
}

#[test]
fn a_packet_is_accepted_once() {
    let mut window = ReplayWindow::new();
    assert_eq!(window.check(at(0)), Ok(()));
    assert_eq!(window.commit(at(0)), Ok(()));
    assert_eq!(window.check(at(0)), Err(Replay::Seen));
    assert_eq!(window.commit(at(0)), Err(Replay::Seen), "commit checks again");
}

#[test]
fn the_window_is_1024_wide_and_not_one_more() {
    let mut window = ReplayWindow::new();
    window.commit(at(5000)).unwrap();
    assert_eq!(window.check(at(5000 - 1023)), Ok(()));
    assert_eq!(window.check(at(5000 - 1024)), Err(Replay::TooOld));
}

#[test]
fn a_resumed_window_accepts_nothing_at_or_below_the_ledger() {
    let mut window = ReplayWindow::resume(at(70_000));
    assert_eq!(window.check(at(70_000)), Err(Replay::Seen));
    assert_eq!(window.check(at(69_000)), Err(Replay::Seen));
    assert_eq!(window.check(at(60_000)), Err(Replay::TooOld));
    assert_eq!(window.estimate(4465), at(70_001), "the rollover counter came along");
    window.commit(at(70_003)).unwrap();
    assert_eq!(window.check(at(70_001)), Ok(()));
    assert_eq!(window.check(at(70_000)), Err(Replay::Seen));

    let mut rtcp = RtcpReplayWindow::resume(RtcpIndex::new(9).unwrap());
    assert_eq!(rtcp.check(RtcpIndex::new(9).unwrap()), Err(Replay::Seen));
    assert_eq!(rtcp.commit(RtcpIndex::new(10).unwrap()), Ok(()));
}

#[test]
fn the_last_indices_are_accepted_and_remembered() {
    let mut window = ReplayWindow::new();
    window.commit(PacketIndex::MAX).unwrap();
    assert_eq!(window.commit(PacketIndex::MAX), Err(Replay::Seen));
    let mut rtcp = RtcpReplayWindow::new();
    rtcp.commit(RtcpIndex::MAX).unwrap();
    assert_eq!(rtcp.commit(RtcpIndex::MAX), Err(Replay::Seen));
    assert_eq!(rtcp.highest(), Some(RtcpIndex::MAX));
}

#[test]
fn windows_stay_small() {
    assert_eq!(size_of::<ReplayWindow>(), 136);
    assert_eq!(size_of::<RtcpReplayWindow>(), 24);
}

/// Steps forward (mostly small, some beyond the window) and back (mostly inside the window).
fn walk() -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![
        6 => 0i64..4,
        4 => -40i64..40,
        2 => -1_100i64..1_100,
        1 => 0i64..5_000,
    ];
    proptest::collection::vec(step, 1..2_000)
}

proptest! {
    #![proptest_config(crate::seeds::config(512))]

    #[test]
    fn srtp_window_agrees_with_the_set(start in 0u64..200_000, steps in walk()) {
        let (mut window, mut oracle) = (ReplayWindow::new(), Oracle::new(REPLAY_WIDTH));
        let mut now = start;
        for step in steps {
            now = now.saturating_add_signed(step);
            let checked = window.check(at(now));
            prop_assert_eq!(checked, window.clone().commit(at(now)));
            prop_assert_eq!(window.commit(at(now)), oracle.commit(now));
            prop_assert_eq!(window.highest().map(PacketIndex::value), oracle.highest);
        }
    }

    #[test]
    fn srtcp_window_agrees_with_the_set(start in 0u32..2_000, steps in walk()) {
        let (mut window, mut oracle) = (RtcpReplayWindow::new(), Oracle::new(RTCP_REPLAY_WIDTH));
        let mut now = start;
        for step in steps {
            now = now.saturating_add_signed(step as i32 / 8);
            let index = RtcpIndex::new(now).unwrap();
            let checked = window.check(index);
            prop_assert_eq!(checked, window.clone().commit(index));
            prop_assert_eq!(window.commit(index), oracle.commit(u64::from(now)));
        }
    }
}

/// Ten million indices with loss, reorder, duplicates and many wraps (SplitMix64 as the source).
#[test]
fn ten_million_indices_are_each_accepted_at_most_once() {
    let mut state = 0x526f_6f6d_6c61_6e65_u64;
    let mut random = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut window = ReplayWindow::new();
    // One bit per index ever accepted.
    let mut accepted = vec![0u64; 16 << 20 >> 6];
    let (mut top, mut replays) = (0u64, 0u64);
    for _ in 0..10_000_000 {
        let r = random();
        top += r % 3;
        let index = top.saturating_sub(if r >> 60 == 0 { (r >> 8) % 1500 } else { 0 });
        let (word, bit) = ((index / 64) as usize, 1u64 << (index % 64));
        let seen = accepted[word] & bit != 0;
        // The estimate from 16 bits must be the truth, over all wraps.
        assert_eq!(window.estimate(index as u16), at(index));
        if window.commit(at(index)).is_ok() {
            assert!(!seen, "index {index} accepted twice");
            accepted[word] |= bit;
        } else {
            assert!(seen || index + 1024 <= window.highest().unwrap().value());
            replays += 1;
        }
    }
    assert!(replays > 1_000_000 && top > 100 * 65_536, "the run must have met its cases");
}
