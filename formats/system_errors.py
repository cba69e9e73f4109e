"""Explain errors of the operating system: the reason, and what the user can do."""

import errno
import os

_SPACE = "free space there, or choose another path"
_ADVICE = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: "your quota there is used up: free space, or choose another path",
    errno.EFBIG: "the file system or a limit (ulimit -f) allows no file of that size; choose another path",
    errno.EROFS: "the file system is read-only; choose another path",
    errno.EACCES: "change its permissions, or choose another path",
    errno.EPERM: "change its permissions, or choose another path",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOENT: "check the path, and that its folder exists",
    errno.ENOTDIR: "a part of the path is a file, not a folder; check it",
    errno.EISDIR: "give a file, not a folder",
    errno.ELOOP: "the links lead in a circle; give the path of the file itself",
    errno.ENOMEM: "close other programs, or take a machine with more memory",
    errno.E2BIG: "give fewer or shorter arguments at once",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine; close other programs",
    errno.EIO: "the disk reports an error; check it, and copy the file again",
}


def words(error: OSError) -> str:
    """Return the system's reason, such as `No space left on device`."""
    return error.strerror or " ".join(str(error).split()) or type(error).__name__


def advice(error: OSError) -> str:
    """Return what the user can do, such as `free space there, or choose another path`."""
    return _ADVICE.get(error.errno or 0, "check the path, or choose another one")


def explained(error: OSError) -> str:
    """Return one line: the path, if the error names one, the reason, and what to do."""
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    where = f"{' and '.join(names)}: " if names else ""
    return f"{where}{words(error)}; {advice(error)}"
