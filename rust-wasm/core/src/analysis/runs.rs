//! Runs of lines that stand already somewhere before, in an earlier block or earlier in the same one.
//!
//! A line that is known is an anchor: from it the run is grown in both directions, byte by byte, to whole lines. So
//! what is repeated is compared and never hashed, and what is new is hashed once.

use std::ops::Range;

use memchr::{memchr, memrchr};

use super::bytes::newlines;
use super::index::{Index, Place};
use super::store::Store;
use crate::diff::{common_prefix, common_suffix, line};

/// Shorter lines, which stand everywhere, are no anchors; runs may begin and end with them.
const ANCHOR: usize = 16;
/// No reference is shorter than what it would stand for.
const SHORTEST: usize = 120;

/// Bytes that stand twice, as positions among all bytes ever entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub range: Range<u32>,
    pub from: u32,
    pub source: u32,
    /// Lines of the source, from 1.
    pub lines: Range<u32>,
}

/// Walk the block, whose lines that are new are put into the index; `tell` gets the runs, in order.
pub fn find(store: &Store, index: &mut Index, id: u32, mut tell: impl FnMut(&Run)) {
    let Some(block) = store.get(id) else { return };
    let Range { start, end: last } = block.range;
    let text = store.text(start..last);
    let (mut at, mut number, mut floor, mut before) = (0, 1, 0, None);
    while at < text.len() {
        let (length, digest) = line(&text[at..]);
        let end = at + length;
        if text[end - 1] != b'\n' {
            return;
        }
        let here = start + at as u32;
        let mut next = (end, number + 1);
        if length >= ANCHOR {
            let bytes = &text[at..end];
            let known =
                index.find_or_put(digest, here, number, |at| store.lives(at), |at| store.stands(bytes, at));
            // Equal lines in a row are better said by a template.
            let again = before.replace(digest) == Some(digest);
            if let Some(run) = known
                .filter(|_| !again)
                .and_then(|place| grow(store, place, here, start + floor as u32..last))
            {
                tell(&run);
                floor = (run.range.end - start) as usize;
                next = (floor, number + newlines(&text[at..floor]) as u32);
                before = None;
            }
        }
        (at, number) = next;
    }
}

/// The longest run of whole lines of `within` through the equal lines at `place` and `here`.
fn grow(store: &Store, place: Place, here: u32, within: Range<u32>) -> Option<Run> {
    let source = place.at;
    let (from_id, from) = store.holder(source)?;
    let back = backward(store, from.range.start..source, within.start..here);
    // A run must not overlap its source.
    let most = here - source - back;
    let forward = forward(store, source..from.range.end, here..within.end, most);
    if ((back + forward) as usize) < SHORTEST {
        return None;
    }
    let head = source - back..source;
    let first = place.line - newlines(store.text(head.clone())) as u32;
    let whole = store.text(head.start..source + forward);
    let lines = newlines(whole) as u32 + u32::from(!whole.ends_with(b"\n"));
    Some(Run {
        range: here - back..here + forward,
        from: head.start,
        source: from_id,
        lines: first..first + lines,
    })
}

/// How far the equal lines go on before these ends.
fn backward(store: &Store, source: Range<u32>, into: Range<u32>) -> u32 {
    // No further than the source is away, or it would be its own.
    let most = (into.end - source.end) as usize;
    let (source, into) = (store.text(source), store.text(into));
    let room = source.len().min(into.len()).min(most);
    let same = common_suffix(&source[source.len() - room..], &into[into.len() - room..]);
    let whole = |text: &[u8]| text.len() == same || text[text.len() - same - 1] == b'\n';
    if whole(source) && whole(into) {
        return same as u32;
    }
    // What stands before the first newline is a part of a line.
    memchr(b'\n', &into[into.len() - same..]).map_or(0, |cut| (same - cut - 1) as u32)
}

/// How far they go on after these beginnings.
fn forward(store: &Store, source: Range<u32>, into: Range<u32>, most: u32) -> u32 {
    let (source, into) = (store.text(source), store.text(into));
    let room = source.len().min(into.len()).min(most as usize);
    let same = common_prefix(&source[..room], &into[..room]);
    if same == source.len() && same == into.len() {
        return same as u32;
    }
    memrchr(b'\n', &into[..same]).map_or(0, |last| last as u32 + 1)
}
