//! Conflicts between writers, as numbers: one `Claims` per file and base version.

use std::cell::RefCell;

use edgeloop_core::merge::{Change, Claims, Clash, ClashKind};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::buffers::{with_input, write_output};
use crate::frames::numbers;
use crate::kept::Kept;

/// No such file, or changes that are none.
const MISUSE: u32 = u32::MAX;
/// A change, little-endian: writer, sort (0 lines, 1 delete, 2 create, 3 rename), first line, line after the last (u32 each),
/// hash of the content or the path (u64).
const CHANGE: usize = 24;

thread_local! {
    static ALL: RefCell<Kept<Claims>> = const { RefCell::new(Kept::new()) };
}

/// Start a file's claims; those of that number are forgotten.
#[wasm_bindgen]
pub fn claims_open(key: u32, _len: u32) -> u32 {
    ALL.with_borrow_mut(|all| all.insert(key, Claims::default()));
    0
}

/// Forget a file's claims.
#[wasm_bindgen]
pub fn claims_close(key: u32, _len: u32) -> u32 {
    ALL.with_borrow_mut(|all| all.remove(key));
    0
}

/// Record the changes in the input, one after the other; all or, where one is none, nothing. Leaves five numbers a clash: which
/// change (from 0), the other's writer, the kind (0 lines, 1 deleted, 2 created, 3 renamed, 4 moved), and both's lines, from and to.
#[wasm_bindgen]
pub fn claims_add(key: u32, len: u32) -> u32 {
    with_claims(key, |claims| {
        with_input(len, |input| {
            let (changes, rest) = input.as_chunks::<CHANGE>();
            let changes: Option<Vec<(u32, Change)>> = changes.iter().map(change).collect();
            let (Some(changes), true) = (changes, rest.is_empty()) else { return MISUSE };
            write_output(|out| {
                for (index, (writer, change)) in changes.into_iter().enumerate() {
                    claims.add(writer, change).iter().for_each(|clash| write(out, index, clash));
                }
            })
        })
    })
}

/// Forget a writer's changes.
#[wasm_bindgen]
pub fn claims_remove(key: u32, writer: u32, _len: u32) -> u32 {
    with_claims(key, |claims| {
        claims.remove(writer);
        0
    })
}

fn with_claims(key: u32, f: impl FnOnce(&mut Claims) -> u32) -> u32 {
    ALL.with_borrow_mut(|all| all.get(key).map_or(MISUSE, f))
}

fn change(bytes: &[u8; CHANGE]) -> Option<(u32, Change)> {
    let [writer, sort, start, end, low, high] = std::array::from_fn(|i| {
        bytes.as_chunks::<4>().0.get(i).map_or(0, |&number| u32::from_le_bytes(number))
    });
    let hash = u64::from(high) << 32 | u64::from(low);
    let change = match sort {
        0 if start <= end => Change::Lines { start, end, content: hash },
        1 => Change::Delete,
        2 => Change::Create { content: hash },
        3 => Change::Rename { path: hash },
        _ => return None,
    };
    Some((writer, change))
}

fn write(out: &mut Vec<u8>, index: usize, clash: &Clash) {
    let (kind, start, end) = match clash.kind {
        ClashKind::Lines { start, end } => (0, start, end),
        ClashKind::Deleted => (1, 0, 0),
        ClashKind::Created => (2, 0, 0),
        ClashKind::Renamed => (3, 0, 0),
        ClashKind::Moved => (4, 0, 0),
    };
    numbers(out, [index as u32, clash.first, kind, start, end].map(|number| number as usize));
}
