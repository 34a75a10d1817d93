//! Counts of pieces seen before: exact, of fixed size, forgetting by pairs.
//!
//! Nine pieces in ten have at most seven bytes: with its length and its count such a piece is one 64-bit word.
//! Pieces of up to fifteen bytes are two words. So the whole cache stays within the processor's second level,
//! which matters more than the number of misses. A slot holds two entries, the one asked for last first.
//! Longer pieces are in `long`.

/// The top byte of an entry's last word: count, then length. A length of 0 is an empty entry.
const LENGTH: u32 = 56;
const COUNT: u32 = 60;
const KEY: u64 = !(15 << COUNT);

/// A piece with zeros after it and its length on top.
#[derive(Clone, Copy)]
pub enum Key {
    Short(u64),
    Medium([u64; 2]),
}

impl Key {
    /// `None` where the piece has more than fifteen bytes.
    #[inline(always)]
    pub fn new(text: &[u8], start: usize, end: usize) -> Option<Self> {
        let length = (end - start) as u32;
        let rest = text.get(start..)?;
        let top = u64::from(length) << LENGTH;
        match length {
            0..8 => Some(Self::Short(low_bytes(word(rest), length) | top)),
            8..16 => Some(Self::Medium([word(rest), low_bytes(word(rest.get(8..)?), length - 8) | top])),
            _ => None,
        }
    }
}

/// The first eight bytes, with zeros where there are fewer.
#[inline(always)]
fn word(rest: &[u8]) -> u64 {
    match rest.first_chunk() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// The lowest `count` bytes (up to seven).
#[inline(always)]
fn low_bytes(word: u64, count: u32) -> u64 {
    word & ((1 << (8 * count)) - 1)
}

/// Slots of each sort, as powers of two; a slot holds two entries.
const SHORT_BITS: u32 = 15;
const MEDIUM_BITS: u32 = 15;

/// 0.5 MB for short pieces and 1 MB for medium ones.
pub struct Cache {
    short: Vec<[u64; 2]>,
    medium: Vec<[[u64; 2]; 2]>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { short: vec![[0; 2]; 1 << SHORT_BITS], medium: vec![[[0; 2]; 2]; 1 << MEDIUM_BITS] }
    }
}

impl Cache {
    #[inline(always)]
    pub fn get(&mut self, key: Key) -> Option<u32> {
        match key {
            Key::Short(word) => {
                let [first, second] = &mut self.short[slot(word, SHORT_BITS)];
                if *first & KEY == word {
                    return Some((*first >> COUNT) as u32);
                }
                (*second & KEY == word).then(|| {
                    std::mem::swap(first, second);
                    (*first >> COUNT) as u32
                })
            }
            Key::Medium([low, high]) => {
                let [first, second] = &mut self.medium[slot(low ^ high.rotate_left(29), MEDIUM_BITS)];
                if first[0] == low && first[1] & KEY == high {
                    return Some((first[1] >> COUNT) as u32);
                }
                (second[0] == low && second[1] & KEY == high).then(|| {
                    std::mem::swap(first, second);
                    (first[1] >> COUNT) as u32
                })
            }
        }
    }

    /// Keep a count; it is at most the piece's length, so it fits four bits.
    pub fn put(&mut self, key: Key, count: u32) {
        let count = u64::from(count & 15) << COUNT;
        match key {
            Key::Short(word) => {
                let [first, second] = &mut self.short[slot(word, SHORT_BITS)];
                *second = std::mem::replace(first, word | count);
            }
            Key::Medium([low, high]) => {
                let [first, second] = &mut self.medium[slot(low ^ high.rotate_left(29), MEDIUM_BITS)];
                *second = std::mem::replace(first, [low, high | count]);
            }
        }
    }
}

/// Fibonacci hashing; 64 by 64 bits to 64 is all that wasm multiplies.
#[inline(always)]
fn slot(word: u64, bits: u32) -> usize {
    (word.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - bits)) as usize
}
