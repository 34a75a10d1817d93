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

const HOLE: &[u8] = "‹›".as_bytes();
const OPEN: &[u8] = "⟦".as_bytes();
const CLOSE: &[u8] = "⟧\n".as_bytes();
const END: &[u8] = "⟦end⟧\n".as_bytes();
/// Fewer lines are not worth a template.
const FEWEST: usize = 3;
const MOST_WORDS: usize = 64;

/// Whole lines of a block and what stands for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub bytes: Range<usize>,
    pub text: Vec<u8>,
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
struct Shape {
    /// Start of the first line, and of the one after the last.
    bytes: Range<usize>,
    lines: usize,
    /// Words of the first line, relative to it.
    words: Vec<Range<usize>>,
    /// Which of them all lines share.
    shared: Vec<bool>,
    /// Words of the line at hand.
    next: Vec<Range<usize>>,
    first: Vec<u8>,
}

impl Shape {
    fn start(&mut self, line: &[u8], at: usize) {
        self.lines = 0;
        if !split(line, &mut self.words) {
            return;
        }
        self.shared.clear();
        self.shared.resize(self.words.len(), true);
        self.first.clear();
        self.first.extend_from_slice(line);
        self.bytes = at..at + line.len();
        self.lines = 1;
    }

    /// Take the line in if it is of the shape: as many words, and at least half of them shared by all.
    fn extend(&mut self, line: &[u8], at: usize) -> bool {
        if self.lines == 0 || !split(line, &mut self.next) || self.next.len() != self.words.len() {
            return false;
        }
        let same = |i: usize| self.first[self.words[i].clone()] == line[self.next[i].clone()];
        let mut shared = 0;
        let still: Vec<bool> = (0..self.words.len()).map(|i| self.shared[i] && same(i)).collect();
        still.iter().for_each(|&is| shared += usize::from(is));
        if 2 * shared < self.words.len() || shared == 0 {
            return false;
        }
        self.shared = still;
        self.bytes.end = at + line.len();
        self.lines += 1;
        true
    }

    fn finish(&mut self, text: &[u8]) -> Option<Template> {
        let lines = std::mem::take(&mut self.lines);
        if lines < FEWEST {
            return None;
        }
        let bytes = self.bytes.clone();
        let mut out = format!("⟦{lines} lines of: ").into_bytes();
        join(
            &mut out,
            (0..self.words.len())
                .map(|i| if self.shared[i] { &self.first[self.words[i].clone()] } else { HOLE }),
        );
        out.extend_from_slice(CLOSE);
        for line in text[bytes.clone()].split_inclusive(|&byte| byte == b'\n') {
            split(line, &mut self.next);
            let holes = self.next.iter().zip(&self.shared).filter(|(_, shared)| !**shared);
            join(&mut out, holes.map(|(word, _)| &line[word.clone()]));
            out.push(b'\n');
        }
        out.extend_from_slice(END);
        Some(Template { bytes, text: out })
    }
}

fn join<'a>(out: &mut Vec<u8>, words: impl Iterator<Item = &'a [u8]>) {
    for (i, word) in words.enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}

/// Words of a line between single spaces; false for lines that cannot be in a template: without a newline, with too
/// many words, or with a mark.
fn split(line: &[u8], words: &mut Vec<Range<usize>>) -> bool {
    words.clear();
    let Some((b'\n', body)) = line.split_last() else { return false };
    let mut start = 0;
    for end in memchr::memchr_iter(b' ', body).chain([body.len()]) {
        words.push(start..end);
        start = end + 1;
    }
    // The marks' first byte is rare in logs, so looking for it is enough.
    words.len() <= MOST_WORDS && memchr::memchr(0xE2, body).is_none()
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
