"""Files that are never half-written."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file as a whole: until all of it is there, the path holds what it held before.

    Raises:
        OSError: if the file cannot be written.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
