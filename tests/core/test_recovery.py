"""The recovery rows of many streams (`src/hot/recovery.mjs`): together they never block the one thread for long."""

import json
import subprocess

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
    done = subprocess.run(
        [str(node_binary()), "--input-type=module", "-e", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert least <= json.loads(done.stdout) <= most
