//! Compression analysis: one memory per conversation, judgements as numbers and texts.

use std::cell::RefCell;

use edgeloop_core::analysis::{Analysis, Entry, Role, signature, templates};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::buffers::{with_input, write_output};
use crate::count::with_counter;
use crate::frames;
use crate::kept::Kept;

/// No such conversation, no token table, or frames that are none.
const MISUSE: u32 = u32::MAX;
/// Frames of a block: role (one byte: 0 text, 1 call, 2 result), name, tool, path, command, data.
const PARTS: usize = 6;

thread_local! {
    static ALL: RefCell<Kept<Analysis>> = const { RefCell::new(Kept::new()) };
}

/// Start a conversation's memory of up to `limit` bytes of texts; one of that number is forgotten.
#[wasm_bindgen]
pub fn analysis_open(key: u32, limit: u32, _len: u32) -> u32 {
    ALL.with_borrow_mut(|all| all.insert(key, Analysis::new(limit as usize)));
    0
}

/// Forget a conversation's memory.
#[wasm_bindgen]
pub fn analysis_close(key: u32, _len: u32) -> u32 {
    ALL.with_borrow_mut(|all| all.remove(key));
    0
}

/// Judge `n` blocks, one after the other. Leaves their packed plans (`Plan::write`).
#[wasm_bindgen]
pub fn analysis_enter(key: u32, n: u32, len: u32) -> u32 {
    with_counter(|counter| {
        ALL.with_borrow_mut(|all| {
            with_input(len, |input| {
                let count = (n as usize).checked_mul(PARTS);
                let (Some(analysis), Some(parts)) =
                    (all.get(key), count.and_then(|n| frames::read(n, input)))
                else {
                    return MISUSE;
                };
                let Some(entries) =
                    parts.as_chunks::<PARTS>().0.iter().map(entry).collect::<Option<Vec<_>>>()
                else {
                    return MISUSE;
                };
                write_output(|out| entries.iter().for_each(|entry| analysis.enter(counter, entry).write(out)))
            })
        })
    })
}

/// The lines that a template's replacement stands for, which are `length` bytes; refused where they are not.
#[wasm_bindgen]
pub fn analysis_unfold(length: u32, len: u32) -> u32 {
    let lines = with_input(len, |text| templates::unfold(text, length as usize));
    lines.map_or(MISUSE, |lines| write_output(|out| *out = lines))
}

/// Put runs of lines of one shape in their short form, whether or not that saves tokens; leaves the text.
#[wasm_bindgen]
pub fn analysis_templates(len: u32) -> u32 {
    with_input(len, |text| {
        write_output(|out| {
            let mut at = 0;
            templates::fold(text, |range, replacement| {
                out.extend_from_slice(&text[at..range.start]);
                out.extend_from_slice(&replacement);
                at = range.end;
            });
            out.extend_from_slice(&text[at..]);
        })
    })
}

/// The sketch of a text (128 numbers), or nothing for fewer than three words.
#[wasm_bindgen]
pub fn analysis_sketch(len: u32) -> u32 {
    let sketch = with_input(len, signature);
    write_output(|out| frames::numbers(out, sketch.into_iter().flatten().map(|row| row as usize)))
}

fn entry<'a>([role, name, tool, path, command, data]: &[&'a [u8]; PARTS]) -> Option<Entry<'a>> {
    let role = match role {
        [0] => Role::Text,
        [1] => Role::Call,
        [2] => Role::Result,
        _ => return None,
    };
    Some(Entry { role, name, tool, path, command, data })
}
