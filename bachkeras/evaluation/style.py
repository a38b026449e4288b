"""Style: voice leading, intervals, durations and chords of some pieces, and how far they are from others'.

A figure is None where the pieces have nothing that it could be of.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np
from scipy.spatial import distance

from bachkeras.evaluation.parts import LEAST_VOICES, Parts, intervals_of, melody, runs
from bachkeras.music.voices import REST

LONGEST_DURATION = 32
"""Frames; longer notes count as this long."""

WIDEST = 13
"""Semitones; wider intervals count as this wide in their mean."""

NGRAMS = (1, 2, 3, 4)
"""Orders of the chord n-grams."""


def voice_leading(pieces: Sequence[Parts]) -> dict[str, float | None]:
    """Parallels, crossings and spacing.

    Voices u above v, a and b their pitches. Where both sound and both move from frame t - 1 to t, they make a parallel
    fifth if a > b and a - b = 7 (mod 12) in both frames, an octave if a - b = 0 (mod 12) in both; unisons count. By
    rank only frames of as many notes are compared.

    Returns:
        `parallel_fifths_per_1000_moves` and `parallel_octaves_per_1000_moves`, of the pairs that both move;
        `parallels_per_100_beats`; `pieces_without_parallels`, a share; `crossings`, a < b, share of pairs and frames;
        `wide_spacings`, over an octave from soprano to alto or alto to tenor, share of the two and frames.
    """
    counts = np.array([_voice_leading(parts) for parts in pieces]).reshape(-1, 7)
    moves, fifths, octaves, crossings, pairs, wide, neighbours = counts.sum(0).tolist()
    return {
        "parallel_fifths_per_1000_moves": _share(1000 * fifths, moves),
        "parallel_octaves_per_1000_moves": _share(1000 * octaves, moves),
        "parallels_per_100_beats": _share(100 * (fifths + octaves), sum(parts.beats for parts in pieces)),
        "pieces_without_parallels": _share(int((counts[:, 1] + counts[:, 2] == 0).sum()), len(pieces)),
        "crossings": _share(crossings, pairs),
        "wide_spacings": _share(wide, neighbours),
    }


def _voice_leading(parts: Parts) -> list[int]:
    """Both-moving pairs, fifths and octaves among them; crossings of pair-frames; wide spacings of neighbours'."""
    voices, frames = parts.voices, len(parts.voices)
    crossings = wide = 0
    pairs = list(itertools.combinations(range(voices.shape[1]), 2))
    for u, v in pairs:
        above, below = voices[:, u], voices[:, v]
        sound, apart = (above != REST) & (below != REST), above - below
        crossings += int((sound & (apart < 0)).sum())
        if v == u + 1 and v < 3:
            wide += int((sound & (apart > 12)).sum())
    return [*parallels(parts), crossings, len(pairs) * frames, wide, 2 * frames]


def parallels(parts: Parts) -> tuple[int, int, int]:
    """Pairs of voices that both move, and the parallel fifths and octaves among them; see `voice_leading`."""
    voices = parts.voices
    notes = (voices != REST).sum(1)
    moves = fifths = octaves = 0
    for u, v in itertools.combinations(range(voices.shape[1]), 2):
        above, below = voices[:, u], voices[:, v]
        sound, apart = (above != REST) & (below != REST), above - below
        both = sound[1:] & sound[:-1] & (above[1:] != above[:-1]) & (below[1:] != below[:-1])
        if not parts.labelled:
            both &= notes[1:] == notes[:-1]
        fifth, octave = (apart > 0) & (apart % 12 == 7), apart % 12 == 0
        moves += int(both.sum())
        fifths += int((both & fifth[1:] & fifth[:-1]).sum())
        octaves += int((both & octave[1:] & octave[:-1]).sum())
    return moves, fifths, octaves


def lines(pieces: Sequence[Parts]) -> dict[str, float | None]:
    """Intervals and durations of all voices; a repeated note goes on.

    Returns:
        `steps` (1 or 2 semitones), `leaps` (over 7), shares of the intervals between notes with no rest in between;
        `mean_interval` in semitones, wider ones counted as `WIDEST`; `sixteenths`, `eighths`, `quarters`, `halves`:
        shares of the notes that last 1/4, 1/2, 1, 2 quarters exactly; `hold_ratio`, 1 - notes / (voices x frames), by
        rank of four voices.
    """
    intervals, lengths, cells = [], [], 0
    for parts in pieces:
        cells += len(parts.voices) * (parts.voices.shape[1] if parts.labelled else LEAST_VOICES)
        for voice in parts.voices.T:
            pitches, frames = runs(voice)
            sounding = pitches != REST
            intervals.append(intervals_of(pitches))
            lengths += [frame * parts.timestep for frame in frames[sounding].tolist()]
    sizes = np.abs(np.concatenate([*intervals, np.zeros(0, int)]))
    counted = Counter(lengths)
    durations = {"sixteenths": 0.25, "eighths": 0.5, "quarters": 1, "halves": 2}
    return {
        "steps": _share(int(((sizes >= 1) & (sizes <= 2)).sum()), len(sizes)),
        "leaps": _share(int((sizes > 7).sum()), len(sizes)),
        "mean_interval": _share(float(np.minimum(sizes, WIDEST).sum()), len(sizes)),
        **{name: _share(counted[length], len(lengths)) for name, length in durations.items()},
        "hold_ratio": _share(cells - len(lengths), cells),
    }


def melodic_intervals(pieces: Sequence[Parts], voice: int) -> Counter:
    """The signed intervals of a voice in semitones, counted; across a rest too."""
    return Counter(itertools.chain.from_iterable(np.diff(melody(parts, voice)).tolist() for parts in pieces))


def durations(pieces: Sequence[Parts]) -> Counter:
    """Lengths of the notes of all voices in quarter lengths, counted; at most `LONGEST_DURATION` frames each."""
    found = Counter()
    for parts in pieces:
        for voice in parts.voices.T:
            pitches, frames = runs(voice)
            lengths, counts = np.unique(np.minimum(frames[pitches != REST], LONGEST_DURATION), return_counts=True)
            for length, count in zip(lengths.tolist(), counts.tolist(), strict=True):
                found[float(length * parts.timestep)] += count
    return found


def outer_intervals(pieces: Sequence[Parts]) -> Counter:
    """Interval classes (mod 12) between the first and the last voice: for how many quarters both sound so.

    By rank, between the highest and the lowest note.
    """
    found = Counter()
    for parts in pieces:
        bass = _bass(parts.voices, parts.labelled)
        sounding = (parts.voices[:, 0] != REST) & (bass != REST)
        intervals, frames = np.unique((parts.voices[:, 0] - bass)[sounding] % 12, return_counts=True)
        for interval, count in zip(intervals.tolist(), frames.tolist(), strict=True):
            found[interval] += float(count * parts.timestep)
    return found


def chord_types(parts: Parts) -> list[frozenset[int]]:
    """The chords on the beats as intervals (mod 12) above the bass.

    Labelled, of the beats on which every voice sounds; by rank, above the lowest note, of those on which one does.
    """
    voices = parts.on_beats
    full = (voices != REST).sum(1) >= (voices.shape[1] if parts.labelled else 1)
    bass = _bass(voices, parts.labelled)
    return [
        frozenset(((chord[chord != REST] - lowest) % 12).tolist())
        for chord, lowest in zip(voices[full], bass[full], strict=True)
    ]


def chord_ngrams(pieces: Sequence[Parts], n: int) -> Counter:
    """The n-grams of `chord_types`, counted over all pieces."""
    found = Counter()
    for parts in pieces:
        found.update(ngrams(chord_types(parts), n))
    return found


def ngrams(sequence: Sequence[Hashable], n: int) -> Iterable[tuple]:
    """All runs of n neighbours."""
    return zip(*(sequence[i:] for i in range(n)), strict=False)


def jensen_shannon(a: Counter, b: Counter) -> float | None:
    """The Jensen-Shannon divergence of two counts, in nats, 0 to log 2; None if one is empty.

    Lin 1991, equation 4.1 with equal weights: H((p + q) / 2) - (H(p) + H(q)) / 2.
    """
    if not a or not b:
        return None
    keys = list(dict.fromkeys([*a, *b]))
    return float(distance.jensenshannon([a[key] for key in keys], [b[key] for key in keys]) ** 2)


DISTANCES: dict[str, Callable[[Sequence[Parts]], Counter]] = {
    "soprano_interval": lambda pieces: melodic_intervals(pieces, 0),
    "alto_interval": lambda pieces: melodic_intervals(pieces, 1),
    "tenor_interval": lambda pieces: melodic_intervals(pieces, 2),
    "bass_interval": lambda pieces: melodic_intervals(pieces, 3),
    "duration": durations,
    "soprano_bass": outer_intervals,
    "chord_type": lambda pieces: chord_ngrams(pieces, 1),
}
"""What pieces are compared by. By rank the four voices are the four highest notes."""


def distances(pieces: Sequence[Parts], reference: Sequence[Parts]) -> dict[str, float | None]:
    """Jensen-Shannon divergences of `DISTANCES` to a reference, in nats."""
    return {name: jensen_shannon(count(pieces), count(reference)) for name, count in DISTANCES.items()}


def ngram_jsd(pieces: Sequence[Parts], reference: Sequence[Parts]) -> list[float] | None:
    """Jensen-Shannon divergences of the chord n-grams, one for each of `NGRAMS`, in nats.

    None where the pieces are all too short for the longest one.
    """
    found = [jensen_shannon(chord_ngrams(pieces, n), chord_ngrams(reference, n)) for n in NGRAMS]
    return None if None in found else found


def floors(train: Sequence[Parts], size: int, draws: int = 20, seed: int = 0) -> dict[str, dict[str, float | None]]:
    """What `distances` are between parts of the same music: `size` random training pieces against the others.

    Returns:
        By name, `mean` and `max` over the draws; None where there are not more than `size` pieces.
    """
    random = np.random.default_rng(seed)
    orders = [random.permutation(len(train)) for _ in range(draws if 0 < size < len(train) else 0)]
    found = {}
    for name, count in DISTANCES.items():
        each = [count([parts]) for parts in train]
        drawn = [jensen_shannon(*(_total(each, some) for some in (order[:size], order[size:]))) for order in orders]
        values = [value for value in drawn if value is not None]
        found[name] = {"mean": float(np.mean(values)) if values else None, "max": max(values, default=None)}
    return found


def _total(counts: Sequence[Counter], chosen: Iterable[int]) -> Counter:
    """The sum of some of the counts."""
    found = Counter()
    for i in chosen:
        found.update(counts[i])
    return found


def _bass(voices: np.ndarray, labelled: bool) -> np.ndarray:
    """The last voice; by rank the lowest note, a rest in an empty frame: int `(time,)`."""
    if labelled:
        return voices[:, -1]
    lowest = np.where(voices == REST, REST + 1, voices).min(1)
    return np.minimum(lowest, REST)


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
