//! Replay windows (RFC 3711 section 3.3.2): `check` before the cipher, `commit` after the tag held.

use crate::index::{PacketIndex, RocState, RtcpIndex};

/// Indices that the SRTP window remembers. RFC 3711 asks for 64 at least.
pub const REPLAY_WIDTH: usize = 1024;
/// Indices that the SRTCP window remembers.
pub const RTCP_REPLAY_WIDTH: usize = 128;

/// Why an index is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Replay {
    /// A packet with this index was accepted before.
    #[error("replayed packet")]
    Seen,
    /// The index lies below the window; it may or may not have been accepted.
    #[error("packet older than the replay window")]
    TooOld,
}

/// One bit for each of the last `64 * WORDS` indices: a ring, bit `index % width`.
#[derive(Clone, Debug)]
struct Bits<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Bits<WORDS> {
    const WIDTH: u64 = 64 * WORDS as u64;

    /// `next` is the highest accepted index plus one.
    #[inline]
    fn check(&self, next: u64, index: u64) -> Result<(), Replay> {
        if index >= next {
            return Ok(());
        }
        if next - index > Self::WIDTH {
            return Err(Replay::TooOld);
        }
        let (word, bit) = Self::place(index);
        if self.0[word] & bit == 0 { Ok(()) } else { Err(Replay::Seen) }
    }

    fn commit(&mut self, next: u64, index: u64) -> Result<(), Replay> {
        self.check(next, index)?;
        if index >= next {
            self.forget(next, index);
        }
        let (word, bit) = Self::place(index);
        self.0[word] |= bit;
        Ok(())
    }

    /// Clears the places that `next..=index` take over.
    fn forget(&mut self, next: u64, index: u64) {
        if index - next >= Self::WIDTH {
            self.0 = [0; WORDS];
            return;
        }
        let mut at = next;
        while at <= index {
            let (word, _) = Self::place(at);
            let low = at % 64;
            let count = (64 - low).min(index - at + 1);
            self.0[word] &= !((u64::MAX >> (64 - count)) << low);
            at += count;
        }
    }

    #[inline]
    fn place(index: u64) -> (usize, u64) {
        ((index % Self::WIDTH / 64) as usize, 1 << (index % 64))
    }
}

/// The replay window and rollover counter of one SSRC: 136 bytes.
///
/// The order is the caller's duty: `estimate`, `check`, open the packet, and only if the tag held
/// `commit`. Nothing but `commit` changes it, so forged packets leave no trace.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    roc: RocState,
    bits: Bits<{ REPLAY_WIDTH / 64 }>,
}

const _: () = assert!(size_of::<ReplayWindow>() <= 160);

impl ReplayWindow {
    /// Nothing accepted yet.
    pub const fn new() -> ReplayWindow {
        ReplayWindow { roc: RocState::new(), bits: Bits([0; REPLAY_WIDTH / 64]) }
    }

    /// Goes on after `highest`: it and everything below it is refused.
    pub const fn resume(highest: PacketIndex) -> ReplayWindow {
        ReplayWindow { roc: RocState::resume(highest), bits: Bits([u64::MAX; REPLAY_WIDTH / 64]) }
    }

    /// The highest accepted index.
    pub const fn highest(&self) -> Option<PacketIndex> {
        self.roc.highest()
    }

    /// The rollover counter's state.
    pub const fn roc(&self) -> RocState {
        self.roc
    }

    /// The most likely index of a sequence number: [`RocState::estimate`].
    pub const fn estimate(&self, seq: u16) -> PacketIndex {
        self.roc.estimate(seq)
    }

    /// Whether a packet with this index may be opened. Changes nothing.
    ///
    /// # Errors
    /// [`Replay`] when it was accepted before or is too old to know.
    pub fn check(&self, index: PacketIndex) -> Result<(), Replay> {
        self.bits.check(self.next(), index.value())
    }

    /// Accepts the index of an authentic packet. Checks again, because a burst may hold the same
    /// packet twice.
    ///
    /// # Errors
    /// [`Replay`] as [`ReplayWindow::check`]; the packet must then be dropped.
    pub fn commit(&mut self, index: PacketIndex) -> Result<(), Replay> {
        let next = self.next();
        self.bits.commit(next, index.value())?;
        self.roc.commit(index);
        Ok(())
    }

    fn next(&self) -> u64 {
        self.roc.highest().map_or(0, |highest| highest.value() + 1)
    }
}

impl Default for ReplayWindow {
    fn default() -> ReplayWindow {
        ReplayWindow::new()
    }
}

/// The replay window of one SSRC's SRTCP: 24 bytes. The order of calls is that of
/// [`ReplayWindow`]; the index stands in the packet ([`peek_rtcp`](crate::peek_rtcp)).
#[derive(Clone, Debug)]
pub struct RtcpReplayWindow {
    next: u32,
    bits: Bits<{ RTCP_REPLAY_WIDTH / 64 }>,
}

impl RtcpReplayWindow {
    /// Nothing accepted yet.
    pub const fn new() -> RtcpReplayWindow {
        RtcpReplayWindow { next: 0, bits: Bits([0; RTCP_REPLAY_WIDTH / 64]) }
    }

    /// Goes on after `highest`: it and everything below it is refused.
    pub const fn resume(highest: RtcpIndex) -> RtcpReplayWindow {
        RtcpReplayWindow {
            next: highest.value() + 1,
            bits: Bits([u64::MAX; RTCP_REPLAY_WIDTH / 64]),
        }
    }

    /// The highest accepted index.
    pub fn highest(&self) -> Option<RtcpIndex> {
        self.next.checked_sub(1).and_then(RtcpIndex::new)
    }

    /// Whether a compound with this index may be opened. Changes nothing.
    ///
    /// # Errors
    /// [`Replay`] when it was accepted before or is too old to know.
    pub fn check(&self, index: RtcpIndex) -> Result<(), Replay> {
        self.bits.check(u64::from(self.next), u64::from(index.value()))
    }

    /// Accepts the index of an authentic compound; checks again.
    ///
    /// # Errors
    /// [`Replay`] as [`RtcpReplayWindow::check`]; the compound must then be dropped.
    pub fn commit(&mut self, index: RtcpIndex) -> Result<(), Replay> {
        self.bits.commit(u64::from(self.next), u64::from(index.value()))?;
        self.next = self.next.max(index.value() + 1);
        Ok(())
    }
}

impl Default for RtcpReplayWindow {
    fn default() -> RtcpReplayWindow {
        RtcpReplayWindow::new()
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
