//! Stream decoders, as numbers: a handle per stream.
//!
//! What `decode_take` leaves in the output buffer, all numbers u32 little-endian: how many records; per record `tag, block,
//! off, bytes, units, deltas` (see `edgeloop_core::decode::out`); then the records' texts in order, as one UTF-8 text, so
//! that the reader decodes it once and cuts it by `units` (UTF-16) or `bytes` (UTF-8). Nothing to say is length 0.

use std::cell::RefCell;

use edgeloop_core::decode::out::Out;
use edgeloop_core::decode::{Decoder, Dialect};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::buffers::{with_input, write_output};

/// No such dialect, or no such handle.
const MISUSE: u32 = u32::MAX;

thread_local! {
    static DECODERS: RefCell<Vec<Option<Decoder>>> = const { RefCell::new(Vec::new()) };
}

/// Open a decoder for a dialect's number and return its handle; `args` != 0 asks for argument bytes too.
#[wasm_bindgen]
pub fn decode_new(dialect: u32, args: u32, _len: u32) -> u32 {
    let Some(dialect) = Dialect::from_number(dialect) else { return MISUSE };
    DECODERS.with_borrow_mut(|slots| {
        let free = slots.iter().position(Option::is_none).unwrap_or(slots.len());
        slots.resize_with(slots.len().max(free + 1), || None);
        slots[free] = Some(Decoder::new(dialect, args != 0));
        free as u32
    })
}

/// Feed the input to a decoder; says how soon to take the records: 0 no hurry, 1 something to show, 2 a call
/// or the whole is complete.
#[wasm_bindgen]
pub fn decode_feed(handle: u32, len: u32) -> u32 {
    with_decoder(handle, |decoder| with_input(len, |bytes| decoder.feed(bytes) as u32))
}

/// Tell a decoder that there are no more bytes; answers as `decode_feed`.
#[wasm_bindgen]
pub fn decode_finish(handle: u32, _len: u32) -> u32 {
    with_decoder(handle, |decoder| decoder.finish() as u32)
}

/// Take the records since the last time: leaves them in the output and returns their length.
#[wasm_bindgen]
pub fn decode_take(handle: u32, _len: u32) -> u32 {
    with_decoder(handle, |decoder| decoder.take(write_records))
}

/// The blocks so far as JSON; `open_only` != 0: only text and reasoning not complete yet.
#[wasm_bindgen]
pub fn decode_partial(handle: u32, open_only: u32, _len: u32) -> u32 {
    with_decoder(handle, |decoder| {
        let json = decoder.partial(open_only != 0);
        write_output(|output| output.extend_from_slice(json.as_bytes()))
    })
}

/// Give a decoder's memory back. Its handle may be given out again.
#[wasm_bindgen]
pub fn decode_free(handle: u32, _len: u32) -> u32 {
    DECODERS.with_borrow_mut(|slots| match slots.get_mut(handle as usize).map(Option::take) {
        Some(Some(_)) => 0,
        _ => MISUSE,
    })
}

fn with_decoder(handle: u32, f: impl FnOnce(&mut Decoder) -> u32) -> u32 {
    DECODERS.with_borrow_mut(|slots| match slots.get_mut(handle as usize) {
        Some(Some(decoder)) => f(decoder),
        _ => MISUSE,
    })
}

fn write_records(out: &Out) -> u32 {
    if out.records.is_empty() {
        return 0;
    }
    write_output(|output| {
        output.extend_from_slice(&(out.records.len() as u32).to_le_bytes());
        for record in &out.records {
            let tag = record.tag as u32;
            for number in [tag, record.block, record.off, record.bytes, record.units, record.deltas] {
                output.extend_from_slice(&number.to_le_bytes());
            }
        }
        output.extend_from_slice(out.text.as_bytes());
    })
}
