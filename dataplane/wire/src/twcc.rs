//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01
//! section 3.1): which packets of a transport arrived, and when. The control information of a
//! transport-layer feedback message; the packet around it is [`crate::rtcp::Packet::TransportCc`]
//! and [`crate::rtcp_write::Writer::transport_cc`].

use core::slice;

use crate::{Error, Result, bytes};

/// The resolution of an arrival time in microseconds.
pub const TICK_US: u64 = 250;
/// The resolution of the reference time in microseconds.
pub const REFERENCE_US: u64 = 64_000;

/// Length before the chunks in bytes.
const FIXED_LEN: usize = 8;
const TICKS_PER_REFERENCE: u64 = REFERENCE_US / TICK_US;
/// Most packets in one run: 13 bits.
const RUN_MAX: usize = 0x1fff;

// Packet status symbols (section 3.1.1).
const LOST: u16 = 0;
const SMALL: u16 = 1;
const LARGE: u16 = 2;

/// A feedback whose chunks and deltas were checked against its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportCc<'a> {
    fci: &'a [u8],
    deltas_at: usize,
}

impl<'a> TransportCc<'a> {
    /// Checks that the chunks cover the count, and that every arrival has its delta.
    ///
    /// # Errors
    /// `Truncated`, `BadLength` for a count of zero, `BadType` for the reserved symbol.
    pub fn new_checked(fci: &'a [u8]) -> Result<Self> {
        if fci.len() < FIXED_LEN {
            return Err(Error::Truncated);
        }
        let count = usize::from(bytes::u16_at(fci, 2));
        if count == 0 {
            return Err(Error::BadLength);
        }
        let (mut covered, mut deltas_at, mut delta_len) = (0, FIXED_LEN, 0);
        while covered < count {
            let Some(word) = fci.get(deltas_at..deltas_at + 2) else {
                return Err(Error::Truncated);
            };
            deltas_at += 2;
            let symbols = Symbols::of(bytes::u16_at(word, 0));
            // What a last chunk says beyond the count is not looked at.
            let len = symbols.left.min(count - covered);
            covered += len;
            if symbols.is_run() {
                delta_len += len * delta_len_of(symbols.symbol())?;
            } else {
                for symbol in symbols.take(len) {
                    delta_len += delta_len_of(symbol)?;
                }
            }
        }
        if deltas_at + delta_len > fci.len() {
            return Err(Error::Truncated);
        }
        Ok(TransportCc { fci, deltas_at })
    }

    /// The transport-wide sequence number of the first status.
    pub fn base_sequence(&self) -> u16 {
        bytes::u16_at(self.fci, 0)
    }

    /// How many packets it speaks of, at least one.
    pub fn status_count(&self) -> u16 {
        bytes::u16_at(self.fci, 2)
    }

    /// The reference time in microseconds, on a clock that only the sender knows; 24 bits signed on
    /// the wire, so it wraps after 12 days.
    pub fn reference_us(&self) -> i64 {
        // Shifted up and back down, so that bit 23 becomes the sign.
        let reference = bytes::u32_at(self.fci, 4) as i32 >> 8;
        i64::from(reference) * REFERENCE_US as i64
    }

    /// Counts the feedbacks of one sender modulo 256, so that a lost one is noticed.
    pub fn feedback_count(&self) -> u8 {
        bytes::u8_at(self.fci, 7)
    }

    /// Each packet's sequence number and, if it arrived, when: microseconds on the clock of
    /// [`TransportCc::reference_us`].
    pub fn statuses(&self) -> impl Iterator<Item = (u16, Option<i64>)> + use<'a> {
        let chunks = bytes::range(self.fci, FIXED_LEN, self.deltas_at).chunks_exact(2);
        let symbols = chunks.flat_map(|word| Symbols::of(bytes::u16_at(word, 0)));
        let mut at = self.deltas_at;
        let mut now = self.reference_us();
        let (fci, base) = (self.fci, self.base_sequence());
        (0..self.status_count()).zip(symbols).map(move |(i, symbol)| {
            let delta = match symbol {
                SMALL => i64::from(bytes::u8_at(fci, at)),
                LARGE => i64::from(bytes::u16_at(fci, at) as i16),
                _ => return (base.wrapping_add(i), None),
            };
            at += symbol as usize;
            now += delta * TICK_US as i64;
            (base.wrapping_add(i), Some(now))
        })
    }
}

/// The symbols of one chunk (sections 3.1.3 and 3.1.4).
#[derive(Clone, Debug)]
struct Symbols {
    word: u16,
    left: usize,
}

impl Symbols {
    fn of(word: u16) -> Symbols {
        let left = match word >> 14 {
            0 | 1 => usize::from(word & 0x1fff),
            2 => 14,
            _ => 7,
        };
        Symbols { word, left }
    }

    fn is_run(&self) -> bool {
        self.word >> 15 == 0
    }

    /// The symbol that is next, were there one.
    fn symbol(&self) -> u16 {
        match self.word >> 14 {
            0 | 1 => self.word >> 13,
            2 => self.word >> self.left.saturating_sub(1) & 1,
            _ => self.word >> (2 * self.left.saturating_sub(1)) & 3,
        }
    }
}

impl Iterator for Symbols {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let symbol = (self.left > 0).then(|| self.symbol())?;
        self.left -= 1;
        Some(symbol)
    }
}

/// Bytes of the delta that a symbol promises.
fn delta_len_of(symbol: u16) -> Result<usize> {
    match symbol {
        LOST | SMALL | LARGE => Ok(usize::from(symbol)),
        _ => Err(Error::BadType),
    }
}

/// Arrivals as symbols with their deltas; ends before a delta that 16 bits cannot carry.
#[derive(Clone, Debug)]
struct Statuses<'a> {
    rest: slice::Iter<'a, Option<u64>>,
    /// The arrival before, in ticks.
    last: u64,
}

impl Iterator for Statuses<'_> {
    type Item = (u16, i16);

    fn next(&mut self) -> Option<(u16, i16)> {
        let Some(arrival_us) = *self.rest.as_slice().first()? else {
            self.rest.next();
            return Some((LOST, 0));
        };
        // The clock is cut to ticks, not the differences, so that errors do not add up.
        let ticks = arrival_us / TICK_US;
        let delta = i16::try_from(ticks.wrapping_sub(self.last) as i64).ok()?;
        self.rest.next();
        self.last = ticks;
        Some((if (0..=255).contains(&delta) { SMALL } else { LARGE }, delta))
    }
}

/// One chunk to be written.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    word: u16,
    statuses: usize,
    delta_len: usize,
}

/// Packs statuses into chunks, as many as a number of bytes can carry.
#[derive(Clone, Debug)]
struct Chunks<'a> {
    statuses: Statuses<'a>,
    /// Statuses that may still be covered: the count has 16 bits.
    left: usize,
    /// Bytes for chunks and deltas.
    space: usize,
}

impl Chunks<'_> {
    /// The widest chunk for what comes next.
    fn widest(&self) -> Option<Chunk> {
        let symbols = || self.statuses.clone().map(|(symbol, _)| symbol).take(self.left);
        let first = symbols().next()?;
        let run = symbols().take(RUN_MAX).take_while(|symbol| *symbol == first).count();
        let narrow = symbols().take(14).all(|symbol| symbol != LARGE);
        let (bits, flags, places) = if narrow { (1, 0x8000, 14) } else { (2, 0xc000, 7) };
        let len = symbols().take(places).count();
        if run >= len {
            let word = first << 13 | run as u16;
            return Some(Chunk { word, statuses: run, delta_len: run * usize::from(first) });
        }
        // Left-aligned; places without a packet stay zero.
        let vector = symbols().take(len).fold(0, |vector, symbol| vector << bits | symbol);
        let word = flags | vector << (bits * (places - len));
        let delta_len = symbols().take(len).map(usize::from).sum();
        Some(Chunk { word, statuses: len, delta_len })
    }
}

impl Iterator for Chunks<'_> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        let mut chunk = self.widest()?;
        if 2 + chunk.delta_len > self.space {
            // The last chunk: as many of its statuses as still fit.
            let mut used = 2;
            let fits = |(symbol, _): &(u16, i16)| {
                used += usize::from(*symbol);
                used <= self.space
            };
            self.left = self.statuses.clone().take(chunk.statuses).take_while(fits).count();
            chunk = self.widest()?;
        }
        self.space -= 2 + chunk.delta_len;
        self.left -= chunk.statuses;
        if let Some(last) = chunk.statuses.checked_sub(1) {
            self.statuses.nth(last);
        }
        Some(chunk)
    }
}

/// What one feedback will carry, measured before it is written.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'a> {
    reference: u64,
    chunks: Chunks<'a>,
    chunks_len: usize,
    delta_len: usize,
    pub(crate) covered: u16,
}

impl<'a> Plan<'a> {
    /// Plans for at most `fci_len_max` bytes.
    ///
    /// # Errors
    /// `BadLength` when nothing arrived, `NoSpace` when not one arrival fits.
    pub(crate) fn new(arrivals: &'a [Option<u64>], fci_len_max: usize) -> Result<Plan<'a>> {
        let first_us = arrivals.iter().copied().flatten().next().ok_or(Error::BadLength)?;
        let reference = first_us / REFERENCE_US;
        let statuses = Statuses { rest: arrivals.iter(), last: reference * TICKS_PER_REFERENCE };
        let space = (fci_len_max & !3).checked_sub(FIXED_LEN).ok_or(Error::NoSpace)?;
        let chunks = Chunks { statuses, left: usize::from(u16::MAX), space };
        let (mut chunks_len, mut delta_len, mut covered) = (0, 0, 0);
        for chunk in chunks.clone() {
            chunks_len += 2;
            delta_len += chunk.delta_len;
            covered += chunk.statuses;
        }
        if delta_len == 0 {
            return Err(Error::NoSpace);
        }
        Ok(Plan { reference, chunks, chunks_len, delta_len, covered: covered as u16 })
    }

    /// Length of what [`Plan::put`] writes in bytes.
    pub(crate) fn fci_len(&self) -> usize {
        (FIXED_LEN + self.chunks_len + self.delta_len).next_multiple_of(4)
    }

    /// Writes the information into `fci`, which is [`Plan::fci_len`] long.
    pub(crate) fn put(&self, fci: &mut [u8], base_sequence: u16, feedback_count: u8) {
        bytes::put(fci, 0, base_sequence.to_be_bytes());
        bytes::put(fci, 2, self.covered.to_be_bytes());
        let reference = (self.reference as u32) << 8 | u32::from(feedback_count);
        bytes::put(fci, 4, reference.to_be_bytes());
        let mut at = FIXED_LEN;
        for chunk in self.chunks.clone() {
            bytes::put(fci, at, chunk.word.to_be_bytes());
            at += 2;
        }
        let statuses = self.chunks.statuses.clone();
        for (symbol, delta) in statuses.take(usize::from(self.covered)) {
            match symbol {
                SMALL => bytes::put(fci, at, [delta as u8]),
                LARGE => bytes::put(fci, at, delta.to_be_bytes()),
                _ => {}
            }
            at += usize::from(symbol);
        }
        if let Some(padding) = fci.get_mut(at..) {
            padding.fill(0);
        }
    }
}

#[cfg(test)]
mod tests;
