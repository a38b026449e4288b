"""Collapse: each figure on a case computed on paper, then what models with and without living latents get."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from bachkeras.data.pipeline import from_arrays
from bachkeras.evaluation import collapse
from bachkeras.models.lstm_attention import LSTMAttention
from bachkeras.music.pianoroll import KEYS

LENGTHS = (8, 16, 10)


@pytest.fixture(scope="module")
def corpus():
    """8, 16 and 10 frames of one note. Groups of four frames have key 0, 1, ... 8; the last one is of two frames."""
    keys = np.arange(sum(LENGTHS)) // 4
    return from_arrays([np.eye(KEYS, dtype=bool)[part] for part in np.split(keys, np.cumsum(LENGTHS)[:-1])])


def roll_of(batch):
    return np.asarray(batch["pianoroll"])[:, 1:] > 0.5


def frames_of(batch):
    return np.asarray(batch["mask"]).sum(1)


class Alive:
    """One of two dimensions is the number of frames, all but exact; without it a frame costs 3 nats, not 1."""

    def posterior(self, batch):
        frames = frames_of(batch)
        return np.stack([frames, 0 * frames], 1), np.tile(np.float32([-20, 0]), (len(frames), 1))

    def reconstruction_log_prob(self, batch, latent=None):
        wrong = np.abs(latent[:, 0] - frames_of(batch)) > 0.5
        return -frames_of(batch) * (1 + 2 * wrong)

    def reconstruct(self, batch, latent=None):
        """Every note, and in every frame, padded ones included, one that is wrong."""
        roll = roll_of(batch).copy()
        roll[..., 87] = True
        return roll


class Collapsed:
    """The posterior is the prior, the decoder does not look."""

    def posterior(self, batch):
        return np.zeros((len(batch["mask"]), 3), np.float32), np.zeros((len(batch["mask"]), 3), np.float32)

    def reconstruction_log_prob(self, batch, latent=None):
        return -2 * frames_of(batch)

    def reconstruct(self, batch, latent=None):
        return np.zeros_like(roll_of(batch))


class Coded:
    """A group's codes are its key's parity and its key, 15 where padded; a group with another's key costs 5 nats."""

    group_size = 4
    code_sizes = (2, 16)

    def codes(self, batch):
        first = roll_of(batch)[:, ::4]
        key = np.where(first.any(-1), first.argmax(-1), 15)
        return np.stack([key % 2, key], -1).astype(np.int32)

    def code_log_prob(self, batch):
        return -3 * np.ceil(frames_of(batch) / 4)

    def reconstruction_log_prob(self, batch, latent=None):
        return -frames_of(batch) - 5 * (latent != self.codes(batch))[..., 1].sum(1)

    def reconstruct(self, batch, latent=None):
        """Each group's key in its first frame alone."""
        roll = np.zeros_like(roll_of(batch))
        roll[:, ::4] = np.eye(KEYS, dtype=bool)[latent[..., 1]]
        return roll


def test_kl_on_paper():
    """(1, 1): 1/2 a dimension. (0, v): 1/2 (v - 1 - log v). (0, 1): nothing."""
    mean = [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    log_variance = [[0.0, 0.0], [math.log(4), 0.0], [0.0, 0.0]]
    np.testing.assert_allclose(collapse.kl(mean, log_variance), [1.0, 0.5 * (3 - math.log(4)), 0.0], atol=1e-12)


def test_active_units_are_those_above_the_threshold():
    """Variances .0121 and .0081, 0 with a mean of 5, and 1."""
    mean = np.array([[0.11, 0.09, 5.0, 1.0], [-0.11, -0.09, 5.0, -1.0]])
    assert collapse.active_units(mean) == 2
    assert collapse.active_units(mean[:1]) == 0


def test_mutual_information_of_the_clear_cases():
    """Alike: 0. Far apart: log N. Two clusters: log 2. More examples than a block, uneven."""
    n = collapse._BLOCK + 44
    narrow = np.full((n, 3), -10.0)
    assert collapse.mutual_information(np.full((n, 3), 0.7), narrow) == pytest.approx(0, abs=1e-9)
    apart = np.arange(3.0 * n).reshape(n, 3)
    assert collapse.mutual_information(apart, narrow) == pytest.approx(math.log(n))
    clusters = np.repeat(np.arange(2.0) * 9, n // 2)[:, None] * [1, 0, 0]
    assert collapse.mutual_information(clusters, narrow) == pytest.approx(math.log(2))


def test_mutual_information_is_the_definition():
    """Against SciPy's own densities, where posteriors overlap and their variances differ."""
    random = np.random.default_rng(0)
    mean, log_variance = random.standard_normal((2, 40, 3))
    z = collapse.draw(mean, log_variance, seed=5)
    log_q = stats.norm.logpdf(z[:, None], mean, np.exp(log_variance / 2)).sum(-1)
    expected = np.mean(np.diag(log_q) - np.log(np.exp(log_q).mean(1)))
    assert collapse.mutual_information(mean, log_variance, seed=5) == pytest.approx(expected)
    assert 0 < expected < math.log(40)


def test_shuffle_gap_is_a_ratio_of_sums():
    """(2 + 0 + 9) nats over (1 + 4 + 5) frames. An example alone has 2, 0 or 1.8, and a bootstrap nothing outside."""
    gap, (low, high) = collapse.shuffle_gap([-1, -8, -6], [-3, -8, -15], [1, 4, 5])
    assert gap == pytest.approx(1.1)
    assert 0 <= low < gap < high <= 2
    assert collapse.shuffle_gap([-1, -8, -6], [-3, -8, -15], [1, 4, 5]) == (gap, (low, high))
    assert collapse.shuffle_gap([-1, -2], [-2, -4], [1, 2]) == (1, (1, 1))
    with pytest.raises(ValueError, match="two or more"):
        collapse.shuffle_gap([-1], [-2], [1])


def test_the_interval_is_that_of_a_mean():
    """400 examples of one frame, mean 1, deviation 2: 1 +- 1.96 * 2 / 20."""
    difference = stats.norm.ppf((np.arange(400) + 0.5) / 400) * 2 + 1
    _, interval = collapse.shuffle_gap(difference, np.zeros(400), np.ones(400))
    assert interval == pytest.approx((1 - 0.196, 1 + 0.196), abs=0.02)


def test_f1_of_counted_cells():
    """Two right, one missing, one too many: 2 * 2 / (4 + 1 + 1). The third frame is padded."""
    real, reconstructed = np.zeros((2, 1, 3, KEYS), bool)
    real[0, [0, 0, 1], [40, 44, 50]] = True
    reconstructed[0, [0, 0, 1, 2], [40, 45, 50, 60]] = True
    assert collapse.f1(real, reconstructed, [[1, 1, 0]]) == pytest.approx(4 / 6)
    assert collapse.f1(real, reconstructed) == pytest.approx(4 / 7)
    assert collapse.f1(real, 0 * real) == 0
    assert collapse.f1(0 * real, 0 * real) == 1


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_a_living_latent_space(corpus, batch_size):
    """KL of f frames: (f^2 + e^-20 - 1 + 20) / 2; the lengths are far apart. 34 right cells and 34 wrong ones."""
    found = collapse.figures(Alive(), corpus, None, batch_size)
    nats = (8**2 + 16**2 + 10**2 + 3 * (math.exp(-20) + 19)) / 2
    assert found == {
        "active_units": 1,
        "latent_size": 2,
        "latent_examples": 3,
        "kl_nats": pytest.approx(nats / 3),
        "mutual_information_nats": pytest.approx(math.log(3)),
        "rate_nats_per_frame": pytest.approx(nats / 34),
        "reconstruction_nats_per_frame": pytest.approx(1),
        "shuffle_gap_nats": pytest.approx(2),
        "shuffle_gap_interval": pytest.approx([2, 2]),
        "reconstruction_f1": pytest.approx(2 * 34 / (2 * 34 + 34)),
    }


def test_windows_that_end_short_count_their_kl_whole(corpus):
    """Windows of eight frames: of 8; of 8 and 8; of 8 and 2. Two lengths, four to one."""
    found = collapse.figures(Alive(), corpus, 8)
    nats = (4 * 8**2 + 2**2 + 5 * (math.exp(-20) + 19)) / 2
    assert found["latent_examples"] == 5
    assert found["kl_nats"] == pytest.approx(nats / 5)
    assert found["rate_nats_per_frame"] == pytest.approx(nats / 34)
    assert found["mutual_information_nats"] == pytest.approx(0.8 * math.log(5 / 4) + 0.2 * math.log(5))
    assert found["reconstruction_f1"] == pytest.approx(2 / 3)


def test_a_collapsed_latent_space(corpora):
    found = collapse.figures(Collapsed(), corpora["test"], 4)
    nothing = ["active_units", "kl_nats", "mutual_information_nats", "rate_nats_per_frame", "shuffle_gap_nats"]
    assert [found[name] for name in nothing] == pytest.approx([0] * 5, abs=1e-9)
    assert found["shuffle_gap_interval"] == [0, 0]
    assert (found["latent_size"], found["reconstruction_nats_per_frame"], found["reconstruction_f1"]) == (3, 2, 0)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_codes(corpus, batch_size):
    """Keys 0 to 8, once each: 9 of 16. The nine groups are 2, 4 and 3 of 34 frames.

    Counted from all four frames the last group, of two, comes twice, the others four times: 18 are even, 16 odd.
    """
    found = collapse.figures(Coded(), corpus, None, batch_size)
    low, high = found.pop("shuffle_gap_interval")
    assert 2 * 5 / 8 <= low <= found["shuffle_gap_nats"] <= high <= 3 * 5 / 10
    assert found == {
        "codebook_perplexity": pytest.approx(34 / (18**18 * 16**16) ** (1 / 34)),
        "codes_used": 9 / 16,
        "prior_nats_per_code": pytest.approx(3 * 9 / 18),
        "rate_nats_per_frame": pytest.approx(3 * 9 / 34),
        "reconstruction_nats_per_frame": pytest.approx(1),
        "shuffle_gap_nats": pytest.approx(5 * 9 / 34),
        "reconstruction_f1": pytest.approx(2 * 9 / (9 + 34)),
    }


def test_verbs_that_are_missing_leave_figures_out(corpus):
    assert collapse.figures(LSTMAttention(), corpus, None) == {}
    assert collapse.figures(SimpleNamespace(posterior=Collapsed().posterior), corpus, 4).keys() == {
        *("active_units", "latent_size", "latent_examples"),
        *("kl_nats", "mutual_information_nats", "rate_nats_per_frame"),
    }
    untrained = SimpleNamespace(codes=Coded().codes, code_sizes=(2, 16), group_size=4)
    assert collapse.figures(untrained, corpus, None).keys() == {"codebook_perplexity", "codes_used"}


def test_one_example_has_no_other_to_shuffle_with(corpus):
    one = from_arrays([corpus.pieces[0]["pianoroll"]])
    for model in (Alive(), Coded()):
        found = collapse.figures(model, one, None)
        assert "reconstruction_f1" in found
        assert not {"shuffle_gap_nats", "shuffle_gap_interval"} & found.keys()


def test_a_model_that_diverged_is_not_quoted(corpus):
    model = Collapsed()
    model.reconstruction_log_prob = lambda batch, latent=None: frames_of(batch) * np.nan
    with pytest.raises(collapse.Diverged, match="reconstruction_log_prob="):
        collapse.figures(model, corpus, None)
    lost = np.full((3, 2), np.nan)
    with pytest.raises(collapse.Diverged, match="kl_nats=nan"):
        collapse.figures(SimpleNamespace(posterior=lambda _: (lost, lost)), corpus, None)


def test_no_example_keeps_its_own_latent():
    for count in (2, 3, 10):
        for seed in range(20):
            others = collapse._others(count, seed)
            assert sorted(others) == list(range(count))
            assert not np.any(others == np.arange(count))
