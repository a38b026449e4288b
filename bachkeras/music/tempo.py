"""Tempo: from ticks to seconds."""

from __future__ import annotations

import numpy as np

from bachkeras.music.midi import QUARTERS_PER_MINUTE
from bachkeras.music.score import Score, Tempo

_UNTIL_THE_FIRST = Tempo(0, 120.0)
"""What MIDI plays before the first tempo, where that does not stand at the beginning."""


def seconds(score: Score, ticks: np.ndarray | int) -> np.ndarray:
    """When ticks of a score sound, as in the file that `midi.write` makes of it.

    A score without tempos has 80 quarters a minute.

    Args:
        score: any score.
        ticks: integers of any shape, 0 or more.

    Returns:
        Seconds from the beginning, float64, of the shape of `ticks`.

    Raises:
        ValueError: if a tempo is not positive.
    """
    tempos = score.tempos or (Tempo(0, QUARTERS_PER_MINUTE),)
    if not all(tempo.quarters_per_minute > 0 for tempo in tempos):
        raise ValueError(f"A tempo must be positive. Received: {tempos=}")
    tempos = (_UNTIL_THE_FIRST, *tempos)
    begins = np.array([tempo.tick for tempo in tempos])
    lengths = 60 / np.array([tempo.quarters_per_minute for tempo in tempos]) / score.ticks_per_quarter
    times = np.concatenate([[0], np.cumsum(np.diff(begins) * lengths[:-1])])
    now = np.searchsorted(begins, ticks, side="right") - 1
    return times[now] + (ticks - begins[now]) * lengths[now]
