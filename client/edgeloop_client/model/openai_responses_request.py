"""Reads a Responses request as strictly as the real API; nothing is stored here, so `previous_response_id` finds nothing."""

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
from edgeloop_client.model.dialect import Block, Incoming, Prompt, object_of, read_json, render
from edgeloop_client.model.errors import Refused, bad
from edgeloop_client.model.openai_chat_request import invalid_type, read_function
from edgeloop_client.model.openai_errors import bearer
from edgeloop_client.model.shapes import Json, is_array, is_object
from edgeloop_client.model.signature import sign

_FIELDS = frozenset(
    """model input instructions tools tool_choice stream store include reasoning max_output_tokens parallel_tool_calls
    previous_response_id prompt_cache_key prompt_cache_retention prompt_cache_options text truncation metadata temperature
    top_p service_tier user safety_identifier stream_options""".split()
)
_UNSUPPORTED = frozenset("background conversation prompt max_tool_calls top_logprobs".split())
_PREFIX_SETTINGS = ("parallel_tool_calls", "reasoning", "text", "service_tier", "prompt_cache_key")
_ROLES = ("user", "assistant", "system", "developer")
_TEXTS = {
    "user": ("input_text",),
    "system": ("input_text",),
    "developer": ("input_text",),
    "assistant": ("output_text",),
}
ENCRYPTED = "reasoning.encrypted_content"


def parse_request(incoming: Incoming) -> Prompt:
    """Read a request.

    Raises:
        Refused: as the API would.
    """
    key = bearer(incoming.headers)
    body = read_json(incoming.body)
    _check_fields(body)
    items = _items(body)
    _check_pairs(items)
    tools = _tools(body)
    instructions = body.get("instructions") or ""
    system = [
        instructions,
        *(_text(item, "") for item in items if item.get("role") in ("system", "developer")),
    ]
    conversation = Conversation(
        model=body["model"],
        system="\n".join(filter(None, system)),
        tools={} if body.get("tool_choice") == "none" else tools,
        entries=tuple(_entries(items)),
        max_tokens=body.get("max_output_tokens") or 0,
    )
    settings = [body.get(name) for name in _PREFIX_SETTINGS]
    return Prompt(
        conversation=conversation,
        blocks=[Block(data=render(part)) for part in (*body.get("tools", []), instructions, *items)],
        scope=f"{key}\n{body['model']}\n{settings}",
        stream=body.get("stream") or False,
        extra=body,
    )


def encrypted(identifier: str) -> str:
    """The encrypted content of a reasoning item: good for that item only."""
    return sign(f"reasoning {identifier}")


def _check_fields(body: Json) -> None:
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise bad("Missing required parameter: 'model'.", param="model", code="missing_required_parameter")
    for name in body:
        if name in _UNSUPPORTED:
            raise bad(
                f"Unsupported parameter: '{name}' is not supported with this model.",
                param=name,
                code="unsupported_parameter",
            )
        if name not in _FIELDS:
            raise bad(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    if previous := body.get("previous_response_id"):
        raise bad(
            f"Previous response with id '{previous}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    if not isinstance(body.get("stream") or False, bool):
        raise invalid_type("stream", "a boolean")
    if not isinstance(body.get("instructions") or "", str):
        raise invalid_type("instructions", "a string")
    if not is_array(body.get("include") or []):
        raise invalid_type("include", "an array of strings")
    limit = body.get("max_output_tokens")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 16):
        raise bad(
            "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got"
            f" {limit} instead.",
            param="max_output_tokens",
            code="integer_below_min_value",
        )
    if body.get("tool_choice", "auto") not in ("auto", "none"):
        raise bad(
            "Invalid value for 'tool_choice': this model takes 'auto' and 'none' only", param="tool_choice"
        )


def _tools(body: Json) -> dict[str, Offer]:
    tools = body.get("tools", [])
    if not is_array(tools):
        raise invalid_type("tools", "an array of objects")
    answer: dict[str, Offer] = {}
    for number, tool in enumerate(tools):
        where = f"tools[{number}]"
        if not is_object(tool) or tool.get("type") != "function":
            raise bad(f"Invalid value: '{where}.type': this model takes functions only", param=where)
        offer = read_function(tool, where)
        if tool.get("strict", True):
            _check_strict(offer, f"{where}.parameters")
        answer[offer.name] = offer
    return answer


def _check_strict(offer: Offer, where: str) -> None:
    """`strict` is on unless it is turned off, and then every property has to be required."""
    schema = offer.parameters
    properties: Json = schema.get("properties") or {}
    if schema.get("additionalProperties") is not False:
        what = "'additionalProperties' is required to be supplied and to be false."
    elif set(schema.get("required") or ()) != set(properties):
        what = "'required' is required to be supplied and to be an array including every key in properties."
    else:
        return
    raise bad(
        f"Invalid schema for function '{offer.name}': In context=(), {what}",
        param=where,
        code="invalid_function_parameters",
    )


# --- items ---------------------------------------------------------------------------------------------------------


def _items(body: Json) -> list[Json]:
    given = body.get("input")
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    if given is None:
        raise bad("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    if not is_array(given) or not given:
        raise invalid_type("input", "one of a string or a non-empty array of input items")
    for number, item in enumerate(given):
        _check_item(item, f"input[{number}]")
    return given


def _check_item(item: Any, where: str) -> None:
    if not is_object(item):
        raise invalid_type(where, "an object")
    match item.get("type", "message"):
        case "message":
            if item.get("role") not in _ROLES:
                known = ", ".join(f"'{name}'" for name in _ROLES)
                raise bad(
                    f"Invalid value: '{item.get('role')}'. Supported values are: {known}.",
                    param=f"{where}.role",
                    code="invalid_value",
                )
            _text(item, where)
        case "function_call":
            _check_strings(item, where, ("call_id", "name", "arguments"))
        case "function_call_output":
            _check_strings(item, where, ("call_id",))
            _output(item, where)
        case "reasoning":
            _check_reasoning(item, where)
        case other:
            raise bad(f"Invalid value: '{other}'.", param=f"{where}.type", code="invalid_value")


def _check_strings(item: Json, where: str, names: tuple[str, ...]) -> None:
    for name in names:
        if not isinstance(item.get(name), str):
            raise bad(
                f"Missing required parameter: '{where}.{name}'.",
                param=f"{where}.{name}",
                code="missing_required_parameter",
            )


def _check_reasoning(item: Json, where: str) -> None:
    identifier, content = item.get("id"), item.get("encrypted_content")
    if not isinstance(identifier, str) or not is_array(item.get("summary")):
        raise bad(f"Missing required parameter: '{where}.summary'.", param=f"{where}.summary")
    if content is None:
        raise Refused(
            "not_found",
            f"Item with id '{identifier}' not found. Items are not persisted when `store` is set to false. Try again"
            " with `store` set to true, or remove this item from your input.",
            param="input",
            code="item_not_found",
        )
    if content != encrypted(identifier):
        raise bad(
            f"The encrypted content for item {identifier} could not be verified.",
            code="invalid_encrypted_content",
        )


def _text(item: Json, where: str) -> str:
    content, role = item.get("content"), item["role"]
    if isinstance(content, str):
        return content
    if not is_array(content):
        raise invalid_type(f"{where}.content", "one of an array of objects or string")
    for part in content:
        if (
            not is_object(part)
            or part.get("type") not in _TEXTS[role]
            or not isinstance(part.get("text"), str)
        ):
            known = ", ".join(f"'{name}'" for name in _TEXTS[role])
            raise bad(
                f"Invalid value: expected parts of the types {known}. This model takes text only.",
                param=f"{where}.content",
                code="invalid_value",
            )
    return "".join(part["text"] for part in content)


def _output(item: Json, where: str) -> str:
    output = item.get("output")
    return output if isinstance(output, str) else _text({"role": "user", "content": output}, where)


def _check_pairs(items: list[Json]) -> None:
    """Calls and outputs belong together, and reasoning to what it led to."""
    kinds = [item.get("type", "message") for item in items]
    called = [item["call_id"] for item, kind in zip(items, kinds, strict=True) if kind == "function_call"]
    answered = [
        item["call_id"] for item, kind in zip(items, kinds, strict=True) if kind == "function_call_output"
    ]
    for identifier in answered:
        if identifier not in called:
            raise bad(
                f"No tool call found for function call output with call_id {identifier}.", param="input"
            )
    for identifier in called:
        if identifier not in answered:
            raise bad(f"No tool output found for function call {identifier}.", param="input")
    for number, (item, kind) in enumerate(zip(items, kinds, strict=True)):
        follower = items[number + 1] if number + 1 < len(items) else {"type": "nothing"}
        made = follower.get("role") == "assistant" or follower.get("type") in ("function_call", "reasoning")
        if kind == "reasoning" and not made:
            raise bad(
                f"Item '{item['id']}' of type 'reasoning' was provided without its required following item.",
                param="input",
            )


def _entries(items: list[Json]) -> Iterator[Entry]:
    """Items that follow one another without anything of the user's between them are one message of the model."""
    calls: dict[str, Asked] = {}
    text: list[str] = []
    asked: list[Asked] = []
    for item in [*items, {"type": "end"}]:
        kind = item.get("type", "message")
        if kind == "message" and item["role"] == "assistant":
            text.append(_text(item, ""))
            continue
        if kind == "function_call":
            asked.append(Asked(id=item["call_id"], name=item["name"], arguments=object_of(item["arguments"])))
            continue
        if kind == "reasoning":
            continue
        if text or asked:
            yield ModelSaid(text="".join(text), calls=tuple(asked))
            calls |= {call.id: call for call in asked}
            text, asked = [], []
        if kind == "message" and item["role"] == "user":
            yield UserSaid(text=_text(item, ""))
        elif kind == "function_call_output":
            yield Answered(call=calls[item["call_id"]], text=_output(item, ""))
