//! Differences as search/replace edits, the form in which agents write them.

use std::ops::Range;

use memchr::memmem;

use super::{Comparison, Edit, Hunk};

/// One edit per group of hunks, each search text made of whole lines and found exactly once in the first text.
///
/// A search grows by shared lines on both sides until it is unique; groups that come to touch become one. `before`
/// is the whole first text; where that is empty, or a change has too little around it, a search may be empty or not
/// unique, and the edits are for whoever writes the whole text.
pub fn blocks(before: &[u8], comparison: &Comparison<'_>) -> Vec<Edit> {
    let limits = comparison.first..comparison.first + comparison.before.len();
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut next = 0;
    while next < comparison.hunks.len() {
        let mut group = Group { hunks: &comparison.hunks, taken: next..next + 1, lead: 0, trail: 0 };
        while !is_unique(before, comparison.before_bytes(&group.before())) && group.widen(&limits) {}
        while let Some(last) = groups.pop_if(|last| last.before().end >= group.before().start) {
            (group.taken.start, group.lead) = (last.taken.start, last.lead);
        }
        next = group.taken.end;
        groups.push(group);
    }
    let edit = |group: &Group<'_>| Edit {
        search: comparison.before_bytes(&group.before()).to_vec(),
        replace: comparison.after_bytes(&group.after()).to_vec(),
    };
    groups.iter().map(edit).collect()
}

/// Neighbouring hunks with some shared lines before and after.
struct Group<'a> {
    hunks: &'a [Hunk],
    taken: Range<usize>,
    lead: usize,
    trail: usize,
}

impl Group<'_> {
    fn before(&self) -> Range<usize> {
        self.hunks[self.taken.start].before.start - self.lead
            ..self.hunks[self.taken.end - 1].before.end + self.trail
    }

    fn after(&self) -> Range<usize> {
        self.hunks[self.taken.start].after.start - self.lead
            ..self.hunks[self.taken.end - 1].after.end + self.trail
    }

    /// One more line on both sides; a hunk that is reached is taken in whole.
    fn widen(&mut self, limits: &Range<usize>) -> bool {
        let (up, down) = (self.before().start > limits.start, self.before().end < limits.end);
        self.lead += usize::from(up);
        self.trail += usize::from(down);
        let start = self.before().start;
        if self.taken.start > 0 && self.hunks[self.taken.start - 1].before.end >= start {
            (self.taken.start, self.lead) = (self.taken.start - 1, 0);
        }
        let end = self.before().end;
        if self.hunks.get(self.taken.end).is_some_and(|hunk| hunk.before.start <= end) {
            (self.taken.end, self.trail) = (self.taken.end + 1, 0);
        }
        up || down
    }
}

/// An empty search is everywhere.
fn is_unique(text: &[u8], search: &[u8]) -> bool {
    !search.is_empty() && memmem::find(text, search) == memmem::rfind(text, search)
}
