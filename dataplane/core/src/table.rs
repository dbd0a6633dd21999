//! A hash table of a fixed size under a keyed hash: its keys are chosen by attackers.
//!
//! Open addressing with linear probing; removal shifts the followers back, so that there are no
//! tombstones and a lookup ends at the first empty place. No more than two thirds of its places are ever
//! taken.

use std::hash::{Hash, Hasher};

use siphasher::sip::SipHasher13;

/// Maps `K` to a `u32`.
#[derive(Debug)]
pub struct Table<K> {
    places: Vec<Option<(K, u32)>>,
    len: usize,
    capacity: usize,
    key: (u64, u64),
}

impl<K: Hash + Eq + Copy> Table<K> {
    /// Holds up to `capacity` keys, hashed under `key` (SipHash-1-3).
    pub fn new(capacity: usize, key: (u64, u64)) -> Self {
        let places = capacity.max(4) * 3 / 2;
        Table { places: vec![None; places], len: 0, capacity: capacity.max(4), key }
    }

    fn home(&self, key: &K) -> usize {
        let mut hasher = SipHasher13::new_with_keys(self.key.0, self.key.1);
        key.hash(&mut hasher);
        // The upper bits, scaled: the number of places need not be a power of two.
        ((u128::from(hasher.finish()) * self.places.len() as u128) >> 64) as usize
    }

    fn after(&self, place: usize) -> usize {
        if place + 1 == self.places.len() { 0 } else { place + 1 }
    }

    fn find(&self, key: &K) -> Result<usize, usize> {
        let mut place = self.home(key);
        loop {
            match &self.places[place] {
                Some((found, _)) if found == key => return Ok(place),
                Some(_) => place = self.after(place),
                None => return Err(place),
            }
        }
    }

    /// The value of `key`.
    pub fn get(&self, key: &K) -> Option<u32> {
        let place = self.find(key).ok()?;
        self.places[place].map(|(_, value)| value)
    }

    /// Sets the value of `key`; `false` when the table is full.
    pub fn insert(&mut self, key: K, value: u32) -> bool {
        match self.find(&key) {
            Ok(place) => self.places[place] = Some((key, value)),
            Err(_) if self.len == self.capacity => return false,
            Err(place) => {
                self.places[place] = Some((key, value));
                self.len += 1;
            }
        }
        true
    }

    /// Forgets `key`; its value, if it had one.
    pub fn remove(&mut self, key: &K) -> Option<u32> {
        let mut hole = self.find(key).ok()?;
        let value = self.places[hole].take().map(|(_, value)| value);
        self.len -= 1;
        let mut place = hole;
        loop {
            place = self.after(place);
            let Some((key, _)) = &self.places[place] else { return value };
            // A follower may move back to the hole unless its home lies behind the hole.
            let home = self.home(key);
            if self.distance(home, place) >= self.distance(hole, place) {
                self.places[hole] = self.places[place].take();
                hole = place;
            }
        }
    }

    /// Steps from one place to another.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.places.len() - from }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_hash_map(ops in prop::collection::vec((0u8..3, 0u16..64), 0..400)) {
            let mut table = Table::new(32, (1, 2));
            let mut model = HashMap::new();
            for (op, key) in ops {
                match op {
                    0 => {
                        let fits = model.contains_key(&key) || model.len() < 32;
                        prop_assert_eq!(table.insert(key, u32::from(key) + 1), fits);
                        if fits {
                            model.insert(key, u32::from(key) + 1);
                        }
                    }
                    1 => prop_assert_eq!(table.remove(&key), model.remove(&key)),
                    _ => prop_assert_eq!(table.get(&key), model.get(&key).copied()),
                }
                prop_assert_eq!(table.len, model.len());
            }
            for key in 0..64 {
                prop_assert_eq!(table.get(&key), model.get(&key).copied());
            }
        }
    }
}
