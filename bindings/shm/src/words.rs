//! A bounds-checked view of shared memory as atomic 64-bit words.
//!
//! This is the only way the crate touches shared bytes. The other process may write at any
//! moment, so plain loads and `memcpy` would be data races; a relaxed atomic load of a word costs
//! the same as a plain one. Copies of byte strings go word by word and may be torn: whoever needs
//! more than a word to be consistent uses [`crate::ring`] or [`crate::seqlock`].
//!
//! [`Words`] only loads, and loads with `Relaxed` plus fences, which is what the language allows on
//! memory mapped read-only. [`WordsMut`] also stores. Neither is exclusive: that a word has a
//! single writer is the layout's duty; breaking it costs wrong numbers, not memory safety.

use core::fmt;
use core::ptr::NonNull;
use std::sync::Arc;

use crate::WORD_BYTES;
use crate::sync::{AtomicU64, Ordering, fence};

/// What keeps the memory behind a view alive.
trait Backing: Send + Sync {}

struct Heap {
    // Only the raw slice below reads it; the box is here to be freed last.
    _words: Box<[AtomicU64]>,
}

impl Backing for Heap {}

#[cfg(not(loom))]
impl Backing for crate::mapping::Mapping {}

/// A run of words inside a region, in words from the start of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First word.
    pub offset_words: usize,
    /// Number of words.
    pub len_words: usize,
}

/// Lays out spans one after the other, each starting on its own pair of cache lines.
///
/// Both sides run the same code over the same limits and get the same offsets; the region's layout
/// version says which code that was.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    next_words: usize,
}

impl Layout {
    /// An empty layout.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next `len_words` words.
    pub fn take(&mut self, len_words: usize) -> Span {
        let span = Span { offset_words: self.next_words, len_words };
        self.next_words += len_words.next_multiple_of(crate::LINE_WORDS);
        span
    }

    /// Bytes a region's payload needs for everything taken so far.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.next_words * WORD_BYTES
    }
}

/// A readable view of shared words. Cloning shares the memory.
#[derive(Clone)]
pub struct Words {
    slice: NonNull<[AtomicU64]>,
    backing: Arc<dyn Backing>,
}

// SAFETY: the view is a shared reference to atomics, which are `Sync`, and `backing` (itself
// `Send + Sync`) keeps them alive wherever the view goes.
unsafe impl Send for Words {}
// SAFETY: as above; `&Words` gives only `&AtomicU64`.
unsafe impl Sync for Words {}

impl Words {
    /// # Safety
    /// `slice` must be valid for loads for as long as `backing` lives, and nobody in this process
    /// may access it otherwise than by 64-bit atomics.
    #[cfg(not(loom))]
    pub(crate) unsafe fn over_mapping(
        slice: NonNull<[AtomicU64]>,
        backing: Arc<crate::mapping::Mapping>,
    ) -> Self {
        Self { slice, backing }
    }

    fn atomics(&self) -> &[AtomicU64] {
        // SAFETY: constructors take only slices that live as long as `backing`, which we hold.
        unsafe { self.slice.as_ref() }
    }

    /// Number of words.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slice.len()
    }

    /// Whether there are no words.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The words of `span`, or `None` when it reaches past the end.
    #[must_use]
    pub fn slice(&self, span: Span) -> Option<Self> {
        let end = span.offset_words.checked_add(span.len_words)?;
        let slice = NonNull::from(self.atomics().get(span.offset_words..end)?);
        Some(Self { slice, backing: Arc::clone(&self.backing) })
    }

    /// Loads a word, relaxed. Panics past the end: indexes come from the layout, not from the peer.
    #[must_use]
    pub fn load(&self, index: usize) -> u64 {
        self.atomics()[index].load(Ordering::Relaxed)
    }

    /// Loads a word; what its writer stored before releasing it is visible afterwards.
    #[must_use]
    pub fn load_acquire(&self, index: usize) -> u64 {
        let value = self.load(index);
        // A fence and not an acquire load: only relaxed loads are allowed on read-only pages.
        fence(Ordering::Acquire);
        value
    }

    /// Copies `out.len()` bytes from word `index` on, wrapping at `mask + 1` words from the start.
    pub(crate) fn copy_out_wrapped(&self, start: usize, index: u64, mask: u64, out: &mut [u8]) {
        for (i, chunk) in out.chunks_mut(WORD_BYTES).enumerate() {
            let at = start + (index.wrapping_add(i as u64) & mask) as usize;
            let word = self.load(at).to_ne_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// Copies `out.len()` bytes from word `index` on. The result may mix old and new words.
    pub fn copy_out(&self, index: usize, out: &mut [u8]) {
        let words = &self.atomics()[index..index + crate::words_for(out.len())];
        for (chunk, word) in out.chunks_mut(WORD_BYTES).zip(words) {
            let bytes = word.load(Ordering::Relaxed).to_ne_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

impl fmt::Debug for Words {
    // Never the content: it may hold keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Words({})", self.len())
    }
}

/// A readable and writable view of shared words. Cloning shares the memory.
#[derive(Debug, Clone)]
pub struct WordsMut {
    words: Words,
}

impl WordsMut {
    /// Words in private memory: for a node in one process, for tests and for simulations.
    #[must_use]
    pub fn in_memory(len_words: usize) -> Self {
        let boxed: Box<[AtomicU64]> = (0..len_words).map(|_| AtomicU64::new(0)).collect();
        let slice = NonNull::from(&*boxed);
        Self { words: Words { slice, backing: Arc::new(Heap { _words: boxed }) } }
    }

    /// # Safety
    /// As [`Words::over_mapping`], and the slice must be valid for stores as well.
    #[cfg(not(loom))]
    pub(crate) unsafe fn over_mapping(
        slice: NonNull<[AtomicU64]>,
        backing: Arc<crate::mapping::Mapping>,
    ) -> Self {
        // SAFETY: passed on to our caller.
        Self { words: unsafe { Words::over_mapping(slice, backing) } }
    }

    /// The same words, read only.
    #[must_use]
    pub fn view(&self) -> Words {
        self.words.clone()
    }

    /// The words of `span`, or `None` when it reaches past the end.
    #[must_use]
    pub fn slice(&self, span: Span) -> Option<Self> {
        Some(Self { words: self.words.slice(span)? })
    }

    /// Stores a word, relaxed. Panics past the end.
    pub fn store(&self, index: usize, value: u64) {
        self.words.atomics()[index].store(value, Ordering::Relaxed);
    }

    /// Stores a word after everything stored before it.
    pub fn store_release(&self, index: usize, value: u64) {
        self.words.atomics()[index].store(value, Ordering::Release);
    }

    /// Copies bytes to word `index` on, wrapping at `mask + 1` words from `start`; the last word
    /// is filled up with zeros.
    pub(crate) fn copy_in_wrapped(&self, start: usize, index: u64, mask: u64, bytes: &[u8]) {
        for (i, chunk) in bytes.chunks(WORD_BYTES).enumerate() {
            let at = start + (index.wrapping_add(i as u64) & mask) as usize;
            self.store(at, word_of(chunk));
        }
    }

    /// Copies bytes to word `index` on; the last word is filled up with zeros.
    pub fn copy_in(&self, index: usize, bytes: &[u8]) {
        let words = &self.words.atomics()[index..index + crate::words_for(bytes.len())];
        for (chunk, word) in bytes.chunks(WORD_BYTES).zip(words) {
            word.store(word_of(chunk), Ordering::Relaxed);
        }
    }

    /// Zeroes all words. Atomic stores to memory that others see are not optimised away.
    pub fn zero(&self) {
        for word in self.words.atomics() {
            word.store(0, Ordering::Relaxed);
        }
    }
}

impl core::ops::Deref for WordsMut {
    type Target = Words;

    fn deref(&self) -> &Words {
        &self.words
    }
}

fn word_of(chunk: &[u8]) -> u64 {
    let mut word = [0; WORD_BYTES];
    word[..chunk.len()].copy_from_slice(chunk);
    u64::from_ne_bytes(word)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_whatever_their_length() {
        let words = WordsMut::in_memory(4);
        for len in 0..=32 {
            words.zero();
            let bytes: Vec<u8> = (1..=len as u8).collect();
            words.copy_in(0, &bytes);
            let mut back = vec![0xff; len];
            words.copy_out(0, &mut back);
            assert_eq!(back, bytes);
        }
    }

    #[test]
    fn a_span_past_the_end_is_refused() {
        let words = WordsMut::in_memory(16);
        assert!(words.slice(Span { offset_words: 8, len_words: 8 }).is_some());
        assert!(words.slice(Span { offset_words: 8, len_words: 9 }).is_none());
        assert!(words.slice(Span { offset_words: usize::MAX, len_words: 2 }).is_none());
    }

    #[test]
    #[should_panic(expected = "index out of bounds")]
    fn a_slice_does_not_reach_its_neighbour() {
        let words = WordsMut::in_memory(16);
        let part = words.slice(Span { offset_words: 0, len_words: 8 }).expect("inside");
        let _ = part.load(8);
    }

    #[test]
    fn spans_start_on_their_own_lines() {
        let mut layout = Layout::new();
        let a = layout.take(1);
        let b = layout.take(17);
        let c = layout.take(16);
        assert_eq!((a.offset_words, b.offset_words, c.offset_words), (0, 16, 48));
        assert_eq!(layout.payload_bytes(), 64 * WORD_BYTES);
    }
}
