"""Decides where workerd's Python runtime (the "Pyodide bundle") comes from; knows nothing of wrangler or the Worker.

Cloudflare's CDN serves the official bundle, and workerd checks it against a checksum in its own binary. Where the
CDN does not answer, the same runtime is assembled here from the npm package `pyodide`: workerd takes such a file, under
a fixed name, only with the compatibility flags `python_workers_development` and `experimental`. Local use only.
"""

import hashlib
import json
import os
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent
PYODIDE = ROOT / "node_modules" / "pyodide"
SCHEMA = Path(__file__).with_suffix(".capnp")
CDN = "https://pyodide-capnp-bin.edgeworker.net/"
ASSEMBLED_NAME = "pyodide_dev.capnp.bin"
CHOICE = ROOT / ".edgeloop" / "bundle.json"

Source = Literal["official", "assembled"]


class BundleError(Exception):
    """The bundle cannot be had: the message names what was expected and what was found."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """`directory` is what workerd gets as --pyodide-bundle-disk-cache-dir."""

    source: Source
    directory: Path


def cache_home() -> Path:
    """The person's cache folder for this project (XDG base directory rules)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative value is invalid and is to be ignored.
    home = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return home / "edgeloop"


# --- the patches: (what, pattern, replacement, how often it must match in 314.0.6) ---------------------------------

_THROW = '(()=>{throw new Error("eval is not available in workerd")})()'
_PRELUDE = (
    "import{addEventListener,getRandomValues,location,monotonicDateNow,newWasmModule,patchedLoadLibData,wasmInstantiate}"
    ' from "pyodide-internal:builtin_wrappers";\n'
)
_LOAD_LIB_DATA = (
    "function loadLibData(){const data=patchedLoadLibData(Module,libName,flags.rpath);"
    "return flags.loadAsync?Promise.resolve(data):data}function getExports(){"
)
# workerd#7422: a collection that runs while a stack is suspended walks the frames of that stack, which are not in
# memory any more. Production's bundle hides the thread state's current frame (byte 52) meanwhile; so do we.
_SAVE_STATE = (
    "function saveState(){const state=bareSaveState();if(state!==Module.error){const at=(state.threadState+52)/4;"
    "state.currentFrame=HEAP32[at];HEAP32[at]=0}return state}function bareSaveState(){"
)
_RESTORE_STATE = (
    "function restoreState(state){bareRestoreState(state);HEAP32[(state.threadState+52)/4]=state.currentFrame}"
    "function bareRestoreState(state){"
)

_PATCHES: tuple[tuple[str, str, int], ...] = (
    (r"new WebAssembly\.Module\b", "newWasmModule", 4),
    # The streaming form is dead code inside workerd; the word boundary keeps it out of the count.
    (r"WebAssembly\.instantiate\b", "wasmInstantiate", 2),
    (r"\bDate\.now\b", "monotonicDateNow", 22),
    (r"\bcrypto\.getRandomValues\(", "getRandomValues(Module,", 1),
    (r"\bgetMemory\(", "Module.getMemoryPatched(Module,libName,", 1),
    (r"\beval\((?:[^()]|\([^()]*\))*\)", _THROW, 6),
    (r"function loadLibData\(\)\{.*?\}function getExports\(\)\{", _LOAD_LIB_DATA, 1),
    (r"function saveState\(\)\{", _SAVE_STATE, 1),
    (r"function restoreState\(state\)\{", _RESTORE_STATE, 1),
    (
        r"export default _createPyodideModule;",
        "export{_createPyodideModule,_createPyodideModule as default};",
        1,
    ),
)


def patch_runtime(source: str) -> str:
    """Return Pyodide's emscripten glue as workerd needs it.

    Raises BundleError when a pattern does not match as often as in the pinned release: a new Pyodide fails loudly.
    """
    for pattern, replacement, expected in _PATCHES:
        # A function, because the replacements are code and not templates.
        source, found = re.subn(pattern, lambda _, text=replacement: text, source, flags=re.DOTALL)
        if found != expected:
            raise BundleError(f"pyodide.asm.mjs: {pattern!r} matched {found} times, expected {expected}")
    return _PRELUDE + source


# --- assembling ----------------------------------------------------------------------------------------------------


def assemble(pyodide: Path, target: Path) -> None:
    """Write the bundle made of the npm package in `pyodide` to `target` (atomically)."""
    import capnp  # a development dependency with a slow import: only needed when there is something to write

    schema = capnp.load(str(SCHEMA))
    runtime = patch_runtime((pyodide / "pyodide.asm.mjs").read_text(encoding="utf-8"))
    modules = [
        ("pyodide.asm", "src", runtime.encode()),
        ("pyodide.asm.wasm", "wasm", (pyodide / "pyodide.asm.wasm").read_bytes()),
        ("python_stdlib.zip", "data", (pyodide / "python_stdlib.zip").read_bytes()),
    ]
    bundle = schema.Bundle.new_message()
    for slot, (name, kind, body) in zip(bundle.init("modules", len(modules)), modules, strict=True):
        slot.name = f"pyodideRuntime-internal:{name}"
        slot.type = "internal"
        setattr(slot, kind, body)
    _write_atomically(target, bundle.to_bytes())


def _write_atomically(target: Path, body: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as partial:
        partial.write(body)
    os.replace(partial.name, target)


def _inputs_key() -> str:
    digest = hashlib.sha256()
    files = [PYODIDE / "package.json", PYODIDE / "pyodide.asm.mjs", SCHEMA, Path(__file__).resolve()]
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def assembled() -> Bundle:
    """Return the assembled bundle, making it if the cache has none for these inputs."""
    version = json.loads((PYODIDE / "package.json").read_text(encoding="utf-8"))["version"]
    directory = cache_home() / "pyodide" / f"assembled-{version}-{_inputs_key()}"
    if not (directory / ASSEMBLED_NAME).is_file():
        assemble(PYODIDE, directory / ASSEMBLED_NAME)
    return Bundle(source="assembled", directory=directory)


# --- choosing ------------------------------------------------------------------------------------------------------


def _official_directory() -> Path:
    return cache_home() / "pyodide" / "official"


def cdn_answers(timeout: float = 3.0) -> bool:
    """Whether the CDN speaks HTTP to us; any status will do, the root has no document."""
    try:
        urllib.request.urlopen(CDN, timeout=timeout).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def choose(*, probe: Callable[[], bool] = cdn_answers) -> Bundle:
    """Return the official bundle where it is cached or can be fetched, else the assembled one.

    The official file itself is fetched and verified by workerd at its first start. EDGELOOP_BUNDLE=official|assembled
    decides by hand (a proxy that answers for the CDN with something else, say).
    """
    wish = os.environ.get("EDGELOOP_BUNDLE", "")
    if wish not in ("", "official", "assembled"):
        raise BundleError(f"EDGELOOP_BUNDLE is {wish!r}, expected 'official' or 'assembled'")
    if wish == "assembled":
        return assembled()
    directory = _official_directory()
    if wish == "official" or any(directory.glob("pyodide_*.capnp.bin")) or probe():
        directory.mkdir(parents=True, exist_ok=True)
        return Bundle(source="official", directory=directory)
    return assembled()


def remember(bundle: Bundle) -> None:
    """Keep the choice, so that no start waits for a probe."""
    text = json.dumps({"source": bundle.source, "directory": str(bundle.directory)}) + "\n"
    _write_atomically(CHOICE, text.encode())


def current() -> Bundle:
    """Return the remembered choice while it still holds, else choose again."""
    try:
        kept = json.loads(CHOICE.read_text(encoding="utf-8"))
        bundle = Bundle(source=kept["source"], directory=Path(kept["directory"]))
    except (OSError, ValueError, KeyError):
        bundle = None
    # The cache folder is the person's to empty, and XDG_CACHE_HOME may have moved.
    if bundle is None or not bundle.directory.is_dir() or not bundle.directory.is_relative_to(cache_home()):
        bundle = choose()
        remember(bundle)
    return bundle


if __name__ == "__main__":
    remember(choose())
