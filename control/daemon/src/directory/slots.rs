//! A shard's session slots: who has one, and with which generation it was given out.

use std::collections::{HashMap, HashSet, VecDeque};

use proto::{SessionId, ShardId};

/// The slots of one shard. The one that was freed longest ago is given out first, so that late packets
/// of its last session are still known as such.
#[derive(Debug)]
pub struct Slots {
    shard: ShardId,
    max: u32,
    /// Slots from here on were never given out.
    unused: u32,
    /// Freed ones in order; may name slots that are taken again, which are passed over.
    free: VecDeque<u32>,
    taken: HashSet<u32>,
    generations: HashMap<u32, u16>,
    /// The generation that an unused slot starts with; differs from life to life.
    first_generation: u16,
    /// The last ICE generation of a slot.
    ice_generations: HashMap<u32, u16>,
}

impl Slots {
    /// `max` free slots.
    pub fn new(shard: ShardId, max: u32, first_generation: u16) -> Self {
        Slots {
            shard,
            max,
            unused: 0,
            free: VecDeque::new(),
            taken: HashSet::new(),
            generations: HashMap::new(),
            first_generation,
            ice_generations: HashMap::new(),
        }
    }

    /// How many can be given out now.
    pub fn vacant(&self) -> usize {
        (self.max as usize).saturating_sub(self.taken.len())
    }

    /// How many there are.
    pub fn max(&self) -> u32 {
        self.max
    }

    /// Gives one out.
    pub fn take(&mut self) -> Option<SessionId> {
        let slot = loop {
            let slot = if self.unused < self.max {
                self.unused += 1;
                self.unused - 1
            } else {
                self.free.pop_front()?
            };
            if self.taken.insert(slot) {
                break slot;
            }
        };
        let last = self.generations.get(&slot).copied().unwrap_or(self.first_generation);
        // Zero is skipped: `SessionId(0)` stands for no session in events.
        let generation = last.checked_add(1).unwrap_or(1);
        self.generations.insert(slot, generation);
        Some(SessionId::new(self.shard, slot, generation))
    }

    /// The next ICE generation of a session's slot; `first` where it had none in this life.
    pub fn next_ice_generation(&mut self, id: SessionId, first: u16) -> u16 {
        let next = |last: &mut u16| *last = last.wrapping_add(1);
        *self.ice_generations.entry(id.slot()).and_modify(next).or_insert(first)
    }

    /// Takes one back. An id that is not the slot's last one changes nothing.
    pub fn give_back(&mut self, id: SessionId) {
        let is_last = self.generations.get(&id.slot()) == Some(&id.generation());
        if is_last && self.taken.remove(&id.slot()) {
            self.free.push_back(id.slot());
        }
    }

    /// Marks one as given out in an earlier life. `false` when it cannot be.
    pub fn occupy(&mut self, id: SessionId) -> bool {
        let fits = id.shard() == self.shard && id.slot() < self.max && self.taken.insert(id.slot());
        if fits {
            self.generations.insert(id.slot(), id.generation());
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_comes_back_last_and_with_a_new_generation() {
        let mut slots = Slots::new(ShardId(1), 2, u16::MAX);
        let (a, b) = (slots.take().unwrap(), slots.take().unwrap());
        assert_eq!((a.slot(), b.slot(), slots.take(), slots.vacant()), (0, 1, None, 0));
        slots.give_back(b);
        slots.give_back(b);
        slots.give_back(a);
        assert_eq!(slots.vacant(), 2);
        let again = slots.take().unwrap();
        assert_eq!(again.slot(), 1);
        assert_ne!(again, b);
        slots.give_back(b);
        assert_eq!(slots.vacant(), 1, "an old id frees nothing");
        assert_ne!(again.generation(), 0);
    }

    #[test]
    fn ice_generations_of_a_slot_follow_each_other_over_its_sessions() {
        let mut slots = Slots::new(ShardId(0), 2, 7);
        let (a, b) = (slots.take().unwrap(), slots.take().unwrap());
        assert_eq!(slots.next_ice_generation(a, u16::MAX), u16::MAX);
        assert_eq!(slots.next_ice_generation(a, 9), 0);
        assert_eq!(slots.next_ice_generation(b, 9), 9);
        slots.give_back(a);
        let again = slots.take().unwrap();
        assert_eq!((again.slot(), slots.next_ice_generation(again, 9)), (a.slot(), 1));
    }

    #[test]
    fn occupied_slots_of_an_earlier_life_are_not_given_out() {
        let mut slots = Slots::new(ShardId(0), 4, 7);
        assert!(slots.occupy(SessionId::new(ShardId(0), 2, 9)));
        assert!(!slots.occupy(SessionId::new(ShardId(0), 2, 9)));
        assert!(!slots.occupy(SessionId::new(ShardId(1), 1, 9)));
        assert!(!slots.occupy(SessionId::new(ShardId(0), 4, 9)));
        let mut given: Vec<u32> = std::iter::from_fn(|| slots.take()).map(|id| id.slot()).collect();
        given.sort_unstable();
        assert_eq!(given, [0, 1, 3]);
    }
}
