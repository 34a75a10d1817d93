//! Exact token counting for byte-pair vocabularies.
//!
//! A count is: split the text into pieces (`ascii`, `split`), look each piece up among those seen before (`cache`,
//! `long`), and merge the bytes of the others (`bpe`) by a table of merge pairs (`pairs`). No token strings are
//! needed: every multi-byte token of o200k_base is the merge of exactly one pair, so the pairs decide the number.
//! This room knows no provider and no message format: bytes in, a number out.

mod ascii;
mod bpe;
mod cache;
mod classes;
mod growing;
mod long;
mod pairs;
mod split;

use std::borrow::Cow;

use bpe::Merger;
use cache::{Cache, Key};
pub use growing::Growing;
use long::LongCache;
pub use pairs::{Pairs, TableError};

use crate::lanes::{Block, WIDTH};

/// How a vocabulary splits text into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// o200k_base and o200k_harmony; the fast one.
    O200k,
    Cl100k,
}

/// Counts tokens; of fixed size: the merge table (2 MB) and the caches (1.6 MB).
pub struct Counter {
    pairs: Pairs,
    pattern: Pattern,
    cache: Cache,
    long: LongCache,
    merger: Merger,
}

impl Counter {
    /// Count by these merges, with the pattern of o200k_base.
    pub fn new(pairs: Pairs) -> Self {
        Self::with_pattern(pairs, Pattern::O200k)
    }

    /// Count by these merges and this pattern.
    pub fn with_pattern(pairs: Pairs, pattern: Pattern) -> Self {
        Self {
            pairs,
            pattern,
            cache: Cache::default(),
            long: LongCache::default(),
            merger: Merger::default(),
        }
    }

    /// Tokens of `text`, where invalid UTF-8 counts as the replacement characters it would be shown as.
    pub fn count(&mut self, text: &[u8]) -> u32 {
        let mut total = 0;
        self.pieces(text, |_, count| {
            total += count;
            true
        });
        total
    }

    /// The longest prefix of whole pieces within `limit` tokens: its length in bytes and its tokens.
    ///
    /// The length is of the text as counted, so a boundary of `text` itself where that is valid UTF-8.
    pub fn prefix_within(&mut self, text: &str, limit: u32) -> (usize, u32) {
        let mut prefix = (0, 0);
        self.pieces(text.as_bytes(), |end, count| {
            let fits = prefix.1 + count <= limit;
            if fits {
                prefix = (end, prefix.1 + count);
            }
            fits
        });
        prefix
    }

    /// Walk the pieces, telling the end and the tokens of each, until told to stop.
    #[inline(always)]
    fn pieces(&mut self, text: &[u8], mut tell: impl FnMut(usize, u32) -> bool) {
        let mut at = 0;
        let mut text = Cow::Borrowed(text);
        let mut valid = false;
        let fast = self.pattern == Pattern::O200k;
        while at < text.len() {
            let start = at;
            // A block is not worth its making where the first byte decides nothing.
            if fast && text[at] < 0x80 {
                let block = Block::at(&text, at);
                while let Some(length) = ascii::piece_length(&block, at - start, &text, at) {
                    let count = self.count_piece(&text, at, at + length);
                    at += length;
                    if !tell(at, count) {
                        return;
                    }
                    if at - start >= WIDTH {
                        break;
                    }
                }
            }
            // In the block's second half its end may be what is in the way; before, it is the piece.
            if at - start > WIDTH / 2 {
                continue;
            }
            if at == text.len() {
                return;
            }
            if !valid {
                text = replaced(text, at);
                valid = true;
            }
            let end = match self.pattern {
                Pattern::O200k => split::piece_end(&text, at),
                Pattern::Cl100k => split::piece_end_cl100k(&text, at),
            };
            let count = self.count_piece(&text, at, end);
            at = end;
            if !tell(at, count) {
                return;
            }
        }
    }

    #[inline(always)]
    fn count_piece(&mut self, text: &[u8], start: usize, end: usize) -> u32 {
        let Some(key) = Key::new(text, start, end) else {
            return self.count_long(&text[start..end]);
        };
        match self.cache.get(key) {
            Some(count) => count,
            None => self.count_new(key, &text[start..end]),
        }
    }

    #[cold]
    fn count_new(&mut self, key: Key, piece: &[u8]) -> u32 {
        let count = self.merger.count(&self.pairs, piece);
        self.cache.put(key, count);
        count
    }

    fn count_long(&mut self, piece: &[u8]) -> u32 {
        if let Some(count) = self.long.get(piece) {
            return count;
        }
        let count = self.merger.count(&self.pairs, piece);
        self.long.put(piece, count);
        count
    }
}

/// The text with what is not UTF-8 replaced. Up to `at` it is ASCII, so only the rest is looked at.
fn replaced(text: Cow<'_, [u8]>, at: usize) -> Cow<'_, [u8]> {
    match String::from_utf8_lossy(&text[at..]) {
        Cow::Borrowed(_) => text,
        Cow::Owned(rest) => Cow::Owned([&text[..at], rest.as_bytes()].concat()),
    }
}
