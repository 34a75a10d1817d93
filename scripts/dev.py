"""Runs the edge on this machine until Ctrl-C, with the embedded model beside it unless the environment names a provider."""

import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from scripts.local_edge import LocalEdge, LocalEdgeError
from scripts.setup import ROOT, VENV

HOME = ROOT / ".edgeloop" / "dev"
# What the Worker reads, and a person may set; see src/edge/settings.py.
VARIABLES = ("PROVIDER", "BASE_URL", "MODEL", "API_KEY", "TOKEN", "SYSTEM", "FETCH_HOSTS")


def _port(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise SystemExit(f"dev: {name} is {text!r}, expected a port number")
    return int(text)


def _given() -> dict[str, str]:
    names = [f"EDGELOOP_{name}" for name in VARIABLES]
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def _token() -> str:
    """The token of earlier runs, so that an agent's page or a shell left open goes on working."""
    path = HOME / "token"
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text(encoding="ascii")


# --- the embedded model --------------------------------------------------------------------------------------------


def _start_model(port: int) -> subprocess.Popen[bytes]:
    command = [str(VENV / "bin" / "edgeloop"), "model", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with (HOME / "model.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "scripts.leash", *command],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _await_model(model: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and model.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=5).close()
            return
        except OSError:
            time.sleep(0.05)
    log = (HOME / "model.log").read_text(encoding="utf-8", errors="replace")
    raise SystemExit(
        f"dev: the embedded model did not start (is its port taken? EDGELOOP_MODEL_PORT):\n{log[-2000:]}"
    )


def _stop_model(model: subprocess.Popen[bytes]) -> None:
    assert model.stdin is not None
    model.stdin.close()
    model.wait()


# --- the whole -----------------------------------------------------------------------------------------------------


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
    variables = {"EDGELOOP_TOKEN": _token(), **_given()}
    model = None
    try:
        if not variables.keys() & {"EDGELOOP_PROVIDER", "EDGELOOP_BASE_URL"}:
            url = f"http://127.0.0.1:{model_port}"
            model = _start_model(model_port)
            _await_model(model, url)
            local = {"EDGELOOP_PROVIDER": "anthropic", "EDGELOOP_BASE_URL": url, "EDGELOOP_API_KEY": "local"}
            variables = {"EDGELOOP_MODEL": "survey", **variables, **local}
        return _serve(variables, edge_port)
    except LocalEdgeError as error:
        print(f"dev: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        if model is not None:
            _stop_model(model)


if __name__ == "__main__":
    sys.exit(main())
