"""Exported models: in a process that knows nothing of bachkeras; as a server asks them; nonsense."""

import json
import re
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from bachkeras import models
from bachkeras.data.pipeline import from_arrays

PAGE = (Path(__file__).parent.parent / "docs" / "serving.md").read_text()

FAMILIES = {
    "lstm-attention": lambda: models.LSTMAttention(
        12, ending=True, frame=models.ChainedVoices(4, units=8, reach=3, labelled=True, onsets=True, held=3)
    ),
    "lstm-vae": lambda: models.LSTMVAE(10, latent=6, bars=2, frames_per_bar=3),
    "vq-vae": lambda: models.VQVAE(10, codes=6, size=5, prior_hidden=8),
    "wgan": lambda: models.LSTMGAN(hidden=10, noise=4, discriminator_hidden=6),
}

CARD = {
    "sounding_shift": 0,
    "mean_length": 15.0,
    "settings": [
        [{"tonic": 2, "mode": 1, "numerator": 1, "denominator": 4, "frames_per_bar": 16, "first": 12}, 3],
    ],
    "ranges": [[39, 60], [34, 53], [27, 48], [15, 43]],
}

ASK = """
import sys

sys.modules["bachkeras"] = sys.modules["bach_multihot"] = None  # To import them is an error now.
import numpy as np
import tensorflow as tf

folder = sys.argv[1]
for name in sys.argv[2:]:
    model = tf.saved_model.load(f"{folder}/{name}")
    asked = np.load(f"{folder}/{name}.npz")
    found = {}
    for endpoint in model.signatures:
        if endpoint in ("metadata", "serving_default"):
            continue
        given = {key.split("/")[1]: asked[key] for key in asked if key.startswith(f"{endpoint}/")}
        answer = getattr(model, endpoint)(**given)
        found |= {f"{endpoint}/{key}": value.numpy() for key, value in answer.items()}
    np.savez(f"{folder}/{name}.found.npz", **found)
"""


@pytest.fixture(scope="module")
def family():
    """A model of each kind, with random weights."""
    made = {}
    for name, make in FAMILIES.items():
        keras.utils.set_random_seed(1)
        made[name] = make()
        made[name].build()
        made[name].card = CARD
        for variable in made[name].weights:
            variable.assign_add(keras.random.normal(variable.shape, stddev=0.1))
    return made


@pytest.fixture(scope="module")
def exported(family, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    for name, model in family.items():
        model.export(folder / name)
    return folder


@pytest.fixture(scope="module")
def chorale(exported):
    """The export of the model of labelled voices."""
    return tf.saved_model.load(str(exported / "lstm-attention"))


def told(frames):
    return {"tonic": [5, 7], "mode": [1, 0], "timestep": [3, 3], "position": np.arange(2 * frames).reshape(2, -1) % 4}


def expectations(model, rolls, parts):
    """What an export is asked, and what the live model answers: {endpoint/name: array} each."""
    frame, options = model.frame, {"temperature": 0.9, "top_p": 0.95, "seed": 3}
    if frame.labelled:
        columns = [(columns[:9], onsets[:9]) for columns, onsets in parts if len(columns) >= 9][:2]
        names = ("voices", "voice_onsets")[: 1 + frame.onsets]
        music = {name: np.stack([piece[i] for piece in columns]) for i, name in enumerate(names)}
        rolled = frame.pianoroll(music["voices"]).numpy() > 0.5
        corpus = from_arrays(list(rolled), **{name: list(array) for name, array in music.items()})
    else:
        kept = [frame.pianoroll(frame.events({"pianoroll": roll[:9]})[0]).numpy() > 0.5 for roll in rolls]
        music = {"pianoroll": np.stack([roll for roll in kept if len(roll) == 9][:2])}
        corpus = from_arrays(list(music["pianoroll"]))
    batch = next(iter(corpus.windows(None, shuffle=False).batch(2)))
    batch |= {name: tf.constant(value, tf.int32) for name, value in told(9).items()}
    pieces = music | told(9)
    primer = {"primer": next(iter(music.values()))} | ({"primer_onsets": music["voice_onsets"]} if frame.onsets else {})
    asked = {"generate": {"count": 2, "length": 7, **primer, **told(16), **options}}
    answers = {"generate": model.generate(2, 7, primer=music, conditions=told(16), **options)}
    if model.ending:
        asked["generate"]["until_end"] = True
        answers["generate"] = model.generate(2, 7, primer=music, conditions=told(16), until_end=True, **options)
    if model.can_complete:
        given = np.full((2, 9, frame.voices), -1)
        given[..., 0] = music["voices"][..., 0]
        struck = np.zeros(given.shape, bool)
        struck[..., 0] = music["voice_onsets"][..., 0]
        asked["harmonize"] = {
            "melody": given[..., 0],
            "melody_onsets": struck[..., 0],
            "particles": 5,
            **told(9),
            **options,
        }
        answers["harmonize"] = model.complete(
            given, given_onsets=struck, ends=True, conditions=told(9), particles=5, **options
        )
    if model.likelihood:
        asked["log_prob"], answers["log_prob"] = pieces, {"log_prob": model.log_prob(batch)}
    if hasattr(model, "posterior"):
        windows = [model.posterior(b) for b in corpus_of(batch, model.window)]
        mean, log_variance = (np.stack(arrays, 1) for arrays in zip(*windows, strict=True))
        asked["posterior"], answers["posterior"] = pieces, {"mean": mean, "log_variance": log_variance}
        asked["decode"] = {"z": mean, **told(12), **options}
        answers["decode"] = model.decode(mean, conditions=told(12), **options)
    if hasattr(model, "codes"):
        codes = model.codes(batch)
        asked["codes"], answers["codes"] = pieces, {"codes": codes}
        asked["decode"] = {"codes": codes, "length": 10, **told(10), **options}
        answers["decode"] = model.decode(codes, 10, conditions=told(10), **options)
    return tuple(
        {f"{endpoint}/{name}": np.asarray(x) for endpoint, named in side.items() for name, x in named.items()}
        for side in (asked, answers)
    )


def corpus_of(batch, window):
    """The windows of a batch of whole pieces, each a batch."""
    time = batch["mask"].shape[1]
    for start in range(0, time, window):
        cut = {name: x[:, start : start + window] if name in ("mask", "position") else x for name, x in batch.items()}
        yield cut | {"pianoroll": batch["pianoroll"][:, start : start + window + 1]}


def test_every_family_answers_as_it_does_here_where_there_is_tensorflow_alone(family, exported, rolls, parts):
    expected = {}
    for name, model in family.items():
        asked, expected[name] = expectations(model, rolls, parts)
        np.savez(exported / f"{name}.npz", **asked)
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(exported), *family], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    for name, answers in expected.items():
        found = np.load(exported / f"{name}.found.npz")
        assert set(found) == set(answers), name
        for key, answer in answers.items():
            if answer.dtype.kind == "f":
                np.testing.assert_allclose(found[key], answer, rtol=1e-4, atol=1e-4, err_msg=f"{name} {key}")
            else:
                np.testing.assert_array_equal(found[key], answer, err_msg=f"{name} {key}")


def test_what_is_left_out_is_as_it_is_in_generate(family, exported):
    for name in ("lstm-vae", "wgan"):
        model = tf.saved_model.load(str(exported / name))
        expected = family[name].generate(3, 7, seed=2)
        found = model.generate(count=3, length=7, seed=2)
        for key, array in expected.items():
            np.testing.assert_array_equal(found[key], array, err_msg=f"{name} {key}")
        assert np.any(model.generate(3, 7)["events"] != model.generate(3, 7)["events"])  # A new seed each time.


def test_an_ending_model_has_lengths_too(family, chorale):
    expected = family["lstm-attention"].generate(2, 7, seed=2)
    found = chorale.generate(2, 7, seed=2)
    assert found.keys() - expected.keys() == {"lengths"}
    assert found["lengths"].numpy().tolist() == [7, 7]
    assert chorale.harmonize([[51, 53]]).keys() == expected.keys() | {"log_given"}


def test_a_primer_may_have_no_onsets(family, chorale):
    columns = np.array([[51, 46, 39, 34], [51, 46, 41, 32]])
    expected = family["lstm-attention"].generate(2, 5, primer={"voices": columns}, seed=2)
    found = chorale.generate(2, 5, primer=columns[None], seed=2)
    np.testing.assert_array_equal(found["events"], expected["events"])


def test_the_metadata_say_what_the_numbers_mean(chorale):
    found = json.loads(chorale.metadata()["metadata"].numpy())
    assert found["class"] == "LSTMAttention"
    assert (found["voices"], found["labelled"], found["onsets"], found["ending"]) == (4, True, True, True)
    assert (found["lowest_pitch"], found["rest"], found["unknown"]["tonic"]) == (21, 88, 12)
    assert found["timesteps"][found["unknown"]["timestep"] - 1]


@pytest.mark.parametrize(
    ("endpoint", "given", "message"),
    [
        ("generate", {"count": 0, "length": 4}, r"count is at least 1. Received:\] \[0\]"),
        ("generate", {"count": 1, "length": -2}, "length is at least 1"),
        ("generate", {"count": 1, "length": 4, "temperature": 0.0}, "The temperature is above 0"),
        ("generate", {"count": 1, "length": 4, "top_p": 1.5}, "top_p is in"),
        ("generate", {"count": 1, "length": 4, "seed": -5}, "A seed is 0 to"),
        ("generate", {"count": 1, "length": 4, "tonic": [13]}, "tonic is 0 to 12"),
        ("generate", {"count": 1, "length": 4, "mode": [-1]}, "mode is 0 to 2"),
        ("generate", {"count": 1, "length": 4, "position": [[-2]]}, "position has a number a frame, -1 or more"),
        ("generate", {"count": 1, "length": 4, "position": [[0]]}, "position has a number a frame, -1 or more"),
        (
            "generate",
            {"count": 1, "length": 4, "primer": [[[1, 2, 3, 99]]], "primer_onsets": [[[False] * 4]]},
            "0 to 88",
        ),
        ("harmonize", {"melody": [[3, 200]]}, "A melody holds 0 to 88, or -1 for what is free"),
        ("harmonize", {"melody": [[3, 4]], "particles": 0}, "particles is at least 1"),
        ("log_prob", {"voices": [[[1] * 4]], "voice_onsets": [[[True] * 4]], "lengths": [5]}, "Lengths are 0 to"),
    ],
)
def test_nonsense_is_refused(chorale, endpoint, given, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        getattr(chorale, endpoint)(**given)


def test_more_notes_than_voices_have_no_likelihood(exported):
    model = tf.saved_model.load(str(exported / "lstm-vae"))
    roll = np.zeros((1, 3, 88), bool)
    roll[0, 1, 30:36] = True
    with pytest.raises(tf.errors.InvalidArgumentError, match="A frame has at most 4 notes"):
        model.log_prob(roll)


def test_codes_and_lengths_are_checked(exported):
    model = tf.saved_model.load(str(exported / "vq-vae"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="A code is 0 to 5"):
        model.decode([[[0, 1, 2, 6]]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="The length is 1 to 4 a part"):
        model.decode([[[0, 1, 2, 3]]], length=5)


def test_nothing_is_overwritten_and_nothing_half_written(family, exported, tmp_path, monkeypatch):
    model = family["wgan"]
    with pytest.raises(ValueError, match="There is something already"):
        model.export(exported / "wgan")
    for arguments in ({"format": "onnx"}, {"input_signature": []}, {"opset_version": 18}):
        with pytest.raises(ValueError, match="exported as tf_saved_model"):
            model.export(tmp_path / "new", **arguments)
    monkeypatch.setattr(tf.saved_model, "save", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        model.export(tmp_path / "new")
    assert not list(tmp_path.iterdir())


def served(folder, name, inputs):
    """What TensorFlow Serving does with a request: it takes the signature's defaults too, and runs the signature."""
    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((folder / "saved_model.pb").read_bytes())
    signature = proto.meta_graphs[0].signature_def[name]
    given = {key: tf.constant(tf.make_ndarray(value)) for key, value in signature.defaults.items()}
    assert inputs.keys() <= signature.inputs.keys()
    given |= {key: tf.constant(value, tf.as_dtype(signature.inputs[key].dtype)) for key, value in inputs.items()}
    assert given.keys() == signature.inputs.keys()
    return tf.saved_model.load(str(folder)).signatures[name](**given)


def test_the_pages_requests_are_answered(exported):
    requests = [json.loads(body) for body in re.findall(r"-d '(\{.*?\n\})'", PAGE, re.DOTALL)]
    assert [request["signature_name"] for request in requests] == ["generate", "harmonize"]
    for request in requests:
        outputs = served(exported / "lstm-attention", request["signature_name"], request["inputs"])
        assert set(outputs) >= {"events", "onsets", "pianoroll"}
    np.testing.assert_array_equal(outputs["events"][0, :, 0], [51] * 4 + [53] * 4)


def test_the_pages_python_runs(exported, monkeypatch):
    grpc = pytest.importorskip("grpc", reason="tensorflow-serving-api is not installed")
    apis = pytest.importorskip("tensorflow_serving.apis.prediction_service_pb2_grpc")
    first, whole, client = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(first.replace("exported/1", str(exported / "lstm-attention")), names)
    assert names["music"]["events"].shape == (2, 64, 4)
    exec(whole, names)
    assert [len(chorale) for chorale in names["chorales"]] == names["music"]["lengths"].numpy().tolist()
    for voice, (low, high) in enumerate(CARD["ranges"]):
        sung = np.concatenate(names["chorales"])[:, voice]
        assert np.all((sung >= low) & (sung <= high) | (sung == 88))

    def predict(request):
        asked = type(request).FromString(request.SerializeToString())
        given = {name: tf.make_ndarray(value) for name, value in asked.inputs.items()}
        outputs = served(exported / "lstm-attention", asked.model_spec.signature_name, given)
        return types.SimpleNamespace(outputs={key: tf.make_tensor_proto(x.numpy()) for key, x in outputs.items()})

    monkeypatch.setattr(apis, "PredictionServiceStub", lambda channel: types.SimpleNamespace(Predict=predict))
    monkeypatch.setattr(grpc, "insecure_channel", lambda address: None)
    exec(client, names)
    assert names["events"].shape == (4, 64, 4)


def test_every_input_is_on_the_page(exported):
    named = set(re.findall(r"`(\w+)", PAGE))
    for folder in FAMILIES:
        proto = saved_model_pb2.SavedModel()
        proto.ParseFromString((exported / folder / "saved_model.pb").read_bytes())
        for name, signature in proto.meta_graphs[0].signature_def.items():
            assert name.startswith("_") or {name, *signature.inputs, *signature.outputs} <= named | {
                "__saved_model_init_op"
            }, name
