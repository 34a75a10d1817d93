"""How a scenario is played: pacing and faults, as options in the model's name (`survey:ttft_ms=200,fault=429`) or server-wide.

The form needs no quoting in a shell and passes through a Worker variable and a URL's path.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Fault = Literal["none", "429", "500", "503", "529", "cut", "malformed", "silence", "error"]


class OptionError(ValueError):
    """A model name or option that is not understood; the text says what was expected."""


class Options(BaseModel):
    """Pacing and faults. Times are of the response, not of the network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ttft_ms: float = Field(default=0, ge=0, le=600_000, description="Wait before the response begins.")
    tps: float = Field(default=0, ge=0, description="Output tokens per second; 0: full speed.")
    chunk_tokens: int = Field(default=1, ge=1, le=1000, description="Tokens per delta, at least.")
    fault: Fault = Field(
        default="none", description="What goes wrong: a status, or inside a response that began well."
    )
    fault_times: int = Field(
        default=0, ge=0, description="Only so many requests of a conversation fail; 0: all."
    )
    fault_after: int = Field(default=0, ge=0, description="So many requests of a conversation go well first.")
    fault_at: int = Field(default=3, ge=0, description="Deltas before a fault inside the response.")
    fault_key: str = Field(
        default="", description="Tells conversations with the same first message apart in the counts above."
    )
    retry_after: float = Field(
        default=1, ge=0, description="Seconds in the `retry-after` of a 429; 0: no header."
    )
    cache_minimum: int = Field(
        default=0, ge=0, description="Tokens below which no prefix is cached; 0: as the provider has it."
    )
    rpm: int = Field(
        default=0, ge=0, description="Requests per minute and key, told in headers; 0: no limit."
    )
    context: int = Field(
        default=0, ge=0, description="Input tokens above which a request is refused; 0: none."
    )
    shape: Literal["chat", "native", "mixed"] = Field(
        default="chat",
        description="Workers AI only: chunks as Chat has them, its older native ones, or both.",
    )


def parse_options(text: str) -> dict[str, str]:
    """Split `a=1,b=2`.

    Raises:
        OptionError: a part without `=`.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if bad := [name for name, equals, _ in pairs if not equals]:
        raise OptionError(f"option {bad[0]!r} has no value; expected NAME=VALUE,NAME=VALUE")
    return {name.strip(): value.strip() for name, _, value in pairs}


def make_options(*layers: dict[str, Any]) -> Options:
    """Merge options, later ones first.

    Raises:
        OptionError: an unknown name or a bad value.
    """
    merged = {name: str(value) for layer in layers for name, value in layer.items()}
    try:
        return Options.model_validate_strings(merged)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        name = ".".join(map(str, found["loc"]))
        if found["type"] == "extra_forbidden":
            raise OptionError(f"unknown option {name!r}; known: {', '.join(Options.model_fields)}") from None
        raise OptionError(f"option {name}={merged.get(name)!r}: {found['msg']}") from None
