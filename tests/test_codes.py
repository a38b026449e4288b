"""Codes: their use and their n-grams on cases computed on paper."""

import numpy as np
import pytest

from bachkeras.data.pipeline import from_arrays
from bachkeras.evaluation import codes
from bachkeras.music.pianoroll import KEYS


class Counted:
    """A group's code is the key of its first frame, 0 where padded."""

    group_size = 3
    code_sizes = (KEYS,)

    def codes(self, batch):
        return np.asarray(batch["pianoroll"])[:, 1::3].argmax(-1)[..., None].astype(np.int32)


@pytest.fixture
def corpus():
    """Seven frames and two, each of a key of its own."""
    keys = np.eye(KEYS, dtype=bool)
    return from_arrays([keys[:7], keys[7:9]])


def test_groups_are_counted_from_every_frame(corpus):
    """From the second frame on six are left, and one; from the third five, and none."""
    found = [piece[:, 0].tolist() for piece in codes.phases(Counted(), corpus, batch_size=1)]
    assert found == [[0, 3, 6], [7], [1, 4], [8], [2, 5]]
    assert [piece[:, 0].tolist() for piece in codes.pieces(Counted(), corpus)] == [[0, 3, 6], [7]]
    assert codes.groups(np.array([[1, 1, 1, 1], [1, 0, 0, 0]]), 3).tolist() == [[True, True], [True, False]]


def test_a_piece_without_its_first_frames(corpus):
    left = corpus.without_first(3)
    assert [piece["pianoroll"].argmax(-1).tolist() for piece in left.pieces] == [[3, 4, 5, 6]]
    assert len(corpus.pieces[0]["pianoroll"]) == 7
    told = from_arrays([np.zeros((4, KEYS))], tonic=3, timestep=(1, 4), position=[np.arange(4)]).without_first(2)
    assert (told.pieces[0]["tonic"], told.pieces[0]["timestep"]) == (3, (1, 4))
    assert told.pieces[0]["position"].tolist() == [2, 3]


def test_use_of_codebooks():
    """Of four codes each: all alike often, one alone, two alike often; then 3 : 1."""
    used = np.array([[0, 2, 1], [1, 2, 3], [2, 2, 1], [3, 2, 3]])
    np.testing.assert_allclose(codes.perplexity(used, (4, 4, 4)), [4, 1, 2])
    np.testing.assert_allclose(codes.share_used(used, (4, 4, 8)), [1, 1 / 4, 2 / 8])
    np.testing.assert_allclose(codes.perplexity([[0], [0], [1], [0]], (2,)), [4 / 3**0.75])
    nothing = np.zeros((0, 2), int)
    assert codes.perplexity(nothing, (4, 4)).tolist() == [1, 1]
    assert codes.share_used(nothing, (4, 4)).tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"sizes=\(4, 4, 3\)"):
        codes.perplexity(used, (4, 4, 3))


def test_unigram_on_paper():
    """Of two codes, 3 : 1, smoothed 3.5 / 5 and 1.5 / 5; of three, 0 : 4 : 0, smoothed .5, 4.5 and .5 of 5.5."""
    train = [np.array([[0, 1], [0, 1]]), np.array([[1, 1], [0, 1]])]
    test = [np.array([[0, 1], [1, 2]])]
    nats = -np.log([3.5 / 5, 1.5 / 5, 4.5 / 5.5, 0.5 / 5.5]).mean()
    assert codes.unigram_nats(train, test, (2, 3)) == pytest.approx(nats)


def test_bigram_on_paper():
    """After 0: 1 twice, 0 once; after 1: nothing was seen but the end."""
    train = [np.array([[0], [0], [1]]), np.array([[0], [1]])]
    p = np.array([3.5, 2.5]) / 6
    after = (np.array([1, 2]) + 3 * 2 * p) / (3 + 3 * 2)
    test = [np.array([[0], [1], [0]]), np.array([[0]])]
    nats = -np.log([p[0], after[1], p[0], p[0]]).mean()
    assert codes.bigram_nats(train, test, (2,)) == pytest.approx(nats)


def test_a_bigram_is_a_distribution():
    random = np.random.default_rng(0)
    train = [random.integers(0, 4, (20, 1)) for _ in range(3)]
    total = sum(np.exp(-2 * codes.bigram_nats(train, [np.array([[2], [c]])], (4,))) for c in range(4))
    alone = np.exp(-codes.bigram_nats(train, [np.array([[2]])], (4,)))
    assert total == pytest.approx(alone)
