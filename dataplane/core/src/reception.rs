//! What a receiver report says of a stream in (RFC 3550 6.4.1).

use crate::{Instant, Now};

/// Reception statistics of one SSRC (RFC 3550 6.4.1, A.3, A.8), from authenticated packets only.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reception {
    received: u64,
    base: u64,
    highest: u64,
    expected_before: u64,
    received_before: u64,
    transit: u32,
    /// Scaled by 16, as in RFC 3550 A.8.
    jitter_q4: u32,
}

/// One report block's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceptionReport {
    /// Part of the packets since the last report that were lost, in 1/256.
    pub fraction_lost: u8,
    /// All lost packets, clamped to 24 bits signed.
    pub cumulative_lost: i32,
    /// Extended highest sequence number (32 bits).
    pub highest: u32,
    /// In clock units.
    pub jitter: u32,
    /// Packets expected in the interval, and how many of them did not come.
    pub interval: (u64, u64),
}

impl Reception {
    /// Takes note of an accepted packet.
    pub fn on_packet(&mut self, now: Now, index: u64, timestamp: u32, clock_rate: u32) {
        if self.received == 0 {
            self.base = index;
            self.highest = index;
        }
        self.received += 1;
        self.highest = self.highest.max(index);
        let transit = units(now.mono, clock_rate).wrapping_sub(timestamp);
        if self.received > 1 {
            let difference = transit.wrapping_sub(self.transit) as i32;
            let difference = difference.unsigned_abs().min(1 << 27);
            let jitter = self.jitter_q4;
            self.jitter_q4 = jitter + difference - ((jitter + 8) >> 4);
        }
        self.transit = transit;
    }

    /// Whether anything arrived yet.
    pub fn has_packets(&self) -> bool {
        self.received > 0
    }

    /// Packets received so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Packets lost so far; duplicates cannot make it negative, since replays are not counted.
    pub fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }

    /// In clock units.
    pub fn jitter(&self) -> u32 {
        self.jitter_q4 >> 4
    }

    /// Closes an interval and reports it.
    pub fn report(&mut self) -> ReceptionReport {
        let expected = self.expected();
        let expected_interval = expected - self.expected_before;
        let received_interval = self.received - self.received_before;
        self.expected_before = expected;
        self.received_before = self.received;
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction = (lost_interval << 8).checked_div(expected_interval).unwrap_or(0);
        ReceptionReport {
            fraction_lost: fraction.min(255) as u8,
            cumulative_lost: self.lost().min(0x7f_ffff) as i32,
            highest: self.highest as u32,
            jitter: self.jitter(),
            interval: (expected_interval, lost_interval),
        }
    }

    fn expected(&self) -> u64 {
        // A packet before the first one's index widens the range to what was received at least.
        if self.received == 0 { 0 } else { (self.highest - self.base + 1).max(self.received) }
    }
}

/// `at` in units of a clock, modulo 2^32. Seconds and the rest apart, which is exact: 128 bits would be
/// divided by a call.
fn units(at: Instant, clock_rate: u32) -> u32 {
    let (seconds, rest_ns) = (at.0 / 1_000_000_000, at.0 % 1_000_000_000);
    let rate = u64::from(clock_rate);
    // The rest is below 2^30 and the rate below 2^32.
    seconds.wrapping_mul(rate).wrapping_add(rest_ns * rate / 1_000_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_those_of_the_exact_quotient() {
        for ns in [0, 1, 999_999_999, 1_000_000_000, 1_700_000_000_123_456_789, u64::MAX] {
            for rate in [1, 8_000, 48_000, 90_000, u32::MAX] {
                let exact = (u128::from(ns) * u128::from(rate) / 1_000_000_000) as u32;
                assert_eq!(units(Instant(ns), rate), exact, "{ns} ns at {rate} Hz");
            }
        }
    }

    fn at(ms: u64) -> Now {
        Now { mono: Instant(ms * 1_000_000), unix_ns: 0 }
    }

    #[test]
    fn loss_is_reported_per_interval_and_in_total() {
        let mut reception = Reception::default();
        for index in [10, 11, 13] {
            reception.on_packet(at(0), index, 0, 8000);
        }
        let report = reception.report();
        assert_eq!((report.fraction_lost, report.cumulative_lost, report.highest), (64, 1, 13));
        reception.on_packet(at(0), 12, 0, 8000);
        reception.on_packet(at(0), 14, 0, 8000);
        let report = reception.report();
        assert_eq!((report.fraction_lost, report.cumulative_lost, report.highest), (0, 0, 14));
    }

    #[test]
    fn jitter_follows_rfc_3550_a_8() {
        let mut reception = Reception::default();
        // 20 ms apart by timestamp, 20 then 36 ms apart on arrival: D = 16 ms = 128 units of 8 kHz.
        reception.on_packet(at(0), 0, 0, 8000);
        reception.on_packet(at(20), 1, 160, 8000);
        assert_eq!(reception.jitter(), 0);
        reception.on_packet(at(56), 2, 320, 8000);
        assert_eq!(reception.jitter(), 128 / 16);
    }
}
