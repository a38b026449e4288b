"""The tracks of a Standard MIDI File in whatever state it is found, as messages of mido, or why it cannot be read.

mido reads an event at a time well, and a whole file strictly: one bad key signature costs all notes. So the file's
chunks are found here, each track is given to mido alone, and mido is taught to pass over what it cannot decode.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

import mido
from mido.midifiles import meta

MOST_BYTES = 2**22
"""A file is no larger: 4 MiB hold all of a passion, and mido takes up to 130 times as much memory."""

_FRAMES_PER_SECOND = (24, 25, 29, 30)
"""Of SMPTE time; 29 stands for 30 frames in 1.001 seconds."""

_HIGH_BYTES = re.compile(rb"(?<![\x80-\xff])[\x80-\xff]{4096}")
"""No number of a MIDI file has more than four bytes; mido would read one of millions, in hours."""


class SmfError(ValueError):
    """Why bytes are no file that can be read; the text begins small and has no full stop, to follow the file's name."""


class Header(NamedTuple):
    """What a file says of all its tracks.

    Attributes:
        kind: 0, 1: its tracks sound together; 2: each is a piece of its own.
        ticks_per_quarter: 0 where time is counted in seconds.
        ticks_per_second: 0.0 where time is counted in quarters.
    """

    kind: int
    ticks_per_quarter: int
    ticks_per_second: float


def parse(content: bytes) -> tuple[Header, Iterator[mido.MidiTrack]]:
    """The header of a file and its tracks, each parsed when it is asked for.

    Accepted: what stands before the header (a RIFF wrapping), chunks of other kinds, a wrong number of tracks, bytes
    behind the last one, data bytes above 127 (read as 127) and meta events that cannot be decoded (see `decoded`).

    Raises:
        SmfError: if it has no header or no time; from the iterator, if a track is broken or cut off.
    """
    if len(content) > MOST_BYTES:
        raise SmfError(f"it has more than {MOST_BYTES} bytes")
    start = content.find(b"MThd")
    if start < 0:
        raise SmfError("it is no MIDI file (MThd not found)")
    if len(content) < start + 14:
        raise SmfError("it ends too early, in its header")
    length, kind, count, division = struct.unpack_from(">LHHh", content, start + 4)
    if kind > 2:
        raise SmfError(f"it has a type that MIDI does not know, {kind}")
    return Header(kind, *_time(division)), _tracks(content, start + 8 + length, count)


def decoded(message: mido.MetaMessage) -> bool:
    """Whether a meta event says what its type promises; one that mido could not decode holds values of no meaning."""
    return not hasattr(message, "broken")


def _time(division: int) -> tuple[int, float]:
    """Ticks a quarter and ticks a second, one of them 0."""
    if division > 0:
        return division, 0.0
    frames, ticks = -(division >> 8), division & 0xFF
    if frames not in _FRAMES_PER_SECOND or not ticks:
        raise SmfError(f"it does not say how long a tick is (division {division})")
    return 0, ticks * (30 / 1.001 if frames == 29 else frames)


def _tracks(content: bytes, place: int, count: int) -> Iterator[mido.MidiTrack]:
    """The tracks from a place on; behind the last one that is announced, whatever is no chunk is passed over."""
    found = 0
    while len(content) - place >= 8:
        kind, size = struct.unpack_from(">4sL", content, place)
        place += 8
        if size > len(content) - place and (kind == b"MTrk" or found < count):
            raise SmfError("it ends too early, in a track" if kind == b"MTrk" else "it is broken between two tracks")
        if kind == b"MTrk":
            yield _track(content[place : place + size])
            found += 1
        place += size
    if count and not found:
        raise SmfError("it ends too early, before its first track")


def _track(content: bytes) -> mido.MidiTrack:
    """The messages of one track, by mido: as a file of its own, so that it cannot read on into the next one."""
    if _HIGH_BYTES.search(content):
        raise SmfError("it holds thousands of bytes in a row that are no MIDI")
    header = struct.pack(">4sLHHH", b"MThd", 6, 0, 1, 1)
    track = struct.pack(">4sL", b"MTrk", len(content)) + content
    try:
        return mido.MidiFile(file=io.BytesIO(header + track), clip=True).tracks[0]
    # mido raises what its parsing stumbles over: EOFError, IndexError, OSError ... are all a broken track.
    except Exception as error:
        raise SmfError(str(error)[:200] or "it ends too early, in an event") from error


class _Lenient:
    """A kind of meta event that is marked where it cannot be decoded, in place of an error."""

    def decode(self, message: mido.MetaMessage, data: list[int]) -> None:
        try:
            super().decode(message, data)
        except Exception:
            vars(message)["broken"] = True


class _Unknown(meta.MetaSpec):
    """A kind of meta event that mido does not know: it forgets the time of those, and all notes behind come early."""

    attributes = ("data",)
    defaults = ((),)

    def decode(self, message: mido.MetaMessage, data: list[int]) -> None:
        message.data = tuple(data)

    def encode(self, message: mido.MetaMessage) -> list[int]:
        return list(message.data)


def _teach() -> None:
    """Add these kinds to mido's, for the whole process: elsewhere, too, they read what mido alone would refuse."""
    known = [kind for name, kind in vars(meta).items() if name.startswith("MetaSpec_")]
    for kind in known:
        meta.add_meta_spec(type(kind.__name__, (_Lenient, kind), {}))
    for byte in set(range(256)) - {kind.type_byte for kind in known}:
        meta.add_meta_spec(type(f"MetaSpec_unknown_{byte:02x}", (_Unknown,), {"type_byte": byte}))


_teach()
