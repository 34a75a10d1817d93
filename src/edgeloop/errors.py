"""Every error the core raises.

    EdgeloopError
    ├── IllegalTransition   misuse: an event that the table does not list; the state is unchanged
    ├── CorruptLog          the stored log cannot be what we wrote: gap, unknown kind, unknown version
    └── Refused             the peer asked for something we do not do: code, message, what was expected
        ├── BadFrame        ... and it was not even a frame of the protocol
        └── Staged          ... of a session that is still being copied in

Fields, not strings: `Refused` becomes an error frame or an HTTP error body as it is.
"""


class EdgeloopError(Exception):
    """Base of the core's errors."""


class IllegalTransition(EdgeloopError):
    """An event that its phase does not allow. The session's state is unchanged."""

    def __init__(self, *, phase: str, kind: str) -> None:
        super().__init__(f"event {kind!r} is not allowed in phase {phase!r}")
        self.phase = phase
        self.kind = kind


class CorruptLog(EdgeloopError):
    """The stored log cannot be replayed. `seq` is where, once that is known."""

    def __init__(self, message: str, *, seq: int | None = None) -> None:
        super().__init__(message if seq is None else f"seq {seq}: {message}")
        self.seq = seq


class Refused(EdgeloopError):
    """A peer's request that is answered with a typed error and changes nothing."""

    def __init__(
        self, *, code: str, message: str, expected: str | None = None, ref: str | None = None
    ) -> None:
        super().__init__(f"{code}: {message}" + (f" (expected {expected})" if expected else ""))
        self.code = code
        self.message = message
        self.expected = expected
        self.ref = ref


class BadFrame(Refused):
    """Not a frame of the protocol."""


class Staged(Refused):
    """The session is still being copied in: there is nothing to see yet."""

    def __init__(self) -> None:
        super().__init__(
            code="conflict",
            message="a session is being copied into this agent",
            expected="wait for its end, or delete the agent",
        )
