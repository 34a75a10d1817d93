# pycapnp makes its classes from the schema at run time.
from typing import Any

def load(file_name: str) -> Any: ...
