"""Workers AI over its binding.

The real one needs an account, so a Worker of the test's own stands in for it: what it is asked to run it passes to the embedded
model's REST API, which is as strict as Cloudflare's.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from edgeloop.events import BlockFinished, StepFailed, ToolFinished, TurnFinished
from scripts.local_edge import LocalEdge
from scripts.pyodide_bundle import Bundle
from tests.support.edge import TOKEN, Client, Door, events_of
from tests.support.model_server import ModelServerHandle, start_model_server

STAND_IN = """
import { WorkerEntrypoint } from "cloudflare:workers";

export class AI extends WorkerEntrypoint {
  async run(model, inputs, options) {
    if (options.returnRawResponse !== true) throw new Error("expected a raw response");
    const headers = { authorization: "Bearer key", "content-type": "application/json" };
    const url = `${this.env.MODEL_URL}/client/v4/accounts/me/ai/run/${model}`;
    return fetch(url, { method: "POST", headers, body: JSON.stringify(inputs) });
  }
}

export default { fetch: () => new Response("a stand-in for Workers AI") };
"""
CONFIGURATION = """
name = "stand-in"
main = "stand-in.mjs"
compatibility_date = "2026-10-01"

[vars]
MODEL_URL = "{url}"
"""
BOUND = """
[[services]]
binding = "AI"
service = "stand-in"
entrypoint = "AI"
"""


class BoundEdge(LocalEdge):
    """A Worker whose binding `AI` is the stand-in."""

    def __init__(self, model_url: str, variables: dict[str, str]) -> None:
        super().__init__(variables=variables, private_copy=True)
        self._model_url = model_url

    def _arguments(self, folder: Path, bundle: Bundle) -> list[str]:
        arguments = super()._arguments(folder, bundle)
        with (folder / "project" / "wrangler.toml").open("a", encoding="utf-8") as file:
            file.write(BOUND)
        beside = folder / "stand-in"
        beside.mkdir()
        (beside / "stand-in.mjs").write_text(STAND_IN, encoding="utf-8")
        (beside / "wrangler.toml").write_text(CONFIGURATION.format(url=self._model_url), encoding="utf-8")
        own, *more = arguments
        return [own, f"--config={beside / 'wrangler.toml'}", *more]


@pytest.fixture(scope="module")
def model() -> Iterator[ModelServerHandle]:
    with start_model_server() as server:
        yield server


@pytest.fixture(scope="module")
def edge(model: ModelServerHandle) -> Iterator[LocalEdge]:
    given = {
        "EDGELOOP_TOKEN": TOKEN,
        "EDGELOOP_PROVIDER": "workers-ai",
        "EDGELOOP_BASE_URL": "",
        "EDGELOOP_MODEL": "script",
        "EDGELOOP_MODE": "auto",
    }
    with BoundEdge(model.url, given) as running:
        yield running


def new_door(edge: LocalEdge) -> Door:
    return Door(url=edge.url, agent=f"b-{uuid4().hex[:12]}")


async def test_a_turn_over_the_binding(edge: LocalEdge, model: ModelServerHandle):
    """Without a base URL and with a binding, the binding is asked: text, a call, its result in the next request, the end."""
    door = new_door(edge)
    note = '{"call": "note_write", "arguments": {"name": "a", "text": "b"}}'
    script = f'{{"turns": [[{{"text": "Noting. "}}, {note}], [{{"text": "Noted."}}]]}}'
    await door.post(script, model="script")
    events = await door.until("turn_finished")
    assert [end.reason for end in events_of(events, TurnFinished)] == ["done"], events_of(events, StepFailed)
    assert [block.text for block in events_of(events, BlockFinished)] == ["Noting. ", "Noted."]
    (result,) = events_of(events, ToolFinished)
    asked = model.bodies("/client/v4/accounts/me/ai/run/script")
    assert len(asked) == 2
    assert result.content in asked[1].decode()
    assert b'"stream":true' in asked[1]


async def test_a_refusal_over_the_binding(edge: LocalEdge):
    """A status that is no success is a typed failure, and the turn ends."""
    door = new_door(edge)
    await door.post("go", model="no-such-model")
    events = await door.until("turn_finished")
    assert [end.reason for end in events_of(events, TurnFinished)] == ["failed"]
    assert events_of(events, StepFailed)[0].error.cls == "invalid_request"


async def test_a_stop_over_the_binding(edge: LocalEdge):
    """A stop ends the turn in mid-stream and keeps what was shown, while the model is silent."""
    door = new_door(edge)
    await door.post('{"steps": [{"text": "Half."}, {"wait_ms": 30000}, {"text": "Never."}]}', model="script")
    async with Client(door=door) as client:
        await client.until(lambda: "".join(client.shown()) == "Half.")
        await client.stop()
        view = await client.until_idle()
    assert view.ended is not None
    assert view.ended.reason == "stopped"
    assert view.answer == "Half."


async def test_a_stop_over_the_binding_reaches_a_model_that_talks_on(
    edge: LocalEdge, model: ModelServerHandle
):
    """The cancelled body ends the model's answer when it next says something: after a fraction of its twenty seconds."""
    door = new_door(edge)
    model.clear()
    steps = ", ".join(f'{{"text": "{n} "}}, {{"wait_ms": 100}}' for n in range(200))
    await door.post(f'{{"steps": [{steps}]}}', model="script")
    async with Client(door=door) as client:
        await client.until(lambda: len(client.shown()) > 3)
        await client.stop()
        await client.until_idle()
    (answer,) = await asyncio.to_thread(model.await_answers, 1, 15)
    assert answer["ms"] < 15_000, answer
