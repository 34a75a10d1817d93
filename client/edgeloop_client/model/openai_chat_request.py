"""Reads a Chat Completions request as strictly as the real API, in its words where they are known."""

import re
from collections.abc import Iterator
from typing import Any

from edgeloop_client.model.conversation import (
    Answered,
    Asked,
    Conversation,
    Entry,
    ModelSaid,
    Offer,
    UserSaid,
)
from edgeloop_client.model.dialect import Block, Incoming, Json, Prompt, object_of, read_json, render
from edgeloop_client.model.errors import Refused, bad
from edgeloop_client.model.openai_errors import bearer
from edgeloop_client.model.shapes import is_array, is_object, objects

_FIELDS = frozenset(
    """model messages tools tool_choice stream stream_options max_tokens max_completion_tokens temperature top_p
    parallel_tool_calls reasoning_effort verbosity service_tier prompt_cache_key prompt_cache_retention metadata user store
    safety_identifier presence_penalty frequency_penalty""".split()
)
_UNSUPPORTED = frozenset("stop n logprobs top_logprobs response_format functions function_call audio".split())
_PREFIX_SETTINGS = (
    "parallel_tool_calls",
    "reasoning_effort",
    "verbosity",
    "service_tier",
    "prompt_cache_key",
)
_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MAX_TOOLS = 128


def parse_request(incoming: Incoming) -> Prompt:
    """Read a request.

    Raises:
        Refused: as the API would.
    """
    key = bearer(incoming.headers)
    return parse_body(read_json(incoming.body), key)


def parse_body(body: Json, key: str) -> Prompt:
    """Read a body; `key` keeps its cache apart from others'.

    Raises:
        Refused: as the API would.
    """
    _check_fields(body)
    messages = _messages(body)
    _check_pairs(messages)
    tools = _tools(body)
    system = [_text(m, n) for n, m in enumerate(messages) if m["role"] in ("system", "developer")]
    conversation = Conversation(
        model=body["model"],
        system="\n".join(system),
        tools={} if body.get("tool_choice") == "none" else tools,
        entries=tuple(_entries(messages)),
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens") or 0,
    )
    settings = [body.get(name) for name in _PREFIX_SETTINGS]
    return Prompt(
        conversation=conversation,
        blocks=[Block(data=render(part)) for part in (*body.get("tools", []), *messages)],
        scope=f"{key}\n{body['model']}\n{settings}",
        stream=body.get("stream") or False,
        extra={"include_usage": _include_usage(body)},
    )


def _check_fields(body: Json) -> None:
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise bad("you must provide a model parameter")
    for name in body:
        if name in _UNSUPPORTED:
            raise bad(
                f"Unsupported parameter: '{name}' is not supported with this model.",
                param=name,
                code="unsupported_parameter",
            )
        if name not in _FIELDS:
            raise bad(f"Unrecognized request argument supplied: {name}")
    if not isinstance(body.get("stream") or False, bool):
        raise invalid_type("stream", "a boolean")
    for name in ("max_tokens", "max_completion_tokens"):
        limit = body.get(name)
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
            raise bad(
                f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {limit} instead.",
                param=name,
                code="integer_below_min_value",
            )
    if body.get("tool_choice", "auto") not in ("auto", "none"):
        raise bad(
            "Invalid value for 'tool_choice': this model takes 'auto' and 'none' only", param="tool_choice"
        )


def _include_usage(body: Json) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not body.get("stream"):
        raise bad(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options"
        )
    if not is_object(options):
        raise invalid_type("stream_options", "an object")
    return options.get("include_usage") is True


def invalid_type(name: str, expected: str) -> Refused:
    """The refusal of a value of another type."""
    return bad(f"Invalid type for '{name}': expected {expected}.", param=name, code="invalid_type")


# --- tools ---------------------------------------------------------------------------------------------------------


def _tools(body: Json) -> dict[str, Offer]:
    tools = body.get("tools", [])
    if not is_array(tools):
        raise invalid_type("tools", "an array of objects")
    if "tools" in body and not tools:
        raise bad("Invalid 'tools': empty array.", param="tools", code="empty_array")
    if len(tools) > MAX_TOOLS:
        raise bad(f"Invalid 'tools': array too long. Expected at most {MAX_TOOLS}.", param="tools")
    answer: dict[str, Offer] = {}
    for number, tool in enumerate(tools):
        where = f"tools[{number}]"
        function = tool.get("function") if is_object(tool) and tool.get("type") == "function" else None
        if not is_object(function):
            raise bad(f"Missing required parameter: '{where}.function'.", param=f"{where}.function")
        offer = read_function(function, f"{where}.function")
        answer[offer.name] = offer
    return answer


def read_function(function: Json, where: str) -> Offer:
    """A function's declaration.

    Raises:
        Refused: a bad name or schema.
    """
    name, schema = function.get("name"), function.get("parameters", {"type": "object", "properties": {}})
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        raise bad(
            f"Invalid '{where}.name': string does not match pattern. Expected a string that matches the pattern"
            " '^[a-zA-Z0-9_-]+$'.",
            param=f"{where}.name",
            code="invalid_value",
        )
    if not is_object(schema) or schema.get("type") != "object":
        kind = schema.get("type") if is_object(schema) else None
        raise bad(
            f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', got"
            f" 'type: \"{kind}\"'.",
            param=f"{where}.parameters",
            code="invalid_function_parameters",
        )
    return Offer(name=name, description=str(function.get("description", "")), parameters=schema)


# --- messages ------------------------------------------------------------------------------------------------------


def _messages(body: Json) -> list[Json]:
    messages = body.get("messages")
    if messages is None:
        raise bad(
            "Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter"
        )
    if not is_array(messages):
        raise invalid_type("messages", "an array of objects")
    if not messages:
        raise bad("Invalid 'messages': empty array.", param="messages", code="empty_array")
    for number, message in enumerate(messages):
        _check_message(message, number)
    return messages


def _check_message(message: Any, number: int) -> None:
    where = f"messages[{number}]"
    if not is_object(message):
        raise invalid_type(where, "an object")
    role = message.get("role")
    if role not in _ROLES or role == "function":
        known = ", ".join(f"'{name}'" for name in _ROLES)
        raise bad(
            f"Invalid value: '{role}'. Supported values are: {known}.",
            param=f"{where}.role",
            code="invalid_value",
        )
    if role == "assistant" and message.get("tool_calls") is not None:
        _check_calls(message["tool_calls"], where)
        if message.get("content") is None:
            return
    _text(message, number)
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise bad(
            f"Missing required parameter: '{where}.tool_call_id'.",
            param=f"{where}.tool_call_id",
            code="missing_required_parameter",
        )


def _text(message: Json, number: int) -> str:
    """A message's text.

    Raises:
        Refused: it has none, or parts of other kinds.
    """
    content = message.get("content")
    where = f"messages[{number}].content"
    if isinstance(content, str):
        return content
    if content is None:
        raise bad(
            f"Invalid value for 'content': expected a string, got null. ({where})",
            param=f"messages.[{number}].content",
        )
    if not is_array(content) or not content:
        raise invalid_type(where, "one of an array of objects or string")
    for part in content:
        if not is_object(part) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise bad(f"Invalid '{where}': this model takes text only.", param=where, code="invalid_value")
    return "".join(part["text"] for part in content)


def _check_calls(calls: Any, where: str) -> None:
    if not is_array(calls) or not calls:
        raise bad(
            f"Invalid '{where}.tool_calls': empty array.", param=f"{where}.tool_calls", code="empty_array"
        )
    for at, call in enumerate(calls):
        path = f"{where}.tool_calls[{at}]"
        function = call.get("function") if is_object(call) else None
        if not is_object(function) or call.get("type") != "function" or not isinstance(call.get("id"), str):
            raise bad(f"Missing required parameter: '{path}.function'.", param=path)
        if not isinstance(name := function.get("name"), str) or not _TOOL_NAME.fullmatch(name):
            raise bad(f"Invalid '{path}.function.name': string does not match pattern.", param=path)
        if not isinstance(function.get("arguments"), str):
            raise invalid_type(f"{path}.function.arguments", "a string")


def _check_pairs(messages: list[Json]) -> None:
    """Every call is answered before anything else is said, and every answer has its call."""
    waiting: list[str] = []
    for number, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                raise bad(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with"
                    " 'tool_calls'.",
                    param=f"messages.[{number}].role",
                )
            waiting.remove(message["tool_call_id"])
            continue
        _check_none_waiting(waiting, number)
        waiting = (
            [call["id"] for call in objects(message.get("tool_calls"))]
            if message["role"] == "assistant"
            else []
        )
    _check_none_waiting(waiting, len(messages))


def _check_none_waiting(waiting: list[str], number: int) -> None:
    if waiting:
        raise bad(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each"
            f" 'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(waiting)}",
            param=f"messages.[{number}].role",
        )


def _entries(messages: list[Json]) -> Iterator[Entry]:
    calls: dict[str, Asked] = {}
    for number, message in enumerate(messages):
        match message["role"]:
            case "assistant":
                asked = [_asked(call) for call in objects(message.get("tool_calls"))]
                calls = {call.id: call for call in asked}
                text = "" if message.get("content") is None else _text(message, number)
                yield ModelSaid(text=text, calls=tuple(asked))
            case "tool":
                yield Answered(call=calls[message["tool_call_id"]], text=_text(message, number))
            case "user":
                yield UserSaid(text=_text(message, number))
            case _:
                pass


def _asked(call: Json) -> Asked:
    function = call["function"]
    return Asked(id=call["id"], name=function["name"], arguments=object_of(function["arguments"]))
