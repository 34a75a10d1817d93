//! What of a new block need not be sent again: compression analysis without a model.
//!
//! Each block (a tool's result, a text that was written) is judged once, when it enters, against an index of what came
//! before; the cost is that of the block, however long the history. The answer is a plan that never changes:
//!
//! - identical blocks and runs of lines: the *earliest* copy stays, the later becomes a reference to it;
//! - results of the same command or path: the *latest* stays, the earlier ones are superseded.
//!
//! Both rules work on the same ids so that never both copies vanish: what a reference points to is pinned and cannot
//! be superseded, and what is superseded can no longer be pointed to. Consecutive lines of one shape are written as a
//! template and a table (`template`), reversibly. A fold that would not save tokens is not proposed.
//!
//! References are found by 64-bit hashes of lines; whoever carries a plan out holds the texts and compares the bytes
//! first. This room keeps hashes, not texts, and knows neither prices nor prompts.

mod index;
mod signature;
mod template;

use crate::count::Counter;
pub use index::Index;
pub use template::{Template, expand, lines_of_one_shape, templates};

/// How a block came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Shows the state of its key (a path, a command), which later ones supersede.
    Shown,
    /// Changed its key: what was shown before is stale. Showing it again unchanged is an echo, found as a reference.
    Written,
}

/// A block on its entry.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// The caller's, ascending.
    pub id: u32,
    pub role: Role,
    /// What it shows or changes; empty for nothing that can be superseded.
    pub key: &'a [u8],
    pub text: &'a [u8],
}

/// Bytes of the new block that stand in an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub bytes: std::ops::Range<usize>,
    pub of: u32,
    pub of_bytes: std::ops::Range<usize>,
}

/// What to do about a block, and about earlier ones because of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The whole block is this earlier one again.
    pub duplicate_of: Option<u32>,
    /// In order, disjoint.
    pub runs: Vec<Run>,
    /// In order, disjoint from the runs and each other.
    pub templates: Vec<Template>,
    /// Earlier blocks that show what is no longer so.
    pub superseded: Vec<u32>,
    /// The earlier block most like it, where it is no copy, and the likeness of their lines in thousandths.
    pub near: Option<(u32, u32)>,
}

/// Keep only folds that save tokens, where a reference costs `reference` tokens.
fn gate(plan: &mut Plan, counter: &mut Counter, text: &[u8], reference: u32) {
    plan.runs.retain(|run| counter.count(&text[run.bytes.clone()]) > reference);
    plan.templates
        .retain(|template| counter.count(&text[template.bytes.clone()]) > counter.count(&template.text));
}
