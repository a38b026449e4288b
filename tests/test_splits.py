import csv
from collections import defaultdict
from fractions import Fraction
from pathlib import Path

import bach_multihot
import numpy as np
import pytest

from bachkeras.data import chorales, sources, splits

TUNE = np.array([60, 62, 64, 60, 67, 65, 64, 62, 60, 59, 60, 64, 62, 67, 60, 72, 71, 69])


def roll(pitches) -> np.ndarray:
    frames = np.zeros((len(pitches), 88), bool)
    for frame, pitch in zip(frames, pitches, strict=True):
        frame[pitch - 21] = True
        frame[pitch - 40] = True
    return frames


@pytest.fixture(scope="module")
def table() -> list[dict[str, str]]:
    text = (Path(bach_multihot.__file__).parent / "splits.tsv").read_text()
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def test_melody_is_the_top_voice_with_repeats_merged():
    frames = np.concatenate([roll([60, 60]), np.zeros((1, 88), bool), roll([60, 62])])
    assert splits.melody(frames).tolist() == [60 - 21, 62 - 21]
    assert splits.melody(np.zeros((3, 88), bool)).tolist() == []


@pytest.mark.parametrize(
    ("a", "b", "run"),
    [
        (TUNE, TUNE + 5, len(TUNE)),
        (TUNE[2:9], TUNE, 7),
        (TUNE, np.r_[TUNE[:8], 99, TUNE[8:]], 10),
        ([60, 62], [60, 61], 1),
        ([60], [62], 1),
        ([], [60, 62], 0),
    ],
)
def test_longest_common_run(a, b, run):
    assert splits.longest_common_run(a, b) == splits.longest_common_run(b, a) == run


def test_leaks_finds_the_pairs_with_a_long_run():
    train = [TUNE[::-1], TUNE - 3]
    assert splits.leaks(train, [TUNE[:14], TUNE[:15], np.array([60])]) == [(1, 1, 15)]
    assert splits.leaks(train, [TUNE[:14]], notes=14) == [(0, 1, 14)]
    with pytest.raises(ValueError, match=r"Received: notes=1"):
        splits.leaks(train, train, notes=1)


def test_shared_tunes():
    train = [roll(TUNE[::-1]), roll(TUNE)]
    assert splits.shared_tunes(train, [roll(TUNE[3:9]), roll(TUNE + 2)]).tolist() == [1]
    assert splits.shared_tunes([], [roll(TUNE)]).tolist() == []


def test_the_published_clean_test_pieces():
    clean = splits.jsb_clean_test("jsb_quarter")
    assert len(clean) == len(set(clean.tolist())) == 49
    assert clean.min() == 0
    assert clean.max() == 75


def test_the_benchmark_leaks_more_than_published(jsb_dir):
    pieces = sources.jsb_quarter_examples((jsb_dir / "jsb-chorales-quarter.json").read_text())
    rolls = {split: [piece["pianoroll"] for piece in pieces[split]] for split in pieces}
    found = set(splits.shared_tunes(rolls["train"], rolls["test"]).tolist())
    published = set(range(77)) - set(splits.jsb_clean_test("jsb_quarter").tolist())
    assert published < found
    assert (len(published), len(found)) == (28, 42)


def test_both_benchmark_files_have_the_same_clean_pieces(jsb_dir):
    """The files have the pieces in different orders: a piece's twin is the one with the most melody in common."""
    quarter = sources.jsb_quarter_examples((jsb_dir / "jsb-chorales-quarter.json").read_text())["test"]
    sixteenth = sources.jsb_16th_examples((jsb_dir / "Jsb16thSeparated.json").read_text())["test"]
    melodies = [splits.melody(piece["pianoroll"]) for piece in quarter]
    clean = {name: set(splits.jsb_clean_test(name).tolist()) for name in splits.BENCHMARKS}
    for i, piece in enumerate(sixteenth):
        on_the_beat = splits.melody(piece["pianoroll"][::4])
        twin = np.argmax([splits.longest_common_run(melody, on_the_beat) for melody in melodies])
        assert (i in clean["jsb_16th"]) == (int(twin) in clean["jsb_quarter"])


def test_a_family_is_in_one_split(table):
    ids = [row["id"] for row in table]
    assert len(ids) == len(set(ids))
    assert set(ids) <= set(chorales.ids())
    families = defaultdict(set)
    for row in table:
        families[row["family"]].add(row["split"])
    assert all(len(found) == 1 for found in families.values())
    assert set.union(*families.values()) == {"train", "validation", "test"}


@pytest.fixture(scope="module")
def melodies(table) -> dict[str, list[np.ndarray]]:
    """The melodies of the chorales on the quarter grid, by split."""
    examples, _ = sources.chorale_examples([row["id"] for row in table], Fraction(1))
    found = defaultdict(list)
    for row, example in zip(table, examples, strict=True):
        found[row["split"]].append(splits.melody(example["pianoroll"]))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("seen", "unseen"), [("train", "test"), ("validation", "test"), ("train", "validation")])
def test_no_tune_is_in_two_splits(melodies, seen, unseen):
    # A note fewer than makes a tune: not even what two different tunes may share.
    assert splits.leaks(melodies[seen], melodies[unseen], notes=splits.SHARED_RUN - 1) == []


@pytest.mark.slow
def test_no_tune_of_the_benchmarks_test_pieces_is_in_train_or_validation(melodies, jsb_dir):
    pieces = sources.jsb_quarter_examples((jsb_dir / "jsb-chorales-quarter.json").read_text())
    unseen = [splits.melody(piece["pianoroll"]) for piece in pieces["test"]]
    assert splits.leaks(melodies["train"] + melodies["validation"], unseen, notes=splits.SHARED_RUN - 1) == []
