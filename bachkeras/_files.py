"""Files that are whole at every moment, whatever ends the process, and one process to a folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows has none.
    fcntl = None

UNFINISHED = ".unfinished."
"""How the names of folders begin in which something is made."""


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Make a file or a folder somewhere else; in the end it takes `path`'s place in one step.

    Yields:
        Where to make it: in a folder of its own, so that a library's own temporary files are in there too.
    """
    folder = path.with_name(f"{UNFINISHED}{path.name}")
    shutil.rmtree(folder, ignore_errors=True)  # A killed process may have left it.
    folder.mkdir()
    try:
        yield folder / path.name
        _to_disk(folder / path.name)
        os.replace(folder / path.name, path)
        _to_disk(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def replace(path: str | os.PathLike, content: bytes) -> None:
    """Write a file: until all of it is there, the path holds what it held before.

    Raises:
        OSError: if the file cannot be written.
    """
    with whole(Path(path)) as unfinished:
        unfinished.write_bytes(content)


def _to_disk(path: Path) -> None:
    """Let what a file or folder holds survive a power cut, where the system can say so."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process was making in a folder, or where it made the folder itself."""
    folder = folder.resolve()
    shutil.rmtree(folder.with_name(f"{UNFINISHED}{folder.name}"), ignore_errors=True)
    for path in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(path)


def check_folder(path: Path) -> None:
    """Raises ValueError if a path is no folder that can be written to, or could be made; makes none."""
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ValueError(f"This is no folder that can be written to. Received: out={str(path)!r}")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all; NaN and infinity are a ValueError."""
    replace(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes from working in a folder. A killed process leaves no lock behind.

    Args:
        folder: it must exist.
        wait: whether to wait for a process that has locked it.

    Raises:
        RuntimeError: if another process has locked it, and nobody waits.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # A file system without locks guards against nothing.
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not wait:
                    raise RuntimeError(
                        f"Another process is at work in this folder. Received: {str(folder)!r}"
                    ) from None
                print(f"Waiting for another process that is at work in {folder}.", file=sys.stderr)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
