//! Comparing and scanning bytes eight at a time: wasm has no fast memcmp of its own.

const ONES: u64 = 0x0101_0101_0101_0101;

/// Length of the common prefix.
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let (chunks_a, chunks_b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    for (i, (x, y)) in chunks_a.iter().zip(chunks_b).enumerate() {
        let difference = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if difference != 0 {
            return 8 * i + difference.trailing_zeros() as usize / 8;
        }
    }
    let done = 8 * chunks_a.len().min(chunks_b.len());
    done + a[done..].iter().zip(&b[done..]).take_while(|(x, y)| x == y).count()
}

/// Length of the common suffix.
pub fn common_suffix(a: &[u8], b: &[u8]) -> usize {
    let (chunks_a, chunks_b) = (a.as_rchunks::<8>().1, b.as_rchunks::<8>().1);
    for (i, (x, y)) in chunks_a.iter().rev().zip(chunks_b.iter().rev()).enumerate() {
        let difference = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if difference != 0 {
            return 8 * i + difference.leading_zeros() as usize / 8;
        }
    }
    let done = 8 * chunks_a.len().min(chunks_b.len());
    let (a, b) = (&a[..a.len() - done], &b[..b.len() - done]);
    done + a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count()
}

/// Are they equal?
#[inline]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && common_prefix(a, b) == a.len()
}

/// End of the line that starts `text` (after its newline, or of the text), and a hash of its bytes.
#[inline]
pub fn line(text: &[u8]) -> (usize, u64) {
    let mut hash = 0;
    for (i, chunk) in text.as_chunks::<8>().0.iter().enumerate() {
        let word = u64::from_le_bytes(*chunk);
        let other = word ^ (ONES * 0x0A);
        // The lowest set bit marks the first newline; higher ones may be false.
        let newline = other.wrapping_sub(ONES) & !other & (ONES << 7);
        if newline != 0 {
            let bits = newline.trailing_zeros() + 1;
            return (8 * i + bits as usize / 8, mix(hash, word << (64 - bits)));
        }
        hash = mix(hash, word);
    }
    let rest = text.as_chunks::<8>().1;
    let length = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| at + 1);
    let word = rest[..length].iter().fold(0, |word, &byte| word >> 8 | u64::from(byte) << 56);
    let end = text.len() - rest.len() + length;
    (end, if length == 0 { mix(hash, 0) } else { mix(hash, word) })
}

#[inline(always)]
fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
