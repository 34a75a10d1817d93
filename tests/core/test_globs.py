"""Globs against a table, and against a slow reference that tries everything."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop.globs import glob_escape, glob_matches


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("", "", "a"),
        ("a.py", "a.py", "a_py aa.py a.pyc A.py"),
        ("*.py", "a.py .py", "x/a.py a.pyc"),
        ("a?c", "abc a.c", "ac a/c abbc"),
        ("src/**", "src/a src/a/b src/", "src srcx/a"),
        ("**/*.py", "a.py x/a.py x/y/a.py", "a.pyc x.py/"),
        ("**/a/**/b", "a/b x/a/b x/a/y/z/b", "a b xa/b a/xb"),
        ("a**z", "az abz a/b/z", "a za"),
        ("**", " a a/b .", None),
        (r"a\*b", "a*b", "ab axb"),
        (r"a\\b", r"a\b", "ab"),
        ("a\\", "a\\", "a"),
        ("[ab]", "[ab]", "a b"),
        ("*.example.com", "x.example.com x.y.example.com", "example.com xexample.com"),
        ("***", "a a/b", None),
        ("a*b*c", "abc axbxc abcbc", "ac abcb"),
        ("é?", "éx é\u0301", "ex"),
    ],
)
def test_table(pattern: str, yes: str, no: str | None) -> None:
    """What a pattern matches, and what it does not."""
    for text in yes.split(" "):
        assert glob_matches(pattern, text), text
    for text in no.split(" ") if no is not None else []:
        assert not glob_matches(pattern, text), text


def reference(pattern: str, text: str) -> bool:
    """The same by trying every way: slow, and plainly what the docstring says."""
    if not pattern:
        return not text
    if pattern.startswith("**/"):
        ends = [0] + [n + 1 for n, char in enumerate(text) if char == "/"]
        return any(reference(pattern[3:], text[end:]) for end in ends)
    if pattern.startswith("**"):
        return any(reference(pattern[2:], text[end:]) for end in range(len(text) + 1))
    if pattern[0] == "*":
        run = len(text.split("/")[0])
        return any(reference(pattern[1:], text[end:]) for end in range(run + 1))
    if pattern[0] == "?":
        return bool(text) and text[0] != "/" and reference(pattern[1:], text[1:])
    escaped = pattern[0] == "\\" and len(pattern) > 1
    return text.startswith(pattern[escaped]) and reference(pattern[1 + escaped :], text[1:])


@given(st.text("ab/*?\\", max_size=8), st.text("ab/*\\", max_size=8))
def test_it_is_the_reference(pattern: str, text: str) -> None:
    """Moving all places at once finds just what trying every way finds."""
    assert glob_matches(pattern, text) == reference(pattern, text)


@given(st.text(max_size=20), st.text(max_size=20))
def test_an_escaped_text_matches_itself_alone(text: str, other: str) -> None:
    """So a grant for a strange name covers that name."""
    assert glob_matches(glob_escape(text), text)
    assert glob_matches(glob_escape(text), other) == (text == other)


def test_no_path_takes_long() -> None:
    """A path made for it costs a regular expression minutes here."""
    begun = time.perf_counter()
    assert not glob_matches("**/a*/**/a*/**/a*/**/b*b", "a/" * 2_000 + "c")
    assert time.perf_counter() - begun < 1
