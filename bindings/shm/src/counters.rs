//! A shard's counters in shared memory: its writer publishes its plain integers now and then.
//!
//! Each word is exact by itself; two words may come from two publications, which is fine for
//! counters that only grow. What must fit together is a snapshot, see [`crate::seqlock`].

use crate::words::{Words, WordsMut};
use crate::{LINE_WORDS, words_for};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Words of a block of `count` counters: whole pairs of cache lines, so that shards do not share any.
#[must_use]
pub const fn block_words(count: usize) -> usize {
    count.next_multiple_of(LINE_WORDS)
}

/// The writing end of a block.
#[derive(Debug)]
pub struct CounterWriter {
    words: WordsMut,
}

impl CounterWriter {
    /// Takes the block.
    #[must_use]
    pub fn attach(words: WordsMut) -> Self {
        Self { words }
    }

    /// Publishes counters from the first word on. Panics if there are more than the block holds.
    pub fn publish(&mut self, counters: &[u64]) {
        self.words.copy_in(0, counters.as_bytes());
    }

    /// Publishes a `repr(C)` struct of `u64` fields.
    pub fn publish_struct<T: IntoBytes + Immutable>(&mut self, counters: &T) {
        self.words.copy_in(0, counters.as_bytes());
    }
}

/// A reading end of a block.
#[derive(Debug, Clone)]
pub struct CounterReader {
    words: Words,
}

impl CounterReader {
    /// Reads the block.
    #[must_use]
    pub fn attach(words: Words) -> Self {
        Self { words }
    }

    /// One counter. Panics past the end.
    #[must_use]
    pub fn load(&self, index: usize) -> u64 {
        self.words.load(index)
    }

    /// Copies counters from the first on. Panics if more are wanted than the block holds.
    pub fn read(&self, out: &mut [u64]) {
        self.words.copy_out(0, out.as_mut_bytes());
    }

    /// A `repr(C)` struct of `u64` fields. Panics if it is larger than the block.
    #[must_use]
    pub fn read_struct<T: FromBytes + IntoBytes>(&self) -> T {
        let mut out = T::new_zeroed();
        debug_assert!(words_for(size_of::<T>()) <= self.words.len());
        self.words.copy_out(0, out.as_mut_bytes());
        out
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn published_counters_are_read() {
        let words = WordsMut::in_memory(block_words(3));
        let reader = CounterReader::attach(words.view());
        CounterWriter::attach(words).publish(&[1, u64::MAX, 3]);
        let mut out = [0; 3];
        reader.read(&mut out);
        assert_eq!(out, [1, u64::MAX, 3]);
        assert_eq!(reader.load(1), u64::MAX);
        assert_eq!(reader.read_struct::<[u64; 4]>(), [1, u64::MAX, 3, 0]);
    }

    #[test]
    fn blocks_share_no_cache_line() {
        assert_eq!(block_words(1), LINE_WORDS);
        assert_eq!(block_words(LINE_WORDS + 1), 2 * LINE_WORDS);
    }
}
