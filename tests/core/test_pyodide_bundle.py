"""Where the Worker's Python runtime comes from, and that a changed Pyodide is refused loudly."""

from pathlib import Path

import pytest

from scripts import pyodide_bundle
from scripts.pyodide_bundle import PYODIDE, BundleError, choose, current, patch_runtime, remember

RUNTIME = PYODIDE / "pyodide.asm.mjs"


@pytest.fixture(autouse=True)
def _private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGELOOP_BUNDLE", raising=False)
    monkeypatch.setattr(pyodide_bundle, "CHOICE", tmp_path / "bundle.json")


def test_patches_fit_the_pinned_release():
    """The pinned Pyodide takes every patch as often as declared, and none of the replaced calls is left."""
    patched = patch_runtime(RUNTIME.read_text(encoding="utf-8"))
    for gone in ("new WebAssembly.Module", "Date.now", "eval(", "export default"):
        assert gone not in patched
    for there in ("function bareSaveState(){", "function bareRestoreState(state){", "patchedLoadLibData("):
        assert patched.count(there) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Date.now", "Date.later"),
        ("function saveState(){", "function saveState(x){"),
        ("export default", "export{Date.now};export default"),
    ],
)
def test_another_release_is_refused(old: str, new: str):
    """A patch that matches more or less often than in the pinned release stops the set-up."""
    changed = RUNTIME.read_text(encoding="utf-8").replace(old, new, 1)
    with pytest.raises(BundleError, match="matched"):
        patch_runtime(changed)


def test_without_cdn_the_runtime_is_assembled(tmp_path: Path):
    """Where the CDN does not answer, a file workerd accepts is made below the person's cache folder."""
    bundle = choose(probe=lambda: False)
    assert bundle.source == "assembled"
    assert bundle.directory.is_relative_to(tmp_path / "cache")
    assert (bundle.directory / "pyodide_dev.capnp.bin").stat().st_size > 10_000_000


def test_with_cdn_the_official_runtime_is_left_to_workerd():
    """Where the CDN answers, workerd gets an empty folder to fill and verify itself."""
    bundle = choose(probe=lambda: True)
    assert bundle.source == "official"
    assert list(bundle.directory.iterdir()) == []


def test_cached_official_runtime_needs_no_probe():
    """An official file fetched earlier is used without asking the network."""
    directory = choose(probe=lambda: True).directory
    (directory / "pyodide_314.capnp.bin").write_bytes(b"")

    def unasked() -> bool:
        raise AssertionError("the CDN was asked")

    assert choose(probe=unasked).source == "official"


def test_wish_decides(monkeypatch: pytest.MonkeyPatch):
    """EDGELOOP_BUNDLE overrules the probe, and anything but the two names is refused."""
    monkeypatch.setenv("EDGELOOP_BUNDLE", "assembled")
    assert choose(probe=lambda: True).source == "assembled"
    monkeypatch.setenv("EDGELOOP_BUNDLE", "something")
    with pytest.raises(BundleError, match="'something'"):
        choose(probe=lambda: True)


def test_remembered_choice_outlives_no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The remembered choice is used as it is, until its folder is gone from the person's cache."""
    monkeypatch.setattr(pyodide_bundle, "cdn_answers", lambda: False)
    kept = choose(probe=lambda: True)
    remember(kept)
    assert current() == kept
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("EDGELOOP_BUNDLE", "assembled")
    assert current().source == "assembled"
    assert current().directory.is_relative_to(tmp_path / "elsewhere")
