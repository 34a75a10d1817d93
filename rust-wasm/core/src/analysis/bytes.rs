//! What a block is looked up by.

/// Words that are looked at.
const SAMPLES: usize = 16;

/// A hash of the length and of a few words spread over the bytes: as fast for a megabyte as for a line. It only
/// proposes; what it proposes is compared.
pub fn sample(bytes: &[u8]) -> u64 {
    let words = bytes.as_chunks::<8>().0;
    let every = words.len() / SAMPLES + 1;
    let some = words.iter().step_by(every).chain(bytes.last_chunk::<8>());
    some.fold(bytes.len() as u64, |hash, word| {
        (hash.rotate_left(23) ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

/// How many newlines there are.
pub fn newlines(text: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', text).count()
}
