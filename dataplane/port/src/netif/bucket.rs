//! A token bucket kept as one instant (the virtual scheduling form of the leaky bucket).

use roomlane_core::{Duration, Instant};

/// Allows `burst` events at once and `per_s` in the long run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    interval: Duration,
    tolerance: Duration,
    /// When the bucket will be full again.
    full_at: Instant,
}

impl Bucket {
    /// A full bucket; `per_s` and `burst` are at least one.
    pub(super) fn new(per_s: u64, burst: u64) -> Self {
        let interval = Duration(1_000_000_000 / per_s.max(1));
        let tolerance = Duration(interval.0.saturating_mul(burst.max(1) - 1));
        Bucket { interval, tolerance, full_at: Instant(0) }
    }

    /// Takes a token if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if self.full_at.since(now) > self.tolerance {
            return false;
        }
        self.full_at = self.full_at.max(now) + self.interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate() {
        let mut bucket = Bucket::new(100, 5);
        let start = Instant(1_000_000_000);
        let passed = |bucket: &mut Bucket, at| (0..50).filter(|_| bucket.take(at)).count();
        assert_eq!(passed(&mut bucket, start), 5);
        assert_eq!(passed(&mut bucket, start + Duration::from_ms(9)), 0);
        assert_eq!(passed(&mut bucket, start + Duration::from_ms(10)), 1);
        assert_eq!(passed(&mut bucket, start + Duration::from_ms(40)), 3);
        assert_eq!(passed(&mut bucket, start + Duration::from_s(100)), 5);
    }
}
