"""The arrows between the rooms (docs/design): worker -> durable_session -> edge -> edgeloop <- client, and none back.

The checker reads imports and calls from the syntax tree, so an import inside a function or under `if TYPE_CHECKING` counts
as well; it is tested on planted violations, because a check that cannot fail proves nothing.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EDGE_ONLY = frozenset({"js", "pyodide", "pyodide_js", "workers", "_pyodide_entrypoint_helper"})
SHELL = frozenset({"worker", "durable_session", "edge"})
# What would bring a clock, chance, a thread, a file or a socket into the core.
IMPURE = frozenset(
    "_thread asyncio builtins concurrent contextvars ctypes glob http importlib io logging mmap multiprocessing os pathlib "
    "queue random sched secrets select selectors shutil signal smtplib socket socketserver sqlite3 ssl subprocess tempfile "
    "threading time urllib.request uuid".split()
)
# Pure parts of packages that are otherwise not.
PURE_EXCEPTIONS = frozenset({"urllib.parse"})
CORE_THIRD_PARTY = frozenset({"pydantic", "pydantic_core", "typing_extensions"})
# Clocks and chance that hide behind a harmless import, and doors to files and code.
IMPURE_CALLS = frozenset(
    {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "uuid1", "uuid4", "uuid7"}
    | {"open", "input", "print", "exec", "eval", "__import__"}
)


@dataclass(frozen=True, kw_only=True)
class Room:
    """A folder or file and what may be imported in it; a name stands for itself and everything below it."""

    name: str
    paths: tuple[str, ...]
    forbidden: frozenset[str]
    only: frozenset[str] | None = None
    """With a set, everything else but the standard library is forbidden as well."""
    impure_calls: frozenset[str] = frozenset()


ROOMS = (
    Room(
        name="core",
        paths=("src/edgeloop",),
        forbidden=EDGE_ONLY | SHELL | IMPURE | {"edgeloop_client"},
        only=CORE_THIRD_PARTY | {"edgeloop"},
        impure_calls=IMPURE_CALLS,
    ),
    Room(
        name="edge",
        paths=("src/edge",),
        forbidden=frozenset({"worker", "durable_session", "edgeloop_client", "scripts", "tests"}),
    ),
    Room(
        name="object",
        paths=("src/durable_session.py",),
        forbidden=frozenset({"worker", "edgeloop_client", "scripts"}),
    ),
    Room(name="worker", paths=("src/worker.py",), forbidden=frozenset({"edgeloop_client", "scripts"})),
    Room(name="client", paths=("client",), forbidden=EDGE_ONLY | SHELL | {"scripts", "tests", "bench"}),
    Room(name="tools", paths=("scripts", "bench", "tests"), forbidden=EDGE_ONLY | SHELL),
)


# --- the checker ---------------------------------------------------------------------------------------------------


def imported(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Every module named by an import, made absolute: `from a import b` gives a.b, for b may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def called(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every plain name and every last two parts of a dotted name that is called: `open`, `datetime.now`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            parts = ast.unparse(node.func).split(".")
            yield (
                node.lineno,
                parts[-1] if len(parts) == 1 or parts[-1].startswith("uuid") else ".".join(parts[-2:]),
            )


def covers(names: frozenset[str], module: str) -> bool:
    """Whether `module` is one of `names` or lies below one."""
    parts = module.split(".")
    return any(".".join(parts[:count]) in names for count in range(1, len(parts) + 1))


def violations(source: str, room: Room, package: str) -> list[str]:
    """What `source`, a module of `room`, must not do, each as `line: what`."""
    tree = ast.parse(source)
    found = [
        f"{line}: imports {module}" for line, module in imported(tree, package) if not allowed(module, room)
    ]
    found += [f"{line}: calls {name}()" for line, name in called(tree) if name in room.impure_calls]
    return found


def allowed(module: str, room: Room) -> bool:
    if covers(PURE_EXCEPTIONS, module):
        return True
    if covers(room.forbidden, module):
        return False
    top = module.split(".")[0]
    return room.only is None or top in room.only or top in sys.stdlib_module_names


PEERS = "bench/peers"  # other programs, which the benches run beside ours


def modules_of(room: Room, root: Path) -> Iterator[tuple[Path, str]]:
    """Each source file of the room with the dotted name of the package it lies in."""
    for name in room.paths:
        path = root / name
        for file in [path] if path.suffix == ".py" else sorted(path.rglob("*.py")):
            if not file.is_relative_to(root / PEERS):
                yield file, ".".join(file.relative_to(root).parent.parts[1:])


# --- the rooms as they are -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_room_keeps_its_arrows(room: Room):
    """No module of the room imports what lies outside its arrows, nor (in the core) reads a clock, chance or a file."""
    found = [
        f"{file.relative_to(ROOT)}:{what}"
        for file, package in modules_of(room, ROOT)
        for what in violations(file.read_text(encoding="utf-8"), room, package)
    ]
    assert found == []


@pytest.mark.parametrize("room", [room for room in ROOMS if room.name != "tools"], ids=lambda room: room.name)
def test_room_is_not_empty(room: Room):
    """Each room has files: a folder renamed must not leave its rule checking nothing."""
    assert list(modules_of(room, ROOT))


# --- the checker itself --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Case:
    """A line of source planted in a room, and whether it must be found."""

    room: str
    source: str
    found: bool = True


CASES = (
    Case(room="core", source="import js"),
    Case(room="core", source="import time"),
    Case(room="core", source="import os.path as p"),
    Case(room="core", source="from pyodide.ffi import to_js"),
    Case(room="core", source="from asyncio import Queue"),
    Case(room="core", source="from urllib import request"),
    Case(room="core", source="import urllib.request"),
    Case(room="core", source="def f():\n    from random import choice"),
    Case(room="core", source="if TYPE_CHECKING:\n    import socket"),
    Case(room="core", source="import httpx"),
    Case(room="core", source="from edge.store import Store"),
    Case(room="core", source="from ..edge import store"),
    Case(room="core", source="import edgeloop_client"),
    Case(room="core", source="at = datetime.now()"),
    Case(room="core", source="at = datetime.datetime.now(tz=UTC)"),
    Case(room="core", source="name = uuid4()"),
    Case(room="core", source="name = uuid.uuid4()"),
    Case(room="core", source="open('x')"),
    Case(room="core", source="from urllib.parse import quote", found=False),
    Case(room="core", source="import json, hashlib, base64", found=False),
    Case(room="core", source="from pydantic import BaseModel", found=False),
    Case(room="core", source="from . import events", found=False),
    Case(room="core", source="from edgeloop.events import Event", found=False),
    Case(room="core", source="door.open()", found=False),
    Case(room="edge", source="from durable_session import DurableSession"),
    Case(room="edge", source="import js", found=False),
    Case(room="edge", source="from edgeloop.session import Session", found=False),
    Case(room="object", source="from worker import Default"),
    Case(room="client", source="from edge.http import fetch"),
    Case(room="client", source="from workers import fetch"),
    Case(room="client", source="import asyncio, time", found=False),
    Case(room="tools", source="import js"),
)


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.room}: {case.source.splitlines()[-1].strip()}"
)
def test_checker_sees_planted_violation(case: Case):
    """A planted violation is found, and the lawful line beside it is not."""
    room = next(room for room in ROOMS if room.name == case.room)
    package = "edgeloop" if case.room == "core" else ""
    assert bool(violations(case.source, room, package)) is case.found


def test_checker_reads_files(tmp_path: Path):
    """A violation planted in a file below the room's folder is found under its path and line."""
    planted = tmp_path / "src" / "edgeloop" / "providers" / "planted.py"
    planted.parent.mkdir(parents=True)
    planted.write_text("import json\nfrom .. import events\nimport time\n")
    core = ROOMS[0]
    [(file, package)] = modules_of(core, tmp_path)
    assert (file, package) == (planted, "edgeloop.providers")
    assert violations(file.read_text(), core, package) == ["3: imports time"]
