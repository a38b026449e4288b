"""MIDI files in every state they are found in: each has its notes, or a reason why not."""

import contextlib
import gzip
import io
import struct
import time
import tracemalloc

import mido
import numpy as np
import pytest
from midi_bytes import END, file_bytes, header, mutated, track

from bachkeras.music import midi, smf
from bachkeras.music.midi import MidiError
from bachkeras.music.score import Meter, Tempo

QUARTER = b"\x83\x60"  # 480 ticks
NOTE = b"\x00\x90\x3c\x40" + QUARTER + b"\x80\x3c\x00"
"""Middle C for a quarter."""
C = [(0, 480, 60, 0)]
LATER = [(480, 960, 60, 0)]


def ons_and_offs(*events):
    """A file of (ticks since the one before, status, pitch, velocity)."""
    return file_bytes(b"".join(bytes([delta, status, pitch, velocity]) for delta, status, pitch, velocity in events))


def meta(kind, content, delta=b"\x00"):
    return delta + bytes([0xFF, kind, len(content)]) + content


def riff(content):
    body = b"RMID" + b"data" + struct.pack("<L", len(content)) + content
    return b"RIFF" + struct.pack("<L", len(body)) + body


READS = {
    "type 0": (file_bytes(NOTE + END, kind=0), C),
    "type 1": (file_bytes(END, NOTE + END), C),
    "type 2: one after another": (file_bytes(NOTE + END, NOTE + END, kind=2), [*C, (480, 960, 60, 1)]),
    "SMPTE, 25 frames of 40 ticks: 500 a quarter": (file_bytes(NOTE + END, division=0xE728), [(0, 461, 60, 0)]),
    "SMPTE with a tempo: 480 a quarter of .48 s": (
        file_bytes(meta(0x51, (480_000).to_bytes(3, "big")) + NOTE + END, division=0xE728),
        C,
    ),
    "SMPTE, 29.97 frames of 80 ticks": (
        file_bytes(b"\x00\x90\x3c\x40\x89\x30\x80\x3c\x00" + END, division=0xE350),
        [(0, 480, 60, 0)],
    ),
    "SMPTE, another tempo after 480 ticks": (
        file_bytes(
            meta(0x51, (480_000).to_bytes(3, "big")) + NOTE + meta(0x51, (960_000).to_bytes(3, "big")) + NOTE + END,
            division=0xE728,
        ),
        [*C, (480, 720, 60, 0)],
    ),
    "running status": (file_bytes(b"\x00\x90\x3c\x40" + QUARTER + b"\x3c\x00" + END), C),
    "running status over a meta event": (
        file_bytes(b"\x00\x90\x3c\x40" + meta(1, b"x", QUARTER) + b"\x00\x3c\x00" + END),
        C,
    ),
    "wrapped in RIFF": (riff(file_bytes(NOTE + END)), C),
    "junk before the header": (b"\x00junk" * 20 + file_bytes(NOTE + END), C),
    "junk behind the last track": (file_bytes(NOTE + END) + b"\x00" * 7, C),
    "thousands of high bytes where no track is": (file_bytes(NOTE + END) + b"\xff" * 5000, C),
    "runs of high bytes in text": (file_bytes(b"\x00\xff\x01\xa0\x00" + b"\xe5" * 4095 + b"a" + NOTE + END), C),
    "a chunk of another kind": (header(1) + b"XFIH" + struct.pack(">L", 4) + b"MThd" + track(NOTE, END), C),
    "a longer header": (b"MThd" + struct.pack(">LHHHH", 8, 1, 1, 480, 0) + track(NOTE, END), C),
    "fewer tracks announced": (header(1) + track(END) + track(NOTE, END), C),
    "more tracks announced": (header(9) + track(NOTE, END), C),
    "no end of track": (file_bytes(NOTE), C),
    "an empty track": (header(2) + track() + track(NOTE, END), C),
    "no track": (file_bytes(), []),
    "no note-off": (file_bytes(b"\x00\x90\x3c\x40" + QUARTER + END[1:]), C),
    "note-on of velocity 0": (ons_and_offs((0, 0x90, 60, 64), (96, 0x90, 60, 0)), [(0, 96, 60, 0)]),
    "a pitch struck again while it sounds": (
        ons_and_offs((0, 0x90, 60, 64), (48, 0x90, 60, 64), (48, 0x80, 60, 0), (48, 0x80, 60, 0)),
        [(0, 48, 60, 0), (48, 96, 60, 0)],
    ),
    "a note of no length": (ons_and_offs((0, 0x90, 62, 64), (0, 0x80, 62, 0)), []),
    "a note-off alone": (ons_and_offs((9, 0x80, 62, 0)), []),
    "percussion": (ons_and_offs((0, 0x99, 36, 64), (96, 0x89, 36, 0)), []),
    "pitches outside the 88 keys": (
        ons_and_offs((0, 0x90, 0, 64), (0, 0x90, 127, 64), (96, 0x80, 0, 0), (0, 0x80, 127, 0)),
        [(0, 96, 127, 0), (0, 96, 0, 0)],
    ),
    "a velocity above 127": (ons_and_offs((0, 0x90, 60, 0xC8), (96, 0x80, 60, 0xFF)), [(0, 96, 60, 0)]),
    "a pitch above 127 is outside the keys": (
        ons_and_offs((0, 0x90, 0xC8, 64), (96, 0x80, 0xC8, 0)),
        [(0, 96, 127, 0)],
    ),
    "a tempo of nothing": (file_bytes(meta(0x51, b"\0\0\0") + NOTE + END), C),
    "a short tempo": (file_bytes(meta(0x51, b"\x09") + NOTE + END), C),
    "a bad key signature": (file_bytes(meta(0x59, b"\x09\x00") + NOTE + END), C),
    "an empty key signature": (file_bytes(meta(0x59, b"") + NOTE + END), C),
    "a short time signature": (file_bytes(meta(0x58, b"\x04") + NOTE + END), C),
    "a time signature of 0/4 and of 1/2^255": (
        file_bytes(meta(0x58, b"\x00\x02\x18\x08") + meta(0x58, b"\x01\xff\x18\x08") + NOTE + END),
        C,
    ),
    "an SMPTE offset of 120 frames": (file_bytes(meta(0x54, b"\x60\x00\x00\x78\x00") + NOTE + END), C),
    "a short sequence number": (file_bytes(meta(0x00, b"\x01") + NOTE + END), C),
    "an empty channel prefix": (file_bytes(meta(0x20, b"") + NOTE + END), C),
    "a meta event that nobody knows, after a quarter": (file_bytes(meta(0x4B, b"x", QUARTER) + NOTE + END), LATER),
    "a meta event of a kind above 127, after a quarter": (file_bytes(meta(0xF3, b"x", QUARTER) + NOTE + END), LATER),
    "text in Shift-JIS": (file_bytes(meta(0x03, "平均律".encode("shift-jis")) + NOTE + END), C),
    "text in UTF-16": (file_bytes(meta(0x01, "Präludium".encode("utf-16")) + NOTE + END), C),
    "system exclusive, in two pieces": (
        file_bytes(b"\x00\xf0\x03\x7e\x7f\x09" + QUARTER + b"\xf7\x02\x01\xf7" + NOTE + END),
        LATER,
    ),
    "pedals, bends and programs": (file_bytes(b"\x00\xc0\x10\x00\xb0\x40\x7f\x00\xe0\x00\x40" + NOTE + END), C),
}

SMALL = b"\x00\x90\x3c\x40"
ENDLESS = SMALL + b"\xff" * 1000 + b"\x7f\x80\x3c\x00" + END
FAILS = {
    "an empty file": (b"", "MThd not found"),
    "another file": (gzip.compress(b"x"), "MThd not found"),
    "RIFF of something else": (b"RIFF\x04\x00\x00\x00WAVE", "MThd not found"),
    "a header cut off": (header()[:10], "too early, in its header"),
    "four bytes of a header": (b"MThd", "too early, in its header"),
    "a header without a track": (header(), "before its first track"),
    "a track cut off": (file_bytes(NOTE + END)[:-3], "too early, in a track"),
    "an event cut off": (header() + track(b"\x00\x90\x3c"), "too early, in an event"),
    "an event that runs into the next track": (header(2) + track(b"\x00\x90") + track(NOTE, END), "too early"),
    "a data byte without a status": (file_bytes(b"\x00\x3c\x40"), "running status"),
    "a status that means nothing": (file_bytes(b"\x00\xf4\x3c\x40"), "undefined status byte"),
    "type 3": (file_bytes(NOTE + END, kind=3), "type that MIDI does not know, 3"),
    "no ticks per quarter": (file_bytes(NOTE + END, division=0), r"how long a tick is \(division 0\)"),
    "SMPTE of 26 frames": (file_bytes(NOTE + END, division=0xE628), "how long a tick is"),
    "SMPTE of 0 ticks": (file_bytes(NOTE + END, division=0xE700), "how long a tick is"),
    "a delta time of 2^28": (file_bytes(SMALL + b"\xff\xff\xff\x7f\x80\x3c\x00" + END), "559240 quarters, more than"),
    "a delta time of a thousand bytes": (
        file_bytes(SMALL + b"\xff" * 1000 + b"\x7f\x80\x3c\x00" + END),
        "damaged time",
    ),
    "that in SMPTE time": (
        file_bytes(ENDLESS, division=0xE728),
        "damaged time",
    ),
    "SMPTE time with a tempo of a microsecond": (
        file_bytes(meta(0x51, b"\0\0\1") + NOTE + END, division=0xE728),
        "480000 quarters, more than",
    ),
    "a number of a million bytes": (file_bytes(b"\xff" * 10**6), "no MIDI"),
    "text longer than a file": (file_bytes(b"\x00\xff\x01\xff\xff\xff\x7f"), "exceeds maximum"),
    "too large": (file_bytes(NOTE + END) + bytes(smf.MOST_BYTES), "4194304"),
    "a track whose end is not in it": (
        header(2) + b"MTrk" + struct.pack(">L", len(NOTE)) + NOTE + END + track(NOTE, END),
        "broken between two tracks",
    ),
    "a delta time of a thousand bytes before ten thousand notes": (
        file_bytes(b"\xff" * 1000 + b"\x7f\x90\x3c\x40" + b"\x01\x3c\x00\x01\x3c\x40" * 10_000),
        "damaged time",
    ),
    "more parts than can be told apart": (
        header(2200, 1) + 2200 * track(b"".join(bytes([0, 0x90 + i, 60, 64]) for i in range(16)), b"\x01", END[1:]),
        "33000 parts",
    ),
}


@pytest.mark.parametrize("case", READS)
def test_it_reads(case, tmp_path):
    content, notes = READS[case]
    (tmp_path / "piece.mid").write_bytes(content)
    assert midi.read(tmp_path / "piece.mid").notes.tolist() == notes


@pytest.mark.parametrize("case", FAILS)
def test_it_says_why_not_in_one_line(case, tmp_path):
    content, reason = FAILS[case]
    (tmp_path / "broken.mid").write_bytes(content)
    with pytest.raises(MidiError, match=reason) as caught:
        midi.read(tmp_path / "broken.mid")
    assert "broken.mid" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith(": ")


def test_a_broken_meta_event_says_nothing_and_the_others_count(tmp_path):
    content = meta(0x51, b"\x09") + meta(0x58, b"\x04") + meta(0x59, b"\x63\x00")
    good = meta(0x51, (600_000).to_bytes(3, "big"), b"\x8f\x00") + meta(0x58, b"\x03\x02\x18\x08")
    (tmp_path / "piece.mid").write_bytes(file_bytes(content + good + NOTE + END))
    score = midi.read(tmp_path / "piece.mid")
    assert (score.meters, score.keys, score.tempos) == ((Meter(1920, 3, 4),), (), (Tempo(1920, 100.0),))


def test_mido_still_writes_and_reads_what_it_did(tmp_path):
    """The kinds of meta events that are added are mido's own for the whole process."""
    messages = [
        mido.MetaMessage("key_signature", key="F#m"),
        mido.MetaMessage("time_signature", numerator=6, denominator=8),
        mido.MetaMessage("set_tempo", tempo=700_000, time=3),
        mido.MetaMessage("smpte_offset", hours=2, time=1),
        mido.MetaMessage("text", text="x"),
        mido.MetaMessage("end_of_track"),
    ]
    mido.MidiFile(tracks=[mido.MidiTrack(messages)]).save(tmp_path / "piece.mid")
    assert [*mido.MidiFile(tmp_path / "piece.mid").tracks[0]] == messages
    unknown = file_bytes(meta(0x4B, b"xy", QUARTER) + END)
    file = mido.MidiFile(file=io.BytesIO(unknown))
    file.save(tmp_path / "piece.mid")
    assert (tmp_path / "piece.mid").read_bytes() == unknown


def test_fuzz(tmp_path):
    assert_readable_or_midi_error(tmp_path, 1000, seed=0)


@pytest.mark.slow
def test_fuzz_for_longer(tmp_path):
    assert_readable_or_midi_error(tmp_path, 20_000, seed=1)


def assert_readable_or_midi_error(folder, count, seed):
    """Reads files damaged by chance: in a second each, in 64 MiB, and some are still read."""
    sources = [content for content, _ in READS.values()]
    random = np.random.default_rng(seed)
    path = folder / "piece.mid"
    read = 0
    with at_most(2**26):
        for number in range(count):
            content = mutated(sources[number % len(sources)], random)
            path.write_bytes(content)
            begin = time.perf_counter()
            try:
                score = midi.read(path)
                read += 1
            except MidiError:
                continue
            finally:
                assert time.perf_counter() - begin < 1, content
            assert score.end <= midi.LONGEST * score.ticks_per_quarter, content
            assert (score.notes["start"] < score.notes["end"]).all(), content
    assert count / 10 < read < count


@contextlib.contextmanager
def at_most(size):
    """Fails where what is done takes more bytes at any time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


EVENTS = {
    "of two bytes, the shortest there are": b"\x00\xc0\x10" + b"\x00\x10" * 50_000,
    "of text": b"\x00\xff\x01\x00" * 25_000,
    "of struck notes": b"\x00\x90\x3c\x40" + b"\x01\x3c\x40" * 33_000,
}


@pytest.mark.parametrize("kind", EVENTS)
def test_memory_is_bounded_by_the_size_of_a_file(kind, tmp_path):
    """The largest file takes less than a GiB, whatever its events."""
    (tmp_path / "piece.mid").write_bytes(file_bytes(EVENTS[kind]))
    with at_most(2**30 * len(EVENTS[kind]) // smf.MOST_BYTES):
        midi.read(tmp_path / "piece.mid")
