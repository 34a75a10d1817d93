//! The wasm door: one-line forwards to `edgeloop-core` with numeric-only signatures.
//!
//! Bytes pass through two buffers that live in wasm memory (`buffers`): the caller asks `input(len)` for an
//! address, writes there, and calls a function that says how many of those bytes are its arguments; a
//! function with a bytes result leaves it in the output buffer and returns its length, and `output()`
//! gives the address. So there is no malloc and no copy per call, no pointer enters Rust (hence no `unsafe`),
//! and the module runs unchanged in V8 and in wasmtime. Calls never interleave: write, call, read, done.
//!
//! An address is good until the next call: memory may grow, and growth detaches every JS view of it.

#![forbid(unsafe_code)]

mod analysis;
mod buffers;
mod claims;
mod count;
mod decode;
mod diff;
mod frames;
mod kept;
