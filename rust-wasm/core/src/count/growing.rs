//! Counting a text that grows at its end: each append costs what is new, not the whole again.

use super::Counter;

/// A text's tokens so far. Keeps only the bytes after the last boundary that no continuation can move.
#[derive(Default)]
pub struct Growing {
    settled: u32,
    tail: Vec<u8>,
}

impl Growing {
    /// Append to the text; returns the tokens of the whole, as `Counter::count` would of all of it at once.
    pub fn append(&mut self, counter: &mut Counter, text: &[u8]) -> u32 {
        let seen = self.tail.len().saturating_sub(1);
        self.tail.extend_from_slice(text);
        if let Some(boundary) = last_boundary(&self.tail, seen) {
            self.settled += counter.count(&self.tail[..boundary]);
            self.tail.drain(..boundary);
        }
        self.settled + counter.count(&self.tail)
    }
}

/// The last position above `from` where pieces end whatever follows: before a space that stands after an ASCII
/// letter or digit (no piece holds such a pair), or after a newline before what is neither white space nor a
/// slash (no piece goes on there).
fn last_boundary(text: &[u8], from: usize) -> Option<usize> {
    (from + 1..text.len()).rev().find(|&at| match (text[at - 1], text[at]) {
        (before, b' ') => before.is_ascii_alphanumeric(),
        (b'\n', after) => after.is_ascii_graphic() && after != b'/',
        _ => false,
    })
}
