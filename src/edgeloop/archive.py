"""A session as a file: JSON lines that move it to another edge, and the one who takes them in, trusting nothing.

    {"format": "edgeloop-log", "version": 1, "agent", "log", "head", "cache", "base"}
    {"v", "seq", "at", "event"}      a stored record, as the version that made it wrote it; `seq` counts up to `head`
    {"note", "text"}                 a note of the agent's
    {"end": head, "sha256"}          the chain over all lines before: a file that was cut or changed is refused

An `Intake` takes the lines in pieces of any size and is a value between them, so nobody ever holds a whole file. It replays what
it takes: what our own log could not hold is refused with the line and the `seq`. Knows no store, no socket and no file.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from edgeloop.codec import decode_base, decode_record, decode_state, encode_state
from edgeloop.edge_tools import NOTE_BYTES
from edgeloop.errors import CorruptLog, IllegalTransition, Refused
from edgeloop.events import Recorded
from edgeloop.model import NAME, Frozen
from edgeloop.retention import KEPT
from edgeloop.session import Session
from edgeloop.state import State

FORMAT = "edgeloop-log"
VERSION = 1
MAX_NUMBER = 2**53 - 1
"""JavaScript, and so the store, holds no larger integer exactly."""
MESSAGE_ID = re.compile(NAME)
"""What no client could have sent, no log holds."""


class Header(Frozen):
    """The first line. `log` names the log it was; `cache` is what providers route its prompts by (`Target.session`).

    `base` is the state that a condensed log begins with, as it is stored: of the events before it only the conversation is there.
    """

    format: Literal["edgeloop-log"] = FORMAT
    version: Literal[1] = VERSION
    agent: str = Field(max_length=128)
    log: str = Field(max_length=128)
    head: int = Field(ge=1, le=MAX_NUMBER)
    cache: str = Field(default="", pattern=rf"^({NAME})?$")
    base: str = ""


class Note(Frozen):
    """A note's line."""

    note: str = Field(min_length=1, max_length=200)
    text: str = Field(max_length=NOTE_BYTES)


class End(Frozen):
    """The last line."""

    end: int
    sha256: str


def chained(chain: str, line: str) -> str:
    """The checksum of a file's lines up to and with this one, given that of the lines before it (hex; "" before the first)."""
    return hashlib.sha256(f"{chain}\n{line}".encode()).hexdigest()


@dataclass(kw_only=True)
class Taken:
    """What a piece of a file holds: records as they were written, ids of messages with their `seq`, notes."""

    records: list[tuple[int, str]] = field(default_factory=lambda: list[tuple[int, str]]())
    ids: list[tuple[str, int]] = field(default_factory=lambda: list[tuple[str, int]]())
    notes: list[Note] = field(default_factory=lambda: list[Note]())


@dataclass(kw_only=True)
class Intake:
    """A file on its way in: how far it came, and the state that its events made. `dump` it between two pieces."""

    header: Header
    lines: int = 1
    chain: str
    done: bool = False
    base: int = 0
    """The event up to which the history is condensed, and the last one of it that was taken."""
    _kept: int = 0
    _session: Session = field(default_factory=Session)

    @classmethod
    def begin(cls, line: str) -> "Intake":
        """Take the first line.

        Raises:
            Refused: not the header of such a file, or of another version of it.
        """
        found = _parse(line, 1)
        if found.get("format") == FORMAT and found.get("version") != VERSION:
            raise Refused(
                code="version", message=f"version {found.get('version')!r}", expected=f"version {VERSION}"
            )
        header: Header = _checked(Header, found, 1)
        state = _base(header)
        return cls(header=header, chain=chained("", line), base=state.seq, _session=Session(state))

    @property
    def state(self) -> State:
        """The state after the events so far."""
        return self._session.state

    def take(self, lines: Iterable[str]) -> Taken:
        """Take the lines that come next.

        Raises:
            Refused: what no log of ours could hold, or a file that was cut or changed; the intake is of no use any more.
        """
        taken = Taken()
        for line in lines:
            self.lines += 1
            if self.done:
                raise _bad(self.lines, "a line behind the end")
            self._take(_parse(line, self.lines), line, taken)
        return taken

    def _take(self, found: dict[str, Any], line: str, taken: Taken) -> None:
        if "end" in found:
            self._end(_checked(End, found, self.lines))
            return
        self.chain = chained(self.chain, line)
        if "note" in found and self.state.seq == self.header.head:
            taken.notes.append(_checked(Note, found, self.lines))
        else:
            self._record(found, line, taken)

    def _record(self, found: dict[str, Any], line: str, taken: Taken) -> None:
        seq = self.state.seq + 1
        try:
            recorded = decode_record(found)
            if seq > self.header.head and recorded.seq >= seq:
                raise CorruptLog(f"the header says that {self.header.head} is the last")
            if recorded.seq <= self.state.seq == self.base:
                self._keep(recorded)
            else:
                self._session.apply(recorded)
        except (CorruptLog, IllegalTransition) as error:
            raise _bad(self.lines, f"seq {seq}: {error}") from error
        self._check(recorded)
        taken.records.append((recorded.seq, line))
        if recorded.event.kind == "user_message_received":
            taken.ids.append((recorded.event.id, recorded.seq))

    def _keep(self, recorded: Recorded) -> None:
        """Take an event of a condensed history: it cannot be replayed, for what stood between is gone."""
        if recorded.seq <= self._kept or recorded.event.kind not in KEPT:
            raise CorruptLog("it is no part of a condensed history", seq=recorded.seq)
        self._kept = recorded.seq

    def _check(self, recorded: Recorded) -> None:
        if not 0 <= recorded.at <= MAX_NUMBER:
            raise _bad(self.lines, f"seq {recorded.seq}: at: not a time")
        event = recorded.event
        if event.kind == "user_message_received" and not MESSAGE_ID.fullmatch(event.id):
            raise _bad(self.lines, f"seq {recorded.seq}: id: not the id of a message")

    def _end(self, end: End) -> None:
        if end.end != self.header.head or self.state.seq != end.end:
            raise _bad(self.lines, f"ends at seq {self.state.seq}, its header says {self.header.head}")
        if end.sha256 != self.chain:
            raise _bad(self.lines, "the checksum is another: it was changed on the way")
        self.done = True

    def dump(self) -> str:
        """The intake as text."""
        return json.dumps(
            {
                "header": self.header.model_dump(),
                "lines": self.lines,
                "chain": self.chain,
                "base": self.base,
                "kept": self._kept,
                "state": encode_state(self.state),
            }
        )

    @classmethod
    def load(cls, text: str) -> "Intake":
        """The intake from its text.

        Raises:
            Refused: another version of the edge began it.
        """
        held = json.loads(text)
        state = decode_state(held["state"])
        if state is None:
            raise Refused(
                code="conflict",
                message="another version of the edge began to take this in",
                expected="delete it and begin anew",
            )
        return cls(
            header=Header.model_validate(held["header"]),
            lines=held["lines"],
            chain=held["chain"],
            base=held["base"],
            _kept=held["kept"],
            _session=Session(state),
        )


def _base(header: Header) -> State:
    """The state that the log begins with."""
    if not header.base:
        return State()
    try:
        state = decode_base(header.base)
    except CorruptLog as error:
        raise _bad(1, f"base: {error}") from error
    if state.phase != "idle" or state.open_calls or not 1 <= state.seq <= header.head:
        raise _bad(1, "base: not the state of a session at rest within the log")
    return state


_Line = TypeAdapter(dict[str, Any])


def _parse(line: str, number: int) -> dict[str, Any]:
    try:
        found = _Line.validate_python(json.loads(line, parse_constant=_no_constant))
        if "\\ud" in line.lower():
            json.dumps(
                found, ensure_ascii=False
            ).encode()  # half a character can be read and never written again
        return found
    except (ValueError, ValidationError, RecursionError):
        raise _bad(number, "not a JSON object") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _checked(kind: Any, found: dict[str, Any], number: int) -> Any:
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"])) if first["type"] != "extra_forbidden" else "a field"
        raise _bad(number, f"not a line that is expected there: {where}: {first['msg']}") from None


def _bad(number: int, what: str) -> Refused:
    return Refused(
        code="bad_log", message=f"line {number}: {what}", expected="a file of `edgeloop events export`"
    )
