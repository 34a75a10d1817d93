//! Comparing and scanning bytes eight at a time: wasm has no fast memcmp of its own.

const ONES: u64 = 0x0101_0101_0101_0101;

/// Length of the common prefix.
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let (chunks_a, chunks_b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
    // Four words a step while all is equal; what differs is then found by single ones.
    let fours = chunks_a.as_chunks::<4>().0.iter().zip(chunks_b.as_chunks::<4>().0);
    let different = |(x, y): (&[[u8; 8]; 4], &[[u8; 8]; 4])| {
        (0..4).fold(0, |bits, i| bits | (word(&x[i]) ^ word(&y[i]))) != 0
    };
    let equal = 4 * fours.map(different).take_while(|different| !different).count();
    for (i, (x, y)) in chunks_a.iter().zip(chunks_b).enumerate().skip(equal) {
        let difference = word(x) ^ word(y);
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
    if a.len() != b.len() {
        return false;
    }
    // The last words overlap those before them, which costs less than going on byte by byte.
    match (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(x), Some(y)) => {
            let mut words = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
            word(x) == word(y) && words.all(|(x, y)| word(x) == word(y))
        }
        _ => short(a) == short(b),
    }
}

/// A hash of a line.
#[inline]
pub fn hash(line: &[u8]) -> u64 {
    let (Some(first), Some(last)) = (line.first_chunk(), line.last_chunk()) else {
        return mix(line.len() as u64, short(line));
    };
    // Two chains of multiplications run side by side.
    let (mut odd, mut even) = (line.len() as u64, word(first));
    for [a, b] in line.as_chunks::<8>().0.as_chunks::<2>().0 {
        odd = mix(odd, word(a));
        even = mix(even, word(b));
    }
    if let Some([a, ..]) = line.last_chunk::<16>().map(|end| end.as_chunks::<8>().0) {
        odd = mix(odd, word(a));
    }
    mix(mix(even, word(last)), odd)
}

#[inline(always)]
fn word(bytes: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*bytes)
}

/// Up to seven bytes as one word, different for all of one length.
#[inline(always)]
fn short(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(a), Some(b)) => u64::from(u32::from_le_bytes(*a)) | u64::from(u32::from_le_bytes(*b)) << 32,
        _ => bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
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
