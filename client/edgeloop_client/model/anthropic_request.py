"""Reads a Messages request as strictly as the real API: a request that would be a 400 there is a 400 here, in its words.

Gives the neutral conversation and the prompt's blocks in prefix order: tools, system, messages.
"""

from collections.abc import Iterator
from typing import Any

from edgeloop_client.model.anthropic_blocks import TOOL_NAME, check_block, check_pairs, check_text
from edgeloop_client.model.cache import Ttl
from edgeloop_client.model.conversation import (
    Answered,
    Asked,
    Conversation,
    Entry,
    ModelSaid,
    Offer,
    UserSaid,
)
from edgeloop_client.model.dialect import Block, Incoming, Json, Prompt, read_json, render
from edgeloop_client.model.errors import Refused, bad
from edgeloop_client.model.shapes import is_array, is_object, objects

_FIELDS = frozenset(
    """model max_tokens messages system tools tool_choice stream cache_control metadata temperature top_p top_k thinking
    output_config service_tier""".split()
)
_UNSUPPORTED = frozenset("stop_sequences container mcp_servers context_management inference_geo".split())
MAX_MARKS = 4
_MARKED = ("text", "tool_use", "tool_result")


def parse_request(incoming: Incoming) -> Prompt:
    """Read a request.

    Raises:
        Refused: as the API would.
    """
    key = _key(incoming.headers)
    if not incoming.headers.get("anthropic-version"):
        raise bad("anthropic-version: header is required")
    body = read_json(incoming.body)
    _check_fields(body)
    messages = _messages(body)
    check_pairs(messages)
    _check_marks(body, messages)
    tools = _tools(body)
    offered = {} if _choice(body) == "none" else tools
    conversation = Conversation(
        model=body["model"],
        system="\n".join(block["text"] for block in _system(body)),
        tools=offered,
        entries=tuple(_entries(messages)),
        max_tokens=body["max_tokens"],
    )
    settings = render([body.get(name) for name in ("tool_choice", "thinking", "output_config")])
    return Prompt(
        conversation=conversation,
        blocks=list(_blocks(body, messages, settings)),
        scope=f"{key}\n{body['model']}",
        stream=body.get("stream", False),
    )


def _key(headers: dict[str, str]) -> str:
    key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
    if not key.strip():
        raise Refused("authentication", "x-api-key header is required")
    return key


def _check_fields(body: Json) -> None:
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            raise bad(f"{name}: Field required")
    for name in body:
        if name in _UNSUPPORTED:
            raise bad(f"{name}: This model does not support it")
        if name not in _FIELDS:
            raise bad(f"{name}: Extra inputs are not permitted")
    if not isinstance(body["model"], str):
        raise bad("model: Input should be a valid string")
    if not isinstance(body.get("stream", False), bool):
        raise bad("stream: Input should be a valid boolean")
    limit = body["max_tokens"]
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise bad("max_tokens: Input should be greater than or equal to 1")


def _choice(body: Json) -> str:
    choice = body.get("tool_choice", {"type": "auto"})
    kind = choice.get("type") if is_object(choice) else None
    if kind not in ("auto", "none"):
        raise bad("tool_choice: this model takes 'auto' and 'none' only")
    return kind


# --- tools and system ----------------------------------------------------------------------------------------------


def _tools(body: Json) -> dict[str, Offer]:
    tools = body.get("tools", [])
    if not is_array(tools):
        raise bad("tools: Input should be a valid list")
    answer: dict[str, Offer] = {}
    for number, tool in enumerate(tools):
        where = f"tools.{number}"
        if not is_object(tool):
            raise bad(f"{where}: Input should be a valid dictionary")
        if tool.get("type", "custom") != "custom":
            raise bad(f"{where}.type: this model takes custom tools only")
        name, schema = tool.get("name"), tool.get("input_schema")
        if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
            raise bad(f"{where}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        if not is_object(schema):
            raise bad(f"{where}.custom.input_schema: Field required")
        if schema.get("type") != "object":
            raise bad(f"{where}.custom.input_schema.type: Input should be 'object'")
        if name in answer:
            raise bad("tools: Tool names must be unique.")
        answer[name] = Offer(name=name, description=str(tool.get("description", "")), parameters=schema)
    return answer


def _system(body: Json) -> list[Json]:
    system = body.get("system", [])
    blocks = [{"type": "text", "text": system}] if isinstance(system, str) and system else system or []
    if not is_array(blocks):
        raise bad("system: Input should be a valid list")
    for number, block in enumerate(blocks):
        if not is_object(block) or block.get("type") != "text":
            raise bad(f"system.{number}.type: Input should be 'text'")
        check_text(block, f"system.{number}", "system")
    return blocks


# --- messages ------------------------------------------------------------------------------------------------------


def _messages(body: Json) -> list[Json]:
    """The messages with their content as block lists, neighbours of one role joined."""
    messages = body["messages"]
    if not is_array(messages):
        raise bad("messages: Input should be a valid list")
    if not messages:
        raise bad("messages: at least one message is required")
    answer: list[Json] = []
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        role = message.get("role") if is_object(message) else None
        if role not in ("user", "assistant"):
            if role == "system":
                raise bad(
                    'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter,'
                    ' not "system" as an input message role.'
                )
            raise bad(f"{where}.role: Input should be 'user' or 'assistant'")
        content = _content(message.get("content"), role, where)
        if answer and answer[-1]["role"] == role:
            answer[-1]["content"].extend(content)
        else:
            answer.append({"role": role, "content": content, "where": where})
    if answer[0]["role"] != "user":
        raise bad('messages: first message must use the "user" role')
    if answer[-1]["role"] != "user":
        raise bad(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    return answer


def _content(content: Any, role: str, where: str) -> list[Json]:
    if isinstance(content, str):
        if not content:
            raise bad(f"{where}: {role} messages must have non-empty content")
        content = [{"type": "text", "text": content}]
    if not is_array(content):
        raise bad(f"{where}.content: Input should be a valid list")
    if not content:
        raise bad(f"{where}: {role} messages must have non-empty content")
    for number, block in enumerate(content):
        check_block(block, role, f"{where}.content.{number}")
    if role == "assistant" and content[-1]["type"] == "thinking":
        raise bad(f"{where}: The final block in an assistant message cannot be `thinking`.")
    return list(content)


def _entries(messages: list[Json]) -> Iterator[Entry]:
    calls: dict[str, Asked] = {}
    for message in messages:
        content = message["content"]
        text = "".join(block["text"] for block in content if block["type"] == "text")
        if message["role"] == "assistant":
            asked = [
                Asked(id=block["id"], name=block["name"], arguments=block["input"])
                for block in content
                if block["type"] == "tool_use"
            ]
            calls = {call.id: call for call in asked}
            yield ModelSaid(text=text, calls=tuple(asked))
            continue
        for block in content:
            if block["type"] == "tool_result":
                call = calls[block["tool_use_id"]]
                yield Answered(call=call, text=_text_of(block), failed=block.get("is_error", False))
        if text:
            yield UserSaid(text=text)


def _text_of(result: Json) -> str:
    content = result.get("content", "")
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


# --- the prompt's blocks and breakpoints ---------------------------------------------------------------------------


def _mark(block: Json, where: str) -> Ttl | None:
    control = block.get("cache_control")
    if control is None:
        return None
    if not is_object(control) or control.get("type") != "ephemeral":
        raise bad(f"{where}.cache_control.type: Input should be 'ephemeral'")
    ttl = control.get("ttl", "5m")
    if ttl not in ("5m", "1h"):
        raise bad(f"{where}.cache_control.ephemeral.ttl: Input should be '5m' or '1h'")
    return ttl


def _check_marks(body: Json, messages: list[Json]) -> None:
    blocks = [
        *objects(body.get("tools")),
        *_system(body),
        *(block for message in messages for block in message["content"]),
    ]
    marks = [mark for block in blocks if (mark := _mark(block, "cache_control"))]
    automatic, own = _mark(body, "body"), _mark(blocks[-1], "messages")
    if automatic and own is None:
        marks.append(automatic)
    elif automatic and own != automatic:
        raise bad("cache_control: the last block has a breakpoint with another ttl")
    if len(marks) > MAX_MARKS:
        raise bad(f"A maximum of 4 blocks with cache_control may be provided. Found {len(marks)}.")
    if "5m" in marks and "1h" in marks[marks.index("5m") :]:
        raise bad(
            "cache_control: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block"
        )
    for message in messages:
        for block in message["content"]:
            if _mark(block, "messages") and block["type"] not in _MARKED:
                raise bad(f"messages: cache_control cannot be set for {block['type']} blocks")


def _blocks(body: Json, messages: list[Json], settings: bytes) -> Iterator[Block]:
    for tool in body.get("tools", []):
        yield Block(data=_plain(tool), mark=_mark(tool, "tools"))
    for block in _system(body):
        yield Block(data=b"system" + _plain(block), mark=_mark(block, "system"))
    flat = [(message["role"], block) for message in messages for block in message["content"]]
    last = max((at for at, (_, block) in enumerate(flat) if block["type"] in _MARKED), default=-1)
    for at, (role, block) in enumerate(flat):
        # Settings that invalidate the messages but not what stands before them come in with the first message.
        head = role.encode() + (b"" if at else settings)
        mark = _mark(block, "messages") or (_mark(body, "body") if at == last else None)
        yield Block(data=head + _plain(block), mark=mark)


def _plain(block: Json) -> bytes:
    return render({name: value for name, value in block.items() if name != "cache_control"})
