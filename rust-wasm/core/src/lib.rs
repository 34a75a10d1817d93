//! Edgeloop's kernels: everything that costs per byte or per token.
//!
//! Pure functions and plain structs over bytes. This crate knows no binding, no JS, no Python, no clock
//! and no I/O; `wasm/` and `py/` forward to it. Input from outside is hostile: nothing here may panic on it.

#![forbid(unsafe_code)]

pub mod analysis;
pub mod count;
pub mod decode;
pub mod diff;
mod lanes;
pub mod merge;
