//! OpenRouter's `reasoning_details`: pieces of typed items, to be sent back joined and otherwise unchanged.

use super::json::{Sets, Tape, Value, patched};
use super::text::quoted;
use super::turn::Turn;

/// `key` names the member whose text grows; `sets` are the later pieces' other members.
#[derive(Debug)]
struct Detail {
    raw: String,
    kind: String,
    index: Option<u64>,
    key: &'static str,
    text: String,
    sets: Sets,
}

#[derive(Debug, Default)]
pub struct Details {
    items: Vec<Detail>,
}

impl Details {
    /// Take one piece; returns its readable text.
    pub fn push<'t>(&mut self, piece: &Value<'t>, turn: &mut Turn) -> Option<Value<'t>> {
        let kind = piece.str("type").unwrap_or_default();
        let key = match &*kind {
            "reasoning.text" => "text",
            "reasoning.summary" => "summary",
            _ => "",
        };
        let index = piece.num("index");
        let text = piece.get(key);
        turn.keep(piece.raw().len());
        let joins = |last: &&mut Detail| !key.is_empty() && last.kind == kind && last.index == index;
        match self.items.last_mut().filter(joins) {
            Some(last) => last.extend(piece),
            None => self.items.push(Detail::new(piece, kind.into_owned(), key)),
        }
        text
    }

    /// The items as a JSON array; None if there are none.
    pub fn echo(&self) -> Option<String> {
        let items: Vec<String> = self.items.iter().filter_map(Detail::json).collect();
        (!items.is_empty()).then(|| format!("[{}]", items.join(",")))
    }
}

impl Detail {
    fn new(piece: &Value, kind: String, key: &'static str) -> Self {
        let text = piece.str(key).unwrap_or_default().into_owned();
        Detail {
            raw: piece.raw().to_owned(),
            kind,
            index: piece.num("index"),
            key,
            text,
            sets: Sets::default(),
        }
    }

    fn extend(&mut self, piece: &Value) {
        self.text.push_str(&piece.str(self.key).unwrap_or_default());
        self.sets.take(piece, |name, raw| name == self.key || raw == "null" || raw == r#""""#);
    }

    fn json(&self) -> Option<String> {
        let mut tape = Tape::default();
        let item = tape.parse(&self.raw).ok()?;
        let mut changes = self.sets.changes();
        if !self.key.is_empty() {
            changes.push((self.key, quoted(&self.text)));
        }
        Some(patched(&item, &changes))
    }
}
