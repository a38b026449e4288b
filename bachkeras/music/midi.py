"""Standard MIDI Files: `read` one into a `Score`, `write` a `Score` into one."""

from __future__ import annotations

import bisect
import dataclasses
import errno
import io
import itertools
import os
import stat
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import mido
import numpy as np

from bachkeras import _files as files
from bachkeras.music import smf, spelling
from bachkeras.music.score import MINOR, NOTE, TICKS_PER_QUARTER, TONICS, Key, Meter, Score, Tempo

QUARTERS_PER_MINUTE = 80.0
"""Tempo of a written file whose score has none: a chorale's pace."""

VELOCITY = 80
"""How hard every written note is struck, of 127; a score holds no dynamics."""

LONGEST = 2**15
"""A piece is no longer, in quarters: all of a passion has half as many. A damaged file may ask for years."""

_SHORTEST_BEAT = 64
"""A meter that counts shorter notes, up to 1/2^255, is a damaged one."""

_NO_TICK = 2**30
"""No tick that long a piece has, at MIDI's finest resolution."""

_MIDI_TEMPO = 500_000
"""Microseconds of a quarter where a file does not say."""

PERCUSSION = 9
"""mido's number of MIDI channel 10, whose notes are drums, not pitches."""


class MidiError(ValueError):
    """A MIDI file that cannot be read, or a score that cannot be written as one."""


def read(path: str | os.PathLike) -> Score:
    """Reads a Standard MIDI File, wrapped into RIFF or not, in bounded time and memory.

    A part is a track and channel with notes, in this order; its name is the track's. The title is the name of the
    first track where that holds no notes. Percussion (channel 10) is left out, as are dynamics, instruments, pedals
    and bends. A note ends where its pitch is released or struck again in its part, or with its track; notes of no
    length are dropped. The score ends with the last track. Of several meters, keys or tempos at one tick the last
    one counts; one that is damaged or means nothing is left out, as any damaged meta event.

    The tracks of type 2, each a piece of its own, follow one another. Where the file counts seconds (SMPTE time), its
    tempos say how long a quarter is, or it lasts half a second, MIDI's own default.

    MIDI has no upbeat. One is read where the first meter begins after less than a bar of it, with nothing before or
    with one bar of another meter that lasts just as long: `write` writes an upbeat so, and so do notation programs.

    Raises:
        MidiError: if the file cannot be opened, is broken, larger than 4 MiB, or longer than `LONGEST`.
    """
    path = Path(path)
    try:
        return from_bytes(content(path))
    except (OSError, smf.SmfError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MidiError(f"Cannot read the MIDI file {str(path)!r}: {reason}") from error


def content(path: Path) -> bytes:
    """The bytes of a file; of one that is larger than any that is read, one too many.

    Raises:
        OSError: if it cannot be opened.
    """
    # A pipe would be waited at for ever.
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
        kind = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "it is no regular file")
        return file.read(smf.MOST_BYTES + 1)


def from_bytes(content: bytes) -> Score:
    """The score of a file's content, see `read`.

    Raises:
        smf.SmfError: if it cannot be read; says why.
    """
    header, messages = smf.parse(content)
    tracks = [_read_track(track) for track in messages]
    ticks_per_quarter = header.ticks_per_quarter
    if not ticks_per_quarter:
        tracks, ticks_per_quarter = _in_quarters(tracks, header.ticks_per_second), TICKS_PER_QUARTER
    if header.kind == 2:
        tracks = _one_after_another(tracks)
    end = max((track.end for track in tracks), default=0)
    if end > LONGEST * ticks_per_quarter:
        raise smf.SmfError(f"it lasts {end // ticks_per_quarter} quarters, more than {LONGEST}: a damaged time")
    meters, keys, tempos = _signatures(_events(tracks))
    upbeat, meters = _split_upbeat(meters, ticks_per_quarter)
    notes, parts = _notes(tracks)
    return Score(
        notes,
        ticks_per_quarter,
        end=end,
        parts=parts,
        meters=meters,
        keys=keys,
        tempos=tempos,
        upbeat=upbeat,
        title=tracks[0].name if tracks and not tracks[0].notes else "",
    )


def write(path: str | os.PathLike, score: Score, program: int = 0) -> None:
    """Writes a Standard MIDI File of type 1: a track of title, tempos, meters and keys, then a track a part.

    `read` gives back notes, end, title, upbeat and meters, keys, tempos (to three decimals) and the names of the
    parts that have notes. Where a pitch begins in a part that still sounds it, the earlier note ends. The tempo is
    80 quarters a minute if the score has none. An upbeat is written as a bar of its own, e.g. 1/4 before the 4/4;
    without a meter it has no bar line to precede, and is not written.

    Args:
        path: the file, replaced as a whole: it is never half-written.
        score: what to write.
        program: General MIDI instrument 0..127 of all parts; 0 is an acoustic grand piano.

    Raises:
        MidiError: if MIDI cannot hold the score, e.g. more than 32767 ticks per quarter.
        OSError: if the file cannot be written.
    """
    path = Path(path)
    file = io.BytesIO()
    try:
        _encode(score, program).save(file=file)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise MidiError(f"Cannot write the score as MIDI: {error}. Received: path={str(path)!r}") from error
    files.replace(path, file.getvalue())


@dataclasses.dataclass
class _Track:
    name: str
    end: int
    notes: list[tuple[int, int, int, int]]  # start, end, pitch, channel
    events: list[tuple[int, mido.MetaMessage]]  # tick, message

    def at(self, tick: Callable[[int], int]) -> _Track:
        """The same with all ticks replaced by `tick` of them, which keeps their order; notes of no length go."""
        notes = [(tick(start), tick(end), pitch, channel) for start, end, pitch, channel in self.notes]
        events = [(tick(now), message) for now, message in self.events]
        return _Track(self.name, tick(self.end), [note for note in notes if note[0] < note[1]], events)


def _read_track(track: mido.MidiTrack) -> _Track:
    now, notes, events = 0, [], []
    sounding = {}  # (channel, pitch): start
    for message in track:
        now += message.time
        if now >= _NO_TICK:  # At once: a number of thousands of bytes is kept with every note.
            raise smf.SmfError("it holds a damaged time")
        kind = message.type
        if kind == "note_on" or kind == "note_off":
            channel, pitch = voice = message.channel, message.note
            start = sounding.pop(voice, now)
            if start < now:
                notes.append((start, now, pitch, channel))
            if kind == "note_on" and message.velocity and channel != PERCUSSION:
                sounding[voice] = now
        elif message.is_meta and smf.decoded(message):
            events.append((now, message))
    notes += [(start, now, pitch, channel) for (channel, pitch), start in sounding.items() if start < now]
    name = next((_from_latin1(message.name) for _, message in events if message.type == "track_name"), "")
    return _Track(name, now, notes, events)


def _in_quarters(tracks: list[_Track], ticks_per_second: float) -> list[_Track]:
    """Tracks that count seconds, in `TICKS_PER_QUARTER`, by their tempos."""
    tempos = {tick: message.tempo for tick, message in _events(tracks) if message.type == "set_tempo" and message.tempo}
    begins, tempo = zip(*sorted(({0: _MIDI_TEMPO} | tempos).items()), strict=True)
    quarter = np.array(tempo) * ticks_per_second / 1e6  # How many ticks it lasts, from each of `begins` on.
    reached = np.r_[0, np.cumsum(np.diff(begins) / quarter[:-1])]

    def convert(tick: int) -> int:
        place = bisect.bisect(begins, tick) - 1
        return round(TICKS_PER_QUARTER * float(reached[place] + (tick - begins[place]) / quarter[place]))

    return [track.at(convert) for track in tracks]


def _one_after_another(tracks: list[_Track]) -> list[_Track]:
    """Tracks of which each begins where the one before ends."""
    begins = itertools.accumulate((track.end for track in tracks), initial=0)
    return [track.at(begin.__add__) for track, begin in zip(tracks, begins, strict=False)]


def _events(tracks: Iterable[_Track]) -> list[tuple[int, mido.MetaMessage]]:
    """The meta events of all tracks by tick."""
    return sorted((event for track in tracks for event in track.events), key=lambda event: event[0])


def _notes(tracks: list[_Track]) -> tuple[np.ndarray, tuple[str, ...]]:
    """The notes of all tracks as one array, and the names of their parts."""
    rows = np.array([note for track in tracks for note in track.notes], np.int64).reshape(-1, 4)
    index = np.repeat(np.arange(len(tracks)), [len(track.notes) for track in tracks])
    # 16 channels a track: equal numbers are a part, and ascend by track and channel.
    numbers, part = np.unique(index * 16 + rows[:, 3], return_inverse=True)
    if len(numbers) > np.iinfo(NOTE["part"]).max:
        raise smf.SmfError(f"it has {len(numbers)} parts")
    notes = np.empty(len(rows), NOTE)
    notes["start"], notes["end"], notes["pitch"], notes["part"] = rows[:, 0], rows[:, 1], rows[:, 2], part
    return notes, tuple(tracks[number // 16].name for number in numbers)


def _signatures(events: Iterable[tuple[int, mido.MetaMessage]]):
    """Meters, keys and tempos, each a tuple by tick, of meta events by tick; those that mean nothing are left out."""
    meters, keys, tempos = {}, {}, {}
    for tick, message in events:
        if message.type == "time_signature" and message.numerator and message.denominator <= _SHORTEST_BEAT:
            meters[tick] = Meter(tick, message.numerator, message.denominator)
        elif message.type == "key_signature":
            keys[tick] = _key(tick, message.key)
        elif message.type == "set_tempo" and message.tempo:
            # A file rounds to a microsecond a quarter: 72 a minute comes back as 72.00003.
            tempos[tick] = Tempo(tick, round(60e6 / message.tempo, 3))
    return tuple(meters.values()), tuple(keys.values()), tuple(tempos.values())


def _key(tick: int, name: str) -> Key:
    """The key of a MIDI name such as "F#m"."""
    letter, accidental = name[0], name[1:].rstrip("m")
    tonic = TONICS.index(letter) + {"": 0, "#": 1, "b": -1}[accidental]
    return Key(tick, tonic % 12, int(name.endswith("m")))


def _split_upbeat(meters: tuple[Meter, ...], ticks_per_quarter: int) -> tuple[int, tuple[Meter, ...]]:
    """Upbeat in ticks, and the meters with the first one from tick 0 on; the inverse of `_join_upbeat`."""
    own_bar = len(meters) > 1 and meters[0].tick == 0 and meters[0].quarters * ticks_per_quarter == meters[1].tick
    real = meters[1:] if own_bar else meters
    if real and 0 < real[0].tick < real[0].quarters * ticks_per_quarter:
        return real[0].tick, (dataclasses.replace(real[0], tick=0), *real[1:])
    return 0, meters


def _join_upbeat(score: Score) -> tuple[Meter, ...]:
    """The meters with the first one from the end of the upbeat on, and the upbeat as a bar where it can be one."""
    if not score.upbeat or not score.meters:
        return score.meters
    first = score.meters[0]
    length = Fraction(score.upbeat, 4 * score.ticks_per_quarter)  # in whole notes
    denominator = max(length.denominator, first.denominator)
    meters = dataclasses.replace(first, tick=score.upbeat), *score.meters[1:]
    if length.denominator.bit_count() > 1:  # A triplet is no meter: MIDI's denominators are powers of two.
        return meters
    return Meter(0, int(length * denominator), denominator), *meters


def _encode(score: Score, program: int) -> mido.MidiFile:
    if not 0 < score.ticks_per_quarter < 2**15:
        raise ValueError(f"ticks per quarter must be 1..32767, and are {score.ticks_per_quarter}")
    file = mido.MidiFile(type=1, ticks_per_beat=score.ticks_per_quarter)
    file.tracks.append(_timed(_conductor(score), score.end))
    for part, name in enumerate(score.parts):
        channel = part % 15
        channel += channel >= PERCUSSION
        events = [(0, mido.Message("program_change", program=program, channel=channel))]
        events += _strokes(score.notes[score.notes["part"] == part], channel)
        if name:
            events.insert(0, (0, mido.MetaMessage("track_name", name=_to_latin1(name))))
        file.tracks.append(_timed(events, score.end))
    return file


def _conductor(score: Score) -> list[tuple[int, mido.MetaMessage]]:
    events = [(0, mido.MetaMessage("track_name", name=_to_latin1(score.title)))] if score.title else []
    for tempo in score.tempos or (Tempo(0, QUARTERS_PER_MINUTE),):
        events.append((tempo.tick, mido.MetaMessage("set_tempo", tempo=round(60e6 / tempo.quarters_per_minute))))
    for meter in _join_upbeat(score):
        signature = mido.MetaMessage("time_signature", numerator=meter.numerator, denominator=meter.denominator)
        events.append((meter.tick, signature))
    for key in score.keys:
        name = spelling.tonic(key) + ("m" if key.mode == MINOR else "")
        events.append((key.tick, mido.MetaMessage("key_signature", key=name)))
    return sorted(events, key=lambda event: event[0])


def _strokes(notes: np.ndarray, channel: int) -> list[tuple[int, mido.Message]]:
    """Note-on and note-off messages of one part, by tick, off before on."""
    notes = notes[np.lexsort((notes["end"], notes["start"], notes["pitch"]))]
    # A channel has one key a pitch: a note ends at the latest where the next one of its pitch begins.
    again = notes["pitch"][1:] == notes["pitch"][:-1]
    notes["end"][:-1][again] = np.minimum(notes["end"][:-1], notes["start"][1:])[again]
    notes = notes[notes["start"] < notes["end"]]
    ons = [(start, "note_on", pitch) for start, pitch in notes[["start", "pitch"]].tolist()]
    offs = [(end, "note_off", pitch) for end, pitch in notes[["end", "pitch"]].tolist()]
    return [
        (tick, mido.Message(kind, note=pitch, velocity=VELOCITY, channel=channel))
        for tick, kind, pitch in sorted(ons + offs)  # "note_off" sorts before "note_on"
    ]


def _timed(events: Iterable[tuple[int, mido.Message]], end: int) -> mido.MidiTrack:
    """A track of messages at absolute ticks, in order, that lasts until `end`."""
    track, now = mido.MidiTrack(), 0
    for tick, message in [*events, (end, mido.MetaMessage("end_of_track"))]:
        track.append(message.copy(time=max(tick - now, 0)))
        now = max(tick, now)
    return track


def _to_latin1(text: str) -> str:
    """UTF-8 bytes as Latin-1 text: mido writes Latin-1, and its setting of another charset outlives an exception."""
    return text.encode("utf-8").decode("latin-1")


def _from_latin1(text: str) -> str:
    """The inverse of `_to_latin1`; text that is not UTF-8 stays as it is."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return text
