//! A bound on log lines that strangers can cause.

use std::io::{self, IsTerminal};
use std::num::NonZeroU32;
use std::sync::OnceLock;
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

type SetLevel = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// Changes the level of the subscriber that [`to_stderr`] made.
static SET_LEVEL: OnceLock<SetLevel> = OnceLock::new();

/// Lines for people on a terminal, JSON for the journal, of `level` and above. `ROOMLANE_LOG` filters
/// instead, as in `debug` or `warn,daemon::link=trace`.
pub fn to_stderr(level: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("ROOMLANE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if io::stderr().is_terminal() {
        let lines = lines.with_filter_reloading();
        let handle = lines.reload_handle();
        lines.init();
        let _ = SET_LEVEL.set(Box::new(move |level| handle.reload(EnvFilter::new(level)).is_ok()));
    } else {
        let lines = lines.json().with_filter_reloading();
        let handle = lines.reload_handle();
        lines.init();
        let _ = SET_LEVEL.set(Box::new(move |level| handle.reload(EnvFilter::new(level)).is_ok()));
    }
}

/// From now on lines of `level` and above. `false` when there is no log.
pub fn set_level(level: &str) -> bool {
    SET_LEVEL.get().is_some_and(|set| set(level))
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
