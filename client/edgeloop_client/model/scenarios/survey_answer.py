"""How `survey` words its answer: plain lines and one table, from the findings alone."""

import json
from collections.abc import Iterator
from typing import Any

from edgeloop_client.model.scenarios.findings import Findings, distinctive_words, speaks_of
from edgeloop_client.model.shapes import is_array, is_object, objects

MAX_KINDS = 5
MAX_FAILURES = 3


def answer(findings: Findings, missing: set[str]) -> str:
    """The whole answer; `missing` are the tools that were not offered."""
    return "\n".join(_lines(findings, missing))


def _lines(findings: Findings, missing: set[str]) -> Iterator[str]:
    yield from _overview(findings)
    yield from _kinds(findings)
    yield from _largest(findings)
    yield from _read(findings)
    yield from _found(findings)
    yield from _left_out(findings)
    if missing:
        yield f"Not looked at, for want of a tool: {', '.join(sorted(missing))}."


def _overview(findings: Findings) -> Iterator[str]:
    total = findings.total
    if not findings.pages:
        return
    files = _int(total.get("files"))
    if not files:
        yield f"The directory holds no files{_directories(total)}."
        return
    binary = _int(total.get("binary"))
    yield (
        f"{_many(files, 'file')} with {_many(_int(total.get('lines')), 'line')} of text "
        f"({_size(_int(total.get('bytes')))}){_directories(total)}"
        + (f"; {binary} of the files {'is' if binary == 1 else 'are'} binary." if binary else ".")
    )


def _directories(total: dict[str, Any]) -> str:
    dirs = _int(total.get("dirs"))
    links = _int(total.get("links"))
    words = f", in {'1 directory' if dirs == 1 else f'{dirs:,} directories'}" if dirs else ""
    return words + (f", and {_many(links, 'symbolic link')} (not followed)" if links else "")


def _kinds(findings: Findings) -> Iterator[str]:
    kinds = findings.kinds_by_files()
    if not kinds:
        return
    yield ""
    yield "| kind | files | lines | size |"
    yield "|---|---:|---:|---:|"
    for kind in kinds[:MAX_KINDS]:
        yield _row(_name(kind).replace("|", "\\|"), [findings.by_kind[kind]])
    if rest := kinds[MAX_KINDS:]:
        yield _row(
            f"{_many(len(rest), 'other kind')}",
            [findings.by_kind[kind] for kind in rest],
        )
    yield ""


def _row(name: str, figures: list[dict[str, Any]]) -> str:
    files, lines, size = (sum(_int(item.get(key)) for item in figures) for key in ("files", "lines", "bytes"))
    return f"| {name} | {files:,} | {lines:,} | {_size(size)} |"


def _largest(findings: Findings) -> Iterator[str]:
    largest = findings.told("largest")[:3]
    if not largest:
        return
    yield "Largest: " + ", ".join(
        f"{_name(item.get('path'))} ({_size(_int(item.get('bytes')))}"
        + (f", {_many(_int(item['lines']), 'line')})" if item.get("lines") is not None else ", binary)")
        for item in largest
    )


def _read(findings: Findings) -> Iterator[str]:
    if findings.reads:
        yield f"I read {_many(len(findings.reads), 'file')}:"
    for path, value in findings.reads.items():
        total, end = _int(value.get("total_lines")), _int(value.get("end_line"))
        part = "" if end >= total else f", first {end} lines"
        yield f"- {_name(path)} ({_many(total, 'line')}{part}): {speaks_of(path, findings.texts[path])}"
    if words := distinctive_words(findings, 6):
        yield f"Their most frequent words of note: {', '.join(words)}."


def _found(findings: Findings) -> Iterator[str]:
    for pattern, value in findings.searches.items():
        matches = objects(value["matches"])
        count = _int(value.get("total_matches"))
        if not count:
            yield f"Search `{pattern}`: nothing in {_many(_int(value.get('files_searched')), 'text file')}."
            continue
        first = f", the first at {_name(matches[0].get('path'))}:{matches[0].get('line')}" if matches else ""
        yield (
            f"Search `{pattern}`: {_many(count, 'line')} in {_int(value.get('files_matched')):,} of "
            f"{_many(_int(value.get('files_searched')), 'text file')}{first}."
        )


def _left_out(findings: Findings) -> Iterator[str]:
    if ignored := findings.told("ignored"):
        files = sum(_int(item.get("files")) for item in ignored)
        more = findings.total.get("ignored_more")
        paths = len(ignored)
        if is_object(more):
            files, paths = files + _int(more.get("files")), paths + _int(more.get("paths"))
        names = ", ".join(_name(item.get("path")) for item in ignored[:3])
        yield f"Left out as ignored: {_many(files, 'file')} under {names}{' and others' if paths > 3 else ''}."
    unreadable = findings.total.get("unreadable")
    if is_array(unreadable) and unreadable:
        count = len(unreadable) + _int(findings.total.get("unreadable_more"))
        first = unreadable[0].get("path") if is_object(unreadable[0]) else unreadable[0]
        yield f"Could not be read: {_many(count, 'path')}, such as {_name(first)}."
    if findings.cursor is not None and findings.pages:
        yield f"I picked from the first {len(findings.entries):,} entries; the listing goes on after them."
    for failure in findings.failures[:MAX_FAILURES]:
        yield f"{failure.tool}{f' of {_name(failure.subject)}' if failure.subject else ''} failed: {failure.why}"
    if rest := findings.failures[MAX_FAILURES:]:
        yield f"{_many(len(rest), 'more call')} failed."


def _int(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("the last unit takes everything")


def _name(value: Any) -> str:
    """A path as it is, but in JSON's spelling where control characters would break the line."""
    text = str(value)
    return text if text.isprintable() else json.dumps(text)
