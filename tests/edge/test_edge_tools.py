"""The tools that run at the edge: notes that last, and fetching no further than was configured."""

import asyncio
from typing import Any

from edgeloop.events import ToolFinished, TurnFinished
from tests.support.edge import Door, events_of
from tests.support.provider import Reply, ScriptedProvider


def well(reply: Reply) -> None:
    reply.text("All well.")
    reply.end()


async def results_of(
    provider: ScriptedProvider, door: Door, name: str, *arguments: dict[str, Any]
) -> list[tuple[str, str]]:
    """Let the model call a tool, one message per call, and return each outcome and content."""

    def calls(given: dict[str, Any]):
        def script(reply: Reply) -> None:
            reply.call(name, given)
            reply.end()

        return script

    provider.script(door.agent, *(calls(given) for given in arguments), well)
    await door.request("PUT", "/autonomy", json={"mode": "auto"})
    await door.post("go")
    events = await door.until("turn_finished")
    return [(result.outcome, result.content) for result in events_of(events, ToolFinished)]


async def test_a_configured_host_is_fetched(provider: ScriptedProvider, door: Door):
    """Status and text come back; a redirect is told and not followed; a long answer is cut and says so."""
    found = await results_of(
        provider,
        door,
        "fetch_url",
        {"url": f"{provider.url}/page"},
        {"url": f"{provider.url}/elsewhere"},
        {"url": f"{provider.url}/huge"},
        {"url": f"{provider.url}/none"},
    )
    assert found[0] == ("ok", "HTTP 200\nGrüße")
    assert found[1] == ("ok", "HTTP 302, location /page\n")
    assert found[2][1].endswith("[cut after 262144 bytes]")
    assert found[3][1].startswith("HTTP 404")


async def test_no_other_host_is_fetched(provider: ScriptedProvider, door: Door):
    """Another host, port, scheme or a dressed-up URL is refused, and the model is told what it may reach."""
    host = provider.url.partition("://")[2]
    port = host.partition(":")[2]
    urls = [
        "http://127.0.0.1:1/page",
        f"http://localhost:{port}/page",
        f"http://{host}@example.com/page",
        f"http://user@{host}/page",
        f"file://{host}/etc/passwd",
        "not a url",
        f"http://{host}\\@example.com/",
        f"http://2130706433:{port}/page",
    ]
    found = await results_of(provider, door, "fetch_url", *({"url": url} for url in urls))
    assert len(found) == len(urls)
    assert not [content for outcome, content in found if outcome == "ok"]


async def test_a_stop_ends_a_fetch(provider: ScriptedProvider, door: Door):
    """A fetch under way is aborted by a stop, and counts as cancelled."""

    def hangs(reply: Reply) -> None:
        reply.call("fetch_url", {"url": f"{provider.url}/hang"})
        reply.end()

    provider.left.clear()
    provider.script(door.agent, hangs, well)
    await door.request("PUT", "/autonomy", json={"mode": "auto"})
    await door.post("go")
    await door.until("tool_started")
    await door.request("POST", "/stop")
    events = await door.until("turn_finished")
    assert [result.outcome for result in events_of(events, ToolFinished)] == ["cancelled"]
    assert events_of(events, TurnFinished)[0].reason == "stopped"
    assert await asyncio.to_thread(provider.left.wait, 10)


async def test_notes_last_and_are_the_agents_own(provider: ScriptedProvider, door: Door):
    """A note is there in a later turn, is replaced by its name, is listed, and is no other agent's."""
    found = await results_of(
        provider,
        door,
        "note_write",
        {"name": "b", "text": "old"},
        {"name": "b", "text": "new 🙂"},
        {"name": "a", "text": ""},
    )
    assert [outcome for outcome, _ in found] == ["ok"] * 3

    def reads(*names: str | None):
        def script(reply: Reply) -> None:
            for name in names:
                reply.call("note_read", {} if name is None else {"name": name})
            reply.end()

        return script

    other = Door(url=door.url, agent=f"{door.agent}-other")
    for one in (door, other):
        provider.script(one.agent, reads("b", None), well)
        await one.post("read", id="m2")
    mine = events_of(await door.until("turn_finished", times=2), ToolFinished)[3:]
    theirs = events_of(await other.until("turn_finished"), ToolFinished)
    assert [result.content for result in mine] == ["new 🙂", "a\nb"]
    assert theirs[0].outcome == "error"
    assert "no note" in theirs[0].content
