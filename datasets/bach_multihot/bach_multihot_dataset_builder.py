"""Bach's chorales as multi-hot piano rolls, and any folder of MIDI files."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets.public_api as tfds

from bachkeras.data import folder, sources
from bachkeras.music.pianoroll import KEYS

_JSB = "https://raw.githubusercontent.com/czhuang/JSB-Chorales-dataset/9a7f733ddb4ed91f48da64ac7f0f621c34aadd4d/"
JSB_QUARTER_URL = _JSB + "jsb-chorales-quarter.json"
JSB_16TH_URL = _JSB + "Jsb16thSeparated.json"
JSB_QUARTER_SHIFT = -12
"""Semitones from the benchmark's pitches, key-normalised and an octave high, to where the chorales sound."""


@dataclasses.dataclass(kw_only=True)
class BachConfig(tfds.core.BuilderConfig):
    """A source and its grid.

    Attributes:
        source: 'music21', 'jsb_quarter', 'jsb_16th' or 'folder'.
        timestep: length of a frame in quarter lengths; None = each piece's most common note duration.
        folder: its path, of a source that is one.
        keep_performances: see `folder.read`.
    """

    source: str = "music21"
    timestep: Fraction | None = None
    folder: str = ""
    keep_performances: bool = False


def folder_config(path: Path, keep_performances: bool = False) -> BachConfig:
    """The configuration of a folder as it is now: another content has another name, so that both can be there.

    Raises:
        folder.FolderError: if there is no such folder, or it has no MIDI file.
    """
    digest = folder.digest(path, keep_performances=keep_performances)
    label = re.sub(r"[^\w-]", "_", path.name, flags=re.ASCII)[:40]
    return BachConfig(
        name=f"{label}-{digest[:16]}",
        description="The MIDI files of a folder, each in steps of its most common note duration.",
        source="folder",
        folder=str(path),
        keep_performances=keep_performances,
    )


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builder of the `bach_multihot` data set."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "1.0.0": "The chorales of music21's corpus on three grids; the JSB benchmark's quarter-note file.",
        "1.1.0": "The JSB benchmark's sixteenth-note file, in four labelled voices.",
    }
    BUILDER_CONFIGS: ClassVar[list[BachConfig]] = [
        BachConfig(name="chorales", description="Each chorale in steps of its most common note duration."),
        BachConfig(name="chorales_8th", description="The chorales in eighths.", timestep=Fraction(1, 2)),
        BachConfig(name="chorales_16th", description="The chorales in sixteenths.", timestep=Fraction(1, 4)),
        BachConfig(name="jsb_quarter", description="The JSB Chorales benchmark in quarters.", source="jsb_quarter"),
        BachConfig(name="jsb_16th", description="The benchmark in sixteenths, voice by voice.", source="jsb_16th"),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "title": tfds.features.Text(),
                    "family": tfds.features.Text(),
                    "pianoroll": _array((None, KEYS), np.bool_),
                    "onsets": _array((None, KEYS), np.bool_),
                    "voices": _array((None, None), np.int32),
                    "voice_onsets": _array((None, None), np.bool_),
                    "timestep": _array((2,), np.int32),
                    "tonic": tfds.features.Scalar(np.int32),
                    "mode": tfds.features.Scalar(np.int32),
                    "position": _array((None,), np.int32),
                    "frames_per_bar": tfds.features.Scalar(np.int32),
                }
            ),
            homepage="https://github.com/cuthbertLab/music21",
            metadata=tfds.core.MetadataDict(sounding_shift=0),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        if self.builder_config.source == "folder":
            examples = self._folder()
        elif self.builder_config.source == "jsb_quarter":
            self.info.metadata["sounding_shift"] = JSB_QUARTER_SHIFT
            examples = sources.jsb_quarter_examples(dl_manager.download(JSB_QUARTER_URL).read_text())
        elif self.builder_config.source == "jsb_16th":
            examples = sources.jsb_16th_examples(dl_manager.download(JSB_16TH_URL).read_text())
        else:
            examples = self._chorales()
        return {split: self._generate_examples(examples[split]) for split in ("train", "validation", "test")}

    def _chorales(self) -> dict[str, list[sources.Example]]:
        """The examples of each split, as splits.tsv says; what sampling and cleaning lost goes to the metadata."""
        rows = list(csv.DictReader((self.pkg_dir_path / "splits.tsv").read_text().splitlines(), delimiter="\t"))
        examples, lost = sources.chorale_examples([row["id"] for row in rows], self.builder_config.timestep)
        self.info.metadata.update(lost)
        splits = {row["split"]: [] for row in rows}
        for row, example in zip(rows, examples, strict=True):
            splits[row["split"]].append(example | {"family": row["family"]})
        return splits

    def _folder(self) -> dict[str, Iterator[sources.Example]]:
        """The examples of each split; what was left out, what was lost and what was found go to the metadata."""
        config = self.builder_config
        contents = folder.read(Path(config.folder), keep_performances=config.keep_performances)
        if folder_config(Path(config.folder), config.keep_performances).name != config.name:
            raise folder.FolderError(
                f"The folder has changed while it was read: try again. Received: {config.folder!r}"
            )
        self.info.metadata.update(contents.counts | {"left_out": contents.left_out})
        return {split: folder.unpack(packed) for split, packed in contents.pieces.items()}

    def _generate_examples(self, examples: Iterable[sources.Example]) -> Iterator[tuple[str, sources.Example]]:
        for example in examples:
            yield example["id"], example


def _array(shape: tuple[int | None, ...], dtype: type) -> tfds.features.Tensor:
    """A compressed array: rolls are nearly all zeros. More than one unknown dimension needs an explicit encoding."""
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding=tfds.features.Encoding.ZLIB)
