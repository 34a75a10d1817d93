//! The pretokenizer's fast path: a piece of ASCII that lies, with the byte after it, in one block.
//!
//! The same alternatives as in `split`, on bit masks. Where the block does not decide, it answers `None`, and
//! `split` does.

use crate::lanes::{Block, WIDTH};

/// Length of the piece that starts `offset` bytes into the block, which is at `at` in the text.
#[inline(always)]
pub fn piece_length(block: &Block, offset: usize, text: &[u8], at: usize) -> Option<usize> {
    let bit = |mask: u64| mask >> offset & 1 != 0;
    let (upper, lower) = (block.upper >> offset, block.lower >> offset);
    let letters = upper | lower;
    // One byte that is neither letter, digit nor newline may stand before a word and belong to it.
    let prefix = !letters & 1;
    let length = if letters >> prefix & 1 != 0 && !bit(block.digit | block.newline | block.high) {
        let after_upper = prefix + run(upper >> prefix);
        let end = after_upper + run(lower >> after_upper);
        if text.get(at + end as usize) == Some(&b'\'') {
            return contraction_length(text, at, end as usize);
        }
        end
    } else if bit(block.symbol) {
        return symbols_length(block, offset, 0, text, at);
    } else if bit(block.space) {
        if block.symbol >> offset >> 1 & 1 != 0 && text.get(at) == Some(&b' ') {
            return symbols_length(block, offset, 1, text, at);
        }
        space_length(block, offset)?
    } else if bit(block.digit) {
        run(block.digit >> offset & 7)
    } else {
        return None;
    };
    decided(block, offset, length)
}

/// A piece counts where the byte after it is in the block and is ASCII.
#[inline(always)]
fn decided(block: &Block, offset: usize, length: u64) -> Option<usize> {
    let next = offset + length as usize;
    (next < WIDTH && block.high >> next & 1 == 0).then_some(length as usize)
}

#[inline(always)]
fn run(mask: u64) -> u64 {
    u64::from(mask.trailing_ones())
}

/// Undecided where a byte that might be part of U+017F or of another text follows the apostrophe.
fn contraction_length(text: &[u8], at: usize, end: usize) -> Option<usize> {
    let [first, second] = *text.get(at + end + 1..)?.first_chunk()?;
    match (first | 0x20, second | 0x20) {
        (0x80.., _) => None,
        (b's' | b't' | b'm' | b'd', _) => Some(end + 2),
        (b'r' | b'v', b'e') | (b'l', b'l') => Some(end + 3),
        _ => Some(end),
    }
}

/// After `start` bytes a run of symbols, then newlines and slashes (before a newline a slash is a symbol).
#[inline(always)]
fn symbols_length(block: &Block, offset: usize, start: u64, text: &[u8], at: usize) -> Option<usize> {
    let length = decided(block, offset, start + run(block.symbol >> offset >> start))?;
    if block.newline >> (offset + length) & 1 == 0 {
        return Some(length);
    }
    let rest = text.get(at + length..)?;
    let tail = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n' | b'/'));
    Some(length + tail.count())
}

/// A run of white space: up to its last newline, else without its last byte, for text follows.
#[inline(always)]
fn space_length(block: &Block, offset: usize) -> Option<u64> {
    let all = run(block.space >> offset);
    decided(block, offset, all)?;
    let newlines = block.newline >> offset & ((1 << all) - 1);
    Some(if newlines != 0 { 64 - u64::from(newlines.leading_zeros()) } else { (all - 1).max(1) })
}
