"""`make bench`: every bench, one after the other; each is a module here with a `main()`, the others are what they share."""

import importlib
import pkgutil
from pathlib import Path


def main() -> None:
    """Run them all in the order of their names."""
    for module in sorted(found.name for found in pkgutil.iter_modules([str(Path(__file__).parent)])):
        if module.startswith("_"):
            continue
        bench = importlib.import_module(f"bench.{module}")
        if hasattr(bench, "main"):
            print(f"\n== {module}", flush=True)
            bench.main()


if __name__ == "__main__":
    main()
