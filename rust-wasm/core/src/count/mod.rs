//! Exact token counting for byte-pair vocabularies.
//!
//! A count is: split the text into pieces (`split`), look each short piece up in a cache (`cache`), and merge
//! the bytes of the others (`bpe`) by a table of merge pairs (`pairs`). No token strings are needed: every
//! multi-byte token of o200k_base is the merge of exactly one pair, so the pairs alone decide the number.
//! This room knows no provider and no message format: bytes in, a number out.

mod bpe;
mod cache;
mod classes;
mod pairs;
mod split;

use std::borrow::Cow;

use bpe::Merger;
use cache::{Cache, Key};
use pairs::Pairs;
pub use pairs::TableError;

/// Entries of the piece cache, as a power of two: 16 bytes each, 1 MB.
const CACHE_BITS: u32 = 16;

/// Counts tokens; holds the merge table (2 MB) and a piece cache (1 MB), both of fixed size.
pub struct Counter {
    pairs: Pairs,
    cache: Cache,
    merger: Merger,
}

impl Counter {
    /// Build from a table made by `gen/tables.py` (its docstring gives the format).
    ///
    /// # Errors
    /// `TableError` where the table's size or an id in it cannot be right.
    pub fn new(table: &[u8]) -> Result<Self, TableError> {
        Self::with_cache_bits(table, CACHE_BITS)
    }

    /// The same with a cache of `2^bits` entries.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_cache_bits(table: &[u8], bits: u32) -> Result<Self, TableError> {
        Ok(Self { pairs: Pairs::new(table)?, cache: Cache::new(bits), merger: Merger::default() })
    }

    /// Tokens of `text`, where invalid UTF-8 counts as the replacement characters it would be shown as.
    pub fn count(&mut self, text: &[u8]) -> u32 {
        match String::from_utf8_lossy(text) {
            Cow::Borrowed(valid) => self.count_str(valid),
            Cow::Owned(replaced) => self.count_str(&replaced),
        }
    }

    /// Tokens of `text`.
    pub fn count_str(&mut self, text: &str) -> u32 {
        let bytes = text.as_bytes();
        let (mut at, mut total) = (0, 0);
        while at < bytes.len() {
            let end = split::piece_end(bytes, at);
            total += self.count_piece(bytes, at, end);
            at = end;
        }
        total
    }

    fn count_piece(&mut self, bytes: &[u8], start: usize, end: usize) -> u32 {
        let Some(key) = Key::new(bytes, start, end) else {
            return self.merger.count(&self.pairs, &bytes[start..end]);
        };
        if let Some(count) = self.cache.get(key) {
            return count;
        }
        let count = self.merger.count(&self.pairs, &bytes[start..end]);
        self.cache.put(key, count);
        count
    }
}
