//! Who changes what of one base version: conflicts between any number of writers, found as edits arrive.
//!
//! A change claims lines of the base, or the whole file. Claims of different writers that overlap or touch clash, as they would in
//! a merge, unless they are the same change. A new one is compared with those it touches, and with few others: O(log n) and what is
//! found. This room knows one file; a file that another is renamed to has claims of its own, and a `Create` among them.

use std::collections::BTreeMap;

/// What a writer did; contents and paths are given by a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Replaced lines `start` to `end` of the base; none is an insertion before `start`.
    Lines { start: u32, end: u32, content: u64 },
    /// Deleted the file.
    Delete,
    /// Created a file that the base does not have.
    Create { content: u64 },
    /// Gave the file another path; what it says is claimed apart.
    Rename { path: u64 },
}

/// Why two changes do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Both changed these lines of the base, each in its own way.
    Lines { start: u32, end: u32 },
    /// One deleted the file, the other changed or renamed it.
    Deleted,
    /// Both created the file, with different contents.
    Created,
    /// Both renamed the file, to different paths.
    Renamed,
    /// One renamed the file, the other changed lines: nothing is lost where the change follows the file.
    Moved,
}

/// Two writers' changes that do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clash {
    /// The writer of the change that came first.
    pub first: u32,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    end: u32,
    writer: u32,
    content: u64,
}

/// Each level holds claims up to sixty-four times as long as the one before. So a claim that starts too far up to reach is passed over
/// by the map, and of those looked at in vain there are at most sixty-four of each writer who keeps his claims apart.
const LEVEL_BITS: u32 = 6;
const LEVELS: usize = u32::BITS.div_ceil(LEVEL_BITS) as usize;

/// The changes to one file since one base version.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// By first line and order of arrival.
    levels: [BTreeMap<(u32, u32), Claim>; LEVELS],
    added: u32,
    whole: Vec<(u32, Change)>,
}

impl Claims {
    /// Record a change; returns what it clashes with, in no particular order.
    pub fn add(&mut self, writer: u32, change: Change) -> Vec<Clash> {
        let mut clashes = self.whole_clashes(writer, change);
        match change {
            Change::Lines { start, end, content } => {
                let claim = Claim { end, writer, content };
                self.line_clashes(start, claim, &mut clashes);
                self.levels[level(end.saturating_sub(start))].insert((start, self.added), claim);
                self.added += 1;
            }
            _ if self.whole.contains(&(writer, change)) => {}
            _ => self.whole.push((writer, change)),
        }
        clashes
    }

    /// Forget a writer's changes.
    pub fn remove(&mut self, writer: u32) {
        self.whole.retain(|(other, _)| *other != writer);
        self.levels.iter_mut().for_each(|level| level.retain(|_, claim| claim.writer != writer));
    }

    /// A change against whole files; one of a whole file also against all who changed lines.
    fn whole_clashes(&self, writer: u32, change: Change) -> Vec<Clash> {
        let mut clashes = Vec::new();
        for &(first, kept) in self.whole.iter().filter(|(other, _)| *other != writer) {
            clashes.extend(between(kept, change).map(|kind| Clash { first, kind }));
        }
        if !matches!(change, Change::Lines { .. }) {
            let lines = Change::Lines { start: 0, end: 0, content: 0 };
            let claims = self.levels.iter().flat_map(BTreeMap::values);
            let mut writers: Vec<u32> =
                claims.map(|claim| claim.writer).filter(|&other| other != writer).collect();
            writers.sort_unstable();
            writers.dedup();
            for first in writers {
                clashes.extend(between(lines, change).map(|kind| Clash { first, kind }));
            }
        }
        clashes
    }

    fn line_clashes(&self, start: u32, new: Claim, clashes: &mut Vec<Clash>) {
        for (number, level) in self.levels.iter().enumerate().filter(|(_, level)| !level.is_empty()) {
            let from = start.saturating_sub(longest(number));
            // Open at the end: seeking a second bound costs as much as all the rest.
            let starts = level.range((from, 0)..).take_while(|((other_start, _), _)| *other_start <= new.end);
            for (&(other_start, _), old) in starts {
                let same = (other_start, old.end, old.content) == (start, new.end, new.content);
                if old.end >= start && old.writer != new.writer && !same {
                    let kind = Kind::Lines { start: start.max(other_start), end: new.end.min(old.end) };
                    clashes.push(Clash { first: old.writer, kind });
                }
            }
        }
    }
}

/// Why two changes do not go together whatever lines they are about.
fn between(a: Change, b: Change) -> Option<Kind> {
    use Change::{Create, Delete, Lines, Rename};
    match (a, b) {
        (Delete, Delete) => None,
        (Delete, _) | (_, Delete) => Some(Kind::Deleted),
        (Create { .. }, Create { .. }) => (a != b).then_some(Kind::Created),
        (Rename { .. }, Rename { .. }) => (a != b).then_some(Kind::Renamed),
        (Rename { .. }, Lines { .. }) | (Lines { .. }, Rename { .. }) => Some(Kind::Moved),
        _ => None,
    }
}

fn level(length: u32) -> usize {
    (length.checked_ilog2().unwrap_or(0) / LEVEL_BITS) as usize
}

/// The most lines of a claim of this level.
fn longest(level: usize) -> u32 {
    (u64::MAX >> (64 - LEVEL_BITS * (level as u32 + 1))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every length has a level that takes it, and the level before does not.
    #[test]
    fn levels_fit_their_lengths() {
        for length in [0, 1, 63, 64, 4095, 4096, u32::MAX - 1, u32::MAX] {
            let level = level(length);
            assert!(length <= longest(level));
            assert!(level == 0 || length > longest(level - 1));
        }
    }
}
