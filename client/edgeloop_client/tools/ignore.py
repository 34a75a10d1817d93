"""What a walk leaves out: `.git`, and what the `.gitignore` files in the tree say.

The nearest file that has an opinion decides, as git does. Files outside the walked tree have no say.
"""

import os
import re
from dataclasses import dataclass

from pathspec import GitIgnoreSpec

from edgeloop_client.errors import ToolError
from edgeloop_client.tools.root import open_regular

ALWAYS = frozenset({".git"})
MAX_IGNORE_FILE = 128 * 1024
MAX_WILDCARDS = 3
_WILDCARD = re.compile(r"\*+")


@dataclass(frozen=True, kw_only=True)
class Ignore:
    """The rules that hold in one directory: pairs of (the directory a file of rules lies in, its rules), nearest first."""

    rules: tuple[tuple[str, GitIgnoreSpec], ...] = ()

    def within(self, descriptor: int, path: str) -> "Ignore":
        """The rules inside a directory: these and its own `.gitignore`. `path` is "" or ends with "/"."""
        own = _read(descriptor, path)
        return self if own is None else Ignore(rules=((path, own), *self.rules))

    def ignores(self, path: str, name: str, *, directory: bool) -> bool:
        """Whether a walk leaves out this path (seen from the root, no slash at the end)."""
        if name in ALWAYS:
            return True
        shown = path + "/" if directory else path
        for base, spec in self.rules:
            verdict = spec.check_file(shown[len(base) :]).include
            if verdict is not None:
                return verdict
        return False


def parse_rule(rule: str) -> GitIgnoreSpec:
    """One line of a `.gitignore`.

    Raises:
        ValueError: no rule, or one with so many wildcards that trying them all could take minutes: `re` holds every thread
            meanwhile.
    """
    if len(_WILDCARD.findall(rule)) > MAX_WILDCARDS:
        raise ValueError(f"expected at most {MAX_WILDCARDS} wildcards")
    try:
        return GitIgnoreSpec.from_lines([rule])
    except re.error as error:
        raise ValueError(str(error)) from error


def _read(descriptor: int, path: str) -> GitIgnoreSpec | None:
    try:
        file = open_regular(".gitignore", descriptor, shown=f"{path}.gitignore")
    except ToolError:
        return None
    try:
        lines = os.read(file, MAX_IGNORE_FILE).decode("utf-8", "replace").splitlines()
    except OSError:
        return None  # rules that cannot be read ignore nothing
    finally:
        os.close(file)
    return GitIgnoreSpec.from_lines(line for line in lines if _is_rule(line))


def _is_rule(line: str) -> bool:
    """Whether a line can be used: git passes over a bad one alone, too."""
    try:
        parse_rule(line)
    except ValueError:
        return False
    return True
