"""`make bench-file-deltas`: what a session's file results weigh in tokens and bytes, with and without what it holds already.

A scripted session on a copy of this repository's own sources: a survey (a listing, searches, eight files read whole), then three
rounds of looking around again, reading four files, editing them and reading them after; in each round somebody else changes two
of them in between. Counts only, so they are the same on every machine.
"""

import json
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeloop_client.contents import Contents
from edgeloop_client.held import Held
from edgeloop_client.hot import count_tokens
from edgeloop_client.tools import LOCAL_TOOLS
from edgeloop_client.tools.base import Cancel, Workspace, to_json
from edgeloop_client.tools.root import Root

SOURCES = Path(__file__).resolve().parents[1] / "src" / "edgeloop"
FILES = (
    "state.py",
    "session.py",
    "tools.py",
    "autonomy.py",
    "codec.py",
    "errors.py",
    "transcript.py",
    "commands.py",
)
EDITED = FILES[:4]
SEARCHES = (r"\bclass Frozen\b", r"\bdef _apply_", "TODO")
ROUNDS = 3
WHOLE = 2_000


@dataclass(kw_only=True)
class Weights:
    """What results weigh, by kind of call."""

    calls: Counter[str] = field(default_factory=lambda: Counter[str]())
    tokens: Counter[str] = field(default_factory=lambda: Counter[str]())
    size: Counter[str] = field(default_factory=lambda: Counter[str]())

    def add(self, kind: str, content: str) -> None:
        self.calls[kind] += 1
        self.tokens[kind] += count_tokens(content)
        self.size[kind] += len(content.encode())


class Script:
    """One run of the session; `holding` false asks for the full text each time, as a client without memory gives it."""

    def __init__(self, place: Path, *, holding: bool) -> None:
        self.weights, self.repeats = Weights(), Weights()
        self._root = place / "root"
        shutil.copytree(SOURCES, self._root, ignore=shutil.ignore_patterns("__pycache__"))
        self._held = Held(Contents(place / "versions"))
        self._workspace = Workspace(root=Root(self._root), outputs=place / "outputs", held=self._held)
        self._holding = holding
        self._seq = 0
        self._before: dict[tuple[str, str], str] = {}

    def run(self) -> None:
        self._look("survey")
        for name in FILES:
            self._read(name, "survey")
        for number in range(ROUNDS):
            self._look("round")
            for place, name in enumerate(EDITED):
                base = self._read(name, "round")
                self._edit(name, base, number)
                if place % 2:
                    self._somebody(name, number)
                self._read(name, "round")

    def _look(self, when: str) -> None:
        self._call("list_files", when, {})
        for pattern in SEARCHES:
            self._call("search", when, {"pattern": pattern})

    def _read(self, name: str, when: str) -> str:
        more = {} if self._holding else {"full": True}
        return self._call("read_file", when, {"path": name, "max_lines": WHOLE, **more})["hash"]

    def _edit(self, name: str, base: str, number: int) -> None:
        line = next(line for line in self._lines(name)[10 + number * 20 :] if self._is_once(name, line))
        edits = [{"search": line, "replace": f"{line}# round {number}\n"}]
        self._call("edit_file", "round", {"path": name, "base_hash": base, "edits": edits})

    def _somebody(self, name: str, number: int) -> None:
        lines = self._lines(name)
        lines.insert(len(lines) - 5 * number, f"# somebody was here {number}\n")
        (self._root / name).write_text("".join(lines))

    def _lines(self, name: str) -> list[str]:
        return (self._root / name).read_text().splitlines(keepends=True)

    def _is_once(self, name: str, line: str) -> bool:
        return len(line) > 20 and (self._root / name).read_text().count(line) == 1

    def _call(self, name: str, when: str, given: dict[str, Any]) -> dict[str, Any]:
        tool, arguments = LOCAL_TOOLS[name], json.dumps(given)
        content = to_json(tool.run(self._workspace, tool.parse(arguments), Cancel()))
        self._seq += 1
        if (sight := tool.sight(arguments, content)) is not None:
            self._held.see(self._seq, f"{self._seq}.1", sight)
        self.weights.add(f"{when} {name}", content)
        if self._before.get((name, arguments)) == content and name in ("list_files", "search"):
            self.repeats.add(f"{when} {name}", content)
        self._before[name, arguments] = content
        return json.loads(content)


def measure() -> tuple[Script, Script]:
    """The session with and without."""
    scripts: list[Script] = []
    for holding in (True, False):
        with tempfile.TemporaryDirectory() as place:
            script = Script(Path(place), holding=holding)
            script.run()
            scripts.append(script)
    return scripts[0], scripts[1]


def main() -> None:
    """Print the table."""
    held, whole = measure()
    print("| results | calls | tokens without | tokens | bytes without | bytes |\n|---|---|---|---|---|---|")
    for kind in whole.weights.calls:
        print(_row(kind, held.weights, whole.weights, [kind]))
    print(_row("all", held.weights, whole.weights, list(whole.weights.calls)))
    same = held.repeats
    print(
        f"\nrepeated word for word: {sum(same.calls.values())} calls, {sum(same.tokens.values())} tokens, {dict(same.calls)}"
    )


def _row(name: str, held: Weights, whole: Weights, kinds: list[str]) -> str:
    def total(counter: Counter[str]) -> str:
        return f"{sum(counter[kind] for kind in kinds):,}"

    figures = (whole.calls, whole.tokens, held.tokens, whole.size, held.size)
    return f"| {name} | {' | '.join(map(total, figures))} |"


if __name__ == "__main__":
    main()
