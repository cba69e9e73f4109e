"""Check the paths of files that a container carries: they come from a file, so they are hostile."""

from collections.abc import Iterable
from unicodedata import normalize

MOST_FILES = 4096
_LONGEST_PATH, _LONGEST_PART, _DEEPEST = 1024, 255, 16  # bytes, bytes (as file systems allow), folders
_FORBIDDEN = frozenset('\\:*?"<>|')  # separators, drives, streams and wildcards of some systems
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{word}{number}" for word in ("com", "lpt") for number in "0123456789¹²³"}
)
_REFUSED = frozenset({".git"})  # its hooks are programs, which git runs


def path_problem(path: str) -> str | None:
    """Return why a file of a folder can't have this path, relative and with slashes; None if it can.

    A path must mean the same file below the folder on every system. So these are refused: absolute paths, "..", ".",
    empty parts, separators and drives of other systems, device names, control characters, a dot or a space at the end,
    anything in a folder .git, and paths that are too long or too deep.
    """
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "isn't valid Unicode"
    parts = path.split("/")
    if size > _LONGEST_PATH or len(parts) > _DEEPEST or any(len(part.encode()) > _LONGEST_PART for part in parts):
        return "is too long or too deep"
    if path.startswith("/"):
        return "is absolute"
    for part in parts:
        if part in ("", ".", ".."):
            return f"has the part {part!r}"
        if any(not letter.isprintable() or letter in _FORBIDDEN for letter in part):
            return "has a character that file names can't have everywhere"
        if part[-1] in ". " or part[0] == " ":
            return "has a part that begins with a space, or ends with a dot or a space"
        if part.partition(".")[0].strip().casefold() in _DEVICES:
            return f"has the name of a device, {part}"
        if _key(part) in _REFUSED:
            return f"is in a folder {part}"
    return None


def paths_problem(paths: Iterable[str]) -> str | None:
    """Return why these paths can't be the files of one folder, beginning with a path; None if they can.

    Besides `path_problem` these are refused: two names that differ in case or Unicode form only, a file that is also a
    folder, and more than MOST_FILES files.
    """
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for path in paths:
        if (problem := path_problem(path)) is not None:
            return f"{path[:80]!r} {problem}"
        if len(files) == MOST_FILES:
            return f"{path[:80]!r} is one of more than {MOST_FILES} files"
        key = _key(path)
        if key in files:
            return f"{path[:80]!r} and {files[key][:80]!r} are one name where case doesn't count"
        files[key] = path
        parts = path.split("/")
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            if (other := folders.setdefault(_key(above), above)) != above:
                return f"{above[:80]!r} and {other[:80]!r} are one name where case doesn't count"
    for key, path in files.items():
        if key in folders:
            return f"{path[:80]!r} is a file and a folder"
    return None


def _key(path: str) -> str:
    """Return a text that is equal for two paths that some file system takes for one."""
    return normalize("NFC", normalize("NFKC", path).casefold())
