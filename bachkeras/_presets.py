"""The released models: which there are, what is known of each, and where one lies. Loads no TensorFlow."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "presets"
"""A preset is a folder in here: a run directory, and a card. Its weights are in half precision, without optimizers."""

FORMAT = 1
"""Number of a card's format: one of another is refused, not guessed at."""

COMPOSING = "chorales"
"""The preset that writes where nobody names a model."""

INTERPOLATING = "lstm-vae"
"""The one that writes what lies between two pieces."""


def presets() -> dict[str, dict[str, Any]]:
    """What is known of each preset, by its name.

    Returns:
        A dict for each: `about`, a sentence; `model`, its name on the command line; `data`, the corpus and its version;
        `licence` of the data; `command` that trains it again, on which `seed`, in how many `minutes`; `recipe`, its
        configuration; `figures`, a row of evaluation.json, measured on the test split from the weights that are
        shipped; `seeds`, of each seed that was trained the figure on the validation split, by which one was chosen, and
        the nats a frame on the test split.

    Raises:
        ValueError: if a card is damaged, or has another format.
    """
    return {name: _card(FOLDER / name) for name in names()}


def names() -> list[str]:
    """The presets' names."""
    return sorted(folder.name for folder in FOLDER.glob("[!._]*") if folder.is_dir())


def place(run: str | os.PathLike) -> Path:
    """The folder of a preset or a run.

    Args:
        run: a preset's name, as text; or the path of a run directory. Text without a separator is a preset's name
            first, so "./q88" and `Path("q88")` are the directory.

    Raises:
        ValueError: if it is text without a separator, and neither a preset's name nor a directory's.
    """
    if not _is_bare(run):
        return Path(run)
    name = os.fspath(run)
    if name in names():
        return FOLDER / name
    if not os.path.isdir(name):
        raise ValueError(
            f"There is no preset and no run directory of that name; the presets are {', '.join(names())}. "
            f"Received: {name!r}"
        )
    return Path(name)


def reference(run: str | os.PathLike) -> str:
    """A preset or a run as text that `place` understands, the same for all ways to write one path."""
    if _is_bare(run):
        return os.fspath(run)
    path = os.path.normpath(os.fspath(run))
    return os.path.join(os.curdir, path) if _is_bare(path) else path


def is_preset(folder: Path) -> bool:
    """Whether a folder is a preset's."""
    return folder.resolve().parent == FOLDER.resolve()


def _is_bare(run: str | os.PathLike) -> bool:
    """Whether it is text without a separator."""
    return isinstance(run, str) and Path(run).name == run and run not in ("", os.curdir, os.pardir)


def _card(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / "card.json").read_text())
        if card["format"] == FORMAT:
            run = json.loads((folder / "config.json").read_text())
            (figures,) = json.loads((folder / "evaluation.json").read_text())
            return {
                "about": card["about"],
                "model": run["model"],
                "data": run["data"],
                "licence": card["licence"],
                "command": card["command"],
                "seed": run["seed"],
                "minutes": figures["train_minutes"],
                "recipe": run["config"],
                "figures": {name: value for name, value in figures.items() if value is not None},
                "seeds": card["seeds"],
            }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(
            f"The preset's card cannot be read: install bachkeras again. Received: {str(folder)!r}"
        ) from None
    raise ValueError(
        f"The preset has format {card['format']}, this bachkeras reads {FORMAT}: install one that matches. "
        f"Received: {str(folder)!r}"
    )
