"""Files of users: what is read of MusicXML and ABC, that MusicXML comes back, and what cannot be read."""

import zipfile

import mido
import numpy as np
import pytest

from bachkeras.data import chorales
from bachkeras.music import midi, musicxml, reading
from bachkeras.music.midi import MidiError
from bachkeras.music.reading import ReadError
from bachkeras.music.score import MAJOR, MINOR, NOTE, Key, Meter, Score, Tempo

TIE, TIED = '<tie type="start"/>', '<tie type="stop"/>'
FOUR_FOUR = "<time><beats>4</beats><beat-type>4</beat-type></time>"


def note(pitch, duration, before="", after="", voice=1):
    """A note such as ("C4", 2) in MusicXML."""
    pitch = f"<pitch><step>{pitch[0]}</step><octave>{pitch[1:]}</octave></pitch>"
    return f"<note>{before}{pitch}<duration>{duration}</duration>{after}<voice>{voice}</voice></note>"


def attributes(inside=FOUR_FOUR, divisions=1):
    return f"<attributes><divisions>{divisions}</divisions>{inside}</attributes>"


def document(*parts, head=""):
    """MusicXML of parts, each a name and its measures."""
    names = "".join(
        f'<score-part id="P{i}"><part-name>{name}</part-name></score-part>' for i, (name, *_) in enumerate(parts)
    )
    music = ""
    for i, (_, *measures) in enumerate(parts):
        inside = (f'<measure number="{number}">{measure}</measure>' for number, measure in enumerate(measures, 1))
        music += f'<part id="P{i}">{"".join(inside)}</part>'
    return f"<score-partwise>{head}<part-list>{names}</part-list>{music}</score-partwise>"


@pytest.fixture
def read(tmp_path):
    """Reads the text of a file; its ending is that of MusicXML unless told."""

    def read(text, name="piece.musicxml"):
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / name).write_bytes(content)
        return reading.read(tmp_path / name)

    return read


def xml(read, *measures, **values):
    """The score of a single part."""
    return read(document(("Voice", *measures), **values))


def abc(read, music, head="M:4/4\nL:1/4\nK:C\n"):
    return read(f"X:1\n{head}{music}\n", "piece.abc")


def pitches(score):
    return score.notes["pitch"].tolist()


# MusicXML.


@pytest.mark.parametrize(
    ("name", "meter", "upbeat"),
    [
        ("bwv253", (4, 4), 480),
        ("bwv269", (3, 4), 480),
        ("bwv43.11", (3, 4), 0),
        ("bwv159.5", (4, 4), 0),
        ("bwv248.42-s", (3, 4), 0),
    ],
)
def test_chorales_come_back(name, meter, upbeat, tmp_path):
    chorale = chorales.read(name).score
    before = Score(
        chorale.notes,
        parts=chorale.parts,
        end=chorale.end,
        meters=chorale.meters,
        keys=chorale.keys,
        tempos=(Tempo(0, 72.5),),
        upbeat=chorale.upbeat,
        title=chorale.title,
    )
    assert (before.meters[0], before.upbeat) == (Meter(0, *meter), upbeat)
    musicxml.write(tmp_path / "piece.musicxml", before)
    assert_equal(reading.read(tmp_path / "piece.musicxml"), before)


def assert_equal(after, before):
    assert after.notes.tolist() == before.notes.tolist()
    for name in ("ticks_per_quarter", "end", "parts", "meters", "keys", "tempos", "upbeat", "title"):
        assert getattr(after, name) == getattr(before, name), name


def test_a_grand_staff_and_changes_come_back(tmp_path):
    notes = [(0, 960, 60, 0), (0, 480, 64, 0), (480, 2400, 67, 0), (0, 3360, 48, 0), (0, 3360, 72, 1)]
    before = Score(
        np.array(notes, NOTE),
        parts=("Piano", "Flöte & ‘Oboe’"),
        meters=(Meter(0, 4, 4), Meter(1920, 3, 4)),
        keys=(Key(0, 9, MINOR), Key(1920, 3, MAJOR)),
        tempos=(Tempo(0, 60.0), Tempo(1920, 90.5)),
        title="Präludium",
    )
    musicxml.write(tmp_path / "piece.musicxml", before)
    assert_equal(reading.read(tmp_path / "piece.musicxml"), before)


@pytest.mark.parametrize(
    ("divisions", "ticks_per_quarter", "notes"),
    [
        (7, 3360, [(0, 480), (480, 13440)]),
        (9, 1440, [(0, 160), (160, 5760)]),
        (480, 480, [(0, 1), (1, 1920)]),
        (960, 960, [(0, 1), (1, 3840)]),
        (1024, 15360, [(0, 15), (15, 61440)]),
        (101, 480, [(0, 5), (5, 1920)]),  # 48480 is more than MIDI can have: the nearest of 480.
    ],
)
def test_ticks_are_exact(divisions, ticks_per_quarter, notes, read):
    score = xml(read, attributes(divisions=divisions) + note("C4", 1) + note("D4", 4 * divisions - 1))
    assert score.ticks_per_quarter == ticks_per_quarter
    assert score.notes[["start", "end"]].tolist() == notes
    assert score.end == 4 * ticks_per_quarter


def test_ties_are_merged_over_measures_chords_and_voices(read):
    chord = note("E4", 4, "<chord/>", TIE)
    score = xml(
        read,
        attributes() + note("C4", 4, after=TIE) + chord,
        note("C4", 4, after=TIED + TIE) + "<backup><duration>4</duration></backup>" + note("E4", 2, "", TIED, voice=2),
        note("C4", 1, after=TIED) + note("C4", 1) + note("C4", 2),
    )
    assert score.notes.tolist() == [
        (0, 2880, 64, 0),
        (0, 9 * 480, 60, 0),
        (9 * 480, 10 * 480, 60, 0),
        (10 * 480, 12 * 480, 60, 0),
    ]


def test_grace_notes_chord_symbols_and_percussion_are_left_out(read):
    grace = "<note><grace/><pitch><step>B</step><octave>4</octave></pitch></note>"
    symbol = "<harmony><root><root-step>G</root-step></root><kind>major</kind></harmony>"
    unpitched = "<unpitched><display-step>C</display-step><display-octave>5</display-octave></unpitched>"
    drum = f"<note>{unpitched}<duration>4</duration></note>"
    music = attributes() + grace + symbol + note("C4", 4)
    score = read(document(("Voice", music), ("Drums", attributes() + drum)))
    assert score.notes.tolist() == [(0, 1920, 60, 0)]
    assert score.parts == ("Voice", "Drums")


def test_pitches_and_keys_are_those_that_sound(read):
    clarinet = attributes(
        f"<key><fifths>2</fifths></key>{FOUR_FOUR}"
        "<transpose><diatonic>-1</diatonic><chromatic>-2</chromatic></transpose>"
    )
    tenor = attributes(
        f"{FOUR_FOUR}<clef><sign>G</sign><line>2</line><clef-octave-change>-1</clef-octave-change></clef>"
    )
    score = read(document(("Clarinet", clarinet + note("D4", 4)), ("Tenor", tenor + note("C4", 4))))
    assert score.notes.tolist() == [(0, 1920, 60, 0), (0, 1920, 60, 1)]
    assert score.keys == (Key(0, 0, MAJOR),)


@pytest.mark.parametrize(
    ("mode", "key"),
    [
        ("", (10, MAJOR)),
        ("<mode>none</mode>", (10, MAJOR)),
        ("<mode>major</mode>", (10, MAJOR)),
        ("<mode>minor</mode>", (7, MINOR)),
        ("<mode>dorian</mode>", (0, MINOR)),
        ("<mode>mixolydian</mode>", (5, MAJOR)),
    ],
)
def test_a_key_has_the_tonic_of_its_mode(mode, key, read):
    inside = f"<key><fifths>-2</fifths>{mode}</key>{FOUR_FOUR}"
    assert xml(read, attributes(inside) + note("C4", 4)).keys == (Key(0, *key),)


def test_repeats_are_not_expanded_and_measures_may_be_short(read):
    repeat = '<barline location="right"><repeat direction="backward"/></barline>'
    score = xml(read, attributes() + note("C4", 1), note("D4", 3) + repeat, note("E4", 1), note("F4", 4))
    assert score.notes[["start", "pitch"]].tolist() == [(0, 60), (480, 62), (1920, 64), (2400, 65)]
    assert score.upbeat == 480
    assert score.end == 9 * 480


def test_a_single_short_measure_is_no_upbeat(read):
    assert xml(read, attributes() + note("C4", 1)).upbeat == 0
    assert xml(read, attributes("") + note("C4", 1), note("C4", 4)).upbeat == 0  # No meter.


def test_tempos_of_every_part_are_read_if_they_have_a_number(read):
    half = "<metronome><beat-unit>half</beat-unit><per-minute>40</per-minute></metronome>"
    half = f"<direction><direction-type>{half}</direction-type></direction>"
    sound = '<direction><direction-type><words>Allegro</words></direction-type><sound tempo="99.5"/></direction>'
    words = "<direction><direction-type><words>Presto</words></direction-type></direction>"
    first = attributes() + half + note("C4", 4), words + note("D4", 4)
    score = read(document(("A", *first), ("B", attributes() + note("C4", 4), sound + note("D4", 4))))
    assert score.tempos == (Tempo(0, 80.0), Tempo(1920, 99.5))


@pytest.mark.parametrize(
    ("head", "title"),
    [
        ("", ""),
        ("<work><work-title>Of  a\nwork</work-title></work>", "Of a work"),
        ("<movement-title>Of a movement</movement-title>", "Of a movement"),
    ],
)
def test_the_title(head, title, read):
    assert xml(read, attributes() + note("C4", 4), head=head).title == title


@pytest.mark.parametrize("name", ["a.xml", "a.musicxml", "a.mxl", "A.MXL", "a.MusicXML"])
def test_compressed_or_not_whatever_the_ending(name, read, tmp_path):
    text = document(("Voice", attributes() + note("C4", 4)))
    assert pitches(read(text, name)) == [60]
    container = '<container xmlns="urn:x"><rootfiles><rootfile full-path="music/a.xml"/></rootfiles></container>'
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("other.xml", "<other/>")
        archive.writestr("META-INF/container.xml", container)
        archive.writestr("music/a.xml", text.encode("utf-16"))
    assert pitches(read((tmp_path / "zip").read_bytes(), name)) == [60]


# ABC.


def test_a_tune_in_abc(read):
    score = read('X:1\nT:A tune\nT:Its other name\nM:3/4\nL:1/8\nQ:1/4=90\nK:Am\nE2|"Am"A3Bc2|{g}e4-e2|e6|]', "a.abc")
    assert score.notes[["start", "end", "pitch"]].tolist() == [
        (0, 480, 64),
        (480, 1200, 69),
        (1200, 1440, 71),
        (1440, 1920, 72),
        (1920, 3360, 76),
        (3360, 4800, 76),
    ]
    assert (score.title, score.parts, score.upbeat) == ("A tune", ("",), 480)
    assert (score.meters, score.keys, score.tempos) == ((Meter(0, 3, 4),), (Key(0, 9, MINOR),), (Tempo(0, 90.0),))


def test_abc_repeats_are_not_expanded(read):
    score = abc(read, "E|:CDEF|[1 G3E:|[2 G4|]")
    assert pitches(score) == [64, 60, 62, 64, 65, 67, 64, 67]
    assert (score.upbeat, score.end) == (480, 13 * 480)


def test_abc_accidentals_hold_until_the_bar_line(read):
    assert pitches(abc(read, "^FFf=F|FF2F|")) == [66, 66, 78, 65, 65, 65, 65]


def test_abc_fields_change_between_and_inside_lines(read):
    score = abc(read, "CDEF|\n[M:3/4]FFF|[K:D][Q:1/4=70]F3|\nK:Ddor\nFF>F|[L:1/8]F6|")
    assert score.meters == (Meter(0, 4, 4), Meter(1920, 3, 4))
    assert score.keys == (Key(0, 0, MAJOR), Key(7 * 480, 2, MAJOR), Key(4800, 2, MINOR))
    assert score.tempos == (Tempo(7 * 480, 70.0),)
    assert pitches(score)[-8:] == [65, 65, 65, 66, 65, 65, 65, 65]
    assert score.end == 16 * 480


def test_abc_words_comments_and_signs_are_no_notes(read):
    music = '% AB\n"^&Z-x"C!trill!D "Gm7"E (F|\nw: la & Z x\nG2) x2|\nD:|\n'
    score = abc(read, music)
    assert score.notes[["start", "pitch"]].tolist() == [
        (0, 60),
        (480, 62),
        (960, 64),
        (1440, 65),
        (1920, 67),
        (3840, 62),
    ]


def test_abc_tuplets_and_chords(read):
    score = abc(read, "(3CDE F2|[CE]2 z [DF]|")
    assert score.notes[["start", "end", "pitch"]].tolist() == [
        *[(0, 320, 60), (320, 640, 62), (640, 960, 64), (960, 1920, 65)],
        *[(1920, 2880, 64), (1920, 2880, 60), (3360, 3840, 65), (3360, 3840, 62)],
    ]


def test_abc_without_a_meter_counts_in_eighths(read):
    score = abc(read, "CD|E4|", head="K:C\n")
    assert score.notes[["start", "end"]].tolist() == [(0, 240), (240, 480), (480, 1440)]
    assert (score.meters, score.upbeat) == ((), 0)


def test_abc_of_one_named_voice(read):
    assert pitches(abc(read, "V:S\nC4|[V:S]D4|", head="M:4/4\nL:1/4\nV:S name=Soprano\nK:C\n")) == [60, 62]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_abc_in_any_encoding(encoding, read):
    score = read("X:1\r\nT:Präludium\r\nM:4/4\r\nL:1/4\r\nK:C\r\nC4|\r\n".encode(encoding), "piece.ABC")
    assert (score.title, pitches(score)) == ("Präludium", [60])


@pytest.mark.parametrize(
    ("music", "reason"),
    [
        ("C4|\n\nX:2\nK:C\nC4|\n\nX:2\nK:C\nC4|", "it holds 3 tunes; keep one"),
        ("V:1\nC4|\nV:2\nE4|", "it holds 2 voices; keep one"),
        ("C4&E4|", "it has an overlay of voices (&), which music21 misreads"),
        ("C4|Z2|C4|", "it has a rest of whole bars (Z)"),
        ("{[CE]}C4|", "it has a chord of grace notes"),
        ("[CE]2-[CE]2|", "it has a tie in a chord"),
        ("[C-E]2[CE]2|", "it has a tie in a chord"),
        ("C2 =t2|", "it has a note that is none, '=t2'"),
    ],
)
def test_abc_that_would_be_misread_is_an_error(music, reason, read, capfd):
    with pytest.raises(ReadError) as caught:
        abc(read, music)
    assert f"piece.abc': {reason}" in str(caught.value)
    assert capfd.readouterr() == ("", "")


# Any file.


@pytest.mark.parametrize("name", ["piece.mid", "piece.MIDI", "piece.Mid"])
def test_midi(name, tmp_path):
    before = Score(np.array([(0, 480, 60, 0)], NOTE), parts=("Voice",), tempos=(Tempo(0, 60.0),), title="A tune")
    midi.write(tmp_path / name, before)
    assert_equal(reading.read(tmp_path / name), before)
    assert_equal(reading.read(str(tmp_path / name)), before)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.xml", b"", "it is empty"),
        ("a.mid", b"", "it is empty"),
        ("a.xml", b"<score-partwise><part-list/></score-partwise>", "it has no notes (drums do not count)"),
        ("a.abc", b"X:1\nM:4/4\nL:1/4\nK:C\nz4|\n", "it has no notes (drums do not count)"),
        ("a.abc", b" \n", "it is empty"),
        ("a.txt", b"K:C", "it ends in none of .mid .midi .rmi .smf .musicxml .xml .mxl .abc"),
        ("a", b"", "it ends in none of"),
        ("a.xml", b"<svg/>", "Root tag was 'svg'"),
        ("a.xml", b"<score-timewise/>", "Root tag was 'score-timewise'"),
        ("a.musicxml", b"<score-partwise><part-list>", "it is broken (no element found"),
        ("a.musicxml", document(("", attributes() + note("C4", "long"))).encode(), "it is broken ("),
        ("a.mxl", b"PK\x05\x06" + bytes(18), "META-INF/container.xml"),
        ("a.mxl", b"PK\x03\x04", "it is broken ("),
        ("a.abc", b"Dear diary", "it has no key (a line that begins with K:), so it is no ABC"),
        ("a.abc", b"X:1\nL:1/4\nK:C\n[CE", "it is broken ("),
        ("a.abc", bytes(range(256)), "it has no key"),
    ],
)
def test_a_file_that_cannot_be_read_says_why_in_one_line(name, content, reason, read, tmp_path):
    with pytest.raises(ReadError) as caught:
        read(content, name)
    assert str(caught.value).startswith(f"Cannot read {str(tmp_path / name)!r}: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.mid", "a.xml", "a.mxl", "a.abc", "a.txt", "a"])
def test_a_missing_file_and_a_folder(name, tmp_path):
    with pytest.raises(ReadError, match=rf"^Cannot read '.*{name}': No such file"):
        reading.read(tmp_path / name)
    (tmp_path / name).mkdir()
    with pytest.raises(ReadError, match=rf"^Cannot read '.*{name}': Is a directory$"):
        reading.read(tmp_path / name)


def test_errors_of_midi_are_its_own(tmp_path):
    (tmp_path / "a.mid").write_bytes(b"MThd")
    with pytest.raises(MidiError, match=r"a\.mid"):
        reading.read(tmp_path / "a.mid")


@pytest.fixture
def play(tmp_path):
    """Reads a MIDI file of some meta messages and a note on a channel; 9 is that of the drums."""

    def play(*messages, channel=0):
        notes = [mido.Message(f"note_{kind}", note=60, time=480, channel=channel) for kind in ("on", "off")]
        mido.MidiFile(type=0, tracks=[mido.MidiTrack([*messages, *notes])]).save(tmp_path / "a.mid")
        return reading.read(tmp_path / "a.mid")

    return play


def test_drums_are_no_notes(play):
    with pytest.raises(ReadError, match=r"^Cannot read '.*a\.mid': it has no notes \(drums do not count\)$"):
        play(channel=9)


def test_midi_without_a_tempo_has_120(play):
    assert play().tempos == (Tempo(0, 120.0),)
    assert play(mido.MetaMessage("set_tempo", tempo=10**6)).tempos == (Tempo(0, 60.0),)


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        ([], ()),
        (["C"], ()),
        (["C", "C"], ()),
        (["Am"], (Key(0, 9, MINOR),)),
        (["C", "G"], (Key(0, 0, MAJOR), Key(480, 7, MAJOR))),
    ],
)
def test_midi_in_c_major_has_no_key(names, keys, play):
    """It is what programs write that know none."""
    signs = [mido.MetaMessage("key_signature", key=name, time=480 * (i > 0)) for i, name in enumerate(names)]
    assert play(*signs).keys == keys
