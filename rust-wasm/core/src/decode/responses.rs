//! OpenAI Responses. A call is complete at `response.output_item.done`; the terminal events are
//! `response.completed`, `.incomplete` and `.failed`. Everything is keyed by `output_index` first: items overlap at
//! OpenRouter, and their ids change between events at Copilot. llama.cpp sends no index and servers put together from
//! Chat give several items the same one, so kind, ids and order decide what it leaves open. A finished item's own JSON
//! is the authority over its deltas, which LM Studio leaves out altogether.

use std::borrow::Cow;

use super::Protocol;
use super::failure::{Class, Failure};
use super::json::{Kind, Value};
use super::text::quoted;
use super::turn::{BlockKind, Reason, Turn};
use super::usage::Usage;

/// `index` is its place among the items, `id` a call's `call_id`, or else the item's own.
#[derive(Debug)]
struct Item {
    index: u64,
    id: String,
    block: usize,
    kind: BlockKind,
    done: bool,
}

impl Item {
    fn is_at(&self, index: Option<u64>) -> bool {
        index.is_none_or(|index| index == self.index)
    }

    fn is_named(&self, id: &str) -> bool {
        !id.is_empty() && self.id == id
    }

    /// Whether it was finished, and is what an item of that id at that place is: ids change, but not those of calls.
    fn was(&self, index: u64, kind: BlockKind, id: &str) -> bool {
        let unnamed = kind != BlockKind::Call || id.is_empty() || self.id.is_empty();
        self.done && self.kind == kind && (self.is_named(id) || (unnamed && self.index == index))
    }
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

    /// The item that is open here: the one of that id, else the latest.
    fn open_at(&self, index: Option<u64>, kind: BlockKind, id: &str) -> Option<usize> {
        let fits = |item: &&Item| !item.done && item.kind == kind && item.is_at(index);
        let at =
            |wanted: &dyn Fn(&Item) -> bool| self.items.iter().rposition(|item| fits(&item) && wanted(item));
        at(&|item| item.is_named(id)).or_else(|| at(&|_| true))
    }

    /// Whether this very item was finished before. Items at two places are two, whatever their ids.
    fn is_done(&self, index: Option<u64>, kind: BlockKind, id: &str) -> bool {
        let same = |item: &Item| item.done && item.kind == kind && item.is_at(index) && item.is_named(id);
        self.items.iter().any(same)
    }

    fn delta(&mut self, kind: BlockKind, event: &Value, turn: &mut Turn) {
        let Some(delta) = event.get("delta").filter(|delta| delta.kind() == Kind::String) else { return };
        let (index, id) = (event.num("output_index"), event.str("item_id").unwrap_or_default());
        // A call without its item has no name; it is opened when its item comes.
        let at = match self.open_at(index, kind, &id) {
            Some(at) => at,
            None => match index {
                Some(at)
                    if kind != BlockKind::Call && !self.items.iter().any(|item| item.was(at, kind, "")) =>
                {
                    self.open(index, &id, kind, turn)
                }
                _ => return,
            },
        };
        turn.push(self.items[at].block, &delta);
    }

    fn added(&mut self, event: &Value, turn: &mut Turn) {
        let Some(item) = event.get("item") else { return };
        let (index, kind, id) = (event.num("output_index"), kind_of(&item), id_of(&item));
        // Without an index, or where all have the same, only its id says that it is another one.
        let same = |&at: &usize| id.is_empty() || self.items[at].id.is_empty() || self.items[at].id == id;
        if self.open_at(index, kind, &id).filter(same).is_none() && !self.is_done(index, kind, &id) {
            let at = self.open(index, &id, kind, turn);
            self.identify(at, &item, turn);
        }
    }

    fn open(&mut self, index: Option<u64>, id: &str, kind: BlockKind, turn: &mut Turn) -> usize {
        let index = index.unwrap_or(self.items.len() as u64);
        self.items.push(Item { index, id: id.to_owned(), block: turn.open(kind), kind, done: false });
        self.items.len() - 1
    }

    fn identify(&self, at: usize, item: &Value, turn: &mut Turn) {
        if self.items[at].kind == BlockKind::Call {
            turn.identify(self.items[at].block, &id_of(item), &item.str("name").unwrap_or_default());
        }
    }

    fn item_done(&mut self, event: &Value, turn: &mut Turn) {
        if let Some(item) = event.get("item").filter(|item| !item.is_empty()) {
            self.complete(event.num("output_index"), &item, turn);
        }
    }

    fn complete(&mut self, index: Option<u64>, item: &Value, turn: &mut Turn) {
        let (kind, id) = (kind_of(item), id_of(item));
        // A list may hold more items than a response; what follows would be looked for among ever more.
        if turn.ended || self.is_done(index, kind, &id) {
            return;
        }
        let at = self.open_at(index, kind, &id).unwrap_or_else(|| self.open(index, &id, kind, turn));
        self.identify(at, item, turn);
        let open = &mut self.items[at];
        (open.done, open.id) = (true, id.into_owned());
        let block = open.block;
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
        self.listed(status == "completed", response, turn);
        turn.usage(&usage_of(response));
        let why = response.at(&["incomplete_details", "reason"]).and_then(|reason| reason.string());
        self.stop(status, why.as_deref(), turn);
    }

    /// The items that the end lists: all, for servers that send no item events; else those that had none. What was cut
    /// off counts as far as it was shown.
    fn listed(&mut self, whole: bool, response: &Value, turn: &mut Turn) {
        let told = self.items.len();
        for (index, item) in (0..).zip(response.get("output").iter().flat_map(Value::items)) {
            let (kind, id) = (kind_of(&item), id_of(&item));
            let was_told = !turn.ended && self.items[..told].iter().any(|known| known.was(index, kind, &id));
            if !was_told && (whole || kind == BlockKind::Text) {
                self.complete(Some(index), &item, turn);
            }
        }
    }

    fn stop(&self, status: &str, why: Option<&str>, turn: &mut Turn) {
        // What was shown is whole without its item's end.
        let shown = |item: &&Item| !item.done && matches!(item.kind, BlockKind::Text | BlockKind::Reasoning);
        self.items.iter().filter(shown).for_each(|item| turn.block_complete(item.block, None, None));
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

fn id_of<'t>(item: &Value<'t>) -> Cow<'t, str> {
    item.str("call_id").or_else(|| item.str("id")).unwrap_or_default()
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
