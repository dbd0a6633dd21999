//! How much a subscriber may have sent again: a share of what it is sent anyway, and no packet twice
//! within a round trip. Whoever asks for more pays with its own picture, not with the others' packets.

use crate::limits::{REPAIR_BURST, REPAIR_RECENT, REPAIR_SHARE};
use crate::{Duration, Instant};

const SECOND: Duration = Duration::from_s(1);

/// The budget of one session: per second [`REPAIR_BURST`] bytes, or one part in [`REPAIR_SHARE`] of what
/// it was sent in the second before, whichever is more.
#[derive(Debug, Clone, Copy, Default)]
pub struct RepairBudget {
    /// Begin of the present second; zero before the first request.
    since: Instant,
    /// Bytes sent to the session at that moment.
    sent: u64,
    used: u32,
    allowance: u32,
}

impl RepairBudget {
    /// Takes `bytes` from the budget; false when there is not so much. `sent` counts all bytes that the
    /// session was ever sent, repairs included.
    pub fn take(&mut self, now: Instant, sent: u64, bytes: u64) -> bool {
        let elapsed = now.since(self.since);
        if elapsed >= SECOND || self.since == Instant(0) {
            let media = sent.saturating_sub(self.sent).saturating_sub(self.used.into());
            let is_first = self.since == Instant(0);
            let per_second = if is_first { 0 } else { per_second(media, elapsed) };
            let allowance = REPAIR_BURST.max(per_second / REPAIR_SHARE);
            let allowance = allowance.min(u32::MAX.into()) as u32;
            *self = RepairBudget { since: now, sent, used: 0, allowance };
        }
        let fits = u64::from(self.used) + bytes <= u64::from(self.allowance);
        self.used += if fits { bytes as u32 } else { 0 };
        fits
    }
}

fn per_second(bytes: u64, elapsed: Duration) -> u64 {
    (u128::from(bytes) * u128::from(SECOND.0) / u128::from(elapsed.0.max(1))) as u64
}

/// Which packets were sent again a moment ago. A place may be taken by another packet: then a repeat
/// gets through, which its budget pays for.
#[derive(Debug)]
pub struct Recent {
    places: Vec<(u64, Instant)>,
}

impl Recent {
    /// Nothing was sent again yet.
    pub fn new() -> Self {
        Recent { places: vec![(0, Instant(0)); REPAIR_RECENT] }
    }

    /// Whether a slot's packet may be sent again now; if so, not for another `pause`.
    pub fn admits(&mut self, slot: u32, sequence: u16, now: Instant, pause: Duration) -> bool {
        let key = (u64::from(slot) << 16 | u64::from(sequence)) + 1;
        // Fibonacci hashing: neighbouring numbers of one slot get places of their own.
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let place = &mut self.places[hash as usize % REPAIR_RECENT];
        if place.0 == key && now.since(place.1) < pause {
            return false;
        }
        *place = (key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant(1_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn a_silent_session_gets_the_burst_each_second() {
        let mut budget = RepairBudget::default();
        let mut sent = 0;
        let mut take = |at, bytes| {
            let taken = budget.take(ms(at), sent, bytes);
            sent += if taken { bytes } else { 0 };
            taken
        };
        assert!(take(0, REPAIR_BURST) && !take(999, 1));
        assert!(take(1000, REPAIR_BURST - 1) && take(1500, 1) && !take(1500, 1));
    }

    #[test]
    fn a_busy_session_gets_a_quarter_of_what_it_was_sent() {
        let mut budget = RepairBudget::default();
        assert!(budget.take(ms(0), 5_000_000, 1000));
        // A million bytes of media and the repair before, in two seconds.
        assert!(!budget.take(ms(2000), 6_001_000, 125_001));
        assert!(budget.take(ms(2000), 6_001_000, 125_000));
        assert!(!budget.take(ms(2000), 6_001_000, 1));
    }

    #[test]
    fn a_packet_is_sent_again_once_per_pause_and_slot() {
        let mut recent = Recent::new();
        let pause = Duration::from_ms(20);
        assert!(recent.admits(3, 9, ms(0), pause) && recent.admits(4, 9, ms(0), pause));
        assert!(!recent.admits(3, 9, ms(19), pause));
        assert!(recent.admits(3, 9, ms(20), pause));
        assert!(!recent.admits(3, 9, ms(39), pause));
        for sequence in 100..200 {
            assert!(recent.admits(3, sequence, ms(40), pause));
        }
        assert!((100..200).all(|sequence| !recent.admits(3, sequence, ms(41), pause)));
    }

    proptest! {
        #[test]
        fn repairs_never_exceed_burst_and_share(
            steps in prop::collection::vec((0u64..300, 0u64..40_000, 0u64..30_000), 1..300),
        ) {
            let mut budget = RepairBudget::default();
            let (mut at, mut media, mut repaired) = (0, 0, 0);
            for (wait, packet, repair) in steps {
                at += wait;
                media += packet;
                if budget.take(ms(at), media + repaired, repair) {
                    repaired += repair;
                }
                let bound = REPAIR_BURST * (1 + at / 1000) + media / REPAIR_SHARE;
                prop_assert!(repaired <= bound, "{repaired} of {bound}");
            }
        }
    }
}
