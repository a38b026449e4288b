"""MusicXML files: `write` a `Score` for MuseScore and other notation programs, through music21."""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar
from xml.etree import ElementTree

from bachkeras import _files as files
from bachkeras.music import notation, spelling
from bachkeras.music.bars import Bar, bars
from bachkeras.music.midi import PERCUSSION
from bachkeras.music.notation import FINEST, Piece, Staff
from bachkeras.music.score import MINOR, Key, Score, Tempo
from bachkeras.music.voices import SATB

if TYPE_CHECKING:
    from music21 import base, instrument, layout, note, pitch, stream

_Event = TypeVar("_Event", Key, Tempo)


class MusicXMLError(ValueError):
    """A score that cannot be written as MusicXML."""


def write(path: str | os.PathLike, score: Score) -> None:
    """Writes a score in MusicXML, uncompressed; the same score is the same bytes.

    Four parts named as `voices.SATB` are a choral score with a staff and its clef for each; a part of chords is a grand
    staff, see `notation.staves`. Notes that begin and end together are a chord, others that overlap are voices of
    their staff. Notes are spelled in their key, see `spelling`, and tied over bar lines and where no single note shows
    their length. An upbeat is a measure of its own, number 0; without a meter the bars are 4/4.

    What is lost: times off the grid of notation move, see `notation.on_grid`, and a key or tempo that changes inside a
    bar is written at the next bar line.

    Args:
        path: the file, replaced as a whole: it is never half-written.
        score: what to write; without parts it is an empty staff.

    Raises:
        MusicXMLError: if notation cannot hold the score, e.g. a meter of 4/3.
        OSError: if the file cannot be written.
    """
    from music21.exceptions21 import Music21Exception

    try:
        content = _encode(notation.on_grid(score))
    except (Music21Exception, ValueError, ArithmeticError) as error:
        raise MusicXMLError(f"Cannot write the score as MusicXML: {error}. Received: path={str(path)!r}") from error
    files.replace(path, content)


def _encode(score: Score) -> bytes:
    from music21 import metadata, stream
    from music21.musicxml.m21ToXml import ScoreExporter

    for meter in score.meters:
        if meter.denominator not in (1, 2, 4, 8, 16, 32, 64):
            raise ValueError(f"a meter counts in notes from the whole to the 64th, unlike {meter}")
    document = stream.Score()
    document.metadata = metadata.Metadata()
    if title := _printable(score.title):
        document.metadata.title = title
    staves = notation.staves(score) or [Staff(0, "treble", [[]])]
    lines = bars(score)
    parts = [_part(staff, score, lines, number) for number, staff in enumerate(staves)]
    for element in (*parts, *_groups(staves, parts, score)):
        document.insert(0, element)
    # music21's own makeNotation would join chords and voices anew; all that it would do here is done.
    exporter = ScoreExporter(document, makeNotation=False)
    _without_defaults(exporter.parse())
    return exporter.asBytes()


def _part(staff: Staff, score: Score, lines: Sequence[Bar], number: int) -> stream.Part:
    """A staff with its measures, and accidentals where a reader needs them."""
    from music21 import stream

    part = stream.PartStaff() if staff.grand else stream.Part()
    name = score.parts[staff.part] if score.parts else ""
    part.id, part.partName = f"staff{number}", _printable(name)
    part.insert(0, _instrument(staff.part, part.partName))
    for bar, signs in zip(lines, _signs(staff, score, lines, tempos=number == 0), strict=True):
        measure = _measure(staff, bar, score)
        for sign in signs:
            measure.insert(0, sign)
        part.insert(bar.start, measure)
    measure.rightBarline = "final"
    part.makeAccidentals(inPlace=True)
    return part


def _instrument(part: int, name: str) -> instrument.Instrument:
    """A singer, or a piano under any name, with ids of its own: music21's are random."""
    from music21 import instrument

    made = getattr(instrument, name)() if name in (*SATB, "Piano") else instrument.Instrument(name)
    if made.midiProgram is None:
        made.midiProgram = 0
    made.partId, made.instrumentId = f"P{part + 1}", f"I{part + 1}"
    made.midiChannel = part  # Its own, as music21 wants it; `_without_defaults` makes it one of sixteen.
    return made


def _signs(staff: Staff, score: Score, lines: Sequence[Bar], tempos: bool) -> Iterator[list[base.Music21Object]]:
    """What stands at the beginning of each bar where it changes: clef, meter, key and tempo."""
    from music21 import clef, key, meter, tempo

    clefs = {"treble": clef.TrebleClef, "tenor": clef.Treble8vbClef, "bass": clef.BassClef}
    signs: list[base.Music21Object] = [clefs[staff.clef]()]
    before: tuple = (None, None, None)
    for bar in lines:
        tick = int(bar.start * FINEST)
        now = _signature(bar), _at(score.keys, tick), _at(score.tempos, tick)
        new = [sign if sign != old else None for sign, old in zip(now, before, strict=True)]
        if new[0]:
            signs.append(meter.TimeSignature(new[0]))
        if new[1]:
            mode = "minor" if new[1].mode == MINOR else "major"
            signs.append(key.Key(spelling.tonic(new[1]).replace("b", "-"), mode))
        if new[2] and tempos:
            signs.append(tempo.MetronomeMark(number=new[2].quarters_per_minute))
        yield signs
        signs, before = [], now


def _at(events: Sequence[_Event], tick: int) -> _Event | None:
    """The key or tempo in force at a tick."""
    later = bisect.bisect_right(events, tick, key=lambda event: event.tick)
    return events[later - 1] if later else None


def _measure(staff: Staff, bar: Bar, score: Score) -> stream.Measure:
    from music21 import stream
    from music21.stream.enums import ShowNumber

    measure = stream.Measure(number=bar.number)
    missing = bar.meter.quarters - (bar.end - bar.start)
    if bar.number == 0:
        measure.showNumber = ShowNumber.NEVER
        measure.paddingLeft = missing
    else:
        measure.paddingRight = missing
    # As in MuseScore, voices count from 1 in an upper staff and from 5 in a lower one.
    first = 5 if staff.grand and staff.clef == "bass" else 1
    alone = len(staff.voices) == 1 and not staff.grand
    for number, chords in enumerate(staff.voices):
        sounding = chords[bisect.bisect_right(chords, bar.start, key=lambda chord: chord.end) :]
        if number > 0 and not (sounding and sounding[0].start < bar.end):
            continue
        voice = measure if alone else stream.Voice(id=first + number)
        for piece in notation.fill(sounding, bar):
            voice.insert(piece.start - bar.start, _sign(piece, bar, score, hidden=number > 0))
        _join(voice, bar, measure.paddingLeft)
        if not alone:
            measure.insert(0, voice)
    return measure


def _join(voice: stream.Stream, bar: Bar, since: float) -> None:
    """Beams and the brackets of triplets; the voice begins `since` quarters after the bar line."""
    from music21 import meter
    from music21.stream.makeNotation import makeTupletBrackets

    # Not by music21's makeBeams: it looks for each bar's meter in all bars before, and guesses stems without voices.
    signs = list(voice.notesAndRests)
    beams = meter.TimeSignature(_signature(bar)).getBeams(signs, measureStartOffset=since)
    for sign, beam in zip(signs, beams, strict=True):
        if beam is not None:
            sign.beams = beam
    makeTupletBrackets(voice, inPlace=True)


def _signature(bar: Bar) -> str:
    return f"{bar.meter.numerator}/{bar.meter.denominator}"


def _sign(piece: Piece, bar: Bar, score: Score, hidden: bool) -> note.GeneralNote:
    """A note, chord or rest; `hidden` is whether a rest, not a note, is left blank."""
    from music21 import chord, note, tie

    length = piece.end - piece.start
    if piece.chord is None:
        rest = note.Rest(quarterLength=length)
        rest.fullMeasure = length == bar.end - bar.start and bar.number > 0
        rest.style.hideObjectOnPrint = hidden
        return rest
    key = _at(score.keys, int(piece.chord.start * FINEST))
    pitches = [_pitch(pitch, key) for pitch in piece.chord.pitches]
    sign = note.Note(pitches[0]) if len(pitches) == 1 else chord.Chord(pitches)
    sign.quarterLength = length
    if piece.tie:
        sign.tie = tie.Tie(piece.tie)
    return sign


def _pitch(number: int, key: Key | None) -> pitch.Pitch:
    from music21 import pitch

    step, alter, octave = spelling.spell(number, key)
    spelled = pitch.Pitch(step=step, octave=octave)
    if alter:
        spelled.accidental = pitch.Accidental(alter)
    return spelled


def _groups(staves: Sequence[Staff], parts: Sequence[stream.Part], score: Score) -> list[layout.StaffGroup]:
    """A brace around each grand staff, and a bracket around the voices of a choral score."""
    from music21 import layout

    if score.parts == SATB:
        return [layout.StaffGroup(parts, symbol="bracket", barTogether=False)]
    grand = [part for staff, part in zip(staves, parts, strict=True) if staff.grand]
    pairs = zip(grand[::2], grand[1::2], strict=True)
    return [layout.StaffGroup(pair, symbol="brace", barTogether=True) for pair in pairs]


def _without_defaults(root: ElementTree.Element) -> None:
    """Takes out what music21 makes up: today's date, itself as the composer and a title where there is none.

    Parts share the fifteen MIDI channels of pitches, as in `midi.write`.
    """
    identification = root.find("identification")
    for creator in identification.findall("creator"):
        identification.remove(creator)
    encoding = identification.find("encoding")
    encoding.remove(encoding.find("encoding-date"))
    for channel in root.iter("midi-channel"):
        number = (int(channel.text) - 1) % 15
        channel.text = str(number + 1 + (number >= PERCUSSION))
    if root.find("work") is None:
        root.remove(root.find("movement-title"))


def _printable(text: str) -> str:
    """The text without control characters, which XML cannot hold."""
    return "".join(character for character in text if character.isprintable())
