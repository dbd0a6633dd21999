//! A table of a fixed size: places are given out and taken back, memory is not.

/// No place: what an index says when it points nowhere.
pub const NONE: u32 = u32::MAX;

/// Up to a fixed number of `T`, addressed by `u32`. A place that was taken back holds its old value
/// until it is given out again.
#[derive(Debug)]
pub struct Slab<T> {
    items: Vec<T>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    /// Room for `capacity` items; `empty` makes the value of a place before its first use.
    pub fn new(capacity: usize, mut empty: impl FnMut() -> T) -> Self {
        let capacity = u32::try_from(capacity).expect("tables are smaller than 2^32");
        Slab {
            items: (0..capacity).map(|_| empty()).collect(),
            free: (0..capacity).rev().collect(),
        }
    }

    /// Takes a place for `item`, or gives nothing when the table is full.
    pub fn insert(&mut self, item: T) -> Option<u32> {
        let index = self.free.pop()?;
        self.items[index as usize] = item;
        Some(index)
    }

    /// Gives the place back.
    pub fn remove(&mut self, index: u32) {
        debug_assert!(!self.free.contains(&index) || self.items.len() > 4096);
        self.free.push(index);
    }

    /// Places not taken.
    pub fn vacant(&self) -> usize {
        self.free.len()
    }

    /// All places, taken or not.
    pub fn capacity(&self) -> usize {
        self.items.len()
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;
    fn index(&self, index: u32) -> &T {
        &self.items[index as usize]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.items[index as usize]
    }
}
