//! Three-way merge of texts, and conflicts between writers without merging.
//!
//! The rules are those of `git merge-file`: changes that touch are a conflict, equal changes are none, a conflict is
//! shrunk to the lines that really differ between the sides, and conflicts with fewer than four lines between them
//! (or nothing but punctuation) become one. Whether a conflict is shown, retried or asked about is others' business.

mod claims;
mod regions;
mod write;

pub use claims::{Change, Claims, Clash, Kind as ClashKind};
use regions::{Kind, Sides, regions};

use crate::diff::{Algorithm, Interner, shared_ends};

/// What a conflict shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Both sides.
    Merge,
    /// Both sides whole, and the base between them.
    Diff3,
    /// As `Diff3`, without the lines that both sides share at the conflict's ends.
    Zdiff3,
}

/// Names in conflict markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Labels<'a> {
    pub ours: &'a str,
    pub base: &'a str,
    pub theirs: &'a str,
}

/// The merged text, with markers where there are conflicts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    pub text: Vec<u8>,
    pub conflicts: usize,
}

/// Merge two texts that came from one.
pub fn merge(
    base: &[u8],
    ours: &[u8],
    theirs: &[u8],
    algorithm: Algorithm,
    style: Style,
    labels: Labels<'_>,
) -> Merged {
    let ends = shared_ends(base, &[ours, theirs], algorithm.margin());
    let mut interner = Interner::new();
    let numbered = interner.first(ends.middle(base));
    let sides = Sides {
        ours: interner.next(&numbered, ends.middle(ours)),
        theirs: interner.next(&numbered, ends.middle(theirs)),
        base: numbered,
    };
    let regions = regions(&interner, &sides, algorithm, style);
    let conflicts = regions.iter().filter(|region| region.kind == Kind::Conflict).count();
    let mut text = Vec::with_capacity(ours.len() + theirs.len().saturating_sub(base.len()));
    text.extend_from_slice(&base[..ends.start]);
    // A conflict's markers end as the base's first line does, which may lie in the shared part.
    let first_line = base.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
    write::write(&mut text, &sides, &regions, first_line, style, labels);
    text.extend_from_slice(&base[base.len() - ends.tail..]);
    Merged { text, conflicts }
}
