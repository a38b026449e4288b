"""The chorales of music21's bundled corpus: which there are, and each as a score with its bars and key.

A four-part chorale is here its four singing voices. Where a score has instruments of their own (horns, strings, a
continuo), they are left out: they double or ornament the voices, and their interludes are no chorale.
Repeat marks are not expanded: a repeated section would only be heard twice.
music21 is imported when the corpus is read: nobody needs it to load a corpus that is already built.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from bachkeras.music import bars
from bachkeras.music.score import MAJOR, MINOR, NOTE, TICKS_PER_QUARTER, Key, Meter, Score
from bachkeras.music.voices import SATB

if TYPE_CHECKING:
    import music21

_OTHERS = ("bwv846", "bwv27.6", "bwv227.3")
"""What else is in the corpus: a prelude for keyboard, and two chorales in five parts."""


@dataclasses.dataclass(frozen=True, eq=False)
class Chorale:
    """A chorale as its file notates it.

    Attributes:
        id: the file's name without its ending, such as 'bwv253' or 'bwv248.42-s'.
        score: four parts, `SATB`; with title ('' unknown), meters, upbeat and its one key.
        measures: int64 `(measures, 2)`: the tick at which a measure begins, and the ticks since the bar line there: 0,
            or more where the measure is an upbeat or goes on after a repeat mark inside a bar.
    """

    id: str
    score: Score
    measures: np.ndarray

    @property
    def key(self) -> Key:
        """Tonic and mode of the whole piece."""
        return self.score.keys[0]

    @property
    def meter(self) -> Meter:
        """The time signature that is longest in force."""
        return bars.main_meter(self.score)

    def position(self, ticks: np.ndarray) -> np.ndarray:
        """Ticks since the bar line at each of `ticks`, int64; an upbeat counts from where its bar would have begun."""
        measure = np.searchsorted(self.measures[:, 0], ticks, side="right") - 1
        begin, since = self.measures[measure].T
        return ticks - begin + since


def ids() -> list[str]:
    """The four-part chorales of the corpus in the order of their BWV numbers.

    Of one in two formats the MusicXML file counts. Some settings are there more than once, under several ids.
    """
    return sorted(_paths(), key=lambda name: ([int(number) for number in re.findall(r"\d+", name)], name))


def read(name: str) -> Chorale:
    """Reads one chorale.

    Tied notes are one note; grace notes, which take no time, are left out.

    The key is the one that the piece ends in: the tonic is the root of the last chord, the mode that of the third above
    it which sounds longer in the whole piece (the last chord itself is nearly always major, even in minor). So a modal
    chorale has its final as tonic, as in the key-normalised JSB benchmark, where 356 of 382 pieces end on a C. Key
    signatures are no guide (about 50 of the chorales carry that of another mode), and an analysis of the whole piece
    takes the dominant or the relative key for the tonic in one of seven.

    Args:
        name: one of `ids()`.

    Raises:
        KeyError: if the corpus has no such chorale.
        ValueError: if it has not four singing voices of one note at a time.
    """
    from music21 import converter, stream

    parts = _singers(name, converter.parseFile(_paths()[name], forceSource=True, storePickle=False))
    notes = np.concatenate([_notes(part, index) for index, part in enumerate(parts)])
    measures = list(parts[0].getElementsByClass(stream.Measure))
    meters = tuple(
        Meter(_ticks(measure.offset), measure.timeSignature.numerator, measure.timeSignature.denominator)
        for measure in measures
        if measure.timeSignature is not None
    )
    first = measures[0]
    score = Score(
        notes,
        parts=SATB,
        meters=meters,
        keys=(_key(notes),),
        upbeat=_ticks(first.barDuration.quarterLength - first.paddingLeft) if first.paddingLeft else 0,
        title=_titles().get(_number(name), ""),
    )
    return Chorale(name, score, _bars(measures))


@functools.cache
def _paths() -> dict[str, pathlib.Path]:
    from music21 import corpus

    # RomanText files (.rntxt) are harmonic analyses, not scores.
    paths = [path for path in corpus.getComposer("bach") if path.suffix != ".rntxt" and path.stem not in _OTHERS]
    return {path.stem: path for path in sorted(paths, key=lambda path: path.suffix in (".mxl", ".xml"))}


def _singers(name: str, score: music21.stream.Score) -> list[music21.stream.Part]:
    """The parts whose name begins with a voice's, as in 'Soprano Oboe 1 Violin1'."""
    voices = [(re.match(r"\w*", part.partName or "").group(), part) for part in score.parts]
    singers = [(voice, part) for voice, part in voices if voice in SATB]
    if tuple(voice for voice, _ in singers) != SATB:
        received = [part.partName for part in score.parts]
        raise ValueError(f"{name} has not one part for each of {', '.join(SATB)}. Received: parts={received}")
    return [part for _, part in singers]


def _notes(part: music21.stream.Part, index: int) -> np.ndarray:
    """The notes of a part, dtype `NOTE`, ties merged."""
    rows: list[list[int]] = []
    for note in part.flatten().notes:
        if note.duration.isGrace:
            continue
        if len(note.pitches) != 1:
            raise ValueError(f"A singing voice has one note at a time. Received: {note.pitches} in {part.partName}")
        start, pitch = _ticks(note.offset), note.pitches[0].midi
        end = start + _ticks(note.quarterLength)
        if note.tie is not None and note.tie.type != "start" and rows and rows[-1][1:3] == [start, pitch]:
            rows[-1][1] = end
        else:
            rows.append([start, end, pitch, index])
    return np.array([tuple(row) for row in rows], NOTE)


def _bars(measures: list[music21.stream.Measure]) -> np.ndarray:
    """`Chorale.measures`. Where a file writes more than a bar into a measure, a bar line falls after every full one."""
    rows = []
    for measure in measures:
        begin, since = _ticks(measure.offset), _ticks(measure.paddingLeft)
        bar = _ticks(measure.barDuration.quarterLength)
        rows.append((begin, since))
        lines = range(begin - since + bar, begin + _ticks(measure.quarterLength), bar)
        rows.extend((line, 0) for line in lines)
    return np.array(rows, np.int64)


def _key(notes: np.ndarray) -> Key:
    last = notes[notes["end"] == notes["end"].max()]["pitch"].astype(int)
    above = sorted({(pitch - last.min()) % 12 for pitch in last.tolist()})
    # The root is the note of the chord with its fifth above it: the bass, if the chord is not inverted.
    root = next((pitch for pitch in above if (pitch + 7) % 12 in above), 0)
    tonic = int(last.min() + root) % 12
    degree = (notes["pitch"] - tonic) % 12
    length = notes["end"] - notes["start"]
    minor = length[degree == 3].sum() > length[degree == 4].sum()
    return Key(0, tonic, MINOR if minor else MAJOR)


def _number(name: str) -> str:
    """The BWV number of an id or table entry: '248.42' of 'bwv248.42-s'; but '69.6-a' is another work than '69.6'."""
    number = name.removeprefix("bwv")
    return number if number.endswith("-a") else number.partition("-")[0]


@functools.cache
def _titles() -> dict[str, str]:
    """Titles by BWV number, from the two tables that come with the corpus; no score carries its own."""
    from music21.corpus import chorales

    first = {str(number): entry["title"] for number, entry in chorales.ChoraleList().byBWV.items()}
    second = {_number(number): entry["title"] for number, entry in chorales.ChoraleListRKBWV().byBWV.items()}
    return first | second


def _ticks(quarters: float | Fraction) -> int:
    ticks = Fraction(quarters) * TICKS_PER_QUARTER
    if ticks.denominator != 1:
        raise ValueError(f"A time must be whole ticks, {TICKS_PER_QUARTER} a quarter. Received: {quarters=}")
    return int(ticks)
