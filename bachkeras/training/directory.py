"""A run directory: what it says of itself, and its model."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

import bachkeras.models  # noqa: F401 - Keras must know the classes of a saved model.
from bachkeras import _presets as presets
from bachkeras.data import catalog, folder
from bachkeras.data.pipeline import Corpus
from bachkeras.evaluation.judge import Judge
from bachkeras.music.voices import REST
from bachkeras.training import checkpoint, settings
from bachkeras.training.config import Config, from_dict

FORMAT = 1
"""Number of the run directory's format: what has another one is refused, not guessed at."""

NO_RUN = "This is no run directory"

DAMAGED = "The preset is damaged: install bachkeras again"

PACKAGES = ("bachkeras", "tensorflow", "keras", "tensorflow-datasets", "numpy")


def load(path: str | os.PathLike) -> keras.Model:
    """The model of a preset or a run; its `card` is what `card` says of the run.

    Args:
        path: a preset's name, or a run directory.

    Raises:
        ValueError: if the directory is no run, or one of another format, or holds no model yet.
    """
    content = card(path)
    check_model(path)
    try:
        model = keras.saving.load_model(presets.place(path) / "model.keras")
    except Exception as error:  # Keras passes on whatever unzipping and rebuilding raise.
        if presets.is_preset(presets.place(path)):
            raise ValueError(f"{DAMAGED} (its model.keras cannot be read). Received: {str(path)!r}") from error
        raise ValueError(f"Its model.keras cannot be read: {error} Received: {str(path)!r}") from error
    model.card = MappingProxyType(content)  # Not a dict, which Keras would save with the model.
    return model


def judge(path: str | os.PathLike) -> Judge:
    """The model of a preset or a run as a judge of samples; errors as of `load` and `card`."""
    return Judge(Path(path).name, load(path), card(path))


def check_model(path: str | os.PathLike) -> None:
    """Raises ValueError if the preset or run holds no model yet."""
    there = presets.place(path)
    if not (there / "model.keras").is_file():
        if presets.is_preset(there):
            raise ValueError(f"{DAMAGED} (no model.keras). Received: {str(path)!r}")
        raise ValueError(f"The run holds no model yet (no model.keras). Received: {str(path)!r}")


def unfinished(path: str | os.PathLike) -> bool:
    """Whether the run is still in training, or was broken off."""
    return (Path(path) / checkpoint.NAME).exists()


def card(path: str | os.PathLike) -> dict[str, Any]:
    """The config.json of a preset or a run, and `trained_on`: the corpora whose training split the weights have seen.

    They are in the order of training; the run's own corpus is the last one.

    Raises:
        ValueError: if the directory is no run, or one of another format.
    """
    there = presets.place(path)
    try:
        content = json.loads((there / "config.json").read_text())
        found = content["format"]
        if found == FORMAT:
            from_dict(content["config"])
            settings.known(content)
            for name in ("model", "seed", "sounding_shift"):
                content[name]
            own, _ = content["data"]["name"], content["data"]["version"]
            before = content.get("init", {}).get("trained_on", [])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        problem = DAMAGED if presets.is_preset(there) else NO_RUN
        raise ValueError(f"{problem} (no readable config.json). Received: {str(path)!r}") from None
    if found != FORMAT:
        raise ValueError(
            f"It has format {found}, this bachkeras reads {FORMAT}: train it again, or install "
            f"the version that made it. Received: {str(path)!r}"
        )
    return content | {"trained_on": [*(name for name in before if name != own), own]}


def corpus(
    content: Mapping[str, Any], split: str, *, data: str | None = None, manual_dir: Path | None = None
) -> Corpus:
    """A split of the corpus that a run was trained on, or of another, `data`; arguments and errors of `catalog.load`.

    Args:
        content: the run's `card`.
        split: its name.
        data: another corpus, by name or folder.
        manual_dir: see `catalog.build`.
    """
    name, keep = place(content, data)
    return catalog.load(name, split, keep_performances=keep, manual_dir=manual_dir)


def place(content: Mapping[str, Any], data: str | None = None) -> tuple[str, bool]:
    """The name of the corpus that a run was trained on, or of another, and whether its performances are kept."""
    own = from_dict(content["config"]).data
    name = folder.canonical(data or own.name)
    return name, own.keep_performances and name == own.name


def describe(model_name: str, config: Config, train: Corpus, seed: int) -> dict[str, Any]:
    """What the config.json of a new run says."""
    return {
        "format": FORMAT,
        "model": model_name,
        "config": config.to_dict(),
        "data": data(train),
        "seed": seed,
        "sounding_shift": train.sounding_shift,
        "mean_length": train.frames / len(train),  # In frames.
        # What the corpus' pieces are like, so that new ones can be: setting, number of pieces.
        "settings": [[setting._asdict(), count] for setting, count in settings.of_corpus(train)],
        # The lowest and the highest pitch index that each voice sings.
        "ranges": ranges(train),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def ranges(corpus: Corpus) -> list[list[int]] | None:
    """The lowest and the highest note of each labelled voice, pitch indices; None where there are none."""
    if not corpus.voices:
        return None
    sung = np.concatenate([piece["voices"] for piece in corpus.pieces])
    columns = [column[column != REST] for column in sung.T]
    return [[int(column.min(initial=REST)), int(column.max(initial=0))] for column in columns]


def data(corpus: Corpus) -> dict[str, str]:
    """A corpus and its version, as config.json has them."""
    return {"name": corpus.name, "version": corpus.version}
