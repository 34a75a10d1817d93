//! Anthropic Messages. A call is complete at `content_block_stop` of a `tool_use` block; the terminal event is
//! `message_stop`. Everything is keyed by the event's `index`, though nobody was seen interleaving blocks.

use super::Protocol;
use super::failure::{Class, Failure};
use super::json::{Sets, Tape, Value, patched};
use super::text::quoted;
use super::turn::{BlockKind, Reason, Turn};
use super::usage::Usage;

/// A block between its start and its stop. `raw` is its JSON as it started; `sets` are members that deltas gave.
#[derive(Debug)]
struct Open {
    index: u64,
    block: usize,
    kind: BlockKind,
    raw: String,
    signature: String,
    citations: Vec<String>,
    sets: Sets,
    damaged: bool,
}

#[derive(Debug, Default)]
pub struct Anthropic {
    open: Vec<Open>,
    usage: Usage,
    stop: Option<String>,
}

impl Protocol for Anthropic {
    fn event(&mut self, event: &Value, turn: &mut Turn) {
        match event.str("type").as_deref() {
            Some("content_block_delta") => self.delta(event, turn),
            Some("content_block_start") => self.block_start(event, turn),
            Some("content_block_stop") => self.block_stop(event, turn),
            Some("message_start") => self.message_start(event.get("message").as_ref(), turn),
            Some("message_delta") => self.message_delta(event),
            Some("message_stop") => self.message_stop(turn),
            Some("message") => {
                // A whole message in answer to `stream: true`.
                self.message_start(Some(event), turn);
                self.message_stop(turn);
            }
            Some("ping") => turn.out.ping(),
            _ => self.error(event, turn),
        }
    }

    fn damaged(&mut self) {
        self.open.iter_mut().for_each(|open| open.damaged = true);
    }

    /// The stream ended by itself.
    fn finish(&mut self, turn: &mut Turn) {
        self.fail(Failure::new(Class::Truncated, "the stream ended before message_stop"), turn);
    }
}

impl Anthropic {
    fn fail(&mut self, failure: Failure, turn: &mut Turn) {
        turn.usage(&self.usage);
        turn.fail(failure);
    }

    fn error(&mut self, event: &Value, turn: &mut Turn) {
        if let Some(error) = event.get("error") {
            self.fail(Failure::read(&error), turn);
        } else if event.str("type").as_deref() == Some("error") {
            self.fail(Failure::read(event), turn);
        }
    }

    fn message_start(&mut self, message: Option<&Value>, turn: &mut Turn) {
        let Some(message) = message else { return };
        if turn.is_started() {
            turn.restart();
            *self = Anthropic::default();
        }
        turn.start(message.str("id").as_deref(), message.str("model").as_deref());
        if let Some(usage) = message.get("usage") {
            self.usage.merge_anthropic(&usage);
        }
        self.stop = message.str("stop_reason").map(String::from);
        // Programmatic tool calling answers with the whole content here and no block events at all.
        let content = message.get("content");
        for (index, block) in content.iter().flat_map(Value::items).enumerate() {
            self.begin(index as u64, &block, turn);
            self.end(index as u64, turn);
        }
    }

    fn message_delta(&mut self, event: &Value) {
        if let Some(reason) = event.get("delta").and_then(|delta| delta.str("stop_reason")) {
            self.stop = Some(reason.into_owned());
        }
        if let Some(usage) = event.get("usage") {
            self.usage.merge_anthropic(&usage);
        }
    }

    fn message_stop(&mut self, turn: &mut Turn) {
        // Shown text is whole without its stop, and so is the call that the message ended for; a signed thought is not.
        let called = self.stop.as_deref() == Some("tool_use");
        let is_whole =
            |open: &&Open| open.kind == BlockKind::Text || (called && open.kind == BlockKind::Call);
        while let Some(open) = self.open.iter().find(is_whole) {
            self.end(open.index, turn);
        }
        turn.usage(&self.usage);
        turn.stop(reason(self.stop.as_deref(), turn), self.stop.as_deref());
    }

    fn block_start(&mut self, event: &Value, turn: &mut Turn) {
        if let Some((index, block)) = event.num("index").zip(event.get("content_block")) {
            self.begin(index, &block, turn);
        }
    }

    fn begin(&mut self, index: u64, content: &Value, turn: &mut Turn) {
        self.open.retain(|open| open.index != index);
        let kind = match content.str("type").as_deref() {
            Some("text") => BlockKind::Text,
            Some("thinking") => BlockKind::Reasoning,
            Some("tool_use") => BlockKind::Call,
            _ => BlockKind::Opaque,
        };
        let at = self.add(index, kind, content.raw(), turn);
        let block = self.open[at].block;
        let text = |key| content.str(key).unwrap_or_default();
        match kind {
            BlockKind::Text => turn.push_str(block, &text("text")),
            BlockKind::Reasoning => {
                turn.push_str(block, &text("thinking"));
                self.open[at].signature = text("signature").into_owned();
            }
            BlockKind::Call => turn.identify(block, &text("id"), &text("name")),
            BlockKind::Opaque => {}
        }
    }

    fn add(&mut self, index: u64, kind: BlockKind, raw: &str, turn: &mut Turn) -> usize {
        turn.keep(raw.len());
        let block = turn.open(kind);
        let raw = raw.to_owned();
        let (signature, citations, sets) = Default::default();
        self.open.push(Open { index, block, kind, raw, signature, citations, sets, damaged: false });
        self.open.len() - 1
    }

    fn delta(&mut self, event: &Value, turn: &mut Turn) {
        let Some((index, delta)) = event.num("index").zip(event.get("delta")) else { return };
        let kind = delta.str("type");
        let Some(at) = self.find(index, kind.as_deref(), turn) else { return };
        let open = &mut self.open[at];
        let (key, wanted) = match kind.as_deref() {
            Some("text_delta") => ("text", open.kind == BlockKind::Text),
            Some("thinking_delta") => ("thinking", open.kind == BlockKind::Reasoning),
            Some("input_json_delta") => {
                ("partial_json", matches!(open.kind, BlockKind::Call | BlockKind::Opaque))
            }
            _ => return open.other_delta(kind.as_deref(), &delta, turn),
        };
        match delta.get(key).filter(|_| wanted) {
            // Whole, as an object: what is meant must not become `{}`.
            Some(whole) if whole.is_object() => turn.push_str(open.block, whole.raw()),
            Some(fragment) => turn.push(open.block, &fragment),
            None => {}
        }
    }

    /// The open block of `index`. Text and thinking whose start was lost are opened here: what they say is plain.
    fn find(&mut self, index: u64, delta: Option<&str>, turn: &mut Turn) -> Option<usize> {
        self.open.iter().position(|open| open.index == index).or_else(|| match delta {
            Some("text_delta") => {
                Some(self.add(index, BlockKind::Text, r#"{"type":"text","text":""}"#, turn))
            }
            Some("thinking_delta") => {
                Some(self.add(index, BlockKind::Reasoning, r#"{"type":"thinking","thinking":""}"#, turn))
            }
            _ => None,
        })
    }

    fn block_stop(&mut self, event: &Value, turn: &mut Turn) {
        if let Some(index) = event.num("index") {
            self.end(index, turn);
        }
    }

    fn end(&mut self, index: u64, turn: &mut Turn) {
        let Some(at) = self.open.iter().position(|open| open.index == index) else { return };
        let open = self.open.remove(at);
        let mut tape = Tape::default();
        let Ok(content) = tape.parse(&open.raw) else { return };
        match open.kind {
            BlockKind::Call => open.end_call(&content, turn),
            BlockKind::Opaque => open.end_opaque(&content, turn),
            BlockKind::Reasoning => open.end_thinking(&content, turn),
            BlockKind::Text => open.end_text(&content, turn),
        }
    }
}

impl Open {
    /// Signatures, citations, and the members of deltas we do not know (`compaction_delta`): kept for the echo.
    fn other_delta(&mut self, kind: Option<&str>, delta: &Value, turn: &mut Turn) {
        turn.keep(delta.raw().len());
        match kind {
            Some("signature_delta") => self.signature.push_str(&delta.str("signature").unwrap_or_default()),
            Some("citations_delta") => {
                self.citations.extend(delta.get("citation").map(|citation| citation.raw().to_owned()));
            }
            _ => self.sets.take(delta, |_, _| false),
        }
    }

    fn end_call(&self, content: &Value, turn: &mut Turn) {
        // Programmatic calls bring their input whole, at the start.
        let input = content.get("input").filter(|input| !input.is_empty());
        if let Some(input) = input.filter(|_| turn.block(self.block).text.is_empty()) {
            turn.push_str(self.block, input.raw());
        }
        let plain = content
            .members()
            .all(|(key, _)| matches!(key.string().as_deref(), Some("type" | "id" | "name" | "input")));
        let broken = self.damaged.then_some("damaged");
        let echo = (!plain && broken.is_none()).then(|| {
            let input = turn.flush(self.block).trim();
            let input = if input.is_empty() { "{}" } else { input };
            patched(content, &[("input", input.to_owned())])
        });
        turn.call_complete(self.block, echo.as_deref(), broken);
    }

    /// Server tools, their results, redacted thinking, compaction, and what is not known yet.
    fn end_opaque(&self, content: &Value, turn: &mut Turn) {
        let mut changes = self.sets.changes();
        let input = turn.flush(self.block).to_owned();
        if Tape::default().parse(&input).is_ok() {
            changes.push(("input", input));
        }
        let echo = if changes.is_empty() { self.raw.clone() } else { patched(content, &changes) };
        turn.block_complete(self.block, Some(""), Some(&echo));
    }

    fn end_thinking(&self, content: &Value, turn: &mut Turn) {
        let mut changes = vec![("thinking", quoted(turn.flush(self.block)))];
        if !self.signature.is_empty() {
            changes.push(("signature", quoted(&self.signature)));
        }
        turn.block_complete(self.block, None, Some(&patched(content, &changes)));
    }

    fn end_text(&self, content: &Value, turn: &mut Turn) {
        let plain = content.members().all(|(key, value)| match key.string().as_deref() {
            Some("type" | "text") => true,
            Some("citations") => value.is_empty(),
            _ => false,
        });
        if plain && self.citations.is_empty() {
            return turn.block_complete(self.block, None, None);
        }
        let mut changes = vec![("text", quoted(turn.flush(self.block)))];
        if !self.citations.is_empty() {
            changes.push(("citations", format!("[{}]", self.citations.join(","))));
        }
        turn.block_complete(self.block, None, Some(&patched(content, &changes)));
    }
}

fn reason(raw: Option<&str>, turn: &Turn) -> Reason {
    match raw {
        Some("end_turn") => Reason::End,
        Some("tool_use") => Reason::ToolUse,
        Some("max_tokens" | "model_context_window_exceeded") => Reason::MaxTokens,
        Some("stop_sequence") => Reason::StopSequence,
        Some("refusal") => Reason::Refusal,
        // To be continued by sending the content back as it is.
        Some("pause_turn" | "compaction") => Reason::Pause,
        Some(_) => Reason::Other,
        None if turn.has_calls() => Reason::ToolUse,
        None => Reason::End,
    }
}
