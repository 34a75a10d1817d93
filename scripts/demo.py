"""The demo: a model, the real edge and a client on this machine; an agent reads a directory and says what is in it.

Nothing is kept afterwards, whatever happens. With EDGELOOP_PROVIDER or EDGELOOP_BASE_URL set, the edge talks to that model.
"""

import argparse
import asyncio
import os
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from edgeloop_client.errors import ClientError
from edgeloop_client.working import Options, new_agent_id, run
from scripts.local_edge import LocalEdge, LocalEdgeError
from scripts.local_model import LocalModel, LocalModelError
from scripts.variables import given, name_a_model

TASK = (
    "Survey this directory for somebody who has never seen it: how many files and lines there are and of which kinds, what the"
    " largest are, and what the text files speak of. Read a handful of them before you answer."
)


def main() -> int:
    """Run the demo; 0 if the turn was done."""
    arguments = _arguments()
    if not arguments.dir.is_dir():
        print(f"demo: {arguments.dir} is not a directory; expected DIR=<a directory>", file=sys.stderr)
        return 2
    # As Ctrl-C: a closed terminal or a polite kill must end what was started, too.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            return _demo(stack, arguments.dir, arguments.json)
    except (LocalEdgeError, LocalModelError, ClientError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path(), help="the directory to survey")
    parser.add_argument(
        "--json",
        action="store_true",
        default=bool(os.environ.get("JSON")),
        help="print one JSON object as the last line",
    )
    return parser.parse_args()


def _demo(stack: ExitStack, directory: Path, as_json: bool) -> int:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeloop-demo-")))
    variables = given()
    if not name_a_model(variables):
        with _progress("the embedded model"):
            model = stack.enter_context(LocalModel(log=folder / "model.log"))
        variables = {"EDGELOOP_MODEL": "survey", **variables, **model.variables}
    token = secrets.token_urlsafe(24)
    with _progress("the edge (real workerd)"):
        edge = stack.enter_context(LocalEdge(variables=variables | {"EDGELOOP_TOKEN": token}))
    options = Options(
        url=edge.url,
        token=token,
        agent=new_agent_id(),
        directory=directory,
        as_json=as_json,
        home=folder / "client",
    )
    return asyncio.run(run(options, TASK))


@contextmanager
def _progress(what: str) -> Generator[None]:
    began = time.monotonic()
    print(f"demo: starting {what} ...", file=sys.stderr, flush=True)
    yield
    print(f"demo: {what} is up after {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
