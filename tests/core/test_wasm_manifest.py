"""The committed .wasm, its sources and the manifest agree; the door's pure part. Needs no Rust."""

import gzip
import json

import pytest

from scripts import build_wasm

MANIFEST = json.loads(build_wasm.MANIFEST.read_text())


def test_sources_are_those_of_the_committed_module() -> None:
    """A change to a source, a lock or a pinned tool without `make wasm` fails here."""
    assert build_wasm.sources_digest() == MANIFEST["sources"], "run `make wasm` and commit its output"


def test_tools_are_those_of_the_committed_module() -> None:
    """The manifest names the versions that are pinned now."""
    assert build_wasm.tools() == MANIFEST["tools"]


def test_outputs_are_those_that_were_built() -> None:
    """Every file the manifest lists is there with the bytes it had when it was built."""
    files = {name: (build_wasm.HOT / name).read_bytes() for name in MANIFEST["outputs"]}
    assert build_wasm.describe(files)["outputs"] == MANIFEST["outputs"]
    assert {build_wasm.WASM, *build_wasm.TABLES} == set(files)


def test_source_list_holds_what_decides_the_bytes_and_nothing_else() -> None:
    """Crates' sources, manifests, lock and toolchain count; gen/, checks/, py/ and prose do not."""
    names = {path.relative_to(build_wasm.ROOT).as_posix() for path in build_wasm.source_files()}
    assert {"rust-wasm/Cargo.lock", "rust-wasm/rust-toolchain.toml", "scripts/build_wasm.py"} <= names
    assert {
        "rust-wasm/core/src/lib.rs",
        "rust-wasm/core/src/count/classes.bin",
        "rust-wasm/wasm/src/lib.rs",
    } <= names
    assert not [name for name in names if "/checks/" in name or "/py/" in name or "/gen/" in name]


def test_a_changed_byte_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source hash covers contents and names: dropping one file changes it."""
    files = build_wasm.source_files()
    before = build_wasm.sources_digest()
    monkeypatch.setattr(build_wasm, "source_files", lambda: files[1:])
    assert build_wasm.sources_digest() != before


def test_upload_stays_within_its_budget() -> None:
    """All kernels and the token table together stay under 1.2 MB of gzip."""
    size = sum(len(gzip.compress((build_wasm.HOT / name).read_bytes(), 9)) for name in MANIFEST["outputs"])
    assert size <= 1_200_000
