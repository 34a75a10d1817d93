"""HTTP answers: JSON bodies, and refusals with the status that their code stands for."""

from typing import Any

import js

from edge.convert import to_object
from edgeloop.errors import Refused
from edgeloop.wire import ErrorFrame

_STATUS = {
    "unauthorized": 401,
    "expired": 401,
    "forbidden": 403,
    "not_configured": 503,
    "not_found": 404,
    "bad_frame": 400,
    "version": 400,
    "too_large": 413,
    "conflict": 409,
    "queue_full": 429,
    "session_full": 507,
    "too_many_sockets": 503,
    "bad_log": 422,
    "gone": 410,
    "internal": 500,
    "corrupt_log": 500,
}


def json_answer(body: str, status: int = 200) -> Any:
    """An answer with a JSON body."""
    return js.Response.new(
        body, to_object({"status": status, "headers": to_object({"content-type": "application/json"})})
    )


def refusal(error: Refused) -> Any:
    """The answer to a refused request: `{"error": {code, message, expected}}`."""
    return json_answer(
        f'{{"error":{error_frame(error).model_dump_json(exclude_none=True)}}}', _STATUS.get(error.code, 400)
    )


def error_frame(error: Refused) -> ErrorFrame:
    """The typed error of a refusal."""
    return ErrorFrame.model_validate(
        {"code": error.code, "message": error.message, "expected": error.expected, "ref": error.ref}
    )
