"""Limits of the server process, which only its command line or its configuration file raises."""

from __future__ import annotations

from typing import Final

# In addition to two sockets for each answer: listening sockets, the log, idle connections of both sides.
SPARE_FILES: Final = 256


def allow_open_files(max_open_streams: int) -> None:
    """Raise the soft limit of open files to two for each open stream plus 256, within the hard limit.

    A limit that is high enough stays as it is. On Windows, which has no such limit, nothing happens.
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
