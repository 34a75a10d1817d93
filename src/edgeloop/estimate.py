"""How large a prompt is for a model whose tokenizer is not public.

The provider says so after each request (`usage`); between two answers only what came since is estimated: its o200k
tokens, exactly counted, times a ratio learned for the model. Prose, code, data and CJK have ratios of their own, for
tokenizers differ by kind of text more than by anything else. The estimator is a value: it tracks how wrong it was, and
`at_most` leaves room for that. It knows no provider and keeps no text.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

Kind = Literal["prose", "code", "data", "cjk"]
KINDS: tuple[Kind, ...] = ("prose", "code", "data", "cjk")

_SAMPLE = 4_096
# How much of an error is learned from one answer: replays of conversations did best between 0.5 and 0.7.
_LEARN = 0.6
_FORGET = 0.1
_RATIO_RANGE = (0.25, 4.0)
# Never counted on to be better than this.
_LEAST_MARGIN = 0.02


def kind_of(text: bytes) -> Kind:
    """The kind of a text, from its first bytes: what most of it is made of."""
    sample = text[:_SAMPLE]
    if not sample:
        return "prose"
    if 3 * sum(sample.count(lead) for lead in _CJK_LEADS) > len(sample) / 3:
        return "cjk"
    marks = sum(sample.count(mark) for mark in _MARKS)
    digits = sum(sample.count(digit) for digit in _DIGITS)
    if 4 * (digits + sample.count(b'"')) > len(sample):
        return "data"
    return "code" if 12 * marks > len(sample) else "prose"


_CJK_LEADS = tuple(bytes([lead]) for lead in range(0xE3, 0xEE))
_MARKS = tuple(bytes([mark]) for mark in b"(){}[]<>=;:_/\\*&|#\"'")
_DIGITS = tuple(bytes([digit]) for digit in b"0123456789")


def _ones() -> dict[Kind, float]:
    return dict.fromkeys(KINDS, 1.0)


def _zeros() -> dict[Kind, int]:
    return dict.fromkeys(KINDS, 0)


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """An estimate of one conversation's prompt for one model.

    `anchor` is the provider's last figure (None before the first); `since` the o200k tokens added after it, by kind; `ratios`
    the model's tokens for one of o200k; `error` how far the last deltas were off, as a share of them; `low` the
    largest share by which one was too low, slowly forgotten.
    """

    anchor: int | None = None
    since: Mapping[Kind, int] = field(default_factory=_zeros)
    ratios: Mapping[Kind, float] = field(default_factory=_ones)
    error: float = 0.0
    low: float = 0.0

    def added(self, kind: Kind, tokens: int) -> "Estimator":
        """More text of a kind, in o200k tokens."""
        return replace(self, since={**self.since, kind: self.since[kind] + tokens})

    def anchored(self, total: int) -> "Estimator":
        """The provider's figure for all that has been added: learn from it, and go on from there."""
        delta = total - (self.anchor or 0)
        expected = self._delta()
        anchored = replace(self, anchor=total, since=_zeros())
        # A first answer also holds what is never counted here (tool schemas, the system prompt's frame).
        if self.anchor is None or expected <= 0 or delta <= 0:
            return anchored
        wrong = delta / expected
        return replace(
            anchored,
            ratios=self._learned(wrong, expected),
            error=self.error + _LEARN * (abs(1 - 1 / wrong) - self.error),
            low=max((1 - _FORGET) * self.low, wrong - 1),
        )

    def estimate(self) -> int:
        """The prompt's tokens, as likely as not."""
        return round((self.anchor or 0) + self._delta())

    def at_most(self) -> int:
        """The prompt's tokens with room for the errors made so far: what a limit is compared with."""
        return round((self.anchor or 0) + self._delta() * (1 + max(self.low, _LEAST_MARGIN)))

    def _delta(self) -> float:
        return sum(self.since[kind] * self.ratios[kind] for kind in KINDS)

    def _learned(self, wrong: float, expected: float) -> dict[Kind, float]:
        """Each kind moves as far as it had a share in what was expected; together they make up for the error."""
        shares = {kind: self.since[kind] * self.ratios[kind] / expected for kind in KINDS}
        whole = sum(share * share for share in shares.values())
        moved: dict[Kind, float] = {
            kind: self.ratios[kind] * math.pow(wrong, _LEARN * shares[kind] / whole) for kind in KINDS
        }
        return {kind: min(max(ratio, _RATIO_RANGE[0]), _RATIO_RANGE[1]) for kind, ratio in moved.items()}
