"""`survey`: looks through a directory with the tools it is offered, and tells what is there.

Everything it does next follows from the results it has, so it carries on wherever a turn was interrupted. What it says holds only
figures that are in the results; what went wrong is told. The answer's words: survey_answer.py; what results say: findings.py.
"""

import re
from collections.abc import Iterator
from typing import Any

from edgeloop_client.model.conversation import Call, Conversation, Part, Say
from edgeloop_client.model.scenarios.findings import Findings, code_kinds, distinctive_words, written
from edgeloop_client.model.scenarios.survey_answer import answer

LIST, READ, SEARCH = "list_files", "read_file", "search"
PAGE = 400
MAX_PAGES = 10
MAX_READS = 6
READ_LINES = 200
MAX_MATCHES = 20
MARKS = r"\b(TODO|FIXME|XXX)\b"


def survey(conversation: Conversation) -> Iterator[Part]:
    """Make the calls that are still missing, or answer."""
    offered = {LIST, READ, SEARCH} & conversation.tools.keys()
    if not offered:
        yield Say(text=_nothing_to_use(conversation))
        return
    findings = Findings(conversation.answers, conversation.earlier_answers)
    calls = _next_calls(findings, offered)
    if not calls:
        yield Say(text=answer(findings, missing={LIST, READ, SEARCH} - offered))
        return
    if words := _remark(findings, calls):
        yield Say(text=words)
    yield from calls


def _next_calls(findings: Findings, offered: set[str]) -> list[Call]:
    if LIST in offered and (arguments := _listing(findings)):
        return [Call(name=LIST, arguments=arguments)]
    if READ in offered and findings.total:
        missing = [path for path in picks(findings) if path not in findings.asked_paths]
        if missing:
            return [Call(name=READ, arguments={"path": path, "max_lines": READ_LINES}) for path in missing]
    if SEARCH in offered and (findings.has_texts or LIST not in offered):
        missing = [pattern for pattern in _patterns(findings) if pattern not in findings.asked_patterns]
        return [
            Call(name=SEARCH, arguments={"pattern": pattern, "max_matches": MAX_MATCHES})
            for pattern in missing
        ]
    return []


def _listing(findings: Findings) -> dict[str, Any] | None:
    """The arguments of the next listing; None when there is all, or no sense in asking again."""
    if findings.listing_failed or findings.pages >= MAX_PAGES:
        return None
    if not findings.pages:
        return {"path": ".", "limit": PAGE}
    return {"path": ".", "limit": PAGE, "cursor": findings.cursor} if findings.cursor is not None else None


def _patterns(findings: Findings) -> list[str]:
    words = distinctive_words(findings, 1)
    return [MARKS, *(rf"\b{re.escape(word)}\b" for word in words)]


def picks(findings: Findings) -> list[str]:
    """The files to read: what introduces the rest, the largest texts, then one of each kind, those not chosen yet first,
    then what is left.

    Depends on the listing only, so it is the same in every step.
    """
    texts = [entry for entry in findings.entries.values() if entry.get("lines")]
    texts.sort(key=lambda entry: (str(entry["path"]).count("/"), str(entry["path"])))
    chosen = [str(entry["path"]) for entry in texts if _introduces(str(entry["path"]))][:2]
    largest = sorted(texts, key=lambda entry: (not written(entry), -int(entry["lines"]), str(entry["path"])))
    chosen += [str(entry["path"]) for entry in largest[:2]]
    kinds = {findings.entries[path].get("kind") for path in chosen}
    chosen += sorted(_sample(findings, texts), key=lambda path: findings.entries[path].get("kind") in kinds)
    chosen += [str(entry["path"]) for entry in largest]
    return list(dict.fromkeys(chosen))[:MAX_READS]


def _introduces(path: str) -> bool:
    return path.rsplit("/", 1)[-1].lower().startswith(("readme", "index.md", "about"))


def _sample(findings: Findings, texts: list[dict[str, Any]]) -> list[str]:
    """A middle-sized text of each kind, the most frequent kinds first, preferring directories not taken before."""
    taken: set[str] = set()
    answer: list[str] = []
    for kind in findings.kinds_by_files():
        own = sorted(
            (entry for entry in texts if entry.get("kind") == kind), key=lambda entry: int(entry["lines"])
        )
        if not own:
            continue
        fresh = [entry for entry in own if _folder(str(entry["path"])) not in taken] or own
        path = str(fresh[len(fresh) // 2]["path"])
        taken.add(_folder(path))
        answer.append(path)
    return answer


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _remark(findings: Findings, calls: list[Call]) -> str:
    if calls[0].name == LIST:
        return "" if findings.pages else "I will look at what is here first.\n"
    if calls[0].name == READ:
        files = findings.total.get("files", 0)
        code = sum(findings.by_kind[kind].get("files", 0) for kind in code_kinds(findings))
        return f"There are {files} files, {code} of them code. I will read {len(calls)} of them.\n"
    return "Now a search over everything.\n"


def _nothing_to_use(conversation: Conversation) -> str:
    offered = ", ".join(sorted(conversation.tools)) or "none at all"
    return (
        "I cannot look at any files here: I need one of the tools list_files, read_file and search, "
        f"and what I was offered is: {offered}. Connect a client that runs them, and ask again."
    )
