//! The log: lines for people or for machines, a bound on those that strangers can cause, and nothing in
//! them that a screen would obey.

use std::io::{self, IsTerminal, Write};
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
    let is_terminal = io::stderr().is_terminal();
    let writer = move || Escaped { out: io::stderr(), has_colours: is_terminal };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    if is_terminal {
        let lines = lines.with_filter_reloading();
        let handle = lines.reload_handle();
        lines.init();
        let _ = SET_LEVEL.set(Box::new(move |level| handle.reload(EnvFilter::new(level)).is_ok()));
    } else {
        let lines = lines.json().flatten_event(true).with_filter_reloading();
        let handle = lines.reload_handle();
        lines.init();
        let _ = SET_LEVEL.set(Box::new(move |level| handle.reload(EnvFilter::new(level)).is_ok()));
    }
}

/// From now on lines of `level` and above. `false` when there is no log.
pub fn set_level(level: &str) -> bool {
    SET_LEVEL.get().is_some_and(|set| set(level))
}

/// Writes what a terminal would obey as `\uXXXX`, which is what JSON has for it: control characters, line
/// separators, and marks that turn the direction of text.
pub struct Escaped<W> {
    /// Where to.
    pub out: W,
    /// The lines' own escapes for colours pass. Those of values are none by then: the formatter has
    /// written them out.
    pub has_colours: bool,
}

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The formatter writes an event at once, so that no character is cut in two.
        let text = String::from_utf8_lossy(bytes);
        let is_obeyed = |c: char| match c {
            '\n' => false,
            '\u{1b}' => !self.has_colours,
            '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => true,
            c => c.is_control(),
        };
        if text.chars().any(is_obeyed) {
            let mut safe = String::with_capacity(text.len() + 16);
            for c in text.chars() {
                match is_obeyed(c) {
                    true => safe.push_str(&format!("\\u{:04x}", u32::from(c))),
                    false => safe.push(c),
                }
            }
            self.out.write_all(safe.as_bytes())?;
        } else {
            self.out.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_screen_would_obey_is_written_out_and_stays_json() {
        use tracing_subscriber::fmt::MakeWriter;
        struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
        impl<'a> MakeWriter<'a> for Shared {
            type Writer = Escaped<Part>;
            fn make_writer(&'a self) -> Self::Writer {
                Escaped { out: Part(std::sync::Arc::clone(&self.0)), has_colours: false }
            }
        }
        struct Part(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
        impl Write for Part {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let seen = std::sync::Arc::default();
        let shared = Shared(std::sync::Arc::clone(&seen));
        let lines =
            tracing_subscriber::fmt().json().flatten_event(true).with_writer(shared).finish();
        let evil = "a\u{1b}]52;c;x\u{7}\u{9b}2J\u{202e}b\r\nc\u{2028}";
        tracing::subscriber::with_default(lines, || tracing::info!(about = evil, "x"));
        let text = String::from_utf8(seen.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        let harmless = |c: char| c == '\n' || c.is_ascii_graphic() || c == ' ';
        assert!(text.chars().all(harmless), "{text:?}");
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed["about"], evil);
    }

    #[test]
    fn colours_of_a_terminal_pass_and_nothing_else_does() {
        let mut out = Escaped { out: vec![], has_colours: true };
        out.write_all("\u{1b}[32mINFO\u{1b}[0m al***e\u{202e}\u{9b}\n".as_bytes()).unwrap();
        assert_eq!(out.out, b"\x1b[32mINFO\x1b[0m al***e\\u202e\\u009b\n");
    }

    #[test]
    fn a_flood_makes_few_lines_and_the_rest_is_counted() {
        let limit = LogLimit::default();
        let written = (0..1000).filter_map(|_| limit.allow()).count();
        assert!((1..=2 * LOG_LINES_PER_S as usize).contains(&written), "{written}");
        assert!(limit.suppressed.load(Ordering::Relaxed) >= 980);
    }
}
