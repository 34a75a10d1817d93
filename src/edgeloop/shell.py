"""A command line as a POSIX shell would cut it, as far as judging it needs: two questions, each answered to its safe side.

`plain_words`: what surely are the words of one plain command. `may_run`: whether a command might be run somewhere in the line.
A line can hide what it does from any reader (a script's name, a decoded string): `may_run` guards against accidents and plain
tricks, it is no prison. Knows no rules.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache

LINE_MAX = 20_000
_READ_MAX = 3 * LINE_MAX
"""Characters read to judge one line, with all that is nested in it: a line can be made to hold itself again and again."""
_DEPTH_MAX = 3

_SHELLS = frozenset("sh ash bash csh dash fish ksh mksh rbash tcsh zsh".split())
_APPENDERS = frozenset("xargs parallel".split())
"""They put words behind the command's own that the line does not show."""
_OTHERS = (
    "! . { alias at batch builtin busybox chroot chrt command coproc do doas elif else env eval exec fakeroot find "
    "firejail flock function if ionice nice nohup nsenter pkexec runuser script setpriv setsid sg source ssh stdbuf "
    "strace su sudo systemd-run taskset then time timeout trap unbuffer unshare until watch while"
)
_WRAPPERS = _SHELLS | _APPENDERS | frozenset(_OTHERS.split())
"""Words after which another command may begin."""
_ASSIGNMENT = re.compile(r"\w+\+?=")
_NESTED = re.compile(r"\$\(|`|[<>]\(")
_GLUED = re.compile(r"-\w|[\w-]+=")
"""What may stand right before a script in its word: `-cmake`, `--command=make`, `m=make`."""
_ESCAPED = re.compile(r"\\.", re.DOTALL)
"""Read as pairs: the newline behind an escaped backslash ends a command, one behind a backslash goes with it."""
_BARE = re.compile(r"[\w@%+=:,./^-]+", re.ASCII)
_SHORT = re.compile(r"-[a-z0-9]{1,4}")


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word without its quotes; `open` where an expansion or a glob may make it anything, and more than one word."""

    text: str
    open: bool


@dataclass(kw_only=True)
class _Line:
    """A line as it is read. `plain` ends as False if there is any syntax in it but words and quotes."""

    text: str
    at: int = 0
    commands: list[list[Word]] = field(default_factory=lambda: [list[Word]()])
    plain: bool = True
    said: list[str] = field(default_factory=lambda: list[str]())
    """What is given to a command's input in place (`<<< words`)."""
    _word: str | None = None
    _open: bool = False
    _target: str = ""
    """The redirection whose target the next word is."""

    def read(self) -> "_Line":
        while self.at < len(self.text):
            self._next(self.text[self.at])
        self._end_word()
        return self

    def _next(self, char: str) -> None:
        match char:
            case " " | "\t":
                self._end_word()
                self.at += 1
            case "'":
                self._quoted(self.text.find("'", self.at + 1))
            case '"':
                self._double()
            case "\\":
                self.plain = False
                self._add(self.text[self.at + 1 : self.at + 2], 2)
            case "$" | "`":
                self._expansion()
            case "<" | ">":
                self._redirection()
            case ";" | "&" | "|" | "\n" | "\r" | "(" | ")":
                self._end_command()
            case _ if bare := _BARE.match(self.text, self.at):
                self._add(bare.group(), len(bare.group()))
            case _:
                self.plain &= char not in "#!*?[]{}~" and char.isprintable()
                self._open |= char in "*?[{~"
                self._add(char, 1)

    def _add(self, text: str, length: int) -> None:
        self._word = (self._word or "") + text
        self.at += length

    def _quoted(self, end: int) -> None:
        self.plain &= end >= 0
        text = self.text[self.at + 1 : end if end >= 0 else len(self.text)]
        self.plain &= text.isprintable()
        self._add(text, len(text) + 2)

    def _double(self) -> None:
        closing = re.compile(r'(?:[^"\\]|\\.)*', re.DOTALL).match(self.text, self.at + 1)
        end = closing.end() if closing else self.at + 1
        inside = self.text[self.at + 1 : end]
        self.plain &= (
            self.text[end : end + 1] == '"' and not re.search(r"[$`\\!]", inside) and inside.isprintable()
        )
        self._open |= "$" in inside or "`" in inside
        self._add(re.sub(r'\\([$`"\\])', r"\1", inside), len(inside) + 2)

    def _expansion(self) -> None:
        """Skip a substitution; what is inside is read on its own, by `may_run`."""
        self.plain, self._open = False, True
        rest = self.text[self.at :]
        if rest.startswith("$("):
            length = _balanced(rest)
        elif rest.startswith(("${", "`")):
            length = rest.find("}" if rest[0] == "$" else "`", 1) + 1 or len(rest)
        else:
            length = 1
        self._add("", length)

    def _redirection(self) -> None:
        self.plain = False
        if self._word is not None and self._word.isdigit():
            self._word = None  # the number of a file descriptor
        self._end_word()
        begun = self.at
        while self.text[self.at : self.at + 1] in ("<", ">", "&", "|"):
            self.at += 1
        self._target = self.text[begun : self.at]

    def _end_word(self) -> None:
        if self._word is not None:
            if not self._target:
                self.commands[-1].append(Word(text=self._word, open=self._open))
            elif self._target == "<<<":
                self.said.append(self._word)
            self._target = ""
        self._word, self._open = None, False

    def _end_command(self) -> None:
        self._end_word()
        self.plain, self._target = False, ""
        self.commands.append([])
        self.at += 1


def _balanced(text: str) -> int:
    """The length up to the parenthesis that closes the first one."""
    depth = 0
    for position, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == ")" and depth == 0:
            return position + 1
    return len(text)


@lru_cache(maxsize=4)  # one line is asked about by every rule; few, as a hostile one weighs a megabyte
def _plain(line: str) -> list[str] | None:
    read = _Line(text=line).read()
    words = [word.text for word in read.commands[0]]
    return words if read.plain and words else None


def plain_words(line: str) -> list[str] | None:
    """The words of a line that is one plain command: no expansion, no redirection, no second command; None for all others."""
    return None if len(line) > LINE_MAX else _plain(line)


def may_run(line: str, wanted: list[str]) -> bool:
    """Whether the line might run a command that begins with these words, options between them or not.

    Options among the wanted words may stand anywhere behind the command, short ones in any order and apart.
    """
    runs = None if len(line) > LINE_MAX else _runs(line)
    return runs is None or any(_begins(words, starts, wanted) for words, starts in runs)


_Run = tuple[list[Word], int]
"""Words that may be run, and how many of the first of them may begin the command."""


@lru_cache(maxsize=4)
def _runs(line: str) -> list[_Run] | None:
    """All that a line may run; None where it cannot be told: too much to read, or a shell that is handed a script."""
    runs, todo, left = list[_Run](), [(line, 0)], _READ_MAX
    while todo:
        text, depth = todo.pop()
        text = _ESCAPED.sub(_joined, text)
        for start in (0, *(match.end() for match in _NESTED.finditer(text))):
            left -= len(text) - start
            if left < 0 or depth > _DEPTH_MAX:
                return None
            read = _Line(text=text[start:]).read()
            todo += [(said, depth + 1) for said in read.said]
            for words in map(_without_assignments, read.commands):
                if not words or _name(words[0].text) not in _WRAPPERS:
                    runs.append((words, 1))
                    continue
                if "<<" not in text and (_reads_script(words) or _reads_script(words[1:])):
                    return None
                todo += [(script, depth + 1) for word in words[1:] for script in _scripts(word.text)]
                appends = any(_name(word.text) in _APPENDERS for word in words)
                runs.append(([*words, Word(text="", open=True)] if appends else words, len(words)))
    return runs


def _joined(escaped: re.Match[str]) -> str:
    return "" if escaped.group() == "\\\n" else escaped.group()


def _without_assignments(words: list[Word]) -> list[Word]:
    first = next((place for place, word in enumerate(words) if not _ASSIGNMENT.match(word.text)), len(words))
    return words[first:]


def _reads_script(words: list[Word]) -> bool:
    """Whether they are a shell that reads what it is to run from its input."""
    if not words or _name(words[0].text) not in _SHELLS:
        return False
    options = [word.text for word in words[1:] if word.text.startswith("-")]
    return len(options) == len(words) - 1 or "-s" in options


def _scripts(text: str) -> list[str]:
    """The lines that a word behind a wrapper may be."""
    if not re.search(r"\s", text):
        return []
    glued = _GLUED.match(text)
    return [text, text[glued.end() :]] if glued else [text]


def _begins(words: list[Word], starts: int, wanted: list[str]) -> bool:
    """Whether the words may begin with the wanted ones. All places in the words that may have been reached are kept."""
    places = set(range(starts))
    for number, want in enumerate(wanted):
        places = _past_options(words, places) if number else places
        here = {place for place in places if place < len(words)}
        if any(words[place].open for place in here):
            return True
        if number and want.startswith("-"):
            places = here if _has_option(words[min(here, default=0) :], want.casefold()) else set[int]()
        else:
            same = _name if number == 0 else str.casefold
            places = {place + 1 for place in here if same(words[place].text) == same(want)}
    return bool(places)


def _has_option(words: list[Word], want: str) -> bool:
    texts = [word.text.casefold() for word in words]
    letters = {letter for text in texts if _SHORT.fullmatch(text) for letter in text}
    return any(text == want or text.startswith(f"{want}=") for text in texts) or (
        _SHORT.fullmatch(want) is not None and set(want) <= letters
    )


def _past_options(words: list[Word], places: set[int]) -> set[int]:
    """The places and those behind options that stand there, each with or without a value of its own."""
    reached, todo = set(places), list(places)
    while todo:
        place = todo.pop()
        if place < len(words) and words[place].text.startswith("-"):
            more = {place + 1, place + 2} - reached
            reached |= more
            todo += more
    return reached


def _name(text: str) -> str:
    """A command's name as a file system that ignores case would find it, without its directory."""
    return text.rpartition("/")[2].casefold().removesuffix(".exe")
