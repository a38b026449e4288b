"""Batches: every frame once, the frame before first, the tonic along, the same for the same seed."""

import numpy as np
import pytest

from bachkeras.data.pipeline import Corpus, from_arrays, timestep_index
from bachkeras.music.pianoroll import KEYS
from bachkeras.music.timesteps import TIMESTEPS


@pytest.fixture
def corpus(rolls):
    return from_arrays(
        rolls, tonic=list(range(12)), mode=1, timestep=(1, 2), position=[np.arange(len(r)) for r in rolls]
    )


def epoch(dataset):
    return [{key: value.numpy() for key, value in batch.items()} for batch in dataset]


@pytest.mark.parametrize("window", [None, 4, 7, 100])
def test_in_order_every_frame_comes_once(corpus, rolls, window):
    batches = epoch(corpus.windows(window, shuffle=False).batch(5))
    frames = np.concatenate([batch["pianoroll"][:, 1:][batch["mask"] > 0] for batch in batches])
    np.testing.assert_array_equal(frames, np.concatenate(rolls))
    positions = np.concatenate([batch["position"][batch["mask"] > 0] for batch in batches])
    np.testing.assert_array_equal(positions, np.concatenate([np.arange(len(roll)) for roll in rolls]))
    if window:
        assert {batch["mask"].shape[1] for batch in batches} == {window}


def test_the_frame_before_comes_first(corpus, rolls):
    (batch,) = epoch(Corpus(corpus.pieces[:1]).windows(4, shuffle=False).batch(99))
    assert not batch["pianoroll"][0, 0].any()
    for i, rolled in enumerate(batch["pianoroll"][1:], start=1):
        np.testing.assert_array_equal(rolled[0], rolls[0][4 * i - 1])


def test_padding_is_silent_masked_and_unknown(corpus):
    for batch in epoch(corpus.windows(None).batch(5)):
        lengths = batch["mask"].sum(1).astype(int)
        assert lengths.max() == batch["mask"].shape[1]
        for roll, position, length in zip(batch["pianoroll"], batch["position"], lengths, strict=True):
            assert not roll[length + 1 :].any()
            assert np.all(position[length:] == -1)


def test_an_epoch_has_its_number_of_batches(corpus):
    for window in (None, 6):
        dataset = corpus.windows(window).batch(5)
        assert len(epoch(dataset)) == int(dataset.cardinality()) == len(epoch(dataset))


def test_the_seed_and_the_epoch_settle_everything(corpus):
    def two_epochs(seed, first_epoch=0):
        dataset = corpus.windows(6, transpose=5, seed=seed).batch(4, first_epoch=first_epoch)
        return [[batch["pianoroll"] for batch in epoch(dataset)] for _ in range(2)]

    first, second = two_epochs(1)
    again, again_second = two_epochs(1)
    assert all(map(np.array_equal, first, again))
    assert all(map(np.array_equal, second, again_second))
    assert not all(map(np.array_equal, first, second))
    assert not all(map(np.array_equal, first, two_epochs(2)[0]))
    assert all(map(np.array_equal, second, two_epochs(1, first_epoch=1)[0]))


def short_windows(corpus, rolls, overhang):
    """Of windows of six frames the share that runs over the end, and where they begin; each is what it says it is."""
    begins, short = [set() for _ in rolls], []
    for batch in epoch(corpus.windows(6, overhang=overhang).batch(64)):
        for i, frames in enumerate(batch["mask"].sum(1).astype(int)):
            roll, start = rolls[batch["tonic"][i]], int(batch["position"][i, 0])  # Each piece has a tonic of its own.
            begins[batch["tonic"][i]].add(start)
            short.append(frames < 6)
            assert frames == min(6, len(roll) - start)
            assert batch["mask"][i].tolist() == [1] * frames + [0] * (6 - frames)
            before = roll[start - 1 : start] if start else np.zeros((1, KEYS))
            padding = np.zeros((6 - frames, KEYS))
            np.testing.assert_array_equal(batch["pianoroll"][i], [*before, *roll[start : start + 6], *padding])
            assert batch["position"][i].tolist() == [*range(start, start + frames), *[-1] * (6 - frames)]
            assert np.flatnonzero(batch["last"][i]).tolist() == [len(roll) - 1 - start] * (start + 6 >= len(roll))
    return np.mean(short), begins


def test_windows_run_over_the_end_where_they_may(corpus, rolls):
    """Of pieces that are long enough windows are full without overhang, and with it they begin with any frame."""
    long = [i for i, roll in enumerate(rolls) if len(roll) >= 6]
    whole = Corpus([corpus.pieces[i] | {"tonic": n} for n, i in enumerate(long)] * 50)
    rolls = [rolls[i] for i in long]
    shares, begins = zip(*(short_windows(whole, rolls, overhang) for overhang in (0.0, 0.25, 1.0)), strict=True)
    for starts, last in ((begins[0], 6), (begins[2], 1)):
        assert starts == [set(range(len(roll) - last + 1)) for roll in rolls]
    share = np.average([5 / len(roll) for roll in rolls], weights=[np.ceil(len(roll) / 6) for roll in rolls])
    assert shares[0] == 0
    np.testing.assert_allclose(shares[1:], [0.25 * share, share], rtol=0.15)


def test_overhang_is_settled_by_the_seed_and_nothing_without_shuffling(corpus):
    def windows(**options):
        return [batch["pianoroll"] for batch in epoch(corpus.windows(6, **options).batch(4))]

    assert all(map(np.array_equal, windows(seed=1), windows(seed=1, overhang=0.0)))
    assert all(map(np.array_equal, windows(seed=1, overhang=0.5), windows(seed=1, overhang=0.5)))
    assert not all(map(np.array_equal, windows(seed=1), windows(seed=1, overhang=0.5)))
    assert not all(map(np.array_equal, windows(seed=2, overhang=0.5), windows(seed=1, overhang=0.5)))
    assert all(map(np.array_equal, windows(shuffle=False), windows(shuffle=False, overhang=0.5)))


def test_transposition_takes_the_tonic_along(rolls):
    corpus = from_arrays([rolls[0]] * 40, tonic=[2] * 40)
    seen = set()
    for batch in epoch(corpus.windows(None, transpose=3).batch(8)):
        for roll, tonic in zip(batch["pianoroll"], batch["tonic"], strict=True):
            semitones = (int(tonic) - 2 + 6) % 12 - 6
            np.testing.assert_array_equal(roll[1:], np.roll(rolls[0], semitones, axis=1))
            seen.add(semitones)
    assert seen == {-3, -2, -1, 0, 1, 2, 3}


def test_no_transposition_leaves_the_keyboard():
    roll = np.zeros((4, KEYS), bool)
    roll[:, [1, KEYS - 3]] = True
    seen = set()
    for batch in epoch(from_arrays([roll] * 60).windows(None, transpose=6, untransposed=0.0).batch(60)):
        assert np.all(batch["pianoroll"][:, 1:].sum(-1) == 2)
        low = batch["pianoroll"][:, 1].argmax(-1)
        assert np.all(
            batch["pianoroll"][:, 1].argmax(-1) + KEYS - 4 == KEYS - 1 - batch["pianoroll"][:, 1, ::-1].argmax(-1)
        )
        seen |= set((low - 1).tolist())
    assert seen == {-1, 0, 1, 2}
    assert np.all(batch["tonic"] == 12)


def test_voices_and_onsets_come_along(parts):
    """Transposed with the frames; a rest stays a rest; padding and the frame before a piece are silent."""
    rolls = [np.zeros((len(columns), KEYS + 1), bool) for columns, _ in parts]
    for roll, (columns, _) in zip(rolls, parts, strict=True):
        np.put_along_axis(roll, columns, True, axis=1)
    rolls = [roll[:, :KEYS] for roll in rolls]
    corpus = from_arrays(rolls, voices=[c for c, _ in parts], voice_onsets=[o for _, o in parts])
    assert corpus.voices == 4
    for batch in epoch(corpus.windows(7, transpose=3).batch(5)):
        assert batch["voices"].dtype == np.int32
        shape = (*batch["mask"].shape, 4)
        assert batch["voices"][:, 1:].shape == batch["voice_onsets"][:, 1:].shape == shape
        sounding = np.zeros((*batch["pianoroll"].shape[:2], KEYS + 1), np.float32)
        np.put_along_axis(sounding, batch["voices"], 1, axis=2)
        np.testing.assert_array_equal(sounding[:, :, :KEYS], batch["pianoroll"])
        assert not (batch["voice_onsets"] & (batch["voices"] == 88)).any()
    assert from_arrays(rolls).voices == 0
    assert "voices" not in epoch(from_arrays(rolls).windows(4).batch(2))[0]
    columns = [c for c, _ in parts]
    for wrong, message in (
        ({"voices": [c[:2] for c in columns]}, "voices needs a row a frame"),
        ({"voices": [c[:, 0] for c in columns]}, "voices needs a row a frame"),
        ({"voices": columns, "voice_onsets": [c[:, :2] > 0 for c in columns]}, "voice_onsets needs a row a frame"),
        ({"onsets": columns}, "onsets needs a row a frame"),
        ({"voices": [c + 80 for c in columns]}, "A voice holds a key"),
        ({"voices": [(c + 1) % 88 for c in columns]}, "stands in the pianoroll too"),
    ):
        with pytest.raises(ValueError, match=message):
            from_arrays(rolls, **wrong)


def test_a_piece_has_one_last_frame(corpus, rolls):
    for window in (None, 5):
        batches = epoch(corpus.windows(window, shuffle=False).batch(4))
        last = np.concatenate([batch["last"][batch["mask"] > 0] for batch in batches])
        np.testing.assert_array_equal(np.flatnonzero(last), np.cumsum([len(roll) for roll in rolls]) - 1)
        assert not any(batch["last"][batch["mask"] == 0].any() for batch in batches)


def test_arrays_of_ones_own(rolls):
    corpus = from_arrays(np.zeros((3, 8, KEYS), np.float32))
    assert (len(corpus), corpus.frames, corpus.polyphony) == (3, 24, 1)
    assert from_arrays(rolls).polyphony == 4
    with pytest.raises(ValueError, match=r"Received: pianorolls\[0\].shape=\(8,\)"):
        from_arrays(np.zeros((3, 8)))
    with pytest.raises(ValueError, match="tempo=3"):
        from_arrays(rolls, tempo=3)


def test_nonsense_is_refused(corpus):
    for call in (
        lambda: corpus.windows(0),
        lambda: corpus.windows(4, transpose=-1),
        lambda: corpus.windows(4).batch(0),
        lambda: Corpus([]).windows(4).batch(2),
    ):
        with pytest.raises(ValueError, match="Received"):
            call()


def test_timesteps_have_places():
    assert timestep_index((1, 4)) == TIMESTEPS.index(1 / 4)
    assert timestep_index(None) == timestep_index((3, 7)) == len(TIMESTEPS)
