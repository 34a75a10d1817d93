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
        let mut text = text;
        if let Some(first) = self.first_boundary(text) {
            // Only what lies between two appends is copied.
            let (head, rest) = text.split_at(first);
            self.tail.extend_from_slice(head);
            self.settled += counter.count(&self.tail);
            self.tail.clear();
            let last = (1..rest.len()).rev().find(|&at| is_boundary(rest[at - 1], rest[at])).unwrap_or(0);
            self.settled += counter.count(&rest[..last]);
            text = &rest[last..];
        }
        self.tail.extend_from_slice(text);
        self.settled + counter.count(&self.tail)
    }

    /// The first position in what is new where pieces end whatever follows.
    fn first_boundary(&self, text: &[u8]) -> Option<usize> {
        let before = self.tail.last().into_iter().chain(text);
        let at = before
            .zip(text.iter().skip(usize::from(self.tail.is_empty())))
            .position(|(a, b)| is_boundary(*a, *b))?;
        Some(at + usize::from(self.tail.is_empty()))
    }
}

/// Do pieces end between these two bytes whatever stands around them? Before a space that stands after an ASCII letter
/// or digit (no piece holds such a pair), and after a newline before what is neither white space nor a slash (no piece
/// goes on there).
fn is_boundary(before: u8, after: u8) -> bool {
    match (before, after) {
        (before, b' ') => before.is_ascii_alphanumeric(),
        (b'\n', after) => after.is_ascii_graphic() && after != b'/',
        _ => false,
    }
}
