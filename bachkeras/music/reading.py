"""Reading: a user's file of any kind as a `Score`: MIDI through `midi`, MusicXML and ABC through music21."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import os
import re
import warnings
import zipfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from bachkeras.music import midi
from bachkeras.music.score import MAJOR, MINOR, NOTE, TICKS_PER_QUARTER, Key, Meter, Score, Tempo

if TYPE_CHECKING:
    from music21 import stream

MIDI = (".mid", ".midi", ".rmi", ".smf")
MUSICXML, ABC = (".musicxml", ".xml", ".mxl"), (".abc",)
"""The endings of the files that `read` knows, in small letters."""

MIDI_TEMPO = 120.0
"""Quarters a minute of a MIDI file that does not say."""

_MINOR_MODES = ("minor", "aeolian", "dorian", "phrygian", "locrian")

_ABC_MISREAD = {
    r"&": "an overlay of voices (&)",
    r"[XZ]": "a rest of whole bars (Z)",
    r"\{[^}]*\[": "a chord of grace notes",
    r"\][\d/]*-|\[(?!\d)[^]|\n]*-": "a tie in a chord",
}
"""What ABC may hold and music21 reads as something else."""


class ReadError(ValueError):
    """A file that cannot be read."""


def read(path: str | os.PathLike) -> Score:
    """Reads a file by its ending, in small or capital letters: see `MIDI`, `MUSICXML` and `ABC`.

    Of MIDI, see `midi.read`, two things are understood that a file does not say: `as_played`.

    Of MusicXML and ABC, times are exact, in 480 ticks a quarter or the least multiple of it that holds them; where that
    is more than MIDI can have, 32767, they move to the nearest of 480. Tied notes are one note, the notes of a chord
    several; pitches are those that sound. All voices and staves of a part are one part. Repeats are not expanded. Grace
    notes, chord symbols and unpitched percussion are left out. Meters and keys are those of the first part that has
    any. A key signature without a mode is major; a church mode is major or minor by its third. A tempo without a number
    is left out. A first measure that is shorter than its meter is an upbeat, if another follows.

    ABC is one tune of one voice.

    Raises:
        ReadError: if the file cannot be opened, is broken or of another kind, or has no notes, or is ABC of several
            tunes or voices or with something that music21 misreads, such as overlays.
        midi.MidiError: the same for MIDI. Both are ValueErrors of one line that name the file.
    """
    path = Path(path)
    ending = path.suffix.lower()
    try:
        content = midi.content(path) if ending in MIDI else path.read_bytes()
        if ending not in (*MIDI, *MUSICXML, *ABC):
            raise ReadError(f"it ends in none of {' '.join((*MIDI, *MUSICXML, *ABC))}")
        if not content.strip():
            raise ReadError("it is empty")
        if ending in MIDI:
            score = as_played(midi.read(path))
        else:
            score = _score(_from_abc(content) if ending in ABC else _from_musicxml(content))
        if not len(score.notes):
            raise ReadError("it has no notes (drums do not count)")
        return score
    except midi.MidiError:
        raise
    # music21 raises what its parsing stumbles over: any error is one of the file.
    except Exception as error:
        raise ReadError(f"Cannot read {str(path)!r}: {_reason(error)}") from error


def as_played(score: Score) -> Score:
    """A MIDI file's score with what is understood.

    Without a tempo it plays at 120 quarters a minute; and C major is what programs write that know no key, so it is
    none.
    """
    tempos = score.tempos or (Tempo(0, MIDI_TEMPO),)
    keys = () if all((key.tonic, key.mode) == (0, MAJOR) for key in score.keys) else score.keys
    return dataclasses.replace(score, tempos=tempos, keys=keys)


def _reason(error: Exception) -> str:
    if isinstance(error, ReadError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"it is broken ({' '.join(str(error).split()) or type(error).__name__})"


def _from_musicxml(content: bytes) -> stream.Score:
    """MusicXML, compressed or not, as music21 reads it, at sounding pitch."""
    from music21.musicxml.xmlObjects import MusicXMLWarning
    from music21.musicxml.xmlToM21 import MusicXMLImporter

    # Not by music21's converter: it goes by the ending alone, in small letters, and takes the file's name for a title.
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
            content = archive.read(container.find(".//{*}rootfile").get("full-path"))
    importer = MusicXMLImporter()
    with warnings.catch_warnings():
        # Of instruments, lines, measures a little too long: nothing about a note.
        warnings.simplefilter("ignore", MusicXMLWarning)
        importer.readFile(io.BytesIO(content))
    importer.stream.toSoundingPitch(inPlace=True)
    return importer.stream


def _from_abc(content: bytes) -> stream.Score:
    """The one tune of an ABC file, as music21 reads it."""
    from music21 import abcFormat

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    # Since version 2.1 an accidental holds until the bar line; music21 takes a file for one of version 1.3.
    with contextlib.redirect_stderr(io.StringIO()) as said:
        handler = abcFormat.ABCFile((2, 1, 0)).readstr(_plain_abc(text))
        document = abcFormat.translate.abcToStreamScore(handler)
    # What else it says is about beams.
    if unknown := re.search(r"note:\s*(.*), assuming C", said.getvalue()):
        raise ReadError(f"it has a note that is none, {unknown[1]!r}")
    return document


def _plain_abc(text: str) -> str:
    """An ABC tune in such words as music21 reads rightly.

    Raises:
        ReadError: if there are none.
    """
    text = "\n".join(line.partition("%")[0].strip() for line in text.splitlines())
    text = re.sub(r"\[([A-Za-z]:[^]\n]*)\]", r"\n\1\n", text)  # Fields inside a line of music.
    head, *rest = re.split(r"^(K:.*)$", text, maxsplit=1, flags=re.MULTILINE)
    if not rest:
        raise ReadError("it has no key (a line that begins with K:), so it is no ABC")
    tunes = re.findall(r"^X:", text, re.MULTILINE)
    voices = set(re.findall(r"^V:\s*(\S*)", text, re.MULTILINE))
    for name, found in (("tunes", tunes), ("voices", voices)):
        if len(found) > 1:
            raise ReadError(f"it holds {len(found)} {name}; keep one")
    head = re.sub(r"^V:.*$", "", head, flags=re.MULTILINE)
    if not re.search(r"^[LM]:", head, re.MULTILINE):
        head += "L:1/8\n"
    # Only notes, and the fields that change them: no words, chord symbols and decorations.
    music = re.sub(r'^(?![KLMQ]:)[A-Za-z+]:(?![|:]).*$|"[^"\n]*"|![^!\n]*!', "", rest[1], flags=re.MULTILINE)
    for pattern, name in _ABC_MISREAD.items():
        if re.search(pattern, music):
            raise ReadError(f"it has {name}, which music21 misreads; take it out, or save the file as MusicXML")
    # music21 loses invisible rests (x), and the first field after a bar line: here an empty one (N:).
    plain = re.sub(
        r"^[KLMQ]:.*$|x", lambda sign: "z" if sign[0] == "x" else f"N:\n{sign[0]}", music, flags=re.MULTILINE
    )
    return head + rest[0] + plain


def _score(document: stream.Score) -> Score:
    from music21 import tempo

    parts = _parts(document)
    flat = [staff.flatten() for staves in parts for staff in staves]
    notes = [(*note, index) for index, staves in enumerate(parts) for note in _notes(staves)]
    meters = next(filter(None, map(_meters, flat)), {})
    keys = next(filter(None, map(_keys, flat)), {})
    tempos = {}
    for mark in (mark for staff in flat for mark in staff.getElementsByClass(tempo.MetronomeMark)):
        if (speed := mark.getQuarterBPM()) and not mark.numberImplicit:
            tempos[Fraction(mark.offset)] = round(float(speed), 3)
    upbeat = _upbeat(parts, meters)
    end = Fraction(document.highestTime)
    unit = _resolution([end, upbeat, *meters, *keys, *tempos, *(time for note in notes for time in note[:2])])

    def tick(time: Fraction) -> int:
        return round(time * unit)

    rows = [(tick(start), tick(stop), pitch, part) for start, stop, pitch, part in notes]
    return Score(
        np.array([row for row in rows if row[0] < row[1]], NOTE),
        unit,
        end=tick(end),
        parts=tuple(" ".join((staves[0].partName or "").split()) for staves in parts),
        meters=tuple(Meter(tick(time), *meter) for time, meter in sorted(meters.items())),
        keys=tuple(Key(tick(time), *key) for time, key in sorted(keys.items())),
        tempos=tuple(Tempo(tick(time), speed) for time, speed in sorted(tempos.items())),
        upbeat=tick(upbeat),
        title=" ".join((document.metadata.bestTitle or "").split()),
    )


def _parts(document: stream.Score) -> list[list[stream.Part]]:
    """The staves of each part; music21 names those of one part 'P1-Staff1', 'P1-Staff2'."""
    from music21 import stream

    found: dict[str | int, list[stream.Part]] = {}
    for part in document.parts:
        owner = part.id.rpartition("-Staff")[0] if isinstance(part, stream.PartStaff) else id(part)
        found.setdefault(owner, []).append(part)
    return list(found.values())


def _notes(staves: Sequence[stream.Part]) -> list[tuple[Fraction, Fraction, int]]:
    """Start and end in quarters and pitch of the notes of a part, ties merged."""
    from music21 import chord, harmony, note

    signs = [sign for staff in staves for sign in staff.flatten().notes if isinstance(sign, note.Note | chord.Chord)]
    rows: list[list] = []
    held: dict[tuple[Fraction, int], list[list]] = {}  # By end and pitch: the notes that are tied to the next.
    for sign in sorted(signs, key=lambda sign: sign.offset):
        if isinstance(sign, harmony.Harmony) or sign.duration.isGrace:
            continue
        start, end = Fraction(sign.offset), Fraction(sign.offset) + Fraction(sign.quarterLength)
        for one in sign.notes if isinstance(sign, chord.Chord) else (sign,):
            tie, pitch = one.tie.type if one.tie else None, one.pitch.midi
            if tie in ("continue", "stop") and held.get((start, pitch)):
                row = held[start, pitch].pop(0)
                row[1] = end
            else:
                rows.append(row := [start, end, pitch])
            if tie in ("start", "continue"):
                held.setdefault((end, pitch), []).append(row)
    return [tuple(row) for row in rows]


def _meters(staff: stream.Part) -> dict[Fraction, tuple[int, int]]:
    from music21 import meter

    signs = staff.getElementsByClass(meter.TimeSignature)
    return {Fraction(sign.offset): (sign.numerator, sign.denominator) for sign in signs}


def _keys(staff: stream.Part) -> dict[Fraction, tuple[int, int]]:
    """Tonics and modes; signatures that are no key's are left out."""
    from music21 import key

    found = {}
    for sign in staff.getElementsByClass(key.KeySignature):
        if sign.sharps is not None:
            named = sign if isinstance(sign, key.Key) else sign.asKey("major")
            found[Fraction(sign.offset)] = named.tonic.pitchClass, MINOR if named.mode in _MINOR_MODES else MAJOR
    return found


def _upbeat(parts: list[list[stream.Part]], meters: dict[Fraction, tuple[int, int]]) -> Fraction:
    """Length of a first measure that is not a whole one; 0 where it is, or is the only one, or has no meter."""
    from music21 import stream

    measures = parts[0][0].getElementsByClass(stream.Measure) if parts else ()
    if len(measures) < 2 or 0 not in meters:
        return Fraction(0)
    line = Fraction(measures[1].offset)
    bar = Meter(0, *meters[Fraction(0)]).quarters
    return line if line < bar else Fraction(0)


def _resolution(times: Sequence[Fraction]) -> int:
    """Ticks a quarter in which all times are whole ones, as far as MIDI can have as many."""
    unit = math.lcm(TICKS_PER_QUARTER, *(time.denominator for time in times))
    return unit if unit < 2**15 else TICKS_PER_QUARTER
