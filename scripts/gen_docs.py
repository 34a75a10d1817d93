"""Makes docs/protocol.md, its JSON Schema and the diagram in docs/design/session.md from the code they describe.

`python -m scripts.gen_docs` writes them; `--check` names the files that are not current and ends in 1. Descriptions are the
models' docstrings; only what no model says (the order of things, HTTP, meanings of error codes) is kept here as prose.
"""

import ast
import inspect
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter

from edgeloop import bodies, events, limits, wire
from edgeloop.model import Frozen
from edgeloop.state import TRANSITIONS

ROOT = Path(__file__).resolve().parent.parent
PROTOCOL = ROOT / "docs" / "protocol.md"
SCHEMA = ROOT / "docs" / "protocol.schema.json"
SESSION = ROOT / "docs" / "design" / "session.md"
BEGIN, END = "<!-- generated from src/edgeloop/state.py -->", "<!-- end of the generated part -->"

HEADER = """\
# The protocol between a client and a session

Version {version}. Made by `python -m scripts.gen_docs` from `wire.py`, `bodies.py` and `events.py`; do not edit by hand.
The same as a JSON Schema: [protocol.schema.json](protocol.schema.json).

A session is an append-only log of events with one integer `seq`, counted from 1 without gaps. Clients follow the log and send
commands; the loop itself runs in the session and needs no client, except to run local tools.

Every request carries `Authorization: Bearer <token>`. A browser, which cannot send that with a WebSocket, offers the subprotocols
`edgeloop.v1` and `edgeloop.token.<token>` and is answered with the first; a token is never part of a URL. What a token allows is
in [access](design/access.md). Without a configured token or signing key everything but `/healthz` is refused.

## A connection

1. Open `GET /v1/agents/{{id}}/ws`. An agent is made by its first use; `id` matches `{id}`.
2. Send `hello` with the cursor `after`: the last `seq` you hold. Anything else before it is refused with
   `hello_expected`; a second `hello` changes nothing.
3. Receive `welcome`, then `events` with all that you lack, then one `synced`. What follows is live. Where much is missed it
   comes in pages: a page ends with `more`; fold it, and ask for the following one with `next`.
4. If `welcome.reset` is true your cursor was of no use: drop what you hold, all events follow from 1.
   If a `snapshot` comes your cursor is older than what is kept: drop what you hold but the log's name, and go on from it.
5. Once `synced`, run the open calls whose last `tool_started` names you as `runner`; from then on every such call as it comes.
   Send a `tool_result` with the same `epoch`.
6. On a lost connection come back with the cursor, and with `position` for the block that was being streamed.

Rules:

* Frames are JSON text with a type tag `t`, at most {frame} bytes; a message and a result at most {message} bytes of text.
  Unknown fields and tags are refused.
* Everything a client sends is safe to repeat: a message by its `id`, a result by its call. What was recorded before is
  answered with `duplicate`; another content under the same id is a `conflict`.
* A client that numbers its commands (`producer`: n from 1 in an epoch that is above those of its earlier lives) gets one
  answer to each, after the events it made: `ack`, or an `error` with its number. A number taken before is acknowledged and
  ignored; one too high is answered with `gap` and not applied; one of an older epoch is `fenced`. After a loss
  `welcome.acked` says what was taken; send the rest again, under the same numbers, after `synced`. After a `gap` that you
  cannot fill, or when `acked` is less than you were told before, begin a higher epoch and number what is unanswered from 1.
* Disconnecting is not stopping. `stop` is a command of its own, and keeps what was said.
* A message sent while the agent works is delivered at its next step; it is never refused as busy.
* A new connection of the same client replaces the older one: once its `hello` is taken, what still comes over the older one is
  refused, and the older one is closed.

"""

BODIES: list[type[BaseModel]] = [
    bodies.PostMessage,
    bodies.Posted,
    bodies.EventsPage,
    bodies.Fork,
    bodies.Forked,
    bodies.Imported,
    bodies.StateView,
]

ENDPOINTS = """\
## HTTP

All under `/v1/agents/{id}`; bodies and answers are JSON.

| Request | Body | Answer |
|---|---|---|
| `GET /healthz` | | `{"ok":true}`, without a token, outside `/v1` |
| `GET /ws` | | the WebSocket |
| `POST /messages` | [PostMessage](#postmessage) | 202 [Posted](#posted); 200 if it had been recorded before |
| `POST /approvals` | [Decide](#decide) | [Posted](#posted) |
| `PUT /autonomy` | [Autonomy](#autonomy) | [Posted](#posted) |
| `POST /stop` | | [Posted](#posted); `duplicate` if nothing was under way |
| `GET /events?after=N` | | [EventsPage](#eventspage) |
| `GET /state` | | [StateView](#stateview) |
| `POST /fork` | [Fork](#fork) | 201 [Forked](#forked) |
| `GET /export` | | the first line of the session as a file ([the log](design/log.md)) |
| `GET /export?after=N&through=M&log=L&note=X` | | the next lines: records `N` < seq <= `M`, then notes after `X` |
| `POST /import?line=N` | lines of a file, the first of them number `N` from 0 | [Imported](#imported) |
| `DELETE` | | `{"deleted":true}`; the log is gone |

A refusal is `{"error": {code, message, expected, ref}}`, the fields of [ErrorFrame](#errorframe), with the status of its code.
"""

ERRORS = {
    "unauthorized": "no token, or a wrong one",
    "expired": "the token's time is over; a socket is closed with 1008",
    "forbidden": "the token is for another agent or of another scope, or the web page is of another origin",
    "not_configured": "the deployment has no token and no signing key: it refuses everything",
    "not_found": "no such path or method",
    "bad_frame": "not a frame or body of the protocol; `message` names the field, never its content",
    "too_large": "over a limit, which `expected` names",
    "version": "`hello.v` is not this protocol's version",
    "hello_expected": "a command before `hello`",
    "conflict": "contradicts what is recorded: another text under an id, a tool name twice, a question that is over",
    "gone": "the events after this cursor are no longer kept; `expected` names the first that are",
    "bad_log": "not a file of a session, or not a whole one; `message` names the line and the `seq`",
    "unknown_call": "no such call, or no question about it",
    "unknown_tools": "the session does not hold the tools of this digest: send `hello` with the tools in full",
    "fenced": "a later life of this client numbers its commands in a higher epoch",
    "not_yours": "the call is assigned to another client or epoch",
    "too_frequent": "too many frames at once: this one and those right behind it were not taken",
    "too_many_sockets": "the agent has as many sockets as it may: come back later",
    "queue_full": "as many messages wait for the next step as may: send it again when that has begun",
    "session_full": "the session stores as much as it may",
    "internal": "our fault; what was recorded stays recorded",
    "corrupt_log": "the log cannot be replayed (`message` says from which `seq`); `GET events` gives what can be read",
}

_TIMING = {"first_ms": 310, "wall_ms": 2_150, "request_bytes": 4_096, "response_bytes": 12_288, "deltas": 84}
_USAGE = {"input_uncached": 420, "cache_read": 3_072, "output": 85}
_QUESTION = {
    "call": "4.1",
    "name": "run_command",
    "arguments": '{"command":"make test"}',
    "by": "mode ask",
    "expires": 1795340400000,
}
_TOOL = {
    "name": "read_file",
    "description": "Read a text file.",
    "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    "effect": "read",
}
_RULE = {"verdict": "deny", "tool": "run_command", "command": "git push"}
_CALL = {
    "step": 4,
    "block": 1,
    "call": "4.1",
    "provider_id": "toolu_01",
    "name": "read_file",
    "arguments": '{"path":"a.py"}',
}
_STARTED = {"kind": "tool_started", "call": "4.1", "runner": "laptop", "epoch": 1}

EXAMPLES: dict[str, dict[str, Any]] = {
    "Hello": {"v": wire.PROTOCOL_VERSION, "client": "laptop", "after": 17, "log": "Jx3kPq", "tools": [_TOOL]},
    "Next": {"after": 19},
    "SendMessage": {
        "producer": {"epoch": 1795254000000, "n": 5},
        "id": "m-8f3a",
        "text": "How many tests are there?",
    },
    "ToolResult": {"call": "4.1", "epoch": 1, "outcome": "ok", "content": "print('hello')", "ms": 12},
    "Decide": {"call": "4.1", "allow": True, "scope": "session"},
    "Autonomy": {"mode": "edit", "rules": [_RULE]},
    "Stop": {},
    "Welcome": {
        "v": wire.PROTOCOL_VERSION,
        "agent": "demo",
        "log": "Jx3kPq",
        "head": 21,
        "acked": 4,
    },
    "Events": {"events": [{"seq": 18, "at": 1795254000123, "event": _STARTED}]},
    "More": {"seq": 19},
    "Snapshot": {
        "seq": 17,
        "phase": "idle",
        "provider": "anthropic",
        "model": "m",
        "step": 3,
        "turns": 2,
        "usage": _USAGE,
        "message_tokens": 3_500,
    },
    "Synced": {"seq": 21},
    "Delta": {"step": 4, "attempt": 1, "block": 0, "kind": "text", "off": 12, "text": "there are "},
    "CallOpened": {"step": 4, "attempt": 1, "block": 1, "name": "read_file"},
    "Ack": {"epoch": 1795254000000, "n": 5},
    "NumberGap": {"epoch": 1795254000000, "expected": 4},
    "Duplicate": {"ref": "m-8f3a"},
    "ErrorFrame": {
        "code": "conflict",
        "message": "another message has this id",
        "expected": "a new id",
        "ref": "m-8f3a",
    },
    "PostMessage": {"id": "m-8f3a", "text": "How many tests are there?"},
    "Posted": {"seq": 22},
    "EventsPage": {
        "log": "Jx3kPq",
        "events": [{"seq": 18, "at": 1795254000123, "event": _STARTED}],
        "next": 18,
        "head": 21,
    },
    "Fork": {"to": "demo-2", "at": 18},
    "Forked": {"agent": "demo-2", "log": "b4hT0q", "head": 20},
    "Imported": {"lines": 812},
    "StateView": {
        "agent": "demo",
        "log": "Jx3kPq",
        "head": 21,
        "phase": "settling",
        "provider": "anthropic",
        "model": "m",
        "step": 4,
        "turns": 1,
        "mode": "ask",
        "calls": [{"call": "4.1", "name": "read_file", "runner": "laptop"}],
        "questions": [_QUESTION],
        "queued": 0,
        "usage": _USAGE,
        "message_tokens": 3_500,
        "spent_usd": 0.0182,
        "attached": 1,
        "awake_since": 1_790_000_000_000,
        "rows_written": 9,
        "rows_read": 21,
        "statements": 30,
    },
    "BlockStreamed": {"step": 4, "block": 0, "type": "text", "bytes": 22, "tokens": 5},
    "Accepted": {"of": "tool_finished", "ref": "4.1", "tokens": 6},
    "ToolsTaken": {"client": "laptop", "digest": "9b1f0c3f6a7e4d2b8c5a1e0f7d6c3b2a"},
    "ConfigChanged": {"provider": "anthropic", "model": "m", "system": "You are an agent."},
    "ToolsDeclared": {"client": "laptop", "tools": [{"place": "client", "spec": _TOOL}]},
    "AutonomyChanged": {"mode": "edit", "rules": [_RULE], "client": "laptop"},
    "UserMessageReceived": {
        "id": "m-8f3a",
        "text": "How many tests are there?",
        "tokens": 6,
        "client": "laptop",
    },
    "StepStarted": {"step": 4, "attempt": 1},
    "BlockFinished": {"step": 4, "block": 0, "type": "text", "text": "There are 12.", "tokens": 5},
    "ToolCallCompleted": _CALL,
    "CallJudged": {"call": "4.1", "verdict": "ask", "by": "mode ask", "expires": 1795340400000},
    "ApprovalDecided": {"call": "4.1", "allowed": True, "by": "laptop"},
    "ToolStarted": {"call": "4.1", "runner": "laptop", "epoch": 1},
    "ToolFinished": {"call": "4.1", "outcome": "ok", "content": "print('hello')", "tokens": 6, "ms": 12},
    "StepFinished": {"step": 4, "stop": "tool_use", "usage": _USAGE, "timing": _TIMING},
    "StepFailed": {
        "step": 4,
        "attempt": 1,
        "jitter": 0.31,
        "error": {
            "cls": "rate_limit",
            "code": "rate_limit_error",
            "message": "HTTP 429: slow down",
            "retryable": True,
            "retry_after_ms": 7_000,
        },
    },
    "RetryScheduled": {"due": 1795254007155},
    "StopRequested": {"client": "laptop"},
    "TurnFinished": {"reason": "done"},
}


def main(arguments: Sequence[str]) -> int:
    """Write the documents, or name those that are not current."""
    stale = [path for path, text in documents() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            print(
                f"{path.relative_to(ROOT)} is not current: run `python -m scripts.gen_docs`", file=sys.stderr
            )
        return 1 if stale else 0
    for path, text in documents():
        path.write_text(text, "utf-8")
    return 0


def documents() -> Iterator[tuple[Path, str]]:
    """Each generated file and what it must hold."""
    yield PROTOCOL, protocol()
    yield SCHEMA, json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"
    yield SESSION, with_diagram(SESSION.read_text("utf-8"))


# --- protocol.md ----------------------------------------------------------------------------------------------------


def protocol() -> str:
    """The protocol as Markdown."""
    header = HEADER.format(
        version=wire.PROTOCOL_VERSION,
        frame=f"{limits.MAX_FRAME_BYTES:,}",
        message=f"{limits.MAX_MESSAGE_BYTES:,}",
        id="^[A-Za-z0-9._:-]{1,128}$",
    )
    log = [*members(events.Event), wire.BlockStreamed, wire.Accepted, wire.ToolsTaken]
    parts = [
        header,
        _section("## Client to session", members(wire.ClientFrame)),
        _section("## Session to client", members(wire.ServerFrame)),
        ENDPOINTS,
        "\n" + _section("### Bodies", BODIES, "####"),
        _errors(),
        "## Events of the log\n\nIn a frame each is wrapped as `{seq, at, event}`; `at` is in ms since the epoch. ",
        "Fields of their default value are left out. The last three are short forms: their content is held by you.\n\n",
        _section("", log),
        _section("## Parts of frames and events", _nested()),
    ]
    return "".join(parts).rstrip() + "\n"


def members(union: Any) -> list[type[Frozen]]:
    """The models of an annotated union."""
    return list(get_args(get_args(union)[0]))


def _tag(model: type[BaseModel]) -> tuple[str, str] | None:
    for name in ("t", "kind"):
        field = model.model_fields.get(name)
        if field is not None and isinstance(field.default, str):
            return name, field.default
    return None


def _section(title: str, models: Sequence[type[BaseModel]], level: str = "###") -> str:
    return (f"{title}\n\n" if title else "") + "".join(_model(model, level) for model in models)


def _model(model: type[BaseModel], level: str) -> str:
    tag = _tag(model)
    text = f"{level} {model.__name__}\n\n" + (f"`{tag[0]}` = `{tag[1]}`. " if tag else "")
    text += inspect.cleandoc(model.__doc__ or "") + "\n\n" + _fields(model)
    if model.__name__ in EXAMPLES:
        text += f"```json\n{example(model)}\n```\n\n"
    return text


def example(model: type[BaseModel]) -> str:
    """The example of a model, as it travels.

    Raises:
        KeyError: there is none.
    """
    return model.model_validate(EXAMPLES[model.__name__]).model_dump_json(exclude_none=True)


def _fields(model: type[BaseModel]) -> str:
    shape = model.model_json_schema()
    required = shape.get("required", [])
    rows = [
        f"| `{name}` | {_type(field)} | {'required' if name in required else _default(field)} |\n"
        for name, field in shape.get("properties", {}).items()
        if _tag(model) is None or name != (_tag(model) or ("",))[0]
    ]
    return "| Field | Type | Default |\n|---|---|---|\n" + "".join(rows) + "\n" if rows else ""


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    return "absent" if value is None else f"`{json.dumps(value)}`"


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    for key in ("anyOf", "oneOf"):
        if key in field:
            kinds = [_type(kind) for kind in field[key]]
            return " or ".join(kinds) if len(kinds) <= 3 else "an [event](#events-of-the-log)"
    if field.get("type") == "array":
        return f"array of {_type(field.get('items', {}))}" + _bounds(field, "items", "Items")
    if field.get("type") == "string":
        return "string" + _bounds(field, "characters", "Length") + _pattern(field)
    return str(field.get("type", "any")) + _bounds(field, "", "imum")


def _bounds(field: dict[str, Any], unit: str, suffix: str) -> str:
    low, high = field.get(f"min{suffix}"), field.get(f"max{suffix}")
    words = [f"{word} {value}" for word, value in (("from", low), ("to", high)) if value is not None]
    return f", {' '.join(words)} {unit}".rstrip() if words else ""


def _pattern(field: dict[str, Any]) -> str:
    return f", `{field['pattern']}`" if "pattern" in field else ""


def _nested() -> list[type[BaseModel]]:
    """The models that others hold, by name."""
    roots = {*members(wire.ClientFrame), *members(wire.ServerFrame), *members(events.Event)}
    roots |= {*BODIES, wire.BlockStreamed, wire.Accepted}
    names = {name for root in roots for name in root.model_json_schema().get("$defs", {})}
    every = {model.__name__: model for model in _subclasses(Frozen)}
    done = {root.__name__ for root in roots}
    return [every[name] for name in sorted(names - done) if name in every]


def _subclasses(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in base.__subclasses__():
        yield model
        yield from _subclasses(model)


def _errors() -> str:
    statuses = _statuses()
    assert set(ERRORS) == set(get_args(wire.ErrorCode)), "every error code has its meaning here"
    rows = "".join(
        f"| `{code}` | {statuses.get(code, 400)} | {meaning} |\n" for code, meaning in ERRORS.items()
    )
    return f"## Error codes\n\n| Code | HTTP status | Meaning |\n|---|---|---|\n{rows}\n"


def _statuses() -> dict[str, int]:
    """The edge's table of statuses, read and not imported: its module needs the runtime."""
    tree = ast.parse((ROOT / "src" / "edge" / "answers.py").read_text("utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_STATUS":
            return ast.literal_eval(node.value)
    raise LookupError("src/edge/answers.py has no `_STATUS`")


# --- the JSON Schema ------------------------------------------------------------------------------------------------


def schema() -> dict[str, Any]:
    """Every frame and body under `$defs`; the whole is any frame of either side."""
    adapters: dict[str, TypeAdapter[Any]] = {
        "ClientFrame": TypeAdapter(wire.ClientFrame),
        "ServerFrame": TypeAdapter(wire.ServerFrame),
        "Event": TypeAdapter(events.Event),
        **{body.__name__: TypeAdapter(body) for body in BODIES},
    }
    roots, shared = TypeAdapter.json_schemas(
        [(name, "validation", adapter) for name, adapter in adapters.items()]
    )
    named = {name: roots[(name, "validation")] for name in ("ClientFrame", "ServerFrame", "Event")}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Edgeloop protocol {wire.PROTOCOL_VERSION}",
        "anyOf": [{"$ref": "#/$defs/ClientFrame"}, {"$ref": "#/$defs/ServerFrame"}],
        "$defs": dict(sorted({**shared["$defs"], **named}.items())),
    }


# --- the diagram ----------------------------------------------------------------------------------------------------


def with_diagram(text: str) -> str:
    """The document with the diagram and the table of its stays between the markers.

    Raises:
        ValueError: the markers are missing.
    """
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the markers {BEGIN!r} and {END!r} are missing")
    return f"{before}{BEGIN}\n\n{diagram()}\n{_stays()}\n{END}{after}"


def diagram() -> str:
    """The moves of the transition table as a Mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> idle"]
    for phase, row in TRANSITIONS.items():
        lines += [f"    {phase} --> {to}: {kind}" for kind, to in row.items() if to != phase]
    return "\n".join([*lines, "```", ""])


def _stays() -> str:
    rows = [
        f"| {phase} | {', '.join(f'`{kind}`' for kind, to in row.items() if to == phase)} |\n"
        for phase, row in TRANSITIONS.items()
    ]
    return "| Phase | Taken without leaving it |\n|---|---|\n" + "".join(rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
