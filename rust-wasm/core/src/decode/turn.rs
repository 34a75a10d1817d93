//! One response as it builds up: the blocks so far, what was said of them, and how it ended.
//!
//! The dialects call these few verbs; here are the rules that hold for all of them: blocks are numbered in order
//! of first appearance and a number is never used twice, arguments are judged once and at the end, memory is
//! bounded, and nothing follows the last operation.

use super::failure::{Class, Failure};
use super::json::{Kind, Tape, Value};
use super::out::{Fields, Out, Tag};
use super::text::{Unescape, heal_surrogates};
use super::usage::Usage;

/// Bytes of text, arguments and echoes that one response may hold.
pub const MAX_RESPONSE: usize = 16 << 20;
/// Blocks that one response may hold; look-ups among the open ones are linear.
pub const MAX_BLOCKS: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    Text,
    Reasoning,
    Call,
    Opaque,
}

impl BlockKind {
    pub fn name(self) -> &'static str {
        match self {
            BlockKind::Text => "text",
            BlockKind::Reasoning => "reasoning",
            BlockKind::Call => "call",
            BlockKind::Opaque => "opaque",
        }
    }
}

/// `text` is the text shown, or a call's arguments so far.
#[derive(Debug)]
pub struct Block {
    pub kind: BlockKind,
    pub text: String,
    pub complete: bool,
    pub provider_id: String,
    pub name: String,
    join: Unescape,
    void: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    End,
    ToolUse,
    MaxTokens,
    Refusal,
    Pause,
    StopSequence,
    ContentFilter,
    Other,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Reason::End => "end",
            Reason::ToolUse => "tool_use",
            Reason::MaxTokens => "max_tokens",
            Reason::Refusal => "refusal",
            Reason::Pause => "pause",
            Reason::StopSequence => "stop_sequence",
            Reason::ContentFilter => "content_filter",
            Reason::Other => "other",
        }
    }
}

#[derive(Debug, Default)]
pub struct Turn {
    pub out: Out,
    pub ended: bool,
    want_args: bool,
    started: bool,
    blocks: Vec<Block>,
    kept: usize,
    calls: usize,
    judge: Tape,
}

impl Turn {
    pub fn new(want_args: bool) -> Self {
        Turn { want_args, ..Turn::default() }
    }

    pub fn block(&self, block: usize) -> &Block {
        &self.blocks[block]
    }

    /// Whether a call was completed since the last restart.
    pub fn has_calls(&self) -> bool {
        self.calls > 0
    }

    /// Say once what this response is; later ids are ignored (Groq's compound models change them per chunk).
    pub fn start(&mut self, id: Option<&str>, model: Option<&str>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        self.out.op(Tag::Op, "start", 0, |f| f.opt_str("response_id", id).opt_str("model", model));
    }

    pub fn is_started(&self) -> bool {
        self.started
    }

    /// The peer began anew: all blocks so far are void. Their numbers stay used.
    pub fn restart(&mut self) {
        self.started = false;
        self.calls = 0;
        for block in &mut self.blocks {
            block.void = true;
            block.text = String::new();
        }
        let from = self.blocks.len();
        self.out.op(Tag::Op, "restart", from, |f| f.num("from_block", from));
    }

    /// Open the next block and return its number.
    pub fn open(&mut self, kind: BlockKind) -> usize {
        self.blocks.push(Block {
            kind,
            text: String::new(),
            complete: false,
            provider_id: String::new(),
            name: String::new(),
            join: Unescape::default(),
            void: false,
        });
        self.keep(128);
        if self.blocks.len() > MAX_BLOCKS {
            self.fail(Failure::new(Class::TooLarge, "more blocks than a response may hold"));
        }
        self.blocks.len() - 1
    }

    /// Count bytes that stay in memory.
    pub fn keep(&mut self, bytes: usize) {
        self.kept += bytes;
        if self.kept > MAX_RESPONSE {
            self.fail(Failure::new(Class::TooLarge, "the response is larger than a response may be"));
        }
    }

    /// Append a fragment (a JSON string) to a block's text or arguments, and show it.
    pub fn push(&mut self, block: usize, fragment: &Value) {
        if fragment.kind() != Kind::String || self.ended {
            return;
        }
        let target = &mut self.blocks[block];
        let before = target.text.len();
        fragment.push_text(&mut target.join, &mut target.text);
        self.show(block, before);
    }

    /// Like `push`, for text that is at hand unescaped.
    pub fn push_str(&mut self, block: usize, text: &str) {
        if self.ended {
            return;
        }
        let before = self.blocks[block].text.len();
        self.blocks[block].text.push_str(text);
        self.show(block, before);
    }

    fn show(&mut self, block: usize, before: usize) {
        let Block { kind, text, .. } = &self.blocks[block];
        let added = text.len() - before;
        let tag = match kind {
            BlockKind::Text => Some(Tag::Text),
            BlockKind::Reasoning => Some(Tag::Reasoning),
            BlockKind::Call => self.want_args.then_some(Tag::Args),
            BlockKind::Opaque => None,
        };
        if let Some(tag) = tag.filter(|_| added > 0) {
            self.out.live(tag, block, before, &text[before..]);
        }
        self.keep(added);
    }

    /// The end of a block's text: what waits for the rest of a surrogate pair gives up.
    pub fn flush(&mut self, block: usize) -> &str {
        let target = &mut self.blocks[block];
        let before = target.text.len();
        target.join.flush(&mut target.text);
        self.show(block, before);
        &self.blocks[block].text
    }

    /// A call's id and name, each kept from the first fragment that has it; with the name it counts as started.
    pub fn identify(&mut self, block: usize, provider_id: &str, name: &str) {
        let target = &mut self.blocks[block];
        if target.provider_id.is_empty() {
            target.provider_id.push_str(provider_id);
        }
        if !target.name.is_empty() || name.is_empty() || self.ended {
            return;
        }
        target.name.push_str(name);
        self.out.op(Tag::Call, "call_started", block, |f| {
            f.num("block", block).str("provider_id", &target.provider_id).str("name", name)
        });
    }

    /// The provider's final word on a call's arguments, in place of its fragments.
    pub fn set_arguments(&mut self, block: usize, arguments: &str) {
        if self.flush(block).is_empty() {
            return self.push_str(block, arguments);
        }
        if self.blocks[block].text != arguments {
            self.keep(arguments.len());
            self.blocks[block].text = arguments.to_owned();
        }
    }

    /// A call is complete; its arguments are what was pushed. `broken` is why they cannot be trusted, if so.
    pub fn call_complete(&mut self, block: usize, echo: Option<&str>, broken: Option<&str>) {
        self.flush(block);
        if self.ended {
            return;
        }
        let (arguments, invalid) = match broken {
            Some(_) => (self.blocks[block].text.clone(), broken),
            None => self.judge(block),
        };
        self.calls += 1;
        let target = &mut self.blocks[block];
        target.complete = true;
        target.text = arguments;
        self.out.op(Tag::Due, "call_complete", block, |f| {
            f.num("block", block)
                .str("provider_id", &target.provider_id)
                .str("name", &target.name)
                .str("arguments", &target.text)
                .opt_str("invalid", invalid)
                .opt_str("echo", echo)
        });
    }

    /// The arguments as the JSON text of an object, or why they are none. Nothing at all means no arguments;
    /// anything else that is no object stays what it is, it never becomes `{}`.
    fn judge(&mut self, block: usize) -> (String, Option<&'static str>) {
        let text = heal_surrogates(self.blocks[block].text.trim()).into_owned();
        if text.is_empty() {
            return ("{}".to_owned(), None);
        }
        let inner = match self.judge.parse(&text) {
            Err(_) => return (text, Some("unparseable")),
            Ok(value) => match value.kind() {
                Kind::Object => return (text, None),
                Kind::Null => return ("{}".to_owned(), None),
                _ => value.string().map(|inner| heal_surrogates(inner.trim()).into_owned()),
            },
        };
        // JSON inside a JSON string: some servers encode twice.
        match inner {
            Some(inner) if self.judge.parse(&inner).is_ok_and(|value| value.is_object()) => (inner, None),
            _ => (text, Some("not_object")),
        }
    }

    /// A block of text, reasoning or something only the provider understands is complete. `text` replaces what
    /// was streamed if the provider's final word differs; `echo` is the JSON to send back byte for byte.
    pub fn block_complete(&mut self, block: usize, text: Option<&str>, echo: Option<&str>) {
        self.flush(block);
        if self.ended {
            return;
        }
        self.keep(echo.map_or(0, str::len));
        let target = &mut self.blocks[block];
        target.complete = true;
        if let Some(text) = text {
            target.text = text.to_owned();
        }
        self.out.op(Tag::Block, "block_complete", block, |f| {
            f.num("block", block)
                .str("kind", target.kind.name())
                .str("text", &target.text)
                .opt_str("echo", echo)
        });
    }

    /// An event was no JSON: its content is lost, and said to be.
    pub fn malformed(&mut self, bytes: usize) {
        self.keep(64);
        self.out.op(Tag::Op, "malformed", 0, |f| f.num("bytes", bytes));
    }

    pub fn usage(&mut self, usage: &Usage) {
        if usage.is_known() && !self.ended {
            self.out.op(Tag::Op, "usage", 0, |f| usage.write(f));
        }
    }

    pub fn stop(&mut self, reason: Reason, raw: Option<&str>) {
        if !std::mem::replace(&mut self.ended, true) {
            self.out.op(Tag::End, "stop", 0, |f| f.str("reason", reason.name()).opt_str("raw", raw));
        }
    }

    pub fn fail(&mut self, failure: Failure) {
        if !std::mem::replace(&mut self.ended, true) {
            let Failure { class, code, message, retry_after_ms } = failure;
            self.out.op(Tag::End, "error", 0, |f| {
                let fields = f
                    .str("class", class.name())
                    .str("code", &code)
                    .str("message", &message)
                    .bool("retryable", class.retryable());
                match retry_after_ms {
                    Some(ms) => fields.raw("retry_after_ms", &ms.to_string()),
                    None => fields,
                }
            });
        }
    }

    /// The blocks so far as a JSON array; `open_only` leaves out what is complete, and calls.
    pub fn partial(&self, open_only: bool) -> String {
        let mut json = String::from("[");
        for (number, block) in self.blocks.iter().enumerate() {
            let live = matches!(block.kind, BlockKind::Text | BlockKind::Reasoning) && !block.complete;
            if block.void || (open_only && !live) {
                continue;
            }
            if json.len() > 1 {
                json.push(',');
            }
            let fields = Fields::open(&mut json)
                .num("block", number)
                .str("kind", block.kind.name())
                .bool("complete", block.complete)
                .num("bytes", block.text.len())
                .str("text", &block.text);
            match block.kind {
                BlockKind::Call => fields.str("provider_id", &block.provider_id).str("name", &block.name),
                _ => fields,
            }
            .close();
        }
        json.push(']');
        json
    }
}
