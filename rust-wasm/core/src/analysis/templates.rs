//! Lines of one shape in a row, said once with what varies, and exactly restored.
//!
//! A line is fields between single spaces. Lines share a shape that have as many fields and enough bytes in common:
//! fields that are equal, and of the others what stands alike before and after, cut at punctuation. A run is written
//! as a line that says how many lines follow and what marks a place, the shape with its places, and per line what
//! belongs there, separated by spaces, which no field holds:
//!
//! ```text
//! [3x {}] 10:00:{} worker {} ready
//! 01 a
//! 01 b
//! 07 c
//! ```
//!
//! Lines that are all equal are written `[3x] line`.

use std::ops::Range;

use memchr::{memchr, memchr_iter};

use crate::diff::equal;

const SHORTEST: usize = 3;
const MOST_FIELDS: usize = 64;
/// Two different characters each, so that none can arise where a part of the shape meets a place.
const MARKS: [&str; 4] = ["{}", "<>", "()", "[]"];

/// What the lines of a run share: the fields of its first line.
#[derive(Debug, Default)]
struct Shape {
    /// Where each field ends; it starts after the one before.
    ends: Vec<usize>,
    /// Shared bytes at its beginning and end; `None`: all lines have this very field.
    shared: Vec<Option<(usize, usize)>>,
}

impl Shape {
    fn begin(&mut self, ends: &mut Vec<usize>) {
        std::mem::swap(&mut self.ends, ends);
        self.shared.clear();
        self.shared.resize(self.ends.len(), None);
    }
}

/// The fields of a line or text, given where the first starts and where each ends.
fn spans(start: usize, ends: &[usize]) -> impl Iterator<Item = Range<usize>> {
    let starts = std::iter::once(start).chain(ends.iter().map(|end| end + 1));
    starts.zip(ends).map(|(start, &end)| start..end)
}

/// Find the runs; `tell` gets the range and the replacement of each, in order.
pub fn fold(text: &[u8], mut tell: impl FnMut(Range<usize>, Vec<u8>)) {
    let (mut shape, mut ends, mut narrowed) = (Shape::default(), Vec::new(), Vec::new());
    let (mut start, mut at, mut count) = (0, 0, 0);
    for newline in memchr_iter(b'\n', text) {
        split(text, at..newline, &mut ends);
        if count > 0 && join(text, start, &shape, at, &ends, &mut narrowed) {
            std::mem::swap(&mut shape.shared, &mut narrowed);
            count += 1;
        } else {
            finish(text, start..at, count, &shape, &mut tell);
            shape.begin(&mut ends);
            (start, count) = (at, 1);
        }
        at = newline + 1;
    }
    finish(text, start..at, count, &shape, &mut tell);
}

/// The lines that a replacement stands for; None where it is none, or not one of `length` bytes.
pub fn unfold(replacement: &[u8], length: usize) -> Option<Vec<u8>> {
    let rest = replacement.strip_prefix(b"[")?;
    let digits = memchr(b'x', rest)?;
    let count: usize = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    let rest = &rest[digits + 1..];
    let (mark, rest) = match rest.strip_prefix(b"] ") {
        Some(rest) => (&b""[..], rest),
        None => (rest.get(1..3)?, rest.get(3..)?.strip_prefix(b"] ")?),
    };
    let (shape, rows) = rest.split_at(memchr(b'\n', rest)? + 1);
    // Grown by what is there: the length is only a claim.
    let mut out = Vec::new();
    if mark.is_empty() {
        (count.checked_mul(shape.len())? == length).then(|| out.extend(shape.repeat(count)))?;
        return Some(out);
    }
    let parts = parts(shape, mark);
    let mut lines = rows.split_inclusive(|&byte| byte == b'\n');
    for _ in 0..count {
        let row = lines.next()?.strip_suffix(b"\n")?;
        let mut values = row.split(|&byte| byte == b' ');
        out.extend_from_slice(parts.first()?);
        for part in &parts[1..] {
            out.extend_from_slice(values.next()?);
            out.extend_from_slice(part);
        }
        if values.next().is_some() || out.len() > length {
            return None;
        }
    }
    (lines.next().is_none() && out.len() == length).then_some(out)
}

/// What stands between the places of a shape.
fn parts<'a>(shape: &'a [u8], mark: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(place) = find(&shape[at..], mark) {
        parts.push(&shape[at..at + place]);
        at += place + mark.len();
    }
    parts.push(&shape[at..]);
    parts
}

fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    text.windows(mark.len()).position(|window| window == mark)
}

/// Where the fields of a line end; of a line with too many of them, not all.
fn split(text: &[u8], line: Range<usize>, ends: &mut Vec<usize>) {
    ends.clear();
    let (chunks, rest) = text[line.clone()].as_chunks::<8>();
    for (number, chunk) in chunks.iter().enumerate() {
        let mut found = spaces(u64::from_le_bytes(*chunk));
        while found != 0 {
            ends.push(line.start + 8 * number + found.trailing_zeros() as usize / 8);
            found &= found - 1;
        }
        if ends.len() > MOST_FIELDS {
            return;
        }
    }
    let start = line.end - rest.len();
    ends.extend(rest.iter().enumerate().filter(|(_, byte)| **byte == b' ').map(|(at, _)| start + at));
    ends.push(line.end);
}

/// The top bit of every byte that is a space.
fn spaces(word: u64) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let other = word ^ 0x2020_2020_2020_2020;
    !(((other & LOW) + LOW) | other | LOW)
}

/// Whether the line at `at` goes with a shape whose first line is at `start`; `narrowed` is then what all share.
fn join(
    text: &[u8],
    start: usize,
    shape: &Shape,
    at: usize,
    ends: &[usize],
    narrowed: &mut Vec<Option<(usize, usize)>>,
) -> bool {
    let [.., last] = ends else { return false };
    let [.., first_last] = shape.ends[..] else { return false };
    if shape.ends.len() != ends.len() || ends.len() > MOST_FIELDS {
        return false;
    }
    narrowed.clear();
    let mut bytes = 0;
    for ((mine, theirs), shared) in spans(start, &shape.ends).zip(spans(at, ends)).zip(&shape.shared) {
        let length = mine.len();
        let shared = narrow(&text[mine], &text[theirs], *shared);
        bytes += 1 + shared.map_or(length, |(prefix, suffix)| prefix + suffix);
        narrowed.push(shared);
    }
    // Two fifths of the longer one.
    bytes * 5 >= (first_last - start).max(last - at) * 2
}

/// What two fields share within what is shared already.
#[inline]
fn narrow(mine: &[u8], theirs: &[u8], shared: Option<(usize, usize)>) -> Option<(usize, usize)> {
    if shared.is_none() && equal(mine, theirs) {
        return None;
    }
    let (prefix, suffix) = shared.unwrap_or((mine.len(), mine.len()));
    let same = mine.iter().zip(theirs).take(prefix).take_while(|(a, b)| a == b).count();
    let prefix = (0..same).rev().find(|&at| !is_word(mine[at])).map_or(0, |at| at + 1);
    let room = suffix.min(mine.len().min(theirs.len()) - prefix);
    let same = mine.iter().rev().zip(theirs.iter().rev()).take(room).take_while(|(a, b)| a == b).count();
    let suffix =
        (mine.len() - same..mine.len()).find(|&at| !is_word(mine[at])).map_or(0, |at| mine.len() - at);
    Some((prefix, suffix))
}

/// A number or a name is not torn apart; nor is a character, for beyond ASCII all bytes count as parts of words.
#[inline]
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

fn finish(
    text: &[u8],
    range: Range<usize>,
    count: usize,
    shape: &Shape,
    tell: &mut impl FnMut(Range<usize>, Vec<u8>),
) {
    if count < SHORTEST {
        return;
    }
    if let Some(replacement) = write(&text[range.clone()], range.start, count, shape) {
        tell(range, replacement);
    }
}

/// Write the run `lines`, which began at `start` of the text that the shape was taken from.
fn write(lines: &[u8], start: usize, count: usize, shape: &Shape) -> Option<Vec<u8>> {
    let first = &lines[..memchr(b'\n', lines)?];
    let mark = MARKS.into_iter().find(|mark| find(first, mark.as_bytes()).is_none())?;
    let mut out = Vec::with_capacity(lines.len() / 2 + 32);
    out.extend_from_slice(format!("[{count}x").as_bytes());
    let varies = shape.shared.iter().any(Option::is_some);
    if varies {
        out.push(b' ');
        out.extend_from_slice(mark.as_bytes());
    }
    out.extend_from_slice(b"] ");
    for (number, (span, shared)) in spans(start, &shape.ends).zip(&shape.shared).enumerate() {
        if number > 0 {
            out.push(b' ');
        }
        let bytes = &first[span.start - start..span.end - start];
        match *shared {
            None => out.extend_from_slice(bytes),
            Some((prefix, suffix)) => {
                out.extend_from_slice(&bytes[..prefix]);
                out.extend_from_slice(mark.as_bytes());
                out.extend_from_slice(&bytes[bytes.len() - suffix..]);
            }
        }
    }
    out.push(b'\n');
    if varies {
        rows(lines, start, shape, &mut out);
    }
    Some(out)
}

/// What each line has at the shape's places.
fn rows(lines: &[u8], start: usize, shape: &Shape, out: &mut Vec<u8>) {
    // A field that all lines have is as long in each.
    let fields: Vec<(usize, Option<(usize, usize)>)> =
        spans(start, &shape.ends).map(|span| span.len()).zip(shape.shared.iter().copied()).collect();
    let mut at = 0;
    while at < lines.len() {
        let mut first = true;
        for (length, shared) in &fields {
            let Some((prefix, suffix)) = shared else {
                at += length + 1;
                continue;
            };
            let rest = &lines[at..];
            let end = rest.iter().position(|byte| matches!(byte, b' ' | b'\n')).unwrap_or(rest.len());
            if !std::mem::take(&mut first) {
                out.push(b' ');
            }
            out.extend_from_slice(&rest[*prefix..end - suffix]);
            at += end + 1;
        }
        out.push(b'\n');
    }
}
