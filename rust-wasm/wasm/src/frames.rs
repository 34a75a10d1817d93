//! Several byte strings in one: `n` lengths (u32, little-endian), then the bytes one after another.

/// Exactly `N` frames that fill the input.
pub fn fixed<const N: usize>(input: &[u8]) -> Option<[&[u8]; N]> {
    read(N, input)?.try_into().ok()
}

/// `n` frames that fill the input.
pub fn read(n: usize, input: &[u8]) -> Option<Vec<&[u8]>> {
    let (lengths, mut rest) = input.split_at_checked(n.checked_mul(4)?)?;
    let mut frames = Vec::with_capacity(n);
    for length in lengths.as_chunks::<4>().0 {
        let (frame, tail) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        frames.push(frame);
        rest = tail;
    }
    rest.is_empty().then_some(frames)
}

/// Write frames.
pub fn write(out: &mut Vec<u8>, frames: &[&[u8]]) {
    numbers(out, frames.iter().map(|frame| frame.len()));
    out.extend(frames.iter().copied().flatten());
}

/// Write numbers (u32, little-endian).
pub fn numbers(out: &mut Vec<u8>, numbers: impl IntoIterator<Item = usize>) {
    out.extend(numbers.into_iter().flat_map(|number| (number as u32).to_le_bytes()));
}
