"""Says what this machine lacks and how to get it. Ends in 1 only when something required is missing."""

import importlib.util
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from scripts.pyodide_bundle import cache_home, cdn_answers
from scripts.setup import ROOT

GIGABYTES_NEEDED = 2.0
Need = Literal["required", "optional"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`remedy` says how to get what is missing; it is shown only then."""

    what: str
    need: Need
    found: str | None
    remedy: str


def _first_line(*command: str) -> str | None:
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0] if done.returncode == 0 and lines else None


def _python() -> Finding:
    remedy = "apt install python3, or make PYTHON=/path/to/python3.11"
    return Finding(what="Python >= 3.11", need="required", found=platform.python_version(), remedy=remedy)


def _venv() -> Finding:
    ways = [name for name in ("ensurepip", "pip") if importlib.util.find_spec(name)]
    remedy = "apt install python3-venv (or python3-pip: virtualenv is then taken from PyPI)"
    return Finding(
        what="a way to make .venv", need="required", found=ways[0] if ways else None, remedy=remedy
    )


def _machine() -> Finding:
    system, machine = platform.system(), platform.machine()
    known = system in ("Linux", "Darwin") and machine in ("x86_64", "aarch64", "arm64")
    remedy = f"workerd has no build for {system} {machine}; use Linux or macOS on x86-64 or ARM64"
    return Finding(
        what="a machine workerd runs on",
        need="required",
        found=f"{system} {machine}" if known else None,
        remedy=remedy,
    )


def _disk() -> Finding:
    folders = [ROOT, next(folder for folder in [cache_home(), *cache_home().parents] if folder.exists())]
    free = min(shutil.disk_usage(folder).free for folder in folders) / 1e9
    enough = f"{free:.1f} GB" if free >= GIGABYTES_NEEDED else None
    remedy = f"{free:.1f} GB are free in {' or '.join(map(str, folders))}; make room"
    return Finding(
        what=f"{GIGABYTES_NEEDED:.0f} GB of free disk", need="required", found=enough, remedy=remedy
    )


def _pypi() -> Finding:
    # Through pip itself, because its configuration (mirrors, proxies) is what the set-up goes by.
    arguments = [
        "--disable-pip-version-check",
        "--timeout",
        "8",
        "--retries",
        "1",
        "index",
        "versions",
        "pydantic",
    ]
    found = _first_line(sys.executable, "-m", "pip", *arguments)
    remedy = "check the network, the proxy (HTTPS_PROXY) and `pip config list`"
    return Finding(what="PyPI answers", need=_only_before_setup(), found=found and "yes", remedy=remedy)


def _npm() -> Finding:
    found = _first_line("npm", "view", "--fetch-retries=0", "--fetch-timeout=8000", "wrangler", "version")
    remedy = "check the network, the proxy and `npm config get registry` (an npm on PATH is only needed for this question)"
    return Finding(what="the npm registry answers", need="optional", found=found and "yes", remedy=remedy)


def _only_before_setup() -> Need:
    return "optional" if (ROOT / ".edgeloop" / "stamps" / "bundle").exists() else "required"


def _cdn() -> Finding:
    remedy = "nothing to do: the runtime is assembled from npm's pyodide instead"
    return Finding(
        what="Cloudflare's runtime CDN answers",
        need="optional",
        found="yes" if cdn_answers() else None,
        remedy=remedy,
    )


def _tool(name: str, need: Need, remedy: str, *command: str) -> Callable[[], Finding]:
    return lambda: Finding(what=name, need=need, found=_first_line(*command), remedy=remedy)


def _browser() -> Finding:
    found = next((path for path in map(shutil.which, ("chromium", "google-chrome")) if path), None)
    return Finding(
        what="chromium", need="optional", found=found, remedy="apt install chromium (browser tests only)"
    )


CHECKS: tuple[Callable[[], Finding], ...] = (
    _python,
    _venv,
    _machine,
    _disk,
    _tool("git", "required", "apt install git", "git", "--version"),
    _tool("make", "required", "apt install make", "make", "--version"),
    _pypi,
    _npm,
    _cdn,
    _browser,
    _tool(
        "cargo",
        "optional",
        "rustup.rs; only for `make wasm`, the Rust checks and `make fuzz`",
        "cargo",
        "--version",
    ),
)


def _line(finding: Finding) -> str:
    if finding.found is not None:
        return f"  ok       {finding.what}: {finding.found}"
    label = "MISSING " if finding.need == "required" else "optional"
    return f"  {label} {finding.what}: {finding.remedy}"


def main() -> int:
    missing = 0
    for check in CHECKS:
        finding = check()
        missing += finding.found is None and finding.need == "required"
        print(_line(finding), flush=True)
    print("doctor: nothing required is missing" if not missing else f"doctor: {missing} missing; see above")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
