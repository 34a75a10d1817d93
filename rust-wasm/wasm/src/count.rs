//! Token counting, as numbers.

use std::cell::RefCell;

use edgeloop_core::count::{Counter, Growing, Pairs, Pattern, TableError};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::buffers::{trim, with_input, write_output};
use crate::frames;
use crate::kept::Kept;

/// No token table is loaded, no such text, or the batch's lengths are not those of its bytes.
const MISUSE: u32 = u32::MAX;

thread_local! {
    static COUNTER: RefCell<Option<Counter>> = const { RefCell::new(None) };
    static GROWING: RefCell<Kept<Growing>> = const { RefCell::new(Kept::new()) };
}

/// Load the token table that is in the input: 0, or 1 for a wrong size, 2 for an impossible id.
/// `pattern`: 0 that of o200k_base, 1 that of cl100k_base.
#[wasm_bindgen]
pub fn count_load(pattern: u32, len: u32) -> u32 {
    let pattern = if pattern == 0 { Pattern::O200k } else { Pattern::Cl100k };
    let pairs = with_input(len, Pairs::new);
    // The caches may then lie where the table's bytes were.
    trim();
    match pairs {
        Ok(pairs) => COUNTER.with_borrow_mut(|slot| *slot = Some(Counter::with_pattern(pairs, pattern))),
        Err(TableError::Size(_)) => return 1,
        Err(TableError::Forward(_)) => return 2,
    }
    0
}

/// Tokens of the input.
#[wasm_bindgen]
pub fn count_tokens(len: u32) -> u32 {
    with_counter(|counter| with_input(len, |text| counter.count(text)))
}

/// Tokens of each of `n` texts: the input is `n` lengths (u32, little-endian), then the texts' bytes.
/// Leaves `n` counts (u32, little-endian) in the output and returns their length in bytes.
#[wasm_bindgen]
pub fn count_batch(n: u32, len: u32) -> u32 {
    with_counter(|counter| with_input(len, |input| batch(counter, n as usize, input).unwrap_or(MISUSE)))
}

/// The longest prefix of whole pieces of the input within `limit` tokens.
/// Leaves its length in bytes and its tokens (u32 each) in the output and returns their length in bytes.
#[wasm_bindgen]
pub fn count_prefix(limit: u32, len: u32) -> u32 {
    with_counter(|counter| {
        with_input(len, |text| {
            // What is not UTF-8 ends the prefix: past it the lengths would be those of another text.
            let valid = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
            let (bytes, tokens) = counter.prefix_within(valid, limit);
            write_output(|out| out.extend([bytes as u32, tokens].map(u32::to_le_bytes).as_flattened()))
        })
    })
}

/// Start a text that grows; one of that number is forgotten.
#[wasm_bindgen]
pub fn growing_open(key: u32, _len: u32) -> u32 {
    GROWING.with_borrow_mut(|texts| texts.insert(key, Growing::default()));
    0
}

/// Append the input to a growing text; returns the tokens of the whole.
#[wasm_bindgen]
pub fn growing_append(key: u32, len: u32) -> u32 {
    with_counter(|counter| {
        GROWING.with_borrow_mut(|texts| {
            texts.get(key).map_or(MISUSE, |text| with_input(len, |more| text.append(counter, more)))
        })
    })
}

/// Forget a growing text.
#[wasm_bindgen]
pub fn growing_close(key: u32, _len: u32) -> u32 {
    GROWING.with_borrow_mut(|texts| texts.remove(key));
    0
}

/// The loaded counter.
pub fn with_counter(f: impl FnOnce(&mut Counter) -> u32) -> u32 {
    COUNTER.with_borrow_mut(|slot| slot.as_mut().map_or(MISUSE, f))
}

fn batch(counter: &mut Counter, n: usize, input: &[u8]) -> Option<u32> {
    let texts = frames::read(n, input)?;
    Some(write_output(|out| frames::numbers(out, texts.iter().map(|text| counter.count(text) as usize))))
}
