//! Texts as lines, and lines as small numbers.

use imara_diff::Token;

use super::bytes::{common_prefix, common_suffix, equal, hash};
use crate::lanes::{WIDTH, newlines};

/// Where the lines of a text start.
#[derive(Debug)]
pub struct Lines<'a> {
    text: &'a [u8],
    /// One more than there are lines: the last is the end of the text.
    starts: Vec<u32>,
}

impl<'a> Lines<'a> {
    fn split(text: &'a [u8]) -> Self {
        let mut starts = Vec::with_capacity(text.len() / 24 + SOME);
        starts.push(0);
        let (blocks, rest) = text.as_chunks::<WIDTH>();
        for (i, block) in blocks.iter().enumerate() {
            let mut ends = newlines(block);
            while ends != 0 {
                starts.push((WIDTH * i) as u32 + ends.trailing_zeros() + 1);
                ends &= ends - 1;
            }
        }
        let before = text.len() - rest.len();
        starts.extend(memchr::memchr_iter(b'\n', rest).map(|at| (before + at) as u32 + 1));
        if starts.last().is_some_and(|&end| (end as usize) < text.len()) {
            starts.push(text.len() as u32);
        }
        Self { text, starts }
    }

    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A line with its terminator; empty where there is none.
    pub fn get(&self, line: usize) -> &'a [u8] {
        self.bytes(line..line + 1)
    }

    /// The lines of a range with their terminators.
    pub fn bytes(&self, lines: std::ops::Range<usize>) -> &'a [u8] {
        let at = |line: usize| self.starts.get(line).map_or(self.text.len(), |&start| start as usize);
        self.text.get(at(lines.start)..at(lines.end)).unwrap_or_default()
    }

    /// Where the next line starts, of a text that is not split to its end yet.
    fn next(&self) -> usize {
        self.starts.last().map_or(0, |&start| start as usize)
    }
}

/// What texts share at their ends, in whole lines.
pub struct Ends {
    /// First byte that is not left out.
    pub start: usize,
    /// Lines left out before it.
    pub lines_before: usize,
    /// Bytes left out at the end.
    pub tail: usize,
}

impl Ends {
    /// A text without its shared ends.
    pub fn middle<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start..text.len() - self.tail]
    }
}

/// Find what `base` shares with each of the others at the ends, leaving `margin` shared lines in on both sides; all, if there is
/// no margin.
pub fn shared_ends(base: &[u8], others: &[&[u8]], margin: Option<usize>) -> Ends {
    let Some(margin) = margin else { return Ends { start: 0, lines_before: 0, tail: 0 } };
    let shared = others.iter().map(|other| common_prefix(base, other)).min().unwrap_or(base.len());
    // Back to the start of the first line that differs, then over the margin.
    let line_start = |end: usize| memchr::memrchr(b'\n', &base[..end]).map_or(0, |at| at + 1);
    let first = line_start(shared);
    let start = (0..margin).fold(first, |at, _| line_start(at.saturating_sub(1)));
    let tails = others.iter().map(|other| common_suffix(&base[first..], &other[first..]));
    let mut tail = tails.min().unwrap_or(0);
    for _ in 0..=margin {
        tail = memchr::memchr(b'\n', &base[base.len() - tail..]).map_or(0, |at| tail - at - 1);
    }
    Ends { start, lines_before: count_newlines(&base[..start]), tail }
}

fn count_newlines(text: &[u8]) -> usize {
    // By short chunks, so that the sums are bytes and the loop becomes SIMD.
    let sum = |chunk: &[u8]| chunk.iter().map(|&byte| u8::from(byte == b'\n')).sum::<u8>();
    text.chunks(255).map(|chunk| usize::from(sum(chunk))).sum()
}

/// Room for lines that the other text does not have.
const SOME: usize = 64;

/// Numbers for lines: equal lines have equal ones.
pub struct Interner<'a> {
    table: Table,
    /// The line that each number stands for.
    pub lines: Vec<&'a [u8]>,
    /// Where in the first text a number came first.
    first_seen: Vec<usize>,
}

/// A text, split and numbered.
pub struct Numbered<'a> {
    pub lines: Lines<'a>,
    pub tokens: Vec<Token>,
}

impl<'a> Interner<'a> {
    pub fn new() -> Self {
        Self { table: Table::new(SOME), lines: Vec::new(), first_seen: Vec::new() }
    }

    /// Split and number the first text.
    pub fn first(&mut self, text: &'a [u8]) -> Numbered<'a> {
        let lines = Lines::split(text);
        self.table = Table::new(lines.len() + SOME);
        self.lines.reserve(lines.len() + SOME);
        self.first_seen.reserve(lines.len());
        let mut tokens = Vec::with_capacity(lines.len());
        for at in 0..lines.len() {
            let token = self.table.number(lines.get(at), &mut self.lines);
            if token.0 as usize == self.first_seen.len() {
                self.first_seen.push(at);
            }
            tokens.push(token);
        }
        Numbered { lines, tokens }
    }

    /// Split and number a text that is mostly `first` again: after a line that matched, what follows is first compared with what
    /// followed there, any number of lines at once, which spares finding their ends, hashing them and looking them up.
    pub fn next(&mut self, first: &Numbered<'a>, text: &'a [u8]) -> Numbered<'a> {
        let mut numbered = Numbered {
            lines: Lines { text, starts: Vec::with_capacity(first.lines.starts.len() + SOME) },
            tokens: Vec::with_capacity(first.tokens.len() + SOME),
        };
        numbered.lines.starts.push(0);
        let mut expected = 0;
        while numbered.lines.next() < text.len() {
            expected += numbered.take_again(first, expected);
            if numbered.lines.next() < text.len() {
                let token = self.take_line(&mut numbered.lines);
                expected = self.first_seen.get(token.0 as usize).map_or(expected, |seen| seen + 1);
                numbered.tokens.push(token);
            }
        }
        numbered
    }

    fn take_line(&mut self, lines: &mut Lines<'a>) -> Token {
        let rest = &lines.text[lines.next()..];
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        lines.starts.push((lines.next() + length) as u32);
        self.table.number(&rest[..length], &mut self.lines)
    }
}

impl Numbered<'_> {
    /// Take the lines that come next in the text and are those of `first` from `from` on; says how many.
    fn take_again(&mut self, first: &Self, from: usize) -> usize {
        let Some(starts) = first.lines.starts.get(from..) else { return 0 };
        let (theirs, ours) = (starts[0] as usize, self.lines.next());
        let rest = &self.lines.text[ours..];
        let shared = common_prefix(&first.lines.text[theirs..], rest);
        if starts.get(1).is_none_or(|&end| end as usize > theirs + shared) {
            return 0;
        }
        let mut lines = starts[1..].partition_point(|&end| end as usize <= theirs + shared);
        let end = starts[lines] as usize - theirs;
        // A last line without an end is the same line only where both texts end.
        if end < rest.len() && rest[end - 1] != b'\n' {
            lines -= 1;
        }
        let ends = starts[1..].iter().take(lines);
        self.lines.starts.extend(ends.map(|&end| end - theirs as u32 + ours as u32));
        self.tokens.extend_from_slice(&first.tokens[from..from + lines]);
        lines
    }
}

/// Open addressing; a slot is the line's number plus one with bits of its hash on top, or 0. Four bytes, not more: the table is
/// what does not fit the processor's caches.
struct Table {
    slots: Vec<u32>,
    used: usize,
}

impl Table {
    /// For so many lines, until it grows.
    fn new(lines: usize) -> Self {
        Self { slots: vec![0; (2 * lines).next_power_of_two()], used: 0 }
    }

    fn number<'a>(&mut self, line: &'a [u8], lines: &mut Vec<&'a [u8]>) -> Token {
        if 2 * self.used >= self.slots.len() {
            self.grow(lines);
        }
        let hash = hash(line);
        let (mut at, tag) = self.home(hash);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            let number = slot & self.mask();
            if slot & !self.mask() == tag && equal(lines[number as usize - 1], line) {
                return Token(number - 1);
            }
            at = (at + 1) & self.mask() as usize;
        }
        lines.push(line);
        self.slots[at] = tag | lines.len() as u32;
        self.used += 1;
        Token(lines.len() as u32 - 1)
    }

    /// The bits of a number and of a place: half of the slots are in use at most, so that every number plus one fits.
    fn mask(&self) -> u32 {
        self.slots.len() as u32 - 1
    }

    /// Where to look first, and the hash's bits above a number.
    fn home(&self, hash: u64) -> (usize, u32) {
        ((hash >> (64 - self.slots.len().trailing_zeros())) as usize, hash as u32 & !self.mask())
    }

    fn grow(&mut self, lines: &[&[u8]]) {
        self.slots = vec![0; 2 * self.slots.len()];
        for (number, line) in (1..).zip(lines) {
            let (mut at, tag) = self.home(hash(line));
            while self.slots[at] != 0 {
                at = (at + 1) & self.mask() as usize;
            }
            self.slots[at] = tag | number;
        }
    }
}
