"""What a command line asks of a run on a folder: the configuration, and whether it agrees with a run that was begun."""

import dataclasses
import os

import pytest

from bachkeras.data import folder
from bachkeras.training import config, directory
from bachkeras.training.request import Request


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "music").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def card(request):
    """That of a run that was begun as asked."""
    return {"model": request.model, "seed": 0, "config": request.configuration().to_dict()}


def test_a_folder_has_a_configuration_of_its_own_where_a_model_needs_one(here):
    data = ["./music", f"{here}/music", "./other/../music"]
    asked = [Request("lstm-attention", data=name).configuration() for name in data]
    folder = config.read("lstm-attention", "folder")
    whole = dataclasses.replace(folder, data=dataclasses.replace(folder.data, name=f"{here}{os.sep}music"))
    assert asked == [whole] * 3
    named = Request("lstm-attention", config="q88", data="./music").configuration()
    assert named.frame == config.read("lstm-attention", "q88").frame
    vae = Request("lstm-vae", data="./music").configuration()
    assert vae.model == config.read("lstm-vae").model
    assert Request("lstm-attention", data="chorales_8th").configuration().frame["labelled"]


def test_a_run_on_a_folder_goes_on_from_anywhere(here, monkeypatch):
    begun = card(Request("lstm-attention", data="./music"))
    Request("lstm-attention").check(begun)
    Request("lstm-attention", data="./music").check(begun)
    monkeypatch.chdir("/")
    Request("lstm-attention", data=f"{here}/music").check(begun)
    with pytest.raises(ValueError, match=r"Received: \[data\] name='/music'"):
        Request("lstm-attention", data="./music").check(begun)


@pytest.mark.usefixtures("here")
def test_performances_that_were_kept_stay_so_unless_one_says_otherwise():
    begun = card(Request("lstm-attention", data="./music", keep_performances=True))
    assert begun["config"]["data"]["keep_performances"] is True
    Request("lstm-attention").check(begun)
    Request("lstm-attention", data="./music").check(begun)
    Request("lstm-attention", data="./music", keep_performances=True).check(begun)
    without = card(Request("lstm-attention", data="./music"))
    with pytest.raises(ValueError, match=r"\[data\] keep_performances=True"):
        Request("lstm-attention", keep_performances=True).check(without)


def test_a_file_may_keep_them_for_any_folder_and_no_corpus(here):
    file = here / "mine.toml"
    file.write_text('[data]\nname = "./music"\nkeep_performances = true\n')
    assert Request("lstm-attention", config=str(file)).configuration().data.keep_performances
    assert Request("lstm-attention", config=str(file), data="./other").configuration().data.keep_performances
    assert not Request("lstm-attention", config=str(file), data="chorales").configuration().data.keep_performances
    file.write_text('[data]\nname = "./music"\nkeep_performances = 1\n')
    with pytest.raises(ValueError, match="keep_performances is a bool"):
        Request("lstm-attention", config=str(file)).configuration()


@pytest.mark.usefixtures("here")
def test_what_a_run_is_evaluated_on():
    begun = card(Request("lstm-attention", data="./music", keep_performances=True))
    own = folder.canonical("./music")
    assert directory.place(begun) == directory.place(begun, "./music") == directory.place(begun, own) == (own, True)
    assert directory.place(begun, "./other") == (folder.canonical("./other"), False)
    assert directory.place(begun, "chorales") == ("chorales", False)
