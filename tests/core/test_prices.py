"""Costs against figures worked out by hand, and the table against its own rules."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import pytest

from edgeloop.events import Usage
from edgeloop.price_table import PRICES, Price, Rates
from edgeloop.prices import Cost, cost, price_of

MILLION = 1_000_000


def at(year: int, month: int, day: int) -> int:
    """Noon of that day, in ms since the epoch."""
    return int(datetime(year, month, day, 12, tzinfo=UTC).timestamp() * 1000)


NOW = at(2026, 11, 21)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A call and its cost in USD; None where it cannot be known."""

    name: str
    model: str
    usage: Usage
    usd: float | None
    at: int = NOW


CASES = [
    Case(name="claude, all kinds", model="claude-opus-5-5",
         usage=Usage(input_uncached=10_000, cache_read=100_000, cache_write_5m=20_000, cache_write_1h=5_000, output=2_000),
         usd=0.04 + 0.02 + 0.1 + 0.04 + 0.04),
    Case(name="a dated snapshot", model="claude-haiku-4-5-20251001",
         usage=Usage(input_uncached=MILLION, output=MILLION), usd=6.0),
    Case(name="another way to write a date", model="gpt-5-mini-2025-08-07",
         usage=Usage(input_uncached=MILLION, output=MILLION), usd=2.25),
    Case(name="reasoning is part of the output", model="gpt-5",
         usage=Usage(input_uncached=0, output=1_000, output_reasoning=900), usd=0.01),
    Case(name="haiku at its border", model="claude-haiku-5-5",
         usage=Usage(input_uncached=40_000, cache_read=60_000, output=1_000), usd=0.004 + 0.0006 + 0.0005),
    Case(name="haiku over its border", model="claude-haiku-5-5",
         usage=Usage(input_uncached=40_001, cache_read=60_000, output=1_000), usd=0.0200005 + 0.003 + 0.0025),
    Case(name="gpt over its border", model="gpt-6-sol",
         usage=Usage(input_uncached=300_000, cache_write_5m=100_000, output=10_000), usd=1.2 + 0.5 + 0.15),
    Case(name="gemini over its border", model="models/gemini-3.1-pro-preview",
         usage=Usage(input_uncached=100_000, cache_read=200_000, output=1_000), usd=0.4 + 0.08 + 0.018),
    Case(name="before a price was cut", model="claude-sonnet-5-5", at=at(2026, 10, 6),
         usage=Usage(input_uncached=0, cache_read=MILLION, output=0), usd=0.2),
    Case(name="from the day on", model="claude-sonnet-5-5", at=at(2026, 10, 7),
         usage=Usage(input_uncached=0, cache_read=MILLION, output=0), usd=0.1),
    Case(name="before there was a price", model="claude-opus-5", at=at(2026, 7, 23),
         usage=Usage(input_uncached=1, output=1), usd=None),
    Case(name="reported cost wins", model="claude-opus-5",
         usage=Usage(input_uncached=MILLION, output=MILLION, cost_reported=0.5), usd=0.5),
    Case(name="reported for a model we do not know", model="x/y", usage=Usage(cost_reported=0.0), usd=0.0),
    Case(name="unknown model", model="claude-opus-9", usage=Usage(input_uncached=1, output=1), usd=None),
    Case(name="a name that merely begins alike", model="gpt-5-pro", usage=Usage(input_uncached=1, output=1), usd=None),
    Case(name="another seller's name for it", model="anthropic/claude-opus-5",
         usage=Usage(input_uncached=1, output=1), usd=None),
    Case(name="no usage", model="gpt-5", usage=Usage(), usd=None),
    Case(name="no output reported", model="gpt-5", usage=Usage(input_uncached=5), usd=None),
    Case(name="a kind without a rate", model="@cf/meta/llama-3.2-3b-instruct",
         usage=Usage(input_uncached=1_000, cache_read=1_000, output=1), usd=None),
    Case(name="none of the kind without a rate", model="@cf/meta/llama-3.2-3b-instruct",
         usage=Usage(input_uncached=MILLION, cache_read=0, output=MILLION), usd=0.386),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cost(case: Case) -> None:
    """The cost is the list price of that day for each kind of token, or nothing."""
    found = cost(case.usage, case.model, case.at)
    assert (found.usd if found else None) == (None if case.usd is None else pytest.approx(case.usd))


def test_the_parts_add_up() -> None:
    """What we computed names its parts; what was reported has none."""
    usage = Usage(input_uncached=7, cache_read=11, cache_write_5m=13, cache_write_1h=17, output=19)
    found = cost(usage, "claude-opus-5", NOW)
    assert found is not None
    parts = (found.input, found.cache_read, found.cache_write, found.output)
    assert sum(part for part in parts if part is not None) == pytest.approx(found.usd)
    assert None not in parts
    assert cost(Usage(cost_reported=1.5), "any", NOW) == Cost(usd=1.5, basis="reported")


def test_a_price_can_be_asked_for() -> None:
    """Who weighs a cache write against a read needs the rates themselves."""
    price = price_of("claude-opus-5", NOW)
    assert isinstance(price, Price)
    assert price.rates == Rates(input=5, output=25, cache_read=0.5, cache_write_5m=6.25, cache_write_1h=10.0)


@pytest.mark.parametrize("price", PRICES, ids=lambda price: f"{price.model} {price.since}")
def test_every_row_is_sane(price: Price) -> None:
    """Output costs more than input, a cached read less; a long prompt never less; each row says where it was read."""
    rates = [price.rates] + ([price.long] if price.long else [])
    for rate in rates:
        assert 0 < rate.input <= rate.output
        assert rate.cache_read is None or 0 < rate.cache_read < rate.input
    assert price.long is None or (price.long_over > 0 and price.long.input > price.rates.input)
    assert price.source
    assert date(2024, 1, 1) < price.since <= date(2027, 1, 1)


def test_no_model_has_two_prices_for_a_day() -> None:
    """A change of price is a new day."""
    assert len({(price.model, price.since) for price in PRICES}) == len(PRICES)
