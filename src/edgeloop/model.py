"""The base of everything that is stored or sent: frozen pydantic models, strict about names.

Knows nothing of sessions. `Frozen` is what we write and read ourselves: an unknown field is a mistake, so it is refused.
"""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable value. Unknown fields are refused; bytes are UTF-8 text everywhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")
