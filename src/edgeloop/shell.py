"""A command line as a POSIX shell would cut it, as far as judging it needs: two questions, each answered to its safe side.

`plain_words`: what surely are the words of one plain command. `may_run`: whether a command might be run somewhere in the line.
A line can hide what it does from any reader (a script's name, a decoded string): `may_run` guards against accidents and plain
tricks, it is no prison. Knows no rules.
"""

import re
from dataclasses import dataclass, field

LINE_MAX = 20_000
_NESTED_MAX = 16
_DEPTH_MAX = 3

_WRAPPERS = frozenset(
    "! . { builtin busybox chroot command coproc do doas elif else env eval exec find if ionice nice nohup parallel runuser "
    "script setsid sudo source ssh stdbuf strace su then time timeout unbuffer until watch while xargs "
    "sh bash dash fish ksh zsh".split()
)
"""Words after which another command may begin."""
_ASSIGNMENT = re.compile(r"\w+\+?=")
_NESTED = re.compile(r"\$\(|`|[<>]\(")


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
    _word: str | None = None
    _open: bool = False
    _target: bool = False
    """Whether the next word is where a redirection goes."""

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
        while self.text[self.at : self.at + 1] in ("<", ">", "&", "|"):
            self.at += 1
        self._target = True

    def _end_word(self) -> None:
        if self._word is not None:
            if not self._target:
                self.commands[-1].append(Word(text=self._word, open=self._open))
            self._target = False
        self._word, self._open = None, False

    def _end_command(self) -> None:
        self._end_word()
        self.plain, self._target = False, False
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


def plain_words(line: str) -> list[str] | None:
    """The words of a line that is one plain command: no expansion, no redirection, no second command; None for all others."""
    if len(line) > LINE_MAX:
        return None
    read = _Line(text=line).read()
    words = [word.text for word in read.commands[0]]
    return words if read.plain and words else None


def may_run(line: str, wanted: list[str]) -> bool:
    """Whether the line might run a command that begins with these words, options between them or not."""
    return len(line) > LINE_MAX or _may_run(line.replace("\\\n", ""), wanted, 0)


def _may_run(line: str, wanted: list[str], depth: int) -> bool:
    nested = [match.end() for match in _NESTED.finditer(line)]
    if depth > _DEPTH_MAX or len(nested) > _NESTED_MAX:
        return True
    lines = [line, *(line[start:] for start in nested)]
    commands = [words for one in lines for words in _Line(text=one).read().commands]
    return any(_command_may_run(words, wanted, depth) for words in commands)


def _command_may_run(words: list[Word], wanted: list[str], depth: int) -> bool:
    while words and _ASSIGNMENT.match(words[0].text):
        words = words[1:]
    if _begins(words, wanted):
        return True
    if not words or _name(words[0].text) not in _WRAPPERS:
        return False
    return any(_begins(words[start:], wanted) for start in range(1, len(words))) or any(
        _may_run(word.text, wanted, depth + 1) for word in words[1:] if re.search(r"\s", word.text)
    )


def _begins(words: list[Word], wanted: list[str]) -> bool:
    """Whether the words may begin with the wanted ones. All places in the words that may have been reached are kept."""
    places = {0}
    for number, want in enumerate(wanted):
        places = _past_options(words, places) if number else places
        here = {place for place in places if place < len(words)}
        if any(words[place].open for place in here):
            return True
        same = _name if number == 0 else str.casefold
        places = {place + 1 for place in here if same(words[place].text) == same(want)}
    return bool(places)


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
