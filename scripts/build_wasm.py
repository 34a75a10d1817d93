"""Build `src/hot/edgeloop.wasm` from `rust-wasm/`, byte for byte the same everywhere, and write its manifest.

Called by `make wasm`; nobody else needs Rust. The bytes depend on the sources, the Rust toolchain, wasm-bindgen and
wasm-opt, so all are pinned: rustc by rust-toolchain.toml, wasm-opt by package-lock.json, the two cargo tools here.
They do not depend on where anything lies: paths are remapped, and `--verify` proves it by a second build elsewhere.

wasm-bindgen's JS glue is not kept: its `initSync` makes one instance for ever, while a trapped instance must be
replaced, and the numeric exports need none of it (`src/hot/hot.mjs`).
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUST = ROOT / "rust-wasm"
HOT = ROOT / "src" / "hot"
MANIFEST = HOT / "manifest.json"
WASM = "edgeloop.wasm"
# Data modules that are made by hand-run generators and only checked here.
TABLES = ("o200k.bin",)

WASM_PACK = "0.15.1"
# wasm-bindgen-cli's own lock file names a yanked dependency, so it cannot be installed with --locked.
LOCKED = {"wasm-pack": True, "wasm-bindgen-cli": False}


class BuildError(Exception):
    """A tool is missing, has another version, or failed; the message says which and what to do."""


def toolchain() -> str:
    """The pinned rustc version."""
    return tomllib.loads((RUST / "rust-toolchain.toml").read_text())["toolchain"]["channel"]


def locked_version(crate: str) -> str:
    """A crate's version in rust-wasm/Cargo.lock."""
    packages = tomllib.loads((RUST / "Cargo.lock").read_text())["package"]
    return next(package["version"] for package in packages if package["name"] == crate)


def binaryen_version() -> str:
    """wasm-opt's version in package-lock.json."""
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    return packages["node_modules/binaryen"]["version"]


def source_files() -> list[Path]:
    """Everything that decides the bytes, and nothing else: not checks/, py/, gen/, tests or prose."""
    files = [RUST / name for name in ("Cargo.toml", "Cargo.lock", "rust-toolchain.toml")]
    for crate in ("core", "wasm"):
        files.append(RUST / crate / "Cargo.toml")
        files += [path for path in (RUST / crate / "src").rglob("*") if path.suffix in {".rs", ".bin"}]
    files.append(Path(__file__).resolve())
    return sorted(files)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sources_digest() -> str:
    """One hash over the sources' names and contents, in sorted order."""
    total = hashlib.sha256()
    for path in source_files():
        total.update(f"{path.relative_to(ROOT).as_posix()}\0{digest(path.read_bytes())}\n".encode())
    return total.hexdigest()


def tools() -> dict[str, str]:
    """Name and version of every tool the bytes depend on."""
    return {
        "rustc": toolchain(),
        "wasm-pack": WASM_PACK,
        "wasm-bindgen": locked_version("wasm-bindgen"),
        "wasm-opt": binaryen_version(),
    }


def describe(outputs: dict[str, bytes]) -> dict[str, object]:
    """The manifest of these outputs."""
    files = {name: {"sha256": digest(data), "bytes": len(data)} for name, data in sorted(outputs.items())}
    return {"sources": sources_digest(), "tools": tools(), "outputs": files}


def cargo_home() -> Path:
    return Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))


def install_tool(crate: str, version: str) -> Path:
    """Install a cargo tool under the user's cache, once per version; returns its bin folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    home = cache / "edgeloop" / "wasm-tools" / f"{crate.removesuffix('-cli')}-{version}"
    if not (home / ".crates.toml").exists():
        print(f"installing {crate} {version} (about two minutes)", flush=True)
        command = ["cargo", f"+{toolchain()}", "install", crate, "--version", version, "--root", str(home)]
        run(command + ["--locked"] * LOCKED[crate], cwd=ROOT)
    return home / "bin"


def run(command: list[str], cwd: Path, env: dict[str, str] | None = None) -> None:
    try:
        subprocess.run(command, cwd=cwd, env=env, check=True)
    except FileNotFoundError as error:
        raise BuildError(f"`{command[0]}` is not installed; `make doctor` says how to get it") from error
    except subprocess.CalledProcessError as error:
        raise BuildError(f"`{' '.join(command)}` ended with {error.returncode}") from error


def build_environment(workspace: Path, bins: list[Path]) -> dict[str, str]:
    """PATH with the pinned tools first, and flags that take every local path out of the output."""
    registries = sorted((cargo_home() / "registry" / "src").glob("*"))
    remaps = [(workspace, "/edgeloop"), *((registry, "/deps") for registry in registries)]
    # The default stack is 1 MB of every isolate's memory. Histogram diff alone recurses; too deep is a trap.
    tuning = ["-Ctarget-feature=+simd128", "-Clink-arg=-zstack-size=524288"]
    flags = [*tuning, *(f"--remap-path-prefix={old}={new}" for old, new in remaps)]
    path = os.pathsep.join([*map(str, bins), os.environ["PATH"]])
    # Encoded, because a path may hold a space; RUSTFLAGS would otherwise be split there.
    return os.environ | {"PATH": path, "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags)}


def build(workspace: Path) -> bytes:
    """Build the workspace copied to `workspace`; returns the optimized module."""
    bins = [
        install_tool("wasm-pack", WASM_PACK),
        install_tool("wasm-bindgen-cli", locked_version("wasm-bindgen")),
        ROOT / "node_modules" / "binaryen" / "bin",
    ]
    if not (bins[2] / "wasm-opt").exists():
        raise BuildError(
            "wasm-opt is missing: run `make setup` (npm's binaryen, pinned in package-lock.json)"
        )
    run(["cargo", f"+{toolchain()}", "fetch", "--locked"], cwd=workspace)
    pack = ["wasm-pack", "build", "wasm", "--target", "web", "--release", "--no-typescript", "--no-pack"]
    options = ["--out-dir", "../pkg", "--out-name", "edgeloop", "--", "--locked"]
    env = build_environment(workspace, bins) | {"RUSTUP_TOOLCHAIN": toolchain()}
    run(pack + options, cwd=workspace, env=env)
    return (workspace / "pkg" / "edgeloop_bg.wasm").read_bytes()


def copy_workspace(target: Path) -> Path:
    """Build in a copy, so that nothing but the listed sources can take part."""
    for path in source_files():
        if path.is_relative_to(RUST):
            copy = target / path.relative_to(RUST)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return target


def build_fresh() -> bytes:
    with tempfile.TemporaryDirectory(prefix="edgeloop-wasm-") as folder:
        return build(copy_workspace(Path(folder) / "rust-wasm"))


def write(wasm: bytes) -> None:
    outputs = {WASM: wasm} | {name: (HOT / name).read_bytes() for name in TABLES}
    (HOT / WASM).write_bytes(wasm)
    MANIFEST.write_text(json.dumps(describe(outputs), indent=2) + "\n")


def main(arguments: list[str]) -> int:
    wasm = build_fresh()
    if "--verify" in arguments and (again := build_fresh()) != wasm:
        print(f"two builds differ: {digest(wasm)} and {digest(again)}", file=sys.stderr)
        return 1
    before = (HOT / WASM).read_bytes() if (HOT / WASM).exists() else b""
    write(wasm)
    print(f"{WASM}: {len(wasm):,} bytes, {'unchanged' if wasm == before else 'changed'}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BuildError as problem:
        sys.exit(f"build_wasm: {problem}")
