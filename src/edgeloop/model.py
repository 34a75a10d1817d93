"""The base of everything that is stored or sent: frozen pydantic models, strict about names.

Knows nothing of sessions. `Frozen` is what we write and read ourselves: an unknown field is a mistake, so it is refused.
"""

from pydantic import BaseModel, ConfigDict

NAME = r"[A-Za-z0-9._:-]{1,128}"
"""The pattern of an agent's name and of ids that clients choose."""


class Frozen(BaseModel):
    """An immutable value. Unknown fields are refused; bytes are UTF-8 text everywhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")
