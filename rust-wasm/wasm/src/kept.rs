//! Values that stay in wasm memory between calls, each under a number that its owner has never used before.
//!
//! Not under slots: a slot given out again would lead a stale number to another's value, and after a trap a fresh
//! instance would know the old numbers again.

/// Sorted by number. Owners count upwards, so a new value goes to the end. (A `BTreeMap` per kind costs 10 KB of wasm each.)
pub struct Kept<T> {
    all: Vec<(u32, Box<T>)>,
}

impl<T> Kept<T> {
    pub const fn new() -> Self {
        Self { all: Vec::new() }
    }

    /// Keep a value; one under the same number is forgotten.
    pub fn insert(&mut self, key: u32, value: T) {
        match self.find(key) {
            Ok(at) => *self.all[at].1 = value,
            Err(at) => self.all.insert(at, (key, Box::new(value))),
        }
    }

    pub fn get(&mut self, key: u32) -> Option<&mut T> {
        self.find(key).ok().map(|at| &mut *self.all[at].1)
    }

    /// Forget a value; was there one?
    pub fn remove(&mut self, key: u32) -> bool {
        self.find(key).map(|at| self.all.remove(at)).is_ok()
    }

    fn find(&self, key: u32) -> Result<usize, usize> {
        self.all.binary_search_by_key(&key, |(key, _)| *key)
    }
}
