"""How pieces end: on the tonic in the bass, and after how many frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bachkeras.music.pianoroll import LOWEST
from bachkeras.music.score import UNKNOWN_TONIC


def on_tonic(rolls: Sequence[np.ndarray], tonics: Sequence[int]) -> float | None:
    """Share of pieces whose last chord has the tonic as its lowest note, among those whose tonic is known.

    Args:
        rolls: frames, bool `(time, 88)` each; the last chord is the last frame in which something sounds.
        tonics: 0..11, or 12 unknown, one a piece.

    Returns:
        The share; a piece without a note does not end on its tonic. None where no tonic is known.
    """
    ends = [_bass(roll) == tonic for roll, tonic in zip(rolls, tonics, strict=True) if tonic != UNKNOWN_TONIC]
    return float(np.mean(ends)) if ends else None


def figures(pieces: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Of pieces as a corpus has them: `end_on_tonic`, see `on_tonic`, and `mean_frames_to_end`; None of no pieces."""
    rolls = [piece["pianoroll"] for piece in pieces]
    tonics = [int(piece.get("tonic", UNKNOWN_TONIC)) for piece in pieces]
    frames = float(np.mean([len(roll) for roll in rolls])) if rolls else None
    return {"end_on_tonic": on_tonic(rolls, tonics), "mean_frames_to_end": frames}


def _bass(roll: np.ndarray) -> int | None:
    """Pitch class of the lowest note of the last chord."""
    sounding = roll[roll.any(axis=1)]
    return (int(np.argmax(sounding[-1])) + LOWEST) % 12 if len(sounding) else None
