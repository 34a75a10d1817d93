//! Where each distinct line of the kept texts stands first. Of fixed greatest size.

const FEWEST: usize = 1 << 10;
const MOST: usize = 1 << 16;
/// A power of two: a window's lines then part into so many windows.
const GROWTH: usize = 4;
/// Slots that a line may lie in: a probe costs at most this much, whatever an opponent writes.
const WINDOW: usize = 4;

/// A line's place.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    tag: u32,
    /// Position among all bytes ever entered.
    pub at: u32,
    /// Its number in its block, from 1; 0 is a free slot.
    pub line: u32,
}

#[derive(Debug)]
pub struct Index {
    slots: Vec<Place>,
    used: usize,
}

impl Index {
    pub fn new() -> Self {
        Self { slots: vec![Place::default(); FEWEST], used: 0 }
    }

    /// The earliest line with this hash that `is_it` confirms. Where there is none, `at` is now the earliest.
    ///
    /// A line that is no longer kept, as `lives` tells, gives its slot away; so does, where all live, the oldest.
    #[inline]
    pub fn find_or_put(
        &mut self,
        hash: u64,
        at: u32,
        line: u32,
        lives: impl Fn(u32) -> bool,
        is_it: impl Fn(u32) -> bool,
    ) -> Option<Place> {
        let tag = (hash >> 32) as u32;
        let mut given = None;
        for slot in self.window(tag) {
            let place = self.slots[slot];
            if place.line == 0 {
                given = given.or(Some(slot));
                break;
            }
            if place.tag != tag {
                continue;
            }
            if !lives(place.at) {
                given = given.or(Some(slot));
            } else if is_it(place.at) {
                return Some(place);
            }
        }
        let slot = given.unwrap_or_else(|| self.oldest(tag));
        self.used += usize::from(self.slots[slot].line == 0);
        self.slots[slot] = Place { tag, at, line };
        if self.used * 2 > self.slots.len() && self.slots.len() < MOST {
            self.grow();
        }
        None
    }

    #[inline]
    fn window(&self, tag: u32) -> std::ops::Range<usize> {
        let first = tag as usize & (self.slots.len() - WINDOW);
        first..first + WINDOW
    }

    fn oldest(&self, tag: u32) -> usize {
        let window = self.window(tag);
        window.clone().min_by_key(|&slot| self.slots[slot].at).unwrap_or(window.start)
    }

    fn grow(&mut self) {
        let larger = vec![Place::default(); self.slots.len() * GROWTH];
        let old = std::mem::replace(&mut self.slots, larger);
        self.used = 0;
        for place in old.into_iter().filter(|place| place.line != 0) {
            if let Some(slot) = self.window(place.tag).find(|&slot| self.slots[slot].line == 0) {
                self.slots[slot] = place;
                self.used += 1;
            }
        }
    }
}
