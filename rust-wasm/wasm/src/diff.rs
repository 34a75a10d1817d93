//! Differences, applying and merging. Texts come as frames (`frames`), algorithms and styles as numbers.

use edgeloop_core::diff::{
    Algorithm, ApplyError, Edit, apply_edits as apply_all, apply_unified, blocks, compare, unified, words,
};
use edgeloop_core::merge::{Labels, Merged, Style, merge};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::buffers::{with_input, write_output};
use crate::frames::{fixed, numbers, read, write};

const MISUSE: u32 = u32::MAX;

fn algorithm(number: u32) -> Algorithm {
    if number == 0 { Algorithm::Histogram } else { Algorithm::Myers }
}

fn with_frames<const N: usize>(len: u32, f: impl FnOnce([&[u8]; N]) -> u32) -> u32 {
    with_input(len, |input| fixed(input).map_or(MISUSE, f))
}

/// Unified form of the difference of two texts. `choice`: 0 histogram, 1 Myers.
#[wasm_bindgen]
pub fn diff_unified(context: u32, choice: u32, len: u32) -> u32 {
    with_frames(len, |[before, after]| {
        let text = unified(&compare(before, after, algorithm(choice)), context as usize);
        write_output(|out| *out = text)
    })
}

/// Search/replace edits from one text to another: the number of frames, then the frames search, replace, ...
#[wasm_bindgen]
pub fn diff_edits(len: u32) -> u32 {
    with_frames(len, |[before, after]| {
        let edits = blocks(before, &compare(before, after, Algorithm::Histogram));
        let frames: Vec<&[u8]> =
            edits.iter().flat_map(|edit| [&edit.search[..], &edit.replace[..]]).collect();
        write_output(|out| {
            numbers(out, [frames.len()]);
            write(out, &frames);
        })
    })
}

/// Word-level difference: four numbers a span, bytes from and to in the first and in the second text.
#[wasm_bindgen]
pub fn diff_words(len: u32) -> u32 {
    with_frames(len, |[before, after]| {
        let spans = words(before, after);
        let ends = spans.into_iter().flat_map(|s| [s.before.start, s.before.end, s.after.start, s.after.end]);
        write_output(|out| numbers(out, ends))
    })
}

/// Apply a unified diff: frames text, patch. See `outcome`.
#[wasm_bindgen]
pub fn apply_patch(len: u32) -> u32 {
    with_frames(len, |[text, patch]| outcome(apply_unified(text, patch)))
}

/// Apply edits: `n` frames text, search, replace, search, replace, ... See `outcome`.
#[wasm_bindgen]
pub fn apply_edits(n: u32, len: u32) -> u32 {
    with_input(len, |input| {
        let Some(frames) = read(n as usize, input) else { return MISUSE };
        let Some((text, pairs)) = frames.split_first() else { return MISUSE };
        let (pairs, odd) = pairs.as_chunks::<2>();
        if !odd.is_empty() {
            return MISUSE;
        }
        let edit = |pair: &[&[u8]; 2]| Edit { search: pair[0].to_vec(), replace: pair[1].to_vec() };
        outcome(apply_all(text, &pairs.iter().map(edit).collect::<Vec<_>>()))
    })
}

/// A zero byte and the text, or: 1 not found (edit, nearest line), 2 ambiguous (edit, two lines), 3 overlap (edit),
/// 4 malformed (line); the number as a byte, the others as u32.
fn outcome(result: Result<Vec<u8>, ApplyError>) -> u32 {
    write_output(|out| match result {
        Ok(text) => {
            out.push(0);
            out.extend_from_slice(&text);
        }
        Err(error) => {
            let (kind, details) = match error {
                ApplyError::NotFound { edit, line } => (1, vec![edit, line]),
                ApplyError::Ambiguous { edit, lines: [first, second] } => (2, vec![edit, first, second]),
                ApplyError::Overlap { edit } => (3, vec![edit]),
                ApplyError::Malformed { line } => (4, vec![line]),
            };
            out.push(kind);
            numbers(out, details);
        }
    })
}

/// Merge: frames base, ours, theirs, and the three labels in that order. `style`: 0 merge, 1 diff3, 2 zdiff3.
/// Leaves the number of conflicts (u32) and the text.
#[wasm_bindgen]
pub fn merge3(style: u32, choice: u32, len: u32) -> u32 {
    with_frames(len, |[base, ours, theirs, base_label, ours_label, theirs_label]| {
        let label = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        let labels = Labels { ours: label(ours_label), base: label(base_label), theirs: label(theirs_label) };
        let style =
            [Style::Merge, Style::Diff3, Style::Zdiff3].get(style as usize).copied().unwrap_or(Style::Merge);
        let Merged { text, conflicts } = merge(base, ours, theirs, algorithm(choice), style, labels);
        write_output(|out| {
            numbers(out, [conflicts]);
            out.extend_from_slice(&text);
        })
    })
}
