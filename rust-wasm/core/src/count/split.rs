//! The pretokenizer: where the next piece of a text ends.
//!
//! o200k_base's pattern is an ordered choice; each function below is one of its alternatives, with the
//! backtracking of a regex engine worked out by hand:
//!
//! 1. `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?`
//! 2. the same with `[upper]+[lower]*`
//! 3. `\p{N}{1,3}`
//! 4. ` ?[^\s\p{L}\p{N}]+[\r\n/]*`
//! 5. `\s*[\r\n]+`, 6. `\s+(?!\S)`, 7. `\s+`

use super::classes::{LOWER, MARK, NEWLINE, NUMBER, SPACE, UPPER, class_at, is_letter, is_prefix, is_symbol};

/// End of the piece that starts at `start`, which is before the end of `bytes` (valid UTF-8).
pub fn piece_end(bytes: &[u8], start: usize) -> usize {
    let (class, length) = class_at(bytes, start);
    if let Some(end) = word_end(bytes, start, class, length) {
        return contraction_end(bytes, end);
    }
    other_end(bytes, start, class, length, b"\r\n/")
}

/// The same for cl100k_base's pattern, whose words do not care about case and stand apart from contractions:
/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|` and white space as above.
pub fn piece_end_cl100k(bytes: &[u8], start: usize) -> usize {
    let contraction = contraction_end(bytes, start);
    if contraction > start {
        return contraction;
    }
    let (class, length) = class_at(bytes, start);
    let word = if is_prefix(class) { start + length } else { start };
    let end = skip_letters(bytes, word);
    if end > word {
        return end;
    }
    other_end(bytes, start, class, length, b"\r\n")
}

fn skip_letters(bytes: &[u8], mut at: usize) -> usize {
    loop {
        let (class, length) = class_at(bytes, at);
        if !is_letter(class) {
            return at;
        }
        at += length;
    }
}

/// Numbers, symbols and white space.
fn other_end(bytes: &[u8], start: usize, class: u8, length: usize, tail: &[u8]) -> usize {
    if class & NUMBER != 0 {
        return number_end(bytes, start + length);
    }
    if is_symbol(class) {
        return symbols_end(bytes, start + length, tail);
    }
    let (second, width) = class_at(bytes, start + length);
    if bytes[start] == b' ' && width > 0 && is_symbol(second) {
        return symbols_end(bytes, start + length + width, tail);
    }
    space_end(bytes, start)
}

/// What the two runs of a word come to from one starting point.
enum Run {
    /// Alternative 1: an upper run, then at least one lower.
    Lower(usize),
    /// Alternative 2: an upper run only.
    Upper(usize),
    None,
}

/// The first alternative goes before the second, and within each the form with a prefix before the one without;
/// without one, a mark can begin the run that it could not be the prefix of.
fn word_end(bytes: &[u8], start: usize, class: u8, length: usize) -> Option<usize> {
    if is_letter(class) {
        return match run(bytes, start) {
            Run::Lower(end) | Run::Upper(end) => Some(end),
            Run::None => None,
        };
    }
    if !is_prefix(class) {
        return None;
    }
    match run(bytes, start + length) {
        Run::Lower(end) => Some(end),
        _ if class & MARK != 0 => match run(bytes, start) {
            Run::Lower(end) | Run::Upper(end) => Some(end),
            Run::None => None,
        },
        Run::Upper(end) => Some(end),
        Run::None => None,
    }
}

/// `[upper]*[lower]+`, else `[upper]+`. The greedy upper run may have to give characters back that fit both
/// runs (Lm, Lo, M): then the word ends after the last of those.
fn run(bytes: &[u8], start: usize) -> Run {
    let (mut at, mut after_both) = (start, None);
    let (mut class, mut length) = class_at(bytes, at);
    while class & UPPER != 0 {
        at += length;
        if class & LOWER != 0 {
            after_both = Some(at);
        }
        (class, length) = class_at(bytes, at);
    }
    if class & LOWER != 0 {
        return Run::Lower(skip(bytes, at + length, LOWER));
    }
    match after_both {
        Some(end) => Run::Lower(end),
        None if at > start => Run::Upper(at),
        None => Run::None,
    }
}

/// First position from `at` on whose class has none of the bits.
fn skip(bytes: &[u8], mut at: usize, bits: u8) -> usize {
    loop {
        let (class, length) = class_at(bytes, at);
        if class & bits == 0 {
            return at;
        }
        at += length;
    }
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)?`; without regard to case, U+017F (C5 BF) is an s.
fn contraction_end(bytes: &[u8], end: usize) -> usize {
    if bytes.get(end) != Some(&b'\'') {
        return end;
    }
    let letter = |i: usize| bytes.get(end + i).map_or(0, |b| b | 0x20);
    match (letter(1), letter(2)) {
        (b's' | b't' | b'm' | b'd', _) => end + 2,
        (b'r' | b'v', b'e') | (b'l', b'l') => end + 3,
        _ if bytes.get(end + 1..end + 3) == Some(&[0xC5, 0xBF]) => end + 3,
        _ => end,
    }
}

fn number_end(bytes: &[u8], mut at: usize) -> usize {
    for _ in 0..2 {
        let (class, length) = class_at(bytes, at);
        if class & NUMBER == 0 {
            break;
        }
        at += length;
    }
    at
}

/// The rest of `[^\s\p{L}\p{N}]+`, then any bytes of `tail`.
fn symbols_end(bytes: &[u8], mut at: usize, tail: &[u8]) -> usize {
    loop {
        let (class, length) = class_at(bytes, at);
        if length == 0 || !is_symbol(class) {
            break;
        }
        at += length;
    }
    while bytes.get(at).is_some_and(|byte| tail.contains(byte)) {
        at += 1;
    }
    at
}

/// A run of white space: up to its last newline, else without its last character if text follows.
fn space_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut last, mut after_newline) = (start, start, None);
    loop {
        let (class, length) = class_at(bytes, at);
        if class & SPACE == 0 {
            break;
        }
        last = at;
        at += length;
        if class & NEWLINE != 0 {
            after_newline = Some(at);
        }
    }
    match after_newline {
        Some(end) => end,
        None if at == bytes.len() || last == start => at,
        None => last,
    }
}
