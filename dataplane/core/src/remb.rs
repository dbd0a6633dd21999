//! The bitrate that a publisher without transport-wide feedback is told to stay below
//! (draft-alvestrand-rmcat-remb-03), from what arrived of it and what did not.
//!
//! It is no delay-based estimate: it lets a sender grow while next to nothing is lost, holds it at a few
//! per cent and takes it back beyond. Decided anew once per visit, and told each time.

use crate::Instant;
use crate::limits::{REMB_CEILING, REMB_FLOOR, REMB_LOSS_HIGH, REMB_LOSS_LOW, REMB_START};

/// The estimate of one session.
#[derive(Debug, Clone, Copy, Default)]
pub struct Estimate {
    at: Instant,
    received: u64,
    bps: u64,
}

impl Estimate {
    /// Closes an interval: `received` counts all bytes that ever arrived, `lost` and `expected` the
    /// packets of the interval. Bits per second.
    pub fn update(&mut self, now: Instant, received: u64, lost: u64, expected: u64) -> u64 {
        let elapsed_ns = now.since(self.at).0.max(1);
        let bits = u128::from(received.saturating_sub(self.received)) * 8;
        let rate = (bits * 1_000_000_000 / u128::from(elapsed_ns)) as u64;
        let is_first = self.at == Instant(0);
        let held = if self.bps == 0 { REMB_START } else { self.bps };
        let bps = match lost * 100 {
            _ if is_first => REMB_START,
            lost if lost < expected * REMB_LOSS_LOW || expected == 0 => {
                REMB_START.max(rate / 2 * 3)
            }
            lost if lost <= expected * REMB_LOSS_HIGH => held,
            _ => rate / 100 * 85,
        };
        *self = Estimate { at: now, received, bps: bps.clamp(REMB_FLOOR, REMB_CEILING) };
        self.bps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bed {
        estimate: Estimate,
        at: u64,
        received: u64,
    }

    impl Bed {
        /// A second at so many bits per second, with a loss in per cent.
        fn second(&mut self, bps: u64, loss: u64) -> u64 {
            self.at += 1;
            self.received += bps / 8;
            self.estimate.update(Instant(self.at * 1_000_000_000), self.received, loss, 100)
        }
    }

    #[test]
    fn it_grows_without_loss_holds_with_some_and_shrinks_with_much() {
        let mut bed = Bed { estimate: Estimate::default(), at: 5, received: 77 };
        assert_eq!(bed.second(300_000, 0), 1_000_000);
        assert_eq!(bed.second(300_000, 0), 1_000_000);
        assert_eq!(bed.second(1_000_000, 1), 1_500_000);
        assert_eq!(bed.second(1_400_000, 2), 1_500_000);
        assert_eq!(bed.second(900_000, 10), 1_500_000);
        assert_eq!(bed.second(1_000_000, 11), 850_000);
        assert_eq!(bed.second(800_000, 5), 850_000);
        assert_eq!(bed.second(0, 100), REMB_FLOOR);
        assert_eq!(bed.second(50_000_000, 0), REMB_CEILING);
    }

    #[test]
    fn a_sender_that_follows_it_reaches_a_megabit_at_once_and_five_within_ten_seconds() {
        let mut bed = Bed { estimate: Estimate::default(), at: 0, received: 0 };
        let mut rate = 300_000;
        let told: Vec<u64> = (0..10)
            .map(|_| {
                rate = bed.second(rate, 0);
                rate
            })
            .collect();
        assert_eq!(told[0], 1_000_000);
        assert!(told[9] > 5_000_000, "{told:?}");
    }
}
