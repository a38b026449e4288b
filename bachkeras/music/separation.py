"""Separation: which voice sings each note of a score, whatever parts or chords it is written in."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence

import numpy as np

from bachkeras.music.score import Score
from bachkeras.music.voices import SATB

SOPRANO_HOME, BASS_HOME = 71, 50
"""MIDI pitches in the middle of the two outer voices' ranges."""

TOGETHER = 1 / 8
"""How far apart, in quarter lengths, the notes of a played chord may begin: a 32nd note."""

# What weighs as much as a movement of so many semitones when a note is given to a voice.
_OVERLAP = 24  # The voice's last note still sounds; times the share of the shorter note, which is under a half.
_PAUSE = 4  # The voice has paused.
_CROSSING = 12  # The note crosses the last note of another voice; for each one.
_CROSSING_HELD = 10**3  # As before, but that note still sounds.
_DOUBLE, _INNER, _OUTER = 10**5, 10**6, 2 * 10**6  # A note is left out: a second one of its pitch, an inner, an outer.

_Note = tuple[int, int, float]  # start and end in ticks, MIDI pitch


def separate(score: Score, voices: int = 4) -> np.ndarray:
    """Finds the voice of each note, so that each voice is a line: its notes never overlap by half of the shorter one.

    Where every part is such a line, and there are no more parts than voices, each is a voice. They are ordered by their
    names where these are different ones of `voices.SATB` or begin them ('Sopran', 'S.'), else by mean pitch. Fewer
    parts than voices are those with the nearest homes. Homes are spread evenly; for four voices 71, 64, 57 and 50.

    Otherwise parts do not count. Notes that begin together are given to voices from the highest down, so that they
    cross no voice that sounds on if they need not, and so that the voices move least from their last notes, or from
    home. A note is left out only where every voice sings another one: then the highest and the lowest are kept, and
    those that are nearest to where the voices were.

    Args:
        score: any score.
        voices: how many there are, at least 1.

    Returns:
        int64 `(notes,)`: 0 = highest voice .. `voices` - 1 = lowest, or -1 for a note left out, as one of no length is.

    Raises:
        ValueError: if there is no voice.
    """
    if voices < 1:
        raise ValueError(f"Notes need a voice to sing them. Received: {voices=}")
    found = np.full(len(score.notes), -1, np.int64)
    kept = np.flatnonzero(score.notes["start"] < score.notes["end"])
    if not kept.size:
        return found
    notes, homes = score.notes[kept], _homes(voices)
    lines = {part: notes[notes["part"] == part] for part in np.unique(notes["part"]).tolist()}
    if len(lines) <= voices and all(_is_line(line) for line in lines.values()):
        for part, voice in _voices_of_parts(score, lines, homes).items():
            found[kept[notes["part"] == part]] = voice
    else:
        found[kept] = _voices_of_notes(notes, TOGETHER * score.ticks_per_quarter, homes)
    return found


def _homes(voices: int) -> list[float]:
    return np.linspace(SOPRANO_HOME, BASS_HOME, voices).tolist()


def _is_line(notes: np.ndarray) -> bool:
    # Notes are sorted by start: where no neighbours overlap by half of the shorter one, no others do.
    return not any(itertools.starmap(_collide, itertools.pairwise(_rows(notes))))


def _rows(notes: np.ndarray) -> list[_Note]:
    return notes[["start", "end", "pitch"]].tolist()


def _collide(first: _Note, second: _Note) -> bool:
    """Whether two notes, the first of which begins first, cannot be of one voice."""
    return _overlap(first, second) >= 1 / 2


def _overlap(first: _Note, second: _Note) -> float:
    """The share of the shorter note that sounds in the other; negative where there is a pause between them."""
    shorter = min(first[1] - first[0], second[1] - second[0])
    return (min(first[1], second[1]) - second[0]) / shorter


def _voices_of_parts(score: Score, lines: dict[int, np.ndarray], homes: Sequence[float]) -> dict[int, int]:
    """The voice of each part, given the notes of each."""
    ranks = [_rank(score.parts[part]) for part in lines]
    if None not in ranks and len(set(ranks)) == len(ranks):
        heights = [_homes(len(SATB))[rank] for rank in ranks]
    else:
        heights = [np.average(line["pitch"], weights=line["end"] - line["start"]) for line in lines.values()]
    ordered = sorted(zip(heights, lines, strict=True), key=lambda pair: -pair[0])
    costs = [[abs(height - home) for home in homes] for height, _ in ordered]
    chosen = _share_out(costs, [_OUTER] * len(lines))
    return {part: voice for (_, part), voice in zip(ordered, chosen, strict=True)}


def _rank(name: str) -> int | None:
    """The index in `SATB` of the voice that the first word of a name is or begins."""
    word = re.match(r"\w*", name.strip().casefold()).group()
    return next((rank for rank, voice in enumerate(SATB) if word and voice.casefold().startswith(word)), None)


def _voices_of_notes(notes: np.ndarray, together: float, homes: Sequence[float]) -> list[int]:
    """The voice of each note, sorted by start; -1 for none. `together` is in ticks."""
    rows, found = _rows(notes), [-1] * len(notes)
    sung: list[_Note] = [(-1, 0, home) for home in homes]  # As if each had sung its home before.
    for group in _groups(rows, together):
        costs = [_costs(rows[index], sung) for index in group]
        chosen = _share_out(costs, _losses([rows[index][2] for index in group]))
        _fill_up(chosen, costs)
        for index, voice in zip(group, chosen, strict=True):
            if voice >= 0:
                found[index], sung[voice] = voice, rows[index]
    return found


def _groups(rows: Sequence[_Note], together: float) -> Iterator[list[int]]:
    """The indices of notes that begin together, by descending pitch. No two of a group can be of one voice."""
    group: list[int] = []
    for index, row in enumerate(rows):
        if group and (row[0] > rows[group[0]][0] + together or not all(_collide(rows[i], row) for i in group)):
            yield sorted(group, key=lambda i: -rows[i][2])
            group = []
        group.append(index)
    yield sorted(group, key=lambda i: -rows[i][2])


def _costs(note: _Note, sung: Sequence[_Note]) -> list[float]:
    """What it costs each voice to sing a note after its last one; infinite where the two collide."""
    start, _, pitch = note
    held = [_collide(last, note) for last in sung]
    higher, lower = [pitch > last[2] for last in sung], [pitch < last[2] for last in sung]
    costs = []
    for voice, last in enumerate(sung):
        crossed = [*higher[:voice], False, *lower[voice + 1 :]]
        cost = abs(pitch - last[2]) + _OVERLAP * max(_overlap(last, note), 0) + _PAUSE * (last[1] < start)
        cost += sum(_CROSSING_HELD if sounds else _CROSSING for sounds in itertools.compress(held, crossed))
        costs.append(math.inf if held[voice] else cost)
    return costs


def _losses(pitches: Sequence[float]) -> list[int]:
    """What it costs to leave out each of the notes of a group, by descending pitch."""
    outer = pitches[0], pitches[-1]
    before = [None, *pitches[:-1]]
    return [
        _DOUBLE if pitch == last else _OUTER if pitch in outer else _INNER
        for pitch, last in zip(pitches, before, strict=True)
    ]


def _share_out(costs: Sequence[Sequence[float]], losses: Sequence[float]) -> list[int]:
    """The cheapest way to give notes to voices, both from the highest down: a voice for each note, or -1 for none.

    Args:
        costs: of each note in each voice.
        losses: of each note in none.
    """
    notes, voices = len(costs), len(costs[0])
    # Of the notes from i on in the voices from j on: the least cost, and the first step of that way.
    least = [[0.0] * (voices + 1) for _ in range(notes + 1)]
    step = [["leave out"] * (voices + 1) for _ in range(notes)]
    for i in reversed(range(notes)):
        least[i][voices] = least[i + 1][voices] + losses[i]
        for j in reversed(range(voices)):
            least[i][j], step[i][j] = min(
                (least[i + 1][j + 1] + costs[i][j], "give"),
                (least[i + 1][j] + losses[i], "leave out"),
                (least[i][j + 1], "pass"),
            )
    chosen, j = [], 0
    for i in range(notes):
        while step[i][j] == "pass":
            j += 1
        given = step[i][j] == "give"
        chosen.append(j if given else -1)
        j += given
    return chosen


def _fill_up(chosen: list[int], costs: Sequence[Sequence[float]]) -> None:
    """Gives the notes left out to voices that are free nevertheless, out of order."""
    for index, voice in enumerate(chosen):
        if voice < 0:
            free = {other: cost for other, cost in enumerate(costs[index]) if other not in chosen and cost < math.inf}
            chosen[index] = min(free, key=free.get, default=-1)
