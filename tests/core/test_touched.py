"""Which calls must not run together: whoever changes a path, what is below it, or a host, keeps others from it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop.tools import Effect, ToolSpec, Touched
from edgeloop.touched import conflict, texts_of, values_of


def tool(effect: Effect, *kinds: Touched) -> ToolSpec:
    """A tool that names what it touches as the kinds are named."""
    touches: dict[Touched, str] = {kind: kind for kind in kinds}
    return ToolSpec(name="t", description="", parameters={"type": "object"}, effect=effect, touches=touches)


READ, FETCH = tool("read", "path"), tool("read", "url")
NOTE = tool("idempotent")
WRITE, PUT, SYNC, POST = (
    tool("mutate", "path"),
    tool("idempotent", "path"),
    tool("mutate", "path", "url"),
    tool("mutate", "url"),
)
RUN, MAIL = tool("mutate", "command"), tool("mutate")

Call = tuple[ToolSpec, dict[str, Any]]


def at(path: Any) -> dict[str, Any]:
    return {"path": path}


def to(url: str) -> dict[str, Any]:
    return {"url": f"https://{url}"}


TOGETHER: list[tuple[Call, Call]] = [
    ((READ, at("a")), (READ, at("a"))),
    ((READ, at("a")), (WRITE, at("b"))),
    ((WRITE, at("a")), (WRITE, at("b"))),
    ((WRITE, at("a")), (WRITE, at("ab"))),
    ((WRITE, at("src/a")), (PUT, at("src/b"))),
    ((POST, to("a.b/x")), (POST, to("c.b/x"))),
    ((WRITE, at("a")), (POST, to("a.b"))),
    ((SYNC, at("a") | to("a.b")), (WRITE, at("b"))),
    ((RUN, {"command": "ls"}), (READ, at("a"))),
    ((MAIL, {}), (FETCH, to("a.b"))),
    ((NOTE, {}), (WRITE, at("a"))),
]
APART: list[tuple[Call, Call]] = [
    ((WRITE, at("a")), (WRITE, at("./a"))),
    ((WRITE, at("a")), (READ, at("x/../a"))),
    ((WRITE, at("a")), (PUT, at("a/"))),
    ((WRITE, at("src/a")), (READ, at("src"))),
    ((WRITE, at("src/a")), (READ, at("."))),
    ((WRITE, at("src")), (PUT, at("src/x/y"))),
    ((WRITE, at("Read.me")), (WRITE, at("READ.ME"))),
    ((WRITE, at("caf\u00e9")), (READ, at("cafe\u0301"))),
    ((WRITE, at("/work/a")), (WRITE, at("a"))),
    ((WRITE, at("../x")), (READ, at("a"))),
    ((WRITE, {}), (WRITE, at("a"))),
    ((WRITE, at(7)), (WRITE, at("a"))),
    ((POST, to("a.b/x")), (POST, to("A.B:443/y"))),
    ((POST, to("a.b/x")), (FETCH, to("a.b/y"))),
    ((POST, to("u@a.b")), (POST, to("c.d"))),
    ((SYNC, at("a") | to("a.b")), (SYNC, at("b") | to("a.b"))),
    ((SYNC, at("a")), (WRITE, at("b"))),
    ((RUN, {"command": "ls"}), (RUN, {"command": "make"})),
    ((RUN, {"command": "ls"}), (WRITE, at("a"))),
    ((MAIL, {}), (MAIL, {})),
    ((MAIL, {}), (POST, to("a.b"))),
]


@pytest.mark.parametrize(
    ("one", "other", "apart"), [(*pair, False) for pair in TOGETHER] + [(*pair, True) for pair in APART]
)
def test_which_calls_run_together(one: Call, other: Call, apart: bool) -> None:
    """Disjoint calls do; where one changes what the other touches, or nobody can tell, they take turns, whichever comes first."""
    (a, given_a), (b, given_b) = ((spec, texts_of(json.dumps(arguments))) for spec, arguments in (one, other))
    assert conflict(a, given_a, b, given_b) is apart
    assert conflict(b, given_b, a, given_a) is apart


@pytest.mark.parametrize("raw", ["", "[]", "1", "[" * 9_000, '{"path":"a","path":"b"}', '{"path":null}'])
def test_what_cannot_be_read_in_one_way_is_not_read(raw: str) -> None:
    """Then nobody can tell what the call touches."""
    assert values_of(WRITE, texts_of(raw)) == {}


@given(st.text(max_size=12), st.text(max_size=12))
def test_a_change_keeps_itself_away_whatever_it_says(path: str, other: str) -> None:
    """No text makes two changes of one path run together, and none raises."""
    assert conflict(WRITE, {"path": path}, WRITE, {"path": path})
    assert conflict(POST, {"url": path}, POST, {"url": path})
    conflict(WRITE, {"path": path}, READ, {"path": other})
