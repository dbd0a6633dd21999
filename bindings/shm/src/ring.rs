//! A ring of variable-length messages with one producer and one consumer, in shared words.
//!
//! Layout, each item on its own pair of cache lines: the tail (words ever written; producer
//! writes), the head (words ever consumed) with `taken` behind it (consumer writes), the sleep
//! words (consumer writes), then the data, a power of two of words. A message is one word with its
//! length in bytes and its bytes filled up to whole words; it may wrap anywhere between words.
//!
//! Trust: each side keeps its own index in private memory and never reads it back. The other
//! side's index and every length are checked before use, so a dead, buggy or hostile peer can make
//! messages garbage but cannot make this side touch a word outside the ring: it gets
//! [`Corrupt`].
//!
//! Death: a message becomes visible by one store of the tail, so a producer killed half-way leaves
//! nothing behind. A consumer killed half-way delivers the message again after [`Consumer::attach`],
//! or, once it began to wipe it, not at all (`taken` says up to where to go on wiping).

use crate::event::Event;
use crate::sync::{Ordering, fence};
use crate::words::WordsMut;
use crate::{LINE_WORDS, WORD_BYTES, words_for};

const AT_TAIL: usize = 0;
const AT_HEAD: usize = LINE_WORDS;
const AT_TAKEN: usize = AT_HEAD + 1;
const AT_WAITING: usize = 2 * LINE_WORDS;
const AT_SLEEPS: usize = AT_WAITING + 1;
const DATA: usize = 3 * LINE_WORDS;

/// What both sides of a ring agree on. It is part of the layout, and never read from the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingSpec {
    capacity_words: usize,
    message_bytes_max: usize,
    secret: bool,
}

impl RingSpec {
    /// A ring of `capacity_bytes` (a power of two) for messages of at most `message_bytes_max`.
    ///
    /// Panics, at compile time in a constant, when the capacity is no power of two or holds less
    /// than one message of the largest size.
    #[must_use]
    pub const fn new(capacity_bytes: usize, message_bytes_max: usize) -> Self {
        assert!(capacity_bytes.is_power_of_two() && capacity_bytes >= WORD_BYTES);
        let capacity_words = capacity_bytes / WORD_BYTES;
        assert!(words_for(message_bytes_max) < capacity_words, "a message has a length word too");
        Self { capacity_words, message_bytes_max, secret: false }
    }

    /// The same ring for messages with keys: the consumer zeroes what it has read.
    #[must_use]
    pub const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    /// Words the ring takes in a region, see [`crate::words::Layout::take`].
    #[must_use]
    pub const fn len_words(&self) -> usize {
        DATA + self.capacity_words
    }

    /// Largest message in bytes: the buffer a consumer needs.
    #[must_use]
    pub const fn message_bytes_max(&self) -> usize {
        self.message_bytes_max
    }

    const fn mask(&self) -> u64 {
        self.capacity_words as u64 - 1
    }

    fn check(&self, words: &WordsMut) {
        assert!(words.len() >= self.len_words(), "the ring's span is shorter than its spec");
    }
}

/// The other side wrote an index or a length that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer of a ring in shared memory broke it")]
pub struct Corrupt;

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// No room now. Nothing was written.
    #[error("the ring is full")]
    Full,
    /// Bug: longer than [`RingSpec::message_bytes_max`].
    #[error("a message of {len_bytes} bytes is too long for the ring")]
    TooLong {
        /// Its length.
        len_bytes: usize,
    },
    /// Peer: see [`Corrupt`].
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// Why no message was returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PopError {
    /// Bug: the caller's buffer is smaller than the message, which stays in the ring.
    #[error("a message of {needed_bytes} bytes does not fit the buffer")]
    TooSmall {
        /// Its length.
        needed_bytes: usize,
    },
    /// Peer: see [`Corrupt`].
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
}

/// The writing end. One per ring; it may move between threads.
#[derive(Debug)]
pub struct Producer {
    words: WordsMut,
    spec: RingSpec,
    tail: u64,
    head_seen: u64,
    event: Option<Event>,
    signalled: u64,
}

impl Producer {
    /// Takes the writing end, going on where a former producer stopped.
    ///
    /// # Errors
    /// [`Corrupt`] when the indexes cannot be.
    pub fn attach(words: WordsMut, spec: RingSpec) -> Result<Self, Corrupt> {
        spec.check(&words);
        let head_seen = words.load_acquire(AT_HEAD);
        let tail = words.load_acquire(AT_TAIL);
        if tail.wrapping_sub(head_seen) > spec.capacity_words as u64 {
            return Err(Corrupt);
        }
        Ok(Self { words, spec, tail, head_seen, event: None, signalled: 0 })
    }

    /// With the eventfd that wakes the consumer, see [`Self::wake`].
    #[must_use]
    pub fn with_event(self, event: Event) -> Self {
        Self { event: Some(event), ..self }
    }

    /// Writes one message. Does not wake anybody: call [`Self::wake`] after a batch.
    ///
    /// # Errors
    /// See [`PushError`]; nothing was written then.
    pub fn push(&mut self, message: &[u8]) -> Result<(), PushError> {
        if message.len() > self.spec.message_bytes_max {
            return Err(PushError::TooLong { len_bytes: message.len() });
        }
        let needed = 1 + words_for(message.len()) as u64;
        if needed > self.free_words() {
            self.refresh()?;
            if needed > self.free_words() {
                return Err(PushError::Full);
            }
        }
        let mask = self.spec.mask();
        self.words.store(DATA + (self.tail & mask) as usize, message.len() as u64);
        self.words.copy_in_wrapped(DATA, self.tail.wrapping_add(1), mask, message);
        self.tail = self.tail.wrapping_add(needed);
        self.words.store_release(AT_TAIL, self.tail);
        Ok(())
    }

    fn free_words(&self) -> u64 {
        self.spec.capacity_words as u64 - self.tail.wrapping_sub(self.head_seen)
    }

    fn refresh(&mut self) -> Result<(), Corrupt> {
        let head = self.words.load_acquire(AT_HEAD);
        // Between what it was and the tail: a head can neither go back nor overtake.
        if head.wrapping_sub(self.head_seen) > self.tail.wrapping_sub(self.head_seen) {
            return Err(Corrupt);
        }
        self.head_seen = head;
        Ok(())
    }

    /// Whether the consumer sleeps and has not been told yet; the caller must then wake it. Answers
    /// yes once per sleep. For those who have a wake-up of their own; others use [`Self::wake`].
    pub fn needs_wake(&mut self) -> bool {
        // Pairs with the fence in `arm`: either we see the sleeper, or it sees our message.
        fence(Ordering::SeqCst);
        let sleep = self.words.load(AT_WAITING);
        let new = sleep != 0 && sleep != self.signalled;
        if new {
            self.signalled = sleep;
        }
        new
    }

    /// Writes the eventfd if the consumer sleeps. Returns whether it did.
    ///
    /// # Errors
    /// The host's, when the write fails.
    pub fn wake(&mut self) -> std::io::Result<bool> {
        let due = self.needs_wake();
        if let Some(event) = self.event.as_ref().filter(|_| due) {
            event.signal()?;
        }
        Ok(due)
    }
}

/// The reading end. One per ring; it may move between threads.
#[derive(Debug)]
pub struct Consumer {
    words: WordsMut,
    spec: RingSpec,
    head: u64,
    tail_seen: u64,
    sleeps: u64,
}

impl Consumer {
    /// Takes the reading end, going on where a former consumer stopped.
    ///
    /// # Errors
    /// [`Corrupt`] when the indexes cannot be.
    pub fn attach(words: WordsMut, spec: RingSpec) -> Result<Self, Corrupt> {
        spec.check(&words);
        let head = words.load_acquire(AT_HEAD);
        let taken = words.load_acquire(AT_TAKEN);
        let tail_seen = words.load_acquire(AT_TAIL);
        let filled = tail_seen.wrapping_sub(head);
        if filled > spec.capacity_words as u64 {
            return Err(Corrupt);
        }
        let sleeps = words.load(AT_SLEEPS);
        words.store(AT_WAITING, 0);
        let mut consumer = Self { words, spec, head, tail_seen, sleeps };
        if spec.secret {
            if taken.wrapping_sub(head) > filled {
                return Err(Corrupt);
            }
            // The former consumer died while wiping; what it had taken is not delivered again.
            consumer.wipe_to(taken);
        }
        Ok(consumer)
    }

    /// Copies the next message into `out` and returns its length in bytes; `None` when empty.
    ///
    /// # Errors
    /// See [`PopError`].
    pub fn pop(&mut self, out: &mut [u8]) -> Result<Option<usize>, PopError> {
        if self.is_empty()? {
            return Ok(None);
        }
        let mask = self.spec.mask();
        // Loaded once: the peer may change the word after the check.
        let len = self.words.load(DATA + (self.head & mask) as usize);
        if len > self.spec.message_bytes_max as u64 {
            return Err(Corrupt.into());
        }
        let len = len as usize;
        let next = self.head.wrapping_add(1 + words_for(len) as u64);
        if next.wrapping_sub(self.head) > self.tail_seen.wrapping_sub(self.head) {
            return Err(Corrupt.into());
        }
        let out = out.get_mut(..len).ok_or(PopError::TooSmall { needed_bytes: len })?;
        self.words.copy_out_wrapped(DATA, self.head.wrapping_add(1), mask, out);
        if self.spec.secret {
            self.words.store(AT_TAKEN, next);
            fence(Ordering::Release);
            self.wipe_to(next);
        } else {
            self.advance(next);
        }
        Ok(Some(len))
    }

    /// Whether there is nothing to pop now.
    ///
    /// # Errors
    /// [`Corrupt`] when the producer's index cannot be.
    pub fn is_empty(&mut self) -> Result<bool, Corrupt> {
        if self.tail_seen == self.head {
            let tail = self.words.load_acquire(AT_TAIL);
            if tail.wrapping_sub(self.head) > self.spec.capacity_words as u64 {
                return Err(Corrupt);
            }
            self.tail_seen = tail;
        }
        Ok(self.tail_seen == self.head)
    }

    fn wipe_to(&mut self, next: u64) {
        let mask = self.spec.mask();
        for i in 0..next.wrapping_sub(self.head) {
            self.words.store(DATA + (self.head.wrapping_add(i) & mask) as usize, 0);
        }
        self.advance(next);
    }

    fn advance(&mut self, next: u64) {
        self.head = next;
        self.words.store_release(AT_HEAD, next);
    }

    /// Announces a sleep. `true`: the ring is empty and the producer will wake us, so sleep on the
    /// eventfd (with a timeout: the producer may die), then call [`Self::disarm`]. `false`: there is
    /// something to pop, do not sleep.
    ///
    /// # Errors
    /// [`Corrupt`] when the producer's index cannot be.
    pub fn arm(&mut self) -> Result<bool, Corrupt> {
        // The number outlives this consumer, so that a producer never takes a new sleep for one
        // that it has already signalled.
        self.sleeps = self.sleeps.wrapping_add(1).max(1);
        self.words.store(AT_SLEEPS, self.sleeps);
        self.words.store(AT_WAITING, self.sleeps);
        // Pairs with the fence in `needs_wake`.
        fence(Ordering::SeqCst);
        let empty = self.is_empty();
        if empty != Ok(true) {
            self.disarm();
        }
        empty
    }

    /// Ends a sleep.
    pub fn disarm(&mut self) {
        self.words.store(AT_WAITING, 0);
    }

    /// Sleeps on `event` until the producer wakes us or `timeout` passes, unless there is a message.
    /// Returns whether there is one.
    ///
    /// # Errors
    /// The host's; a corrupt ring is [`std::io::ErrorKind::InvalidData`].
    pub fn wait(&mut self, event: &Event, timeout: core::time::Duration) -> std::io::Result<bool> {
        let corrupt = |error| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
        if self.arm().map_err(corrupt)? {
            let woken = event.wait(timeout);
            self.disarm();
            if woken? {
                event.drain()?;
            }
        }
        self.is_empty().map(|empty| !empty).map_err(corrupt)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
