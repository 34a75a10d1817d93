//! Fragments of Chat's tool calls, put together defensively: servers that imitate this API leave out indexes, ids or
//! names, repeat them, or send a new id with each fragment.
//!
//! Chat has no event for a complete call. One is known to be complete when another one opens (and its own
//! arguments are a balanced object: some servers open all calls before they send any arguments), when Workers AI
//! sends its null closing fragment, at `finish_reason`, or at `[DONE]`.

use super::json::{Kind, Value};
use super::turn::{BlockKind, Turn};

#[derive(Debug)]
struct Call {
    block: usize,
    index: Option<u64>,
    id: String,
    name: String,
    balance: Balance,
    echo: Option<String>,
    damaged: bool,
    done: bool,
}

impl Call {
    /// Whether arguments began and are not whole yet: what comes now must belong to them.
    fn is_mid_json(&self) -> bool {
        self.balance.begun && !self.balance.is_whole()
    }

    /// Whether a fragment that points at this call (by index, or by being next) continues it.
    fn continued_by(&self, id: &str, name: &str) -> bool {
        let other_id = !id.is_empty() && !self.id.is_empty() && id != self.id;
        let named = !name.is_empty() && !self.name.is_empty();
        match (other_id, named) {
            // Parallel calls under one index, told apart by their ids; or one call with a new id per fragment.
            (true, true) => self.is_mid_json() && name == self.name,
            (true, false) => !self.balance.is_whole() && !self.done,
            // No ids at all: a name after whole arguments opens the next call.
            (false, true) if id.is_empty() => !self.balance.is_whole() && name == self.name,
            // Servers that give all their calls one id.
            (false, true) => !self.balance.is_whole() || name == self.name,
            (false, _) => true,
        }
    }
}

#[derive(Debug, Default)]
pub struct Calls {
    calls: Vec<Call>,
}

impl Calls {
    pub fn damaged(&mut self) {
        self.calls.iter_mut().for_each(|call| call.damaged = true);
    }

    /// Take one element of `tool_calls`; Workers AI also sends it flat, without `function`.
    pub fn fragment(&mut self, fragment: &Value, turn: &mut Turn) {
        // One event may hold more of them than a response; what follows would be looked for among ever more.
        if turn.ended {
            return;
        }
        let function = fragment.get("function").unwrap_or(*fragment);
        let id = fragment.str("id").unwrap_or_default();
        let name = function.str("name").unwrap_or_default();
        let arguments = function.get("arguments");
        let index = fragment.num("index");
        let says_nothing = arguments.is_none_or(|value| value.raw() == r#""""#);
        if index.is_none() && id.is_empty() && name.is_empty() && says_nothing {
            return self.close_last(turn);
        }
        let at = self.pick(index, &id, &name).unwrap_or_else(|| self.open(index, turn));
        let call = &mut self.calls[at];
        if call.done {
            return;
        }
        call.identify(&id, &name, turn);
        if let Some(extra) = fragment.get("extra_content") {
            // Gemini's compatible endpoint keeps the thought signature here.
            call.echo = Some(format!(r#"{{"extra_content":{}}}"#, extra.raw()));
        }
        if let Some(arguments) = arguments {
            call.extend(&arguments, turn);
        }
    }

    fn pick(&self, index: Option<u64>, id: &str, name: &str) -> Option<usize> {
        let found = match index {
            Some(_) => self.calls.iter().rposition(|call| call.index == index),
            None => self
                .calls
                .iter()
                .rposition(|call| !id.is_empty() && call.id == id)
                .or_else(|| self.calls.len().checked_sub(1)),
        };
        found.filter(|&at| self.calls[at].continued_by(id, name))
    }

    fn open(&mut self, index: Option<u64>, turn: &mut Turn) -> usize {
        for call in self.calls.iter_mut().filter(|call| call.balance.is_whole()) {
            call.complete(None, turn);
        }
        let (id, name, balance) = Default::default();
        let block = turn.open(BlockKind::Call);
        self.calls.push(Call { block, index, id, name, balance, echo: None, damaged: false, done: false });
        self.calls.len() - 1
    }

    fn close_last(&mut self, turn: &mut Turn) {
        if let Some(call) = self.calls.last_mut() {
            call.complete(None, turn);
        }
    }

    /// The message is over; `cut`: by a limit or a filter, so that its last call is not to be trusted.
    pub fn close(&mut self, cut: bool, turn: &mut Turn) {
        let last = self.calls.len().wrapping_sub(1);
        for (at, call) in self.calls.iter_mut().enumerate() {
            call.complete((cut && at == last).then_some("truncated"), turn);
        }
    }
}

impl Call {
    fn identify(&mut self, id: &str, name: &str, turn: &mut Turn) {
        for (known, new) in [(&mut self.id, id), (&mut self.name, name)] {
            if known.is_empty() {
                known.push_str(new);
            }
        }
        turn.identify(self.block, id, name);
    }

    fn extend(&mut self, arguments: &Value, turn: &mut Turn) {
        let before = turn.block(self.block).text.len();
        match arguments.kind() {
            Kind::String => turn.push(self.block, arguments),
            // Whole, as an object; never after fragments.
            _ if before == 0 => turn.push_str(self.block, arguments.raw()),
            _ => {}
        }
        self.balance.scan(turn.block(self.block).text.as_bytes().get(before..).unwrap_or_default());
    }

    fn complete(&mut self, broken: Option<&'static str>, turn: &mut Turn) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let unnamed = self.name.is_empty().then_some("unnamed");
        let broken = broken.or(self.damaged.then_some("damaged")).or(unnamed);
        turn.call_complete(self.block, self.echo.as_deref(), broken);
    }
}

/// Whether bytes so far are one balanced JSON object. No proof of validity: only a hint that nothing is missing.
#[derive(Debug, Default)]
struct Balance {
    begun: bool,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Balance {
    fn is_whole(&self) -> bool {
        self.begun && self.depth == 0 && !self.in_string
    }

    fn scan(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                _ if std::mem::take(&mut self.escaped) => {}
                b'\\' => self.escaped = self.in_string,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => {
                    self.begun = true;
                    self.depth += 1;
                }
                b'}' | b']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }
}
