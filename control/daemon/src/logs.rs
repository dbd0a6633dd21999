//! A bound on log lines that strangers can cause.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::state::{InMemoryState, NotKeyed};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::limits::LOG_LINES_PER_S;

/// Lets a few lines a second through and counts the others.
pub struct LogLimit {
    limiter: RateLimiter<NotKeyed, InMemoryState, governor::clock::DefaultClock>,
    suppressed: AtomicU64,
}

impl Default for LogLimit {
    fn default() -> Self {
        let per_s = NonZeroU32::new(LOG_LINES_PER_S).unwrap_or(NonZeroU32::MIN);
        let limiter: DefaultDirectRateLimiter = RateLimiter::direct(Quota::per_second(per_s));
        LogLimit { limiter, suppressed: AtomicU64::new(0) }
    }
}

impl LogLimit {
    /// Whether to write a line now; with it, how many were kept back before.
    pub fn allow(&self) -> Option<u64> {
        if self.limiter.check().is_ok() {
            Some(self.suppressed.swap(0, Ordering::Relaxed))
        } else {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_makes_few_lines_and_the_rest_is_counted() {
        let limit = LogLimit::default();
        let written = (0..1000).filter_map(|_| limit.allow()).count();
        assert!((1..=2 * LOG_LINES_PER_S as usize).contains(&written), "{written}");
        assert!(limit.suppressed.load(Ordering::Relaxed) >= 980);
    }
}
