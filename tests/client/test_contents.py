"""Contents kept by their hash: bounded, private, and never wrong."""

import os
import threading
import time
from pathlib import Path

import pytest

from edgeloop_client.contents import KEEP_SECONDS, MAX_CONTENT, Contents, content_hash
from edgeloop_client.hot import count_tokens


def kept(folder: Path) -> int:
    """Bytes in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def test_what_is_kept_is_given_back(tmp_path: Path) -> None:
    """A content is found by its hash, by another client too, and is the person's alone to read."""
    folder = tmp_path / "versions"
    Contents(folder).keep(b"one")
    assert Contents(folder).get(content_hash(b"one")) == b"one"
    assert Contents(folder).get(content_hash(b"two")) is None
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../secret", "x" * 16, "A" * 16, "0" * 15, "0" * 17, "0" * 15 + "\n"]
)
def test_a_name_is_a_hash(tmp_path: Path, name: str) -> None:
    """Names come from models and logs: whatever is no hash names nothing."""
    (tmp_path / "secret").write_text("x")
    (tmp_path / "versions").mkdir()
    assert Contents(tmp_path / "versions").get(name) is None


def test_what_is_spoilt_is_dropped(tmp_path: Path) -> None:
    """A content torn by a crash is none, and can be kept anew."""
    contents, name = Contents(tmp_path), content_hash(b"whole")
    contents.keep(b"whole")
    (tmp_path / name).write_bytes(b"who")
    assert contents.get(name) is None
    contents.keep(b"whole")
    assert contents.get(name) == b"whole"


def test_a_giant_is_not_kept(tmp_path: Path) -> None:
    """Nothing over the limit of one content is written."""
    Contents(tmp_path / "versions").keep(b"x" * (MAX_CONTENT + 1))
    assert not (tmp_path / "versions").exists()


def test_the_whole_is_bounded(tmp_path: Path) -> None:
    """Beyond the limit what was used longest ago goes first; what is used stays."""
    contents = Contents(tmp_path, max_bytes=10_000)
    contents.keep(b"used")
    for number in range(100):
        contents.keep(b"%04d" % number * 250)
        assert kept(tmp_path) <= 10_000
        for age, path in enumerate(sorted(tmp_path.iterdir(), key=lambda path: -path.stat().st_mtime)):
            os.utime(path, (time.time() - age, time.time() - age))
        assert contents.get(content_hash(b"used")) == b"used"
    assert contents.get(content_hash(b"0099" * 250)) is not None
    assert contents.get(content_hash(b"0000" * 250)) is None


def test_what_is_old_goes(tmp_path: Path) -> None:
    """A week after its last use a content is dropped, when the next client keeps something."""
    Contents(tmp_path).keep(b"old")
    old = time.time() - KEEP_SECONDS - 60
    os.utime(tmp_path / content_hash(b"old"), (old, old))
    Contents(tmp_path).keep(b"new")
    assert [path.name for path in tmp_path.iterdir()] == [content_hash(b"new")]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Where nothing can be kept, nothing is: that costs a full text later, and no answer now."""
    (tmp_path / "file").write_text("x")
    contents = Contents(tmp_path / "file")
    contents.keep(b"x")
    assert contents.get(content_hash(b"x")) is None


def test_many_at_once(tmp_path: Path) -> None:
    """Threads that keep and read the same contents, and count with the one kernel, get what is right."""
    contents = Contents(tmp_path, max_bytes=4_000)
    texts = [b"%d " % number * 200 for number in range(8)]
    wanted = [count_tokens(text) for text in texts]
    wrong: list[object] = []

    def work() -> None:
        for _ in range(20):
            for text, count in zip(texts, wanted, strict=True):
                contents.keep(text)
                if contents.get(content_hash(text)) not in (text, None) or count_tokens(text) != count:
                    wrong.append(text)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
