"""Reads a generateContent request as strictly as the real API, thought signatures included."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, unquote

from edgeloop_client.model.conversation import (
    Answered,
    Asked,
    Conversation,
    Entry,
    ModelSaid,
    Offer,
    UserSaid,
)
from edgeloop_client.model.dialect import Block, Incoming, Prompt, read_json, render
from edgeloop_client.model.errors import Refused, bad
from edgeloop_client.model.shapes import Json, is_array, is_object, objects
from edgeloop_client.model.signature import sign

PATH = re.compile(r"/v1(?:beta)?/models/(?P<model>[^/]+):(?P<verb>streamGenerateContent|generateContent)")
_FIELDS = frozenset("contents tools toolConfig systemInstruction generationConfig safetySettings".split())
_GENERATION = frozenset(
    "maxOutputTokens temperature topP topK candidateCount seed thinkingConfig responseModalities".split()
)
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
UNCHECKED = "skip_thought_signature_validator"
"""Google's own word for a call that another model made."""


def parse_request(incoming: Incoming) -> Prompt:
    """Read a request.

    Raises:
        Refused: as the API would.
    """
    match = PATH.fullmatch(incoming.path)
    assert match is not None, "routes.py sends no other path here"
    query = parse_qs(incoming.query)
    key = _key(incoming, query)
    body = {_camel(name): value for name, value in read_json(incoming.body).items()}
    stream = match["verb"] == "streamGenerateContent"
    _check(body, stream and query.get("alt") != ["sse"])
    contents = _contents(body)
    _check_pairs(contents)
    generation: Json = body.get("generationConfig", {})
    thinking: Any = generation.get("thinkingConfig")
    model = unquote(match["model"])
    conversation = Conversation(
        model=model,
        system="".join(str(part.get("text", "")) for part in _system(body)),
        tools=_tools(body) if _mode(body) != "NONE" else {},
        entries=tuple(_entries(contents)),
        max_tokens=generation.get("maxOutputTokens") or 0,
    )
    head = (*objects(body.get("tools")), *_system(body))
    return Prompt(
        conversation=conversation,
        blocks=[Block(data=render(part)) for part in (*head, *contents)],
        scope=f"{key}\n{model}\n{body.get('toolConfig')}",
        stream=stream,
        extra={"thoughts": is_object(thinking) and thinking.get("includeThoughts") is True},
    )


def signature(name: str, arguments: Json) -> str:
    """The thought signature of a call: good for this very call."""
    return sign(f"thought {name} {render(arguments).decode()}")


def _camel(name: str) -> str:
    """Google takes its field names in both spellings."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _key(incoming: Incoming, query: dict[str, list[str]]) -> str:
    key = incoming.headers.get("x-goog-api-key") or "".join(query.get("key", []))
    if not key.strip():
        raise Refused(
            "authentication",
            "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or"
            " other form of API consumer identity to call this API.",
        )
    return key


def _check(body: Json, no_sse: bool) -> None:
    for name in body:
        if name not in _FIELDS:
            raise bad(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
    if no_sse:
        raise bad("This server streams with alt=sse only")
    generation = body.get("generationConfig", {})
    if not is_object(generation):
        raise bad("Invalid value at 'generation_config'")
    for name in generation:
        if _camel(name) not in _GENERATION:
            raise bad(
                f"Invalid JSON payload received. Unknown name \"{name}\" at 'generation_config': Cannot find field."
            )
    limit = generation.get("maxOutputTokens", 1)
    if not isinstance(limit, int) or limit < 1:
        raise bad("Unable to submit request because it has a maxOutputTokens value that is not positive.")


def _system(body: Json) -> list[Json]:
    instruction = body.get("systemInstruction")
    return objects(instruction.get("parts")) if is_object(instruction) else []


def _mode(body: Json) -> str:
    config = body.get("toolConfig")
    calling = config.get("functionCallingConfig") if is_object(config) else None
    mode = calling.get("mode", "AUTO") if is_object(calling) else "AUTO"
    if mode not in ("AUTO", "NONE"):
        raise bad(
            "Invalid value at 'tool_config.function_calling_config.mode': this model takes AUTO and NONE only"
        )
    return mode


def _tools(body: Json) -> dict[str, Offer]:
    answer: dict[str, Offer] = {}
    for number, tool in enumerate(objects(body.get("tools"))):
        declarations = tool.get("functionDeclarations", tool.get("function_declarations"))
        if not is_array(declarations):
            raise bad("This model takes function declarations only")
        for at, declared in enumerate(objects(declarations)):
            where = f"tools[{number}].function_declarations[{at}]"
            name = declared.get("name")
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise bad(
                    f"Invalid value at '{where}.name': Invalid function name. Must start with a letter or an"
                    " underscore."
                )
            if name in answer:
                raise bad(f"Duplicate function declaration found: {name}")
            schema = declared.get("parametersJsonSchema", declared.get("parameters", {}))
            if not is_object(schema):
                raise bad(f"Invalid value at '{where}.parameters'")
            answer[name] = Offer(
                name=name, description=str(declared.get("description", "")), parameters=schema
            )
    return answer


# --- contents ------------------------------------------------------------------------------------------------------


def _contents(body: Json) -> list[Json]:
    contents = body.get("contents")
    if not is_array(contents) or not contents:
        raise bad("* GenerateContentRequest.contents: contents is not specified")
    answer: list[Json] = []
    for number, content in enumerate(contents):
        if not is_object(content) or content.get("role", "user") not in ("user", "model"):
            raise bad("Please use a valid role: user, model.")
        parts = content.get("parts")
        if not is_array(parts) or not parts:
            raise bad(f"* GenerateContentRequest.contents[{number}].parts: contents.parts must not be empty.")
        for at, part in enumerate(parts):
            _check_part(part, f"contents[{number}].parts[{at}]")
        answer.append({"role": "user", **content})
    return answer


def _check_part(part: Any, where: str) -> None:
    if not is_object(part):
        raise bad(f"Invalid value at '{where}'")
    if "text" in part:
        if not isinstance(part["text"], str):
            raise bad(f"Invalid value at '{where}.text' (TYPE_STRING)")
        return
    for kind, member in (("functionCall", "args"), ("functionResponse", "response")):
        if is_object(inner := part.get(kind)):
            if not isinstance(inner.get("name"), str) or not _NAME.fullmatch(inner["name"]):
                raise bad(f"* GenerateContentRequest.{where}.{kind}.name: Name cannot be empty.")
            if not is_object(inner.get(member, {})):
                raise bad(
                    f"Invalid value at '{where}.{kind}.{member}' (type.googleapis.com/google.protobuf.Struct)"
                )
            return
    raise bad(
        f"* GenerateContentRequest.{where}.data: required oneof field 'data' must have one initialized field"
    )


def _of(content: Json, kind: str) -> list[Json]:
    return [part[kind] for part in content["parts"] if kind in part]


def _check_pairs(contents: list[Json]) -> None:
    """Calls follow a user's turn, responses follow calls, as many of them; the first call of a step is signed."""
    asked = 0
    for number, content in enumerate(contents):
        calls, responses = _of(content, "functionCall"), _of(content, "functionResponse")
        if responses and not asked:
            raise bad(
                "Please ensure that function response turn comes immediately after a function call turn."
            )
        if asked and len(responses) != asked:
            raise bad(
                "Please ensure that the number of function response parts is equal to the number of function call"
                " parts of the function call turn."
            )
        if calls and (content["role"] != "model" or not number or contents[number - 1]["role"] != "user"):
            raise bad(
                "Please ensure that function call turn comes immediately after a user turn or after a function"
                " response turn."
            )
        asked = len(calls)
    if contents[-1]["role"] != "user":
        raise bad("Please ensure that multiturn requests end with a user turn or a function response turn.")
    _check_signatures(contents)


def _check_signatures(contents: list[Json]) -> None:
    said = [number for number, content in enumerate(contents) if _is_said(content)]
    for number in range(said[-1] + 1 if said else 0, len(contents)):
        signed = [part for part in contents[number]["parts"] if "functionCall" in part][:1]
        for part in signed:
            call = part["functionCall"]
            given = part.get("thoughtSignature", part.get("thought_signature"))
            if given not in (UNCHECKED, signature(call["name"], call.get("args", {}))):
                what = (
                    "Thought signature is not valid"
                    if given
                    else "Function call is missing a thought_signature"
                )
                raise bad(
                    f"{what} in functionCall parts. Additional data, function call `default_api:{call['name']}`,"
                    f" position {number + 1}."
                )


def _is_said(content: Json) -> bool:
    """Whether a person said it: that is where the turn begins, and only that is checked."""
    return content.get("role", "user") == "user" and any("text" in part for part in content["parts"])


def _entries(contents: list[Json]) -> Iterator[Entry]:
    waiting: list[Asked] = []
    for number, content in enumerate(contents):
        text = "".join(
            part["text"] for part in content["parts"] if "text" in part and not part.get("thought")
        )
        if content["role"] == "model":
            waiting = [
                Asked(
                    id=str(call.get("id") or f"{number}.{at}"),
                    name=call["name"],
                    arguments=call.get("args", {}),
                )
                for at, call in enumerate(_of(content, "functionCall"))
            ]
            yield ModelSaid(text=text, calls=tuple(waiting))
            continue
        for response in _of(content, "functionResponse"):
            yield _answered(response, waiting)
        if text:
            yield UserSaid(text=text)


def _answered(response: Json, waiting: list[Asked]) -> Answered:
    """Match by id where there is one, else by name in the order of the calls."""
    same = [call for call in waiting if call.id == response.get("id")]
    named = same or [call for call in waiting if call.name == response["name"]]
    if not named:
        raise bad("Please ensure that function response turn comes immediately after a function call turn.")
    waiting.remove(named[0])
    given: Json = response.get("response", {})
    text = given.get("error", given.get("output"))
    return Answered(
        call=named[0],
        text=text if isinstance(text, str) else render(given).decode(),
        failed="error" in given,
    )
