"""Every conversion between Python and JavaScript values, and the errors that cross. No rule of Edgeloop's lives here."""

from typing import Any

import js
from pyodide.ffi import JsException, JsProxy, to_js


def to_object(value: dict[str, Any]) -> JsProxy:
    """A JS object from a dict of plain values and JS proxies (`to_js` alone would make a Map)."""
    return to_js(value, dict_converter=js.Object.fromEntries)


def why(error: BaseException) -> str:
    """What a person should read of an error from either side."""
    if isinstance(error, JsException):
        return str(getattr(error, "message", "") or error)
    return f"{type(error).__name__}: {error}"
