"""Keys: which one a piece is in, by its notes."""

from __future__ import annotations

import numpy as np

from bachkeras.music.score import MAJOR, MINOR, Key, Score

PROFILES = {
    MAJOR: (17.77, 0.15, 14.93, 0.16, 19.80, 11.36, 0.29, 22.06, 0.15, 8.15, 0.23, 4.95),
    MINOR: (18.26, 0.74, 14.05, 16.86, 0.70, 14.44, 0.70, 18.62, 4.57, 1.93, 7.38, 1.76),
}
"""How often each degree of a key comes in folk songs, in semitones above the tonic (Aarden 2003)."""

LAST = 0.5
"""What it weighs that a piece ends on the tonic, beside a correlation; chosen on validation pieces."""


def find(score: Score, *, ends: bool = True) -> Key:
    """The key of a score.

    The correlation of what sounds, by pitch class, with each key's profile (Krumhansl 1990, chapter 4), and whether the
    piece ends on its tonic. A key signature leaves two to choose from, as files seldom tell minor from its relative
    major.

    Args:
        score: at least one note.
        ends: whether the score is a whole piece, whose last bass note is often the tonic.
    """
    notes = score.notes
    sounding = np.bincount(notes["pitch"] % 12, weights=notes["end"] - notes["start"], minlength=12)
    last = int(notes["pitch"][notes["end"] == notes["end"].max()].min()) % 12

    def fit(key):
        # Nothing correlates with a piece in which all pitch classes sound alike.
        likeness = np.corrcoef(np.roll(PROFILES[key.mode], key.tonic), sounding)[0, 1] if sounding.std() else 0.0
        return likeness + LAST * (ends and key.tonic == last)

    return max(_candidates(score), key=fit)


def _candidates(score: Score) -> list[Key]:
    if not score.keys:
        return [Key(0, tonic, mode) for mode in (MAJOR, MINOR) for tonic in range(12)]
    first = score.keys[0]
    relative = (first.tonic - 3) % 12 if first.mode == MAJOR else (first.tonic + 3) % 12
    return [Key(0, first.tonic, first.mode), Key(0, relative, MINOR if first.mode == MAJOR else MAJOR)]
