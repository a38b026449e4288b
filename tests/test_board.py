"""What TensorBoard shows and plays of a model in training."""

import io
import wave

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import bachkeras
from bachkeras.data import catalog
from bachkeras.layers.frame.base import END
from bachkeras.models import ChainedVoices, LSTMAttention
from bachkeras.training import callbacks, config, run


def shown(folder) -> dict[str, dict[int, bytes]]:
    """The pictures and sounds of event files by their epochs, and what plugin each is for."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    plugins = {tag: events.SummaryMetadata(tag).plugin_data.plugin_name for tag in events.Tags()["tensors"]}
    assert plugins == {tag: {"pianoroll": "images", "sound": "audio"}[tag] for tag in plugins}
    return {
        tag: {event.step: [*tf.make_ndarray(event.tensor_proto).flat] for event in events.Tensors(tag)}
        for tag in plugins
    }


def trained(corpora, callback, epochs=3, frequency=1, bias=0.0):
    keras.utils.set_random_seed(0)
    model = LSTMAttention(8, frame=ChainedVoices(units=8, reach=3))
    model.compile("adam", run_eagerly=True)
    model.build()
    model.frame.head_bias.assign_add(bias * np.eye(89)[[END] * 4])
    windows = corpora["train"].windows(8).batch(4)
    validation = corpora["validation"].windows(None, shuffle=False).batch(4)
    model.fit(
        windows,
        validation_data=validation,
        validation_freq=frequency,
        epochs=epochs,
        callbacks=[callback],
        verbose=0,
        shuffle=False,
    )
    return model


def test_every_validation_has_a_roll_and_a_sound(corpora, tmp_path):
    trained(corpora, bachkeras.TensorBoardSamples(tmp_path, seed=4), epochs=4, frequency=2)
    found = shown(tmp_path)
    assert {tag: sorted(steps) for tag, steps in found.items()} == {"pianoroll": [1, 3], "sound": [1, 3]}
    width, height, png = found["pianoroll"][3]
    picture = tf.io.decode_png(png).numpy()
    assert picture.shape == (int(height), int(width), 3)
    assert len(np.unique(picture)) > 3
    with wave.open(io.BytesIO(found["sound"][3][0])) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        seconds = file.getnframes() / file.getframerate()
    assert 0.5 * 2**15 < np.abs(sound.astype(int)).max() < 2**15
    assert 6 < seconds < 16  # At most 16 quarters at 80 a minute, and the last note dies away.
    assert found["sound"][1] != found["sound"][3]


def test_not_every_validation_has_to_have_one(corpora, tmp_path):
    trained(corpora, bachkeras.TensorBoardSamples(tmp_path, every=2))
    assert sorted(shown(tmp_path)["pianoroll"]) == [0, 2]


def test_silence_has_a_picture_alone(corpora, tmp_path):
    trained(corpora, bachkeras.TensorBoardSamples(tmp_path), epochs=1, bias=100.0)
    assert shown(tmp_path).keys() == {"pianoroll"}


def test_a_run_has_them_in_its_key_and_metre(corpora, tmp_path):
    board = bachkeras.TensorBoardSamples(tmp_path, corpora["train"])
    told = []
    board.set_model(LSTMAttention(8, frame=ChainedVoices(units=8, reach=3)))
    generate = board.model.generate
    board.model.generate = lambda *count_and_length, **more: (
        told.append((count_and_length, more["conditions"])) or (generate(*count_and_length, **more))
    )
    board.on_train_begin()
    board.on_epoch_end(0, {"val_loss": 1.0})
    ((count_and_length, conditions),) = told
    assert count_and_length == (1, 32)  # Sixteen quarters in eighths.
    assert (conditions["tonic"], conditions["mode"]) == ([2], [1])
    assert shown(tmp_path).keys() == {"pianoroll", "sound"}


def test_what_it_cannot_do():
    with pytest.raises(ValueError, match="Received: every=0"):
        bachkeras.TensorBoardSamples("logs", every=0)


@pytest.mark.slow
def test_a_run_writes_at_most_twenty(corpora, tmp_path, monkeypatch):
    """And goes on with them after a break: the curves begin anew, the samples stay."""
    monkeypatch.setattr(catalog, "load", lambda name, split, **_: corpora[split])
    small = {"model": {"hidden": 4}, "frame": {"units": 4}, "data": {"window": 8}, "training": {"epochs": 25}}
    out = tmp_path / "run"
    run.begin("lstm-attention", config.from_dict(small), out)
    end = callbacks.Keep.on_epoch_end

    def break_off(keep, epoch, logs=None):
        end(keep, epoch, logs)
        if epoch == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(callbacks.Keep, "on_epoch_end", break_off)
    with pytest.raises(KeyboardInterrupt):
        run.resume(out)
    assert sorted(shown(out / "logs" / "samples")["pianoroll"]) == [0, 2, 4, 6]  # The ninth epoch was broken off.
    monkeypatch.setattr(callbacks.Keep, "on_epoch_end", end)
    run.resume(out)
    assert sorted(shown(out / "logs" / "samples")["pianoroll"]) == [0, 2, 4, 6, *range(9, 25, 2)]
