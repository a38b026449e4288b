"""MusicXML: what music21 reads back is the score, with the notation that a musician expects."""

import os
from fractions import Fraction
from xml.etree import ElementTree

import numpy as np
import pytest

from bachkeras.data import chorales
from bachkeras.music import musicxml
from bachkeras.music.musicxml import MusicXMLError
from bachkeras.music.score import MAJOR, MINOR, NOTE, Key, Meter, Score, Tempo
from bachkeras.music.voices import SATB

QUARTER = 480


def score(*notes, **values):
    """A score of (start, end, pitch, part) in quarters; the part is 0 where it is left out."""
    rows = [(round(start * QUARTER), round(end * QUARTER), *rest, 0)[:4] for start, end, *rest in notes]
    return Score(np.array(rows, NOTE), **({"parts": ("Voice",), "meters": (Meter(0, 4, 4),)} | values))


def satb(*notes, **values):
    return score(*notes, **({"parts": SATB} | values))


def written(score, folder):
    """The score as music21 reads its file."""
    from music21 import converter

    musicxml.write(folder / "piece.musicxml", score)
    return converter.parseFile(folder / "piece.musicxml", forceSource=True, storePickle=False)


def xml(folder):
    return ElementTree.parse(folder / "piece.musicxml").getroot()


def sounding(part):
    """[start, end, pitch] of a part in quarters, ties merged, sorted."""
    notes, open_ties = [], {}
    for element in part.flatten().notes:
        for note in getattr(element, "notes", [element]):
            start = Fraction(element.offset)
            end = start + Fraction(element.quarterLength)
            before = open_ties.pop((start, note.pitch.midi), None)
            if before is not None:
                assert note.tie.type in ("continue", "stop")
                before[1] = end
            else:
                assert note.tie is None or note.tie.type == "start"
                before = [start, end, note.pitch.midi]
                notes.append(before)
            if note.tie is not None and note.tie.type in ("start", "continue"):
                open_ties[end, note.pitch.midi] = before
    assert not open_ties
    return sorted(notes)


def assert_same_notes(after, before):
    """Every part has its notes; music21 calls the staves of a grand staff P1-Staff1 and P1-Staff2."""
    notes, unit = {}, before.ticks_per_quarter
    for staff in after.parts:
        notes.setdefault(staff.id.partition("-Staff")[0], []).extend(sounding(staff))
    for index, name in enumerate(before.parts):
        wanted = before.notes[before.notes["part"] == index][["start", "end", "pitch"]].tolist()
        wanted = [[Fraction(start, unit), Fraction(end, unit), pitch] for start, end, pitch in wanted]
        assert sorted(notes[name if name in notes else f"P{index + 1}"]) == sorted(wanted)


def measures(part):
    return list(part.getElementsByClass("Measure"))


def spelled(part):
    return [pitch.nameWithOctave for note in part.flatten().notes for pitch in note.pitches]


def values(part):
    """Lengths of the signs of a part, rests negative."""
    return [sign.quarterLength * (-1 if sign.isRest else 1) for sign in part.flatten().notesAndRests]


# The notes come back.

SCORES = {
    "upbeat": satb(*[(i, i + 1, 60 + i, 0) for i in range(8)], upbeat=QUARTER),
    "ties over bars": score((0, 3, 60), (3, 9, 62), (9, 12.5, 64)),
    "five sixteenths": score((0, 1.25, 60), (1.25, 2.5, 62), (2.75, 4, 64), (4.25, 5.5, 65)),
    "every length from every sixteenth": score(
        *[
            (8 * n + start / 4, 8 * n + end / 4, 60)
            for n, (start, end) in enumerate((start, end) for start in range(16) for end in range(start + 1, 25))
        ]
    ),
    "rests": score((1, 2, 60), (5.5, 6, 62), (12, 13, 64), end=17 * QUARTER),
    "unison and crossing": satb((0, 2, 60, 0), (0, 2, 60, 1), (2, 4, 55, 0), (2, 4, 62, 1)),
    "repeated and held": satb((0, 1, 60, 0), (1, 2, 60, 0), (2, 4, 60, 0), (0, 4, 48, 3), (4, 6, 48, 3)),
    "three four and a change": score(
        *[(i, i + 1, 60 + i % 7) for i in range(14)], meters=(Meter(0, 3, 4), Meter(6 * QUARTER, 4, 4))
    ),
    "six eight": score((0, 2.5, 60), (2.5, 4, 62), (4, 6, 64), meters=(Meter(0, 6, 8),)),
    "three two": score((0, 5, 60), (5, 10, 62), meters=(Meter(0, 3, 2),)),
    "five four": score((0, 5, 60), (6, 10, 62), (15, 20, 62), meters=(Meter(0, 5, 4),)),
    "chords": score((0, 1, 60), (0, 1, 64), (0, 1, 48), (1, 2, 50), (1, 2, 53), (2, 6, 40), (2, 6, 72), (2, 6, 76)),
    "overlapping": score((0, 4, 60), (1, 6, 64), (2, 3, 67), (2, 3, 71), (0, 8, 36), (5, 7, 43), (6, 8, 64)),
    "the same key twice": score((0, 2, 60), (1, 3, 60), (0, 4, 40)),
    "triplets": score(*[(Fraction(i, 3), Fraction(i + 1, 3), 60 + i) for i in range(5)], (2, Fraction(8, 3), 60)),
    "quarter triplets": score(*[(Fraction(2 * i, 3), Fraction(2 * i + 2, 3), 60 + i) for i in range(7)]),
    "no meter": score((0, 5, 60), (5, 10, 62), meters=()),
    "a later meter": score((0, 5, 60), (5, 10, 62), meters=(Meter(6 * QUARTER, 3, 4),)),
    "a meter inside a bar": score((0, 5, 60), (5, 10, 62), meters=(Meter(0, 4, 4), Meter(6 * QUARTER, 3, 4))),
    "parts of many kinds": score(
        (0, 4, 90, 0), (0, 4, 30, 1), (1, 2, 60, 2), (1, 2, 64, 2), parts=("Flute", "Cello", "Piano")
    ),
    "the whole of MIDI": score(*[(i, i + 1, i) for i in range(128)], keys=(Key(0, 3, MINOR),)),
}


@pytest.mark.parametrize("name", SCORES)
def test_the_notes_come_back(name, tmp_path):
    assert_same_notes(written(SCORES[name], tmp_path), SCORES[name])


@pytest.mark.parametrize("name", ["bwv66.6", "bwv253", "bwv101.7", "bwv5.7", "bwv248.42-s"])
def test_chorales_come_back(name, tmp_path):
    before = chorales.read(name).score
    assert_same_notes(written(before, tmp_path), before)


@pytest.mark.parametrize("unit", [24, 96, 480, 1000])
def test_any_resolution_comes_back(unit, tmp_path):
    notes = np.array([(unit * i, unit * i + unit // 2, 60 + i, 0) for i in range(8)], NOTE)
    before = Score(notes, unit, parts=("Voice",))
    assert_same_notes(written(before, tmp_path), before)


def test_a_performance_moves_to_sixteenths_and_triplets(tmp_path):
    before = score(parts=("Voice",), meters=(Meter(0, 4, 4),))
    notes = [(3, 470, 60, 0), (487, 633, 62, 0), (641, 801, 64, 0), (950, 955, 65, 0), (961, 1320, 67, 0)]
    before = Score(np.array(notes, NOTE), parts=before.parts, meters=before.meters)
    after = sounding(written(before, tmp_path).parts[0])
    third = Fraction(1, 3)
    assert after == [[0, 1, 60], [1, 1 + third, 62], [1 + third, 1 + 2 * third, 64], [2, 2.75, 67]]


# The notation.


@pytest.fixture(scope="module")
def chorale(tmp_path_factory):
    """BWV 253: A major, four four, an upbeat of a quarter."""
    folder = tmp_path_factory.mktemp("musicxml")
    return written(chorales.read("bwv253").score, folder), xml(folder)


def test_a_choral_score_has_four_staves_with_their_clefs(chorale):
    after, root = chorale
    assert [part.partName for part in after.parts] == list(SATB)
    clefs = [measures(part)[0].clef for part in after.parts]
    assert [(clef.sign, clef.octaveChange) for clef in clefs] == [("G", 0), ("G", 0), ("G", -1), ("F", 0)]
    assert root.findtext("part-list/part-group/group-symbol") == "bracket"


def test_measures_begin_with_the_upbeat(chorale):
    after, root = chorale
    for part in after.parts:
        assert [measure.number for measure in measures(part)] == list(range(11))
        assert [measure.quarterLength for measure in measures(part)] == [1, *[4] * 9, 3]
    assert [measure.get("implicit") for measure in root.find("part")] == ["yes", *["no"] * 10]


def test_key_meter_and_title(chorale):
    after, root = chorale
    for part in after.parts:
        assert [key.name for key in part.recurse().getElementsByClass("Key")] == ["A major"]
        assert [meter.ratioString for meter in part.recurse().getElementsByClass("TimeSignature")] == ["4/4"]
    assert root.findtext("work/work-title") == "Ach bleib bei uns, Herr Jesu Christ"
    assert root.findtext("movement-title") == "Ach bleib bei uns, Herr Jesu Christ"


def test_nothing_is_made_up(tmp_path):
    written(satb((0, 4, 60, 0)), tmp_path)
    root = xml(tmp_path)
    for path in ("work", "movement-title", "identification/creator", "identification/encoding/encoding-date"):
        assert root.find(path) is None, path
    for tag in ("key", "metronome", "direction"):
        assert root.find(f".//{tag}") is None, tag


def test_the_tempo_stands_once(tmp_path):
    written(satb((0, 8, 60, 0), tempos=(Tempo(0, 72.0), Tempo(4 * QUARTER, 60.5))), tmp_path)
    assert [mark.findtext("per-minute") for mark in xml(tmp_path).iter("metronome")] == ["72", "60.5"]
    assert [mark.get("tempo") for mark in xml(tmp_path).iter("sound")] == ["72", "60.5"]


def test_changes_of_meter_and_key_stand_in_every_part_at_their_bar(tmp_path):
    before = satb(
        *[(0, 14, 60, part) for part in range(4)],
        meters=(Meter(0, 4, 4), Meter(8 * QUARTER, 3, 4)),
        keys=(Key(0, 0, MINOR), Key(8 * QUARTER, 3, MAJOR)),
    )
    for part in written(before, tmp_path).parts:
        signs = [(measure.number, measure.timeSignature, measure.keySignature) for measure in measures(part)]
        assert [number for number, meter, _ in signs if meter] == [1, 3]
        assert [(number, key.name) for number, _, key in signs if key] == [(1, "C minor"), (3, "E- major")]


@pytest.mark.parametrize(
    ("key", "names"),
    [
        (None, "C4 C#4 D4 E-4 E4 F4 F#4 G4 G#4 A4 B-4 B4"),
        (Key(0, 0, MAJOR), "C4 C#4 D4 E-4 E4 F4 F#4 G4 G#4 A4 B-4 B4"),
        (Key(0, 0, MINOR), "C4 D-4 D4 E-4 E4 F4 F#4 G4 A-4 A4 B-4 B4"),
        (Key(0, 10, MAJOR), "C4 D-4 D4 E-4 E4 F4 F#4 G4 A-4 A4 B-4 B4"),
        (Key(0, 9, MINOR), "C4 C#4 D4 D#4 E4 F4 F#4 G4 G#4 A4 B-4 B4"),
        (Key(0, 6, MAJOR), "B#3 C#4 C##4 D#4 E4 E#4 F#4 F##4 G#4 A4 A#4 B4"),
        (Key(0, 3, MINOR), "C4 D-4 D4 E-4 F-4 F4 G-4 G4 A-4 A4 B-4 C-5"),
    ],
)
def test_notes_are_spelled_in_their_key(key, names, tmp_path):
    before = score(*[(i, i + 1, 60 + i) for i in range(12)], keys=(key,) if key else ())
    assert spelled(written(before, tmp_path).parts[0]) == names.split()


@pytest.mark.parametrize("mode", [MAJOR, MINOR])
@pytest.mark.parametrize("tonic", range(12))
def test_every_scale_has_the_accidentals_of_its_signature_alone(tonic, mode, tmp_path):
    from music21 import key as keys

    steps = (0, 2, 3, 5, 7, 8, 10) if mode == MINOR else (0, 2, 4, 5, 7, 9, 11)
    before = score(*[(i, i + 1, 60 + tonic + step) for i, step in enumerate(steps)], keys=(Key(0, tonic, mode),))
    part = written(before, tmp_path).parts[0]
    (key,) = part.recurse().getElementsByClass(keys.Key)
    assert {name.rstrip("0123456789") for name in spelled(part)} == {pitch.name for pitch in key.pitches}
    assert key.tonic.pitchClass == tonic
    assert key.mode == ("minor" if mode == MINOR else "major")
    assert xml(tmp_path).find(".//accidental") is None


def test_accidentals_are_written_where_the_key_has_them_not(tmp_path):
    written(score((0, 1, 60), (1, 2, 63), (2, 3, 64), (3, 4, 63), keys=(Key(0, 0, MINOR),)), tmp_path)
    signs = [note.findtext("accidental") for note in xml(tmp_path).iter("note")]
    assert signs == [None, None, "natural", "flat"]


@pytest.mark.parametrize(
    ("notes", "lengths"),
    [
        ([(0, 1.25, 60)], [1, 0.25, -0.25, -0.5, -2]),  # Five sixteenths: a quarter and a sixteenth.
        ([(0.5, 3, 60), (3, 4, 62)], [-0.5, 1.5, 1, 1]),  # The middle of the bar is seen.
        ([(0, 1.5, 60), (1.5, 2, 62), (2, 3.5, 64), (3.5, 4, 62)], [1.5, 0.5, 1.5, 0.5]),
        ([(0, 0.5, 60), (0.5, 1.5, 62), (1.5, 2, 64), (2, 4, 62)], [0.5, 1, 0.5, 2]),
        ([(2, 8, 60)], [-2, 2, 4]),
        ([(4, 8, 60)], [-4, 4]),
    ],
)
def test_notes_are_cut_as_a_reader_counts(notes, lengths, tmp_path):
    assert values(written(score(*notes), tmp_path).parts[0]) == lengths


def test_an_upbeat_is_counted_to_its_bar_line(tmp_path):
    # Three eighths: the last two are a beat.
    before = score((0, 0.25, 60), (0.25, 1.5, 62), (1.5, 5.5, 65), upbeat=3 * QUARTER // 2)
    assert values(written(before, tmp_path).parts[0]) == [0.25, 0.25, 1, 4]


def test_bars_are_filled_to_the_end_without_an_upbeat(tmp_path):
    part = written(score((0, 5, 60)), tmp_path).parts[0]
    assert [measure.quarterLength for measure in measures(part)] == [4, 4]
    assert values(part) == [4, 1, -1, -2]


def test_a_silent_bar_is_one_rest(tmp_path):
    written(score((0, 3, 60), end=9 * QUARTER, meters=(Meter(0, 3, 4),)), tmp_path)
    rests = [rest.get("measure") for rest in xml(tmp_path).iter("rest")]
    assert rests == ["yes", "yes"]


def test_chords_are_a_grand_staff_split_at_middle_c(tmp_path):
    before = score((0, 4, 60), (0, 4, 64), (0, 4, 59), (4, 8, 72), (5, 8, 67), parts=("Piano",))
    upper, lower = written(before, tmp_path).parts
    assert [(measures(staff)[0].clef.sign) for staff in (upper, lower)] == ["G", "F"]
    assert sounding(upper) == [[0, 4, 60], [0, 4, 64], [4, 8, 72], [5, 8, 67]]
    assert sounding(lower) == [[0, 4, 59]]
    assert [len(measure.voices) for measure in measures(upper)] == [0, 2]
    root = xml(tmp_path)
    assert len(root.findall("part")) == 1
    voices = {(note.findtext("staff"), note.findtext("voice")) for note in root.iter("note")}
    assert voices == {("1", "1"), ("1", "2"), ("2", "5")}


def test_rests_of_a_second_voice_are_hidden(tmp_path):
    written(score((0, 4, 72), (1, 2, 60), parts=("Piano",)), tmp_path)
    rests = [note for note in xml(tmp_path).iter("note") if note.find("rest") is not None]
    shown = [(rest.findtext("voice"), rest.get("print-object")) for rest in rests]
    assert shown == [("2", "no"), ("2", "no"), ("5", None)]


def test_a_part_of_one_note_at_a_time_is_one_staff(tmp_path):
    before = score((0, 4, 48, 0), (0, 4, 72, 1), parts=("Cello", "Flute"))
    parts = written(before, tmp_path).parts
    assert [(part.partName, measures(part)[0].clef.sign) for part in parts] == [("Cello", "F"), ("Flute", "G")]


def test_twenty_parts_share_fifteen_channels(tmp_path, capfd):
    before = score(*[(i, i + 1, 40 + i, i) for i in range(20)], parts=tuple(f"Part {i}" for i in range(20)))
    assert_same_notes(written(before, tmp_path), before)
    channels = [int(channel.text) for channel in xml(tmp_path).iter("midi-channel")]
    assert channels == [*range(1, 10), *range(11, 17), *range(1, 6)]
    assert capfd.readouterr() == ("", "")


# The file.


def test_the_same_score_is_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        musicxml.write(tmp_path / name, SCORES["overlapping"])
        musicxml.write(tmp_path / f"{name} chorale", SCORES["unison and crossing"])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one chorale").read_bytes() == (tmp_path / "two chorale").read_bytes()


@pytest.mark.parametrize("parts", [(), ("",), ("Piano",), SATB])
def test_an_empty_score_is_an_empty_bar(parts, tmp_path):
    after = written(Score(np.array([], NOTE), parts=parts), tmp_path)
    assert [values(part) for part in after.parts] == [[-4]] * max(len(parts), 1)


def test_names_hold_any_text(tmp_path):
    after = written(score((0, 4, 60), title="‘Präludium’ & <Fuge>\x00\n", parts=("Flöte\x07",)), tmp_path)
    assert after.metadata.movementName == "‘Präludium’ & <Fuge>"
    assert after.parts[0].partName == "Flöte"


@pytest.mark.parametrize(
    ("meter", "reason"),
    [(Meter(0, 4, 3), "to the 64th"), (Meter(0, 4, 128), "to the 64th"), (Meter(0, 0, 4), "needs beats")],
)
def test_a_score_that_notation_cannot_hold_leaves_the_file_alone(meter, reason, tmp_path):
    path = tmp_path / "piece.musicxml"
    path.write_text("before")
    with pytest.raises(MusicXMLError, match=f"(?s){reason}.*Received: path=.*piece.musicxml"):
        musicxml.write(path, score((0, 4, 60), meters=(meter,)))
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["piece.musicxml"]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path):
    (tmp_path / "piece.musicxml").mkdir()
    with pytest.raises(IsADirectoryError):
        musicxml.write(tmp_path / "piece.musicxml", score((0, 4, 60)))
    with pytest.raises(FileNotFoundError):
        musicxml.write(tmp_path / "none" / "piece.musicxml", score((0, 4, 60)))
    assert os.listdir(tmp_path) == ["piece.musicxml"]
