//! What the checks share.

/// The documents of a corpus: their number, their lengths, their bytes (u32, little-endian).
pub fn documents(data: &[u8]) -> Option<Vec<&[u8]>> {
    let (number, rest) = data.split_first_chunk::<4>()?;
    let (lengths, mut rest) = rest.split_at_checked(u32::from_le_bytes(*number) as usize * 4)?;
    let mut documents = Vec::new();
    for length in lengths.as_chunks::<4>().0 {
        let (document, tail) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        documents.push(document);
        rest = tail;
    }
    Some(documents)
}
