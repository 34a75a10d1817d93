"""What a person sees: text as it streams, calls and their states, notices, the final table; and the questions they are asked.

Everything shown may come from a model or a file, so control characters are made visible: none may move the cursor, or hide the
end of a command that is about to be allowed.
"""

import asyncio
import os
import sys
import termios
from typing import IO, Any

from rich.console import Console
from rich.text import Text

from edgeloop.events import (
    ApprovalDecided,
    Recorded,
    RetryScheduled,
    StepFailed,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    UserMessageReceived,
)
from edgeloop_client.errors import ToolDenied
from edgeloop_client.runner import Answer
from edgeloop_client.view import CallSeen, Change, Fresh, View

UNATTENDED = (
    "Nobody is at the terminal to allow this, so it was not run. (`edgeloop run --rules FILE` allows what you choose,"
    " `--yes` everything.)"
)
MAX_ARGUMENTS = 100
_MARKS = {"ok": ("✓", "green"), "denied": ("⊘", "yellow"), "cancelled": ("⊘", "yellow")}
_ANSWERS: dict[str, Answer] = {"y": "once", "yes": "once", "a": "session", "always": "session"}
_BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def visible(text: str) -> str:
    """The text with control characters, but for line ends and tabs, made visible."""
    return "".join(_shown(char) for char in text)


def _shown(char: str) -> str:
    code = ord(char)
    if (
        char in "\n\t"
        or (code >= 0xA0 and char not in _BIDI and not 0xD800 <= code < 0xE000)
        or 0x20 <= code < 0x7F
    ):
        return char
    return "" if char == "\r" else f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def one_line(text: str, limit: int = MAX_ARGUMENTS) -> str:
    """The text in one line of at most so many characters."""
    text = visible(" ".join(text.split()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


class Screen:
    """Writes to one stream; plain where that is no terminal."""

    def __init__(self, stream: IO[str]) -> None:
        self.console = Console(file=stream, highlight=False, soft_wrap=True, emoji=False)
        self._in_line = False
        self._block: tuple[int, int, int] | None = None

    def show(self, change: Change, view: View) -> None:
        """Show one change, if a person should see it."""
        match change:
            case Fresh():
                self._text(change)
            case Recorded():
                self._event(change, view)
            case _:
                pass

    def history(self, view: View, *, runs_tools: bool) -> None:
        """Show what was asked and said last."""
        if view.messages:
            self._line(f"> {list(view.messages.values())[-1]}", "bold")
        self.text(view.answer)
        if not runs_tools and any(
            call.state == "waiting" and not call.is_asked for call in view.current_calls
        ):
            self._line("a call waits for a client with local tools: attach with --dir", "yellow")

    def notice(self, text: str, style: str = "dim") -> None:
        """A line of our own."""
        self._line(text, style)

    def table(self, rows: list[tuple[str, str]]) -> None:
        """The final table."""
        self._break()
        self.console.print()
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            # Not rich's table: it fills every line with blanks, which a transcript would keep.
            self.console.print(Text.assemble((f"{name:<{width}}  ", "dim"), visible(value)))

    def text(self, text: str, style: str | None = None) -> None:
        """Text as it comes, without a line end of its own."""
        shown = visible(text)
        if shown:
            self.console.print(shown, end="", markup=False, style=style)
            self.console.file.flush()
            self._in_line = not shown.endswith("\n")

    def _text(self, fresh: Fresh) -> None:
        block = (fresh.step, fresh.attempt, fresh.block)
        if self._block != block:
            self._break()
        self._block = block
        self.text(fresh.text, "dim italic" if fresh.kind == "reasoning" else None)

    def _event(self, recorded: Recorded, view: View) -> None:
        match recorded.event:
            case UserMessageReceived() as event:
                self._line(f"> {event.text}", "bold")
            case ApprovalDecided() as event:
                call = view.calls[event.call]
                verb = "allowed" if event.allowed else "refused"
                self._line(f"  {call.name} {one_line(call.arguments)}  {verb} by {event.by}", "dim")
            case ToolStarted() as event:
                call = view.calls[event.call]
                self._line(f"→ {call.name} {one_line(call.arguments)}  running", "cyan")
            case ToolFinished() as event:
                self._finished(view.calls[event.call])
            case StepFailed() as event:
                self._line(
                    f"! the model call failed: {event.error.cls}: {one_line(event.error.message, 300)}", "red"
                )
            case RetryScheduled() as event:
                seconds = max(0, event.due - recorded.at) / 1000
                self._line(f"  next attempt in {seconds:.1f} s", "dim")
            case TurnFinished() as event if event.reason != "done":
                self._line(f"■ the turn ended: {event.reason} {one_line(event.detail, 500)}", "yellow")
            case TurnFinished():
                self._break()
            case _:
                pass

    def _finished(self, call: CallSeen) -> None:
        mark, style = _MARKS.get(call.state, ("✗", "red"))
        why = "" if call.state == "ok" else f"  {one_line(call.content, 200)}"
        self._line(f"{mark} {call.name} {one_line(call.arguments)}  {call.state} {call.ms} ms{why}", style)

    def _line(self, text: str, style: str) -> None:
        self._break()
        self.console.print(visible(text), style=style, markup=False)

    def _break(self) -> None:
        if self._in_line:
            self.console.print()
        self._in_line = False


class Asker:
    """Asks at the terminal, one question at a time; `always` answers yes to all."""

    def __init__(self, screen: Screen, *, always: bool) -> None:
        self._screen = screen
        self._always = always
        self._one = asyncio.Lock()

    async def answer(self, name: str, question: str) -> Answer:
        """Give the person's answer.

        Raises:
            ToolDenied: nobody is there to answer.
        """
        if self._always:
            return "once"
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ToolDenied(UNATTENDED)
        async with self._one:
            self._screen.notice(f"{name} wants to run:", "bold yellow")
            self._screen.notice(question, "bold")
            self._screen.text("allow? [y]es, [a]lways in this session, [N]o: ", "bold yellow")
            answer = await _line(sys.stdin.fileno())
            return _ANSWERS.get(answer.strip().lower(), "no")


async def _line(descriptor: int) -> str:
    """A line from the terminal, without a thread: a question must end when its call is cancelled."""
    # What was typed before the question was asked is no answer to it.
    termios.tcflush(descriptor, termios.TCIFLUSH)
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def read() -> None:
        if not answer.done():
            answer.set_result(os.read(descriptor, 1024).decode("utf-8", "replace"))

    loop.add_reader(descriptor, read)
    try:
        return await answer
    finally:
        loop.remove_reader(descriptor)


def summary(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The rows of the final table, from what `--json` prints."""
    usage, timings = report["usage"], report["timings"]
    share = usage["cached_share"]
    tokens = f"{_number(usage['input'])} in ({_number(usage['cache_read'])} cached), {_number(usage['output'])} out"
    return [
        ("steps", str(len(timings["steps"]))),
        ("tool calls", _calls(report["tool_calls"])),
        ("tokens", tokens),
        ("cached share", "-" if share is None else f"{share:.0%}"),
        *([] if usage["cost_usd"] is None else [("cost", f"${usage['cost_usd']:.4f}")]),
        ("time to first token", _ms(timings["ttft_ms"])),
        ("output", f"{_number(timings['output_tokens_per_s'])} tokens/s"),
        ("wall", _ms(timings["wall_ms"])),
        ("bytes", f"{report['bytes_up']:,} up, {report['bytes_down']:,} down"),
        ("agent", report["agent"]),
    ]


def _calls(calls: list[dict[str, Any]]) -> str:
    bad = sum(call["outcome"] != "ok" for call in calls)
    return f"{len(calls)}" + (f" ({bad} not ok)" if bad else "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,}"


def _ms(value: int | None) -> str:
    return "-" if value is None else f"{value} ms" if value < 10_000 else f"{value / 1000:.1f} s"
