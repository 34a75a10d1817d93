"""What builds, checks and runs the project on a person's machine. Nothing here ships."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the very check, run by whatever Python there is
    sys.exit(
        f"Python 3.11 or later is needed, this is {sys.version.split()[0]}: try `make PYTHON=python3.11 ...`"
    )
