//! Errors a peer reports inside a stream, as one of our classes. The words that providers use for them are those of
//! their documentation and of recorded streams; refusals before a stream are src/edgeloop/providers/failures.py's, and the
//! two must agree (tests/core/test_refusals.py).

use std::borrow::Cow;

use super::json::{Kind, Value};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Overloaded,
    RateLimit,
    Server,
    Timeout,
    InvalidRequest,
    Auth,
    Billing,
    ContentFilter,
    Truncated,
    Malformed,
    TooLarge,
    Unknown,
}

impl Class {
    pub fn name(self) -> &'static str {
        match self {
            Class::Overloaded => "overloaded",
            Class::RateLimit => "rate_limit",
            Class::Server => "server",
            Class::Timeout => "timeout",
            Class::InvalidRequest => "invalid_request",
            Class::Auth => "auth",
            Class::Billing => "billing",
            Class::ContentFilter => "content_filter",
            Class::Truncated => "truncated",
            Class::Malformed => "malformed",
            Class::TooLarge => "too_large",
            Class::Unknown => "unknown",
        }
    }

    /// Whether another attempt can end better.
    pub fn retryable(self) -> bool {
        use Class::*;
        matches!(self, Overloaded | RateLimit | Server | Timeout | Truncated | Malformed)
    }
}

/// One reported error: `code` is the peer's own word for it, `retry_after_ms` when it says to come back.
#[derive(Clone, Debug)]
pub struct Failure {
    pub class: Class,
    pub code: String,
    pub message: String,
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    pub fn new(class: Class, message: &str) -> Self {
        Failure { class, code: String::new(), message: message.to_owned(), retry_after_ms: None }
    }

    /// Read an error object of any dialect (`{type|code|status, message, details}`), or a bare string.
    pub fn read(error: &Value) -> Self {
        let message = error.string().or_else(|| error.str("message")).or_else(|| error.str("msg"));
        let message = message.unwrap_or_default();
        let paths: [&[&str]; 4] = [&["details", "error_code"], &["code"], &["type"], &["status"]];
        let words: Vec<Cow<str>> = paths.iter().filter_map(|path| word(error.at(path)?)).collect();
        let class = class_of(error, &words, &message);
        let code = words.first().cloned().unwrap_or_default().into_owned();
        let retry_after_ms = info_ms(error).or_else(|| prose_ms(class, &message));
        Failure { class, code, message: message.into_owned(), retry_after_ms }
    }
}

/// An empty account goes before whatever else is said: a spend limit is told as a rate limit too.
fn class_of(error: &Value, words: &[Cow<str>], message: &str) -> Class {
    let classes = || words.iter().map(|code| classify(code));
    if is_daily(error) || classes().any(|class| class == Class::Billing) {
        return Class::Billing;
    }
    classes().find(|class| *class != Class::Unknown).unwrap_or_else(|| classify_message(message))
}

fn details<'t>(error: &Value<'t>) -> impl Iterator<Item = Value<'t>> {
    error.get("details").into_iter().flat_map(|details| details.items())
}

/// Whether a Google quota counts by the day: no retry helps before tomorrow.
fn is_daily(error: &Value) -> bool {
    let violations = |detail: Value<'_>| {
        detail.get("violations").is_some_and(|all| {
            all.items()
                .filter_map(|one| one.str("quotaId"))
                .any(|id| id.to_ascii_lowercase().contains("perday"))
        })
    };
    details(error).any(violations)
}

/// Google's RetryInfo.
fn info_ms(error: &Value) -> Option<u64> {
    details(error).filter_map(|detail| span_ms(&detail.str("retryDelay")?)).next()
}

/// "Please try again in 1.2s", of those that ask for patience alone: other messages may quote what the model wrote.
fn prose_ms(class: Class, message: &str) -> Option<u64> {
    if !matches!(class, Class::RateLimit | Class::Overloaded) {
        return None;
    }
    let lower = message.to_ascii_lowercase();
    let behind = |phrase: &&str| lower.find(*phrase).map(|at| at + phrase.len());
    span_ms(&lower[["try again in ", "retry in ", "retry after "].iter().find_map(behind)?..])
}

/// How long a text says at its start: `20ms`, `1.2s`, `6m0s`, `26 seconds`. A zero and more than a year say nothing.
fn span_ms(mut text: &str) -> Option<u64> {
    let mut total = 0u64;
    while text.starts_with(|c: char| c.is_ascii_digit()) {
        let (number, rest) = split(text, |c| c.is_ascii_digit() || c == '.');
        let (unit, rest) = split(rest.strip_prefix(' ').unwrap_or(rest), |c| c.is_ascii_alphabetic());
        total = total.checked_add(in_ms(number, unit)?)?;
        text = rest;
    }
    Some(total).filter(|ms| (1..HINT_MAX_MS).contains(ms))
}

fn split(text: &str, inside: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !inside(c)).unwrap_or(text.len()))
}

/// By hand, to the thousandth: a float parser's tables would be a tenth of the module.
fn in_ms(number: &str, unit: &str) -> Option<u64> {
    let scale = match unit {
        "ms" => 1,
        "s" | "second" | "seconds" => 1_000,
        "m" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let thousandths =
        fraction.bytes().chain(*b"000").take(3).fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    whole.parse::<u64>().ok()?.checked_mul(scale)?.checked_add(thousandths * scale / 1_000)
}

/// As in failures.py: a peer that says to come back in more than a year has said nothing.
const HINT_MAX_MS: u64 = 366 * 24 * 3_600_000;

fn word<'t>(value: Value<'t>) -> Option<Cow<'t, str>> {
    match value.kind() {
        Kind::Number => Some(Cow::Borrowed(value.raw())),
        _ => value.string().filter(|text| !text.is_empty()),
    }
}

fn classify(code: &str) -> Class {
    match code.to_ascii_lowercase().as_str() {
        "overloaded_error"
        | "engine_overloaded_error"
        | "server_is_overloaded"
        | "service_unavailable_error"
        | "capacity_exceeded"
        | "overloaded"
        | "unavailable"
        | "498"
        | "503"
        | "529"
        | "3040" => Class::Overloaded,
        "insufficient_quota"
        | "credit_balance_exhausted"
        | "billing_error"
        | "billing_not_active"
        | "exceeded_current_quota_error"
        | "organization_spend_limit_exceeded"
        | "project_spend_limit_exceeded"
        | "402"
        | "3036"
        | "organization_usage_limit_exceeded"
        | "enforced_spend_limit_reached" => Class::Billing,
        // `slow_down`: the traffic grew too fast, which is ours to mend.
        "rate_limit_error"
        | "rate_limit_exceeded"
        | "slow_down"
        | "resource_exhausted"
        | "too_many_requests"
        | "429" => Class::RateLimit,
        "api_error"
        | "server_error"
        | "internal"
        | "internal_error"
        | "internal_server_error"
        | "processing_error" => Class::Server,
        "timeout_error" | "timeout" | "deadline_exceeded" | "408" | "504" | "3007" | "3008" => Class::Timeout,
        // The model's own bad call, refused by the server (Groq): a fresh attempt writes another one.
        "tool_use_failed" => Class::Malformed,
        "content_filter" | "content_policy_violation" | "prohibited_content" | "safety" => {
            Class::ContentFilter
        }
        "authentication_error"
        | "permission_error"
        | "invalid_api_key"
        | "unauthenticated"
        | "permission_denied"
        | "401"
        | "403" => Class::Auth,
        "request_too_large" | "413" | "3006" => Class::TooLarge,
        "invalid_request_error"
        | "invalid_prompt"
        | "not_found_error"
        | "context_length_exceeded"
        | "invalid_argument"
        | "failed_precondition"
        | "not_found"
        | "5004"
        | "5007" => Class::InvalidRequest,
        code => classify_status(code),
    }
}

/// A status in the place of a word: LiteLLM's, OpenRouter's, and those that Cloudflare adds to HTTP's.
fn classify_status(code: &str) -> Class {
    match code.parse::<u16>() {
        Ok(409 | 500..=599) => Class::Server,
        Ok(400..=499) => Class::InvalidRequest,
        _ => Class::Unknown,
    }
}

/// Last resort, for errors that carry only prose.
fn classify_message(message: &str) -> Class {
    let lower = message.to_ascii_lowercase();
    let has = |needle: &str| lower.contains(needle);
    if has("overloaded") || has("out of capacity") {
        Class::Overloaded
    } else if has("rate limit") || has("too many requests") {
        Class::RateLimit
    } else if has("timed out") || has("timeout") {
        Class::Timeout
    } else if has("internal server error") || has("bad gateway") || has("service unavailable") {
        Class::Server
    } else {
        Class::Unknown
    }
}
