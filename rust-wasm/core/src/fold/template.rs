//! Consecutive lines of one shape as a template and a table, and back.
//!
//! Lines are words between single spaces. A run of lines with as many words each, most of them the same, becomes
//!
//! ```text
//! ⟦3 lines of: 2026-11-21 ‹› status ‹›⟧
//! 09:34:01 installed
//! 09:34:02 configured
//! 09:34:05 installed
//! ⟦end⟧
//! ```
//!
//! Nothing is lost: `expand` gives the lines back byte for byte. Lines that hold a mark themselves are left alone.

use std::ops::Range;

use super::Run;
use crate::diff::equal;

const HOLE: &[u8] = "‹›".as_bytes();
const OPEN: &[u8] = "⟦".as_bytes();
const CLOSE: &[u8] = "⟧\n".as_bytes();
const END: &[u8] = "⟦end⟧\n".as_bytes();
/// Fewer lines are not worth a template.
const FEWEST: usize = 3;
/// Fewer words leave nothing to share.
const FEWEST_WORDS: usize = 3;
const MOST_WORDS: usize = 64;

/// Whole lines of a block and what stands for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub bytes: Range<usize>,
    pub text: Vec<u8>,
}

/// The templates of a text.
pub fn lines_of_one_shape(text: &[u8]) -> Vec<Template> {
    let mut starts = vec![0];
    starts.extend(memchr::memchr_iter(b'\n', text).map(|at| at as u32 + 1));
    if text.last().is_some_and(|&byte| byte != b'\n') {
        starts.push(text.len() as u32);
    }
    templates(text, &starts, &[])
}

/// The templates of a text whose lines start at `starts` (and end at the last), outside the runs already found.
pub fn templates(text: &[u8], starts: &[u32], runs: &[Run]) -> Vec<Template> {
    let mut found = Vec::new();
    let mut runs = runs.iter().peekable();
    let mut shape = Shape::default();
    for pair in starts.windows(2) {
        let bytes = pair[0] as usize..pair[1] as usize;
        runs.next_if(|run| run.bytes.end <= bytes.start);
        let taken = runs.peek().is_some_and(|run| run.bytes.start < bytes.end);
        let line = &text[bytes.clone()];
        if taken || !shape.extend(line, bytes.start) {
            found.extend(shape.finish(text));
            if !taken {
                shape.start(line, bytes.start);
            }
        }
    }
    found.extend(shape.finish(text));
    found
}

/// A run of lines that may become a template.
#[derive(Default)]
struct Shape<'a> {
    /// Start of the first line, and of the one after the last.
    bytes: Range<usize>,
    lines: usize,
    first: &'a [u8],
    /// Ends of the first line's words, and of those of the line at hand.
    ends: Vec<u32>,
    next: Vec<u32>,
    /// Bit i: all lines share word i.
    shared: u64,
}

impl<'a> Shape<'a> {
    fn start(&mut self, line: &'a [u8], at: usize) {
        let fits = split(line, &mut self.ends);
        *self = Self {
            bytes: at..at + line.len(),
            lines: usize::from(fits),
            first: line,
            ends: std::mem::take(&mut self.ends),
            next: std::mem::take(&mut self.next),
            shared: u64::MAX,
        };
    }

    /// Take the line in if it is of the shape: as many words, and at least half of them shared by all.
    fn extend(&mut self, line: &[u8], at: usize) -> bool {
        if self.lines == 0 || line.len().abs_diff(self.first.len()) > 8 + self.first.len() / 2 {
            return false;
        }
        if !split(line, &mut self.next) || self.next.len() != self.ends.len() {
            return false;
        }
        let words = words(self.first, &self.ends).zip(words(line, &self.next)).enumerate();
        let same = words.fold(0, |same, (i, (a, b))| same | u64::from(equal(a, b)) << i);
        let shared = self.shared & same;
        if 2 * shared.count_ones() < self.ends.len() as u32 {
            return false;
        }
        self.shared = shared;
        self.bytes.end = at + line.len();
        self.lines += 1;
        true
    }

    fn finish(&mut self, text: &[u8]) -> Option<Template> {
        let lines = std::mem::take(&mut self.lines);
        let bytes = self.bytes.clone();
        // The first byte of every mark; rare in logs, so looking for it is enough.
        if lines < FEWEST || memchr::memchr(HOLE[0], &text[bytes.clone()]).is_some() {
            return None;
        }
        let mut out = Vec::with_capacity(bytes.len());
        out.extend_from_slice(format!("⟦{lines} lines of: ").as_bytes());
        let shared = |i: usize| self.shared >> i & 1 != 0;
        join(
            &mut out,
            words(self.first, &self.ends).enumerate().map(|(i, word)| if shared(i) { word } else { HOLE }),
        );
        out.extend_from_slice(CLOSE);
        for line in text[bytes.clone()].split_inclusive(|&byte| byte == b'\n') {
            split(line, &mut self.next);
            let holes = words(line, &self.next).enumerate().filter(|(i, _)| !shared(*i));
            join(&mut out, holes.map(|(_, word)| word));
            out.push(b'\n');
        }
        out.extend_from_slice(END);
        Some(Template { bytes, text: out })
    }
}

fn words<'a>(line: &'a [u8], ends: &'a [u32]) -> impl Iterator<Item = &'a [u8]> {
    let starts = std::iter::once(0).chain(ends.iter().map(|&end| end as usize + 1));
    starts.zip(ends).map(|(start, &end)| &line[start..end as usize])
}

fn join<'a>(out: &mut Vec<u8>, words: impl Iterator<Item = &'a [u8]>) {
    for (i, word) in words.enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

/// Ends of a line's words between single spaces; false for lines that cannot be in a template: without a newline,
/// indented (code, whose white space would count as words), or with too few or too many words.
fn split(line: &[u8], ends: &mut Vec<u32>) -> bool {
    ends.clear();
    let Some((b'\n', body)) = line.split_last() else { return false };
    if body.first().is_none_or(|&first| first == b' ' || first == b'\t') {
        return false;
    }
    let (chunks, rest) = body.as_chunks::<8>();
    for (i, chunk) in chunks.iter().enumerate() {
        let mut spaces = spaces(u64::from_le_bytes(*chunk));
        while spaces != 0 {
            ends.push(8 * i as u32 + spaces.trailing_zeros() / 8);
            spaces &= spaces - 1;
        }
    }
    let start = body.len() - rest.len();
    ends.extend(rest.iter().enumerate().filter(|(_, byte)| **byte == b' ').map(|(i, _)| (start + i) as u32));
    ends.push(body.len() as u32);
    (FEWEST_WORDS..=MOST_WORDS).contains(&ends.len())
}

/// The top bit of every byte that is a space.
fn spaces(word: u64) -> u64 {
    const LOW: u64 = 0x7F7F_7F7F_7F7F_7F7F;
    let other = word ^ 0x2020_2020_2020_2020;
    !((other & LOW) + LOW | other | LOW)
}

/// Undo `templates`: every template in a text replaced by its lines. `None` where one is broken.
pub fn expand(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut lines = text.split_inclusive(|&byte| byte == b'\n');
    while let Some(line) = lines.next() {
        let Some((count, template)) = header(line) else {
            out.extend_from_slice(line);
            continue;
        };
        for _ in 0..count {
            let row = lines.next()?.strip_suffix(b"\n")?;
            let mut values = row.split(|&byte| byte == b' ');
            let words = template
                .split(|&byte| byte == b' ')
                .map(|word| if word == HOLE { values.next() } else { Some(word) });
            join(&mut out, words.collect::<Option<Vec<_>>>()?.into_iter());
            out.push(b'\n');
        }
        (lines.next()? == END).then_some(())?;
    }
    Some(out)
}

fn header(line: &[u8]) -> Option<(usize, &[u8])> {
    let body = line.strip_prefix(OPEN)?.strip_suffix(CLOSE)?;
    let at = memchr::memmem::find(body, b" lines of: ")?;
    let count = std::str::from_utf8(&body[..at]).ok()?.parse().ok()?;
    Some((count, &body[at + 11..]))
}
