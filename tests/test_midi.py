"""MIDI files: what is read, what is written, that one is the other's inverse, and what music21 makes of it."""

import os

import mido
import numpy as np
import pytest
from midi_bytes import END, file_bytes

from bachkeras.music import midi
from bachkeras.music.midi import MidiError
from bachkeras.music.score import MAJOR, MINOR, NOTE, Key, Meter, Score, Tempo


def read_messages(folder, *tracks, kind=1):
    """The score of tracks of mido messages."""
    file = mido.MidiFile(type=kind, ticks_per_beat=480, tracks=[mido.MidiTrack(track) for track in tracks])
    file.save(folder / "piece.mid")
    return midi.read(folder / "piece.mid")


def on(note, time=0, channel=0, velocity=64):
    return mido.Message("note_on", note=note, time=time, channel=channel, velocity=velocity)


def off(note, time=0, channel=0):
    return mido.Message("note_off", note=note, time=time, channel=channel)


def meta(kind, time=0, **values):
    return mido.MetaMessage(kind, time=time, **values)


def chorale(meter=(4, 4), upbeat=0, count=9, **changes):
    """Four voices of `count` quarters each, in F sharp minor; the bass holds its first two."""
    notes = [(480 * i, 480 * i + 480, pitch + i % 5, v) for v, pitch in enumerate((72, 67, 64)) for i in range(count)]
    notes += [(0, 960, 48, 3)] + [(480 * i, 480 * i + 480, 48 + i % 3, 3) for i in range(2, count)]
    values = {
        "end": 480 * count,
        "parts": ("Soprano", "Alto", "Tenor", "Bass"),
        "meters": (Meter(0, *meter),),
        "keys": (Key(0, 6, MINOR),),
        "tempos": (Tempo(0, 72.0),),
        "upbeat": upbeat,
        "title": "Präludium ‘à 4’",
    }
    return Score(np.array(notes, NOTE), **(values | changes))


def round_trip(score, folder):
    midi.write(folder / "piece.mid", score)
    return midi.read(folder / "piece.mid")


def assert_equal(after, before):
    assert after.notes.tolist() == before.notes.tolist()
    for name in ("ticks_per_quarter", "end", "parts", "meters", "keys", "tempos", "upbeat", "title"):
        assert getattr(after, name) == getattr(before, name), name


# Reading.


def test_a_part_is_a_track_and_channel_and_percussion_is_left_out(tmp_path):
    score = read_messages(
        tmp_path,
        [meta("track_name", name="Suite")],
        [meta("track_name", name="Organ"), on(60, channel=3), on(40, channel=1), off(60, 480, 3), off(40, 0, 1)],
        [meta("track_name", name="Drums"), on(36, channel=9), off(36, 480, channel=9)],
        [on(50), off(50, 480)],
    )
    assert score.title == "Suite"
    assert score.parts == ("Organ", "Organ", "")
    assert score.notes.tolist() == [(0, 480, 40, 0), (0, 480, 60, 1), (0, 480, 50, 2)]


def test_type_0(tmp_path):
    score = read_messages(tmp_path, [on(60), on(40, channel=1), off(60, 480), off(40, 480, 1)], kind=0)
    assert score.notes.tolist() == [(0, 480, 60, 0), (0, 960, 40, 1)]


def test_velocity_0_ends_a_note(tmp_path):
    assert read_messages(tmp_path, [on(60), on(60, 480, velocity=0), off(60, 480)]).notes.tolist() == [(0, 480, 60, 0)]


def test_a_note_struck_again_ends_the_one_before(tmp_path):
    score = read_messages(tmp_path, [on(60), on(60, 240), off(60, 240), off(60, 240)])
    assert score.notes.tolist() == [(0, 240, 60, 0), (240, 480, 60, 0)]


def test_a_note_never_ended_ends_with_its_track(tmp_path):
    score = read_messages(tmp_path, [on(60), meta("end_of_track", 480)], [meta("end_of_track", 960)])
    assert score.notes.tolist() == [(0, 480, 60, 0)]
    assert score.end == 960


def test_notes_of_no_length_are_dropped(tmp_path):
    score = read_messages(tmp_path, [on(60), off(60), on(62), off(62, 480), on(64)])
    assert score.notes.tolist() == [(0, 480, 62, 0)]


def test_a_note_off_without_a_note_is_nothing(tmp_path):
    assert len(read_messages(tmp_path, [off(60, 480)]).notes) == 0


@pytest.mark.parametrize(("name", "tonic"), [("C", 0), ("F#", 6), ("Gb", 6), ("Cb", 11), ("C#", 1), ("Bb", 10)])
def test_keys_are_read_by_their_tonic(name, tonic, tmp_path):
    assert read_messages(tmp_path, [meta("key_signature", key=name)]).keys == (Key(0, tonic, MAJOR),)


@pytest.mark.parametrize(("name", "tonic"), [("Am", 9), ("D#m", 3), ("Ebm", 3), ("A#m", 10), ("Abm", 8)])
def test_minor_keys_too(name, tonic, tmp_path):
    assert read_messages(tmp_path, [meta("key_signature", key=name)]).keys == (Key(0, tonic, MINOR),)


def test_signatures_of_all_tracks_by_tick_and_the_last_one_counts(tmp_path):
    def three_four(time):
        return meta("time_signature", numerator=3, denominator=4, time=time)

    score = read_messages(
        tmp_path,
        [meta("time_signature", numerator=4, denominator=4), three_four(1920), meta("set_tempo", tempo=600_000)],
        [three_four(1920), meta("set_tempo", tempo=0), meta("time_signature", numerator=0), three_four(10)],
    )
    assert score.meters == (Meter(0, 4, 4), Meter(1920, 3, 4), Meter(1930, 3, 4))
    assert score.tempos == (Tempo(1920, 100.0),)


def test_names_that_are_not_utf8_are_latin1(tmp_path):
    (tmp_path / "piece.mid").write_bytes(file_bytes(b"\x00\xff\x03\x04F\xfcnf" + END))
    assert midi.read(tmp_path / "piece.mid").title == "Fünf"


def test_a_missing_file_and_a_folder_are_midi_errors(tmp_path):
    with pytest.raises(MidiError, match=r"none\.mid': No such file"):
        midi.read(tmp_path / "none.mid")
    with pytest.raises(MidiError, match="Is a directory"):
        midi.read(tmp_path)


def test_a_file_without_tracks_is_an_empty_score(tmp_path):
    (tmp_path / "piece.mid").write_bytes(file_bytes())
    score = midi.read(tmp_path / "piece.mid")
    assert (len(score.notes), score.end, score.parts) == (0, 0, ())


# Writing, and both.


@pytest.mark.parametrize(
    ("meter", "upbeat"),
    [((4, 4), 0), ((4, 4), 480), ((4, 4), 960), ((4, 4), 1440), ((3, 4), 480), ((6, 8), 240), ((4, 4), 160)],
)
def test_read_gives_back_what_is_written(meter, upbeat, tmp_path):
    score = chorale(meter, upbeat)
    assert_equal(round_trip(score, tmp_path), score)


def test_changes_of_meter_key_and_tempo_come_back(tmp_path):
    score = chorale(
        meters=(Meter(0, 4, 4), Meter(1920, 3, 4)),
        keys=tuple(Key(100 * tonic + 1200 * mode, tonic, mode) for mode in (MAJOR, MINOR) for tonic in range(12)),
        tempos=tuple(Tempo(i, float(tempo)) for i, tempo in enumerate(range(20, 240))),
    )
    assert_equal(round_trip(score, tmp_path), score)


@pytest.mark.parametrize("ticks_per_quarter", [1, 24, 1000, 32767])
def test_any_resolution_comes_back(ticks_per_quarter, tmp_path):
    score = chorale(ticks_per_quarter=ticks_per_quarter, upbeat=0)
    assert_equal(round_trip(score, tmp_path), score)


def test_twenty_parts_and_silence_at_the_end_come_back(tmp_path):
    notes = np.array([(480 * part, 480 * part + 480, 60, part) for part in range(20)], NOTE)
    score = Score(notes, end=50_000, parts=tuple(f"Part {i}" for i in range(20)), tempos=(Tempo(0, 100.0),))
    assert_equal(round_trip(score, tmp_path), score)


def test_a_note_ends_where_its_pitch_begins_again_in_its_part(tmp_path):
    # A half note with a quarter inside it, and two notes at once of which the longer counts.
    notes = [(0, 960, 60, 0), (480, 1440, 60, 0), (0, 480, 72, 0), (0, 960, 72, 0), (960, 960, 74, 0)]
    after = round_trip(Score(np.array(notes, NOTE), parts=("",)), tmp_path)
    assert after.notes.tolist() == [(0, 960, 72, 0), (0, 480, 60, 0), (480, 1440, 60, 0)]


def test_a_piano_at_80_quarters_a_minute_unless_told(tmp_path):
    midi.write(tmp_path / "piece.mid", chorale(tempos=()))
    messages = [message for track in mido.MidiFile(tmp_path / "piece.mid").tracks for message in track]
    assert {message.program for message in messages if message.type == "program_change"} == {0}
    assert [message.tempo for message in messages if message.type == "set_tempo"] == [750_000]
    midi.write(tmp_path / "piece.mid", chorale(), program=19)
    messages = [message for track in mido.MidiFile(tmp_path / "piece.mid").tracks for message in track]
    assert {message.program for message in messages if message.type == "program_change"} == {19}


@pytest.mark.parametrize(
    ("changes", "program", "reason"),
    [
        ({"ticks_per_quarter": 32768}, 0, "1..32767, and are 32768"),
        ({"meters": (Meter(0, 4, 3),)}, 0, "power of 2"),
        ({"tempos": (Tempo(0, 0.0),)}, 0, "division by zero"),
        ({}, 128, "0..127"),
    ],
)
def test_a_score_that_midi_cannot_hold_leaves_the_file_alone(changes, program, reason, tmp_path):
    path = tmp_path / "piece.mid"
    midi.write(path, chorale())
    before = path.read_bytes()
    with pytest.raises(MidiError, match=f"{reason}.*Received: path=.*piece.mid"):
        midi.write(path, chorale(**changes), program)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["piece.mid"]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path):
    (tmp_path / "piece.mid").mkdir()
    with pytest.raises(IsADirectoryError):
        midi.write(tmp_path / "piece.mid", chorale())
    assert os.listdir(tmp_path) == ["piece.mid"]


# What a notation program sees.


@pytest.fixture(scope="module")
def notation(tmp_path_factory):
    """A chorale with an upbeat of a quarter and two bars, as music21 reads it."""
    from music21 import converter

    path = tmp_path_factory.mktemp("midi") / "chorale.mid"
    midi.write(path, chorale(upbeat=480))
    return converter.parseFile(path, forceSource=True, storePickle=False)


def test_music21_sees_the_voices(notation):
    assert [part.partName for part in notation.parts] == ["Soprano", "Alto", "Tenor", "Bass"]
    for part, lowest in zip(notation.parts[:3], (72, 67, 64), strict=True):
        notes = part.flatten().notes
        assert [note.pitch.midi for note in notes] == [lowest + i % 5 for i in range(9)]
        assert [note.offset for note in notes] == list(range(9))


def test_music21_sees_a_held_note_over_the_bar_line(notation):
    first, second = notation.parts[3].stripTies().flatten().notes[:2]
    assert (first.pitch.midi, first.quarterLength) == (48, 2)
    assert (second.pitch.midi, second.offset) == (50, 2)


def test_music21_sees_bars_meter_key_tempo_and_piano(notation):
    for part in notation.parts:
        measures = list(part.getElementsByClass("Measure"))
        assert [measure.duration.quarterLength for measure in measures] == [1, 4, 4]
        assert [measure.timeSignature.ratioString for measure in measures[:2]] == ["1/4", "4/4"]
    (key,) = {(key.tonic.name, key.mode) for key in notation.recurse().getElementsByClass("Key")}
    assert key == ("F#", "minor")
    assert {mark.number for mark in notation.recurse().getElementsByClass("MetronomeMark")} == {72}
    assert "Piano" in {instrument.instrumentName for instrument in notation.recurse().getElementsByClass("Instrument")}
