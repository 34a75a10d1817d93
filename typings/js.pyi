# The global scope of a Worker. Its values are JavaScript's: nothing is known of them before they are converted.
from typing import Any

def __getattr__(name: str) -> Any: ...
