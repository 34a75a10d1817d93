"""The compression analysis through the committed .wasm: what its own tests in Rust hold, held at the door as well."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop.analysis import Analysis, AnalysisLost, Block, Fold, Plan
from edgeloop.kernels import KernelRefused
from edgeloop_client import hot
from tests.support.traps import door_of_little_memory, trap

_MASK = (1 << 64) - 1
_LINES = (
    b"", b"    }", b"a", b"fn one_function(argument: &str) -> Result<(), Problem> {", b"    let value = compute(argument);",
    b"2026-11-21 10:00:01 status installed alpha:amd64 1.2", b"2026-11-21 10:00:07 status installed beta:amd64 1.3",
    b"2026-11-21 10:00:09 status installed gamma:amd64 2.0", b"tests/test_one.py::test_it PASSED in 0.1s",
    b"{} <> () [] \xff \xe9",
)  # fmt: skip


class Conversation:
    """The generated conversation of rust-wasm/core/tests/analysis.rs, statement by statement."""

    def __init__(self, seed: int) -> None:
        self._state = seed
        self.files = [[self._line() for _ in range(20)] for _ in range(4)]
        self.turn = 0

    def _below(self, end: int) -> int:
        self._state ^= self._state >> 12
        self._state = (self._state ^ self._state << 25) & _MASK
        self._state ^= self._state >> 27
        return ((self._state * 0x2545_F491_4F6C_DD1D & _MASK) >> 33) % end

    def _line(self) -> str:
        match self._below(6):
            case 0:
                return ""
            case 1:
                return "    }"
            case 2:
                return f"    let value_{self._below(9)} = compute({self._below(9)});"
            case 3:
                return "        return Err(Problem::Missing { name: name.to_string() });"
            case 4:
                return f"// {self._below(50)} \N{EM DASH} ünïcode {self._below(50)}"
            case _:
                return f"fn function_number_{self._below(200)}(argument: &str) -> Result<(), Problem> {{"

    def _text(self, file: int) -> str:
        end = ("\n", "\n", "\r\n")[len(self.files[file]) % 3]
        return end.join(self.files[file]) + (end if self._below(4) > 0 else "")

    def _edit(self, file: int) -> str:
        lines = self.files[file]
        at = self._below(len(lines))
        new = [self._line() for _ in range(self._below(8))]
        lines[at : min(len(lines), at + self._below(3))] = new
        if not lines:
            lines.append("fn nothing_is_left() {}")
        return "\n".join(new) + "\n"

    def _log(self) -> str:
        text = ""
        for _ in range(self._below(30)):
            second, item = self._below(60), self._below(100)
            match self._below(8):
                case 0:
                    text += "no shape at all\n"
                case 1:
                    text += f"  {second}  {item}\n"
                case _:
                    text += f"2026-11-21 10:00:{second:02} status installed package-{item}:amd64 1.{item}-2\n"
        return text

    def next(self) -> Block:
        """The next block."""
        self.turn += 1
        file = self._below(4)
        path, name = f"src/file_{file}.rs", f"r{self.turn}"
        match self._below(6):
            case 0:
                return Block(role="text", name=name, tool="run", data=self._text(file).encode())
            case 1:
                data = self._edit(file).encode()
                return Block(role="call", name=name, tool="edit_file", path=path, data=data)
            case 2:
                data = self._log().encode()
                return Block(role="result", name=name, tool="run", command=f"make {file}", data=data)
            case 3:
                data = self._edit(file).encode()
                return Block(role="result", name=name, tool="edit_file", path=path, data=data)
            case _:
                data = self._text(file).encode()
                return Block(role="result", name=name, tool="read_file", path=path, data=data)


@dataclass(frozen=True, kw_only=True)
class Door:
    """The client's door that keeps what comes through."""

    answers: list[bytes]

    def call(self, name: str, data: bytes, *numbers: int) -> int:
        """As at the door."""
        return hot.door.call(name, data, *numbers)

    def call_bytes(self, name: str, data: bytes, *numbers: int) -> bytes:
        """As at the door."""
        self.answers.append(hot.door.call_bytes(name, data, *numbers))
        return self.answers[-1]


@pytest.fixture
def analysis() -> Iterator[Analysis]:
    """A fresh one."""
    found = hot.analysis()
    yield found
    found.close()


def resolved(analysis: Analysis, blocks: list[bytes], fold: Fold) -> bytes:
    """What a fold stands for."""
    return analysis.resolve(fold, blocks[fold.source])


def restored(analysis: Analysis, blocks: list[bytes], plan: Plan) -> bytes:
    """The block again, from what its rendering leaves and what its folds stand for."""
    rendered, data = plan.render(blocks[plan.block]), b""
    at = end = 0
    for fold in plan.folds:
        kept = fold.start - end
        data += rendered[at : at + kept] + resolved(analysis, blocks, fold)
        at += kept + len(fold.replacement)
        end = fold.end
    return data + rendered[at:]


def test_the_shared_conversation_has_its_digest() -> None:
    """Wasm judges as native Rust does: the packed plans have the digest that rust-wasm/core/tests/analysis.rs pins."""
    door, conversation, digest = Door(answers=[]), Conversation(7), 0xCBF2_9CE4_8422_2325
    analysis = Analysis(door)
    for size in (1, 2, 7, 90, 100):
        analysis.enter([conversation.next() for _ in range(size)])
    packed = b"".join(door.answers)
    for byte in packed:
        digest = (digest ^ byte) * 0x0100_0000_01B3 & _MASK
    assert (len(packed), digest) == (22_432, 8_182_528_586_391_541_115)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("text", "call", "result")),
            st.sampled_from(("", "a.rs", "b.rs")),
            st.lists(st.sampled_from(_LINES), max_size=25),
            st.sampled_from((b"\n", b"\r\n")),
        ),
        max_size=12,
    ),
    st.sampled_from((0, 3000, 6 << 20)),
)
def test_every_fold_resolves_and_saves(turns: list[tuple[str, str, list[bytes], bytes]], limit: int) -> None:
    """Any history: blocks are restored byte for byte, tokens fall, and nothing refers to what has gone."""
    analysis = hot.analysis(limit=limit)
    blocks = [end.join(lines) for _, _, lines, end in turns]
    gone = set[int]()
    for index, (role, path, *_) in enumerate(turns):
        block = Block(role=role, path=path, data=blocks[index])  # pyright: ignore[reportArgumentType] (one of the three)
        (plan,) = analysis.enter([block])
        assert plan.block == index
        assert restored(analysis, blocks, plan) == blocks[index]
        for fold in plan.folds:
            assert fold.source <= index
            assert fold.source not in gone
            counted = hot.count_batch([blocks[index][fold.start : fold.end], fold.replacement])
            assert [fold.tokens_before, fold.tokens_after] == counted
        if plan.folds:
            assert hot.count_tokens(plan.render(blocks[index])) < hot.count_tokens(blocks[index])
        gone |= set(plan.superseded)
    analysis.close()


def test_a_batch_is_its_blocks_one_by_one(analysis: Analysis) -> None:
    """How blocks are batched makes no difference."""
    blocks = [Conversation(3).next() for _ in range(40)]
    one_by_one = [plan for block in blocks for plan in analysis.enter([block])]
    assert hot.analysis().enter(blocks) == one_by_one
    assert hot.analysis().enter([]) == []


def test_what_a_model_reads(analysis: Analysis) -> None:
    """The stubs as they are written, under the names that the caller gave."""
    code = b"".join(b"    let value_%d = compute_from(%d, input)?;\n" % (n, n * 7) for n in range(9))
    log = b"".join(b"10:00:%02d worker %s is ready\n" % (n, b"abc"[n % 3 : n % 3 + 1]) for n in range(12))
    plans = analysis.enter(
        [
            Block(role="call", name="c1", tool="edit_file", path="a.rs", data=code),
            Block(role="result", name="r1", tool="edit_file", path="a.rs", data=b"Edited:\n" + code + b"Done."),
            Block(role="result", name="r2", tool="read_file", path="b.rs", data=code),
            Block(role="result", name="r3", tool="run", command="make", data=b"$ make\n" + log),
            Block(role="result", name="r4", tool="run", command="make", data=b"ok\n"),
        ]
    )  # fmt: skip
    shown = [[(fold.kind, fold.replacement) for fold in plan.folds] for plan in plans]
    rows = b"".join(b"%02d %s\n" % (n, b"abc"[n % 3 : n % 3 + 1]) for n in range(12))
    assert shown == [
        [],
        [("echo", b"[lines 1-9 of c1 again]\n")],
        [("copy", b"[same as c1]\n")],
        [("template", b"[12x {}] 10:00:{} worker {} is ready\n" + rows)],
        [],
    ]
    assert [plan.superseded for plan in plans] == [(), (), (), (), (3,)]


def test_a_source_that_is_not_it_is_told(analysis: Analysis) -> None:
    """A fold does not resolve to fewer bytes than it replaced."""
    data = b"word after word after word, and a number: 1234567890; " * 4
    _, plan = analysis.enter([Block(role="text", data=data)] * 2)
    with pytest.raises(ValueError, match="not the source"):
        analysis.resolve(plan.folds[0], data[:-1])


def test_memories_are_lost_with_their_instance_and_never_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a trap an old analysis says so, also where a new one has begun on the fresh instance."""
    door = door_of_little_memory(monkeypatch)
    lost = Analysis(door)
    same = [Block(role="text", data=b"theirs " * 50)]
    lost.enter(same)
    trap(door)
    fresh = Analysis(door)
    assert fresh.enter(same)[0].folds == ()
    with pytest.raises(AnalysisLost):
        lost.enter(same)
    fresh.close()
    with pytest.raises(AnalysisLost):
        fresh.enter([])


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"", 1),
        (struct.pack("<6I", 1, 0, 0, 0, 0, 0) + b"\3", 1),
        (struct.pack("<6I", 2, 0, 0, 0, 0, 0) + b"\0\0", 1),
        (struct.pack("<6I", 1, 0, 0, 0, 0, 9) + b"\0", 1),
        (struct.pack("<6I", 1, 0, 0, 0, 0, 0) + b"\0more", 1),
        (b"", 0xFFFFFFFF),
    ],
)
def test_frames_that_are_none_are_refused(data: bytes, count: int) -> None:
    """A role that does not exist, lengths that are not those of the bytes, numbers beyond reason."""
    hot.door.call("analysis_open", b"", 0, 1000)
    with pytest.raises(KernelRefused):
        hot.door.call("analysis_enter", data, 0, count)
    hot.door.call("analysis_close", b"", 0)
