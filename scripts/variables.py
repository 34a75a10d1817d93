"""The Worker's variables that a person may set here in the environment, for the demo and `make dev`.

What they mean is `src/edge`'s (`settings.py`, `door.py`), and in the README's table; a test holds the three together.
"""

import os

NAMES = (
    "TOKEN",
    "SIGNING_KEY",
    "SIGNING_KEY_PREVIOUS",
    "ORIGINS",
    "PROVIDER",
    "BASE_URL",
    "MODEL",
    "API_KEY",
    "HEADERS",
    "SYSTEM",
    "MODE",
    "RULES",
    "FETCH_HOSTS",
    "FIRST_MS",
    "IDLE_MS",
    "TOTAL_MS",
    "QUESTION_MS",
    "RETAIN_EVENTS",
    "SESSION_BYTES",
    "SESSION_USD",
    "KEY_USD",
)


def given() -> dict[str, str]:
    """Those that are set, with their full names."""
    names = [f"EDGELOOP_{name}" for name in NAMES]
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def name_a_model(variables: dict[str, str]) -> bool:
    """Whether they say which model to talk to; if not, the embedded one is meant."""
    return bool(variables.keys() & {"EDGELOOP_PROVIDER", "EDGELOOP_BASE_URL"})
