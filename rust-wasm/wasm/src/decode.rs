//! Stream decoders, as numbers: a key per stream.
//!
//! What `decode_take` leaves in the output buffer, all numbers u32 little-endian: how many records; per record `tag, block,
//! off, bytes, units, deltas` (see `edgeloop_core::decode::out`); then the records' texts in order, as one UTF-8 text, so
//! that the reader decodes it once and cuts it by `units` (UTF-16) or `bytes` (UTF-8). Nothing to say is length 0.

use std::cell::RefCell;

use edgeloop_core::decode::out::Out;
use edgeloop_core::decode::{Decoder, Dialect};
use wasm_bindgen::prelude::wasm_bindgen;

use crate::buffers::{with_input, write_output};
use crate::kept::Kept;

/// No such dialect, or no such key.
const MISUSE: u32 = u32::MAX;

thread_local! {
    static DECODERS: RefCell<Kept<Decoder>> = const { RefCell::new(Kept::new()) };
}

/// Open a decoder for a dialect's number; `args` != 0 asks for argument bytes too. One of that key is forgotten.
#[wasm_bindgen]
pub fn decode_open(key: u32, dialect: u32, args: u32, _len: u32) -> u32 {
    let Some(dialect) = Dialect::from_number(dialect) else { return MISUSE };
    DECODERS.with_borrow_mut(|decoders| decoders.insert(key, Decoder::new(dialect, args != 0)));
    0
}

/// Feed the input to a decoder; says how soon to take the records: 0 no hurry, 1 something to show, 2 a call
/// or the whole is complete.
#[wasm_bindgen]
pub fn decode_feed(key: u32, len: u32) -> u32 {
    with_decoder(key, |decoder| with_input(len, |bytes| decoder.feed(bytes) as u32))
}

/// Tell a decoder that there are no more bytes; answers as `decode_feed`.
#[wasm_bindgen]
pub fn decode_finish(key: u32, _len: u32) -> u32 {
    with_decoder(key, |decoder| decoder.finish() as u32)
}

/// Take the records since the last time: leaves them in the output and returns their length.
#[wasm_bindgen]
pub fn decode_take(key: u32, _len: u32) -> u32 {
    with_decoder(key, |decoder| decoder.take(write_records))
}

/// The blocks so far as JSON; `open_only` != 0: only text and reasoning not complete yet.
#[wasm_bindgen]
pub fn decode_partial(key: u32, open_only: u32, _len: u32) -> u32 {
    with_decoder(key, |decoder| {
        let json = decoder.partial(open_only != 0);
        write_output(|output| output.extend_from_slice(json.as_bytes()))
    })
}

/// Give a decoder's memory back.
#[wasm_bindgen]
pub fn decode_close(key: u32, _len: u32) -> u32 {
    DECODERS.with_borrow_mut(|decoders| if decoders.remove(key) { 0 } else { MISUSE })
}

fn with_decoder(key: u32, f: impl FnOnce(&mut Decoder) -> u32) -> u32 {
    DECODERS.with_borrow_mut(|decoders| decoders.get(key).map_or(MISUSE, f))
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
