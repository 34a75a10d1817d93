//! OpenAI Responses. A call is complete at `response.output_item.done`; the terminal events are
//! `response.completed`, `.incomplete` and `.failed`. Everything is keyed by `output_index`: items overlap at
//! OpenRouter, and their ids change between events at Copilot. A finished item's own JSON is the authority over
//! its deltas, which LM Studio leaves out altogether.

use std::borrow::Cow;

use super::Protocol;
use super::failure::{Class, Failure};
use super::json::{Kind, Value};
use super::text::quoted;
use super::turn::{BlockKind, Reason, Turn};
use super::usage::Usage;

#[derive(Debug)]
struct Item {
    index: u64,
    block: usize,
    kind: BlockKind,
    done: bool,
}

#[derive(Debug, Default)]
pub struct Responses {
    items: Vec<Item>,
    refused: bool,
}

impl Protocol for Responses {
    fn event(&mut self, event: &Value, turn: &mut Turn) {
        let kind = event.str("type").unwrap_or_default();
        let Some(kind) = kind.strip_prefix("response.") else {
            return self.other(&kind, event, turn);
        };
        match kind {
            "output_text.delta" | "refusal.delta" => self.delta(BlockKind::Text, event, turn),
            "reasoning_summary_text.delta" | "reasoning_text.delta" => {
                self.delta(BlockKind::Reasoning, event, turn);
            }
            "function_call_arguments.delta" | "custom_tool_call_input.delta" => {
                self.delta(BlockKind::Call, event, turn);
            }
            "output_item.added" => self.added(event, turn),
            "output_item.done" => self.item_done(event, turn),
            "created" | "in_progress" | "queued" => start(event, turn),
            "completed" | "incomplete" | "cancelled" => self.end(kind, event, turn),
            "failed" => failed(event, turn),
            _ => {}
        }
    }

    fn finish(&mut self, turn: &mut Turn) {
        turn.fail(Failure::new(Class::Truncated, "the stream ended before response.completed"));
    }
}

impl Responses {
    fn other(&mut self, kind: &str, event: &Value, turn: &mut Turn) {
        if let Some(error) = event.get("error") {
            turn.fail(Failure::read(&error));
        } else if kind == "error" {
            turn.fail(Failure::read(event));
        } else if event.str("object") == Some(Cow::Borrowed("response")) {
            // A whole response in answer to `stream: true`.
            start_with(event, turn);
            let status = event.str("status").unwrap_or_default();
            self.end_with(&status, event, turn);
        }
    }

    fn find(&self, index: u64) -> Option<usize> {
        self.items.iter().position(|item| item.index == index)
    }

    fn delta(&mut self, kind: BlockKind, event: &Value, turn: &mut Turn) {
        let Some((index, delta)) = event.num("output_index").zip(event.get("delta")) else { return };
        // A call without its item has no name; it is opened when its item comes.
        let at = match self.find(index) {
            None if kind != BlockKind::Call => self.open(index, kind, turn),
            None => return,
            Some(at) => at,
        };
        let Item { block, kind: opened, done, .. } = self.items[at];
        if kind == opened && !done {
            turn.push(block, &delta);
        }
    }

    fn added(&mut self, event: &Value, turn: &mut Turn) {
        let Some((index, item)) = event.num("output_index").zip(event.get("item")) else { return };
        if self.find(index).is_none() {
            let at = self.open(index, kind_of(&item), turn);
            self.identify(at, &item, turn);
        }
    }

    fn open(&mut self, index: u64, kind: BlockKind, turn: &mut Turn) -> usize {
        self.items.push(Item { index, block: turn.open(kind), kind, done: false });
        self.items.len() - 1
    }

    fn identify(&self, at: usize, item: &Value, turn: &mut Turn) {
        if self.items[at].kind == BlockKind::Call {
            let id = item.str("call_id").or_else(|| item.str("id")).unwrap_or_default();
            turn.identify(self.items[at].block, &id, &item.str("name").unwrap_or_default());
        }
    }

    fn item_done(&mut self, event: &Value, turn: &mut Turn) {
        if let Some((index, item)) = event.num("output_index").zip(event.get("item")) {
            self.complete(index, &item, turn);
        }
    }

    fn complete(&mut self, index: u64, item: &Value, turn: &mut Turn) {
        let at = self.find(index).unwrap_or_else(|| self.open(index, kind_of(item), turn));
        if std::mem::replace(&mut self.items[at].done, true) {
            return;
        }
        self.identify(at, item, turn);
        let Item { block, kind, .. } = self.items[at];
        match kind {
            BlockKind::Call => complete_call(block, item, turn),
            BlockKind::Opaque => turn.block_complete(block, None, Some(item.raw())),
            BlockKind::Text | BlockKind::Reasoning => self.complete_text(block, item, turn),
        }
    }

    fn complete_text(&mut self, block: usize, item: &Value, turn: &mut Turn) {
        let whole = self.text_of(item);
        let shown = turn.flush(block);
        // Shown is shown: what is missing at its end is added, a text that differs otherwise replaces it.
        if let Some(rest) = whole.strip_prefix(shown).map(str::to_owned) {
            turn.push_str(block, &rest);
        }
        let text = (!whole.is_empty()).then_some(&*whole);
        turn.block_complete(block, text, Some(item.raw()));
    }

    /// The text of a message or of a reasoning item: summaries where there are any, its content otherwise.
    fn text_of(&mut self, item: &Value) -> String {
        let mut text = String::new();
        for list in ["summary", "content"] {
            for part in item.get(list).iter().flat_map(Value::items) {
                let refusal = part.str("refusal");
                self.refused |= refusal.is_some();
                text.push_str(&refusal.or_else(|| part.str("text")).unwrap_or_default());
            }
            if !text.is_empty() {
                break;
            }
        }
        text
    }

    fn end(&mut self, status: &str, event: &Value, turn: &mut Turn) {
        if let Some(response) = event.get("response") {
            start_with(&response, turn);
            self.end_with(status, &response, turn);
        } else {
            self.stop(status, None, turn);
        }
    }

    fn end_with(&mut self, status: &str, response: &Value, turn: &mut Turn) {
        if status == "failed" {
            return fail_with(response, turn);
        }
        if status == "completed" {
            // Servers that send no item events still list the items here.
            for (index, item) in response.get("output").iter().flat_map(Value::items).enumerate() {
                self.complete(index as u64, &item, turn);
            }
        }
        turn.usage(&usage_of(response));
        let why = response.at(&["incomplete_details", "reason"]).and_then(|reason| reason.string());
        self.stop(status, why.as_deref(), turn);
    }

    fn stop(&self, status: &str, why: Option<&str>, turn: &mut Turn) {
        let reason = match (status, why) {
            (_, Some("max_output_tokens")) => Reason::MaxTokens,
            (_, Some("content_filter")) => Reason::ContentFilter,
            ("completed", _) if turn.has_calls() => Reason::ToolUse,
            ("completed", _) if self.refused => Reason::Refusal,
            ("completed", _) => Reason::End,
            _ => Reason::Other,
        };
        turn.stop(reason, Some(why.unwrap_or(status)));
    }
}

fn kind_of(item: &Value) -> BlockKind {
    match item.str("type").as_deref() {
        Some("message") => BlockKind::Text,
        Some("reasoning") => BlockKind::Reasoning,
        Some("function_call" | "custom_tool_call") => BlockKind::Call,
        _ => BlockKind::Opaque,
    }
}

/// `status` may be `in_progress` on a complete call (programmatic calls); only `incomplete` means cut off. A custom
/// tool's input is free text; it becomes the object `{"input": ..}`.
fn complete_call(block: usize, item: &Value, turn: &mut Turn) {
    let broken = (item.str("status").as_deref() == Some("incomplete")).then_some("truncated");
    let custom = item.str("input").map(|input| format!(r#"{{"input":{}}}"#, quoted(&input)));
    let arguments = match item.get("arguments") {
        _ if custom.is_some() => custom,
        Some(value) if value.kind() == Kind::String => value.string().map(Cow::into_owned),
        Some(value) => Some(value.raw().to_owned()),
        None => None,
    };
    if let Some(arguments) = arguments {
        turn.set_arguments(block, &arguments);
    }
    turn.call_complete(block, Some(item.raw()), broken);
}

fn usage_of(response: &Value) -> Usage {
    response.get("usage").map(|usage| Usage::from_responses(&usage)).unwrap_or_default()
}

fn start(event: &Value, turn: &mut Turn) {
    if let Some(response) = event.get("response") {
        start_with(&response, turn);
    }
}

fn start_with(response: &Value, turn: &mut Turn) {
    turn.start(response.str("id").as_deref(), response.str("model").as_deref());
}

fn failed(event: &Value, turn: &mut Turn) {
    match event.get("response") {
        Some(response) => fail_with(&response, turn),
        None => turn.fail(Failure::new(Class::Unknown, "response.failed")),
    }
}

fn fail_with(response: &Value, turn: &mut Turn) {
    turn.usage(&usage_of(response));
    let failure = response.get("error").map(|error| Failure::read(&error));
    turn.fail(failure.unwrap_or_else(|| Failure::new(Class::Unknown, "the response failed")));
}
