"""Renews every lock: requirements/*.txt from pyproject.toml, package-lock.json from package.json.

Pins that still fit are kept; `make lock UPGRADE=1` moves them all. The locks carry hashes and name no registry.
"""

import json
import os
import subprocess
import sys
from typing import Any

from scripts.setup import PYTHON, ROOT, STATE, node_binary

UV = "uv==0.13.8"
COMPILE = (
    "pip",
    "compile",
    "--quiet",
    "--universal",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-header",
)
# Under the names npm publishes them: the operating system and processor of each build of workerd.
WORKERD_BUILDS = {
    "darwin-64": ("darwin", "x64"),
    "darwin-arm64": ("darwin", "arm64"),
    "linux-64": ("linux", "x64"),
    "linux-arm64": ("linux", "arm64"),
    "windows-64": ("win32", "x64"),
}


def _run(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True, stdin=subprocess.DEVNULL)


def _uv() -> str:
    """uv is needed here only, so it is no dependency: it gets a folder of its own."""
    folder = STATE / "uv"
    if not (folder / "bin" / "uv").exists():
        _run(str(PYTHON), "-m", "pip", "install", "--quiet", "--target", str(folder), UV)
    return str(folder / "bin" / "uv")


def lock_python(*, upgrade: bool) -> None:
    """The Worker's packages first: this machine's must be the same versions where both have one."""
    uv, options = _uv(), ["--upgrade"] if upgrade else []
    worker, host = "requirements/worker.txt", "requirements/host.txt"
    _run(uv, *COMPILE, *options, "--python-version=3.14", "-o", worker, "pyproject.toml")
    extras = ["--extra=client", "--group=dev", "-c", worker]
    _run(uv, *COMPILE, *options, "--python-version=3.11", *extras, "-o", host, "pyproject.toml")


def lock_node() -> None:
    npm = node_binary().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    _run(str(node_binary()), str(npm), "install", "--package-lock-only", "--loglevel=error")
    path = ROOT / "package-lock.json"
    lock = json.loads(path.read_text(encoding="utf-8"))
    _add_missing_builds(lock["packages"])
    path.write_text(json.dumps(lock, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _add_missing_builds(packages: dict[str, Any]) -> None:
    """A mirror may lack workerd's builds for other systems; npm then leaves them out, and `npm ci` refuses the lock."""
    version = packages["node_modules/workerd"]["version"]
    for build, (system, processor) in WORKERD_BUILDS.items():
        entry = {"version": version, "cpu": [processor], "dev": True, "optional": True, "os": [system]}
        packages.setdefault(f"node_modules/@cloudflare/workerd-{build}", entry)
    ordered = dict(sorted(packages.items()))
    packages.clear()
    packages.update(ordered)


def main() -> int:
    lock_python(upgrade=os.environ.get("UPGRADE") == "1")
    lock_node()
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in _locks())
    if "https://registry" in text or "--index-url" in text or "--find-links" in text:
        print("lock: a lock names a registry; see .npmrc and COMPILE", file=sys.stderr)
        return 1
    return 0


def _locks() -> list[str]:
    return ["requirements/worker.txt", "requirements/host.txt", "package-lock.json"]


if __name__ == "__main__":
    sys.exit(main())
