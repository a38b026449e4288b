"""Named configurations and the user's own."""

import pytest

from bachkeras.training import config


@pytest.mark.parametrize("name", ["default", "independent", "q88", "source"])
def test_named_configurations_read_and_round_trip(name):
    read = config.read("lstm-attention", name)
    assert config.from_dict(read.to_dict()) == read
    assert name in config.names("lstm-attention")


def test_the_source_is_the_posters_best_point():
    read = config.read("lstm-attention", "source")
    assert (read.data.window, read.model["hidden"], read.data.batch_size, read.model["l2"]) == (96, 256, 32, 0.01)


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[training]\nepochs = 3\nlearning_rate = 1\n")
    assert config.read("lstm-attention", path).training.epochs == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nepoch = 3", "epoch=3"),
        ("[training]\nepochs = 'many'", "epochs is a int"),
        ("[train]\nepochs = 3", "section 'train'"),
        ("epochs =", "is no TOML"),
        ("[training]\nepochs = 0", "epochs is too small"),
        ("training = 3", "is made of sections"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        config.read("lstm-attention", path)


def test_unknown_names():
    with pytest.raises(
        ValueError, match=r"chorales, default, folder, independent, q88, s16, source\. Received: config='best'"
    ):
        config.read("lstm-attention", "best")
    available = "gan, hierarchical-vae, lstm-attention, lstm-vae, vq-vae, wgan"
    with pytest.raises(ValueError, match=rf"there are {available}\. Received: model='transformer'"):
        config.read("transformer")
