//! A JSON reader for hostile text: one validating pass fills a reusable tape, values are views into the text.
//!
//! Why not serde_json: arguments and echoes must keep the peer's own bytes, a text delta must cost no
//! allocation, and the wasm must stay small. Strict RFC 8259 grammar; nesting is bounded; nothing recurses.

use std::borrow::Cow;

use super::text::{Unescape, quoted};

/// Deeper nesting is refused; no provider comes near it, and a peer must not choose our memory.
const MAX_DEPTH: usize = 512;

/// The largest number that JavaScript holds exactly; and sums of a few such counts do not overflow.
const MAX_UINT: u64 = (1 << 53) - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// `start..end` is the value's text (a string's quotes included); `next` is the tape index after its subtree.
#[derive(Clone, Copy, Debug)]
struct Node {
    kind: Kind,
    escaped: bool,
    start: u32,
    end: u32,
    next: u32,
}

/// The nodes of one parsed text, in order; an object's children alternate key, value.
#[derive(Debug, Default)]
pub struct Tape {
    nodes: Vec<Node>,
    open: Vec<u32>,
}

/// The text is not JSON (or is nested too deeply).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    ValueOrClose,
    Key,
    KeyOrClose,
    CommaOrClose,
    End,
}

impl Tape {
    /// Parse the whole of `text`. The returned value borrows both; an error leaves the tape reusable.
    pub fn parse<'t>(&'t mut self, text: &'t str) -> Result<Value<'t>, NotJson> {
        self.nodes.clear();
        self.open.clear();
        self.fill(text.as_bytes())?;
        Ok(Value { text, nodes: &self.nodes, at: 0 })
    }

    fn fill(&mut self, bytes: &[u8]) -> Result<(), NotJson> {
        let mut at = 0;
        let mut expect = Expect::Value;
        loop {
            at = skip_space(bytes, at);
            let Some(&byte) = bytes.get(at) else {
                return if expect == Expect::End { Ok(()) } else { Err(NotJson) };
            };
            (at, expect) = match (byte, expect) {
                (b',', Expect::CommaOrClose) => (at + 1, self.after_comma()),
                (b']' | b'}', Expect::CommaOrClose | Expect::ValueOrClose | Expect::KeyOrClose) => {
                    (at + 1, self.close(byte, at)?)
                }
                (b'"', Expect::Key | Expect::KeyOrClose) => (self.key(bytes, at)?, Expect::Value),
                (b'{' | b'[', Expect::Value | Expect::ValueOrClose) => (at + 1, self.enter(byte, at)?),
                (_, Expect::Value | Expect::ValueOrClose) => (self.scalar(bytes, at)?, self.after_value()),
                _ => return Err(NotJson),
            };
        }
    }

    fn push(&mut self, kind: Kind, escaped: bool, start: usize, end: usize) {
        let next = self.nodes.len() as u32 + 1;
        self.nodes.push(Node { kind, escaped, start: start as u32, end: end as u32, next });
    }

    fn enter(&mut self, byte: u8, at: usize) -> Result<Expect, NotJson> {
        if self.open.len() == MAX_DEPTH {
            return Err(NotJson);
        }
        self.open.push(self.nodes.len() as u32);
        let kind = if byte == b'{' { Kind::Object } else { Kind::Array };
        self.push(kind, false, at, at);
        Ok(if byte == b'{' { Expect::KeyOrClose } else { Expect::ValueOrClose })
    }

    fn close(&mut self, byte: u8, at: usize) -> Result<Expect, NotJson> {
        let index = self.open.pop().ok_or(NotJson)?;
        let next = self.nodes.len() as u32;
        let node = &mut self.nodes[index as usize];
        let wanted = if node.kind == Kind::Object { b'}' } else { b']' };
        node.end = at as u32 + 1;
        node.next = next;
        if byte == wanted { Ok(self.after_value()) } else { Err(NotJson) }
    }

    fn after_value(&self) -> Expect {
        if self.open.is_empty() { Expect::End } else { Expect::CommaOrClose }
    }

    fn after_comma(&self) -> Expect {
        let parent = self.open.last().map(|&index| self.nodes[index as usize].kind);
        if parent == Some(Kind::Object) { Expect::Key } else { Expect::Value }
    }

    fn key(&mut self, bytes: &[u8], at: usize) -> Result<usize, NotJson> {
        let end = skip_space(bytes, self.string(bytes, at)?);
        if bytes.get(end) == Some(&b':') { Ok(end + 1) } else { Err(NotJson) }
    }

    fn string(&mut self, bytes: &[u8], at: usize) -> Result<usize, NotJson> {
        let (end, escaped) = skip_string(bytes, at)?;
        self.push(Kind::String, escaped, at, end);
        Ok(end)
    }

    fn scalar(&mut self, bytes: &[u8], at: usize) -> Result<usize, NotJson> {
        let (kind, end) = match bytes[at] {
            b'"' => return self.string(bytes, at),
            b't' => (Kind::Bool, skip_word(bytes, at, b"true")?),
            b'f' => (Kind::Bool, skip_word(bytes, at, b"false")?),
            b'n' => (Kind::Null, skip_word(bytes, at, b"null")?),
            _ => (Kind::Number, skip_number(bytes, at)?),
        };
        self.push(kind, false, at, end);
        Ok(end)
    }
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

fn skip_word(bytes: &[u8], at: usize, word: &[u8]) -> Result<usize, NotJson> {
    if bytes[at..].starts_with(word) { Ok(at + word.len()) } else { Err(NotJson) }
}

fn skip_digits(bytes: &[u8], at: usize) -> Result<usize, NotJson> {
    let count = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 { Err(NotJson) } else { Ok(at + count) }
}

fn skip_number(bytes: &[u8], start: usize) -> Result<usize, NotJson> {
    let mut at = start + usize::from(bytes[start] == b'-');
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { skip_digits(bytes, at.min(bytes.len()))? };
    if bytes.get(at) == Some(&b'.') {
        at = skip_digits(bytes, at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        at = skip_digits(bytes, at.min(bytes.len()))?;
    }
    Ok(at)
}

/// From the opening quote to past the closing one; says whether any escape was met.
fn skip_string(bytes: &[u8], at: usize) -> Result<(usize, bool), NotJson> {
    let mut at = at + 1;
    let mut escaped = false;
    loop {
        at = skip_plain(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return Ok((at + 1, escaped)),
            Some(b'\\') => {
                escaped = true;
                at = skip_escape(bytes, at + 1)?;
            }
            _ => return Err(NotJson),
        }
    }
}

/// To the next quote, backslash or control character. Eight bytes at a time: most of all bytes are in strings.
fn skip_plain(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The lowest marked byte is exact; a borrow can only mark bytes above a true one.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    while let Some(chunk) = bytes.get(at..at + 8).and_then(|chunk| chunk.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = control | zeros(word ^ (ONES * 0x22)) | zeros(word ^ (ONES * 0x5c));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|&byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        at += 1;
    }
    at
}

fn skip_escape(bytes: &[u8], at: usize) -> Result<usize, NotJson> {
    match bytes.get(at) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 1),
        Some(b'u') => match bytes.get(at + 1..at + 5) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 5),
            _ => Err(NotJson),
        },
        _ => Err(NotJson),
    }
}

/// A view of one value; cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Value<'t> {
    text: &'t str,
    nodes: &'t [Node],
    at: usize,
}

impl<'t> Value<'t> {
    fn node(&self) -> &'t Node {
        &self.nodes[self.at]
    }

    fn moved(&self, at: usize) -> Self {
        Value { at, ..*self }
    }

    pub fn kind(&self) -> Kind {
        self.node().kind
    }

    /// The value's own bytes, unchanged.
    pub fn raw(&self) -> &'t str {
        let node = self.node();
        &self.text[node.start as usize..node.end as usize]
    }

    fn children(&self) -> impl Iterator<Item = Value<'t>> + use<'t> {
        let (value, end) = (*self, self.node().next as usize);
        let mut at = self.at + 1;
        std::iter::from_fn(move || {
            let child = (at < end).then(|| value.moved(at))?;
            at = child.node().next as usize;
            Some(child)
        })
    }

    /// An array's elements; nothing for any other kind.
    pub fn items(&self) -> impl Iterator<Item = Value<'t>> + use<'t> {
        let is_array = self.kind() == Kind::Array;
        self.children().filter(move |_| is_array)
    }

    /// An object's members in the order of the text; nothing for any other kind.
    pub fn members(&self) -> impl Iterator<Item = (Value<'t>, Value<'t>)> + use<'t> {
        let is_object = self.kind() == Kind::Object;
        let mut children = self.children();
        std::iter::from_fn(move || {
            let key = children.next().filter(|_| is_object)?;
            Some((key, children.next()?))
        })
    }

    fn key_is(&self, key: &str) -> bool {
        let node = self.node();
        if node.escaped {
            return self.text_of() == key;
        }
        // Lengths differ most of the time, and bytes need no look at character boundaries.
        (node.end - node.start) as usize == key.len() + 2
            && self.text.as_bytes()[node.start as usize + 1..node.end as usize - 1] == *key.as_bytes()
    }

    /// The member named `key` unless it is missing or null. The first of equal keys counts.
    pub fn get(&self, key: &str) -> Option<Value<'t>> {
        self.member(key).filter(|value| value.kind() != Kind::Null)
    }

    /// Like `get`, but an explicit null is found too.
    pub fn member(&self, key: &str) -> Option<Value<'t>> {
        self.members().find(|(name, _)| name.key_is(key)).map(|(_, value)| value)
    }

    /// `get` along a path of keys.
    pub fn at(&self, path: &[&str]) -> Option<Value<'t>> {
        path.iter().try_fold(*self, |value, key| value.get(key))
    }

    fn inner(&self) -> &'t str {
        let raw = self.raw();
        &raw[1..raw.len() - 1]
    }

    fn text_of(&self) -> Cow<'t, str> {
        if !self.node().escaped {
            return Cow::Borrowed(self.inner());
        }
        let (mut text, mut join) = (String::new(), Unescape::default());
        self.push_text(&mut join, &mut text);
        join.flush(&mut text);
        Cow::Owned(text)
    }

    /// Append a string's text to one that comes in fragments.
    pub fn push_text(&self, join: &mut Unescape, out: &mut String) {
        join.push(self.inner(), self.node().escaped, out);
    }

    /// A string's text, lone surrogates replaced by U+FFFD; None for any other kind.
    pub fn string(&self) -> Option<Cow<'t, str>> {
        (self.kind() == Kind::String).then(|| self.text_of())
    }

    /// The string member named `key`.
    pub fn str(&self, key: &str) -> Option<Cow<'t, str>> {
        self.get(key)?.string()
    }

    /// A non-negative whole number; JSON's `5.0` counts as 5. None beyond `MAX_UINT`.
    pub fn uint(&self) -> Option<u64> {
        // No float parser: its tables would be a tenth of the module.
        let raw = self.raw();
        let whole = raw
            .split_once('.')
            .map_or(raw, |(whole, zeros)| if zeros.bytes().all(|digit| digit == b'0') { whole } else { raw });
        (self.kind() == Kind::Number).then(|| whole.parse().ok())?.filter(|&number| number <= MAX_UINT)
    }

    /// The whole-number member named `key`.
    pub fn num(&self, key: &str) -> Option<u64> {
        self.get(key)?.uint()
    }

    pub fn is_object(&self) -> bool {
        self.kind() == Kind::Object
    }

    pub fn is_empty(&self) -> bool {
        self.children().next().is_none()
    }
}

/// The object's own text with some members replaced (or appended) by raw JSON; all other bytes of its members stay.
pub fn patched(object: &Value, changes: &[(&str, String)]) -> String {
    let mut members = Vec::new();
    for (key, value) in object.members() {
        let change = changes.iter().find(|(name, _)| key.key_is(name));
        members.push((key.raw().to_owned(), change.map_or(value.raw(), |(_, raw)| raw).to_owned()));
    }
    for (name, raw) in changes {
        if object.member(name).is_none() {
            members.push((quoted(name), raw.clone()));
        }
    }
    let fields: Vec<String> = members.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// Members that later pieces of an object set, each by its last value, to be patched into it.
#[derive(Debug, Default)]
pub struct Sets(Vec<(String, String)>);

impl Sets {
    /// More are left out: they are looked up one by one, and no provider comes near it.
    const MAX: usize = 64;

    /// Take a piece's members, `type` and those that `skip` says aside.
    pub fn take(&mut self, piece: &Value, skip: impl Fn(&str, &str) -> bool) {
        for (key, value) in piece.members() {
            let key = key.string().unwrap_or_default();
            if key == "type" || skip(&key, value.raw()) {
                continue;
            }
            if let Some((_, raw)) = self.0.iter_mut().find(|(known, _)| *known == key) {
                *raw = value.raw().to_owned();
            } else if self.0.len() < Self::MAX {
                self.0.push((key.into_owned(), value.raw().to_owned()));
            }
        }
    }

    pub fn changes(&self) -> Vec<(&str, String)> {
        self.0.iter().map(|(key, raw)| (key.as_str(), raw.clone())).collect()
    }
}
