import json
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from bachkeras.data import chorales, parallel, sources
from bachkeras.music.pianoroll import LOWEST
from bachkeras.music.score import MAJOR, MINOR, UNKNOWN_MODE, UNKNOWN_TONIC
from bachkeras.music.voices import REST, SATB

IDS = ["bwv1.6", "bwv66.6", "bwv101.7"]  # With two horns; ends in major after F sharp minor; a repeat inside a bar.


@pytest.fixture(scope="module")
def read():
    return {name: chorales.read(name) for name in IDS}


@pytest.fixture(scope="module")
def examples():
    return sources.chorale_examples(IDS, None)


def test_needs_neither_tensorflow_nor_music21_to_be_imported():
    code = (
        "import sys, bachkeras.data.sources, bachkeras.data.folder; print({'tensorflow', 'music21'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "set()\n"


def test_ids_are_unique_and_in_the_order_of_bwv_numbers():
    ids = chorales.ids()
    assert len(ids) == len(set(ids)) >= 400
    assert ids[:3] == ["bwv1.6", "bwv2.6", "bwv3.6"]
    assert ids.index("bwv9.7") < ids.index("bwv10.7") < ids.index("bwv253")
    assert not {"bwv846", "bwv227.3"} & set(ids)


def test_only_the_singing_voices_are_read(read):
    for chorale in read.values():
        assert chorale.score.parts == SATB
        assert set(chorale.score.notes["part"]) == {0, 1, 2, 3}


def test_notes_are_those_of_music21_with_ties_stripped(read):
    from music21 import corpus

    for part, voice in enumerate(corpus.parse("bach/bwv66.6").parts):
        expected = [(note.offset * 480, note.pitch.midi) for note in voice.flatten().stripTies().notes]
        notes = read["bwv66.6"].score.notes
        notes = notes[notes["part"] == part]
        assert list(zip(notes["start"], notes["pitch"], strict=True)) == expected


def test_key_title_metre_and_upbeat(read):
    keys = {name: (chorale.key.tonic, chorale.key.mode) for name, chorale in read.items()}
    assert keys == {"bwv1.6": (5, MAJOR), "bwv66.6": (6, MINOR), "bwv101.7": (2, MINOR)}
    assert read["bwv101.7"].score.title == "Nimm von uns, Herr, du treuer Gott"
    assert read["bwv66.6"].score.title == ""
    assert all((chorale.meter.numerator, chorale.meter.denominator) == (4, 4) for chorale in read.values())
    assert {chorale.score.upbeat for chorale in read.values()} == {480}


def test_a_bar_goes_on_over_a_repeat_mark_inside_it(read):
    # The fourth bar of bwv101.7 is written as measures of three quarters and one.
    quarters = np.arange(12, 18)
    assert (read["bwv101.7"].position(quarters * 480) // 480).tolist() == [3, 0, 1, 2, 3, 0]


def test_chorale_examples_come_in_order_and_agree_with_themselves(examples):
    found, lost = examples
    assert [example["id"] for example in found] == IDS
    assert lost["notes"] > lost["vanished"] > 0
    assert sum(len(example["pianoroll"]) for example in found) == lost["frames"] - lost["cut"]
    for example in found:
        time = len(example["pianoroll"])
        assert example["voices"].shape == example["voice_onsets"].shape == (time, 4)
        assert example["position"].shape == (time,)
        assert set(example["position"]) == set(range(example["frames_per_bar"]))
        from_voices = np.zeros((time, REST + 1), bool)
        np.put_along_axis(from_voices, example["voices"], True, axis=1)
        np.testing.assert_array_equal(example["pianoroll"], from_voices[:, :REST])
        assert not (example["onsets"] & ~example["pianoroll"]).any()


def test_a_named_grid_is_kept():
    (example,), lost = sources.chorale_examples(["bwv66.6"], Fraction(1, 4))
    assert example["timestep"].tolist() == [1, 4]
    assert example["frames_per_bar"] == 16
    assert (lost["vanished"], lost["moved"]) == (0, 0)


def test_jsb_examples_keep_every_frame():
    text = json.dumps({"train": [[[60, 64, 67], [60, 65], [], [60]]], "valid": [[]], "test": [[[43]], [[96]]]})
    pieces = sources.jsb_quarter_examples(text)
    assert [example["id"] for split in pieces.values() for example in split] == [
        "train/000",
        "validation/000",
        "test/000",
        "test/001",
    ]
    example = pieces["train"][0]
    assert [set((np.flatnonzero(frame) + LOWEST).tolist()) for frame in example["pianoroll"]] == [
        {60, 64, 67},
        {60, 65},
        set(),
        {60},
    ]
    assert example["onsets"].sum(axis=1).tolist() == [3, 1, 0, 1]
    assert example["voices"].shape == example["voice_onsets"].shape == (0, 0)
    assert (example["tonic"], example["mode"], example["frames_per_bar"]) == (0, UNKNOWN_MODE, 0)
    assert example["position"].tolist() == [-1] * 4


@pytest.mark.parametrize("text", ["", "{}", '{"train": 3, "valid": [], "test": []}', '{"train": [[[200]]]}', "[1]"])
def test_another_file_is_refused_in_one_line(text):
    with pytest.raises(ValueError, match=r"^This is not jsb-chorales-quarter.json.*Received: .*$"):
        sources.jsb_quarter_examples(text)


def test_jsb_16th_examples_have_four_voices():
    frames = [[72, 67, 60, 48], [72, 67, 60, 48], [-1, 67, 67, 50], [74, -1, 69, 50]]
    (example,) = sources.jsb_16th_examples(json.dumps({"train": [frames], "valid": [], "test": []}))["train"]
    assert example["id"] == "train/000"
    assert example["voices"].dtype == np.int32
    np.testing.assert_array_equal(np.where(example["voices"] == 88, -1 - LOWEST, example["voices"]) + LOWEST, frames)
    assert example["voice_onsets"].tolist() == [
        [True] * 4,
        [False] * 4,
        [False, False, True, True],
        [True, False, True, False],
    ]
    assert [set((np.flatnonzero(f) + LOWEST).tolist()) for f in example["pianoroll"]] == [
        {72, 67, 60, 48},
        {72, 67, 60, 48},
        {67, 50},
        {74, 69, 50},
    ]
    assert (example["tonic"], example["mode"], example["frames_per_bar"]) == (UNKNOWN_TONIC, UNKNOWN_MODE, 16)
    assert example["timestep"].tolist() == [1, 4]
    with pytest.raises(ValueError, match=r"^This is not Jsb16thSeparated.json"):
        sources.jsb_16th_examples('{"train": [[[60, 64]]], "valid": [], "test": []}')


def test_ordered_map_keeps_the_order_and_passes_errors_on():
    assert parallel.ordered_map(str, range(20), description="Test") == [str(number) for number in range(20)]
    assert parallel.ordered_map(str, [], description="Test") == []
    with pytest.raises(ValueError, match="invalid literal"):
        parallel.ordered_map(int, ["1", "one"], description="Test")


@pytest.mark.slow
def test_every_chorale_of_the_corpus_can_be_read():
    for chorale in parallel.ordered_map(chorales.read, chorales.ids(), description="Reading chorales"):
        notes = chorale.score.notes
        assert set(notes["part"]) == {0, 1, 2, 3}
        for part in range(4):
            voice = notes[notes["part"] == part]
            assert (voice["start"][1:] >= voice["end"][:-1]).all(), chorale.id
        position = chorale.position(np.arange(0, chorale.score.end, 60))
        assert position.min() >= 0
        assert position.max() < max(meter.quarters for meter in chorale.score.meters) * 480, chorale.id
