"""Families shared out to splits: whole, all splits there, a tenth each, and steady."""

import hashlib

import numpy as np
import pytest

from bachkeras.data import partition


def digests(count):
    return [hashlib.sha256(str(i).encode()).hexdigest() for i in range(count)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [3, 4, 5, 10, 100, 1000])
def test_families_stay_whole_and_every_split_has_some(count, seed):
    random = np.random.default_rng(seed)
    families = [*range(3), *random.integers(0, count, count - 3).tolist()]
    frames = random.integers(1, 1000, count).tolist()
    splits = partition.by_family(frames, families, digests(count))
    assert {*splits} == {"train", "validation", "test"}
    assert len({(family, split) for family, split in zip(families, splits, strict=True)}) == len({*families})


@pytest.mark.parametrize("seed", range(5))
def test_shares_of_many_pieces(seed):
    frames = np.random.default_rng(seed).integers(100, 1000, 500).tolist()
    splits = partition.by_family(frames, range(500), digests(500))
    for name in ("test", "validation"):
        share = sum(length for length, split in zip(frames, splits, strict=True) if split == name) / sum(frames)
        assert 0.1 <= share < 0.11


def test_a_giant_family_is_trained_on():
    splits = partition.by_family([1000, 10, 10, 10], [0, 1, 2, 3], digests(4))
    assert splits[0] == "train"


def test_what_little_there_is_beside_a_giant_is_shared():
    splits = partition.by_family([10_000] + [10] * 100, range(101), digests(101))
    assert splits[0] == "train"
    assert min(splits.count("test"), splits.count("validation")) > 30


def test_another_piece_moves_few():
    frames = np.random.default_rng(0).integers(100, 1000, 501).tolist()
    before = partition.by_family(frames[:500], range(500), digests(500))
    after = partition.by_family(frames, range(501), digests(501))
    assert sum(a != b for a, b in zip(before, after, strict=False)) <= 2


def test_order_does_not_matter():
    frames = np.random.default_rng(0).integers(100, 1000, 50)
    names = np.array(digests(50))
    order = np.random.default_rng(1).permutation(50)
    before = np.array(partition.by_family(frames.tolist(), range(50), names.tolist()))
    after = partition.by_family(frames[order].tolist(), range(50), names[order].tolist())
    assert before[order].tolist() == after


def test_two_families_are_too_few():
    with pytest.raises(ValueError, match="Received: 2 families"):
        partition.by_family([1, 1, 1], [0, 1, 1], digests(3))


@pytest.mark.parametrize("frames", [20, 21, 29, 100, 1234])
def test_a_piece_in_time(frames):
    parts = partition.in_time(frames)
    assert [*parts] == ["train", "validation", "test"]
    taken = [np.arange(frames)[part] for part in parts.values()]
    assert np.concatenate(taken).tolist() == [*range(frames)]
    assert min(len(part) for part in taken) >= frames // 10
