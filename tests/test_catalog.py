"""The corpora behind their door, and the commands that open it."""

import re

import pytest

from bachkeras import cli
from bachkeras.data import catalog, info

SMALL = """
[model]
hidden = 8
attention_heads = 2
[frame]
units = 8
[data]
window = 16
[training]
epochs = 1
"""


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    """An empty folder for corpora."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


def run(capsys, *arguments) -> str:
    assert cli.main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.usefixtures("few_chorales")
def test_from_an_empty_folder_to_new_music(data_dir, tmp_path, capsys):
    """Build, look, train on real chorales, and look again: the same digest."""
    assert "train 2, validation 1, test 2 pieces" in run(capsys, "data", "build", "chorales_8th")
    assert (data_dir / "bach_multihot" / "chorales_8th").is_dir()
    told = run(capsys, "data", "info", "chorales_8th")
    assert re.search(r"^train: 2 pieces, \d+ frames, \d+ notes, \d\.\d\d in a frame, at most 4$", told, re.MULTILINE)
    assert "timestep in quarters: 1/2 × 5" in told
    (tmp_path / "small.toml").write_text(SMALL)
    command = ["train", "lstm-attention", "--config", tmp_path / "small.toml", "--data", "chorales_8th"]
    assert "protocol chorales_8th, sets" in run(capsys, *command, "--out", tmp_path / "run")
    assert len(list((tmp_path / "run" / "samples").glob("*.mid"))) == 4
    assert run(capsys, "data", "info", "chorales_8th") == told


def test_a_corpus_that_cannot_be_built_says_what_to_do(data_dir, monkeypatch):
    data_dir.write_text("a file where a folder should be")
    with pytest.raises(catalog.CorpusError, match=r"'chorales' could not be built: .*TFDS_DATA_DIR"):
        catalog.build("chorales")


def test_a_split_has_a_name():
    with pytest.raises(ValueError, match="train, validation, test"):
        catalog.load("chorales", "valid")


def test_the_benchmark_and_its_leak(data_dir, jsb_dir):
    corpora = {split: catalog.load("jsb_quarter", split, manual_dir=jsb_dir) for split in catalog.SPLITS}
    assert corpora["test"].frames == 4725
    assert corpora["test"].sounding_shift == -12
    told = "\n".join(info.describe("jsb_quarter", corpora, catalog.builder("jsb_quarter").info.metadata))
    assert "leak: 42 of 77 test pieces" in told
    assert "published as clean: 49 test pieces; 14 of them" in told


@pytest.mark.slow
def test_two_builds_give_the_same_examples_in_the_same_order(tmp_path, monkeypatch):
    digests = []
    for name in ("first", "second"):
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / name))
        corpora = [catalog.load("chorales", split) for split in catalog.SPLITS]
        digests.append(catalog.digest(corpora))
    assert digests[0] == digests[1]
    assert sum(map(len, corpora)) == 386
    assert min(map(len, corpora)) > 70
    assert {corpus.polyphony for corpus in corpora} == {4}
