//! OpenAI Chat Completions, the many servers that imitate it, and Workers AI's own chunks, which mix with it.
//!
//! The terminal event is `finish_reason` or `[DONE]`, whichever the server sends; the end is reported at `[DONE]`
//! or at the end of the bytes, because usage comes after `finish_reason`. Fragments of calls are put together in
//! `calls`. Text is one block and reasoning another, wherever their pieces stand: that is how they are sent back.

use std::borrow::Cow;

use super::Protocol;
use super::calls::Calls;
use super::details::Details;
use super::failure::{Class, Failure};
use super::json::{Kind, Value};
use super::text::quoted;
use super::turn::{BlockKind, Reason, Turn};
use super::usage::Usage;

#[derive(Debug, Default)]
pub struct Chat {
    text: Option<usize>,
    reasoning: Option<usize>,
    reasoning_key: Option<&'static str>,
    details: Details,
    calls: Calls,
    usage: Usage,
    usage_is_native: bool,
    finish: Option<String>,
    refused: bool,
    heard: bool,
}

impl Protocol for Chat {
    fn event(&mut self, event: &Value, turn: &mut Turn) {
        self.heard = true;
        if let Some(error) = reported_error(event) {
            return self.fail(Failure::read(&error), turn);
        }
        if !turn.is_started() {
            let text = |key| event.str(key).filter(|text| !text.is_empty());
            turn.start(text("id").as_deref(), text("model").as_deref());
        }
        self.take_usage(event);
        match event.get("choices") {
            // Workers AI's own chunk is the delta itself.
            None => self.native(event, turn),
            Some(choices) => {
                for choice in choices.items().filter(|choice| choice.num("index").unwrap_or(0) == 0) {
                    self.choice(&choice, turn);
                }
            }
        }
    }

    fn damaged(&mut self) {
        self.calls.damaged();
    }

    fn done(&mut self, turn: &mut Turn) {
        if self.heard {
            self.end(turn);
        } else {
            // Workers AI at times answers a stream with nothing; asked again it works.
            self.fail(Failure::new(Class::Truncated, "the stream held nothing but its end"), turn);
        }
    }

    /// The stream ended by itself; some servers send no `[DONE]`.
    fn finish(&mut self, turn: &mut Turn) {
        if self.finish.is_some() {
            self.end(turn);
        } else {
            self.fail(Failure::new(Class::Truncated, "the stream ended before a finish_reason"), turn);
        }
    }
}

impl Chat {
    fn fail(&mut self, failure: Failure, turn: &mut Turn) {
        turn.usage(&self.usage);
        turn.fail(failure);
    }

    /// Usage repeats and grows from chunk to chunk on some servers: the last one that says anything counts. In a
    /// mixed stream only Workers AI's own report is cumulative.
    fn take_usage(&mut self, event: &Value) {
        let native = event.get("choices").is_none();
        let in_choice = || event.get("choices")?.items().next()?.get("usage"); // Kimi
        let usage = event.get("usage").or_else(|| event.at(&["x_groq", "usage"])).or_else(in_choice);
        let usage = usage.and_then(|usage| Usage::from_chat(&usage));
        if let Some(usage) = usage.filter(|_| native || !self.usage_is_native) {
            self.usage = usage;
            self.usage_is_native = native;
        }
    }

    fn native(&mut self, event: &Value, turn: &mut Turn) {
        // The REST answer to a request that was not streamed after all.
        if let Some(result) = event.get("result").filter(Value::is_object) {
            self.event(&result, turn);
            self.finish.get_or_insert_with(|| "stop".to_owned());
            return;
        }
        if let Some(response) = event.get("response") {
            match response.kind() {
                Kind::String => self.say(&response, turn),
                // A token that happens to be a number arrives as one.
                Kind::Number => self.say_str(response.raw(), turn),
                _ => {}
            }
        }
        self.delta(event, turn);
        self.finished(event, turn);
    }

    fn choice(&mut self, choice: &Value, turn: &mut Turn) {
        if let Some(delta) = choice.get("delta").or_else(|| choice.get("message")) {
            self.delta(&delta, turn);
        }
        self.finished(choice, turn);
    }

    fn finished(&mut self, choice: &Value, turn: &mut Turn) {
        let Some(reason) = choice.str("finish_reason").filter(|reason| !reason.is_empty()) else { return };
        match finish_of(&reason) {
            Finish::Broken(class) => {
                let stated = choice.get("error").map(|error| Failure::read(&error));
                let unsaid = || Failure::new(class, &format!("finish_reason is {reason}"));
                self.fail(stated.unwrap_or_else(unsaid), turn);
            }
            finish => {
                self.calls.close(matches!(finish, Finish::Limit | Finish::Filter), turn);
                self.finish.get_or_insert_with(|| reason.into_owned());
            }
        }
    }

    fn delta(&mut self, delta: &Value, turn: &mut Turn) {
        if let Some(content) = delta.get("content") {
            self.content(&content, turn);
        }
        self.think(delta, turn);
        if let Some(refusal) = delta.str("refusal").filter(|text| !text.is_empty()) {
            self.refused = true;
            self.say_str(&refusal, turn);
        }
        for fragment in delta.get("tool_calls").iter().flat_map(Value::items) {
            self.calls.fragment(&fragment, turn);
        }
        if let Some(fragment) = delta.get("function_call").filter(Value::is_object) {
            self.calls.fragment(&fragment, turn);
        }
    }

    fn content(&mut self, content: &Value, turn: &mut Turn) {
        self.say(content, turn);
        // Mistral: a list of typed parts.
        for part in content.items() {
            if let Some(text) = part.get("text") {
                self.say(&text, turn);
            }
            match part.get("thinking") {
                Some(text) if text.kind() == Kind::String => self.muse(&text, turn),
                Some(parts) => {
                    parts.items().filter_map(|p| p.get("text")).for_each(|text| self.muse(&text, turn));
                }
                None => {}
            }
        }
    }

    /// Reasoning has three names; some servers send the same piece under two of them.
    fn think(&mut self, delta: &Value, turn: &mut Turn) {
        let has_text = |value: &Value| value.kind() == Kind::String && value.raw().len() > 2;
        let named = ["reasoning_content", "reasoning"]
            .into_iter()
            .find_map(|key| Some((key, delta.get(key).filter(has_text)?)));
        if let Some((key, text)) = named {
            self.reasoning_key.get_or_insert(key);
            self.muse(&text, turn);
        }
        for detail in delta.get("reasoning_details").iter().flat_map(Value::items) {
            if let Some(text) = self.details.push(&detail, turn).filter(|_| named.is_none()) {
                self.muse(&text, turn);
            }
        }
    }

    fn say(&mut self, text: &Value, turn: &mut Turn) {
        if text.kind() == Kind::String && text.raw().len() > 2 {
            let block = *self.text.get_or_insert_with(|| turn.open(BlockKind::Text));
            turn.push(block, text);
        }
    }

    fn say_str(&mut self, text: &str, turn: &mut Turn) {
        let block = *self.text.get_or_insert_with(|| turn.open(BlockKind::Text));
        turn.push_str(block, text);
    }

    fn muse(&mut self, text: &Value, turn: &mut Turn) {
        if text.kind() == Kind::String && text.raw().len() > 2 {
            let block = *self.reasoning.get_or_insert_with(|| turn.open(BlockKind::Reasoning));
            turn.push(block, text);
        }
    }

    fn end(&mut self, turn: &mut Turn) {
        self.calls.close(false, turn);
        self.end_reasoning(turn);
        if let Some(block) = self.text {
            turn.block_complete(block, None, None);
        }
        turn.usage(&self.usage);
        let reason = self.reason(turn);
        turn.stop(reason, self.finish.as_deref());
    }

    /// The echo is the message member it came as.
    fn end_reasoning(&mut self, turn: &mut Turn) {
        let details = self.details.echo();
        let block = match (self.reasoning, &details) {
            (Some(block), _) => block,
            // Encrypted reasoning shows nothing, and must be sent back all the same.
            (None, Some(_)) => turn.open(BlockKind::Reasoning),
            (None, None) => return,
        };
        let echo = match (details, self.reasoning_key) {
            (Some(details), _) => Some(format!(r#"{{"reasoning_details":{details}}}"#)),
            (None, Some(key)) => Some(format!(r#"{{"{key}":{}}}"#, quoted(turn.flush(block)))),
            (None, None) => None,
        };
        turn.block_complete(block, None, echo.as_deref());
    }

    fn reason(&self, turn: &Turn) -> Reason {
        match self.finish.as_deref().map_or(Finish::Whole, finish_of) {
            Finish::Limit => Reason::MaxTokens,
            Finish::Filter => Reason::ContentFilter,
            // A forced tool, and Kimi, end with `stop` and calls.
            Finish::Whole if turn.has_calls() => Reason::ToolUse,
            _ if self.refused => Reason::Refusal,
            Finish::Whole => Reason::End,
            Finish::Unknown | Finish::Broken(_) => Reason::Other,
        }
    }
}

/// What a `finish_reason` means for what was said before it.
enum Finish {
    Whole,
    Limit,
    Filter,
    /// The server gave up, and says so in this one word.
    Broken(Class),
    Unknown,
}

/// OpenAI's words, and those that its imitators documented or were seen to send in their place.
fn finish_of(raw: &str) -> Finish {
    match raw {
        "stop" | "tool_calls" | "function_call" => Finish::Whole,
        // Together and TGI; servers that pass on what Claude's or Gemini's API says.
        "eos" | "eos_token" | "stop_sequence" | "end_turn" | "tool_use" | "STOP" => Finish::Whole,
        // Mistral, Z.ai, and the same servers.
        "length" | "model_length" | "model_context_window_exceeded" | "max_tokens" | "MAX_TOKENS" => {
            Finish::Limit
        }
        "content_filter" | "sensitive" | "SAFETY" | "RECITATION" | "PROHIBITED_CONTENT" | "BLOCKLIST"
        | "SPII" => Finish::Filter,
        // Gemini's compatible endpoint adds its own reason.
        _ if raw.starts_with("content_filter:") => Finish::Filter,
        // DeepSeek; then Z.ai, and vLLM and SGLang, whose engine dropped the request and which send `[DONE]` all the same.
        "insufficient_system_resource" => Finish::Broken(Class::Overloaded),
        "error" | "network_error" | "abort" => Finish::Broken(Class::Server),
        _ => Finish::Unknown,
    }
}

/// An error chunk inside the stream: `{"error": ..}`, Groq's `x_groq.error`, or Workers AI's REST envelope.
fn reported_error<'t>(event: &Value<'t>) -> Option<Value<'t>> {
    // `{}`, `""` and `false` say that there is none.
    let stated = event.get("error").filter(|error| match error.kind() {
        Kind::String => error.raw().len() > 2,
        _ => !error.is_empty(),
    });
    let envelope = || event.get("errors")?.items().next();
    let typed = || (event.str("object") == Some(Cow::Borrowed("error"))).then_some(*event);
    stated.or_else(|| event.at(&["x_groq", "error"])).or_else(envelope).or_else(typed)
}
