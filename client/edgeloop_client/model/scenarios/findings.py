"""What tool results say, read with suspicion: any of them may be an error, cut, or something else than expected."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from edgeloop_client.model.conversation import Answered
from edgeloop_client.model.shapes import is_object, objects

_CODE = frozenset(
    "py pyi rs js mjs cjs ts tsx jsx go c h cc cpp hpp java kt rb php swift cs scala sh bash lua pl r sql zig ex hs ml".split()
)
_MARKUP = frozenset("md markdown rst txt adoc org tex html htm".split())
_STOP = frozenset(
    """about above after again against also although always among another because been before being below between both cannot
    class const could data default does doing done down during each else elif enum every except export extends false
    final finally first found from function have having here import instead into itself just lambda last less like line
    lines list made make many match more most much must name names need never next none null number object once only
    open other otherwise over pass path private public raise read return returns same self should since some static str
    string struct such super than that their them then there these they this those three through time true tuple type
    types under until upon used uses using value values very void what when where which while whose will with within
    without would yield your async await bool bytes dict float int http https www com org key keys text file files size
    license copyright software version void let mut impl trait

    aber auch auf aus bei das dem den der des die ein eine einem einer eines für haben hat ich ist kann mit nach nicht
    noch nur oder sich sie sind über und uns von vor war was wenn werden wie wird zum zur""".split()
)
_WORD = re.compile(r"[^\W\d_]{4,30}")
_CAMEL = re.compile(r"(?<=[a-zß-ÿ])(?=[A-Z])")
# Files are hostile: every pattern here stays within a line or a fixed length, so that none takes quadratic time.
_HEADING = re.compile(r"^#{1,3}[ \t]+([^\n]{1,200})", re.MULTILINE)
_TITLE = re.compile(r"<(?:title|h[1-3])\b[^>]{0,200}>([^<]{1,200})<", re.IGNORECASE)
_SAYS_FIRST = re.compile(r"\A(?:#!.*\n)?\s*(?:[rR]?\"\"\"|[rR]?\'\'\'|//[/!]?|/\*+|#+)\s*([^\n]*\w[^\n]*)")
_HEAD = 400
_DEFINED = re.compile(
    r"^[ \t]*(?:export[ \t]+|pub(?:\([a-z]+\))?[ \t]+|async[ \t]+|default[ \t]+|static[ \t]+|public[ \t]+)*"
    r"(?:def|class|fn|function|struct|enum|trait|interface|func|type)[ \t]+([A-Za-z_$][\w$]*)",
    re.MULTILINE,
)


class Failure:
    """A call that came to nothing."""

    def __init__(self, answer: Answered) -> None:
        self.tool = answer.call.name
        self.subject = str(answer.call.arguments.get("path") or answer.call.arguments.get("pattern") or "")
        self.why = " ".join(answer.text.split())[:160] or "an empty result"


def _read(answer: Answered, key: str) -> dict[str, Any] | None:
    """The result as an object that has the key; None where it is an error or something else."""
    if answer.failed:
        return None
    try:
        value: Any = json.loads(answer.text)
    except ValueError:
        return None
    return value if is_object(value) and key in value else None


class Findings:
    """All results of a turn; those of the turns before count where a result refers to them."""

    def __init__(self, answers: tuple[Answered, ...], earlier: tuple[Answered, ...] = ()) -> None:
        self.pages = 0
        self.cursor: Any = None
        self.total: dict[str, Any] = {}
        self.entries: dict[str, dict[str, Any]] = {}
        self.reads: dict[str, dict[str, Any]] = {}
        self.searches: dict[str, dict[str, Any]] = {}
        self.failures: list[Failure] = []
        self.asked_paths: set[Any] = set()
        self.asked_patterns: set[Any] = set()
        self.listing_failed = False
        self._versions: dict[tuple[Any, Any], dict[str, Any]] = {}
        for answer in earlier:
            if answer.call.name == "read_file":
                self._text(answer)
        for answer in answers:
            self._take(answer)

    def _take(self, answer: Answered) -> None:
        match answer.call.name:
            case "list_files":
                self._listing(answer)
            case "read_file":
                self.asked_paths.add(_hashable(answer.call.arguments.get("path")))
                self._keep(answer, self._text(answer), str(answer.call.arguments.get("path")), self.reads)
            case "search":
                self.asked_patterns.add(_hashable(answer.call.arguments.get("pattern")))
                found = _read(answer, "matches")
                self._keep(answer, found, str(answer.call.arguments.get("pattern")), self.searches)
            case _:
                pass

    def _keep(
        self, answer: Answered, value: dict[str, Any] | None, subject: str, into: dict[str, dict[str, Any]]
    ) -> None:
        if value is None:
            self.failures.append(Failure(answer))
        else:
            into[subject] = value

    def _text(self, answer: Answered) -> dict[str, Any] | None:
        """What was read; "unchanged" stands for what was read before, and of a change its diff is looked at."""
        value = _read(answer, "hash")
        if value is None:
            return _read(answer, "text")
        version = (_hashable(value.get("path")), _hashable(value["hash"]))
        if "unchanged_since" in value:
            return self._versions.get(version)
        if "diff" in value:
            value = {**value, "text": value["diff"]}
        if "text" not in value:
            return None
        self._versions[version] = value
        return value

    def _listing(self, answer: Answered) -> None:
        value = _read(answer, "entries")
        if value is None:
            self.failures.append(Failure(answer))
            self.listing_failed = True
            return
        self.pages += 1
        self.cursor = value.get("next")
        total = value.get("total")
        if is_object(total):
            self.total = total
        for entry in objects(value["entries"]):
            if isinstance(entry.get("path"), str):
                self.entries[entry["path"]] = {**entry, "lines": _number(entry.get("lines"))}

    @property
    def by_kind(self) -> dict[str, dict[str, Any]]:
        """Figures per kind of file."""
        kinds = self.total.get("by_kind")
        if not is_object(kinds):
            return {}
        return {str(kind): figures for kind, figures in kinds.items() if is_object(figures)}

    @property
    def has_texts(self) -> bool:
        """Whether the listing tells of any text file."""
        return (_number(self.total.get("files")) or 0) > (_number(self.total.get("binary")) or 0)

    def kinds_by_files(self) -> list[str]:
        """The kinds, most files first."""
        return sorted(self.by_kind, key=lambda kind: (-(_number(self.by_kind[kind].get("files")) or 0), kind))

    def told(self, key: str) -> list[dict[str, Any]]:
        """A list of the listing's totals, such as `largest` or `ignored`."""
        return objects(self.total.get(key))

    @cached_property
    def texts(self) -> dict[str, str]:
        """What was read, by path."""
        return {path: str(value.get("text", "")) for path, value in self.reads.items()}


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str | int | None) else json.dumps(value)


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def kind_of(path: str) -> str:
    """The kind of a file by its name, as list_files tells it."""
    name = path.rsplit("/", 1)[-1]
    stem, dot, end = name.rpartition(".")
    return end.lower() if dot and stem else name


def written(entry: dict[str, Any]) -> bool:
    """Whether a person wrote it to be read: programs and prose, not data."""
    return entry.get("kind") in _CODE | _MARKUP


def code_kinds(findings: Findings) -> list[str]:
    """Those of the kinds present that are programs."""
    return [kind for kind in findings.by_kind if kind in _CODE]


def distinctive_words(findings: Findings, count: int) -> list[str]:
    """The most frequent words that say something, over all files read; a word in several files counts more."""
    frequency: Counter[str] = Counter()
    spread: Counter[str] = Counter()
    for text in findings.texts.values():
        own = Counter(_words(text))
        frequency.update(own)
        spread.update(own.keys())
    ranked = sorted(frequency, key=lambda word: (-frequency[word] * spread[word], word))
    return [word for word in ranked if frequency[word] > 1][:count]


def _words(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text):
        for part in _CAMEL.split(match[0]):
            word = part.casefold()
            if len(word) >= 4 and word not in _STOP:
                yield word


def speaks_of(path: str, text: str) -> str:
    """One phrase on a file: its headings, what it defines, or its first words."""
    kind = kind_of(path)
    if kind in _CODE and (names := list(dict.fromkeys(_DEFINED.findall(text)))):
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        return f"{_says_first(text)}defines {', '.join(names[:4])}{more}"
    if kind in _MARKUP and (headings := _HEADING.findall(text) or _TITLE.findall(text)):
        return "headings " + "; ".join(_short(heading.rstrip("# ")) for heading in headings[:3])
    first = next((line.strip() for line in text.splitlines() if _WORD.search(line)), "")
    return f"begins “{_short(first)}”" if first else "has no words"


def _says_first(text: str) -> str:
    """What a program's first comment says of it."""
    match = _SAYS_FIRST.match(text[:_HEAD])
    return f"“{_short(match[1].rstrip(' */').removesuffix(chr(34) * 3))}”, " if match else ""


def _short(text: str, limit: int = 60) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
