"""Questions to a person, through the real Worker: who is asked, whose answer wins, and what runs before it (nothing)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from edgeloop.events import ApprovalDecided, CallJudged, ToolFinished, ToolStarted
from edgeloop.wire import Duplicate, ErrorFrame
from tests.support.edge import Client, Door, Tool, events_of, kinds
from tests.support.provider import Reply, Script, ScriptedProvider


@dataclass
class Shell:
    """A tool with a side effect, which a person is asked about."""

    ran: list[str] = field(default_factory=lambda: list[str]())

    def run(self, arguments: dict[str, Any]) -> str:
        self.ran.append(arguments["command"])
        return f"ran {arguments['command']}"

    @property
    def tool(self) -> Tool:
        return Tool(name="shell", run=self.run, effect="mutate", touches={"command": "command"})


def orders(*commands: str):
    def script(reply: Reply) -> None:
        for command in commands:
            reply.call("shell", {"command": command})
        reply.end()

    return script


def at_once(*commands: str):
    """The whole message in one piece: its calls and its end come in one read."""

    def script(reply: Reply) -> None:
        with reply.in_one_piece():
            orders(*commands)(reply)

    return script


def well(reply: Reply) -> None:
    reply.text("All well.")
    reply.end()


async def _asked(client: Client, calls: int = 1) -> None:
    await client.until(
        lambda: (
            len([e for e in client.wire_events() if isinstance(e, CallJudged) and e.verdict == "ask"])
            >= calls
        )
    )


async def test_everybody_is_asked_and_anybody_may_answer(provider: ScriptedProvider, door: Door):
    """A question reaches every client, late ones and `GET state` too; nothing runs before another's yes (behaviour 21)."""
    shell = Shell()
    provider.script(door.agent, orders("make"), well)
    owner, other, late = (
        Client(door=door, tools=(shell.tool,)),
        Client(door=door, name="b"),
        Client(door=door, name="c"),
    )
    async with owner, other:
        await owner.say("go")
        await _asked(owner)
        await _asked(other)
        async with late:
            assert [call.call for call in late.view.current_calls if call.is_asked] == ["1.0"]
            assert [question.call for question in (await door.state()).questions] == ["1.0"]
            assert shell.ran == []
            await late.decide("1.0", allow=True)
            view = await owner.until_idle()
            await late.until_idle()
        assert owner.view == other.view == late.view == await door.view()
    assert shell.ran == ["make"]
    assert view.calls["1.0"].content == "ran make"
    assert events_of(await door.events(), ApprovalDecided)[0].by == "c"


async def test_a_no_is_a_result_for_the_model(provider: ScriptedProvider, door: Door):
    """A denied call never runs, and the model is told so and why (behaviour 21)."""
    shell = Shell()
    provider.script(door.agent, orders("rm -r x"), well)
    async with Client(door=door, tools=(shell.tool,)) as client:
        await client.say("go")
        await _asked(client)
        body = {"call": "1.0", "allow": False, "reason": "I need x."}
        assert (await door.request("POST", "/approvals", json=body)).status_code == 200
        await client.until_idle()
        again = await door.request("POST", "/approvals", json=body)
        other = await door.request("POST", "/approvals", json={**body, "allow": True})
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert (other.status_code, other.json()["error"]["message"]) == (409, "decided by http, deny")
    events = await door.events()
    assert shell.ran == []
    assert len(events_of(events, ApprovalDecided)) == 1
    assert not events_of(events, ToolStarted)
    assert events_of(events, ToolFinished)[0].outcome == "denied"
    assert "I need x." in provider.asked(door.agent)[1].body.decode()


async def test_answers_at_once_have_one_winner(provider: ScriptedProvider, door: Door):
    """Of opposite answers at once one counts; the other is refused, and the winner's again is a duplicate (behaviour 21)."""
    shell = Shell()
    provider.script(door.agent, orders("make"), well)
    yes, no = Client(door=door, tools=(shell.tool,), answering=False), Client(door=door, name="b")
    async with yes, no:
        await yes.say("go")
        await _asked(yes)
        await _asked(no)
        await asyncio.gather(yes.decide("1.0", allow=True), no.decide("1.0", allow=False))
        await asyncio.gather(yes.decide("1.0", allow=True), no.decide("1.0", allow=False))
        await yes.until(lambda: yes.got(Duplicate) or yes.got(ErrorFrame))
        await no.until(lambda: no.got(Duplicate) or no.got(ErrorFrame))
    decided = events_of(await door.events(), ApprovalDecided)
    assert len(decided) == 1
    loser = no if decided[0].allowed else yes
    assert {error.code for error in loser.got(ErrorFrame)} == {"conflict"}


@pytest.mark.parametrize("message", [orders, at_once])
async def test_an_open_question_holds_its_mutating_siblings(
    provider: ScriptedProvider, door: Door, message: Callable[..., Script]
):
    """While one call is asked about, its mutating siblings do not run, allowed though they are (behaviour 22)."""
    shell = Shell()
    rules = [{"verdict": "ask", "tool": "shell", "command": "git push"}]
    assert (await door.request("PUT", "/autonomy", json={"mode": "auto", "rules": rules})).status_code == 200
    provider.script(door.agent, message("make", "git push"), well)
    async with Client(door=door, tools=(shell.tool,)) as client:
        await client.say("go")
        await _asked(client)
        await client.until_event("step_finished")
        assert [(call.name, call.runner) for call in (await door.state()).calls] == [("shell", None)] * 2
        await client.decide("1.1", allow=True)
        await client.until_idle()
    assert shell.ran == ["make", "git push"]


async def test_a_grant_for_the_session_is_not_asked_again(provider: ScriptedProvider, door: Door):
    """`always for this command` covers that command and no other."""
    shell = Shell()
    provider.script(door.agent, orders("make test"), orders("make test"), orders("make install"), well)
    async with Client(door=door, tools=(shell.tool,)) as client:
        await client.say("go")
        await _asked(client)
        await client.decide("1.0", allow=True, session=True)
        await _asked(client, 2)
        assert shell.ran == ["make test", "make test"]
        await client.decide("3.0", allow=False)
        await client.until_idle()
    assert [(e.verdict, e.by) for e in events_of(await door.events(), CallJudged)][1] == ("allow", "grant 1")


async def test_a_runner_that_left_with_a_question_open(provider: ScriptedProvider, door: Door):
    """The question outlives its client, another answers it, and the call runs once its runner is back (behaviours 17, 23)."""
    shell = Shell()
    provider.script(door.agent, orders("make"), well)
    owner, other = Client(door=door, tools=(shell.tool,)), Client(door=door, name="b")
    async with other:
        await owner.open()
        await owner.say("go")
        await _asked(owner)
        await owner.drop()
        assert [question.call for question in (await door.state()).questions] == ["1.0"]
        answers = [{"call": "1.0", "allow": True}] * 3
        given = await asyncio.gather(*(door.request("POST", "/approvals", json=body) for body in answers))
        assert sorted(answer.json()["duplicate"] for answer in given) == [False, True, True]
        await other.until_event("approval_decided")
        assert [(call.call, call.runner) for call in (await door.state()).calls] == [("1.0", None)]
        async with owner:
            await owner.until_idle()
            assert owner.view == await door.view()
    assert shell.ran == ["make"]
    assert len(events_of(await door.events(), ToolStarted)) == 1


async def test_stop_answers_an_open_question(provider: ScriptedProvider, door: Door):
    """A turn that waits for a person can be stopped; the answer that comes later is refused with a reason (behaviour 21)."""
    shell = Shell()
    provider.script(door.agent, orders("make"), well)
    async with Client(door=door, tools=(shell.tool,)) as client:
        await client.say("go")
        await _asked(client)
        await client.stop()
        await client.until_idle()
        late = await door.request("POST", "/approvals", json={"call": "1.0", "allow": True})
    assert late.status_code in (400, 404, 409)
    assert late.json()["error"]["expected"]
    assert shell.ran == []


async def test_plan_mode_changes_nothing(provider: ScriptedProvider, door: Door):
    """In `plan` a changing call is denied without a question."""
    shell = Shell()
    assert (await door.request("PUT", "/autonomy", json={"mode": "plan"})).status_code == 200
    provider.script(door.agent, orders("make"), well)
    async with Client(door=door, tools=(shell.tool,)) as client:
        await client.say("go")
        await client.until_idle()
    events = await door.events()
    assert events_of(events, ToolFinished)[0].outcome == "denied"
    assert "approval_decided" not in kinds(events)
    assert shell.ran == []


@pytest.mark.parametrize(
    ("mode", "ran"), [("plan", []), ("edit", ["make", "git push"]), ("auto", ["make", "git push"])]
)
async def test_a_change_of_mode_while_a_question_is_open(
    provider: ScriptedProvider, door: Door, mode: str, ran: list[str]
):
    """A stricter mode takes back what has not started, and its question; a looser one answers no question for the person."""
    shell = Shell()
    rules = [{"verdict": "ask", "tool": "shell", "command": "git push"}]
    assert (await door.request("PUT", "/autonomy", json={"mode": "auto", "rules": rules})).status_code == 200
    provider.script(door.agent, orders("make", "git push"), well)
    async with Client(door=door, tools=(shell.tool,)) as client:
        await client.say("go")
        await _asked(client)
        await client.until_event("step_finished")
        body = {"mode": mode, "rules": rules if mode == "edit" else []}
        assert (await door.request("PUT", "/autonomy", json=body)).status_code == 200
        if ran:
            asked = [question.call for question in (await door.state()).questions]
            assert asked == (["1.0", "1.1"] if mode == "edit" else ["1.1"])
            assert shell.ran == []
            for call in asked:
                await client.decide(call, allow=True)
        await client.until_idle()
        assert client.view == await door.view()
    assert shell.ran == ran
    outcomes = {finished.outcome for finished in events_of(await door.events(), ToolFinished)}
    assert outcomes == ({"ok"} if ran else {"denied"})


async def test_rules_that_say_nothing_are_refused(door: Door):
    """A rule that cannot match is refused when it is set, with its number and what was expected."""
    rules = [{"verdict": "deny", "command": "git push; ls"}]
    answer = await door.request("PUT", "/autonomy", json={"mode": "auto", "rules": rules})
    assert answer.status_code == 400
    assert "0.command" in answer.json()["error"]["message"]
    assert (await door.state()).head == 0
