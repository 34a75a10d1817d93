"""The README's transcript: `make demo` over `examples/garden`, as it was printed.

`python -m scripts.transcript` writes it between the markers there; `--check` runs the demo anew and says whether the README still
shows what one gets. Times and sizes on the wire differ from run to run, so those are not compared.
"""

import os
import re
import subprocess
import sys

from scripts.pyodide_bundle import ROOT

README = ROOT / "README.md"
EXAMPLE = "examples/garden"
_BLOCK = re.compile(r"(<!-- transcript: begin[^\n]*-->\n).*?(<!-- transcript: end -->)", re.DOTALL)
_VARYING = [
    (r"\ba-[a-z0-9]{10}\b", "<agent>"),
    (r"http://127\.0\.0\.1:\d+", "<url>"),
    (r"\d[\d.,]* (ms|s)\b", "<time>"),
    (r"[\d.,]+ tokens/s", "<rate>"),
    (r"[\d.,]+ up, [\d.,]+ down", "<bytes>"),
    (r"[\d.,]+ in \([\d.,]+ cached\)", "<in>"),  # providers' call ids are random, and so are their tokens
    (r"\b\d+%", "<share>"),
    (r"[ \t]+", " "),
    (r" ?\n", "\n"),
]


def run_demo() -> str:
    """Run the demo as a newcomer would, and return what it prints on standard output."""
    command = [sys.executable, "-m", "scripts.demo", "--dir", EXAMPLE]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGELOOP_")}
    environment |= {"JSON": "", "COLUMNS": "110", "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=170)
    if done.returncode != 0:
        raise SystemExit(f"transcript: the demo ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def shown() -> str:
    """The transcript that the README shows now."""
    found = re.search(
        r"<!-- transcript: begin[^\n]*-->\n```text\n[^\n]*\n(.*?)```", README.read_text(), re.DOTALL
    )
    return found[1] if found else ""


def comparable(transcript: str) -> list[str]:
    """The lines of a transcript without what varies; sorted, since tools that run at the same time end in any order."""
    for pattern, name in _VARYING:
        transcript = re.sub(pattern, name, transcript)
    return sorted(line for line in transcript.splitlines() if line.strip())


def main() -> None:
    """Write or check the README's transcript."""
    fresh = run_demo()
    if "--check" in sys.argv:
        if comparable(fresh) != comparable(shown()):
            raise SystemExit("transcript: the README shows another run; write it anew with `make transcript`")
        return
    text = f"```text\n$ make demo DIR={EXAMPLE}\n{fresh}```\n"
    README.write_text(_BLOCK.sub(lambda found: f"{found[1]}{text}{found[2]}", README.read_text()))


if __name__ == "__main__":
    main()
