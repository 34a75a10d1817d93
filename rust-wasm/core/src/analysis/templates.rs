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

const SHORTEST: usize = 3;
const MOST_FIELDS: usize = 64;
/// Two different characters each, so that none can arise where a part of the shape meets a place.
const MARKS: [&str; 4] = ["{}", "<>", "()", "[]"];

/// A field of the first line of a run, and how much of it all lines share.
#[derive(Debug, Clone, Copy)]
struct Field {
    start: usize,
    end: usize,
    /// Shared bytes at its beginning and end; `None`: all lines have this very field.
    shared: Option<(usize, usize)>,
}

impl Field {
    fn shared_bytes(&self) -> usize {
        1 + self.shared.map_or(self.end - self.start, |(prefix, suffix)| prefix + suffix)
    }
}

/// Find the runs; `tell` gets the range and the replacement of each, in order.
pub fn fold(text: &[u8], mut tell: impl FnMut(Range<usize>, Vec<u8>)) {
    let (mut shape, mut fields, mut merged) = (Vec::new(), Vec::new(), Vec::new());
    let (mut start, mut at, mut count) = (0, 0, 0);
    for newline in memchr_iter(b'\n', text) {
        split(text, at..newline, &mut fields);
        if count > 0 && join(text, &shape, &fields, &mut merged) {
            std::mem::swap(&mut shape, &mut merged);
            count += 1;
        } else {
            finish(text, start..at, count, &shape, &mut tell);
            std::mem::swap(&mut shape, &mut fields);
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

fn split(text: &[u8], line: Range<usize>, fields: &mut Vec<Field>) {
    fields.clear();
    let mut start = line.start;
    for at in line.clone() {
        if text[at] == b' ' {
            fields.push(Field { start, end: at, shared: None });
            start = at + 1;
            if fields.len() > MOST_FIELDS {
                return;
            }
        }
    }
    fields.push(Field { start, end: line.end, shared: None });
}

/// Whether a line goes with a shape; if so `merged` is the shape of all.
fn join(text: &[u8], shape: &[Field], fields: &[Field], merged: &mut Vec<Field>) -> bool {
    if shape.len() != fields.len() || shape.len() > MOST_FIELDS {
        return false;
    }
    merged.clear();
    let mut shared = 0;
    for (field, other) in shape.iter().zip(fields) {
        let field = Field { shared: narrow(text, field, other), ..*field };
        shared += field.shared_bytes();
        merged.push(field);
    }
    let bytes = |fields: &[Field]| fields[fields.len() - 1].end + 1 - fields[0].start;
    // Two fifths of the longer one.
    shared * 5 >= bytes(shape).max(bytes(fields)) * 2
}

#[inline]
fn narrow(text: &[u8], field: &Field, other: &Field) -> Option<(usize, usize)> {
    let (mine, theirs) = (&text[field.start..field.end], &text[other.start..other.end]);
    let (prefix, suffix) = match field.shared {
        None if mine == theirs => return None,
        None => (mine.len(), mine.len()),
        Some(shared) => shared,
    };
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
    shape: &[Field],
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
fn write(lines: &[u8], start: usize, count: usize, shape: &[Field]) -> Option<Vec<u8>> {
    let first = &lines[..memchr(b'\n', lines)?];
    let mark = MARKS.into_iter().find(|mark| find(first, mark.as_bytes()).is_none())?;
    let mut out = Vec::with_capacity(lines.len() / 2 + 32);
    out.extend_from_slice(format!("[{count}x").as_bytes());
    let varies = shape.iter().any(|field| field.shared.is_some());
    if varies {
        out.push(b' ');
        out.extend_from_slice(mark.as_bytes());
    }
    out.extend_from_slice(b"] ");
    for (number, field) in shape.iter().enumerate() {
        if number > 0 {
            out.push(b' ');
        }
        let bytes = &first[field.start - start..field.end - start];
        match field.shared {
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
        let mut at = 0;
        for end in memchr_iter(b'\n', lines) {
            row(&lines[at..end], shape, &mut out);
            at = end + 1;
        }
    }
    Some(out)
}

/// What a line has at the shape's places.
fn row(line: &[u8], shape: &[Field], out: &mut Vec<u8>) {
    let mut at = 0;
    let mut first = true;
    for field in shape {
        match field.shared {
            None => at += field.end - field.start + 1,
            Some((prefix, suffix)) => {
                let end = memchr(b' ', &line[at..]).map_or(line.len(), |length| at + length);
                if !first {
                    out.push(b' ');
                }
                out.extend_from_slice(&line[at + prefix..end - suffix]);
                first = false;
                at = end + 1;
            }
        }
    }
    out.push(b'\n');
}
