//! The ledger: per session, which indexes are spent. It outlives the process that wrote it.

use proto::region::{LEDGER_WORDS, ledger};
use proto::{SessionId, ShardId};
use shm::words::WordsMut;

/// One shard's ledger records in the control region.
#[derive(Debug)]
pub struct Ledger {
    words: WordsMut,
    sessions_max: u32,
}

impl Ledger {
    /// `words` holds `sessions_max` records.
    pub(crate) fn new(words: WordsMut, sessions_max: u32) -> Self {
        Ledger { words, sessions_max }
    }

    /// Records in private memory, for a shard without a node around it.
    pub fn in_memory(sessions_max: u32) -> Self {
        let words = WordsMut::in_memory(sessions_max as usize * LEDGER_WORDS);
        Ledger { words, sessions_max }
    }

    /// How many records there are.
    pub fn sessions_max(&self) -> u32 {
        self.sessions_max
    }

    /// A word of a session's record.
    ///
    /// Panics past the end: both come from the shard's own tables.
    #[inline]
    pub fn load(&self, slot: u32, word: usize) -> u64 {
        self.words.load(at(slot, word))
    }

    /// Replaces a word of a session's record. A process that is killed right afterwards has stored it:
    /// the page belongs to the region, not to the process.
    #[inline]
    pub fn store(&self, slot: u32, word: usize, value: u64) {
        self.words.store_release(at(slot, word), value);
    }

    /// Takes over the records of the same shard of an older ledger that name a session of that shard
    /// and slot; returns how many. What names another session is no record of ours.
    pub fn adopt(&self, old: &Ledger, shard: ShardId) -> u32 {
        let mut adopted = 0;
        for slot in 0..self.sessions_max.min(old.sessions_max) {
            let Some(session) = old.load(slot, ledger::SESSION).checked_sub(1) else { continue };
            let session = SessionId(session);
            if session.shard() != shard || session.slot() != slot {
                continue;
            }
            for word in (0..ledger::USED).filter(|word| *word != ledger::SESSION) {
                self.store(slot, word, old.load(slot, word));
            }
            // Last: a record counts from the moment that it has a name.
            self.store(slot, ledger::SESSION, session.0 + 1);
            adopted += 1;
        }
        adopted
    }
}

fn at(slot: u32, word: usize) -> usize {
    debug_assert!(word < LEDGER_WORDS);
    slot as usize * LEDGER_WORDS + word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_shard_are_adopted_and_foreign_ones_are_not() {
        let (old, new) = (Ledger::in_memory(8), Ledger::in_memory(6));
        let shard = ShardId(3);
        let fill = |slot: u32, session: SessionId| {
            for word in 0..ledger::USED {
                old.store(slot, word, u64::from(slot) << 32 | word as u64);
            }
            old.store(slot, ledger::SESSION, session.0 + 1);
        };
        fill(1, SessionId::new(shard, 1, 7));
        fill(2, SessionId::new(ShardId(4), 2, 7));
        fill(3, SessionId::new(shard, 1, 7));
        fill(7, SessionId::new(shard, 7, 7));
        assert_eq!(new.adopt(&old, shard), 1);
        assert_eq!(new.load(1, ledger::SESSION), SessionId::new(shard, 1, 7).0 + 1);
        for word in 1..ledger::USED {
            assert_eq!(new.load(1, word), 1 << 32 | word as u64);
        }
        for slot in [0, 2, 3, 4, 5] {
            assert!((0..LEDGER_WORDS).all(|word| new.load(slot, word) == 0), "slot {slot}");
        }
    }
}
