"""Feeds what peers and disks can hold to everything in Python that reads it: only its own errors may come out.

A target takes bytes and raises whatever breaks its promise. Inputs are examples with bytes or JSON values changed at random. A
seed repeats a run.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast, get_args

from edgeloop.analysis import Block, Role
from edgeloop.autonomy import MODES, Mode, grant_for, judge, parse_rules
from edgeloop.codec import decode_batch, decode_state, encode_batch
from edgeloop.errors import CorruptLog, Refused
from edgeloop.frames import parse_autonomy, parse_client_frame, parse_decide, parse_post
from edgeloop.kernels import Algorithm, ApplyFailed, Edit, Merged
from edgeloop.tools import ToolSpec, Touched
from edgeloop_client import hot
from edgeloop_client.decode import DIALECTS, Decoder, Op
from scripts.setup import ROOT

CRASHERS = ROOT / "tests" / "fixtures" / "crashers"
STREAMS = ROOT / "tests" / "fixtures" / "streams"
REPORT_SECONDS = 5.0
Target = Callable[[bytes], None]

FRAMES = (
    (
        '{"t":"hello","v":1,"client":"c1","after":3,"log":"l","position":{"step":1,"attempt":1,"block":0,"off":5},"tools":[{"name":"a",'
        '"description":"","parameters":{"type":"object"},"effect":"read","deadline_ms":5,"touches":{"path":"p"},"eager":false}]}'
    ),
    '{"t":"message","id":"m1","text":"hi","model":"m"}',
    '{"t":"tool_result","call":"1.0","epoch":1,"outcome":"ok","content":"x","ms":3}',
    '{"t":"decide","call":"1.0","allow":true,"scope":"session","reason":"r"}',
    '{"t":"autonomy","mode":"edit","rules":[{"verdict":"deny","path":"**/.env"}],"eager":true}',
    '{"t":"stop"}',
)
RULES = (
    '[{"verdict":"deny","tool":"run_*","command":"git push"},{"verdict":"allow","path":"src/**"},{"verdict":"ask"}]',
    '[{"verdict":"allow","tool":"x","host":"*.example.com:80"},{"verdict":"allow","command":"make \'a b\'","exact":true}]',
)
ARGUMENTS = (
    '{"p":"src/../a\\u0000b/ﬁ.txt","c":"git -C x push && sudo env A=1 make","u":"http://u@EXAMPLE.com:80\\\\x/"}',
    '{"p":"a/./b","c":"echo $(git push) >x | sh -c \'git push\'","u":"https://0x7f.1/"}',
    '{"p":"docs/a.md","c":"make test","u":"https://example.com/a"}',
)
BATCHES = (
    (
        '[{"v":1,"seq":1,"at":5,"event":{"kind":"user_message_received","id":"m1","text":"hi","tokens":1}},'
        '{"v":1,"seq":2,"at":5,"event":{"kind":"tool_call_completed","step":1,"block":0,"call":"1.0","provider_id":"p","name":"n",'
        '"arguments":"{}"}},{"v":1,"seq":3,"at":5,"event":{"kind":"tool_started","call":"1.0","runner":"edge","epoch":1}}]'
    ),
)
TEXTS = (
    (
        "def one():\n    return 1\n\n\ndef two():\n    return 2\n\0def one():\n    return 11\n\n\ndef two():\n    return 2\n"
        "\0@@ -1,3 +1,3 @@\n def one():\n-    return 1\n+    return 11\n \n"
    ),
    "".join(
        f"2026-11-21 10:00:{second:02} status installed p{second}:amd64 1.{second}\n" for second in range(40)
    )
    * 2
    + "\0a\r\nb",
    "same line\n" * 30 + "日本語 ünï 😀\n\0" + "same line\n" * 29 + "x\n\0" + "same line\n" * 28,
)
STATES = ('{"v":1,"shape":0,"state":{"phase":"idle","seq":3,"calls":{}}}',)


def frames(data: bytes) -> None:
    """Frames and bodies: a refusal or a command, from bytes and from text."""
    for parse in (parse_client_frame, parse_post, parse_decide, parse_autonomy):
        _refused(parse, data)
    _refused(parse_client_frame, data.decode("utf-8", "surrogatepass" if _is_text(data) else "replace"))


def rules(data: bytes) -> None:
    """Rules: refused, or good for judging anything."""
    try:
        read = parse_rules(data)
    except Refused:
        return
    for arguments in ARGUMENTS:
        for mode in MODES:
            judge(_SPECS[-1], arguments, mode=mode, rules=read)


def arguments(data: bytes) -> None:
    """Arguments: always a verdict; a rule that denies everything denies; a grant covers the call that it was made for."""
    text = data.decode("utf-8", "replace")
    deny = parse_rules('[{"verdict":"deny"}]')
    for spec in _SPECS:
        for mode in MODES:
            assert judge(spec, text, mode=mode).verdict in ("allow", "ask", "deny")
            assert judge(spec, text, mode=mode, rules=deny).verdict == "deny"
        grant = grant_for(spec, text)
        if grant is not None:
            ask = parse_rules('[{"verdict":"ask"}]')
            verdict = judge(spec, text, mode="auto", rules=ask, grants=(grant,)).verdict
            assert verdict == "allow", f"{grant!r} does not cover its own call"


def batches(data: bytes) -> None:
    """Stored batches: corrupt, or the same again when encoded and decoded."""
    try:
        read = decode_batch(data.decode("utf-8", "replace"))
    except CorruptLog:
        return
    assert decode_batch(encode_batch(read)) == read


def states(data: bytes) -> None:
    """Stored snapshots: read or left alone."""
    decode_state(data.decode("utf-8", "replace"))


def streams(data: bytes) -> None:
    """Streams through the wasm: no trap, one end, and however cut the same operations."""
    dialect = DIALECTS[len(data) % len(DIALECTS)]
    cut = len(data) // 3
    whole, pieces = (
        _decoded(dialect, [data]),
        _decoded(dialect, [data[:cut], data[cut : cut + 1], data[cut + 1 :]]),
    )
    assert whole == pieces
    assert [op["op"] for op in whole if op["op"] in ("stop", "error")] == [whole[-1]["op"]]


def kernels(data: bytes) -> None:
    """Texts between zero bytes: counted, compared, merged and patched, by the laws that hold for any bytes."""
    base, ours, theirs = ([*data.split(b"\0"), b"", b""])[:3]
    assert hot.count_tokens(data) == hot.count_tokens(data.decode("utf-8", "replace"))
    assert hot.count_batch([base, ours]) == [hot.count_tokens(base), hot.count_tokens(ours)]
    for algorithm in get_args(Algorithm):
        patch = hot.diff_unified(base, ours, algorithm=algorithm)
        assert hot.apply_patch(base, patch) == ours
        assert hot.merge(base, ours, ours, algorithm=algorithm) == Merged(text=ours, conflicts=0)
        assert hot.merge(base, base, ours, algorithm=algorithm) == Merged(text=ours, conflicts=0)
        there, back = (
            hot.merge(base, *sides, algorithm=algorithm) for sides in ((ours, theirs), (theirs, ours))
        )
        assert bool(there.conflicts) == bool(back.conflicts)
    edits = hot.diff_edits(base, ours)
    assert _applied(hot.apply_edits, base, edits) in (None, ours)
    _applied(hot.apply_patch, base, theirs)
    _applied(hot.apply_edits, ours, [Edit(search=base[:20], replace=theirs)])
    rebuilt, at = b"", 0
    for start, end, new_start, new_end in hot.diff_words(base, ours):
        rebuilt, at = rebuilt + base[at:start] + ours[new_start:new_end], end
    assert rebuilt + base[at:] == ours


def judgements(data: bytes) -> None:
    """A conversation of the texts between zero bytes, said twice: every fold leads back to its bytes and saves tokens."""
    parts = data.split(b"\0")[:8]
    roles = get_args(Role)
    blocks = [
        Block(role=roles[at % len(roles)], data=part, path="p" * (at % 2))
        for at, part in enumerate(parts * 2)
    ]
    analysis = hot.analysis()
    for plan in analysis.enter(blocks):
        for fold in plan.folds:
            source = b"" if fold.kind == "template" else blocks[fold.source].data
            assert analysis.resolve(fold, source) == blocks[plan.block].data[fold.start : fold.end]
            assert fold.tokens_after < fold.tokens_before
    analysis.close()


TARGETS: dict[str, tuple[Target, tuple[str, ...]]] = {
    "frames": (frames, FRAMES),
    "rules": (rules, RULES),
    "arguments": (arguments, ARGUMENTS),
    "batches": (batches, BATCHES),
    "states": (states, STATES),
    "kernels": (kernels, TEXTS),
    "judgements": (judgements, TEXTS),
    "streams": (streams, tuple(path.read_text(encoding="utf-8") for path in sorted(STREAMS.glob("*.sse")))),
}

_TOUCHES: tuple[dict[Touched, str], ...] = (
    {},
    {"path": "p"},
    {"command": "c"},
    {"url": "u"},
    {"path": "p", "command": "c", "url": "u"},
)
_SPECS = tuple(
    ToolSpec(name="run_x", description="", parameters={"type": "object"}, effect="mutate", touches=touches)
    for touches in _TOUCHES
)
assert set(MODES) == set(get_args(Mode))


def _applied(apply: Callable[..., bytes], *arguments: Any) -> bytes | None:
    try:
        return apply(*arguments)
    except ApplyFailed:
        return None


def _refused(parse: Callable[[Any], object], data: bytes | str) -> None:
    try:
        parse(data)
    except Refused:
        pass


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


_LIVE = {"text": "text", "reasoning": "text", "args": "bytes"}


def _decoded(dialect: str, pieces: list[bytes]) -> list[Op]:
    """All operations; neighbouring deltas of one block joined, pings left out."""
    with Decoder(dialect) as decoder:
        ops = [op for piece in pieces for op in decoder.feed(piece)] + decoder.finish()
    joined: list[Op] = []
    for op in ops:
        last = joined[-1] if joined else {"op": ""}
        if op["op"] in _LIVE and (last["op"], last.get("block")) == (op["op"], op["block"]):
            joined[-1] = {**last, _LIVE[op["op"]]: last[_LIVE[op["op"]]] + op[_LIVE[op["op"]]]}
        elif op["op"] != "ping":
            joined.append(op)
    return joined


# --- inputs ---------------------------------------------------------------------------------------------------------

_ODD: tuple[bytes, ...] = (
    b'"', b"\\", b"{", b"}", b"[", b"]", b"\n\n", b"data: ", b"\\ud800", b"\xff", b"\xed\xa0\x80", b"null", b"-1", b"1e999",
    b"\x00", b"9" * 400, b"[" * 5_000, b'{"a":' * 2_000, b"A" * 5_000, b"..", b"/", b"*", b"$(", b"'",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1 << 70, 0.5, "", "x" * 5_000, "\ud800", "..", "**", "$(x)", [], {}, [[]], {"": {}}, ["a"] * 300,
)  # fmt: skip


def mutated(rng: random.Random, example: bytes) -> bytes:
    """The example with one to six changes: bytes anywhere, or a value of its JSON."""
    data = example
    for _ in range(rng.randrange(1, 7)):
        data = _other_value(rng, data) if rng.random() < 0.5 else _other_bytes(rng, data)
    return data


def _other_bytes(rng: random.Random, data: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice((0, 0, 1, 1, 2, 8, 64)))
    piece = rng.choice(
        (b"", rng.choice(_ODD), bytes([rng.randrange(256)]), data[end : end + rng.randrange(40)])
    )
    return data[:start] + piece + data[end:]


def _other_value(rng: random.Random, data: bytes) -> bytes:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return data
    places = list(_places(value))
    if not places:
        return data
    holder, key = rng.choice(places)
    holder[key] = rng.choice(_VALUES) if rng.random() < 0.7 else rng.choice(places)[0]
    try:
        return json.dumps(value).encode()
    except (ValueError, RecursionError):  # it was put into itself
        return data


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    if depth > 50:
        return
    if isinstance(value, dict):
        pairs: list[tuple[Any, Any]] = list(cast("dict[str, Any]", value).items())
    else:
        pairs = list(enumerate(cast("list[Any]", value))) if isinstance(value, list) else []
    for key, inner in pairs:
        yield value, key
        yield from _places(inner, depth + 1)


# --- a run ----------------------------------------------------------------------------------------------------------


def run(seconds: float, seed: int, *, out: Callable[[str], None] = print) -> list[Path]:
    """Feed all targets for so long; say how far it is, and where what broke one was saved."""
    rng, counts, broken = random.Random(seed), Counter[str](), list[Path]()
    until = time.monotonic() + seconds
    told = time.monotonic() + REPORT_SECONDS
    while time.monotonic() < until:
        for name in TARGETS:
            crasher = one(name, rng)
            counts[name] += 1
            if crasher is not None:
                broken.append(crasher)
                out(f"fuzz: {name} broke: {crasher}")
        if time.monotonic() > told:
            told += REPORT_SECONDS
            out(f"fuzz: {_told(counts, broken)}")
    out(f"fuzz: {_told(counts, broken)}")
    return broken


def one(name: str, rng: random.Random, folder: Path = CRASHERS) -> Path | None:
    """One input for one target; where it is saved if it broke its promise."""
    target, examples = TARGETS[name]
    data = mutated(rng, rng.choice(examples).encode())
    try:
        target(data)
    except Exception as error:  # the promise is that nothing else comes out
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}-{type(error).__name__}-{rng.randrange(1 << 32):08x}"
        path.write_bytes(data)
        return path
    return None


def _told(counts: Counter[str], broken: list[Path]) -> str:
    done = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    return f"{done}; {len(broken)} broken"
