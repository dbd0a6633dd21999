//! DPDK's log: kept for error messages (the last lines a failing call wrote are its best
//! explanation) and handed to a sink of the program's choice. Nothing is printed without a sink.

use std::collections::VecDeque;
use std::ffi::{c_char, c_int};
use std::sync::{Mutex, PoisonError};

/// Lines kept for error messages.
const LINES_MAX: usize = 64;
/// Bytes of a line that are kept.
const LINE_BYTES_MAX: usize = 512;

/// How grave a line is, in DPDK's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Errors and worse.
    Error,
    /// Warnings.
    Warning,
    /// Normal but notable.
    Notice,
    /// Information.
    Info,
    /// Debugging.
    Debug,
}

type Sink = Box<dyn Fn(Level, &str) + Send>;

struct Log {
    lines: VecDeque<(u64, Level, String)>,
    next: u64,
    partial: String,
    sink: Option<Sink>,
}

static LOG: Mutex<Log> =
    Mutex::new(Log { lines: VecDeque::new(), next: 0, partial: String::new(), sink: None });

/// Sends every further line to `sink`, which must not call into this crate. Lines come from any
/// thread.
pub fn set_sink(sink: impl Fn(Level, &str) + Send + 'static) {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).sink = Some(Box::new(sink));
}

/// The number of the next line: what `since` takes.
pub(crate) fn mark() -> u64 {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).next
}

/// The errors and warnings since `mark` as the tail of a message: empty, or ": a; b".
pub(crate) fn since(mark: u64) -> String {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let lines: Vec<_> = log
        .lines
        .iter()
        .filter(|(number, level, _)| *number >= mark && *level <= Level::Warning)
        .map(|(_, _, line)| line.as_str())
        .collect();
    if lines.is_empty() { String::new() } else { format!(": {}", lines.join("; ")) }
}

/// Takes over DPDK's log; once, before EAL starts.
pub(crate) fn open() {
    // SAFETY: `write` is a function and lives as long as the process.
    let rc = unsafe { dpdk_sys::rl_log_open(write) };
    if rc != 0 {
        push(Level::Warning, "DPDK's log could not be redirected; it goes to stderr");
    }
}

extern "C" fn write(level: c_int, text: *const c_char, len: usize) {
    // SAFETY: the shim passes `len` readable bytes that live during this call.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
    let level = match level {
        ..=4 => Level::Error,
        5 => Level::Warning,
        6 => Level::Notice,
        7 => Level::Info,
        _ => Level::Debug,
    };
    let text = String::from_utf8_lossy(bytes);
    // A panic of the sink must not cross into C.
    let _ = std::panic::catch_unwind(|| push(level, &text));
}

/// Adds text; what comes before a newline is a line.
fn push(level: Level, text: &str) {
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let log = &mut *log;
    for piece in text.split_inclusive('\n') {
        log.partial.push_str(piece.trim_end_matches(['\n', '\r']));
        if !piece.ends_with('\n') && log.partial.len() < LINE_BYTES_MAX {
            continue;
        }
        let mut line = std::mem::take(&mut log.partial);
        line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
        if line.is_empty() {
            continue;
        }
        if let Some(sink) = &log.sink {
            sink(level, &line);
        }
        if log.lines.len() == LINES_MAX {
            log.lines.pop_front();
        }
        log.lines.push_back((log.next, level, line));
        log.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_from_pieces_and_only_grave_ones_explain_an_error() {
        let start = mark();
        push(Level::Error, "cannot open ");
        push(Level::Error, "socket\nand ");
        push(Level::Info, "more\n");
        assert_eq!(since(start), ": cannot open socket");
        assert_eq!(since(mark()), "");
        for _ in 0..3 * LINES_MAX {
            push(Level::Debug, "x\n");
        }
        assert_eq!(LOG.lock().unwrap().lines.len(), LINES_MAX);
    }
}
