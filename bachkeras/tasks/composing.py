"""New pieces, from nothing."""

from __future__ import annotations

import os

from bachkeras._presets import COMPOSING
from bachkeras.models.base import FrameModel
from bachkeras.music.score import Score
from bachkeras.tasks import hearing
from bachkeras.training import samples, settings


def compose(
    model: str | os.PathLike | FrameModel = COMPOSING,
    *,
    count: int = 1,
    length: int | str | None = None,
    key: str | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int | None = None,
) -> list[Score]:
    """Let a model write new pieces, in settings (key, metre, upbeat) like those of its corpus.

    Args:
        model: a preset's name, a run directory, or what `bachkeras.load` made of one.
        count: number of pieces.
        length: frames of each; "auto": until the model ends it; None: auto where the model can, else 64.
        key: of all pieces, such as "D minor"; None: keys as the corpus has them.
        temperature: above 1 bolder, below 1 safer.
        top_p: draw from the most probable notes that together reach this probability.
        seed: the same seed gives the same music; None: a new one.

    Raises:
        ValueError: if an argument is out of its range, or the model has learned nothing of the kind.
    """
    performer = hearing.player(model)
    hearing.check_count(count)
    return samples.scores(
        performer,
        performer.card,
        count=count,
        length=length,
        key=None if key is None else settings.parse_key(key),
        temperature=temperature,
        top_p=top_p,
        seed=hearing.seed(seed),
    )
