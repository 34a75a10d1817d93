"""A client against a session in memory: whole turns, losses at every point, questions, stops, restarts."""

import asyncio

import pytest

from edgeloop.events import StepError, UserMessageReceived
from edgeloop.wire import SendMessage, Stop, ToolResult
from edgeloop_client.errors import CannotConnect, ClientError, MessageRefused, NotFound, Unauthorized
from edgeloop_client.view import View
from tests.client.conftest import Connect, Doings, Person
from tests.support.memory_session import Ask, Fail, Hang, MemorySession, Part, Say

OVERLOADED = StepError(cls="overloaded", message="busy", retryable=True, retry_after_ms=1)
TURN: list[list[Part]] = [
    [
        Say("thinking it over", kind="reasoning"),
        Say("Looking: äöü 👩‍👩‍👧 …"),
        Ask("look", {"word": "a"}),
        Ask("look", {"word": "b"}),
        Ask("mark", {"word": "c"}),
    ],
    [Say("Half an ans"), Fail(OVERLOADED)],
    [Say("It is done. ✓ All of it.", size=3)],
]


def agrees(session: MemorySession, view: View) -> bool:
    """Whether a client's view is the fold of the log."""
    return view == View.from_events(session.log_id, session.log)


async def test_a_turn_with_parallel_tools_and_a_retry(connect: Connect) -> None:
    """A turn ends with the model's last words; the tools ran; the view is the log's; the report has it all."""
    async with MemorySession(list(TURN)) as session, connect(session) as at:
        at.client.ask("go")
        await at.client.over()
        report = at.client.report
        assert report["answer"] == "It is done. ✓ All of it."
        assert [(call["name"], call["outcome"]) for call in report["tool_calls"]] == [("look", "ok")] * 2 + [
            ("mark", "ok")
        ]
        assert report["outcome"] == "done"
        assert report["usage"] == {
            "input": 80,
            "input_uncached": 20,
            "cache_read": 60,
            "cache_write": None,
            "output": 10,
            "cached_share": 0.75,
            "cost_usd": None,
        }
        assert len(report["timings"]["steps"]) == 3
        assert at.doings.ran == {"a": 1, "b": 1, "c": 1}
        assert agrees(session, at.client.connection.view)
        assert "Looking: äöü" in at.output.getvalue()


async def test_a_loss_after_any_frame(connect: Connect) -> None:
    """Whichever frame is the last before the connection breaks: nothing is lost, nothing comes twice, no tool runs twice."""
    async with MemorySession(list(TURN)) as session, connect(session, home="count") as at:
        at.client.ask("go")
        await at.client.over()
        frames = session.frames
    assert frames > 30
    await asyncio.gather(*(_dropped(connect, frozenset({number})) for number in range(1, frames)))


async def test_a_loss_after_every_fifth_frame(connect: Connect) -> None:
    """A connection that keeps breaking makes the turn slower, not wrong."""
    await _dropped(connect, frozenset(range(9, 400, 5)))


async def _dropped(connect: Connect, drops: frozenset[int]) -> None:
    async with (
        MemorySession(list(TURN), drops=drops) as session,
        connect(session, home=f"home-{min(drops)}-{len(drops)}") as at,
    ):
        at.client.ask("go")
        await asyncio.wait_for(at.client.over(), 20)
        assert at.client.report["answer"] == "It is done. ✓ All of it."
        assert at.doings.ran == {"a": 1, "b": 1, "c": 1}
        assert agrees(session, at.client.connection.view)
        assert session.results == {"1.2": 1, "1.3": 1, "1.4": 1}
        assert at.client.connection.is_settled


async def test_the_position_saves_what_was_shown(connect: Connect) -> None:
    """A client that comes back in the middle of a block says how much it holds, and is sent the rest alone."""
    async with (
        MemorySession([[Say("0123456789" * 10, size=10)]], drops=frozenset({8})) as session,
        connect(session) as at,
    ):
        session.pause = 0.002
        at.client.ask("go")
        await at.client.over()
        position = session.hellos[1].position
        assert position is not None
        assert position.off > 0
        assert at.output.getvalue().count("0123456789") == 10
        assert agrees(session, at.client.connection.view)


async def test_a_late_client_sees_the_same(connect: Connect) -> None:
    """A client that only watches, and came in mid-stream, folds the same log."""
    async with MemorySession(list(TURN)) as session, connect(session) as at:
        session.pause = 0.002
        at.client.ask("go")
        await asyncio.sleep(0.01)
        async with connect(session, home="other", watch=True) as watcher:
            await at.client.over()
            await watcher.client.over()
            assert agrees(session, watcher.client.connection.view)
            assert watcher.client.report["answer"] == at.client.report["answer"]
            assert not watcher.doings.ran


async def test_frames_are_counted(connect: Connect) -> None:
    """What comes back of one's own message and results is a short form, so a result is paid for once."""
    async with (
        MemorySession([[Ask("look", {"word": "x" * 5000})], [Say("ok")]]) as session,
        connect(session) as at,
    ):
        at.client.ask("go")
        await at.client.over()
        up, down = at.client.connection.bytes_up, at.client.connection.bytes_down
        assert 5000 < up < 9000  # hello with the tools, and one result
        assert 5000 < down < 8500  # the arguments, and no echo of the result


@pytest.mark.parametrize(
    ("call", "outcome", "told"),
    [
        (Ask("fail", {"word": "fly"}), "error", "cannot fly"),
        (Ask("look", {"wrong": 1}), "error", "The arguments do not fit the tool's schema: wrong: unknown"),
        (Ask("nothing"), "error", "There is no tool named 'nothing'"),
        (Ask("slow", {"word": "w"}), "timeout", "slow took over 0 s"),
    ],
)
async def test_a_bad_call_is_answered(connect: Connect, call: Ask, outcome: str, told: str) -> None:
    """Whatever is wrong with a call, the model is told what, and the turn goes on."""
    async with MemorySession([[call], [Say("oh")]]) as session, connect(session) as at:
        at.client.ask("go")
        await at.client.over()
        seen = at.client.connection.view.calls["1.0"]
        assert (seen.state, seen.content[: len(told)]) == (outcome, told)


@pytest.mark.parametrize(
    ("says", "outcome", "ran"), [("once", "ok", 1), ("session", "ok", 1), ("no", "denied", 0)]
)
async def test_the_session_asks_first(connect: Connect, says: str, outcome: str, ran: int) -> None:
    """In mode `ask` a change waits for the person's word, which is asked for once."""
    person = Person(says=says)  # type: ignore[arg-type]
    async with (
        MemorySession([[Ask("ask", {"word": "x"})], [Say("ok")]], mode="ask") as session,
        connect(session, person=person) as at,
    ):
        at.client.ask("go")
        await at.client.over()
        assert at.client.connection.view.calls["1.0"].state == outcome
        assert at.doings.ran["x"] == ran
        assert len(person.asked) == 1


async def test_a_guarded_tool_asks_where_the_session_does_not(connect: Connect) -> None:
    """A session in mode `auto` cannot make this machine run a command without a person's word."""
    person = Person(says="no")
    async with (
        MemorySession([[Ask("ask", {"word": "x"})], [Say("ok")]]) as session,
        connect(session, person=person) as at,
    ):
        at.client.ask("go")
        await at.client.over()
        assert at.client.connection.view.calls["1.0"].state == "denied"
        assert person.asked
        assert not at.doings.ran


async def test_another_client_answers_the_question(connect: Connect) -> None:
    """The first answer wins; the question is withdrawn elsewhere."""
    silent = Person(says=None)
    async with (
        MemorySession([[Ask("mark", {"word": "x"})], [Say("ok")]], mode="ask") as session,
        connect(session, person=silent) as at,
    ):
        at.client.ask("go")
        while not silent.asked:
            await asyncio.sleep(0.002)
        async with connect(session, home="other", watch=True) as watcher:
            await at.client.over()
            assert watcher.person.asked
        assert at.doings.ran == {"x": 1}


async def test_stop_keeps_what_was_said(connect: Connect) -> None:
    """A stop ends the turn; the partial text stays, and the view is still the log's."""
    async with MemorySession([[Say("half a"), Hang()]]) as session, connect(session) as at:
        at.client.ask("go")
        while "half a" not in at.output.getvalue():
            await asyncio.sleep(0.002)
        at.client.stop()
        await at.client.over()
        assert at.client.report["outcome"] == "stopped"
        assert agrees(session, at.client.connection.view)


async def test_stop_ends_a_running_tool(connect: Connect) -> None:
    """A stop cancels what runs here; nothing of it is reported later."""
    async with MemorySession([[Ask("wait", {"word": "w"})]]) as session, connect(session) as at:
        at.client.ask("go")
        while not at.doings.ran:
            await asyncio.sleep(0.002)
        at.client.stop()
        await at.client.over()
        assert at.client.connection.view.calls["1.0"].state == "cancelled"
        await asyncio.sleep(0.05)
        assert not any(isinstance(frame, ToolResult) for frame in session.received)


async def test_a_stop_is_not_sent_to_a_later_turn(connect: Connect) -> None:
    """A stop whose turn is over by the time it could be sent is dropped."""
    async with MemorySession([[Say("one")], [Say("two")]]) as session, connect(session) as at:
        at.client.ask("go")
        await at.client.over()
        session.peers[0].socket.transport.abort()
        while "connection lost" not in at.output.getvalue():
            await asyncio.sleep(0)
        at.client.stop()
        at.client.ask("again")
        await at.client.over()
        assert at.client.report["outcome"] == "done"
        assert not any(isinstance(frame, Stop) for frame in session.received)


async def test_a_restarted_client_does_not_run_a_change_again(connect: Connect) -> None:
    """A client that died while a changing call ran says, when it is back, that it is not known whether it took effect."""
    doings = Doings()
    async with MemorySession([[Ask("wait", {"word": "w"})], [Say("ok")]]) as session:
        async with connect(session, doings=doings) as at:
            at.client.ask("go")
            while not doings.ran:
                await asyncio.sleep(0.002)
            first = session.hellos[0].client
        async with connect(session, doings=doings) as at:
            await at.client.over()
            assert session.hellos[1].client == first
            assert at.client.connection.view.calls["1.0"].state == "lost"
            assert doings.ran == {"w": 1}


async def test_two_clients_at_once_are_two(connect: Connect) -> None:
    """A second process of the same person and directory is not taken for the first."""
    async with MemorySession([]) as session, connect(session) as one, connect(session) as two:
        await one.client.caught_up()
        await two.client.caught_up()
        assert len({hello.client for hello in session.hellos}) == 2


async def test_a_deleted_agent_ends_the_wait(connect: Connect) -> None:
    """When the log is another one after a loss, the turn is gone: the person hears of it."""
    async with MemorySession([[Hang()]]) as session, connect(session) as at:
        at.client.ask("go")
        while not session.log or session.session.state.phase != "streaming":
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.02)
        session.log_id, session.log = "log-2", []
        session.session = type(session.session)()
        session.peers[0].socket.transport.abort()
        with pytest.raises(ClientError, match="was deleted"):
            await asyncio.wait_for(at.client.over(), 5)


async def test_wrong_token(connect: Connect) -> None:
    """A refused token is told at once, with the next step."""
    async with MemorySession([]) as session, connect(session, token="wrong") as at:
        with pytest.raises(Unauthorized) as raised:
            await at.client.caught_up()
        assert "no or wrong token" in str(raised.value)
        assert raised.value.next_step


async def test_nobody_there(connect: Connect) -> None:
    """At the first attempt, nobody there ends it: the URL is probably wrong."""
    session = MemorySession([])
    session.url = "http://127.0.0.1:9"
    async with connect(session) as at:
        with pytest.raises(CannotConnect, match="no Edgeloop at"):
            await at.client.caught_up()


async def test_a_server_that_goes_and_comes(connect: Connect) -> None:
    """Once connected, a client does not give up, and sends what was asked meanwhile."""
    session = MemorySession([[Say("back")]])
    async with session, connect(session) as at:
        await at.client.caught_up()
        await session.__aexit__()
        at.client.ask("go")
        await asyncio.sleep(0.1)
        await session.__aenter__()
        await asyncio.wait_for(at.client.over(), 5)
        assert at.client.report["answer"] == "back"


async def test_a_refused_message(connect: Connect) -> None:
    """A message whose id is taken is refused; the wait ends with the reason."""
    async with MemorySession([[Say("one")]]) as session, connect(session) as at:
        at.client.ask("go")
        session.messages[at.client.turn.message or ""] = "another text"
        with pytest.raises(MessageRefused, match="another message has this id"):
            await at.client.over()


async def test_a_message_that_finds_the_queue_full_is_kept(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where too many wait, the person is told, and the message goes again when the next step has begun."""
    monkeypatch.setattr("edgeloop.commands.MAX_QUEUED", 1)
    script: list[list[Part]] = [[Say("one")], [Say("two")], [Say("three")]]
    async with MemorySession(script) as session, connect(session) as at:
        session.pause = 0.1
        await at.client.caught_up()
        for name in ("x1", "x2"):
            session.record(UserMessageReceived(id=name, text="others", tokens=1))
        at.client.ask("mine")
        await asyncio.wait_for(at.client.over(), 10)
        assert at.client.report["answer"] == "three"
        mine = [frame for frame in session.received if isinstance(frame, SendMessage)]
        assert len(mine) == 2
        assert mine[0].id == mine[1].id
        assert [frame.producer.n for frame in mine if frame.producer] == [1, 2]
        assert [e.event.text for e in session.log if isinstance(e.event, UserMessageReceived)].count(
            "mine"
        ) == 1
        assert "kept here" in at.output.getvalue()


async def test_not_edgeloop(connect: Connect) -> None:
    """A server that is something else is named as such."""
    from websockets.asyncio.server import serve

    async with serve(_nothing, "127.0.0.1", 0, process_request=lambda c, r: c.respond(404, "no")) as server:
        session = MemorySession([])
        session.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        async with connect(session) as at:
            with pytest.raises((CannotConnect, NotFound)):
                await at.client.caught_up()


async def _nothing(_socket: object) -> None:
    pass
