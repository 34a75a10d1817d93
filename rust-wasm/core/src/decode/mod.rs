//! Stream decoders: provider bytes in, operations out.
//!
//! A `Decoder` takes the body of one streamed answer in pieces of any size and keeps what they mean as records
//! (`out`) until they are taken. It decides when a text, a call, a response is complete, per dialect as its documentation and
//! recordings say. It knows no clock, no socket and no retry, and it never fails on the peer's bytes: what is
//! wrong with them is an operation too.
//!
//! Operations, each a JSON object tagged `op`; blocks are numbered by us in order of first appearance:
//! `start{response_id, model}`, `text{block, text}`, `reasoning{block, text}`, `args{block, bytes}`, `ping`,
//! `call_started{block, provider_id, name}`,
//! `call_complete{block, provider_id, name, arguments, invalid, echo}`: `arguments` is the JSON text of an object,
//! or, where `invalid` says why not, what came instead,
//! `block_complete{block, kind: text|reasoning|opaque, text, echo}`: `echo` is the JSON text to send back as it is,
//! `usage{..}` (see `usage`), once, before the end, `malformed{bytes}`: an event was no JSON and is lost, the rest goes on,
//! `restart{from_block}`: all blocks below are void; and last, once,
//! `stop{reason, raw}` or `error{class, code, message, retryable}`.

mod anthropic;
mod calls;
mod chat;
mod details;
mod failure;
mod gemini;
mod interactions;
pub mod json;
pub mod out;
mod responses;
pub mod sse;
pub mod text;
mod tree;
mod turn;
mod usage;

use std::fmt::Debug;

use anthropic::Anthropic;
use chat::Chat;
use failure::{Class, Failure};
use gemini::Gemini;
use interactions::Interactions;
use json::{Kind, Tape, Value};
use out::{Out, Urgency};
use responses::Responses;
use sse::{Frame, Sse};
use turn::Turn;

/// The wire formats we read. The discriminant is the number used at the wasm door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Dialect {
    Anthropic = 0,
    OpenaiChat = 1,
    OpenaiResponses = 2,
    Gemini = 3,
    WorkersAi = 4,
    GeminiInteractions = 5,
}

impl Dialect {
    pub const ALL: [(Dialect, &'static str); 6] = [
        (Dialect::Anthropic, "anthropic"),
        (Dialect::OpenaiChat, "openai-chat"),
        (Dialect::OpenaiResponses, "openai-responses"),
        (Dialect::Gemini, "gemini"),
        (Dialect::WorkersAi, "workers-ai"),
        (Dialect::GeminiInteractions, "gemini-interactions"),
    ];

    pub fn from_number(number: u32) -> Option<Dialect> {
        Self::ALL.iter().map(|(dialect, _)| *dialect).find(|dialect| *dialect as u32 == number)
    }
}

/// What the dialects have in common: events in, verbs on the turn out.
trait Protocol: Debug {
    /// One event of the stream, an object.
    fn event(&mut self, event: &Value, turn: &mut Turn);

    /// An event was lost: what is open may lack a fragment and still parse.
    fn damaged(&mut self) {}

    /// `[DONE]`: the terminal event of the Chat family; gateways append it elsewhere too, where it says nothing.
    fn done(&mut self, _turn: &mut Turn) {}

    /// The stream ended by itself; must end the turn.
    fn finish(&mut self, turn: &mut Turn);
}

/// Decodes one response.
#[derive(Debug)]
pub struct Decoder {
    sse: Sse,
    tape: Tape,
    reader: Reader,
}

#[derive(Debug)]
struct Reader {
    protocol: Box<dyn Protocol>,
    turn: Turn,
    closing: bool,
}

impl Decoder {
    /// `want_args`: also hand out argument bytes as they come.
    pub fn new(dialect: Dialect, want_args: bool) -> Self {
        let protocol: Box<dyn Protocol> = match dialect {
            Dialect::Anthropic => Box::new(Anthropic::default()),
            Dialect::OpenaiChat | Dialect::WorkersAi => Box::new(Chat::default()),
            Dialect::OpenaiResponses => Box::new(Responses::default()),
            Dialect::Gemini => Box::new(Gemini::default()),
            Dialect::GeminiInteractions => Box::new(Interactions::default()),
        };
        let reader = Reader { protocol, turn: Turn::new(want_args), closing: false };
        Decoder { sse: Sse::default(), tape: Tape::default(), reader }
    }

    /// Take the next bytes and say how soon what they completed should be taken. Nothing follows `stop` or `error`.
    pub fn feed(&mut self, bytes: &[u8]) -> Urgency {
        let Decoder { sse, tape, reader } = self;
        if !reader.turn.ended {
            sse.feed(bytes, &mut |frame| reader.on_frame(frame, tape));
        }
        reader.turn.out.urgency
    }

    /// The peer sent its last byte; without a terminal event that is an error.
    pub fn finish(&mut self) -> Urgency {
        let Decoder { sse, tape, reader } = self;
        if !reader.turn.ended {
            reader.closing = true;
            sse.finish(&mut |frame| reader.on_frame(frame, tape));
            reader.finish();
        }
        reader.turn.out.urgency
    }

    /// Read what came since the last time; then it is gone.
    pub fn take<R>(&mut self, read: impl FnOnce(&Out) -> R) -> R {
        let out = &mut self.reader.turn.out;
        let result = read(out);
        out.clear();
        result
    }

    /// The blocks so far, as a JSON array of `{block, kind, complete, bytes, text}`, `bytes` being the text's length
    /// in UTF-8 (calls: `provider_id`, `name` too, and `text` are the arguments); `open_only`: just the text and
    /// reasoning that are not complete.
    pub fn partial(&self, open_only: bool) -> String {
        self.reader.turn.partial(open_only)
    }
}

impl Reader {
    fn on_frame(&mut self, frame: Frame, tape: &mut Tape) {
        if self.turn.ended {
            return;
        }
        match frame {
            Frame::Comment => self.turn.out.ping(),
            Frame::TooLarge => {
                self.turn.fail(Failure::new(Class::TooLarge, "one event is larger than an event may be"));
            }
            Frame::Data(text) => match text.trim_ascii() {
                "" => {}
                "[DONE]" => self.protocol.done(&mut self.turn),
                text => self.on_data(text, tape),
            },
        }
    }

    fn on_data(&mut self, text: &str, tape: &mut Tape) {
        if let Ok(event) = tape.parse(text) {
            return self.on_event(&event);
        }
        match text.split_once('\n') {
            // A server that leaves out the blank line between events is understood by the many clients that go by lines.
            Some((first, _)) if tape.parse(first).is_ok() => {
                text.lines().for_each(|line| self.on_frame(Frame::Data(line), tape));
            }
            _ => self.on_malformed(text.len()),
        }
    }

    fn on_event(&mut self, event: &Value) {
        match event.kind() {
            Kind::Object => self.event(event),
            // Gemini wraps errors, and everything without `alt=sse`, into an array.
            Kind::Array => event.items().filter(Value::is_object).for_each(|item| self.event(&item)),
            _ => self.on_malformed(event.raw().len()),
        }
    }

    fn event(&mut self, event: &Value) {
        if !self.turn.ended {
            self.protocol.event(event, &mut self.turn);
        }
    }

    fn on_malformed(&mut self, bytes: usize) {
        // The last event of a stream that was cut is half an event, not a malformed one.
        if !self.closing {
            self.turn.malformed(bytes);
            self.protocol.damaged();
        }
    }

    fn finish(&mut self) {
        if !self.turn.ended {
            self.protocol.finish(&mut self.turn);
        }
    }
}
