"""`make bench`: every bench, one after the other; each is a module here with a `main()`."""

import importlib
import pkgutil
from pathlib import Path

_NOT_BENCHES = {"__main__", "report"}


def main() -> None:
    """Run them all in the order of their names."""
    for module in sorted(found.name for found in pkgutil.iter_modules([str(Path(__file__).parent)])):
        if module in _NOT_BENCHES or module.startswith("_"):
            continue
        print(f"\n== {module}", flush=True)
        importlib.import_module(f"bench.{module}").main()


if __name__ == "__main__":
    main()
