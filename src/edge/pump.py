"""The door to the pump, the live sockets and the counted SQL and a prompt's bytes (`src/hot/`)."""

from typing import Any

from workers import import_from_javascript

_modules: dict[str, Any] = {}


def load() -> None:
    """Import the JS modules. It suspends, so it is done before an object takes its first event."""
    for name in ("pump", "live", "sql", "prompt"):
        if name not in _modules:
            _modules[name] = import_from_javascript(f"hot/{name}.mjs")


def new_live() -> Any:
    """An empty set of live sockets."""
    return _modules["live"].Live.new()


def new_prompt() -> Any:
    """An empty prompt's bytes."""
    return _modules["prompt"].PromptBytes.new()


def new_sql(sql: Any) -> Any:
    """The raw storage handle with every statement counted."""
    return _modules["sql"].Sql.new(sql)


def start_call(options: Any, take: Any) -> Any:
    """Make a model call; see `startCall` in pump.mjs for the options, and for when `take` (a proxy) is called and freed."""
    return _modules["pump"].startCall(options, take)


def streams() -> int:
    """How many streams of this isolate run now."""
    return int(_modules["pump"].streaming())
