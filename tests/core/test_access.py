"""Tokens by HMAC-SHA256: what is let in, what is refused and in which words, and the table of what needs which scope."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop import frames, wire
from edgeloop.access import (
    NEEDS,
    SCOPES,
    TOKEN_CHARS,
    Access,
    allows,
    check,
    mint,
    offered,
    verify,
)
from edgeloop.errors import Refused

KEY, OLD, OTHER = "k" * 32, "o" * 40, "x" * 32
NOW = 1_795_000_000_000
WRITE = Access(agent="team-7", scope="write", expires=NOW + 60_000, id="laptop")
TOKEN = mint(WRITE, KEY)
VERSION, PAYLOAD, MAC = TOKEN.split(".")


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(payload: Any, key: str = KEY, version: str = "v1") -> str:
    """A token of any payload, signed as ours are, made without our code."""
    text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = f"{version}.{b64(text)}"
    return f"{signed}.{b64(hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest())}"


def refused(token: str, *, agent: str = "team-7", now: int = NOW, keys: tuple[str, ...] = (KEY,)) -> str:
    """The code that a token is refused with; "" if it is let in."""
    try:
        verify(token, keys=keys, agent=agent, now=now)
    except Refused as error:
        return error.code
    return ""


def test_a_token_says_what_was_signed():
    """What is minted is what is verified, in the documented form."""
    assert verify(TOKEN, keys=(KEY,), agent="team-7", now=NOW) == WRITE
    assert (
        forged({"agent": "team-7", "scope": "write", "exp": NOW + 60_000, "id": "laptop"}) != TOKEN
    )  # blanks
    found = json.loads(base64.urlsafe_b64decode(PAYLOAD + "==="))
    assert found == {"agent": "team-7", "scope": "write", "exp": NOW + 60_000, "id": "laptop"}


GOOD = {"agent": "team-7", "scope": "write", "exp": NOW + 1}
HOSTILE: dict[str, str] = {
    "empty": "",
    "blank": " ",
    "one dot": ".",
    "dots": "...",
    "the version alone": "v1..",
    "no mac": f"{VERSION}.{PAYLOAD}.",
    "no payload": f"{VERSION}..{MAC}",
    "another mac": f"{VERSION}.{PAYLOAD}.{b64(b'0' * 32)}",
    "a short mac": f"{VERSION}.{PAYLOAD}.{b64(b'0')}",
    "half the mac": TOKEN[:-20],
    "one character more": TOKEN + "A",
    "padded": TOKEN + "=",
    "standard alphabet": f"{VERSION}.{PAYLOAD}.{MAC.replace('-', '+').replace('_', '/')}+",
    "a newline behind it": TOKEN + "\n",
    "another version": forged(GOOD, version="v2"),
    "a version relabelled": TOKEN.replace("v1", "v2", 1),
    "another's key": forged(GOOD, key=OTHER),
    "another payload under the mac": f"{VERSION}.{b64(json.dumps({**GOOD, 'scope': 'admin'}).encode())}.{MAC}",
    "no json": forged(b"{"),
    "no object": forged([1]),
    "deep": forged(b"[" * 500),
    "no agent": forged({"scope": "write", "exp": NOW + 1}),
    "an agent that is none": forged({**GOOD, "agent": None}),
    "an unknown scope": forged({**GOOD, "scope": "root"}),
    "a list of scopes": forged({**GOOD, "scope": ["admin"]}),
    "no expiry": forged({"agent": "team-7", "scope": "write"}),
    "an expiry of zero": forged({**GOOD, "exp": 0}),
    "an expiry as text": forged({**GOOD, "exp": str(NOW + 1)}),
    "an expiry that is true": forged({**GOOD, "exp": True}),
    "an endless number": forged(b'{"agent":"team-7","scope":"write","exp":1e999}'),
    "too long": forged({**GOOD, "id": "i" * TOKEN_CHARS}),
    "not ascii": "v1.é.ü",
    "a lone surrogate": "v1.\ud800.AA",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_we_did_not_sign_is_unauthorized(name: str):
    """Whatever is wrong with a token that is not ours, it gets the one answer, and nothing of it is repeated."""
    with pytest.raises(Refused) as error:
        verify(HOSTILE[name], keys=(KEY,), agent="team-7", now=NOW)
    assert error.value.code == "unauthorized"
    assert error.value.message == "no or wrong token"


@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="ascii"))
def test_a_token_with_any_other_character_is_none(place: int, character: str):
    """No character of a token may be another: neither payload nor mac has a second spelling."""
    changed = TOKEN[:place] + character + TOKEN[place + 1 :]
    assert refused(changed) == ("" if changed == TOKEN else "unauthorized")


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str):
    """Any text is refused with a type."""
    assert refused(text) == refused(f"v1.{text}") == "unauthorized"


@pytest.mark.parametrize(
    ("agent", "name", "covered"),
    [
        ("team-7", "team-7", True),
        ("team-7", "team-70", False),
        ("team-7", "team-", False),
        ("team-7", "TEAM-7", False),
        ("team-7", "", False),
        ("team-*", "team-7", True),
        ("team-*", "team-", True),
        ("team-*", "team", False),
        ("team-*", "ateam-7", False),
        ("*", "anything", True),
    ],
)
def test_a_token_is_for_its_agents_only(agent: str, name: str, covered: bool):
    """A name means that agent alone, one with a star all that begin so; guessing another's name is of no use."""
    token = mint(replace(WRITE, agent=agent), KEY)
    assert refused(token, agent=name) == ("" if covered else "forbidden")


def test_a_token_ends():
    """Up to its expiry it holds, from then on it is told apart from a wrong one."""
    assert refused(TOKEN, now=WRITE.expires - 1) == ""
    assert refused(TOKEN, now=WRITE.expires) == "expired"
    assert refused(TOKEN, now=WRITE.expires, agent="another") == "expired"
    assert refused(TOKEN, now=WRITE.expires, keys=(OTHER,)) == "unauthorized"


def test_keys_rotate():
    """A token of the previous key holds beside those of the new one, until that key is taken away."""
    old = mint(WRITE, OLD)
    assert refused(old, keys=(KEY,)) == "unauthorized"
    assert refused(old, keys=(KEY, OLD)) == refused(TOKEN, keys=(KEY, OLD)) == ""
    assert refused(TOKEN, keys=()) == "unauthorized"


UNMINTABLE: dict[str, Access] = {
    "no agent": replace(WRITE, agent=""),
    "a star in the middle": replace(WRITE, agent="a*b"),
    "a slash": replace(WRITE, agent="a/b"),
    "a name that is too long": replace(WRITE, agent="a" * 129),
    "no expiry": replace(WRITE, expires=0),
    "an id with a blank": replace(WRITE, id="my laptop"),
}


@pytest.mark.parametrize("name", UNMINTABLE)
def test_what_could_never_be_let_in_is_not_minted(name: str):
    """A token that no agent would take is refused where it is made."""
    with pytest.raises(ValueError, match=r"agent|token"):
        mint(UNMINTABLE[name], KEY)


def test_a_short_key_signs_nothing():
    """A key that could be guessed from one token is refused."""
    with pytest.raises(ValueError, match="at least 32 characters"):
        mint(WRITE, "k" * 31)


# --- scopes ---------------------------------------------------------------------------------------------------------


def test_scopes_contain_each_other():
    """Each scope may do what those before it may, and only admin what is not in the table."""
    counts = [sum(allows(scope, what) for what in NEEDS) for scope in SCOPES]
    assert counts == sorted(counts)
    assert counts[-1] == len(NEEDS)
    assert [allows(scope, "PATCH anything") for scope in SCOPES] == [False, False, True]
    assert not any(allows(scope, what) for scope in ("", "root", "Admin") for what in NEEDS)


def test_every_frame_has_its_scope():
    """No frame of the protocol is missing in the table: a new one must be thought about."""
    names = {model.model_fields["t"].default for model in get_args(wire.ClientMessage)}
    assert names <= NEEDS.keys()


@pytest.mark.parametrize(
    ("data", "what", "ref"),
    [
        ('{"t":"hello","v":1,"client":"c"}', "hello", None),
        ('{"t":"hello","v":1,"client":"c","tools":[]}', "hello with tools", None),
        ('{"t":"message","id":"m1","text":"hi"}', "message", "m1"),
        ('{"t":"tool_result","call":"1.0","epoch":1,"outcome":"ok","content":""}', "tool_result", "1.0"),
        ('{"t":"decide","call":"1.0","allow":true}', "decide", "1.0"),
        ('{"t":"autonomy","mode":"auto"}', "autonomy", None),
        ('{"t":"stop"}', "stop", None),
    ],
)
def test_a_frame_is_asked_for_by_its_name(data: str, what: str, ref: str | None):
    """Who runs tools does more than watch; a refusal names what it is about."""
    frame = frames.parse_client_frame(data)
    assert (wire.needed_for(frame), wire.ref_of(frame)) == (what, ref)
    with pytest.raises(Refused) as error:
        check("", what, ref=ref)
    assert (error.value.code, error.value.ref) == ("forbidden", ref)
    assert NEEDS[what] in (error.value.expected or "")


@pytest.mark.parametrize(
    ("protocols", "token", "ours"),
    [
        ("", "", False),
        ("edgeloop.v1", "", True),
        ("edgeloop.v1, edgeloop.token.abc", "abc", True),
        ("edgeloop.token.abc,edgeloop.v1", "abc", True),
        ("edgeloop.token.abc", "abc", False),
        ("chat, edgeloop.v2", "", False),
        ("edgeloop.token.", "", False),
        ("edgeloop.token.a, edgeloop.token.b", "a", False),
    ],
)
def test_a_browser_brings_its_token_as_a_subprotocol(protocols: str, token: str, ours: bool):
    """The token is the rest of its own subprotocol's name; ours is the one that is answered."""
    assert offered(protocols) == (token, ours)
