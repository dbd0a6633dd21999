//! Token buckets: how much of something may happen at once, and how much per second.

use crate::Instant;

/// A bucket counted in nanoseconds of credit ("virtual scheduling"): one word of state, no division
/// on the fast path. The zero state is a full bucket.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    /// The moment at which the bucket is full again.
    full_at: u64,
}

/// What a bucket may let pass.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Nanoseconds of credit that one unit costs; 0 means no limit.
    cost_ns: u64,
    /// Nanoseconds of credit in a full bucket.
    depth_ns: u64,
}

impl Rate {
    /// `burst` units at once and `per_s` units per second; `per_s == 0` means no limit.
    pub const fn new(burst: u64, per_s: u64) -> Rate {
        if per_s == 0 {
            return Rate { cost_ns: 0, depth_ns: 0 };
        }
        // Rates above 1e9 per second would cost nothing: counted in units of their cost instead.
        let cost_ns = if per_s > 1_000_000_000 { 1 } else { 1_000_000_000 / per_s };
        Rate { cost_ns, depth_ns: cost_ns.saturating_mul(burst) }
    }
}

impl Bucket {
    /// Whether at least one unit would pass now.
    pub fn has(&self, now: Instant, rate: Rate) -> bool {
        rate.cost_ns == 0 || self.full_at.saturating_sub(now.0) + rate.cost_ns <= rate.depth_ns
    }

    /// Takes `units`, even beyond the bottom: a debt is paid back by time. At most one depth of debt is
    /// kept.
    pub fn take(&mut self, now: Instant, rate: Rate, units: u64) {
        if rate.cost_ns == 0 {
            return;
        }
        let used = self.full_at.max(now.0).saturating_add(rate.cost_ns.saturating_mul(units));
        self.full_at = used.min(now.0.saturating_add(rate.depth_ns.saturating_mul(2)));
    }

    /// Gives back what `take` took for something that turned out well.
    pub fn refund(&mut self, rate: Rate, units: u64) {
        self.full_at = self.full_at.saturating_sub(rate.cost_ns.saturating_mul(units));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_the_burst_pass_then_the_rate() {
        let rate = Rate::new(3, 10);
        let mut bucket = Bucket::default();
        let mut at = |ms: u64| {
            let now = Instant(ms * 1_000_000 + 5_000_000_000);
            let passed = bucket.has(now, rate);
            if passed {
                bucket.take(now, rate, 1);
            }
            passed
        };
        assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
        assert_eq!([at(99), at(100), at(101)], [false, true, false]);
        assert_eq!([at(10_000), at(10_000), at(10_000), at(10_000)], [true, true, true, false]);
    }

    #[test]
    fn no_rate_means_no_limit() {
        let mut bucket = Bucket::default();
        for _ in 0..100_000 {
            bucket.take(Instant(0), Rate::new(0, 0), 1);
            assert!(bucket.has(Instant(0), Rate::new(0, 0)));
        }
    }
}
