"""How unlike Bach's chorales a piece is: one number, the grade, and the nine distances that it is the sum of.

After Fang, Liu, Seetharaman and Pardo, "Bach or Mock? A Grading Function for Chorales in the Style of J.S. Bach",
https://arxiv.org/abs/2006.13329. A feature of a piece is a histogram, and its distance is the Wasserstein distance of
its shares to those of Bach's chorales together. Most features have no order, so the paper gives them one: categories
stand at 0, 1, 2... from Bach's most common to his rarest, and what he never has follows, the most common last. So a
distance counts how many places down Bach's list the piece lies on average. The features:

- note: pitch classes above the tonic, and rests, weighed by their lengths;
- rhythm: lengths of notes and rests;
- parallel_errors: octaves and fifths between voices that both move, up to an octave more or less, contrary motion
  included; their distance times the ratio of the errors per note to Bach's. As in the paper, it is 0 without errors,
  but also with any number of them in Bach's own proportion;
- harmonic_quality: the kind of chord, whatever its root and bass, each time that a voice changes;
- soprano_intervals and so on: upward and downward intervals between notes of a voice, not across rests;
- repeated_sequence: lengths in sixteenths of what comes back in a voice, rhythm and all, with two notes at least. Here
  the places are the lengths themselves, and 0 is that of a piece where nothing comes back.

Note, harmonic quality and intervals are compared to Bach's pieces of the same mode; key and mode come from the pitch
classes, so that a grade does not change with transposition.

What differs from the paper and its program, which read scores: there a repeated note is a new note, here it goes on in
the run before; notes are not spelled, and intervals are semitones; qualities are those of `QUALITIES`, every other
chord is one category more, where the program also knows chords with added notes; a sequence counts in each voice that
repeats it. What has nothing to count, as intervals in a voice of rests, lies behind all that Bach has, where the
program fails.

Figures: the paper's median is 4.91 for Bach's chorales, graded against themselves, and 8.94 for its Transformer's.
Here music21's chorales in sixteenths have 5.5, those of `jsb_16th` 6.6, as they write repeats out and so have longer
repeated sequences: compare grades of one corpus only. No feature sees more than two chords in a row. On the quarter
grid, by rank, a chord trigram's pieces have 9.0 and Bach's 8.7: a good grade is needed, and proves little.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import wasserstein_distance

from bachkeras.evaluation.parts import Parts, intervals_of, runs
from bachkeras.evaluation.style import parallels
from bachkeras.music.pianoroll import LOWEST
from bachkeras.music.score import MAJOR, MINOR
from bachkeras.music.voices import REST, SATB

INTERVALS = tuple(f"{voice.lower()}_intervals" for voice in SATB)
FEATURES = ("note", "rhythm", "parallel_errors", "harmonic_quality", *INTERVALS, "repeated_sequence")
"""The parts of a grade, in the paper's order."""

BY_MODE = ("note", "harmonic_quality", *INTERVALS)
"""Those that are compared to Bach's pieces of the same mode."""

QUALITIES = {
    "major": (0, 4, 7),
    "minor": (0, 3, 7),
    "diminished": (0, 3, 6),
    "augmented": (0, 4, 8),
    "dominant seventh": (0, 4, 7, 10),
    "major seventh": (0, 4, 7, 11),
    "minor seventh": (0, 3, 7, 10),
    "half-diminished seventh": (0, 3, 6, 10),
    "diminished seventh": (0, 3, 6, 9),
    "minor-major seventh": (0, 3, 7, 11),
    "augmented-major seventh": (0, 4, 8, 11),
    "suspension": (0, 5, 7),
    "fifth": (0, 7),
}
"""Kinds of chords: their pitch classes above the root."""

OTHER = "other"

KEY_PROFILES = {
    MAJOR: (17.7661, 0.1456, 14.9265, 0.1602, 19.8049, 11.3587, 0.2912, 22.0620, 0.1456, 8.1549, 0.2330, 4.9512),
    MINOR: (18.2648, 0.7376, 14.0499, 16.8599, 0.7025, 14.4362, 0.7025, 18.6161, 4.5662, 1.9319, 7.3762, 1.7562),
}
"""How common each pitch class above the tonic is, in percent: Aarden's, which music21 takes where none is named."""

NOTHING = None
"""The only category of a histogram in which nothing was counted."""


class Grader:
    """Grades pieces by their distance to some chorales.

    A piece has four voices: the first four columns, rests where there are fewer. The paper's are soprano, alto, tenor
    and bass; by rank they are the highest note of a frame, the second... and the fourth, so grade by-rank pieces
    against by-rank chorales, on the same grid. Where the chorales have none of a piece's mode, it is compared to all.

    Args:
        reference: chorales of Bach; the paper's are all there are, and they are graded against themselves.

    Raises:
        ValueError: if there are no chorales.
    """

    def __init__(self, reference: Sequence[Parts]):
        if not reference:
            raise ValueError("A grade needs chorales to compare to. Received: reference=[]")
        pieces = [_count(parts) for parts in reference]
        self._bach: dict[tuple[str, int | None], Counter] = defaultdict(Counter)
        for piece in pieces:
            for feature, histogram in piece.histograms.items():
                self._bach[feature, None].update(histogram)
                self._bach[feature, piece.mode].update(histogram)
        # At least one, so that chorales without errors still give a piece that has some a ratio.
        self._errors_per_note = max(sum(p.errors for p in pieces), 1) / max(sum(p.notes for p in pieces), 1)

    def features(self, parts: Parts) -> dict[str, float]:
        """The distance of each of `FEATURES`, never NaN; 0 is Bach."""
        piece = _count(parts)
        distances = {}
        for feature in FEATURES:
            bach = self._bach[feature, None]
            if feature in BY_MODE:
                bach = self._bach.get((feature, piece.mode)) or bach
            distances[feature] = _distance(piece.histograms[feature], bach, ranked=feature != "repeated_sequence")
        distances["parallel_errors"] *= piece.errors / max(piece.notes, 1) / self._errors_per_note
        return distances

    def grade(self, parts: Parts) -> float:
        """The sum of the distances: lower is more like Bach."""
        return sum(self.features(parts).values())

    def median(self, pieces: Sequence[Parts]) -> float | None:
        """The median grade, the paper's figure; None for no pieces."""
        return float(np.median([self.grade(parts) for parts in pieces])) if pieces else None


class _Piece(NamedTuple):
    mode: int
    notes: int
    histograms: dict[str, Counter]

    @property
    def errors(self) -> int:
        return self.histograms["parallel_errors"].total()


def _count(parts: Parts) -> _Piece:
    """Counts what there is of each feature in a piece."""
    voices = np.full((len(parts.voices), len(SATB)), REST, np.int32)
    columns = parts.voices[:, : len(SATB)]
    voices[:, : columns.shape[1]] = columns
    sounding = voices != REST
    tonic, mode = key(np.bincount((voices[sounding] + LOWEST) % 12, minlength=12))
    tracks = [runs(voice) for voice in voices.T]
    lengths = np.concatenate([length for _, length in tracks])
    quarters = lengths * parts.timestep.numerator / parts.timestep.denominator
    notes = _histogram(np.where(sounding, (voices + LOWEST - tonic) % 12, REST))
    histograms = {
        "note": Counter({note: count * float(parts.timestep) for note, count in notes.items()}),
        "rhythm": _histogram(quarters),
        "parallel_errors": _parallels(parts._replace(voices=voices)),
        "harmonic_quality": _qualities(voices),
        "repeated_sequence": Counter(),
    }
    for name, (pitches, length) in zip(INTERVALS, tracks, strict=True):
        histograms[name] = _histogram(intervals_of(pitches))
        for frames, count in repeats(pitches, length).items():
            histograms["repeated_sequence"][float(4 * frames * parts.timestep)] += count
    if not histograms["repeated_sequence"]:
        histograms["repeated_sequence"][0.0] = 1
    return _Piece(mode, sum(int(np.sum(pitches != REST)) for pitches, _ in tracks), histograms)


def _histogram(values: np.ndarray) -> Counter:
    categories, counts = np.unique(values, return_counts=True)
    return Counter(dict(zip(categories.tolist(), counts.tolist(), strict=True)))


def key(pitch_classes: np.ndarray) -> tuple[int, int]:
    """The tonic, 0..11, and the mode whose profile correlates best with how often each pitch class sounds.

    Without a note, C major.
    """
    deviation = pitch_classes - np.mean(pitch_classes)
    keys = [(tonic, mode) for mode in KEY_PROFILES for tonic in range(12)]
    profiles = np.array([np.roll(KEY_PROFILES[mode], tonic) for tonic, mode in keys])
    return keys[int(np.argmax(profiles @ deviation / np.std(profiles, axis=1)))]


def _qualities(voices: np.ndarray) -> Counter:
    """How often each of `QUALITIES`, or `OTHER`, comes when a voice changes; frames of rests are no chords."""
    changed = voices[np.any(np.diff(voices, axis=0, prepend=-1) != 0, axis=1)]
    chords = np.bitwise_or.reduce(np.where(changed != REST, 1 << changed % 12, 0), axis=1)
    counts = Counter()
    for chord, count in _histogram(chords[chords > 0]).items():
        counts[_QUALITY_OF.get(chord, OTHER)] += count
    return counts


_QUALITY_OF = {
    sum(1 << (pitch + root) % 12 for pitch in pitches): name
    for name, pitches in QUALITIES.items()
    for root in range(12)
}
"""Names of chords by their set of pitch classes, as bits."""


def _parallels(parts: Parts) -> Counter:
    """Parallel octaves and fifths, those that there are."""
    _, fifths, octaves = parallels(parts)
    return Counter({name: count for name, count in (("octave", octaves), ("fifth", fifths)) if count})


def repeats(pitches: np.ndarray, lengths: np.ndarray) -> Counter:
    """The sequences that come more than once in a voice, by length in frames: how often they come, all together.

    A sequence begins with a note (or rest) and goes on into the next one at least; it may stop inside a note. One that
    comes as often as a longer one it lies in does not count. Occurrences may overlap.

    Args:
        pitches: int `(runs,)`, see `parts.runs`.
        lengths: int `(runs,)`, in frames.
    """
    same = pitches[:, np.newaxis] == pitches
    shorter = np.minimum(lengths[:, np.newaxis], lengths)
    alike = lengths[:, np.newaxis] == lengths
    common = np.zeros((len(pitches) + 1, len(pitches) + 1), int)  # Frames for which two runs go on equally.
    for i in reversed(range(len(pitches))):
        common[i, :-1] = np.where(same[i], shorter[i] + alike[i] * common[i + 1, 1:], 0)
    preceded_alike = np.zeros(same.shape, bool)
    preceded_alike[1:, 1:] = (same & alike)[:-1, :-1]
    counts = Counter()
    for i in range(len(pitches)):
        seen = common[i, :i].max(initial=lengths[i])  # What is no longer than this came before or is one note.
        later, preceded = common[i, i + 1 : -1], preceded_alike[i, i + 1 :]
        for length in np.unique(later[later > seen]).tolist():
            again = later >= length
            if not preceded[again].all():
                counts[length] += 1 + int(again.sum())
    return counts


def _distance(piece: Counter, bach: Counter, ranked: bool) -> float:
    """Wasserstein distance between two histograms' shares.

    Args:
        piece: the counts of a piece.
        bach: those of the chorales.
        ranked: whether places are ranks, from Bach's most common category on; else the categories themselves.
    """
    piece, bach = (histogram or Counter({NOTHING: 1}) for histogram in (piece, bach))
    categories = _ranking(piece, bach) if ranked else list(piece | bach)
    places = range(len(categories)) if ranked else categories
    weights = ([histogram[category] for category in categories] for histogram in (piece, bach))
    return float(wasserstein_distance(places, places, *weights))


def _ranking(piece: Counter, bach: Counter) -> list[Hashable]:
    """Bach's categories from the most common on, then those that only the piece has, the most common last."""
    known = sorted(bach, key=lambda category: (-bach[category], category))
    return known + sorted(piece.keys() - bach.keys(), key=lambda category: (piece[category], category))
