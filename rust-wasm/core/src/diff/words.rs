//! Differences inside a changed hunk, word by word, for people who review.

use std::ops::Range;

use imara_diff::{Algorithm, Diff, InternedInput};

/// Bytes `before` of the first text became bytes `after` of the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub before: Range<usize>,
    pub after: Range<usize>,
}

/// Compare two short texts (the two sides of a hunk) by words, runs of white space and single symbols.
pub fn words(before: &[u8], after: &[u8]) -> Vec<Span> {
    let (ends_before, ends_after) = (ends(before), ends(after));
    let mut input = InternedInput::default();
    input.update_before(pieces(before, &ends_before));
    input.update_after(pieces(after, &ends_after));
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_no_heuristic(&input);
    let bytes = |ends: &[usize], range: Range<u32>| ends[range.start as usize]..ends[range.end as usize];
    diff.hunks()
        .map(|hunk| Span { before: bytes(&ends_before, hunk.before), after: bytes(&ends_after, hunk.after) })
        .collect()
}

#[derive(PartialEq)]
enum Sort {
    Word,
    Space,
    Symbol,
}

/// Bytes outside ASCII are letters here: no character is ever cut.
fn sort(byte: u8) -> Sort {
    match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | 0x80.. => Sort::Word,
        b' ' | b'\t' => Sort::Space,
        _ => Sort::Symbol,
    }
}

/// Boundaries of the pieces, from 0 to the end of the text.
fn ends(text: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    let run = |a: &u8, b: &u8| sort(*a) == sort(*b) && sort(*a) != Sort::Symbol;
    for piece in text.chunk_by(run) {
        ends.push(ends.last().map_or(0, |end| end + piece.len()));
    }
    ends
}

fn pieces<'a>(text: &'a [u8], ends: &[usize]) -> impl Iterator<Item = &'a [u8]> {
    ends.windows(2).map(|pair| &text[pair[0]..pair[1]])
}
