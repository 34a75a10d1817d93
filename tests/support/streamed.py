"""The simulated shell of `core.py` with a model that really streams: adapter, provider's own encoder, decoder and reader.

The session's adapter builds the request, the embedded model's dialect reads it as strictly as the provider would and writes its
answer as bytes, the edge's decoder and reader make events of them. Only the network, the pump and the platform are left out.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgeloop.effects import CallModel
from edgeloop.events import BlockFinished, Event, StepError, StepFailed
from edgeloop.prompt import build_request
from edgeloop.providers import Target
from edgeloop.providers.failures import local
from edgeloop.reader import StepReader, partial_blocks
from edgeloop.schedule import interrupted
from edgeloop_client.decode import Decoder, Op
from edgeloop_client.model.cache import PrefixCache
from edgeloop_client.model.conversation import Answered, Call, Conversation, Part, Say, Think
from edgeloop_client.model.counting import TokenCounter
from edgeloop_client.model.dialect import Incoming
from edgeloop_client.model.errors import Refused
from edgeloop_client.model.options import Options
from edgeloop_client.model.play import Player, parts
from edgeloop_client.model.routes import find_dialect
from tests.support.core import TIMING, Crash, Sim, Stream

How = Literal["cut", "error", "kill", "stop"]
BASES = {
    "anthropic": "",
    "openai": "/v1",
    "openai-responses": "/v1",
    "gemini": "",
    "workers-ai": "/client/v4/accounts/me",
}
"""Where each provider is met, by its adapter's name."""
OPTIONS = Options(chunk_tokens=4)
LOOKING, ALL_DONE = "Looking at all of it. ", "All done."
CALLS = (("read", 1), ("write", 2), ("read_here", 3), ("write_here", 4), ("write", 5))
"""The calls of the plan, each with a number of its own."""


@dataclass(frozen=True, kw_only=True)
class Blow:
    """What happens to the first answer once so many of its pieces were read."""

    how: How
    after: int


@dataclass
class Wire(Stream):
    """An answer on its way: its bytes in pieces, what reads them, and how to say an error."""

    pieces: list[bytes] = field(default_factory=lambda: list[bytes]())
    failure: bytes = b""
    decoder: Decoder = field(default_factory=lambda: Decoder("anthropic"))
    reader: StepReader = field(default_factory=lambda: StepReader(step=0, attempt=0))
    read: int = 0


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request that was made: the head of the log by then, and its bytes."""

    seq: int
    body: bytes


@dataclass(kw_only=True)
class StreamedSim(Sim):
    """See the module's text. `stale`: the recovery row is written once in an answer, else just before the kill.

    With `recorded` the first answer is these bytes, in pieces. Whatever it is asked then, the model says that it is done: what
    others signed it cannot check.
    """

    blow: Blow | None = None
    stale: bool = False
    recorded: tuple[bytes, ...] = ()
    requests: list[Request] = field(default_factory=lambda: list[Request]())
    pieces: int = 0
    """How many pieces the first answer had."""
    _asked: Incoming | None = None
    _row: tuple[int, int, list[Op]] = (0, 0, [])

    # --- the model --------------------------------------------------------------------------------------------------

    def _answer(self, effect: CallModel) -> Stream:
        target = Target(base_url=f"http://model.test{BASES[self.provider]}", api_key="key", session="s")
        request = build_request(self.state, target, self.prompts[self.provider].messages)
        self.requests.append(Request(seq=self.state.seq, body=request.body))
        path, _, query = request.url.removeprefix("http://model.test").partition("?")
        headers = {name.lower(): value for name, value in request.headers.items()}
        incoming = Incoming(path=path, query=query, headers=headers, body=request.body)
        if self.recorded:
            self._asked = self._asked or incoming
            pieces, failure = _spoken(self._asked, _done)
            pieces = pieces if self.pieces else list(self.recorded)
        else:
            pieces, failure = _spoken(incoming, _plan)
        self.pieces = self.pieces or len(pieces)
        return Wire(
            step=effect.step,
            attempt=effect.attempt,
            message=0,
            left=[],
            off=0,
            pieces=pieces,
            failure=failure,
            decoder=Decoder(request.dialect),
            reader=StepReader(step=effect.step, attempt=effect.attempt),
        )

    def stream_tick(self) -> None:
        """Read the next piece, or meet what is to happen instead."""
        wire = self.stream
        assert isinstance(wire, Wire)
        if wire.aborting:
            return self._end_wire(wire, local("aborted", "stopped by a person"))
        blow = self.blow
        if blow is not None and wire.read == blow.after:
            self.blow = None
            return self._strike(wire, blow.how)
        if wire.read < len(wire.pieces):
            until = wire.read + 1 if blow is not None else len(wire.pieces)  # piece by piece costs time
            data = b"".join(wire.pieces[wire.read : until])
            wire.read = until
            self._take(wire, wire.decoder.feed(data))
        else:
            self._take(wire, wire.decoder.finish())
        return None

    def _strike(self, wire: Wire, how: How) -> None:
        match how:
            case "cut":
                self._take(wire, wire.decoder.finish())
            case "error":
                self._take(wire, wire.decoder.feed(wire.failure))
                if self.stream is wire:
                    self._take(wire, wire.decoder.finish())
            case "stop":
                self.stop()
            case "kill":
                self._save(wire)
                raise Crash

    def _take(self, wire: Wire, ops: list[Op]) -> None:
        """What the shell does with operations (src/edge/model_call.py)."""
        events = wire.reader.feed(ops, _count)
        if wire.reader.ended is None:
            if self.stale:
                self._save(wire)
            if events:
                self.record(*events)
            return
        self.stream = None
        end: Event = wire.reader.finish(TIMING, 0.5)
        if isinstance(end, StepFailed):
            events += partial_blocks(wire.step, wire.decoder.partial(open_only=True), _count)
        self.record(*events, end)

    def _save(self, wire: Wire) -> None:
        """Write the recovery row, if there is anything to keep: it is never written because something is over."""
        if self.stale and self._row[:2] == (wire.step, wire.attempt):
            return
        if shown := wire.decoder.partial(open_only=True):
            self._row = (wire.step, wire.attempt, shown)

    def _end_wire(self, wire: Wire, error: StepError) -> None:
        self.stream = None
        shown = partial_blocks(wire.step, wire.decoder.partial(open_only=True), _count)
        self.record(*interrupted(self.state, shown, error, 0.5))

    def _recovered(self) -> list[BlockFinished]:
        step, attempt, blocks = self._row
        ours = (step, attempt) == (self.state.step, self.state.attempt)
        return partial_blocks(step, blocks, _count) if ours else []


def _spoken(incoming: Incoming, plan: Callable[[Conversation], Iterator[Part]]) -> tuple[list[bytes], bytes]:
    """The answer to a request in pieces, each event cut in two, and the event that tells of an error."""
    dialect = find_dialect(incoming.path)
    assert dialect is not None, incoming.path
    prompt = dialect.parse(incoming)
    use = dialect.charge(prompt, 1, PrefixCache(lambda: 0.0), TokenCounter())
    encoder = dialect.encoder(prompt, use, OPTIONS)
    beats = Player(OPTIONS, prompt.conversation.max_tokens).beats(parts(prompt.conversation, plan))
    events = [*encoder.start(), *(event for beat in beats for event in encoder.events(beat.op))]
    broken = dialect.encoder(prompt, use, OPTIONS)
    failure = b"".join(broken.failure(Refused("overloaded", "from the script")))
    return halves(events), failure


def halves(events: Iterable[bytes]) -> list[bytes]:
    """Each event cut in two."""
    return [half for event in events for half in (event[: len(event) // 2], event[len(event) // 2 :])]


def _plan(conversation: Conversation) -> Iterator[Part]:
    """Ask for what no result tells of yet, and be done when all is known."""
    answers = [entry for entry in conversation.entries if isinstance(entry, Answered)]
    known = {answer.call.arguments.get("n") for answer in answers if not _undone(answer.text)}
    left = [(name, n) for name, n in CALLS if n not in known]
    if not left:
        yield Say(text=ALL_DONE)
        return
    yield Think(text="Five things to do.")
    yield Say(text=LOOKING)
    for name, number in left:
        yield Call(name=name, arguments={"n": number})


def _done(_: Conversation) -> Iterator[Part]:
    yield Say(text=ALL_DONE)


def _undone(result: str) -> bool:
    """Whether a result says that the tool was not run."""
    return "was cut off" in result or "Stopped by the person" in result


def _count(texts: Sequence[bytes]) -> list[int]:
    return [1] * len(texts)
