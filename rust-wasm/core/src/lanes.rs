//! Sixty-four bytes of text as bit masks: bit i of a mask says whether byte i is of that sort.
//!
//! One wasm SIMD form and one in plain 64-bit words: x86's intrinsics would need `unsafe`, and speed matters most
//! at the edge.

pub const WIDTH: usize = 64;

/// The sorts of bytes that the pretokenizer tells apart.
#[derive(Clone, Copy)]
pub struct Block {
    pub upper: u64,
    pub lower: u64,
    pub digit: u64,
    /// ASCII white space, newlines too.
    pub space: u64,
    /// CR and LF.
    pub newline: u64,
    /// Every other ASCII byte.
    pub symbol: u64,
    /// Not ASCII.
    pub high: u64,
}

impl Block {
    /// The block at `at`. Past the end of the text stand bytes that are not ASCII, which decide nothing.
    #[inline(always)]
    pub fn at(text: &[u8], at: usize) -> Self {
        let rest = text.get(at..).unwrap_or_default();
        match rest.first_chunk() {
            Some(bytes) => Self::new(bytes),
            None => {
                let mut bytes = [0xFF; WIDTH];
                bytes[..rest.len()].copy_from_slice(rest);
                Self::new(&bytes)
            }
        }
    }

    #[inline(always)]
    fn new(bytes: &[u8; WIDTH]) -> Self {
        let mut block = Self { upper: 0, lower: 0, digit: 0, space: 0, newline: 0, symbol: 0, high: 0 };
        for (i, lane) in bytes.as_chunks::<16>().0.iter().enumerate() {
            let (lane, shift) = (Lane::new(lane), 16 * i);
            block.upper |= lane.range(b'A', 26) << shift;
            block.lower |= lane.range(b'a', 26) << shift;
            block.digit |= lane.range(b'0', 10) << shift;
            block.space |= lane.either((b'\t', 5), (b' ', 1)) << shift;
            block.newline |= lane.either((b'\n', 1), (b'\r', 1)) << shift;
            block.high |= lane.high() << shift;
        }
        block.symbol = !(block.upper | block.lower | block.digit | block.space | block.high);
        block
    }
}

/// Which bytes are newlines.
#[inline(always)]
pub fn newlines(bytes: &[u8; WIDTH]) -> u64 {
    let lanes = bytes.as_chunks::<16>().0.iter().enumerate();
    lanes.fold(0, |mask, (i, lane)| mask | Lane::new(lane).range(b'\n', 1) << (16 * i))
}

#[cfg(target_arch = "wasm32")]
struct Lane(std::arch::wasm32::v128);

#[cfg(target_arch = "wasm32")]
impl Lane {
    #[inline(always)]
    fn new(bytes: &[u8; 16]) -> Self {
        let [low, high] = words(bytes);
        Self(std::arch::wasm32::u64x2(low, high))
    }

    /// Bytes from `first` to `first + count - 1`; all below 0x80.
    #[inline(always)]
    fn range(&self, first: u8, count: u8) -> u64 {
        u64::from(std::arch::wasm32::i8x16_bitmask(self.inside(first, count)))
    }

    /// Bytes of either range: one gathering of bits, which costs more than the comparisons.
    #[inline(always)]
    fn either(&self, a: (u8, u8), b: (u8, u8)) -> u64 {
        let both = std::arch::wasm32::v128_or(self.inside(a.0, a.1), self.inside(b.0, b.1));
        u64::from(std::arch::wasm32::i8x16_bitmask(both))
    }

    #[inline(always)]
    fn inside(&self, first: u8, count: u8) -> std::arch::wasm32::v128 {
        use std::arch::wasm32::{u8x16_lt, u8x16_splat, u8x16_sub};
        u8x16_lt(u8x16_sub(self.0, u8x16_splat(first)), u8x16_splat(count))
    }

    #[inline(always)]
    fn high(&self) -> u64 {
        u64::from(std::arch::wasm32::i8x16_bitmask(self.0))
    }
}

#[cfg(not(target_arch = "wasm32"))]
struct Lane([u64; 2]);

#[cfg(not(target_arch = "wasm32"))]
impl Lane {
    fn new(bytes: &[u8; 16]) -> Self {
        Self(words(bytes))
    }

    /// Adding 0x80 - n to a byte below 0x80 carries into its top bit when it is at least n.
    #[inline(always)]
    fn range(&self, first: u8, count: u8) -> u64 {
        self.gather(|word| {
            let bytes = word & (ONES * 0x7F);
            let from = bytes + ONES * u64::from(0x80 - first);
            let after = bytes + ONES * u64::from(0x80 - first - count);
            from & !after & !word
        })
    }

    #[inline(always)]
    fn either(&self, a: (u8, u8), b: (u8, u8)) -> u64 {
        self.range(a.0, a.1) | self.range(b.0, b.1)
    }

    #[inline(always)]
    fn high(&self) -> u64 {
        self.gather(|word| word)
    }

    /// The top bits of the eight bytes of each word, side by side.
    #[inline(always)]
    fn gather(&self, f: impl Fn(u64) -> u64) -> u64 {
        let bits = |word| (f(word) >> 7 & ONES).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits(self.0[0]) | bits(self.0[1]) << 8
    }
}

#[cfg(not(target_arch = "wasm32"))]
const ONES: u64 = 0x0101_0101_0101_0101;

/// Sixteen bytes as two little-endian words.
#[inline(always)]
fn words(bytes: &[u8; 16]) -> [u64; 2] {
    let all = u128::from_le_bytes(*bytes);
    [all as u64, (all >> 64) as u64]
}
