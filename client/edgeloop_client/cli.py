"""The `edgeloop` command: arguments in, exit codes out.

0    the turn was done
1    it failed, was refused, or ended otherwise
2    wrong usage
3    no connection, no access
130  stopped or left with Ctrl-C
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeloop_client.errors import ClientError, ToolError

if TYPE_CHECKING:
    from edgeloop_client.endpoint import Endpoint

app = typer.Typer(
    help="Give an agent at the edge a task; it works on the files of a directory here.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DEFAULT_URL = "http://127.0.0.1:8787"
_FORWARD = {"ignore_unknown_options": True, "allow_extra_args": True}

Url = Annotated[
    str, typer.Option(envvar="EDGELOOP_URL", help="The Edgeloop to use; its token is EDGELOOP_TOKEN.")
]
Agent = Annotated[str, typer.Argument(help="The agent's id.")]
Directory = Annotated[
    Path | None,
    typer.Option("--dir", help="Directory that local tools may see.", exists=True, file_okay=False),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object on standard output, the rest on standard error. bytes_up and bytes_down are WebSocket"
        " frames with their headers, as they are before TLS; handshakes and pings are not counted.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Allow every command without asking.")]
Rules = Annotated[Path | None, typer.Option(help="A file of rules (JSON, docs/design/autonomy.md).")]


@app.command()
def run(
    task: Annotated[str, typer.Argument(help="What to do, in words.")],
    directory: Directory = None,
    url: Url = DEFAULT_URL,
    agent: Annotated[str | None, typer.Option(help="An agent to go on with; a new one without.")] = None,
    model: Annotated[str | None, typer.Option(help="The model to use from now on.")] = None,
    as_json: AsJson = False,
    yes: Yes = False,
    mode: Annotated[
        str | None, typer.Option(help="What it may do without asking, from now on: plan, ask, edit or auto.")
    ] = None,
    rules: Rules = None,
) -> None:
    """Give an agent a task and follow it. Ctrl-C stops it; a second Ctrl-C leaves it running.

    --mode and --rules replace what the session had. What they allow is your word: this client does not ask about it again.
    """
    from edgeloop_client import working
    from edgeloop_client.rules import autonomy

    options = working.Options(
        url=url,
        token=_token(),
        agent=agent or working.new_agent_id(),
        directory=directory or Path(),
        as_json=as_json,
        always_yes=yes,
    )
    with _input():
        allowed = autonomy(mode, rules)
    raise typer.Exit(asyncio.run(working.run(options, task, model=model, autonomy=allowed)))


@app.command()
def attach(
    agent: Agent,
    directory: Directory = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
    yes: Yes = False,
) -> None:
    """Follow an agent's turn, or see its last one. With --dir this client runs its local tools, without it only watches."""
    from edgeloop_client import working

    options = working.Options(
        url=url, token=_token(), agent=agent, directory=directory, as_json=as_json, always_yes=yes
    )
    raise typer.Exit(asyncio.run(working.attach(options)))


@app.command()
def state(agent: Agent, url: Url = DEFAULT_URL) -> None:
    """Print an agent's state as JSON."""
    _print(_http("GET", url, agent, "/state"))


@app.command()
def stop(agent: Agent, url: Url = DEFAULT_URL) -> None:
    """Stop an agent's turn."""
    _print(_http("POST", url, agent, "/stop"))


@app.command()
def delete(agent: Agent, url: Url = DEFAULT_URL) -> None:
    """Delete an agent with its whole log."""
    _print(_http("DELETE", url, agent, ""))


@app.command()
def token(
    agent: Annotated[str, typer.Argument(help="The agent's id; with a * behind it, all that begin so.")],
    scope: Annotated[str, typer.Option(help="read, write or admin (docs/design/access.md).")] = "write",
    ttl: Annotated[str, typer.Option(help="How long it holds: 90s, 30m, 1h, 7d.")] = "1h",
    name: Annotated[str, typer.Option("--id", help="A word that tells this token from others.")] = "",
) -> None:
    """Make a token for an agent, signed with EDGELOOP_SIGNING_KEY. It goes where EDGELOOP_TOKEN goes."""
    from edgeloop_client.tokens import signed

    try:
        print(signed(agent, scope=scope, ttl=ttl, name=name, key=os.environ.get("EDGELOOP_SIGNING_KEY", "")))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@app.command()
def fork(
    agent: Agent,
    new: Annotated[str, typer.Argument(help="The id of the agent to make.")],
    at: Annotated[int | None, typer.Option(help="The last event it has; without it, all.")] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Make a new agent out of an agent's past. A fork at a person's message answers that message anew."""
    _print(_http("POST", url, agent, "/fork", json={"to": new} | ({} if at is None else {"at": at})))


events_app = typer.Typer(help="Move a session between edges as a file.", no_args_is_help=True)
app.add_typer(events_app, name="events")


@events_app.command("export")
def events_export(
    agent: Agent,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The file; without it, standard output.")
    ] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Write an agent's session to a file: its log and its notes."""
    from edgeloop_client import transfer

    with _files():
        if out is None:
            transfer.export(_endpoint(url, agent), sys.stdout.buffer)
        else:
            transfer.export_to(_endpoint(url, agent), out)


@events_app.command("import")
def events_import(
    agent: Agent,
    file: Annotated[Path, typer.Argument(help="A file of `events export`.", dir_okay=False)],
    url: Url = DEFAULT_URL,
) -> None:
    """Give a session from a file to an agent that has none. It goes on under a log of its own; what was under way is stopped."""
    from edgeloop_client import transfer

    with _files():
        _print(transfer.import_from(_endpoint(url, agent), file).model_dump(exclude={"done"}))


@app.command()
def decode(
    dialect: Annotated[str, typer.Option(help="The API it was recorded from.")],
    file: Annotated[str, typer.Argument(help="A recorded stream; - is standard input.")] = "-",
) -> None:
    """Decode a recorded model stream into operations, one JSON object a line; how it ended is the last of them.

    Exits 1 if nothing in it is of that dialect.
    """
    from edgeloop_client.decode import DIALECTS, decode_file

    if dialect not in DIALECTS:
        raise typer.BadParameter(f"{dialect!r} is none of {', '.join(DIALECTS)}", param_hint="--dialect")
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(encoding="utf-8")  # JSON is, whatever the terminal
    try:
        understood = decode_file(file, dialect, sys.stdout)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE") from error
    if not understood:
        _die(f"nothing in {file} is of the dialect {dialect}", f"is it another of {', '.join(DIALECTS)}?", 1)


rules_app = typer.Typer(help="See what rules say to a call, without an edge.", no_args_is_help=True)
app.add_typer(rules_app, name="rules")


@rules_app.command("check")
def rules_check(file: Annotated[Path, typer.Argument(help="A file of rules.")]) -> None:
    """Check a file of rules: 0, or 2 and what is wrong with which rule."""
    from edgeloop_client import rules

    with _input():
        print(rules.check(file))


@rules_app.command("test")
def rules_test(
    tool: Annotated[str, typer.Argument(help="The tool's name.")],
    arguments: Annotated[str, typer.Argument(help="Its arguments, a JSON object.")],
    file: Annotated[
        Path | None, typer.Option("--rules", help="A file of rules; without it the mode decides.")
    ] = None,
    mode: Annotated[str, typer.Option(help="plan, ask, edit or auto.")] = "ask",
    tool_spec: Annotated[
        Path | None,
        typer.Option(help="Declarations (JSON) of tools that are neither the edge's nor the client's."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show what a call would get, and by what. Exits 0 for allow, 10 for ask, 11 for deny, 2 for bad input."""
    from edgeloop_client import rules

    with _input():
        found = rules.test(rules=file, mode=mode, tool=tool, arguments=arguments, tool_spec=tool_spec)
    print(json.dumps(found) if as_json else rules.told(found))
    raise typer.Exit(rules.EXIT_CODES[found["verdict"]])


@app.command(context_settings=_FORWARD, add_help_option=False)
def model(context: typer.Context) -> None:
    """The embedded model server: `edgeloop model serve`."""
    # Not registered as a sub-app: importing a server would make every other command start later.
    from edgeloop_client.model.cli import app as model_app

    typer.main.get_command(model_app)(args=context.args, prog_name="edgeloop model")


def main() -> None:
    """Run the command line."""
    try:
        app()
    except ClientError as error:
        _die(str(error), error.next_step, error.exit_code)
    except ToolError as error:
        _die(str(error), "", 2)
    except BrokenPipeError:
        # The reader of our output went away; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


@contextlib.contextmanager
def _input() -> Generator[None]:
    """What a person gave is wrong: exit 2."""
    from edgeloop_client.rules import BadInput

    try:
        yield
    except BadInput as error:
        _die(str(error), "", 2)


@contextlib.contextmanager
def _files() -> Generator[None]:
    """A file that cannot be read or written: exit 2."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        _die(f"{error.filename}: {error.strerror}", "", 2)


def _die(message: str, next_step: str, code: int) -> None:
    from edgeloop_client.terminal import visible

    print(f"edgeloop: {visible(message)}" + (f": {next_step}" if next_step else ""), file=sys.stderr)
    sys.exit(code)


def _token() -> str:
    return os.environ.get("EDGELOOP_TOKEN", "")


def _http(method: str, url: str, agent: str, path: str, **options: Any) -> Any:
    from edgeloop_client.asking import Asking

    with Asking(_endpoint(url, agent)) as door:
        return door.ask(method, path, **options).json()


def _endpoint(url: str, agent: str) -> "Endpoint":
    from edgeloop_client.endpoint import Endpoint

    return Endpoint(url=url, agent=agent, token=_token())


def _print(value: Any) -> None:
    print(json.dumps(value, indent=2))
