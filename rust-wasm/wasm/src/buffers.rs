//! The two shared buffers. Decides who owns the bytes in flight; knows nothing of their meaning.

use std::cell::RefCell;

use wasm_bindgen::prelude::wasm_bindgen;

/// Above this a buffer is given back after use: wasm memory never shrinks, but the allocator can reuse it.
const KEEP: usize = 1 << 20;

thread_local! {
    static INPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static OUTPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Make room for `len` bytes of input and return their address.
#[wasm_bindgen]
pub fn input(len: u32) -> u32 {
    INPUT.with_borrow_mut(|buffer| {
        if buffer.len() < len as usize {
            // A fresh buffer, not `resize`: the old bytes need not be copied.
            *buffer = Vec::new();
            let size = if len as usize > KEEP { len as usize } else { (len as usize).next_power_of_two() };
            *buffer = vec![0; size.max(4096)];
        }
        buffer.as_ptr() as u32
    })
}

/// Address of the last result.
#[wasm_bindgen]
pub fn output() -> u32 {
    OUTPUT.with_borrow(|buffer| buffer.as_ptr() as u32)
}

/// Give back buffers that one large call has left behind.
#[wasm_bindgen]
pub fn trim() {
    for buffer in [&INPUT, &OUTPUT] {
        buffer.with_borrow_mut(|bytes| {
            if bytes.capacity() > KEEP {
                *bytes = Vec::new();
            }
        });
    }
}

/// Run `f` over the first `len` bytes of the input; a length the caller never reserved is an empty slice.
pub fn with_input<R>(len: u32, f: impl FnOnce(&[u8]) -> R) -> R {
    INPUT.with_borrow(|buffer| f(buffer.get(..len as usize).unwrap_or_default()))
}

/// Let `f` write a result into the emptied output buffer; returns its length in bytes.
pub fn write_output(f: impl FnOnce(&mut Vec<u8>)) -> u32 {
    OUTPUT.with_borrow_mut(|buffer| {
        buffer.clear();
        f(buffer);
        buffer.len() as u32
    })
}
