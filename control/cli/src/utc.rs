//! Moments of Unix time as people and file names write them, in UTC.

/// `2026-11-24T10:18:48.123Z` (RFC 3339) of milliseconds of Unix time.
pub fn rfc3339(unix_ms: u64) -> String {
    let (year, month, day) = date(unix_ms / 86_400_000);
    let second = unix_ms / 1000 % 86_400;
    let (hour, minute, ms) = (second / 3600, second / 60 % 60, unix_ms % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{ms:03}Z", second % 60)
}

/// The Gregorian date of a day since 1970-01-01, counted in years that begin in March, so that the leap
/// day is the last of a year.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// Milliseconds of Unix time now.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_what_date_prints() {
        // date -u -d @SECONDS +%FT%T
        let known = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_001, "2000-02-29T00:00:00.001Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_102_444_799_000, "2099-12-31T23:59:59.000Z"),
        ];
        for (unix_ms, text) in known {
            assert_eq!(rfc3339(unix_ms), text);
        }
    }
}
