//! What stands inside JSON strings: unescaping fragments that cut anything in two, escaping, healing surrogates.

use std::borrow::Cow;

/// Joins the fragments of one text. A surrogate pair may be cut between two fragments, so the first half
/// waits for the next one; a half that stays alone becomes U+FFFD.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unescape {
    high: Option<u16>,
}

impl Unescape {
    /// Append what a string literal says; `inner` is what stands between its quotes, validated by the parser.
    pub fn push(&mut self, inner: &str, escaped: bool, out: &mut String) {
        if escaped || self.high.is_some() {
            self.slow(inner, out);
        } else {
            out.push_str(inner);
        }
    }

    /// End of the text: what still waits will never be completed.
    pub fn flush(&mut self, out: &mut String) {
        if self.high.take().is_some() {
            out.push('\u{fffd}');
        }
    }

    fn slow(&mut self, mut raw: &str, out: &mut String) {
        while !raw.is_empty() {
            let plain = raw.find('\\').unwrap_or(raw.len());
            if plain > 0 {
                self.flush(out);
                out.push_str(&raw[..plain]);
                raw = &raw[plain..];
            } else {
                raw = self.escape(raw, out);
            }
        }
    }

    /// `raw` starts at a backslash and was validated by the parser.
    fn escape<'r>(&mut self, raw: &'r str, out: &mut String) -> &'r str {
        let code = raw.as_bytes()[1];
        if code == b'u' {
            let unit = u16::from_str_radix(&raw[2..6], 16).unwrap_or(0xfffd);
            self.unit(unit, out);
            return &raw[6..];
        }
        self.flush(out);
        out.push(match code {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            other => other as char,
        });
        &raw[2..]
    }

    fn unit(&mut self, unit: u16, out: &mut String) {
        match (unit, self.high) {
            (0xdc00..=0xdfff, Some(high)) => {
                self.high = None;
                let code = 0x1_0000 + ((u32::from(high) - 0xd800) << 10) + (u32::from(unit) - 0xdc00);
                out.push(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
            (0xd800..=0xdbff, _) => {
                self.flush(out);
                self.high = Some(unit);
            }
            _ => {
                self.flush(out);
                out.push(char::from_u32(u32::from(unit)).unwrap_or('\u{fffd}'));
            }
        }
    }
}

/// Append `text` escaped for the inside of a JSON string.
pub fn escape_into(text: &str, out: &mut String) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            byte => {
                out.push_str("\\u00");
                out.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
                out.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
            }
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

/// Append `text` as a JSON string.
pub fn quote_into(text: &str, out: &mut String) {
    out.push('"');
    escape_into(text, out);
    out.push('"');
}

/// `text` as a JSON string.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    quote_into(text, &mut out);
    out
}

/// Replace lone `\ud800`-style escapes in JSON text by `\ufffd`: they survive a JSON parser and then break
/// every UTF-8 encoder behind it.
pub fn heal_surrogates(text: &str) -> Cow<'_, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut healed = String::with_capacity(text.len());
    let (mut at, mut copied) = (0, 0);
    while let Some(step) = text[at..].find('\\') {
        at += step;
        let width = match (escaped_unit(bytes, at), escaped_unit(bytes, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                healed.push_str(&text[copied..at]);
                healed.push_str("\\ufffd");
                copied = at + 6;
                6
            }
            (Some(_), _) => 6,
            // A backslash at the very end, or before a multi-byte character, is not JSON; step over it alone.
            (None, _) if bytes.get(at + 1).is_some_and(u8::is_ascii) => 2,
            (None, _) => 1,
        };
        at += width;
    }
    healed.push_str(&text[copied..]);
    Cow::Owned(healed)
}

fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
