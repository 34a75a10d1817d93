//! What the analysis says: folds to make in a new block, and earlier blocks that it makes superfluous.

use super::templates;

/// Why a range may be folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The bytes stand already in `source`.
    Copy,
    /// The same, where the source is the call that wrote them to the path this result is about.
    Echo,
    /// Lines of one shape, said once with what varies; the replacement holds all of it.
    Template,
}

/// Bytes of a new block that may be said by `replacement` instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    pub kind: Kind,
    /// First byte of the block that is replaced.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
    /// The block that holds the bytes; for a template the new block itself.
    pub source: u32,
    /// Where in the source.
    pub from: u32,
    /// o200k tokens of the range and of the replacement, each by itself.
    pub tokens: [u32; 2],
    pub replacement: Vec<u8>,
}

impl Fold {
    /// The bytes that were replaced. `source` is the whole of that block; a template needs none.
    ///
    /// None where the source is not the one that was meant.
    pub fn resolve(&self, source: &[u8]) -> Option<Vec<u8>> {
        let length = (self.end - self.start) as usize;
        match self.kind {
            Kind::Template => templates::unfold(&self.replacement, length),
            Kind::Copy | Kind::Echo => {
                let from = self.from as usize;
                source.get(from..from.checked_add(length)?).map(<[u8]>::to_vec)
            }
        }
    }
}

/// An earlier block much like the new one, by estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Near {
    pub block: u32,
    /// Shared runs of words among all runs of words of both, in thousandths.
    pub likeness: u32,
}

/// The judgement of one block, made when it entered and never again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Blocks count from 0 in the order of entering.
    pub block: u32,
    /// In order, apart from each other.
    pub folds: Vec<Fold>,
    /// Earlier results that later ones have made stale and no fold refers to any more. To be made stubs in this
    /// order: a block comes after those that refer to it.
    pub superseded: Vec<u32>,
    pub near: Option<Near>,
}

impl Plan {
    /// The block with its folds made.
    pub fn render(&self, block: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(block.len());
        let mut at = 0;
        for fold in &self.folds {
            out.extend_from_slice(&block[at..fold.start as usize]);
            out.extend_from_slice(&fold.replacement);
            at = fold.end as usize;
        }
        out.extend_from_slice(&block[at..]);
        out
    }

    /// Append the packed form: numbers (u32, little-endian) block, folds, superseded, near block (all ones for none),
    /// likeness; per fold kind, start, end, source, from, tokens before and after, length of the replacement; the
    /// superseded; then the replacements' bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        let near = self.near.unwrap_or(Near { block: u32::MAX, likeness: 0 });
        let mut numbers = vec![
            self.block,
            self.folds.len() as u32,
            self.superseded.len() as u32,
            near.block,
            near.likeness,
        ];
        for fold in &self.folds {
            let [before, after] = fold.tokens;
            let length = fold.replacement.len() as u32;
            numbers.extend([
                fold.kind as u32,
                fold.start,
                fold.end,
                fold.source,
                fold.from,
                before,
                after,
                length,
            ]);
        }
        numbers.extend(&self.superseded);
        out.extend(numbers.into_iter().flat_map(u32::to_le_bytes));
        out.extend(self.folds.iter().flat_map(|fold| &fold.replacement));
    }
}
