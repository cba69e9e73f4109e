"""Find the npm packages that the page takes along: onnxruntime-web, which runs models, and fzstd."""

from dataclasses import dataclass
from pathlib import Path

from qacomp.errors import ConfigError

_RUNTIME = ("dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm")  # enough for one thread on the CPU
_ZSTD = ("esm/index.mjs",)
_GET = "run `npm install onnxruntime-web fzstd` in this folder, or name an installed package with --ort FOLDER"


@dataclass(frozen=True)
class Packages:
    """The files to take along by their place in the page's folder, and what is missing, in words."""

    files: dict[str, Path]
    runs: bool
    zstd: bool
    notes: tuple[str, ...]


def find_packages(ort: Path | None, *, wants_zstd: bool = True) -> Packages:
    """Find the packages in `ort`, or in node_modules of the working directory; one that is missing gives a note.

    ort: the folder of the package onnxruntime-web; fzstd is looked for beside it. wants_zstd: the container has
    sections that only fzstd decodes. Raises ConfigError if `ort` is given and isn't that package.
    """
    folder = Path("node_modules", "onnxruntime-web") if ort is None else ort
    runtime = _held(folder, _RUNTIME)
    if ort is not None and not runtime:
        raise ConfigError(
            f"--ort {ort}: has no {_RUNTIME[0]}; give the folder of the npm package onnxruntime-web, 1.21 on"
        )
    zstd = _held(folder.parent / "fzstd", _ZSTD)
    notes = []
    if not runtime:
        notes.append(f"onnxruntime-web isn't here, so the page shows the container, but can't run it; {_GET}")
    if wants_zstd and not zstd:
        notes.append(f"fzstd isn't here, which the page needs for sections stored with Zstandard; {_GET}")
    files = {f"ort/{path.name}": path for path in runtime} | {f"fzstd/{path.name}": path for path in zstd}
    return Packages(files, bool(runtime), bool(zstd), tuple(notes))


def _held(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """Return the files of a package, or none if one is missing."""
    paths = [folder / name for name in names]
    return paths if all(path.is_file() for path in paths) else []
