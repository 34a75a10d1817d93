"""Runs the edge on this machine until Ctrl-C, with the embedded model beside it unless the environment names a provider."""

import os
import secrets
import signal
import sys
from pathlib import Path

from scripts.local_edge import LocalEdge, LocalEdgeError
from scripts.local_model import LocalModel, LocalModelError
from scripts.setup import ROOT, VENV
from scripts.variables import given, name_a_model

HOME = ROOT / ".edgeloop" / "dev"


def _port(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise SystemExit(f"dev: {name} is {text!r}, expected a port number")
    return int(text)


def _token() -> str:
    """The token of earlier runs, so that an agent's page or a shell left open goes on working."""
    path = HOME / "token"
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text(encoding="ascii")


def _greeting(edge: LocalEdge, variables: dict[str, str]) -> str:
    model, base_url, provider = (
        variables.get(f"EDGELOOP_{name}", "?") for name in ("MODEL", "BASE_URL", "PROVIDER")
    )
    return f"""
edge   {edge.url}   (ready in {edge.start_seconds:.1f} s; log: {_shown(edge.log_path)})
model  {model} at {base_url} ({provider})
token  {variables["EDGELOOP_TOKEN"]}

In another terminal:

  export EDGELOOP_URL={edge.url} EDGELOOP_TOKEN={variables["EDGELOOP_TOKEN"]}
  {_shown(VENV / "bin" / "edgeloop")} run "What is in this directory?" --dir .

Sessions are kept in {_shown(HOME / "state")}. Ctrl-C stops the edge and the model.
"""


def _shown(path: Path) -> str:
    return os.path.relpath(path)


def _serve(variables: dict[str, str], port: int) -> int:
    print("dev: starting the edge ...", flush=True)
    edge = LocalEdge(
        variables=variables,
        port=port,
        persist_to=HOME / "state",
        log_to=HOME / "edge.log",
    )
    with edge:
        print(_greeting(edge, variables), flush=True)
        edge.wait()
        print(f"dev: the edge ended by itself:\n{edge.log_tail()}", file=sys.stderr)
    return 1


def _end_like_ctrl_c() -> None:
    """A closed terminal and a polite kill end as Ctrl-C does, also where the shell started us with SIGINT ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


def main() -> int:
    _end_like_ctrl_c()
    HOME.mkdir(parents=True, exist_ok=True)
    edge_port, model_port = _port("EDGELOOP_PORT", 8787), _port("EDGELOOP_MODEL_PORT", 8788)
    variables = {"EDGELOOP_TOKEN": _token(), **given()}
    try:
        if name_a_model(variables):
            return _serve(variables, edge_port)
        with LocalModel(log=HOME / "model.log", port=model_port) as model:
            return _serve({"EDGELOOP_MODEL": "survey", **variables, **model.variables}, edge_port)
    except LocalEdgeError as error:
        print(f"dev: {error}", file=sys.stderr)
        return 1
    except LocalModelError as error:
        print(
            f"dev: {error}\nIs port {model_port} taken? EDGELOOP_MODEL_PORT names another.", file=sys.stderr
        )
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
