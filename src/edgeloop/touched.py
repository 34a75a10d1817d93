"""What a call touches: the path, command and URL among its arguments, each in the one form in which it is compared.

Arguments are hostile: what can be read in two ways is not read at all. Decides which calls must not run together. Knows no rules.
"""

import json
import re
import unicodedata
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from posixpath import normpath
from typing import Any, cast
from urllib.parse import urlsplit

from edgeloop.tools import ToolSpec, Touched

PATH_MAX = 4_096
ELSEWHERE = r"[/~]|[A-Za-z]:"
"""How a path begins that is not relative to the agent's directory."""

Values = dict[Touched, str]


def texts_of(arguments: str) -> dict[str, str]:
    """The arguments that are text, by name; none of what is no JSON object, or can be read in two ways."""
    try:
        given: Any = json.loads(arguments, object_pairs_hook=_object)
    except (ValueError, RecursionError):  # a model can nest as deep as it likes
        return {}
    if not isinstance(given, dict):
        return {}
    return {name: value for name, value in cast(dict[str, Any], given).items() if isinstance(value, str)}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Readers differ on which of two equal keys counts: then none is read."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key twice")
    return dict(pairs)


def values_of(spec: ToolSpec, texts: dict[str, str]) -> Values:
    """What a call says it touches, of what its tool declares."""
    return {kind: texts[name] for kind, name in spec.touches.items() if name in texts}


def conflict(a: ToolSpec, a_texts: dict[str, str], b: ToolSpec, b_texts: dict[str, str]) -> bool:
    """Whether two calls must not run at the same time: one changes what the other touches, or might.

    A directory holds what is below it, and a host all its URLs. Two mutating calls might touch the same unless both say all that
    they touch; a command never does.
    """
    if a.effect == "read" and b.effect == "read":
        return False
    ours, theirs = values_of(a, a_texts), values_of(b, b_texts)
    if "path" in ours and "path" in theirs and _same_place(ours["path"], theirs["path"]):
        return True
    if "url" in ours and "url" in theirs and _same_host(ours["url"], theirs["url"]):
        return True
    return a.effect == b.effect == "mutate" and not (_says_all(a, ours) and _says_all(b, theirs))


def _says_all(spec: ToolSpec, values: Values) -> bool:
    return bool(values) and len(values) == len(spec.touches) and "command" not in values


def _same_place(a: str, b: str) -> bool:
    one, other = inside_of(a), inside_of(b)
    if one is None or other is None:
        return True
    one, other = f"{folded(one)}/", f"{folded(other)}/"
    return "./" in (one, other) or one.startswith(other) or other.startswith(one)


def _same_host(a: str, b: str) -> bool:
    one, other = host_of(a), host_of(b)
    return one is None or other is None or one == other


# --- paths ----------------------------------------------------------------------------------------------------------


def inside_of(path: str) -> str | None:
    """The path relative to the agent's directory, normalised; None if it leaves it or cannot be a path."""
    if not path or len(path) > PATH_MAX or re.match(ELSEWHERE, path):
        return None
    if re.search(r"[\x00-\x1f\x7f\\\ud800-\udfff]", path):
        return None
    clean = normpath(path)
    return None if clean == ".." or clean.startswith("../") else clean


def folded(text: str) -> str:
    """A path as a file system may see it that ignores case, composition and what is invisible."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return plain if plain.isascii() else "".join(char for char in plain if unicodedata.category(char) != "Cf")


# --- hosts ----------------------------------------------------------------------------------------------------------


def host_of(url: str) -> str | None:
    """The host of a URL that every parser reads alike; None otherwise."""
    if re.search(r"[^\x21-\x7e]|\\", url):
        return None
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return None
    if not host or parts.scheme not in ("http", "https") or "@" in parts.netloc:
        return None
    return address_of(host) if "[" in parts.netloc else name_of(host.removesuffix("."))


def address_of(host: str) -> str | None:
    """An IPv6 address in its usual form; one that stands for an IPv4 address as that."""
    if "%" in host:  # a zone: the same address by another text
        return None
    try:
        address = IPv6Address(host)
    except AddressValueError:
        return None
    return str(address.ipv4_mapped or address)


def name_of(host: str) -> str | None:
    """A name, or an IPv4 address in its usual form: browsers also take `127.1`, `0x7f000001` and `%65` for what they mean."""
    if not re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", host):
        return None
    if not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.rpartition(".")[2]):
        return host
    try:
        return str(IPv4Address(host))
    except AddressValueError:
        return None
