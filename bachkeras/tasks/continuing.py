"""Continuing: what comes after a piece."""

from __future__ import annotations

import dataclasses
import os
from typing import NamedTuple

import numpy as np

from bachkeras._presets import COMPOSING
from bachkeras.models.base import FrameModel
from bachkeras.music import separation, voices
from bachkeras.music.pianoroll import KEYS
from bachkeras.music.score import NOTE, Score
from bachkeras.tasks import hearing
from bachkeras.tasks.hearing import Grid
from bachkeras.training import samples


def continue_(
    primer: str | os.PathLike | Score,
    model: str | os.PathLike | FrameModel = COMPOSING,
    *,
    count: int = 1,
    length: int | str | None = None,
    keep_primer: bool = False,
    key: str | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int | None = None,
) -> list[Score]:
    """Let a model continue a piece, after its last note.

    Args:
        primer: a score, or a file: MIDI, MusicXML or ABC; `separation.separate` says which voice sings which note.
        model: a preset's name, a run directory, or what `bachkeras.load` made of one.
        count: number of continuations.
        length: new frames; "auto": until the model ends the piece; None: `samples.LENGTH`.
        keep_primer: put the primer before the new music; its notes stay as they are, but a note that the model holds on
            lasts longer.
        key: such as "D minor"; None: `keys.find` finds it.
        temperature: see `compose`.
        top_p: see `compose`.
        seed: see `compose`.

    Raises:
        ValueError: if the model cannot, or an argument is out of its range.
    """
    score = hearing.score(primer)
    performer = hearing.player(model)
    card, frame = performer.card, performer.frame
    told = hearing.key(key, score, card, ends=False)
    signs = hearing.signatures(key, score, told)
    grid = Grid.over(dataclasses.replace(score, keys=signs), card)
    most, until_end = samples.frames(performer, card, samples.LENGTH if length is None else length)
    voice = separation.separate(grid.score, frame.voices)
    events, onsets = grid.columns(grid.score.notes, voice, frame.voices)
    heard = {"pianoroll": voices.to_frames(events), "onsets": voices.to_frames(np.where(onsets, events, voices.REST))}
    if frame.labelled:
        heard = {"voices": events, "voice_onsets": onsets}
    music = performer.generate(
        count,
        most,
        until_end=until_end,
        primer=heard,
        conditions=grid.conditions(told, grid.end + most),
        allowed=samples.allowed(performer, card),
        temperature=temperature,
        top_p=top_p,
        seed=hearing.seed(seed),
    )
    lengths = music.pop("lengths", np.full(count, most))
    written = samples.as_in_a_corpus(frame, music)
    found = []
    for i, frames in enumerate(lengths.tolist()):
        new = _columns({name: array[i, :frames] for name, array in written.items()})
        if keep_primer:
            found.append(_joined(grid, _columns(heard), new, voice if frame.labelled else None))
        else:
            found.append(_alone(grid, new, frame.labelled))
    return found


class Columns(NamedTuple):
    """Frames as columns, of the labelled voices or of the 88 keys: events and onsets `(time, columns)`."""

    events: np.ndarray
    onsets: np.ndarray | None


def _columns(music: dict[str, np.ndarray]) -> Columns:
    """The columns of frames as a corpus has them."""
    if "voices" in music:
        return Columns(music["voices"], music.get("voice_onsets"))
    return Columns(np.where(music["pianoroll"], np.arange(KEYS), voices.REST), music.get("onsets"))


def _joined(grid: Grid, heard: Columns, new: Columns, voice: np.ndarray | None) -> Score:
    """The primer and what comes after it, each voice in its part.

    Args:
        grid: over the primer.
        heard: the primer.
        new: what comes after it.
        voice: which column each of the primer's notes is in; None: columns are keys.
    """
    score, seam = grid.score, grid.end * grid.step
    notes, added = score.notes.copy(), grid.notes(*new, grid.end)
    held = new.events[0] == heard.events[-1]
    if new.onsets is not None:
        held &= ~new.onsets[0]
    goes_on = (added["start"] == seam) & held[added["part"]]
    for note in added[goes_on]:
        same = notes["pitch"] == note["pitch"]
        if voice is not None:
            same &= voice == note["part"]
        notes["end"][np.argmax(np.where(same, notes["end"], -1))] = note["end"]
    added = added[~goes_on]
    if voice is None:  # Keys have no parts of their own.
        parts = score.parts if len(score.parts) == 1 else (*score.parts, "Piano")
        added["part"] = len(parts) - 1
    else:
        added["part"], parts = hearing.home(score, voice, new.events.shape[1], added["part"])
    return dataclasses.replace(score, notes=np.concatenate([notes, added]).astype(NOTE), parts=parts)


def _alone(grid: Grid, new: Columns, labelled: bool) -> Score:
    """What comes after the primer as a piece of its own, in the metre, key and tempo that hold there."""
    score, seam = grid.score, grid.end * grid.step
    notes = grid.notes(*new, 0)
    notes["part"] *= labelled
    meters, keys, tempos = (_in_force(signs, seam) for signs in (score.meters, score.keys, score.tempos))
    (place,) = grid.conditions(None, grid.end + 1)["position"][-1:]
    return Score(
        notes,
        score.ticks_per_quarter,
        end=len(new.events) * grid.step,
        parts=voices.names(new.events.shape[1]) if labelled else ("Piano",),
        meters=meters,
        keys=keys,
        tempos=tempos,
        upbeat=int(meters[0].quarters * score.ticks_per_quarter - place * grid.step) if meters and place > 0 else 0,
        title=score.title,
    )


def _in_force(signs: tuple, tick: int) -> tuple:
    """The last of some meters, keys or tempos that began by a tick, from the beginning on."""
    return tuple(dataclasses.replace(sign, tick=0) for sign in [sign for sign in signs if sign.tick <= tick][-1:])
