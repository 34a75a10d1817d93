"""List prices in USD per million tokens: data, each row with the day it holds from and where it was read.

Standard tier, text, no batch or regional factors. A model is priced only if its figures were read somewhere that names them; a
rate that was not is None. A change is a new row with its own day: older calls keep the older price. `since` is the day the price
began, or, where that was not said, a day close to the model's release. Last looked through: 2026-11-21; compare with the
providers' own pages before money hangs on it.
"""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, kw_only=True)
class Rates:
    """USD per million tokens of each kind; None where not known or not offered."""

    input: float
    output: float
    cache_read: float | None = None
    cache_write_5m: float | None = None
    cache_write_1h: float | None = None


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a model costs from `since` (UTC) on. A prompt of more than `long_over` tokens is charged at `long`, all of it."""

    model: str
    since: date
    rates: Rates
    source: str
    long_over: int = 0
    long: Rates | None = None


_CLAUDE = "platform.claude.com/docs pricing page, and release notes that quote it up to 2026-10-24"
_OPENAI = (
    "litellm's and other tools' release notes that quote OpenAI's pricing page, 2026-07-30 to 2026-11-17"
)
_OPENAI_OLD = "OpenAI's pricing page as quoted by price calculators, 2026-04"
_GOOGLE = "ai.google.dev pricing page as quoted from 2026-03 to 2026-10"
_CLOUDFLARE = "cloudflare-docs, workers-ai/platform/pricing.mdx, 2025-02"


def _claude(model: str, since: date, input_: float, output: float, read: float) -> Price:
    """Cache writes cost 1.25 times the input for five minutes, twice for an hour."""
    return Price(model=model, since=since, source=_CLAUDE, rates=_claude_rates(input_, output, read))


def _claude_rates(input_: float, output: float, read: float) -> Rates:
    return Rates(
        input=input_, output=output, cache_read=read, cache_write_5m=input_ * 1.25, cache_write_1h=input_ * 2
    )


def _gpt(model: str, since: date, input_: float, read: float | None, output: float) -> Price:
    """GPT-5.6 and later: cache writes at 1.25 times the input; over 272k input twice the input rates, 1.5 times the output."""
    rates = Rates(input=input_, output=output, cache_read=read, cache_write_5m=input_ * 1.25)
    long = Rates(
        input=input_ * 2,
        output=output * 1.5,
        cache_read=None if read is None else read * 2,
        cache_write_5m=input_ * 2.5,
    )
    return Price(model=model, since=since, source=_OPENAI, rates=rates, long_over=272_000, long=long)


def _flat(model: str, since: date, input_: float, read: float | None, output: float, source: str) -> Price:
    rates = Rates(input=input_, output=output, cache_read=read)
    return Price(model=model, since=since, source=source, rates=rates)


PRICES: tuple[Price, ...] = (
    _claude("claude-opus-4-5", date(2025, 11, 24), 5, 25, 0.5),
    _claude("claude-opus-4-6", date(2026, 2, 5), 5, 25, 0.5),
    _claude("claude-opus-4-7", date(2026, 4, 16), 5, 25, 0.5),
    _claude("claude-opus-4-8", date(2026, 6, 1), 5, 25, 0.5),
    _claude("claude-opus-5", date(2026, 7, 24), 5, 25, 0.5),
    _claude("claude-opus-5-5", date(2026, 9, 22), 4, 20, 0.2),
    _claude("claude-sonnet-4-5", date(2025, 9, 29), 3, 15, 0.3),
    _claude("claude-sonnet-4-6", date(2026, 2, 17), 3, 15, 0.3),
    _claude("claude-sonnet-5", date(2026, 7, 1), 2, 10, 0.2),
    _claude("claude-sonnet-5-5", date(2026, 9, 28), 2, 10, 0.2),
    _claude("claude-sonnet-5-5", date(2026, 10, 7), 2, 10, 0.1),
    _claude("claude-haiku-4-5", date(2025, 10, 15), 1, 5, 0.1),
    Price(
        model="claude-haiku-5-5",
        since=date(2026, 10, 7),
        source=_CLAUDE,
        rates=_claude_rates(0.1, 0.5, 0.01),
        long_over=100_000,
        long=_claude_rates(0.5, 2.5, 0.05),
    ),
    _claude("claude-fable-5", date(2026, 7, 1), 10, 50, 1),
    _claude("claude-fable-5-1", date(2026, 9, 1), 10, 50, 0.25),
    _flat("gpt-4.1", date(2025, 4, 14), 2, 0.5, 8, _OPENAI_OLD),
    _flat("gpt-4.1-mini", date(2025, 4, 14), 0.4, 0.1, 1.6, _OPENAI_OLD),
    _flat("gpt-4.1-nano", date(2025, 4, 14), 0.1, 0.025, 0.4, _OPENAI_OLD),
    _flat("gpt-5", date(2025, 8, 7), 1.25, 0.125, 10, _OPENAI_OLD),
    _flat("gpt-5-mini", date(2025, 8, 7), 0.25, 0.025, 2, _OPENAI_OLD),
    _flat("gpt-5-nano", date(2025, 8, 7), 0.05, 0.005, 0.4, _OPENAI_OLD),
    _flat("gpt-5.1", date(2025, 11, 13), 1.25, 0.125, 10, _OPENAI_OLD),
    _flat("gpt-5.2", date(2025, 12, 11), 1.75, 0.175, 14, _OPENAI_OLD),
    _gpt("gpt-5.6-luna", date(2026, 7, 30), 0.2, 0.02, 1.2),
    _gpt("gpt-5.6-terra", date(2026, 7, 30), 2, 0.2, 12),
    _gpt("gpt-5.6-sol", date(2026, 9, 22), 4, 0.4, 20),
    _gpt("gpt-6-astra", date(2026, 9, 3), 10, 1, 50),
    _gpt("gpt-6-sol", date(2026, 9, 22), 2, 0.2, 10),
    _gpt("gpt-6-luna", date(2026, 9, 22), 0.1, 0.01, 0.5),
    _gpt("gpt-6.1-sol", date(2026, 9, 29), 2, 0.1, 10),
    _gpt("gpt-6.2-astra", date(2026, 11, 17), 8, 0.4, 40),
    _gpt("gpt-6.2-sol", date(2026, 11, 17), 2, None, 10),
    Price(
        model="gemini-2.5-pro",
        since=date(2025, 6, 17),
        source=_GOOGLE,
        rates=Rates(input=1.25, output=10, cache_read=0.125),
        long_over=200_000,
        long=Rates(input=2.5, output=15, cache_read=0.25),
    ),
    _flat("gemini-2.5-flash", date(2025, 6, 17), 0.3, 0.03, 2.5, _GOOGLE),
    _flat("gemini-2.5-flash-lite", date(2025, 7, 22), 0.1, 0.01, 0.4, _GOOGLE),
    _flat("gemini-3-flash-preview", date(2025, 12, 17), 0.5, 0.05, 3, _GOOGLE),
    Price(
        model="gemini-3.1-pro-preview",
        since=date(2026, 2, 19),
        source=_GOOGLE,
        rates=Rates(input=2, output=12, cache_read=0.2),
        long_over=200_000,
        long=Rates(input=4, output=18, cache_read=0.4),
    ),
    _flat("gemini-3.1-flash-lite", date(2026, 5, 7), 0.25, 0.025, 1.5, _GOOGLE),
    _flat("gemini-3.5-flash", date(2026, 5, 19), 1.5, 0.15, 9, _GOOGLE),
    _flat("gemini-3.5-flash-lite", date(2026, 7, 21), 0.3, 0.03, 2.5, _GOOGLE),
    _flat("gemini-3.8-flash", date(2026, 9, 2), 0.75, 0.075, 3.75, _GOOGLE),
    _flat("gemini-3.8-flash", date(2027, 1, 1), 1.5, 0.15, 7.5, _GOOGLE),
    _flat("@cf/meta/llama-3.1-8b-instruct-fp8-fast", date(2025, 2, 20), 0.045, None, 0.384, _CLOUDFLARE),
    _flat("@cf/meta/llama-3.2-3b-instruct", date(2025, 2, 20), 0.051, None, 0.335, _CLOUDFLARE),
    _flat("@cf/meta/llama-3.3-70b-instruct-fp8-fast", date(2025, 2, 20), 0.293, None, 2.253, _CLOUDFLARE),
)
