//! Errors a peer reports inside a stream, as one of our classes. The words that providers use for them are those of
//! their documentation and of recorded streams; refusals before a stream are src/edgeloop/providers/failures.py's.

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

/// One reported error: `code` is the peer's own word for it.
#[derive(Clone, Debug)]
pub struct Failure {
    pub class: Class,
    pub code: String,
    pub message: String,
}

impl Failure {
    pub fn new(class: Class, message: &str) -> Self {
        Failure { class, code: String::new(), message: message.to_owned() }
    }

    /// Read an error object of any dialect (`{type|code|status, message}`), or a bare string.
    pub fn read(error: &Value) -> Self {
        if let Some(text) = error.string() {
            return Failure {
                class: classify_message(&text),
                code: String::new(),
                message: text.into_owned(),
            };
        }
        let words: Vec<Cow<str>> = ["code", "type", "status"].iter().filter_map(|k| word(error, k)).collect();
        let message = error.str("message").or_else(|| error.str("msg")).unwrap_or_default();
        let class = words
            .iter()
            .map(|code| classify(code))
            .find(|class| *class != Class::Unknown)
            .unwrap_or_else(|| classify_message(&message));
        let code = words.first().cloned().unwrap_or_default().into_owned();
        Failure { class, code, message: message.into_owned() }
    }
}

fn word<'t>(error: &Value<'t>, key: &str) -> Option<Cow<'t, str>> {
    let value = error.get(key)?;
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
        | "slow_down"
        | "overloaded"
        | "unavailable"
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
        "rate_limit_error" | "rate_limit_exceeded" | "resource_exhausted" | "too_many_requests" | "429" => {
            Class::RateLimit
        }
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
        "invalid_request_error"
        | "invalid_prompt"
        | "not_found_error"
        | "request_too_large"
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
