"""The recovery rows of many streams (`src/hot/recovery.mjs`): together they never block the one thread for long."""

import json
import subprocess
from typing import Any

import pytest

from scripts.setup import ROOT, node_binary

SCRIPT = """
import { Recovery } from "./src/hot/recovery.mjs";
let writes = 0;
const sql = { exec: () => (writes += 1) };
const over = Array.from({ length: OVER }, () => new Recovery({ sql, step: 1, attempt: 1 }, () => "[]"));
for (const stream of over) stream.stop();
let said = 0;
const streams = Array.from({ length: STREAMS }, () => new Recovery({ sql, step: 1, attempt: 1 }, () => `${said}`));
const say = () => {
  said += 1;
  for (const stream of streams) stream.grew(20);
};
say();
const saying = setInterval(say, 50);
setTimeout(() => {
  clearInterval(saying);
  for (const stream of streams) stream.stop();
  console.log(writes);
}, MS);
"""


LONG = """
import { Recovery } from "./src/hot/recovery.mjs";
const rows = new Map();
const sql = {
  exec(statement, ...binds) {
    if (statement.startsWith("DELETE")) for (const id of rows.keys()) { if (id > binds[0]) rows.delete(id); }
    else rows.set(statement.includes("(1,") ? 1 : binds.shift(), binds);
  },
};
let text = "";
const kept = new Recovery({ sql, step: 3, attempt: 2 }, () => text);
const told = [];
for (text of ["a" + "🙂".repeat(500_000), "b".repeat(400_000), "c".repeat(400_001), ""]) {
  kept.grew(1 << 30);
  const held = [...rows.values()];
  told.push({
    lengths: held.map((row) => row[2].length),
    whole: held.map((row) => row[2]).join("") === text && held.every((row) => row[2].isWellFormed()),
    of: held.every((row) => row[0] === 3 && row[1] === 2),
  });
}
kept.stop();
console.log(JSON.stringify(told));
"""


def in_node(script: str) -> Any:
    """What a module prints, as JSON."""
    command = [str(node_binary()), "--input-type=module", "-e", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_text_longer_than_a_row_is_more_rows():
    """No row is too long for production, no character is cut in two, and no part of an earlier text stays behind."""
    told = in_node(LONG)
    assert all(one["whole"] and one["of"] for one in told)
    assert [one["lengths"] for one in told] == [[399_999, 400_000, 200_002], [400_000], [400_000, 1], [0]]


@pytest.mark.parametrize(
    ("streams", "over", "ms", "least", "most"),
    [
        pytest.param(10, 0, 1_600, 10, 10, id="few: each once a second"),
        pytest.param(10, 500, 1_600, 10, 10, id="those that are over do not count"),
        pytest.param(60, 0, 1_600, 0, 0, id="many: later"),
        pytest.param(60, 0, 3_200, 60, 60, id="many: all of them in the end"),
    ],
)
def test_many_streams_share_a_budget_of_writes(streams: int, over: int, ms: int, least: int, most: int):
    """25 writes a second for all streams of an isolate; few streams are kept once a second each."""
    numbers = {"STREAMS": streams, "OVER": over, "MS": ms}
    script = SCRIPT
    for name, number in numbers.items():
        script = script.replace(name, str(number))
    assert least <= in_node(script) <= most
