"""The corpora by name: TFDS behind one door."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from bachkeras.data.pipeline import Corpus

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

NAMES = ("chorales", "chorales_8th", "chorales_16th", "jsb_quarter", "jsb_16th")
DOWNLOADED = ("jsb_quarter", "jsb_16th")
SPLITS = ("train", "validation", "test")


class CorpusError(RuntimeError):
    """A corpus that could not be built."""


def builder(name: str) -> tfds.core.DatasetBuilder:
    """The TFDS builder of a corpus, prepared or not.

    Raises:
        ValueError: if there is no such corpus.
    """
    if name not in NAMES:
        raise ValueError(f"There is no such corpus; there are {', '.join(NAMES)}. Received: name={name!r}")
    from bach_multihot.bach_multihot_dataset_builder import Builder

    return Builder(config=name, data_dir=os.environ.get("TFDS_DATA_DIR"))


def build(name: str, *, manual_dir: str | os.PathLike | None = None) -> tfds.core.DatasetBuilder:
    """Prepare a corpus under `TFDS_DATA_DIR`; one that is there already is left alone.

    Args:
        name: one of `NAMES`.
        manual_dir: a folder that holds the benchmark's file, instead of downloading it.

    Returns:
        Its builder, prepared.

    Raises:
        ValueError: if there is no such corpus.
        CorpusError: if it could not be built.
    """
    import tensorflow_datasets as tfds

    if manual_dir is not None and not Path(manual_dir).is_dir():
        raise ValueError(f"The folder of downloaded files is not there. Received: manual_dir={str(manual_dir)!r}")
    prepared = builder(name)
    config = tfds.download.DownloadConfig(manual_dir=None if manual_dir is None else Path(manual_dir).absolute())
    try:
        prepared.download_and_prepare(download_config=config)
    except Exception as error:  # TFDS passes on whatever its downloader, its checks or the disk raise.
        reason = " ".join(str(error).split())[:300]
        advice = (
            "without a network, fetch its file elsewhere and name the folder with --manual-dir"
            if name in DOWNLOADED
            else f"it is built in {prepared.data_dir}; TFDS_DATA_DIR names another folder"
        )
        raise CorpusError(
            f"The corpus {name!r} could not be built: {type(error).__name__}: {reason}; {advice}."
        ) from error
    return prepared


def load(name: str, split: str, *, manual_dir: str | os.PathLike | None = None) -> Corpus:
    """A split of a corpus, in memory; the corpus is built first where it is not there.

    Args:
        name: one of `NAMES`.
        split: "train", "validation" or "test".
        manual_dir: see `build`.

    Raises:
        ValueError: if there is no such corpus or split.
        CorpusError: if it could not be built.
    """
    import tensorflow_datasets as tfds

    if split not in SPLITS:
        raise ValueError(f"There is no such split; there are {', '.join(SPLITS)}. Received: split={split!r}")
    prepared = build(name, manual_dir=manual_dir)
    examples = tfds.as_numpy(prepared.as_dataset(split=split, shuffle_files=False))
    pieces = [{key: _text(value) for key, value in example.items()} for example in examples]
    return Corpus(pieces, name, int(prepared.info.metadata["sounding_shift"]))


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
