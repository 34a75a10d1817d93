//! Server-sent events out of bytes: which bytes are one event's data. Knows nothing of what the data mean.
//!
//! Lines end at `\n`, `\r\n` or `\r` only: U+2028, U+0085 and the like are legal raw inside a JSON string, and
//! text-mode line readers break on them. `event:`, `id:` and `retry:` are ignored; the data say what they are.
//! Some peers answer with bare JSON instead (Gemini's and Workers AI's errors, recorded chunk files): a line
//! that opens an object starts a bare document, which ends where its braces balance.

use memchr::memchr2;

/// One event's data may not be larger: a megabyte-sized inline image passes, an endless line does not.
pub const MAX_EVENT: usize = 8 << 20;

/// What the framer found.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'f> {
    /// The data of one event, its lines joined with `\n`.
    Data(&'f str),
    /// A comment line, as keep-alives are.
    Comment,
    /// An event beyond `MAX_EVENT`; nothing after it is read.
    TooLarge,
}

#[derive(Debug, Default)]
pub struct Sse {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    past_bom: bool,
    bare: Bare,
    dead: bool,
}

impl Sse {
    /// Take the next bytes and hand every finished frame to `on`.
    pub fn feed(&mut self, mut bytes: &[u8], on: &mut impl FnMut(Frame)) {
        while !bytes.is_empty() && !self.dead {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', bytes) else {
                self.line.extend_from_slice(bytes);
                break;
            };
            self.after_cr = bytes[end] == b'\r';
            self.take_line(&bytes[..end], on);
            bytes = &bytes[end + 1..];
        }
        self.check_size(on);
    }

    /// The end of the bytes. A last event without its blank line still counts: some servers leave it out.
    pub fn finish(&mut self, on: &mut impl FnMut(Frame)) {
        if !self.dead {
            self.take_line(&[], on);
            self.dispatch(on);
        }
        self.dead = true;
    }

    fn check_size(&mut self, on: &mut impl FnMut(Frame)) {
        if !self.dead && self.line.len() + self.data.len() + self.bare.text.len() > MAX_EVENT {
            self.dead = true;
            *self = Sse { dead: true, ..Sse::default() };
            on(Frame::TooLarge);
        }
    }

    fn take_line(&mut self, tail: &[u8], on: &mut impl FnMut(Frame)) {
        if self.line.is_empty() {
            return self.on_line(tail, on);
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(tail);
        self.on_line(&line, on);
        line.clear();
        self.line = line;
    }

    fn on_line(&mut self, line: &[u8], on: &mut impl FnMut(Frame)) {
        let line = if std::mem::replace(&mut self.past_bom, true) { line } else { strip_bom(line) };
        if line.is_empty() {
            return self.dispatch(on);
        }
        match field(line) {
            Field::Data(value) => self.on_data(value, on),
            Field::Comment => on(Frame::Comment),
            Field::Error(value) => {
                let value = String::from_utf8_lossy(value);
                on(Frame::Data(&format!(r#"{{"error":{value}}}"#)));
            }
            Field::Ignored => self.bare = Bare::default(),
            Field::Other => self.on_bare(line, on),
        }
    }

    fn on_data(&mut self, value: &[u8], on: &mut impl FnMut(Frame)) {
        self.bare = Bare::default();
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
        self.check_size(on);
    }

    fn dispatch(&mut self, on: &mut impl FnMut(Frame)) {
        if std::mem::take(&mut self.has_data) {
            // Decoded only now: a read may end anywhere inside a code point.
            on(Frame::Data(&String::from_utf8_lossy(&self.data)));
            self.data.clear();
        }
    }

    fn on_bare(&mut self, line: &[u8], on: &mut impl FnMut(Frame)) {
        if self.bare.push(line) {
            on(Frame::Data(&String::from_utf8_lossy(&self.bare.text)));
            self.bare = Bare::default();
        }
        self.check_size(on);
    }
}

enum Field<'l> {
    Data(&'l [u8]),
    /// The error object of llama.cpp before 2025-09, which puts the name of the event where `data` belongs.
    Error(&'l [u8]),
    Comment,
    Ignored,
    Other,
}

fn field(line: &[u8]) -> Field<'_> {
    if let Some(value) = line.strip_prefix(b"data:") {
        return Field::Data(value.strip_prefix(b" ").unwrap_or(value));
    }
    if let Some(value) = line.strip_prefix(b"error: ").filter(|value| value.starts_with(b"{")) {
        return Field::Error(value);
    }
    match line {
        [b':', ..] => Field::Comment,
        b"data" => Field::Data(b""),
        _ if [&b"event:"[..], b"id:", b"retry:"].iter().any(|name| line.starts_with(name)) => Field::Ignored,
        _ => Field::Other,
    }
}

fn strip_bom(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
}

/// A JSON document that came without `data:`, possibly over several lines.
#[derive(Debug, Default)]
struct Bare {
    text: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Bare {
    /// Add a line; true when the document's braces are balanced.
    fn push(&mut self, line: &[u8]) -> bool {
        // A line that opens an object with its first key begins a new document, unless it is in a list: the one before
        // was cut off.
        if self.depth > 0 && line.starts_with(b"{\"") && !self.text.starts_with(b"[") {
            *self = Bare::default();
        }
        if self.depth == 0 && !matches!(line.trim_ascii_start().first(), Some(b'{' | b'[')) {
            return false;
        }
        line.iter().for_each(|&byte| self.scan(byte));
        self.text.extend_from_slice(line);
        self.text.push(b'\n');
        self.depth == 0
    }

    fn scan(&mut self, byte: u8) {
        match byte {
            _ if std::mem::take(&mut self.escaped) => {}
            b'\\' => self.escaped = self.in_string,
            b'"' => self.in_string = !self.in_string,
            b'{' | b'[' if !self.in_string => self.depth += 1,
            b'}' | b']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}
