//! Token usage in one normal form, whose fields prices are for (src/edgeloop/prices.py). Missing is None, never zero:
//! an unknown cost is not a free call. Cumulative reports overwrite, they are never added.

use super::json::{Kind, Value};
use super::out::Fields;

/// `input_uncached + cache_read + cache_write_*` is the whole prompt; `output` is everything billed as output.
/// `cost` is the provider's own figure. `server_tools` and `iterations` are the provider's JSON, unread here:
/// where `iterations` is present it, not the totals, is what Anthropic bills.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    pub input_uncached: Option<u64>,
    pub cache_read: Option<u64>,
    pub cache_write_5m: Option<u64>,
    pub cache_write_1h: Option<u64>,
    pub output: Option<u64>,
    pub output_visible: Option<u64>,
    pub output_reasoning: Option<u64>,
    pub cost: Option<String>,
    pub server_tools: Option<String>,
    pub iterations: Option<String>,
}

impl Usage {
    pub fn is_known(&self) -> bool {
        self.input_uncached.is_some() || self.output.is_some() || self.cache_read.is_some()
    }

    pub fn write<'o>(&self, fields: Fields<'o>) -> Fields<'o> {
        fields
            .opt_num("input_uncached", self.input_uncached)
            .opt_num("cache_read", self.cache_read)
            .opt_num("cache_write_5m", self.cache_write_5m)
            .opt_num("cache_write_1h", self.cache_write_1h)
            .opt_num("output", self.output)
            .opt_num("output_visible", self.output_visible)
            .opt_num("output_reasoning", self.output_reasoning)
            .raw("cost_reported", self.cost.as_deref().unwrap_or("null"))
            .raw("server_tools", self.server_tools.as_deref().unwrap_or("null"))
            .raw("iterations", self.iterations.as_deref().unwrap_or("null"))
    }

    /// Anthropic: every report is cumulative and may leave fields out, so only what it names is overwritten.
    pub fn merge_anthropic(&mut self, usage: &Value) {
        overwrite(&mut self.input_uncached, usage.num("input_tokens"));
        overwrite(&mut self.cache_read, usage.num("cache_read_input_tokens"));
        overwrite(&mut self.output, usage.num("output_tokens"));
        let thinking = usage.at(&["output_tokens_details", "thinking_tokens"]).and_then(|v| v.uint());
        overwrite(&mut self.output_reasoning, thinking);
        let written = usage.num("cache_creation_input_tokens");
        let hour = usage.at(&["cache_creation", "ephemeral_1h_input_tokens"]).and_then(|v| v.uint());
        let short = usage.at(&["cache_creation", "ephemeral_5m_input_tokens"]).and_then(|v| v.uint());
        overwrite(&mut self.cache_write_1h, hour);
        let long = self.cache_write_1h.unwrap_or(0);
        overwrite(&mut self.cache_write_5m, short.or(written.map(|all| all.saturating_sub(long))));
        overwrite(&mut self.server_tools, usage.get("server_tool_use").map(|v| v.raw().to_owned()));
        overwrite(&mut self.iterations, usage.get("iterations").map(|v| v.raw().to_owned()));
        self.output_visible = self.output.zip(self.output_reasoning).map(|(all, r)| all.saturating_sub(r));
    }

    /// OpenAI Chat and its relatives. None for a report of nothing (some send zeros until the last chunk).
    pub fn from_chat(usage: &Value) -> Option<Usage> {
        let (prompt, completion) = (usage.num("prompt_tokens"), usage.num("completion_tokens"));
        if prompt.unwrap_or(0) + completion.unwrap_or(0) == 0 {
            return None;
        }
        let details = usage.get("prompt_tokens_details");
        let detail = |key| details.and_then(|v: Value| v.num(key));
        let cached = detail("cached_tokens")
            .or_else(|| usage.num("prompt_cache_hit_tokens")) // DeepSeek
            .or_else(|| usage.num("cached_tokens")); // Kimi
        let written = detail("cache_write_tokens");
        let reasoning = usage.at(&["completion_tokens_details", "reasoning_tokens"]).and_then(|v| v.uint());
        let (output, visible) = chat_output(completion, reasoning, prompt, usage.num("total_tokens"));
        Some(Usage {
            input_uncached: prompt.map(|all| uncached(all, cached, written)),
            cache_read: cached,
            cache_write_5m: written,
            output,
            output_visible: visible,
            output_reasoning: reasoning,
            cost: cost_of(usage),
            ..Usage::default()
        })
    }

    pub fn from_responses(usage: &Value) -> Usage {
        let input = |key| usage.at(&["input_tokens_details", key]).and_then(|v| v.uint());
        let (cached, written) = (input("cached_tokens"), input("cache_write_tokens"));
        let reasoning = usage.at(&["output_tokens_details", "reasoning_tokens"]).and_then(|v| v.uint());
        let output = usage.num("output_tokens");
        Usage {
            input_uncached: usage.num("input_tokens").map(|all| uncached(all, cached, written)),
            cache_read: cached,
            cache_write_5m: written,
            output,
            output_visible: output.zip(reasoning).map(|(all, r)| all.saturating_sub(r)),
            output_reasoning: reasoning,
            cost: cost_of(usage),
            ..Usage::default()
        }
    }

    /// Gemini: `candidatesTokenCount` leaves the thoughts out, so both are summed; tool prompts are input too.
    pub fn from_gemini(usage: &Value) -> Usage {
        let cached = usage.num("cachedContentTokenCount");
        let (visible, thoughts) = (usage.num("candidatesTokenCount"), usage.num("thoughtsTokenCount"));
        let tools = usage.num("toolUsePromptTokenCount").unwrap_or(0);
        Usage {
            input_uncached: usage.num("promptTokenCount").map(|all| uncached(all, cached, None) + tools),
            cache_read: cached,
            output: sum(visible, thoughts),
            output_visible: visible,
            output_reasoning: thoughts,
            ..Usage::default()
        }
    }

    pub fn from_interactions(usage: &Value) -> Usage {
        let cached = usage.num("total_cached_tokens");
        let (visible, thoughts) = (usage.num("total_output_tokens"), usage.num("total_thought_tokens"));
        let tools = usage.num("total_tool_use_tokens").unwrap_or(0);
        Usage {
            input_uncached: usage.num("total_input_tokens").map(|all| uncached(all, cached, None) + tools),
            cache_read: cached,
            output: sum(visible, thoughts),
            output_visible: visible,
            output_reasoning: thoughts,
            ..Usage::default()
        }
    }
}

fn overwrite<T>(field: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *field = value;
    }
}

fn sum(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    if a.is_none() && b.is_none() { None } else { Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))) }
}

/// The provider's own figure in USD: OpenRouter's `cost`, or xAI's ticks, of which Azure reports none. A number that no
/// call costs is not handed on: what is negative, or too large for a float, would spoil every sum.
fn cost_of(usage: &Value) -> Option<String> {
    const TICKS: u64 = 10_000_000_000;
    let ticks = || usage.num("cost_in_usd_ticks").filter(|&ticks| ticks > 0);
    let small = |raw: &str| raw.split_once(['e', 'E']).is_none_or(|(_, power)| power.starts_with('-'));
    let sane = |raw: &&str| !raw.starts_with('-') && raw.len() < 32 && small(raw);
    match usage.get("cost").filter(|value| value.kind() == Kind::Number) {
        Some(cost) => Some(cost.raw()).filter(sane).map(str::to_owned),
        None => ticks().map(|ticks| format!("{}.{:010}", ticks / TICKS, ticks % TICKS)),
    }
}

/// The prompt without what the cache took. Some xAI models report more cached than prompt: there the prompt
/// figure leaves the cached part out already.
fn uncached(prompt: u64, cached: Option<u64>, written: Option<u64>) -> u64 {
    let cached = cached.unwrap_or(0).saturating_add(written.unwrap_or(0));
    prompt.checked_sub(cached).unwrap_or(prompt)
}

/// Billed and visible output. xAI's `completion_tokens` leave the reasoning out; the total gives it away.
fn chat_output(
    completion: Option<u64>,
    reasoning: Option<u64>,
    prompt: Option<u64>,
    total: Option<u64>,
) -> (Option<u64>, Option<u64>) {
    let (Some(all), Some(thought)) = (completion, reasoning) else {
        return (completion, None);
    };
    let apart = all.saturating_add(thought).saturating_add(prompt.unwrap_or(0));
    if thought > all || (thought > 0 && total == Some(apart)) {
        (Some(all.saturating_add(thought)), Some(all))
    } else {
        (Some(all), Some(all - thought))
    }
}
