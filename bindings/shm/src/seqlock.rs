//! Snapshots: one writer, any number of readers that never slow it down.
//!
//! A cell is a sequence word and data. The writer makes the sequence odd, writes, makes it even; a
//! reader that saw an even number before and the same number after its copy has a consistent one.
//! Readers only load, so a region mapped read-only will do. A writer killed in the middle leaves an odd
//! number: readers then get [`ReadError::Torn`] after a bounded number of tries, until a new writer
//! writes the cell again.
//!
//! Large tables are [`PagedWriter`] and [`PagedReader`]: pages with a sequence each, so a reader of
//! ten thousand sessions does not need ten thousand rows to hold still at once.

use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::sync::{Ordering, fence, spin_loop};
use crate::words::{Words, WordsMut};
use crate::{LINE_WORDS, words_for};

/// Reads tried before [`ReadError::Torn`], unless [`PagedReader::with_tries`] says otherwise.
pub const READ_TRIES: u32 = 1_000;

/// Why there is no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nothing was written yet.
    #[error("no snapshot was written yet")]
    Empty,
    /// The writer was writing at every try: it is very busy, or died in the middle.
    #[error("the snapshot did not hold still")]
    Torn,
}

/// Words that `pages` cells for a `T` take in a region.
#[must_use]
pub const fn cell_words<T>(pages: usize) -> usize {
    pages * stride_words::<T>()
}

const fn stride_words<T>() -> usize {
    (1 + words_for(size_of::<T>())).next_multiple_of(LINE_WORDS)
}

/// The writing end of a table of cells. The only one: two would tear each other's snapshots.
#[derive(Debug)]
pub struct PagedWriter<T> {
    words: WordsMut,
    pages: usize,
    _of: PhantomData<fn(&T)>,
}

impl<T: IntoBytes + Immutable> PagedWriter<T> {
    /// Takes `pages` cells, whatever a former writer left in them.
    ///
    /// Panics when `words` are fewer than [`cell_words`].
    #[must_use]
    pub fn attach(words: WordsMut, pages: usize) -> Self {
        assert!(words.len() >= cell_words::<T>(pages), "the span is shorter than its pages");
        Self { words, pages, _of: PhantomData }
    }

    /// Number of pages.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Replaces a page. Panics past the last.
    pub fn write(&mut self, page: usize, value: &T) {
        assert!(page < self.pages);
        let at = page * stride_words::<T>();
        // An odd number left by a dead writer stays: readers refuse it either way.
        let odd = self.words.load(at) | 1;
        self.words.store(at, odd);
        // Whoever sees a word of the new data sees the odd number as well.
        fence(Ordering::Release);
        self.words.copy_in(at + 1, value.as_bytes());
        self.words.store_release(at, odd.wrapping_add(1));
    }
}

/// A reading end of a table of cells.
#[derive(Debug)]
pub struct PagedReader<T> {
    words: Words,
    pages: usize,
    tries: u32,
    _of: PhantomData<fn() -> T>,
}

impl<T> Clone for PagedReader<T> {
    fn clone(&self) -> Self {
        Self { words: self.words.clone(), pages: self.pages, tries: self.tries, _of: PhantomData }
    }
}

impl<T: FromBytes + IntoBytes> PagedReader<T> {
    /// Reads `pages` cells.
    ///
    /// Panics when `words` are fewer than [`cell_words`].
    #[must_use]
    pub fn attach(words: Words, pages: usize) -> Self {
        assert!(words.len() >= cell_words::<T>(pages), "the span is shorter than its pages");
        Self { words, pages, tries: READ_TRIES, _of: PhantomData }
    }

    /// With another number of tries, at least 1.
    #[must_use]
    pub fn with_tries(self, tries: u32) -> Self {
        Self { tries: tries.max(1), ..self }
    }

    /// Number of pages.
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// How often the page was written, to see whether reading it again is worth it.
    #[must_use]
    pub fn version(&self, page: usize) -> u64 {
        assert!(page < self.pages);
        self.words.load(page * stride_words::<T>()) / 2
    }

    /// A consistent copy of a page. Panics past the last.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, page: usize) -> Result<T, ReadError> {
        let mut value = T::new_zeroed();
        self.read_into(page, &mut value).map(|()| value)
    }

    /// Like [`Self::read`], into the caller's value; after an error that holds anything.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_into(&self, page: usize, value: &mut T) -> Result<(), ReadError> {
        assert!(page < self.pages);
        let at = page * stride_words::<T>();
        for _ in 0..self.tries {
            let before = self.words.load_acquire(at);
            if before == 0 {
                return Err(ReadError::Empty);
            }
            if before.is_multiple_of(2) {
                self.words.copy_out(at + 1, value.as_mut_bytes());
                // The copy happens before the second look at the sequence.
                fence(Ordering::Acquire);
                if self.words.load(at) == before {
                    return Ok(());
                }
            }
            spin_loop();
        }
        Err(ReadError::Torn)
    }
}

/// The writing end of a single cell.
#[derive(Debug)]
pub struct SnapshotWriter<T>(PagedWriter<T>);

impl<T: IntoBytes + Immutable> SnapshotWriter<T> {
    /// Takes the cell; see [`PagedWriter::attach`].
    #[must_use]
    pub fn attach(words: WordsMut) -> Self {
        Self(PagedWriter::attach(words, 1))
    }

    /// Replaces the snapshot.
    pub fn write(&mut self, value: &T) {
        self.0.write(0, value);
    }
}

/// A reading end of a single cell.
#[derive(Debug)]
pub struct SnapshotReader<T>(PagedReader<T>);

impl<T> Clone for SnapshotReader<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: FromBytes + IntoBytes> SnapshotReader<T> {
    /// Reads the cell; see [`PagedReader::attach`].
    #[must_use]
    pub fn attach(words: Words) -> Self {
        Self(PagedReader::attach(words, 1))
    }

    /// With another number of tries, at least 1.
    #[must_use]
    pub fn with_tries(self, tries: u32) -> Self {
        Self(self.0.with_tries(tries))
    }

    /// How often the cell was written.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.0.version(0)
    }

    /// A consistent copy.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self) -> Result<T, ReadError> {
        self.0.read(0)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    type Rows = [u64; 21];

    #[test]
    fn a_page_reads_back_and_its_neighbours_stay_empty() {
        let words = WordsMut::in_memory(cell_words::<Rows>(3));
        let reader = PagedReader::<Rows>::attach(words.view(), 3);
        let mut writer = PagedWriter::<Rows>::attach(words, 3);
        assert_eq!(reader.read(1), Err(ReadError::Empty));
        writer.write(1, &[7; 21]);
        assert_eq!(reader.read(1), Ok([7; 21]));
        assert_eq!(reader.read(0), Err(ReadError::Empty));
        assert_eq!(reader.read(2), Err(ReadError::Empty));
        writer.write(1, &[8; 21]);
        assert_eq!((reader.version(0), reader.version(1)), (0, 2));
    }

    #[test]
    fn a_dead_writer_makes_torn_and_the_next_one_heals() {
        let words = WordsMut::in_memory(cell_words::<Rows>(1));
        let reader = SnapshotReader::<Rows>::attach(words.view());
        SnapshotWriter::<Rows>::attach(words.clone()).write(&[1; 21]);
        // What a kill in the middle of `write` leaves.
        words.store(0, 3);
        words.store(1, 99);
        assert_eq!(reader.read(), Err(ReadError::Torn));
        SnapshotWriter::<Rows>::attach(words).write(&[2; 21]);
        assert_eq!(reader.read(), Ok([2; 21]));
    }

    #[test]
    fn concurrent_reads_are_never_mixed() {
        let words = WordsMut::in_memory(cell_words::<Rows>(1));
        let reader = SnapshotReader::<Rows>::attach(words.view());
        let mut writer = SnapshotWriter::<Rows>::attach(words);
        std::thread::scope(|scope| {
            scope.spawn(move || (1..=200_000).for_each(|i| writer.write(&[i; 21])));
            let mut last = 0;
            while last < 200_000 {
                if let Ok(rows) = reader.read() {
                    assert!(rows.iter().all(|&row| row == rows[0]), "mixed: {rows:?}");
                    assert!(rows[0] >= last, "went back from {last} to {}", rows[0]);
                    last = rows[0];
                }
            }
        });
    }
}
