//! What a decoder hands out: records over one shared text, so that a read costs its receiver one text decode.
//!
//! Consecutive deltas of one block are one record until they are taken. Live text is already escaped for the inside of a
//! JSON string; operations are whole JSON objects tagged `op`. The text of all records, in order, is `text`.

use super::text::{escape_into, quote_into};

/// What a record is, and with it who must hear of it and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// An operation that can wait for the next one due: start, usage, restart, malformed.
    Op = 0,
    /// Shown text, escaped.
    Text = 1,
    /// Shown reasoning, escaped.
    Reasoning = 2,
    /// Argument bytes of a call, escaped. Only when asked for.
    Args = 3,
    /// The peer is alive. No text.
    Ping = 4,
    /// `call_started`, as JSON.
    Call = 5,
    /// A call is complete: call_complete, as JSON.
    Due = 6,
    /// The last operation: stop or error, as JSON.
    End = 7,
    /// A text was shown in full: block_complete, as JSON. It can wait for the next thing due.
    Block = 8,
}

/// `off` counts the UTF-8 bytes of the block's text before this delta, unescaped. `bytes` and `units` are the
/// record's share of the common text in UTF-8 and UTF-16; `deltas` how many of the peer's deltas are joined in it.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub tag: Tag,
    pub block: u32,
    pub off: u32,
    pub bytes: u32,
    pub units: u32,
    pub deltas: u32,
}

/// How soon what is there must be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Urgency {
    /// Nothing, or what can wait for more.
    #[default]
    Idle = 0,
    /// Something to show.
    Live = 1,
    /// A call or the whole is complete.
    Due = 2,
}

#[derive(Debug, Default)]
pub struct Out {
    pub records: Vec<Record>,
    pub text: String,
    pub urgency: Urgency,
}

/// Above this the buffer is given back: one large block must not pin its memory for the rest of the stream.
const KEEP: usize = 256 << 10;

impl Out {
    pub fn clear(&mut self) {
        self.records.clear();
        self.text.clear();
        self.urgency = Urgency::Idle;
        if self.text.capacity() > KEEP {
            self.text = String::new();
        }
    }

    /// Add a delta, joined to the record before if that is of the same block.
    pub fn live(&mut self, tag: Tag, block: usize, off: usize, delta: &str) {
        self.urgency = self.urgency.max(Urgency::Live);
        let from = self.text.len();
        escape_into(delta, &mut self.text);
        let (bytes, units) = self.measure(from);
        match self.records.last_mut() {
            Some(last) if last.tag == tag && last.block as usize == block => {
                last.bytes += bytes;
                last.units += units;
                last.deltas += 1;
            }
            _ => {
                let (block, off) = (block as u32, off as u32);
                self.records.push(Record { tag, block, off, bytes, units, deltas: 1 });
            }
        }
    }

    pub fn ping(&mut self) {
        if self.records.last().is_none_or(|last| last.tag != Tag::Ping) {
            self.records.push(Record { tag: Tag::Ping, block: 0, off: 0, bytes: 0, units: 0, deltas: 0 });
        }
    }

    /// Add an operation; `fill` writes its fields.
    pub fn op(&mut self, tag: Tag, name: &str, block: usize, fill: impl FnOnce(Fields) -> Fields) {
        self.urgency = self.urgency.max(match tag {
            Tag::Due | Tag::End => Urgency::Due,
            Tag::Call | Tag::Block => Urgency::Live,
            _ => Urgency::Idle,
        });
        let from = self.text.len();
        fill(Fields::open(&mut self.text).str("op", name)).close();
        let (bytes, units) = self.measure(from);
        self.records.push(Record { tag, block: block as u32, off: 0, bytes, units, deltas: 0 });
    }

    fn measure(&self, from: usize) -> (u32, u32) {
        let added = &self.text[from..];
        let units = if added.is_ascii() { added.len() } else { added.encode_utf16().count() };
        (added.len() as u32, units as u32)
    }

    /// Every record as one line of JSON, in order: what a person reads, and what tests compare.
    pub fn lines(&self) -> Vec<String> {
        let mut at = 0;
        let mut lines = Vec::new();
        for record in &self.records {
            let text = &self.text[at..at + record.bytes as usize];
            at += record.bytes as usize;
            lines.push(match record.tag {
                Tag::Text => delta_line("text", "text", record.block, text),
                Tag::Reasoning => delta_line("reasoning", "text", record.block, text),
                Tag::Args => delta_line("args", "bytes", record.block, text),
                Tag::Ping => r#"{"op":"ping"}"#.to_owned(),
                Tag::Op | Tag::Call | Tag::Due | Tag::End | Tag::Block => text.to_owned(),
            });
        }
        lines
    }
}

fn delta_line(op: &str, field: &str, block: u32, escaped: &str) -> String {
    format!(r#"{{"op":"{op}","block":{block},"{field}":"{escaped}"}}"#)
}

/// Writes the fields of one JSON object.
pub struct Fields<'o> {
    out: &'o mut String,
    first: bool,
}

impl<'o> Fields<'o> {
    pub fn open(out: &'o mut String) -> Self {
        out.push('{');
        Fields { out, first: true }
    }

    /// `value` is JSON already.
    pub fn raw(mut self, key: &str, value: &str) -> Self {
        if !std::mem::replace(&mut self.first, false) {
            self.out.push(',');
        }
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
        self.out.push_str(value);
        self
    }

    pub fn str(self, key: &str, value: &str) -> Self {
        let fields = self.raw(key, "");
        quote_into(value, fields.out);
        fields
    }

    pub fn opt_str(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(text) => self.str(key, text),
            None => self.raw(key, "null"),
        }
    }

    pub fn num(self, key: &str, value: usize) -> Self {
        self.raw(key, &value.to_string())
    }

    pub fn opt_num(self, key: &str, value: Option<u64>) -> Self {
        match value {
            Some(number) => self.raw(key, &number.to_string()),
            None => self.raw(key, "null"),
        }
    }

    pub fn bool(self, key: &str, value: bool) -> Self {
        self.raw(key, if value { "true" } else { "false" })
    }

    pub fn close(self) {
        self.out.push('}');
    }
}
