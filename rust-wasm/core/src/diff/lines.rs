//! Texts as lines, and lines as small numbers.

use imara_diff::Token;

use super::bytes::{common_prefix, common_suffix, equal, line};

/// Where the lines of a text start.
#[derive(Debug)]
pub struct Lines<'a> {
    text: &'a [u8],
    /// One more than there are lines: the last is the end of the text.
    starts: Vec<u32>,
}

impl<'a> Lines<'a> {
    /// Nothing is split yet: the interner does it as it reads.
    fn new(text: &'a [u8]) -> Self {
        Self { text, starts: vec![0] }
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

    fn push(&mut self, length: usize) -> &'a [u8] {
        let start = self.next();
        self.starts.push((start + length) as u32);
        &self.text[start..start + length]
    }

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
    /// For about as many bytes of text.
    pub fn new(bytes: usize) -> Self {
        Self { table: Table::new(bytes / 32), lines: Vec::new(), first_seen: Vec::new() }
    }

    /// Split and number the first text.
    pub fn first(&mut self, text: &'a [u8]) -> Numbered<'a> {
        let mut numbered = Numbered { lines: Lines::new(text), tokens: Vec::new() };
        while numbered.lines.next() < text.len() {
            let token = self.take_line(&mut numbered.lines);
            if token.0 as usize == self.first_seen.len() {
                self.first_seen.push(numbered.tokens.len());
            }
            numbered.tokens.push(token);
        }
        numbered
    }

    /// Split and number a text that is mostly `first` again: after a line that matched, the next is first compared
    /// with the one that followed there, which spares finding its end, hashing it and looking it up.
    pub fn next(&mut self, first: &Numbered<'a>, text: &'a [u8]) -> Numbered<'a> {
        let mut numbered =
            Numbered { lines: Lines::new(text), tokens: Vec::with_capacity(first.tokens.len()) };
        let mut expected = 0;
        while numbered.lines.next() < text.len() {
            let line = first.lines.get(expected);
            if !line.is_empty() && starts_with_line(&text[numbered.lines.next()..], line) {
                numbered.lines.push(line.len());
                numbered.tokens.push(first.tokens[expected]);
                expected += 1;
                continue;
            }
            let token = self.take_line(&mut numbered.lines);
            expected = self.first_seen.get(token.0 as usize).map_or(expected, |seen| seen + 1);
            numbered.tokens.push(token);
        }
        numbered
    }

    fn take_line(&mut self, lines: &mut Lines<'a>) -> Token {
        let (length, hash) = line(&lines.text[lines.next()..]);
        self.table.number(hash, lines.push(length), &mut self.lines)
    }
}

/// Is `line`, which ends in a newline or its text, the first line of `rest`?
fn starts_with_line(rest: &[u8], line: &[u8]) -> bool {
    match rest.split_at_checked(line.len()) {
        Some((head, tail)) => equal(head, line) && (tail.is_empty() || line.last() == Some(&b'\n')),
        None => false,
    }
}

/// Open addressing; a slot holds the upper half of the hash and a number plus one.
struct Table {
    slots: Vec<(u32, u32)>,
    used: usize,
}

impl Table {
    fn new(expected: usize) -> Self {
        Self { slots: vec![(0, 0); (2 * expected).next_power_of_two().max(64)], used: 0 }
    }

    fn number<'a>(&mut self, hash: u64, line: &'a [u8], lines: &mut Vec<&'a [u8]>) -> Token {
        if 2 * self.used >= self.slots.len() {
            self.grow();
        }
        let tag = (hash >> 32) as u32;
        let mut at = self.home(tag);
        loop {
            let (kept, number) = self.slots[at];
            if number == 0 {
                break;
            }
            if kept == tag && equal(lines[number as usize - 1], line) {
                return Token(number - 1);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        lines.push(line);
        self.slots[at] = (tag, lines.len() as u32);
        self.used += 1;
        Token(lines.len() as u32 - 1)
    }

    fn home(&self, tag: u32) -> usize {
        (tag.wrapping_mul(0x9E37_79B1) >> (32 - self.slots.len().trailing_zeros())) as usize
    }

    fn grow(&mut self) {
        let slots = std::mem::take(&mut self.slots);
        self.slots = vec![(0, 0); 2 * slots.len()];
        for slot in slots.into_iter().filter(|slot| slot.1 != 0) {
            let mut at = self.home(slot.0);
            while self.slots[at].1 != 0 {
                at = (at + 1) & (self.slots.len() - 1);
            }
            self.slots[at] = slot;
        }
    }
}
