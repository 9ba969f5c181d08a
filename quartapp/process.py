"""Settings of the server process. Only the command line and gunicorn.conf.py change them, never a host app's import."""

from __future__ import annotations

import gc
from typing import Final

# In addition to two sockets for each answer: listening sockets, the log, idle connections of both sides.
SPARE_FILES: Final = 256


def allow_open_files(max_open_streams: int) -> None:
    """Raise the soft limit of open files to two for each open stream plus 256, within the hard limit.

    A limit that is high enough is unchanged. On Windows, which has no such limit, nothing happens.
    """
    try:
        import resource
    except ImportError:
        return
    count = 2 * max_open_streams + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def freeze_loaded_objects() -> None:
    """Collect garbage once, then exclude all current objects from later collections.

    Call it after the start. A full collection stops every stream while it visits all objects, and nearly all of them
    belong to loaded modules, which are never freed.
    """
    gc.collect()
    gc.freeze()
