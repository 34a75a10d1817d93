# The part of the Workers SDK that src/ uses. The SDK's own sources leave `env`, `ctx` and most results unannotated.
from collections.abc import Awaitable
from typing import Any

class DurableObject:
    ctx: Any
    env: Any
    def __init__(self, ctx: Any, env: Any) -> None: ...

class WorkerEntrypoint:
    ctx: Any
    env: Any
    def __init__(self, ctx: Any, env: Any) -> None: ...

class Request:
    method: str
    url: str
    headers: Any
    js_object: Any
    def __getattr__(self, name: str) -> Any: ...

class Response:
    def __init__(self, body: Any = ..., status: int = ..., **options: Any) -> None: ...
    def __getattr__(self, name: str) -> Any: ...
    @staticmethod
    def json(data: Any, status: int = ..., **options: Any) -> Response: ...

def import_from_javascript(module_name: str) -> Any: ...
def wait_until(awaitable: Awaitable[Any]) -> None: ...
async def fetch(resource: Any, **options: Any) -> Any: ...
