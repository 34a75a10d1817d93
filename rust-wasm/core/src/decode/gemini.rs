//! Gemini generateContent. Every event is a whole response with new parts: text parts append, a call comes whole in
//! one part and is complete on arrival. The terminal event is a chunk with `finishReason`; the end is reported at the
//! end of the bytes, since usage grows until then. A part with a `thoughtSignature` is a block of its own, because it
//! must be sent back as that very part.
//!
//! Vertex can stream arguments as `partialArgs` (see `tree`); such a call ends with an empty `functionCall`, which
//! can be missing, so the next name, a part without `willContinue` and the finish end it too.

use super::Protocol;
use super::failure::{Class, Failure};
use super::json::Value;
use super::text::quoted;
use super::tree::Tree;
use super::turn::{BlockKind, Reason, Turn};
use super::usage::Usage;

/// A call whose arguments come in pieces; `head` is what stands before them in its JSON.
#[derive(Debug)]
struct Growing {
    block: usize,
    tree: Tree,
    head: String,
    signature: Option<String>,
    broken: Option<&'static str>,
}

#[derive(Debug, Default)]
pub struct Gemini {
    open: Option<(usize, BlockKind)>,
    growing: Option<Growing>,
    usage: Usage,
    finish: Option<String>,
    blocked: bool,
}

impl Protocol for Gemini {
    fn event(&mut self, event: &Value, turn: &mut Turn) {
        if let Some(error) = event.get("error") {
            turn.usage(&self.usage);
            return turn.fail(Failure::read(&error));
        }
        turn.start(event.str("responseId").as_deref(), event.str("modelVersion").as_deref());
        if let Some(usage) = event.get("usageMetadata") {
            let usage = Usage::from_gemini(&usage);
            // Cumulative: the last report counts. Vertex sends some with a traffic type and nothing else.
            if usage.is_known() {
                self.usage = usage;
            }
        }
        let first = |candidate: &Value| candidate.num("index").unwrap_or(0) == 0;
        for candidate in event.get("candidates").iter().flat_map(Value::items).filter(first) {
            self.candidate(&candidate, turn);
        }
        if let Some(reason) = event.get("promptFeedback").and_then(|feedback| feedback.str("blockReason")) {
            self.blocked = true;
            self.finish.get_or_insert_with(|| reason.into_owned());
        }
    }

    fn damaged(&mut self) {
        if let Some(growing) = &mut self.growing {
            growing.broken = Some("damaged");
        }
    }

    fn finish(&mut self, turn: &mut Turn) {
        if self.finish.is_some() {
            // A prompt that is blocked while its answer comes has no finishReason.
            self.end_text(turn);
        }
        turn.usage(&self.usage);
        match &self.finish {
            Some(raw) => turn.stop(self.reason(raw, turn), Some(raw)),
            None => turn.fail(Failure::new(Class::Truncated, "the stream ended before a finishReason")),
        }
    }
}

impl Gemini {
    fn candidate(&mut self, candidate: &Value, turn: &mut Turn) {
        for part in candidate.at(&["content", "parts"]).iter().flat_map(Value::items) {
            self.part(&part, turn);
        }
        if let Some(reason) = candidate.str("finishReason") {
            self.end_text(turn);
            // Only a model that came to its end wrote its arguments to their end.
            if reason != "STOP" {
                self.growing.iter_mut().for_each(|growing| growing.broken = Some("truncated"));
            }
            self.end_growing(turn);
            self.finish = Some(reason.into_owned());
        }
    }

    fn part(&mut self, part: &Value, turn: &mut Turn) {
        if let Some(call) = part.get("functionCall") {
            self.end_text(turn);
            return self.call(&call, part, turn);
        }
        if let Some(text) = part.get("text") {
            let thought = part.get("thought").is_some_and(|flag| flag.raw() == "true");
            let kind = if thought { BlockKind::Reasoning } else { BlockKind::Text };
            return self.text(kind, &text, part, turn);
        }
        if !part.is_empty() {
            self.end_text(turn);
            let block = turn.open(BlockKind::Opaque);
            turn.block_complete(block, None, Some(part.raw()));
        }
    }

    fn text(&mut self, kind: BlockKind, text: &Value, part: &Value, turn: &mut Turn) {
        if part.get("thoughtSignature").is_some() {
            self.end_text(turn);
            let block = turn.open(kind);
            turn.push(block, text);
            return turn.block_complete(block, None, Some(part.raw()));
        }
        if text.raw().len() <= 2 {
            return;
        }
        if self.open.is_some_and(|(_, open)| open != kind) {
            self.end_text(turn);
        }
        let (block, _) = *self.open.get_or_insert_with(|| (turn.open(kind), kind));
        turn.push(block, text);
    }

    fn end_text(&mut self, turn: &mut Turn) {
        if let Some((block, _)) = self.open.take() {
            turn.block_complete(block, None, None);
        }
    }

    fn call(&mut self, call: &Value, part: &Value, turn: &mut Turn) {
        let goes_on = call.get("willContinue").is_some_and(|flag| flag.raw() == "true");
        let name = call.str("name").unwrap_or_default();
        if !name.is_empty() {
            self.end_growing(turn);
            let block = turn.open(BlockKind::Call);
            turn.identify(block, &call.str("id").unwrap_or_default(), &name);
            if !goes_on && call.get("partialArgs").is_none() {
                if let Some(arguments) = call.get("args") {
                    turn.push_str(block, arguments.raw());
                }
                return turn.call_complete(block, Some(part.raw()), None);
            }
            let signature = part.get("thoughtSignature").map(|value| value.raw().to_owned());
            let id = call.str("id").map_or(String::new(), |id| format!(r#""id":{},"#, quoted(&id)));
            let (tree, head) = (Tree::default(), format!(r#"{id}"name":{}"#, quoted(&name)));
            self.growing = Some(Growing { block, tree, head, signature, broken: None });
        }
        self.grow(call, turn);
        if !goes_on {
            self.end_growing(turn);
        }
    }

    fn grow(&mut self, call: &Value, turn: &mut Turn) {
        let Some(growing) = &mut self.growing else { return };
        for piece in call.get("partialArgs").iter().flat_map(Value::items) {
            turn.keep(piece.raw().len());
            if growing.tree.apply(&piece).is_none() {
                growing.broken.get_or_insert("damaged");
            }
        }
    }

    fn end_growing(&mut self, turn: &mut Turn) {
        let Some(Growing { block, tree, head, signature, broken }) = self.growing.take() else { return };
        let arguments = tree.json();
        turn.push_str(block, &arguments);
        let signature = signature.map_or(String::new(), |raw| format!(r#","thoughtSignature":{raw}"#));
        let echo = format!(r#"{{"functionCall":{{{head},"args":{arguments}}}{signature}}}"#);
        turn.call_complete(block, Some(&echo), broken);
    }

    fn reason(&self, raw: &str, turn: &Turn) -> Reason {
        match raw {
            _ if self.blocked => Reason::ContentFilter,
            // Calls end with STOP too.
            "STOP" if turn.has_calls() => Reason::ToolUse,
            "STOP" => Reason::End,
            "MAX_TOKENS" => Reason::MaxTokens,
            "SAFETY"
            | "RECITATION"
            | "PROHIBITED_CONTENT"
            | "BLOCKLIST"
            | "SPII"
            | "IMAGE_SAFETY"
            | "IMAGE_PROHIBITED_CONTENT"
            | "IMAGE_RECITATION" => Reason::ContentFilter,
            _ => Reason::Other,
        }
    }
}
