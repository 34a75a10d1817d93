"""Command lines read to the safe side, and where it can be had against what a real shell makes of them."""

import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeloop.shell import LINE_MAX, may_run, plain_words

SHELL = shutil.which("sh")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("git status", ["git", "status"]),
        ("  git \t status  ", ["git", "status"]),
        ("git commit -m 'a; b $x'", ["git", "commit", "-m", "a; b $x"]),
        ('git commit -m "it\'s; fine"', ["git", "commit", "-m", "it's; fine"]),
        ("g'i't", ["git"]),
        ("a '' \"\"", ["a", "", ""]),
        ("FOO=1 git push", ["FOO=1", "git", "push"]),
        ("git\u00a0push", None),
        ("gіt push", ["gіt", "push"]),  # noqa: RUF001 (a Cyrillic letter: another command)
    ],
)
def test_plain_words(line: str, words: list[str] | None) -> None:
    """One command, its quotes taken off."""
    assert plain_words(line) == words


@pytest.mark.parametrize(
    "line",
    [
        "", "   ", "''x'", "git status; rm -rf /", "git status & rm x", "git status && rm x", "git status | sh",
        "git status\nrm -rf /", "git status\rrm -rf /", "git $(rm x)", "git `rm x`", "git ${x}", "git $x", "git > x",
        "git < x", "git <(rm x)", "git (x)", "git {a,b}", "git *.py", "git ?", "git [a]", "git ~", "git #x", "git !x",
        "git \\\nx", "git a\\ b", "git 'x", 'git "x', "git \"$x\"", 'git "`x`"', 'git "\\x"', 'git "!x"', "git \x00",
        "git \x1b[2J", "git \u202e", "git '\n'", "git \"\n\"", "echo \"'\" ; rm -rf / \"'\"", "echo '\"' ; rm '\"'",
        "a" * (LINE_MAX + 1),
    ],
)  # fmt: skip
def test_not_plain(line: str) -> None:
    """Anything a shell would do more with than run one command with these words."""
    assert plain_words(line) is None


def nested(line: str, depth: int) -> str:
    """A line inside `sh -c` inside `sh -c` ..."""
    return line if depth == 0 else f"sh -c {shlex.quote(nested(line, depth - 1))}"


PUSH = [
    "git push", "git  push", "git push --force", "/usr/bin/git push", "GIT push", "git.exe push", "sudo git push",
    "sudo -u x git push", "FOO=1 git push", "FOO=$x BAR+=2 git push", "env -i A=b git push", "cd x; git push",
    "cd x && git push", "true | git push", "git status\ngit push", "(git push)", "{ git push; }", "! git push",
    "if git push; then x; fi", "while true; do git push; done", "echo $(git push)", "echo `git push`", 'echo "$(git push)"',
    "cat <(git push)", "git -C dir push", "git --git-dir=x -c a=b push", "git -c a=b --no-pager push", "g'i't push",
    "g\\it push", '"git" "push"', "git \\\n push", "git push>x", ">x git push", "2>/dev/null git push", ">|x git push",
    "2>&1 git push", "<<<x git push", "sh -c 'git push'", 'bash -lc "cd x; git push"', "eval 'git push'",
    "sh -c 'sh -c \"git push\"'", "ssh host 'git push'", "xargs git push", "find . -exec git push {} +", "timeout 5 git push",
    "nice -n 5 git push", "exec git push", "time git push", "$g push", "${x} push", "git $x", "$x", "`echo git` push",
    "$(echo git) push", "g?t push", "g*", "{git,push}", "~/git push", "git 'push", 'git "push', "git pus'h", "x; git push #",
    "echo git push | sh", "printf 'git push' | bash -x", "bash -s x < y", "curl x | sudo sh", "sh <<< 'git push'", "sh", "sh -",
    "sh <<EOF\ngit push\nEOF", "echo push | xargs git", "ls | sudo xargs -0 git", "flock f git push", "trap 'git push' EXIT",
    "env '-Sgit push'", "su -c'git push'", "su --command='git push'", "alias g='git push'; g", "function f { git push; }; f",
    "systemd-run git push", "csh -c 'git push'", "pkexec git push", "setsid nohup git push &", "a &&\ngit push",
    "echo \\\\\ngit push", "echo '\\'\\\\\ngit push", "gi\\\nt push", 'echo "$\\\n(git push)"', "sh -c 'gi\\\nt push'",
    "git \\\\\\\npush; git push",
    "\tgit\tpush\t", "a $(b $(git push))", "echo $(git push", "a" * (LINE_MAX + 1), "`" * 40, nested("git status", 5),
]  # fmt: skip


@pytest.mark.parametrize("line", PUSH)
def test_may_run(line: str) -> None:
    """Where a push might be hidden it is found, or not ruled out."""
    assert may_run(line, ["git", "push"])


@pytest.mark.parametrize(
    "line",
    [
        "", "git", "push", "git status", "git stash push", "git pushy", "gitx push", "echo git push", "git commit -m 'git push'",
        "grep 'git push' file", "echo git; echo push", "ls | grep push", "git log > push", "npm run push", "echo $HOME",
        "rm -rf $x", "ls *.py", "cat git/push", "echo bash", "which zsh", "command -v bash", "ls | xargs wc -l", "bash build.sh",
        "bash <<EOF\ngit status\nEOF", "cat > f <<'EOF'\nhello\nEOF", "sh -c 'git status'", "FOO=1", "echo xargs",
        "<<<'git status' cat",
    ],
)  # fmt: skip
def test_may_not_run(line: str) -> None:
    """What merely speaks of it is let be: a rule that cries wolf is turned off."""
    assert not may_run(line, ["git", "push"])


@pytest.mark.parametrize(
    ("wanted", "yes", "no"),
    [
        ("rm -rf", ["rm -rf /", "rm -fr /", "rm -r -f /", "rm -f x -r", "rm / -rf", "rm -Rf /", "rm -rfv /", "sudo rm -f -r /"],
         ["rm -r /", "rm -f /", "rm x", "echo -rf rm", "rm --rf"]),
        ("git push --force", ["git push --force", "git push origin x --force", "git -C d push o --force", "git push --force=x"],
         ["git push", "git push --force-with-lease", "git --force", "git stash push --force"]),
        ("git push -f", ["git push -f", "git push o x -f", "git push -uf o"], ["git push -u o", "git push --f"]),
        ("find -delete", ["find . -name x -delete"], ["find . -type l -name d -size t"]),
        ("rm -rf /", ["rm -rf /", "rm -r -f /", "rm / -rf"], ["rm -rf x", "rm x -rf"]),
    ],
)  # fmt: skip
def test_options_may_stand_anywhere(wanted: str, yes: list[str], no: list[str]) -> None:
    """Most commands take their options in any order, short ones in one word or many."""
    for line in yes:
        assert may_run(line, wanted.split()), line
    for line in no:
        assert not may_run(line, wanted.split()), line


@pytest.mark.parametrize(
    "line",
    [
        "sudo " + "git -a " * 2_800,
        "sudo " + "git " * 4_900,
        "$(" * 9_000,
        "sh -c '" + '$(sh -c "' * 900 + "'",
        "sudo 'a b' " * 1_800,
        "$(" * 15 + "sudo 'a `b' " * 1_500,
    ],
)
def test_no_line_takes_long(line: str) -> None:
    """Reading is bounded, and shared by all rules: a line made for it took seconds for each of them."""
    begun = time.process_time()
    for rule in range(50):
        may_run(line, ["git", f"push{rule}"])
    assert time.process_time() - begun < 5


ODD = st.text("ab '\"\\$`;&|<>(){}*?~#!\n\t=", max_size=12)


def is_cut(line: str) -> bool:
    """Whether a quote stays open: a shell runs nothing of it."""
    try:
        shlex.split(line)
    except ValueError:
        return True
    return False


@given(ODD)
@example("'\"'\"")
def test_no_line_raises(line: str) -> None:
    """Both questions have an answer for every line."""
    plain_words(line)
    may_run(line, ["a", "b"])
    assert may_run(f"{line}\na b", ["a", "b"]) or "\\" in line or is_cut(line)


def run(script: str, directory: Path) -> str:
    """What `sh` prints."""
    assert SHELL is not None
    ran = subprocess.run([SHELL, "-c", script], capture_output=True, cwd=directory, timeout=10, check=False)
    return ran.stdout.decode("utf-8", "replace")


needs_sh = pytest.mark.skipif(SHELL is None, reason="no shell here")


@needs_sh
@settings(max_examples=150)
@given(line=ODD)
def test_a_plain_line_is_what_the_shell_makes_of_it(
    line: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Where we say that these are the words, `sh` passes on just these."""
    words = plain_words(f"x {line}")
    if words is not None:
        script = f"x() {{ printf '%s\\0' x \"$@\"; }}\nx {line}"
        assert run(script, tmp_path_factory.mktemp("x")).split("\0")[:-1] == words


PIECES = st.lists(
    st.sampled_from(
        [
            "a",
            "b",
            "a b",
            " ",
            "'",
            '"',
            "\\",
            "$(",
            ")",
            "`",
            ";",
            "|",
            "&",
            "(",
            "{ ",
            ";}",
            "\n",
            ">c",
            "<",
            "=",
            "eval ",
            "trap ",
            " EXIT",
        ]
    ),
    max_size=8,
).map("".join)


@needs_sh
@settings(max_examples=300)
@given(line=PIECES)
@example(line="a\\\\\na b")
def test_what_the_shell_runs_is_never_ruled_out(line: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """If `sh` really runs `a b`, we said that it might."""
    script = f'a() {{ [ "$1" != b ] || echo ran >&3; }}\nexec 3>&1\n{line}'
    if "ran" in run(script, tmp_path_factory.mktemp("x")):
        assert may_run(line, ["a", "b"])
