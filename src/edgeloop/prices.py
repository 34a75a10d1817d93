"""What a model call cost, in USD: the provider's own figure where it gives one, else the list price of that day.

The prices are data (`price_table.py`). What is not known is not guessed: an unknown model, a kind of token without a rate or an
answer without usage has no cost, which is something else than a cost of zero.
"""

import re
from collections import defaultdict
from datetime import UTC, datetime
from typing import Literal

from edgeloop.events import Usage
from edgeloop.model import Frozen
from edgeloop.price_table import PRICES, Price, Rates

_MILLION = 1_000_000
_SNAPSHOT = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2})$")


class Cost(Frozen):
    """The cost of one call in USD. `basis` says whose figure it is; its parts are known only where we computed it."""

    usd: float
    basis: Literal["reported", "listed"]
    input: float | None = None
    cache_read: float | None = None
    cache_write: float | None = None
    output: float | None = None


def cost(usage: Usage, model: str, at: int) -> Cost | None:
    """What a call made at `at` (ms since the epoch) cost; None where that is not known."""
    if usage.cost_reported is not None:
        return Cost(usd=usage.cost_reported, basis="reported")
    price = price_of(model, at)
    if price is None or usage.input_uncached is None or usage.output is None:
        return None
    return _listed(usage, rates_for(price, prompt_tokens(usage)))


def price_of(model: str, at: int) -> Price | None:
    """The list price of a model on that day; a dated snapshot has its model's price."""
    day = datetime.fromtimestamp(at / 1000, UTC).date()
    name = model.removeprefix("models/")
    for known in (name, _SNAPSHOT.sub("", name)):
        if rows := _BY_MODEL.get(known):
            return next((price for price in rows if price.since <= day), None)
    return None


def prompt_tokens(usage: Usage) -> int:
    """How many tokens the prompt had, cached or not."""
    kinds = (usage.input_uncached, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h)
    return sum(tokens or 0 for tokens in kinds)


def rates_for(price: Price, prompt: int) -> Rates:
    """The rates for a prompt of so many tokens: the whole request is charged by its tier, output as well."""
    return price.long if price.long is not None and prompt > price.long_over else price.rates


def _listed(usage: Usage, rates: Rates) -> Cost | None:
    read = _part(usage.cache_read, rates.cache_read)
    short = _part(usage.cache_write_5m, rates.cache_write_5m)
    hour = _part(usage.cache_write_1h, rates.cache_write_1h)
    fresh, output = _part(usage.input_uncached, rates.input), _part(usage.output, rates.output)
    if fresh is None or read is None or short is None or hour is None or output is None:
        return None
    total = fresh + read + short + hour + output
    return Cost(
        usd=total, basis="listed", input=fresh, cache_read=read, cache_write=short + hour, output=output
    )


def _part(tokens: int | None, rate: float | None) -> float | None:
    """No tokens cost nothing, also at an unknown rate; a count that was not reported was not charged apart."""
    if not tokens:
        return 0.0
    return None if rate is None else tokens * rate / _MILLION


def _by_model() -> dict[str, list[Price]]:
    """Each model's prices, the latest first."""
    rows: defaultdict[str, list[Price]] = defaultdict(list)
    for price in sorted(PRICES, key=lambda price: price.since, reverse=True):
        rows[price.model].append(price)
    return dict(rows)


_BY_MODEL = _by_model()
