"""A session to a file and back: pages of lines over HTTP, of which no more than one is held here.

The edge says what a file must be (`edgeloop.archive`); here is only what may go wrong on the way: a cut is tried again from where
the other side says it is, and a file appears under its name when it is whole.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode

from edgeloop.archive import End, chained
from edgeloop.bodies import Imported
from edgeloop_client.asking import Asking
from edgeloop_client.endpoint import Endpoint
from edgeloop_client.errors import ClientError

PIECE_BYTES = 256 << 10
"""About what the edge takes in without holding up the other sessions of its thread."""
ATTEMPTS = 5


def export(endpoint: Endpoint, out: BinaryIO) -> int:
    """Write the agent's session; return how many events it holds.

    Raises:
        ClientError: there is none, or it became another one meanwhile.
    """
    with Asking(endpoint, attempts=ATTEMPTS) as door:
        chain, head = "", 0
        for line in _lines(door):
            head = head or json.loads(line)["head"]
            chain = chained(chain, line)
            out.write(f"{line}\n".encode())
    out.write(f"{End(end=head, sha256=chain).model_dump_json()}\n".encode())
    return head


def export_to(endpoint: Endpoint, path: Path) -> int:
    """Write the agent's session to a file, which is there only when it is whole."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as out:
            head = export(endpoint, out)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return head


def _lines(door: Asking) -> Iterator[str]:
    first = _cut(door.ask("GET", "/export").content)[0]
    yield first
    header = json.loads(first)
    where: dict[str, Any] = {"after": 0, "through": header["head"], "log": header["log"], "note": ""}
    where["base"] = json.loads(header["base"])["state"]["seq"] if header["base"] else 0
    while lines := _cut(door.ask("GET", f"/export?{urlencode(where)}").content):
        yield from lines
        last = json.loads(lines[-1])
        where |= {"after": last["seq"]} if "seq" in last else {"note": last["note"]}


def _cut(page: bytes) -> list[str]:
    # Not splitlines: a text may hold other characters that end lines for Python.
    return page.decode().removesuffix("\n").split("\n") if page else []


def import_from(endpoint: Endpoint, path: Path) -> Imported:
    """Send a file to an agent without a session; after a cut it goes on from the line that the edge wants next.

    Raises:
        ClientError: the edge refuses the file, or the agent has a session.
    """
    with Asking(endpoint, attempts=ATTEMPTS) as door, path.open("rb") as file:
        told = _send(door, 0, file.readline())
        while not told.done:
            _rewind(file, told.lines)
            at = told.lines
            while not told.done and told.lines == at:
                piece = file.readlines(PIECE_BYTES)
                if not piece:
                    raise ClientError(
                        f"{path} was cut: its last line is missing", next_step="export it again"
                    )
                told, at = _send(door, at, b"".join(piece)), at + len(piece)
        return told


def _rewind(file: BinaryIO, line: int) -> None:
    file.seek(0)
    for _ in range(line):
        file.readline()


def _send(door: Asking, line: int, piece: bytes) -> Imported:
    return Imported.model_validate_json(door.ask("POST", f"/import?line={line}", content=piece).content)
