"""`edgeloop model serve`."""

import asyncio
import json
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from edgeloop_client.model.errors import Refused
from edgeloop_client.model.options import OptionError, Options, make_options, parse_options
from edgeloop_client.model.scenarios import DEFAULT, SCENARIOS
from edgeloop_client.model.server import ModelServer, Settings, understand, warm_up

app = typer.Typer(no_args_is_help=True, help="The embedded model, computed on this machine.")


@app.callback()
def model() -> None:
    """Keep `serve` a command of its own, though it is the only one."""


def _options_help() -> str:
    return "  ".join(f"{name}: {field.description}" for name, field in Options.model_fields.items())


@app.command(help=f"Serve the models {', '.join(SCENARIOS)}.\n\nOptions of a model: {_options_help()}")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port; 0 takes a free one and prints it.", min=0, max=65535)
    ] = 8788,
    scenario: Annotated[
        str | None,
        typer.Option(help=f"Play this for any model name that is not known, e.g. {DEFAULT}:tps=80."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="Option for all models, NAME=VALUE; a model's name may overrule it."),
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(help="A script for the model `script`, where the message holds none.", exists=True),
    ] = None,
    log: Annotated[Path | None, typer.Option(help="Append a JSON line per answer.")] = None,
) -> None:
    """Serve until interrupted."""
    settings = _settings(scenario, option or [], script.read_text(encoding="utf-8") if script else "")
    # The log outlives the loop: answers that are cut off by the end are noted, too.
    with log.open("a", encoding="utf-8") if log else nullcontext() as out:
        try:
            asyncio.run(_serve(settings, host, port, out))
        except OSError as error:
            what = f"cannot listen on {host}:{port}: {error.strerror}"
            raise typer.BadParameter(what, param_hint="--port") from None


def _settings(scenario: str | None, options: list[str], script: str) -> Settings:
    try:
        given = parse_options(",".join(options))
        make_options(given)
        settings = Settings(options=given, fallback=scenario, script=script)
        if scenario is not None:
            understand(scenario, Settings(options=given))
    except OptionError as error:
        raise typer.BadParameter(str(error), param_hint="--option") from None
    except Refused as refused:
        raise typer.BadParameter(refused.message, param_hint="--scenario") from None
    return settings


async def _serve(settings: Settings, host: str, port: int, out: TextIO | None) -> None:
    warm_up()

    def record(answer: dict[str, Any]) -> None:
        if out:
            print(json.dumps(answer, ensure_ascii=False), file=out, flush=True)

    server = await asyncio.start_server(
        ModelServer(settings, on_answer=record).connected, host, port, backlog=1024
    )
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    bound = server.sockets[0].getsockname()[1]
    typer.echo(f"models {', '.join(SCENARIOS)} at http://{host}:{bound} (Anthropic and OpenAI); Ctrl-C ends")
    await ended.wait()
    server.close()
