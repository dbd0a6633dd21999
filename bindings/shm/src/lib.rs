//! Shared memory between the processes of one node: sealed regions and what lives in them.
//!
//! The data plane makes memfds, seals them and hands them to the control process and to dashboards
//! over a Unix socket. Nothing in this crate trusts the other side: a region is validated before
//! it is mapped, every index read from shared memory is checked before it is used, and a peer that
//! dies (or lies) at any point costs an error value, never an out-of-bounds access or a hang.
//!
//! Start reading at [`words`], the one way shared memory is touched, then:
//!
//! | module | what |
//! |---|---|
//! | [`region`] | a memfd: created, sized, mapped, sealed; validated when it comes from someone else |
//! | [`words`] | a bounds-checked view of a region as atomic 64-bit words |
//! | [`ring`] | single-producer, single-consumer ring of messages |
//! | [`seqlock`] | single-writer snapshot cell, and pages of such cells |
//! | [`counters`] | a shard's block of counters |
//! | [`fdpass`] | descriptors and credentials over a Unix socket |
//! | [`event`] | eventfd: the wake-up of a sleeping reader |
//! | [`clock`], [`affinity`] | the clocks and the core of a thread |
//!
//! What is absent on purpose: locks shared between processes (a dead owner would hold them),
//! pointers in shared memory, compare-and-swap (everything has one writer), and words of other
//! sizes than 64 bits (mixed-size atomic access is undefined behaviour).

pub mod affinity;
pub mod clock;
pub mod counters;
pub mod event;
#[cfg(not(loom))]
pub mod fdpass;
#[cfg(not(loom))]
mod mapping;
#[cfg(not(loom))]
pub mod region;
pub mod ring;
pub mod seqlock;
mod sync;
pub mod words;

/// Bytes of one shared word.
pub const WORD_BYTES: usize = 8;

/// Words between two things written by different threads: two cache lines, because the
/// adjacent-line prefetcher of x86 pulls them in pairs.
pub const LINE_WORDS: usize = 16;

/// Words needed to hold `bytes` bytes.
#[must_use]
pub const fn words_for(bytes: usize) -> usize {
    bytes.div_ceil(WORD_BYTES)
}
