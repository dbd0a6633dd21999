//! Time as an argument: nanoseconds in plain integers, so that a test can start at zero.

use std::ops::{Add, Sub};

/// A point on the monotonic clock, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(pub u64);

/// A span, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(pub u64);

impl Duration {
    /// Whole microseconds.
    pub const fn from_us(us: u64) -> Self {
        Duration(us * 1_000)
    }
    /// Whole milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Duration(ms * 1_000_000)
    }
    /// Whole seconds.
    pub const fn from_s(s: u64) -> Self {
        Duration(s * 1_000_000_000)
    }
}

impl Instant {
    /// The span since `earlier`, zero when `earlier` is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
    /// Whole seconds since the clock's zero.
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, span: Duration) -> Instant {
        Instant(self.0.saturating_add(span.0))
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    fn sub(self, span: Duration) -> Instant {
        Instant(self.0.saturating_sub(span.0))
    }
}

/// One reading of both clocks, taken once per turn of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// The host's monotonic clock.
    pub mono: Instant,
    /// Nanoseconds since 1970-01-01 UTC.
    pub unix_ns: u64,
}

impl Now {
    /// The NTP timestamp of this moment (RFC 3550 4): seconds since 1900 and a 32-bit fraction.
    pub const fn ntp(self) -> u64 {
        ntp_from_unix_ns(self.unix_ns)
    }
}

/// Converts nanoseconds since 1970 to a 64-bit NTP timestamp (RFC 3550 4).
pub const fn ntp_from_unix_ns(unix_ns: u64) -> u64 {
    let seconds = unix_ns / 1_000_000_000 + 2_208_988_800;
    let fraction = ((unix_ns % 1_000_000_000) << 32) / 1_000_000_000;
    (seconds << 32) | fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_of_the_unix_epoch_is_2208988800_seconds() {
        assert_eq!(ntp_from_unix_ns(0), 2_208_988_800 << 32);
        assert_eq!(ntp_from_unix_ns(500_000_000) & 0xffff_ffff, 1 << 31);
    }
}
