//! Texts much like an earlier one: a sketch by one-permutation MinHash, and where earlier sketches agree with it.
//!
//! What is sketched are runs of three words, with every number the same: two runs of one test differ in its times
//! only. An estimate, so it only tells; no bytes are ever folded on its word.

pub const SIZE: usize = 128;
pub type Signature = [u32; SIZE];

/// Rows that must agree for two sketches to meet: at a likeness of 0.7 one band of the 32 does so with 0.9998.
const ROWS: usize = 4;
const BANDS: usize = SIZE / ROWS;
const SLOTS: usize = 1 << 13;
const EMPTY: u32 = u32::MAX;

/// What each byte counts as: 0 between words.
const WORD: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let value = byte as u8;
        if value.is_ascii_digit() {
            table[byte] = b'0';
        } else if value.is_ascii_alphabetic() || value == b'_' || value >= 0x80 {
            table[byte] = value;
        }
        byte += 1;
    }
    table
};

/// The sketch of a text; None where it has fewer than three words.
pub fn signature(text: &[u8]) -> Option<Signature> {
    let mut sketch = [EMPTY; SIZE];
    let (mut word, mut before, mut first) = (0_u32, 0_u32, 0_u32);
    let mut words = 0_u32;
    let mut last = 0;
    for &byte in text.iter().chain(b" ") {
        let value = WORD[byte as usize];
        if value != 0 {
            // Digits in a row are one.
            if value != b'0' || last != b'0' {
                word = (word ^ u32::from(value)).wrapping_mul(0x0100_0193).rotate_left(5);
            }
        } else if last != 0 {
            words += 1;
            if words >= 3 {
                put(&mut sketch, first, before, word);
            }
            (first, before, word) = (before, word, 0x811c_9dc5);
        }
        last = value;
    }
    (words >= 3).then(|| dense(sketch))
}

#[inline]
fn put(sketch: &mut Signature, first: u32, second: u32, third: u32) {
    let mixed = first.rotate_left(7).wrapping_add(second).wrapping_mul(0x9e37_79b1).rotate_left(11) ^ third;
    let mixed = (mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca77);
    let mixed = (mixed ^ mixed >> 13).wrapping_mul(0xc2b2_ae3d);
    let bucket = &mut sketch[mixed as usize >> 25];
    *bucket = (*bucket).min(mixed & 0x01ff_ffff);
}

/// Fill empty buckets from the next full one, marked by how far away it is.
fn dense(sketch: Signature) -> Signature {
    std::array::from_fn(|at| {
        let full = (0..SIZE).find(|step| sketch[(at + step) % SIZE] != EMPTY).unwrap_or(0);
        sketch[(at + full) % SIZE].wrapping_add((full as u32) << 25)
    })
}

/// Shared runs of words among all of both, in thousandths, by estimate.
pub fn likeness(a: &Signature, b: &Signature) -> u32 {
    a.iter().zip(b).filter(|(a, b)| a == b).count() as u32 * 1000 / SIZE as u32
}

/// Which block last had a band. Of fixed size, made when first needed; a later block takes an earlier one's slot.
#[derive(Debug, Default)]
pub struct Bands {
    slots: Vec<(u32, u32)>,
}

impl Bands {
    /// Blocks that share a band with this sketch, each once; the sketch is then known as that of `id`.
    pub fn meet(&mut self, id: u32, sketch: &Signature) -> Vec<u32> {
        if self.slots.is_empty() {
            self.slots = vec![(0, u32::MAX); SLOTS];
        }
        let mut met = Vec::with_capacity(BANDS);
        for (number, band) in sketch.as_chunks::<ROWS>().0.iter().enumerate() {
            let key = band
                .iter()
                .fold(number as u32, |key, row| (key.rotate_left(9) ^ row).wrapping_mul(0x9e37_79b1));
            let slot = &mut self.slots[(key >> 16) as usize % SLOTS];
            if slot.0 == key && slot.1 != u32::MAX {
                met.push(slot.1);
            }
            *slot = (key, id);
        }
        met.sort_unstable();
        met.dedup();
        met
    }
}
