"""The corpora by name or folder: TFDS behind one door."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bachkeras import _files as files
from bachkeras.data import folder
from bachkeras.data.pipeline import Corpus

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

NAMES = ("chorales", "chorales_8th", "chorales_16th", "jsb_quarter", "jsb_16th")
DOWNLOADED = ("jsb_quarter", "jsb_16th")
SPLITS = ("train", "validation", "test")


class CorpusError(RuntimeError):
    """A corpus that could not be built."""


def builder(name: str, *, keep_performances: bool = False) -> tfds.core.DatasetBuilder:
    """The TFDS builder of a corpus, prepared or not.

    Args:
        name: one of `NAMES`, or a folder of MIDI files: what it holds now decides which data set it is.
        keep_performances: of a folder, see `folder.read`.

    Raises:
        ValueError: if there is no such corpus, or the folder has no MIDI file.
    """
    from bach_multihot.bach_multihot_dataset_builder import Builder, folder_config

    if keep_performances and not folder.is_folder(name):
        raise ValueError(f"Only a folder may have performances to keep. Received: data={name!r}")
    if folder.is_folder(name):
        config = folder_config(Path(folder.canonical(name)), keep_performances)
    elif name in NAMES:
        config = name
    else:
        raise ValueError(
            f"There is no such corpus; there are {', '.join(NAMES)}, and folders, as in ./{name}. "
            f"Received: name={name!r}"
        )
    return Builder(config=config, data_dir=os.environ.get("TFDS_DATA_DIR"))


def build(
    name: str, *, keep_performances: bool = False, manual_dir: str | os.PathLike | None = None
) -> tfds.core.DatasetBuilder:
    """Prepare a corpus under `TFDS_DATA_DIR`; one that is there already is left alone.

    Another process that builds it is waited for. Of a folder it is said what was left out.

    Args:
        name: see `builder`.
        keep_performances: see `builder`.
        manual_dir: a folder that holds the benchmark's file, instead of downloading it.

    Returns:
        Its builder, prepared.

    Raises:
        ValueError: if there is no such corpus, or no file of the folder can be used.
        CorpusError: if it could not be built.
    """
    import tensorflow_datasets as tfds

    if manual_dir is not None and not Path(manual_dir).is_dir():
        raise ValueError(f"The folder of downloaded files is not there. Received: manual_dir={str(manual_dir)!r}")
    wanted = builder(name, keep_performances=keep_performances)
    if wanted.data_path.exists():
        return wanted
    config = tfds.download.DownloadConfig(manual_dir=None if manual_dir is None else Path(manual_dir).absolute())
    place = Path(wanted.data_path).parent
    try:
        place.mkdir(parents=True, exist_ok=True)
        with files.locked(place, wait=True):
            _remove_unfinished(place)
            prepared = type(wanted)(config=wanted.builder_config, data_dir=os.environ.get("TFDS_DATA_DIR"))
            prepared.download_and_prepare(download_config=config)
    except folder.FolderError:
        raise
    except Exception as error:  # TFDS passes on whatever its downloader, its checks or the disk raise.
        reason = " ".join(str(error).split())[:300]
        advice = (
            "without a network, fetch its file elsewhere and name the folder with --manual-dir"
            if name in DOWNLOADED
            else f"it is built in {wanted.data_dir}; TFDS_DATA_DIR names another folder"
        )
        raise CorpusError(
            f"The corpus {name!r} could not be built: {type(error).__name__}: {reason}; {advice}."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # It holds something, but where nothing was built.
            place.rmdir()
    for line in left_out(prepared.info.metadata):
        print(line)
    return prepared


def _remove_unfinished(place: Path) -> None:
    """Remove what killed processes have left in the folder of a corpus, which is locked, and in those beside it."""
    for unfinished in place.parent.glob("*/incomplete.*"):
        other = unfinished.parent != place
        with contextlib.suppress(RuntimeError), files.locked(unfinished.parent) if other else contextlib.nullcontext():
            shutil.rmtree(unfinished)


def left_out(metadata: Mapping[str, Any]) -> list[str]:
    """What a folder's corpus leaves out, by its metadata: a line for all files, then one for each; nothing if none."""
    missing = metadata.get("left_out", {})
    lines = [f"  {name}: {reason}" for name, reason in sorted(missing.items())]
    return [f"left out, {len(missing)} of {metadata['files']} files:", *lines] if lines else []


def version(prepared: tfds.core.DatasetBuilder) -> str:
    """What a corpus' frames and splits depend on: the builder's version, and of a folder what it holds."""
    config = prepared.builder_config
    return f"{prepared.version} {config.name}" if config.folder else str(prepared.version)


def load(
    name: str, split: str, *, keep_performances: bool = False, manual_dir: str | os.PathLike | None = None
) -> Corpus:
    """A split of a corpus, in memory; the corpus is built first where it is not there.

    Args:
        name: see `builder`.
        split: "train", "validation" or "test".
        keep_performances: see `builder`.
        manual_dir: see `build`.

    Raises:
        ValueError: if there is no such corpus or split, or no file of the folder can be used.
        CorpusError: if it could not be built.
    """
    import tensorflow_datasets as tfds

    if split not in SPLITS:
        raise ValueError(f"There is no such split; there are {', '.join(SPLITS)}. Received: split={split!r}")
    prepared = build(name, keep_performances=keep_performances, manual_dir=manual_dir)
    examples = tfds.as_numpy(prepared.as_dataset(split=split, shuffle_files=False))
    pieces = [{key: _text(value) for key, value in example.items()} for example in examples]
    shift = int(prepared.info.metadata["sounding_shift"])
    return Corpus(pieces, prepared.builder_config.folder or name, shift, version(prepared))


def digest(corpora: list[Corpus]) -> str:
    """SHA-256 over the decoded examples in their order, in hexadecimal: equal builds have equal digests."""
    sha = hashlib.sha256()
    for corpus in corpora:
        for piece in corpus.pieces:
            for key in sorted(piece):
                value = piece[key]
                sha.update(key.encode())
                sha.update(value.encode() if isinstance(value, str) else value.dtype.str.encode() + value.tobytes())
    return sha.hexdigest()


def _text(value):
    return value.decode() if isinstance(value, bytes) else value
