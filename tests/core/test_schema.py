"""Arguments against a tool's schema: what does not fit is told in words, and nothing raises or takes long."""

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop.schema import misfit
from edgeloop_client.tools import LOCAL_TOOLS


def object_of(**properties: Any) -> dict[str, Any]:
    """The schema of an object that has all of these and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


TEXT = {"type": "string"}
REFERRED = {"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}
LOOP = {"type": "object", "properties": {"a": {"$ref": "#"}}, "$ref": "#"}
NULLABLE = {"anyOf": [TEXT, {"type": "null"}]}

FITS: list[tuple[dict[str, Any], Any]] = [
    ({"type": "object"}, {"anything": [1]}),
    (object_of(path=TEXT), {"path": ""}),
    (object_of(n={"type": "integer"}), {"n": 5.0}),
    (object_of(n={"type": "number"}), {"n": 5}),
    (object_of(n={"type": ["string", "null"]}), {"n": None}),
    (object_of(n=NULLABLE), {"n": None}),
    (object_of(n={"enum": ["a", 1]}), {"n": 1.0}),
    (object_of(n={"const": {"a": [1]}}), {"n": {"a": [1]}}),
    (object_of(n={"type": "string", "minLength": 2, "maxLength": 2}), {"n": "é😀"}),
    (object_of(n={"minimum": 1, "maximum": 1, "exclusiveMinimum": 0, "exclusiveMaximum": 2}), {"n": 1}),
    (object_of(n={"minLength": 2, "minimum": 5, "minItems": 1}), {"n": None}),
    (object_of(n={"type": "array", "items": TEXT, "minItems": 1, "maxItems": 2}), {"n": ["a", "b"]}),
    ({"type": "object", "properties": {"a": TEXT}, "additionalProperties": {"type": "integer"}}, {"b": 1}),
    ({"type": "object", "patternProperties": {"^x": {}}, "additionalProperties": False}, {"xa": 1}),
    ({"type": "object", "properties": {"a": True}}, {"a": 1}),
    (REFERRED, {"a": 1}),
    (LOOP, {"a": {"a": {}}}),
    # What is not known here is the tool's own to check.
    (object_of(n={"type": "date"}), {"n": 1}),
    (object_of(n={"type": "string", "pattern": "^a$", "format": "uri"}), {"n": "b"}),
    (object_of(n={"$ref": "#/$defs/none"}), {"n": 1}),
    (object_of(n={"$ref": "https://elsewhere.test/x"}), {"n": 1}),
]


@pytest.mark.parametrize(("schema", "value"), FITS)
def test_what_fits(schema: dict[str, Any], value: Any) -> None:
    """Nothing is said of arguments that are what the schema says, nor of what is not checked here."""
    assert misfit(schema, json.dumps(value)) is None


DOES_NOT: list[tuple[dict[str, Any], Any, str]] = [
    ({"type": "object"}, [1], "the arguments: expected object, not array"),
    (object_of(path=TEXT), {}, "path: missing, expected string"),
    (object_of(path={}), {}, "path: missing, expected a value"),
    (object_of(path=TEXT), {"path": 7}, "path: expected string, not 7"),
    (object_of(path=TEXT), {"path": ["a"]}, "path: expected string, not array"),
    (object_of(path=TEXT), {"path": "a", "pth": "b"}, "pth: unknown, expected one of: path"),
    (object_of(), {"a": 1}, "a: unknown, expected one of: none"),
    (object_of(n={"type": "integer"}), {"n": "5"}, 'n: expected integer, not "5"'),
    (object_of(n={"type": "integer"}), {"n": 5.5}, "n: expected integer, not 5.5"),
    (object_of(n={"type": "integer"}), {"n": True}, "n: expected integer, not true"),
    (object_of(n={"type": "boolean"}), {"n": 1}, "n: expected boolean, not 1"),
    (object_of(n={"type": ["string", "null"]}), {"n": 1}, "n: expected string or null, not 1"),
    (object_of(n=NULLABLE), {"n": 1}, "n: expected string, not 1 or n: expected null, not 1"),
    (object_of(n={"oneOf": [TEXT]}), {"n": 1}, "n: expected string, not 1"),
    (object_of(n={"allOf": [TEXT, {"minLength": 2}]}), {"n": "a"}, 'n: expected at least 2 characters, not "a"'),
    (object_of(n={"enum": ["a", 1]}), {"n": True}, 'n: expected one of: "a", 1, not true'),
    (object_of(n={"const": 1}), {"n": 2}, "n: expected 1, not 2"),
    (object_of(n={"maxLength": 1}), {"n": "a" * 99}, "n: expected at most 1 characters, not string"),
    (object_of(n={"minimum": 1}), {"n": 0}, "n: expected at least 1, not 0"),
    (object_of(n={"exclusiveMinimum": 1}), {"n": 1}, "n: expected more than 1, not 1"),
    (object_of(n={"exclusiveMaximum": 1}), {"n": 1}, "n: expected less than 1, not 1"),
    (object_of(n={"maxItems": 1}), {"n": [1, 2]}, "n: expected at most 1 items, not array"),
    (object_of(n={"items": {"properties": {"a": TEXT}}}), {"n": [{}, {"a": 1}]}, "n[1].a: expected string, not 1"),
    (object_of(n=False), {"n": 1}, "n: not expected"),
    ({"type": "object", "additionalProperties": TEXT}, {"a": 1}, "a: expected string, not 1"),
    (REFERRED, {"a": "x"}, 'a: expected integer, not "x"'),
    (object_of(a=TEXT, b=TEXT), {"c": 1},
     "a: missing, expected string; b: missing, expected string; c: unknown, expected one of: a, b"),
    (object_of(a=TEXT, b=TEXT, c=TEXT, d=TEXT), {}, "; ".join(f"{n}: missing, expected string" for n in "abc")),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "value", "told"), DOES_NOT)
def test_what_does_not_fit(schema: dict[str, Any], value: Any, told: str) -> None:
    """The place, what was expected and what came, at most three of them."""
    assert misfit(schema, json.dumps(value)) == told


@pytest.mark.parametrize("arguments", ["", "{", "[" * 100_000, '{"n":' + "9" * 5_000 + "}"])
def test_what_cannot_be_read_is_not_judged_here(arguments: str) -> None:
    """That arguments are no JSON object is the decoder's to say."""
    assert misfit({"type": "object"}, arguments) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("ab$#/", max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "$ref"]), inner, max_size=3)
    ),
    max_leaves=6,
)
WORDS = (
    "type enum const $ref allOf anyOf oneOf items properties required additionalProperties patternProperties minLength maxLength "
    "minItems maxItems minimum maximum exclusiveMinimum exclusiveMaximum $defs"
).split()
SCHEMAS = st.recursive(
    JSON | st.sampled_from([{"type": "string"}, {"$ref": "#"}, {"$ref": "#/a"}]),
    lambda inner: st.dictionaries(
        st.sampled_from(WORDS),
        inner | st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
        max_size=4,
    ),
    max_leaves=8,
)


@given(SCHEMAS, JSON)
def test_no_schema_and_no_argument_raise(schema: Any, value: Any) -> None:
    """A session asks this on every wake: what raised here would brick it."""
    misfit({"allOf": [schema]}, json.dumps(value))


WIDE = {"enum": [[n] for n in range(5_000)]}
TWICE: dict[str, Any] = {"anyOf": [{"items": {"$ref": "#"}, "maxItems": 1}] * 2}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": WIDE}, [[0]] * 100_000),
        ({"items": {"type": "integer"}}, [0] * 500_000),
        ({"additionalProperties": {"type": "integer"}}, {f"k{n}": 0 for n in range(100_000)}),
        ({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}, 1),
        (TWICE, json.loads("[" * 60 + "1,2" + "]" * 60)),
    ],
)
def test_nothing_takes_long(schema: dict[str, Any], value: Any) -> None:
    """The work is bounded, whatever the schema and the arguments make of each other."""
    text = json.dumps(value)
    begun = time.process_time()
    misfit(schema, text)
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("name", sorted(LOCAL_TOOLS))
def test_our_own_tools_refuse_nothing_of_theirs(name: str) -> None:
    """Every schema we declare is one that this understands: nothing is missing but what is required."""
    spec = LOCAL_TOOLS[name].spec
    told = misfit(spec.parameters, "{}") or ""
    assert [part.partition(":")[0] for part in told.split("; ") if part] == spec.parameters.get(
        "required", []
    )[:3]
    assert "unknown" in (misfit(spec.parameters, '{"no_such_name": 1}') or "") or told.count(";") == 2
