"""Runs one program over one set of texts, some times over, in Python or JavaScript; whoever asked keeps the time.

A Worker's clock stands still while it computes, so nothing is timed here. POST /put/NAME keeps texts under a name:
their number (u32, little-endian), then the frames of edgeloop/kernels.py. GET /run/PROGRAM/NAME/N runs a program N
times, and answers a number that shows the work was done.
"""

import difflib
from collections.abc import Callable
from typing import Any

import js
from pyodide.ffi import to_js
from workers import WorkerEntrypoint, import_from_javascript

from edge import hot
from edgeloop.analysis import Block
from edgeloop.kernels import read_frames

_texts: dict[str, list[bytes]] = {}


def _count_small(texts: list[bytes]) -> int:
    """A thousand calls of forty bytes."""
    return sum(hot.count_tokens(texts[0][:40]) for _ in range(1000))


def _count_each(texts: list[bytes]) -> int:
    return sum(hot.count_tokens(text) for text in texts)


def _count_batch(texts: list[bytes]) -> int:
    return sum(hot.count_batch(texts))


def _judge(texts: list[bytes]) -> int:
    """A conversation of results in batches of ten; answers its folds."""
    analysis = hot.analysis()
    blocks = [Block(role="result", tool="run", data=text) for text in texts]
    batches = (analysis.enter(blocks[i : i + 10]) for i in range(0, len(blocks), 10))
    folds = sum(len(plan.folds) for plans in batches for plan in plans)
    analysis.close()
    return folds


def _unified(texts: list[bytes]) -> int:
    return len(hot.diff_unified(texts[0], texts[1]))


def _difflib(texts: list[bytes]) -> int:
    before, after = (text.decode().splitlines(keepends=True) for text in texts)
    return sum(map(len, difflib.unified_diff(before, after)))


_PROGRAMS: dict[str, Callable[[list[bytes]], int]] = {
    "python-count-small": _count_small,
    "python-count-each": _count_each,
    "python-count-batch": _count_batch,
    "python-judge": _judge,
    "python-unified": _unified,
    "python-difflib": _difflib,
}


class Default(WorkerEntrypoint):
    """The door."""

    async def fetch(self, request: Any) -> Any:
        """Answer as the module says."""
        hot.load()
        programs = import_from_javascript("programs.mjs")
        _, verb, *rest = js.URL.new(request.url).pathname.split("/")
        if verb == "put":
            data = (await request.js_object.arrayBuffer()).to_bytes()
            _texts[rest[0]] = read_frames(int.from_bytes(data[:4], "little"), data[4:])
            programs.put(rest[0], to_js(_texts[rest[0]]))
        elif verb == "run":
            program, name, times = rest
            if program in _PROGRAMS:
                answers = [_PROGRAMS[program](_texts[name]) for _ in range(int(times))]
                return js.Response.new(str(answers[-1] if answers else 0))
            return js.Response.new(str(await programs.run(program, name, int(times))))
        return js.Response.new("ok")
