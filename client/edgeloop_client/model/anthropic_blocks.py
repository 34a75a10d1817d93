"""What a Messages request may hold in its messages: the blocks of each role, and calls and results that belong together."""

import re
from typing import Any

from edgeloop_client.model.errors import bad
from edgeloop_client.model.shapes import Json, is_array, is_object
from edgeloop_client.model.signature import sign

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")


def check_block(block: Any, role: str, where: str) -> None:
    """Check a block of a message.

    Raises:
        Refused: it is none, or has no place in a message of this role.
    """
    if not is_object(block):
        raise bad(f"{where}: Input should be a valid dictionary")
    kind = block.get("type")
    match (role, kind):
        case (_, "text"):
            check_text(block, where, "messages")
        case ("user", "tool_result"):
            _check_result(block, where)
        case ("assistant", "tool_use"):
            _check_use(block, where)
        case ("assistant", "thinking"):
            text, signature = block.get("thinking"), block.get("signature")
            if not isinstance(text, str) or not isinstance(signature, str) or signature != sign(text):
                raise bad(f"{where}: Invalid `signature` in `thinking` block")
        case (_, "image" | "document"):
            raise bad(f"{where}: this model takes text only")
        case (_, "tool_use" | "tool_result" | "thinking"):
            raise bad(f"{where}: `{kind}` blocks are not allowed in {role} messages")
        case _:
            raise bad(
                f"{where}.type: Input tag {kind!r} found using 'type' does not match any of the expected tags"
            )


def check_text(block: Json, where: str, part: str) -> None:
    """Check a text block.

    Raises:
        Refused: it is empty or blank.
    """
    text = block.get("text")
    if not isinstance(text, str):
        raise bad(f"{where}.text: Field required")
    if not text:
        raise bad(f"{part}: text content blocks must be non-empty")
    if not text.strip():
        raise bad(f"{part}: text content blocks must contain non-whitespace text")


def _check_use(block: Json, where: str) -> None:
    if not isinstance(identifier := block.get("id"), str) or not TOOL_ID.fullmatch(identifier):
        raise bad(f"{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    if not isinstance(name := block.get("name"), str) or not TOOL_NAME.fullmatch(name):
        raise bad(f"{where}.tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    if not is_object(block.get("input")):
        raise bad(f"{where}.tool_use.input: Input should be a valid dictionary")


def _check_result(block: Json, where: str) -> None:
    if not isinstance(identifier := block.get("tool_use_id"), str) or not TOOL_ID.fullmatch(identifier):
        raise bad(f"{where}.tool_result.tool_use_id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    content = block.get("content", "")
    if not isinstance(content, str):
        if not is_array(content):
            raise bad(f"{where}.tool_result.content: Input should be a valid list")
        for part in content:
            if not is_object(part) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise bad(f"{where}.tool_result.content: this model takes text only")
    if not isinstance(failed := block.get("is_error", False), bool):
        raise bad(f"{where}.tool_result.is_error: Input should be a valid boolean")
    if (
        failed
        and not (content if isinstance(content, str) else "".join(part["text"] for part in content)).strip()
    ):
        raise bad(f"{where}.tool_result: content cannot be empty if `is_error` is true")


def check_pairs(messages: list[Json]) -> None:
    """Check that every call is answered in the next message, first thing there, and that every answer has its call.

    Raises:
        Refused: one of them has no other half.
    """
    seen: set[str] = set()
    open_ids: list[str] = []
    for number, message in enumerate(messages):
        where, content = message["where"], message["content"]
        results = [block for block in content if block["type"] == "tool_result"]
        if any(block["type"] == "tool_result" for block in content[len(results) :]):
            raise bad(f"{where}.content: `tool_result` blocks must come first in the message")
        answered = [block["tool_use_id"] for block in results]
        for at, identifier in enumerate(answered):
            if identifier not in open_ids:
                raise bad(
                    f"{where}.content.{at}: unexpected `tool_use_id` found in `tool_result` blocks: {identifier}. "
                    "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                )
            if identifier in answered[:at]:
                raise bad(f"{where}.content.{at}: each `tool_use` must have a single result: {identifier}")
        if unanswered := [identifier for identifier in open_ids if identifier not in answered]:
            raise bad(
                f"{messages[number - 1]['where']}: `tool_use` ids were found without `tool_result` blocks immediately"
                f" after: {', '.join(unanswered)}. Each `tool_use` block must have a corresponding `tool_result` block"
                " in the next message."
            )
        open_ids = [block["id"] for block in content if block["type"] == "tool_use"]
        if len(set(open_ids)) < len(open_ids) or seen & set(open_ids):
            raise bad(f"{where}: `tool_use` ids must be unique")
        seen.update(open_ids)
