//! Line differences: what changed between two texts, for people, for `git apply` and for agents' edits.
//!
//! Lines keep their terminators, so CRLF and a missing final newline are differences like any other. What both texts
//! share at the ends is never looked at twice: a small edit in a large file costs about one comparison of its bytes.
//! This room knows bytes and lines; paths, versions and what to do about a conflict are others' business.

mod apply;
mod blocks;
mod bytes;
mod lines;
mod myers;
mod unified;
mod words;

use std::ops::Range;

pub use apply::{ApplyError, Edit, apply_edits, apply_unified};
pub use blocks::blocks;
pub(crate) use bytes::{common_prefix, common_suffix, equal, line};
use imara_diff::{Diff, IndentHeuristic, IndentLevel, Token};
pub use lines::Lines;
pub(crate) use lines::{Interner, Numbered, shared_ends};
pub use unified::unified;
pub use words::{Span, words};

/// How lines are aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// git's `--histogram`, with its indent heuristic: hunks that people read well.
    Histogram,
    /// git's default, with sliders as far down as they go, as `git merge-file` has them.
    Myers,
}

impl Algorithm {
    /// Shared lines that stay in sight at both ends: a hunk may slide over them, and unified output shows some.
    /// git's choices depend on how often lines occur in the whole texts, so nothing is left out for those.
    pub(crate) fn margin(self) -> Option<usize> {
        match self {
            Self::Histogram => Some(64),
            Self::Myers => None,
        }
    }
}

/// Lines `before` became lines `after`; numbered from 0 in the whole texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    pub before: Range<usize>,
    pub after: Range<usize>,
}

/// Two texts and their hunks. Lines outside the shared ends are split; line numbers count from `first`.
pub struct Comparison<'a> {
    /// Number of the first split line in both texts: the shared lines before it.
    pub first: usize,
    pub before: Lines<'a>,
    pub after: Lines<'a>,
    /// In order, disjoint, numbered in the whole texts.
    pub hunks: Vec<Hunk>,
}

/// Compare two texts line by line.
pub fn compare<'a>(before: &'a [u8], after: &'a [u8], algorithm: Algorithm) -> Comparison<'a> {
    let ends = shared_ends(before, &[after], algorithm.margin());
    let (before, after) = (ends.middle(before), ends.middle(after));
    let mut interner = Interner::new();
    let before = interner.first(before);
    let after = interner.next(&before, after);
    let shift =
        |range: Range<u32>| ends.lines_before + range.start as usize..ends.lines_before + range.end as usize;
    let hunks = align(&interner, &before.tokens, &after.tokens, algorithm);
    Comparison {
        first: ends.lines_before,
        hunks: hunks.map(|hunk| Hunk { before: shift(hunk.before), after: shift(hunk.after) }).collect(),
        before: before.lines,
        after: after.lines,
    }
}

/// The hunks between two numbered texts.
pub(crate) fn align(
    interner: &Interner<'_>,
    before: &[Token],
    after: &[Token],
    algorithm: Algorithm,
) -> impl Iterator<Item = imara_diff::Hunk> {
    let distinct = interner.lines.len();
    let hunks: Vec<imara_diff::Hunk> = match algorithm {
        Algorithm::Histogram => {
            let mut diff = Diff::default();
            diff.compute_with(imara_diff::Algorithm::Histogram, before, after, distinct as u32);
            let indent = |token: Token| {
                let line = interner.lines.get(token.0 as usize).copied().unwrap_or_default();
                IndentLevel::for_ascii_line(line.iter().copied(), 8)
            };
            diff.postprocess_with(before, after, IndentHeuristic::new(indent));
            diff.hunks().collect()
        }
        Algorithm::Myers => myers::hunks(before, after, distinct),
    };
    hunks.into_iter()
}

impl Comparison<'_> {
    /// Bytes of the numbered lines of the first text.
    pub fn before_bytes(&self, lines: &Range<usize>) -> &[u8] {
        self.before.bytes(lines.start - self.first..lines.end - self.first)
    }

    /// Bytes of the numbered lines of the second text.
    pub fn after_bytes(&self, lines: &Range<usize>) -> &[u8] {
        self.after.bytes(lines.start - self.first..lines.end - self.first)
    }
}
