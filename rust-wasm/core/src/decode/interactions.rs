//! Gemini Interactions. A call is complete at `step.stop` of a `function_call` step; the terminal event is
//! `interaction.completed`. Known from eleven recordings only.

use super::Protocol;
use super::failure::{Class, Failure};
use super::json::{Sets, Tape, Value, patched};
use super::text::quoted;
use super::turn::{BlockKind, Reason, Turn};
use super::usage::Usage;

/// A step between its start and its stop; `sets` are members that deltas gave, for the echo.
#[derive(Debug)]
struct Step {
    index: u64,
    block: usize,
    kind: BlockKind,
    raw: String,
    sets: Sets,
    damaged: bool,
}

#[derive(Debug, Default)]
pub struct Interactions {
    open: Vec<Step>,
}

impl Protocol for Interactions {
    fn event(&mut self, event: &Value, turn: &mut Turn) {
        match event.str("event_type").as_deref() {
            Some("step.delta") => self.delta(event, turn),
            Some("step.start") => self.start(event, turn),
            Some("step.stop") => self.stop(event, turn),
            Some("interaction.created") => {
                let text = |key| event.at(&["interaction", key]).and_then(|value| value.string());
                turn.start(text("id").as_deref(), text("model").as_deref());
            }
            Some("interaction.completed") => self.completed(event, turn),
            _ => {
                if let Some(error) = event.get("error") {
                    turn.fail(Failure::read(&error));
                }
            }
        }
    }

    fn damaged(&mut self) {
        self.open.iter_mut().for_each(|step| step.damaged = true);
    }

    fn finish(&mut self, turn: &mut Turn) {
        turn.fail(Failure::new(Class::Truncated, "the stream ended before interaction.completed"));
    }
}

impl Interactions {
    fn start(&mut self, event: &Value, turn: &mut Turn) {
        let Some((index, step)) = event.num("index").zip(event.get("step")) else { return };
        let kind = match step.str("type").as_deref() {
            Some("model_output") => BlockKind::Text,
            Some("thought") => BlockKind::Reasoning,
            Some("function_call") => BlockKind::Call,
            _ => BlockKind::Opaque,
        };
        turn.keep(step.raw().len());
        let block = turn.open(kind);
        if kind == BlockKind::Call {
            turn.identify(block, &step.str("id").unwrap_or_default(), &step.str("name").unwrap_or_default());
        }
        self.open.retain(|open| open.index != index);
        let (raw, sets) = (step.raw().to_owned(), Sets::default());
        self.open.push(Step { index, block, kind, raw, sets, damaged: false });
    }

    fn delta(&mut self, event: &Value, turn: &mut Turn) {
        let Some((index, delta)) = event.num("index").zip(event.get("delta")) else { return };
        let Some(step) = self.open.iter_mut().find(|step| step.index == index) else { return };
        let text = match step.kind {
            BlockKind::Text => delta.get("text"),
            BlockKind::Reasoning => delta.at(&["content", "text"]).or_else(|| delta.get("text")),
            BlockKind::Call => delta.get("arguments"),
            BlockKind::Opaque => None,
        };
        match text {
            Some(text) => turn.push(step.block, &text),
            None => step.set(&delta, turn),
        }
    }

    fn completed(&mut self, event: &Value, turn: &mut Turn) {
        // Shown text is whole without its stop.
        for step in self.open.extract_if(.., |step| step.kind == BlockKind::Text) {
            step.complete(turn);
        }
        completed(event, turn);
    }

    fn stop(&mut self, event: &Value, turn: &mut Turn) {
        let Some(index) = event.num("index") else { return };
        if let Some(at) = self.open.iter().position(|step| step.index == index) {
            self.open.remove(at).complete(turn);
        }
    }
}

impl Step {
    fn set(&mut self, delta: &Value, turn: &mut Turn) {
        turn.keep(delta.raw().len());
        // An empty signature announces the real one.
        self.sets.take(delta, |_, raw| raw == r#""""#);
    }

    fn complete(self, turn: &mut Turn) {
        let mut tape = Tape::default();
        let Ok(step) = tape.parse(&self.raw) else { return };
        let text = turn.flush(self.block).to_owned();
        let mut changes = self.sets.changes();
        match self.kind {
            BlockKind::Call => {
                let broken = self.damaged.then_some("damaged");
                if text.is_empty() {
                    let whole = step.get("arguments").filter(Value::is_object);
                    turn.push_str(self.block, whole.map_or("", |arguments| arguments.raw()));
                } else if Tape::default().parse(&text).is_ok() {
                    changes.push(("arguments", text));
                }
                turn.call_complete(self.block, Some(&patched(&step, &changes)), broken);
            }
            BlockKind::Reasoning => {
                if !text.is_empty() {
                    changes.push(("summary", format!(r#"[{{"type":"text","text":{}}}]"#, quoted(&text))));
                }
                turn.block_complete(self.block, None, Some(&patched(&step, &changes)));
            }
            BlockKind::Opaque => turn.block_complete(self.block, None, Some(&patched(&step, &changes))),
            BlockKind::Text => turn.block_complete(self.block, None, None),
        }
    }
}

fn completed(event: &Value, turn: &mut Turn) {
    let interaction = event.get("interaction");
    let usage = interaction.and_then(|interaction| interaction.get("usage"));
    turn.usage(&usage.map(|usage| Usage::from_interactions(&usage)).unwrap_or_default());
    let status = interaction.and_then(|interaction| interaction.str("status"));
    if status.as_deref() == Some("failed") {
        let error = interaction.and_then(|interaction| interaction.get("error"));
        let failure = error.map(|error| Failure::read(&error));
        return turn.fail(failure.unwrap_or_else(|| Failure::new(Class::Unknown, "the interaction failed")));
    }
    let reason = match status.as_deref() {
        Some("requires_action") => Reason::ToolUse,
        Some("completed") if turn.has_calls() => Reason::ToolUse,
        Some("completed") => Reason::End,
        _ => Reason::Other,
    };
    turn.stop(reason, status.as_deref());
}
