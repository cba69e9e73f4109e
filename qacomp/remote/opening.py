"""Open a container by path or URL. By URL only the bytes that are needed are fetched."""

import os
from functools import partial
from pathlib import Path
from typing import Any

from qacomp.errors import RemoteError
from qacomp.formats import Container, RangeSource, VerifyReport
from qacomp.formats import open_file as open_local
from qacomp.formats.shard_index import LARGEST_INDEX, is_shard_index, parse_shard_index
from qacomp.formats.sharded import ShardedContainer
from qacomp.remote.files import open_fsspec
from qacomp.remote.http import open_http
from qacomp.remote.urls import url_of


def open_file(path: str | os.PathLike[str] | bytes, **options: Any) -> Container:
    """Open a container, given its path, its URL or its bytes; options and errors as for `qacomp.formats.open_file`.

    The URL may be that of an index of shards. Raises RemoteError if the server can't be reached, doesn't send parts of
    files, or sends something else than it said before.
    """
    url = url_of(path)
    if url is None:
        return open_local(path, **options)
    source = remote_file(url)
    if not is_shard_index(url):
        return open_local(source, **options)
    if source.size > LARGEST_INDEX:
        raise RemoteError(f"{url}: has {source.size:,} bytes, too many for an index of shards")
    index = parse_shard_index(source.fetch(0, source.size), url)
    options.pop("allow_truncated", None)
    root = options.pop("root", None)
    options |= {"verify": True} if root is not None else {}
    return ShardedContainer(Path(url), index, partial(open_file, **options), url, root)


def verify_file(path: str | os.PathLike[str] | bytes, root: str | None = None) -> VerifyReport:
    """Check a whole container, given its path, its URL or its bytes; see `qacomp.formats.verify_file`."""
    with open_file(path, root=root) as container:
        return container.check()


def remote_file(url: str) -> RangeSource:
    """Return a file of which ranges can be fetched. Raises RemoteError."""
    return open_http(url) if url.startswith(("http://", "https://")) else open_fsspec(url)
