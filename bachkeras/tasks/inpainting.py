"""Inpainting: some bars of a piece written anew, all else as it was."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from bachkeras._presets import COMPOSING
from bachkeras.layers.frame.base import FREE
from bachkeras.models.base import FrameModel
from bachkeras.music import bars as bar_lines
from bachkeras.music import separation
from bachkeras.music.score import NOTE, Score
from bachkeras.music.voices import REST, names
from bachkeras.tasks import hearing
from bachkeras.tasks.hearing import Grid

PARTICLES = 128
"""Twice as many as for a melody: a passage is short, and has to meet all voices where it ends."""

DOUBLING = "Unison"
"""The part of new notes that sound with an old one of their pitch in the part where they belong."""

AHEAD = 32
"""Frames after the passage that it has to fit to: two bars of sixteenths."""


def inpaint(
    piece: str | os.PathLike | Score,
    bars: tuple[int, int] | str,
    model: str | os.PathLike | FrameModel = COMPOSING,
    *,
    voices: Sequence[str] | None = None,
    count: int = 1,
    key: str | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    particles: int = PARTICLES,
    seed: int | None = None,
) -> list[Score]:
    """Let a model write some bars anew, in all voices or in some.

    Notes of these voices that lie inside the bars are replaced. All others stay as they are, to the tick, those too
    that are tied over the passage's bar lines. What is written fits what comes before and after
    (`FrameModel.complete`).

    Args:
        piece: a score, or a file: MIDI, MusicXML or ABC; `separation.separate` says which voice sings which note.
        bars: numbers of the first and the last bar, (5, 8) or "5-8"; an upbeat is bar 0.
        model: a preset's name, a run directory, or what `bachkeras.load` made of one; it writes labelled voices.
        voices: names of those to write, such as ["alto", "tenor"]; None: all that sing in the piece.
        count: number of versions.
        key: such as "D minor"; None: `keys.find` finds it.
        temperature: see `compose`.
        top_p: see `compose`.
        particles: see `harmonize`.
        seed: see `compose`.

    Raises:
        ValueError: if the piece has no such bars or there is nothing to be written in them, the model cannot, or an
            argument is out of its range.
    """
    score = hearing.score(piece)
    numbers = bar_lines.parse(bars) if isinstance(bars, str) else bars
    bar_lines.span(score, *numbers)  # Wrong ones are refused before the model is loaded.
    performer = hearing.player(model, completes=True)
    told = hearing.key(key, score, performer.card)
    grid = Grid.over(score, performer.card)
    passage = Passage.of(grid, bar_lines.span(grid.score, *numbers), performer.frame.voices, voices)
    if not passage.free.any():
        raise ValueError(
            "There is nothing to write: these bars are before the first note or after the last one, or notes sound on "
            f"through all of them. Received: bars={bars!r}"
        )
    first, heard = passage.first, min(passage.stop + AHEAD, len(passage.events))
    given = np.where(passage.free, FREE, passage.events)
    music = hearing.complete(
        performer,
        given[first:heard],
        passage.onsets[first:heard],
        primer={"voices": passage.events[:first], "voice_onsets": passage.onsets[:first]},
        ends=heard == len(given),
        conditions=grid.conditions(told, grid.begin + heard),
        count=count,
        particles=particles,
        temperature=temperature,
        top_p=top_p,
        seed=hearing.seed(seed),
    )
    return [passage.filled(events, onsets) for events, onsets in music]


@dataclasses.dataclass(frozen=True, eq=False)
class Passage:
    """Some bars of a score, and what in them is to be written.

    Attributes:
        grid: over the score.
        span: where they begin and end, in ticks.
        voice: of each note of the score, -1 none.
        removed: bool `(notes,)`, the notes that are replaced.
        events: int32 `(time, voices)`, the score without them.
        onsets: bool `(time, voices)`.
        first: the passage's first frame among those, `stop`: the one after its last.
        stop: see `first`.
        free: bool `(time, voices)`, what is to be written.
    """

    grid: Grid
    span: tuple[int, int]
    voice: np.ndarray
    removed: np.ndarray
    events: np.ndarray
    onsets: np.ndarray
    first: int
    stop: int
    free: np.ndarray

    @classmethod
    def of(cls, grid: Grid, span: tuple[int, int], columns: int, voices: Sequence[str] | None) -> Passage:
        """The passage between two ticks; `voices` are those of `inpaint`."""
        notes = grid.score.notes
        voice = separation.separate(grid.score, columns)
        chosen = np.unique(voice[voice >= 0]) if voices is None else _chosen(voices, columns)
        # Where all voices are written, a note that none of them could sing is in the way.
        theirs = np.isin(voice, chosen) | ((voice < 0) & (voices is None))
        removed = theirs & (notes["start"] >= span[0]) & (notes["end"] <= span[1])
        events, onsets = grid.columns(notes, np.where(removed, -1, voice), columns)
        first, stop = (min(max(-(-tick // grid.step) - grid.begin, 0), len(events)) for tick in span)
        free = np.zeros(events.shape, bool)
        free[first:stop, chosen] = events[first:stop, chosen] == REST
        return cls(grid, span, voice, removed, events, onsets, first, stop, free)

    def filled(self, events: np.ndarray, onsets: np.ndarray | None) -> Score:
        """The score with what was written, `(frames, voices)` from `first` on, in the place of what was removed."""
        score, free = self.grid.score, self.free[self.first : self.first + len(events)]
        added = self.grid.notes(
            np.where(free, events, REST), None if onsets is None else onsets & free, self.grid.begin + self.first
        )
        added["start"], added["end"] = np.maximum(added["start"], self.span[0]), np.minimum(added["end"], self.span[1])
        added = added[added["start"] < added["end"]]
        kept = score.notes[~self.removed]
        added["part"], parts = hearing.home(score, self.voice, self.events.shape[1], added["part"])
        if (doubling := _doubles(added, kept)).any():
            parts = (*parts, DOUBLING)
            added["part"][doubling] = len(parts) - 1
        return dataclasses.replace(score, notes=np.concatenate([kept, added]).astype(NOTE), parts=parts)


def _doubles(added: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Which of some notes, bool `(added,)`, sound with a kept one of their part and pitch: MIDI would end that."""
    return np.array(
        [
            np.any(
                (kept["part"] == note["part"])
                & (kept["pitch"] == note["pitch"])
                & (kept["start"] < note["end"])
                & (kept["end"] > note["start"])
            )
            for note in added
        ],
        bool,
    )


def _chosen(voices: Sequence[str], columns: int) -> list[int]:
    """The columns of named voices."""
    known = [name.casefold() for name in names(columns)]
    wanted = [name.strip().casefold() for name in voices]
    if not wanted or any(name not in known for name in wanted):
        raise ValueError(f"The voices are {', '.join(known)}. Received: voices={','.join(wanted)!r}")
    return sorted({known.index(name) for name in wanted})
