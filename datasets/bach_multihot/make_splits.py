"""Writes splits.tsv: which chorales make the corpus, which of them share a tune, and the split of each.

    python datasets/bach_multihot/make_splits.py jsb-chorales-quarter.json

1. A setting that the corpus holds twice (one BWV number with and without instruments, one chorale under two numbers,
   with and without its repeats written out) counts once.
2. Chorales whose sopranos can be aligned are one family. So that a model trained on these chorales can be tested on
   the JSB benchmark, and the other way round, a family goes whole to test if a JSB test piece has its tune, else to
   validation if a JSB validation piece has it, else to train.

Takes about two minutes. The tests check the result by another method, `bachkeras.data.splits.leaks`.
"""

from __future__ import annotations

import argparse
import collections
import csv
import pathlib
import re
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from tqdm import tqdm

from bachkeras.data import chorales, parallel, sources, splits
from bachkeras.data.chorales import Chorale
from bachkeras.music import voices

SAME_SETTING = 0.75
"""Share of a setting's runs of five intervals, averaged over the voices, that another file of it has.

Of all pairs of files 21 have .84 or more; the next has .62, and is a setting that Bach reworked.
"""

SAME_TUNE_NOTES, SAME_TUNE_SHARE = 15, 0.4
"""Two melodies are one tune if their alignment scores that many notes and that share of the shorter one's length.

From 15 to 18 notes and .35 to .5 little changes: 207 to 211 families, the largest 11 chorales. At 13 notes tunes begin
to chain (Vom Himmel hoch and Ein feste Burg end in the same 13 notes), without a share long ones do.
"""

SHORT_TUNE_SHARE = 0.7
"""The share that is enough for a melody too short to have `SAME_TUNE_NOTES` of them."""

SAME_TITLE_NOTES = 10
"""The score from which on two chorales of one title are one tune.

Some titles have several tunes: pairs of those reach 6 at most, pairs of one title and one tune 13 at least.
"""

MISMATCH = GAP = 2
"""What a note without its like costs in an alignment; a matching one gains 1."""


def main() -> None:
    """Reads the corpus and the benchmark, writes the table, prints what there is to know about it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("jsb", type=pathlib.Path, help="jsb-chorales-quarter.json")
    jsb = sources.jsb_quarter_examples(parser.parse_args().jsb.read_text())
    pieces = parallel.ordered_map(chorales.read, chorales.ids(), description="Reading chorales")
    pieces = without_copies(pieces)
    melodies = [soprano(piece) for piece in pieces]
    held_out = {split: [splits.melody(piece["pianoroll"]) for piece in jsb[split]] for split in ("test", "validation")}
    scores = alignment_scores(melodies, [*melodies, *held_out["test"], *held_out["validation"]])
    tune, in_test, in_validation = np.split(scores, np.cumsum([len(pieces), len(held_out["test"])]), axis=1)
    families = components(same_tune(tune, melodies, melodies) | same_title(tune, pieces))
    in_test = same_tune(in_test, melodies, held_out["test"]).any(axis=1)
    in_validation = same_tune(in_validation, melodies, held_out["validation"]).any(axis=1)
    names = np.where(in_test, "test", np.where(in_validation, "validation", "train"))
    order = ("test", "validation", "train")
    assigned = [next(name for name in order if name in names[families == family]) for family in families]
    with pathlib.Path(__file__).with_name("splits.tsv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(("id", "family", "split"))
        writer.writerows((p.id, pieces[f].id, s) for p, f, s in zip(pieces, families, assigned, strict=True))
    sizes = collections.Counter(collections.Counter(families.tolist()).values())
    print("chorales", len(pieces), dict(collections.Counter(assigned)))
    print("families", len(set(families.tolist())), "by size", dict(sorted(sizes.items())))


def without_copies(pieces: Sequence[Chorale]) -> list[Chorale]:
    """The settings, in their order, each once: the shortest file of it, then the one with the shortest name.

    The shortest has its repeats not written out and no interludes of instruments between its lines.
    """
    runs = [[_runs(piece, voice) for voice in range(len(voices.SATB))] for piece in pieces]
    shares = np.array([[_mean_share(a, b) for b in runs] for a in runs])
    groups = collections.defaultdict(list)
    for piece, group in zip(pieces, components(shares >= SAME_SETTING), strict=True):
        groups[group].append(piece)
    kept = []
    for group in groups.values():
        best = min(group, key=lambda piece: (piece.score.end, len(piece.id)))
        kept.append(best.id)
        if len(group) > 1:
            print(best.id, "is also", ", ".join(piece.id for piece in group if piece is not best))
    return [piece for piece in pieces if piece.id in kept]


def _runs(piece: Chorale, voice: int) -> set[tuple[int, ...]]:
    """The runs of five intervals in a voice, as it is sung."""
    notes = piece.score.notes
    intervals = np.diff(notes["pitch"][notes["part"] == voice]).tolist()
    return {tuple(intervals[begin : begin + 5]) for begin in range(len(intervals) - 4)}


def _mean_share(a: list[set], b: list[set]) -> float:
    return float(np.mean([len(x & y) / min(len(x), len(y)) for x, y in zip(a, b, strict=True)]))


def soprano(piece: Chorale) -> np.ndarray:
    """The soprano on the beats, where the tune is, without the ornaments between them; equal neighbours merged."""
    columns, _ = voices.from_score(piece.score, Fraction(1))
    return splits.merge(columns[columns[:, 0] != voices.REST, 0])


def alignment_scores(melodies: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> np.ndarray:
    """The best local alignment (Smith and Waterman 1981) of each melody with each other one, over all transpositions.

    Returns:
        int16 `(melodies, others)`, in notes: matches less `MISMATCH` or `GAP` for each of the others in between.
    """
    padded = np.full((len(others), max(map(len, others))), -1, np.int16)
    for row, pitches in zip(padded, others, strict=True):
        row[: len(pitches)] = pitches
    # (12, others, notes); octaves are of no account, and the padding equals no pitch class.
    transposed = np.where(padded < 0, -1, (padded + np.arange(12, dtype=np.int16)[:, None, None]) % 12)
    return np.array([_scores(pitches % 12, transposed) for pitches in tqdm(melodies, desc="Aligning")], np.int16)


def _scores(pitches: np.ndarray, others: np.ndarray) -> np.ndarray:
    ramp = GAP * np.arange(others.shape[2] + 1, dtype=np.int16)
    ending = np.zeros((*others.shape[:2], len(ramp)), np.int16)  # Score of the best alignment that ends here.
    best = np.zeros(others.shape[:2], np.int16)
    for pitch in pitches:
        following = np.zeros_like(ending)
        following[:, :, 1:] = ending[:, :, :-1] + np.where(others == pitch, 1, -MISMATCH)
        np.maximum(following, ending - GAP, out=following)
        np.maximum(following, 0, out=following)
        # A gap of any length in the other melody: the running maximum of what falls by GAP a note.
        ending = np.maximum.accumulate(following + ramp, axis=2) - ramp
        np.maximum(best, ending.max(axis=2), out=best)
    return best.max(axis=0)


def same_tune(scores: np.ndarray, melodies: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> np.ndarray:
    """Which pairs are one tune: bool, like `scores`."""
    shorter = np.minimum([[len(melody)] for melody in melodies], [len(other) for other in others])
    enough = np.minimum(SAME_TUNE_NOTES, SHORT_TUNE_SHARE * shorter)
    return scores >= np.maximum(enough, SAME_TUNE_SHARE * shorter)


def same_title(scores: np.ndarray, pieces: Sequence[Chorale]) -> np.ndarray:
    """Which pairs have a title in common and a good part of the melody: bool, like `scores`."""
    titles = np.array([re.sub(r"\W", "", piece.score.title.lower()) for piece in pieces])
    return (titles[:, None] == titles) & (titles != "") & (scores >= SAME_TITLE_NOTES)


def components(joined: np.ndarray) -> np.ndarray:
    """The connected components of a symmetric relation, bool `(n, n)`: the smallest member of each's own, `(n,)`."""
    smallest = np.arange(len(joined))
    for a, b in zip(*np.nonzero(joined), strict=True):
        if smallest[a] != smallest[b]:
            low, high = sorted((smallest[a], smallest[b]))
            smallest[smallest == high] = low
    return smallest


if __name__ == "__main__":
    main()
