"""What a session's model calls have cost, and what the next one may: folded from the log, so that a cap can stop it beforehand.

Knows prices and estimates, no cap's origin and no clock. The rule for the next call (docs/design/cost.md has its reasons):

* input: the last prompt's size as the provider told it, and at most what came since (`estimate.py`), all of it at the
  dearest rate that it can realistically have: no cache hit, and written to the cache where that costs more;
* output: twice the longest answer of this session so far, at least 4,096 tokens;
* a model without a list price has no estimate, and no cap can be kept for it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from edgeloop.estimate import KINDS, Estimator, Kind, kind_of
from edgeloop.events import StepFailed, Usage
from edgeloop.prices import cost, price_of, prompt_tokens, rates_for
from edgeloop.tools import PlacedTool

OUTPUT_LEAST = 4_096
_SAMPLE = 1_024
"""Characters by which the kind of a text is judged: this is asked of every text that comes."""
_BYTES_PER_TOKEN = 3
"""Of schemas and system prompts, which are counted only until the provider has told: fewer than any of them has."""
_MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Charge:
    """What an ended call cost: the attempt, when it began (ms), and USD; 0 where no price is known."""

    step: int
    attempt: int
    at: int
    usd: float


@dataclass(kw_only=True)
class Spend:
    """The account of one session. Bounded: totals, and the size of the prompt."""

    usd: float = 0.0
    """What all ended calls cost, as far as it is known."""
    call_usd: float | None = None
    """What the call under way may cost; None where there is no price."""
    call_at: int = 0
    model: str = ""
    """Of the last call that began."""
    last: Charge | None = None
    output_max: int = 0
    prompt: Estimator = field(default_factory=Estimator)
    """Of the last step that began."""
    since: dict[Kind, int] = field(default_factory=lambda: dict[Kind, int]())
    """The o200k tokens that came after it began, by kind."""

    def grew(self, text: str, tokens: int) -> None:
        """A text came that the next prompt holds."""
        if tokens:
            kind = kind_of(text[:_SAMPLE].encode("utf-8", "replace"))
            self.since[kind] = self.since.get(kind, 0) + tokens

    def retooled(self, before: tuple[PlacedTool, ...], after: tuple[PlacedTool, ...]) -> None:
        """Other tools are offered: the provider's figure for the prompt is of those before."""
        if self.prompt.anchor is not None:
            more = tokens_at_most(head_of("", after)) - tokens_at_most(head_of("", before))
            self.since["data"] = self.since.get("data", 0) + max(0, more)

    def remodelled(self, tokens: int) -> None:
        """Another model reads the same messages: nothing is known of how it counts them."""
        self.prompt, self.since, self.output_max = Estimator().added("prose", tokens), {}, 0

    def begin(self, model: str, at: int, head: Iterable[str]) -> None:
        """A call begins: its prompt is all that came so far."""
        for kind in KINDS:
            if tokens := self.since.get(kind, 0):
                self.prompt = self.prompt.added(kind, tokens)
        self.since = {}
        self.call_at, self.model = at, model
        self.call_usd = self._at_most(head)

    def _at_most(self, head: Iterable[str]) -> float | None:
        price = price_of(self.model, self.call_at)
        if price is None:
            return None
        tokens = self.prompt.at_most() + self._unanchored(head)
        rates = rates_for(price, tokens)
        dearest = max(rates.input, rates.cache_write_5m or 0)
        return (tokens * dearest + max(OUTPUT_LEAST, 2 * self.output_max) * rates.output) / _MILLION

    def input_tokens(self, head: Iterable[str], *, cached: bool) -> int:
        """The size of the begun call's prompt, as likely as not; unless `cached` without what the last answered prompt held.

        That is taken to be in the provider's cache still: after a long pause it is not, and the figure is too low.
        """
        known = 0 if cached else self.prompt.anchor or 0
        return max(1, self.prompt.estimate() - known + self._unanchored(head))

    def _unanchored(self, head: Iterable[str]) -> int:
        return tokens_at_most(head) if self.prompt.anchor is None else 0

    def ended(self, step: int, attempt: int, usage: Usage, model: str) -> None:
        """The call ended well; `model` is the session's now."""
        found = cost(usage, self.model, self.call_at)
        self._charge(step, attempt, found.usd if found is not None else self.call_usd)
        self.output_max = max(self.output_max, usage.output or 0)
        if usage.input_uncached is not None and model == self.model:
            self.prompt = self.prompt.anchored(prompt_tokens(usage))

    def failed(self, event: StepFailed) -> None:
        """The call ended badly. What it told of its usage counts, and its answer as far as it was shown."""
        if event.usage.input_uncached is not None or event.usage.cost_reported is not None:
            shown = max(event.usage.output or 0, sum(self.since.values()))
            found = cost(event.usage.model_copy(update={"output": shown}), self.model, self.call_at)
            usd = found.usd if found is not None else self.call_usd
        else:
            usd = self.call_usd if _may_be_billed(event) else 0.0
        self._charge(event.step, event.attempt, usd)

    def given_up(self, step: int, attempt: int) -> Charge | None:
        """What the call under way counts as if nobody hears its end; None if there is none."""
        if self.call_usd is None:
            return None
        return Charge(step=step, attempt=attempt, at=self.call_at, usd=self.call_usd)

    def _charge(self, step: int, attempt: int, usd: float | None) -> None:
        self.last = Charge(step=step, attempt=attempt, at=self.call_at, usd=usd or 0.0)
        self.usd += self.last.usd
        self.call_usd = None

    def refusal(self, cap: float | None) -> str | None:
        """Why the call under way must not be made under a cap (None: for some other account); None if it may."""
        if self.call_usd is None:
            return (
                f"no list price is known of the model {self.model!r}, so no spending cap can be kept with it"
            )
        if cap is None:
            return None
        if self.usd + self.call_usd <= cap:
            return None
        return (
            f"this session has spent ${self.usd:.4f} of the ${cap:g} it may,"
            f" and the next call may cost up to ${self.call_usd:.4f}"
        )


def head_of(system: str, tools: tuple[PlacedTool, ...]) -> Iterable[str]:
    """The texts at the beginning of every prompt."""
    yield system
    for tool in tools:
        yield f"{tool.spec.name}{tool.spec.description}"
        yield json.dumps(tool.spec.parameters)


def tokens_at_most(texts: Iterable[str]) -> int:
    """More tokens than the texts have, from their lengths alone."""
    return sum(len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN + 16 for text in texts)


def _may_be_billed(event: StepFailed) -> bool:
    """Whether a provider may charge for a call of which it told no usage: one that it took and did not refuse."""
    timing = event.timing
    if timing is None:  # the session died in mid-call
        return True
    if timing.request_bytes == 0:
        return False
    return timing.first_ms is not None or event.error.cls in ("timeout", "aborted", "truncated")
