//! The subscriptions of one publication, ready to iterate: chunks of entries from a common slab.
//!
//! An entry carries what the seal stage checks, so that a subscriber whose grant ended costs no look at
//! its session.

use arrayvec::ArrayVec;
use proto::GrantWord;

use crate::slab::{NONE, Slab};

/// Entries per chunk, which with them is one cache line: most lists are short, and each has a chunk.
const CHUNK: usize = 3;
const _: () = assert!(size_of::<Chunk>() == 64);

/// One subscription.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entry {
    /// The slot that receives.
    pub slot: u32,
    /// Its session, whose key seals.
    pub session: u32,
    /// The session's grant, copied; `Fanouts::set_grant` keeps it true.
    pub grant: GrantWord,
}

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Chunk {
    entries: [Entry; CHUNK],
    len: u32,
    next: u32,
}

/// The list of one publication: only the head chunk is not full.
#[derive(Debug, Clone, Copy)]
pub struct FanOut {
    head: u32,
    len: u32,
}

impl Default for FanOut {
    fn default() -> Self {
        FanOut { head: NONE, len: 0 }
    }
}

impl FanOut {
    /// Subscriptions in it.
    pub fn len(&self) -> u32 {
        self.len
    }
}

/// All chunks of a shard.
#[derive(Debug)]
pub struct Fanouts {
    chunks: Slab<Chunk>,
}

/// A place in a list while it is walked.
#[derive(Debug, Clone, Copy)]
pub struct Cursor {
    chunk: u32,
    at: u32,
}

impl Fanouts {
    /// Room for `entries` subscriptions over `lists` publications.
    pub fn new(entries: usize, lists: usize) -> Self {
        let empty = || Chunk { entries: [Entry::default(); CHUNK], len: 0, next: NONE };
        // Each list that is not empty may waste all places but one of its head.
        Fanouts { chunks: Slab::new((entries + lists * (CHUNK - 1)).div_ceil(CHUNK), empty) }
    }

    /// Adds a subscription; `false` when no chunk is left.
    pub fn push(&mut self, list: &mut FanOut, entry: Entry) -> bool {
        let full = list.head == NONE || self.chunks[list.head].len as usize == CHUNK;
        if full {
            let chunk = Chunk { entries: [Entry::default(); CHUNK], len: 0, next: list.head };
            let Some(head) = self.chunks.insert(chunk) else { return false };
            list.head = head;
        }
        let chunk = &mut self.chunks[list.head];
        chunk.entries[chunk.len as usize] = entry;
        chunk.len += 1;
        list.len += 1;
        true
    }

    /// Takes a slot's subscription out; its place goes to the newest.
    pub fn remove(&mut self, list: &mut FanOut, slot: u32) {
        let Some(place) = self.find(list, slot) else { return };
        let head = list.head;
        let newest = &mut self.chunks[head];
        newest.len -= 1;
        let (moved, emptied, next) =
            (newest.entries[newest.len as usize], newest.len == 0, newest.next);
        self.chunks[place.chunk].entries[place.at as usize] = moved;
        list.len -= 1;
        if emptied {
            self.chunks.remove(head);
            list.head = next;
        }
    }

    /// Copies a new grant into a slot's entry.
    pub fn set_grant(&mut self, list: &FanOut, slot: u32, grant: GrantWord) {
        if let Some(place) = self.find(list, slot) {
            self.chunks[place.chunk].entries[place.at as usize].grant = grant;
        }
    }

    /// Where a walk starts.
    pub fn start(&self, list: &FanOut) -> Cursor {
        Cursor { chunk: list.head, at: 0 }
    }

    /// The entry at the cursor, which moves on.
    pub fn next(&self, cursor: &mut Cursor) -> Option<Entry> {
        if cursor.chunk == NONE {
            return None;
        }
        let chunk = &self.chunks[cursor.chunk];
        let entry = chunk.entries[cursor.at as usize];
        cursor.at += 1;
        if cursor.at == chunk.len {
            *cursor = Cursor { chunk: chunk.next, at: 0 };
        }
        Some(entry)
    }

    /// Copies the next entries to `to`, as many as it has room for; none at the end of the list.
    pub fn take<const N: usize>(&self, cursor: &mut Cursor, to: &mut ArrayVec<Entry, N>) {
        while cursor.chunk != NONE && !to.is_full() {
            let chunk = &self.chunks[cursor.chunk];
            let rest = &chunk.entries[cursor.at as usize..chunk.len as usize];
            let count = rest.len().min(to.remaining_capacity());
            to.extend(rest[..count].iter().copied());
            cursor.at += count as u32;
            if cursor.at == chunk.len {
                *cursor = Cursor { chunk: chunk.next, at: 0 };
            }
        }
    }

    fn find(&self, list: &FanOut, slot: u32) -> Option<Cursor> {
        let mut cursor = self.start(list);
        loop {
            let place = cursor;
            if self.next(&mut cursor)?.slot == slot {
                return Some(place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lists_hold_what_a_set_holds(ops in prop::collection::vec((0usize..3, 0u32..80, any::<bool>()), 0..400)) {
            let mut fanouts = Fanouts::new(240, 3);
            let mut lists = [FanOut::default(); 3];
            let mut model = [const { BTreeSet::new() }; 3];
            for (which, slot, add) in ops {
                if !add {
                    fanouts.remove(&mut lists[which], slot);
                    model[which].remove(&slot);
                } else if model[which].insert(slot) {
                    let entry = Entry { slot, ..Default::default() };
                    let fits = fanouts.push(&mut lists[which], entry);
                    prop_assert!(fits);
                }
                let mut cursor = fanouts.start(&lists[which]);
                let mut taken = ArrayVec::<Entry, 7>::new();
                let mut all = BTreeSet::new();
                while { taken.clear(); fanouts.take(&mut cursor, &mut taken); !taken.is_empty() } {
                    all.extend(taken.iter().map(|entry| entry.slot));
                }
                prop_assert_eq!(&all, &model[which]);
                let mut cursor = fanouts.start(&lists[which]);
                let mut found = BTreeSet::new();
                while let Some(entry) = fanouts.next(&mut cursor) {
                    prop_assert!(found.insert(entry.slot));
                }
                prop_assert_eq!(&found, &model[which]);
                prop_assert_eq!(lists[which].len() as usize, found.len());
            }
        }
    }
}
