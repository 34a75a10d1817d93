//! Character classes of the pretokenizer, by code point.
//!
//! Made by `gen/tables.py` from tiktoken's own regex engine, so that both agree on the Unicode version.

/// Lu, Lt; and, with `LOWER`, everything that fits either run of a word.
pub const UPPER: u8 = 1;
/// Ll; and, with `UPPER`, everything that fits either run of a word.
pub const LOWER: u8 = 2;
/// M: fits both runs of a word but is no letter. Always with `UPPER` and `LOWER`.
pub const MARK: u8 = 4;
/// N.
pub const NUMBER: u8 = 8;
/// White_Space.
pub const SPACE: u8 = 16;
/// CR, LF. Always with `SPACE`.
pub const NEWLINE: u8 = 32;

const BLOCKS: usize = 0x1100;
static TABLE: &[u8; 40_192] = include_bytes!("classes.bin");

/// Class bits and length in bytes of the character at `at`; (0, 0) at the end of the text.
///
/// `bytes` is valid UTF-8 and `at` one of its boundaries.
pub fn class_at(bytes: &[u8], at: usize) -> (u8, usize) {
    let byte = |i: usize| bytes.get(at + i).map_or(0, |&b| usize::from(b));
    let low = |i: usize| byte(i) & 0x3F;
    let first = byte(0);
    let (code, length) = match first {
        0..0x80 => (first, usize::from(at < bytes.len())),
        0x80..0xE0 => ((first & 0x1F) << 6 | low(1), 2),
        0xE0..0xF0 => ((first & 0x0F) << 12 | low(1) << 6 | low(2), 3),
        _ => ((first & 0x07) << 18 | low(1) << 12 | low(2) << 6 | low(3), 4),
    };
    let block = usize::from(TABLE.get(code >> 8).copied().unwrap_or(0));
    (TABLE[BLOCKS + block * 256 + (code & 0xFF)], length)
}

/// Is it a letter (L)?
pub fn is_letter(class: u8) -> bool {
    class & (UPPER | LOWER) != 0 && class & MARK == 0
}

/// Does it fit `[^\s\p{L}\p{N}]`? Marks do.
pub fn is_symbol(class: u8) -> bool {
    class == 0 || class & MARK != 0
}

/// May it stand before a word and belong to it: `[^\r\n\p{L}\p{N}]`?
pub fn is_prefix(class: u8) -> bool {
    is_symbol(class) || class == SPACE
}
