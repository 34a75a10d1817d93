//! Counts of pieces seen before: a direct-mapped table, 16 bytes an entry, of fixed size.
//!
//! An entry is the piece itself, zero-padded to 15 bytes, and one byte with its length and its count, so a hit is
//! exact and an entry of length 0 is empty. Pieces that are longer are rare and not kept.

const LONGEST: usize = 15;

/// A piece of 1 to 15 bytes, padded with zeros, its length in the top four bits.
#[derive(Clone, Copy)]
pub struct Key {
    low: u64,
    high: u64,
}

impl Key {
    /// `None` where the piece is too long to be kept.
    pub fn new(bytes: &[u8], start: usize, end: usize) -> Option<Self> {
        let length = end - start;
        if length > LONGEST {
            return None;
        }
        let text = match bytes.get(start..start + 16).and_then(|w| <[u8; 16]>::try_from(w).ok()) {
            Some(window) => u128::from_le_bytes(window) & ((1 << (8 * length)) - 1),
            None => padded(&bytes[start..end]),
        };
        Some(Self { low: text as u64, high: (text >> 64) as u64 | (length as u64) << 60 })
    }

    fn slot(self, shift: u32) -> usize {
        let mixed = (self.low ^ self.high.rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> shift) as usize
    }
}

fn padded(piece: &[u8]) -> u128 {
    let mut window = [0; 16];
    window[..piece.len()].copy_from_slice(piece);
    u128::from_le_bytes(window)
}

pub struct Cache {
    entries: Vec<[u64; 2]>,
    shift: u32,
}

impl Cache {
    pub fn new(bits: u32) -> Self {
        Self { entries: vec![[0; 2]; 1 << bits], shift: 64 - bits }
    }

    pub fn get(&self, key: Key) -> Option<u32> {
        let [low, high] = self.entries[key.slot(self.shift)];
        let found = low == key.low && high & !(15 << 56) == key.high;
        found.then_some((high >> 56) as u32 & 15)
    }

    /// Keep a count; it is at most the piece's length, so it fits four bits.
    pub fn put(&mut self, key: Key, count: u32) {
        self.entries[key.slot(self.shift)] = [key.low, key.high | u64::from(count & 15) << 56];
    }
}
