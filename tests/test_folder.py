"""A folder of MIDI files as a corpus: what is found, left out, cut, reused and rebuilt."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from midi_bytes import END, file_bytes
from test_duplicates import piece

from bachkeras import cli
from bachkeras.data import catalog, folder
from bachkeras.data.folder import PERFORMANCE, FolderError
from bachkeras.data.pipeline import UNKNOWN
from bachkeras.music import midi
from bachkeras.music.pianoroll import from_score
from bachkeras.music.score import MINOR, NOTE, Key, Meter, Score


@pytest.fixture
def music(tmp_path, monkeypatch):
    """A folder, and an empty place for corpora."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    (tmp_path / "music").mkdir()
    return tmp_path / "music"


def fill(music, count=6):
    """Different pieces, `piece0.mid` and so on."""
    for seed in range(count):
        midi.write(music / f"piece{seed}.mid", piece(seed))


def performed(score):
    """The same by somebody who hears no metronome."""
    random = np.random.default_rng(0)
    beats = score.end // score.ticks_per_quarter + 2
    clock = np.cumsum(random.uniform(0.8, 1.25, beats)) * score.ticks_per_quarter
    notes = score.notes.copy()
    for name in ("start", "end"):
        notes[name] = np.interp(notes[name], np.arange(beats) * score.ticks_per_quarter, clock)
    return Score(notes, parts=score.parts)


def examples(contents):
    return {name: [*folder.unpack(packed)] for name, packed in contents.pieces.items()}


def ids(contents):
    return sorted(example["id"] for part in examples(contents).values() for example in part)


# Reading.


def test_what_is_music_is_read_and_the_rest_is_named_with_a_reason(music):
    fill(music)
    (music / "deep" / "er").mkdir(parents=True)
    for name in ("deep/a.MIDI", "deep/er/b.rmi", "c.Smf"):
        midi.write(music / name, piece(len(name) * 10))
    (music / "notes.txt").write_text("no music")
    (music / "._piece0.mid").write_bytes(b"of macOS")
    (music / "broken.mid").write_bytes(b"MThd")
    (music / "empty.mid").write_bytes(b"")
    (music / "drums.mid").write_bytes(file_bytes(b"\x00\x99\x24\x40\x60\x89\x24\x00" + END))
    (music / "low.mid").write_bytes(file_bytes(b"\x00\x90\x03\x40\x60\x80\x03\x00" + END))
    (music / "gone.mid").symlink_to(music / "nowhere")
    midi.write(music / "live.mid", performed(piece(99)))
    contents = folder.read(music)
    assert ids(contents) == ["c.Smf", "deep/a.MIDI", "deep/er/b.rmi", *(f"piece{i}.mid" for i in range(6))]
    assert contents.left_out == {
        "broken.mid": "it ends too early, in its header",
        "empty.mid": "it is no MIDI file (MThd not found)",
        "drums.mid": "it has no notes (drums do not count)",
        "low.mid": "it has no notes (drums do not count)",
        "gone.mid": "No such file or directory",
        "live.mid": PERFORMANCE,
    }
    assert {name: contents.counts[name] for name in ("files", "copies", "cut_in_time")} == {
        "files": 15,
        "copies": 0,
        "cut_in_time": 0,
    }


def test_performances_are_kept_where_one_wants_them(music):
    fill(music)
    midi.write(music / "live.mid", performed(piece(99)))
    assert "live.mid" in ids(folder.read(music, keep_performances=True))


def test_an_example_is_the_pianoroll_of_the_piece_and_what_the_file_says_of_it(music):
    fill(music)
    notes = [(240 * i, 240 * i + 240, 60 + i % 5, 0) for i in range(40)]
    score = Score(
        np.array(notes, NOTE), parts=("",), meters=(Meter(0, 3, 4),), keys=(Key(0, 2, MINOR),), upbeat=480, title="Air"
    )
    midi.write(music / "air.mid", score)
    (found,) = (e for part in examples(folder.read(music)).values() for e in part if e["id"] == "air.mid")
    roll = from_score(score)
    assert (found["pianoroll"] == roll.frames).all()
    assert (found["onsets"] == roll.onsets).all()
    assert found["timestep"].tolist() == [1, 2]
    assert (found["title"], found["tonic"], found["mode"], found["frames_per_bar"]) == ("Air", 2, MINOR, 6)
    assert found["position"].tolist() == [(4 + i) % 6 for i in range(40)]
    (other,) = (e for part in examples(folder.read(music)).values() for e in part if e["id"] == "piece0.mid")
    assert (other["tonic"], other["mode"], other["frames_per_bar"]) == (UNKNOWN["tonic"], UNKNOWN["mode"], 0)
    assert set(other["position"].tolist()) == {-1}


def test_notes_a_tick_off_the_beat_begin_in_their_frame(music):
    fill(music)
    notes = [(max(480 * i + (-7, 0, 7)[i % 3], 0), 480 * i + 400, 60 + i % 7, 0) for i in range(40)]
    midi.write(music / "late.mid", Score(np.array(notes, NOTE), parts=("",)))
    (found,) = (e for part in examples(folder.read(music)).values() for e in part if e["id"] == "late.mid")
    assert np.argmax(found["pianoroll"], axis=1).tolist() == [60 + i % 7 - 21 for i in range(40)]
    assert found["timestep"].tolist() == [1, 1]


def test_copies_are_in_one_split(music):
    fill(music, 10)
    for semitones in (-3, -1, 2):
        for seed in range(10):
            midi.write(music / f"copy{seed}{semitones}.mid", piece(seed).transpose(semitones).finer(2))
    contents = folder.read(music)
    assert contents.counts["copies"] == 30
    splits = {example["id"]: name for name, part in examples(contents).items() for example in part}
    for seed in range(10):
        same = {split for name, split in splits.items() if name.startswith((f"piece{seed}.", f"copy{seed}"))}
        assert len(same) == 1
    assert {*splits.values()} == {"train", "validation", "test"}


def test_one_piece_is_cut_in_time_and_its_copies_are_left_out(music):
    """A copy with a repeat, or an excerpt, would have in train what the piece has in test."""
    whole = piece(0)
    midi.write(music / "whole.mid", whole)
    midi.write(music / "excerpt.mid", Score(whole.notes[200:].copy(), parts=whole.parts))
    midi.write(music / "short.mid", piece(1, count=3))
    contents = folder.read(music)
    assert contents.counts["cut_in_time"] == 1
    assert contents.left_out["excerpt.mid"] == "the same music as whole.mid"
    assert contents.left_out["short.mid"].startswith("too short to be cut")
    cut = [part[0]["pianoroll"] for part in examples(contents).values()]
    assert (np.concatenate(cut) == from_score(whole).frames).all()
    assert ids(contents) == ["whole.mid (test)", "whole.mid (train)", "whole.mid (validation)"]


def test_folders_that_are_no_corpus(music):
    with pytest.raises(FolderError, match=r"no MIDI file \(.mid, .midi, .rmi, .smf\) in this folder"):
        folder.read(music)
    with pytest.raises(FolderError, match="no such folder"):
        folder.read(music / "nowhere")
    for name in "abcde":
        (music / f"{name}.mid").write_bytes(b"MThd")
    with pytest.raises(FolderError, match=r"can be used: a.mid: it ends .*; b.mid: .*; c.mid: .* \(2 more\)"):
        folder.read(music)
    for name in "abcde":
        (music / f"{name}.mid").unlink()
    midi.write(music / "short.mid", piece(0, count=3))
    with pytest.raises(FolderError, match=r"short.mid: too short to be cut, with 1?[0-9] timesteps"):
        folder.read(music)


def test_names_that_are_no_text(music):
    """Each stays a name of its own, and none moves a terminal's cursor."""
    fill(music, 3)
    for number, name in enumerate([b"K\xf6chel.mid", rb"K\udcf6chel.mid", "Köchel.mid".encode(), b"a\nb\x1b[31m.mid"]):
        midi.write(music / os.fsdecode(name), piece(5 + number))
    assert {r"K\udcf6chel.mid", r"K\\udcf6chel.mid", "Köchel.mid", r"a\nb\x1b[31m.mid"} < {*ids(folder.read(music))}


def test_what_is_no_file_is_not_waited_for(music):
    fill(music, 3)
    os.mkfifo(music / "pipe.mid")
    (music / "folder.mid").mkdir()
    assert folder.read(music).left_out == {"pipe.mid": "it is no regular file"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_that_may_not_be_looked_into_is_named(music):
    fill(music, 3)
    (music / "closed").mkdir(mode=0)
    assert folder.read(music).left_out == {"closed": "Permission denied"}


# Building.


def run(capsys, *arguments, status=0):
    assert cli.main([str(argument) for argument in arguments]) == status
    told = capsys.readouterr()
    return told.out + told.err if status else told.out


def built(tmp_path):
    return sorted(path.parent.name for path in (tmp_path / "tfds" / "bach_multihot").glob("music-*/*"))


def test_built_once_and_again_when_something_changed(music, tmp_path, capsys):
    fill(music)
    (music / "broken.mid").write_bytes(b"MThd")
    told = run(capsys, "data", "build", music)
    assert "left out, 1 of 7 files:\n  broken.mid: it ends too early, in its header\n" in told
    assert "pieces in" in told
    first = built(tmp_path)
    assert len(first) == 1
    assert first[0].startswith("music-")
    assert "left out" not in run(capsys, "data", "build", music)  # Nothing was read again.
    os.utime(music / "piece0.mid")
    run(capsys, "data", "build", music)
    assert built(tmp_path) == first
    midi.write(music / "piece6.mid", piece(6))
    run(capsys, "data", "build", music)
    second = built(tmp_path)
    assert len(second) == 2
    (music / "piece6.mid").write_bytes((music / "piece5.mid").read_bytes())
    run(capsys, "data", "build", music)
    assert len(built(tmp_path)) == 3
    run(capsys, "data", "build", music, "--keep-performances")
    assert len(built(tmp_path)) == 4
    (music / "piece6.mid").unlink()
    run(capsys, "data", "build", music)
    assert len(built(tmp_path)) == 4  # The first one is still there.


def test_info_tells_what_was_left_out_and_draws(music, tmp_path, capsys):
    fill(music)
    (music / "broken.mid").write_bytes(b"MThd")
    midi.write(music / "live.mid", performed(piece(99)))
    told = run(capsys, "data", "info", music, "--plot", tmp_path / "plot.png")
    assert "files: 6 of 8 used; 0 of them copies of others" in told
    assert "left out, 2 of 8 files:\n  broken.mid: it ends too early, in its header\n  live.mid: played live" in told
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "timestep in quarters: 1/2" in told


def test_what_is_no_corpus_is_said_in_a_line_and_leaves_nothing(music, tmp_path, capsys):
    assert "./musik" in run(capsys, "data", "build", "musik", status=2)
    assert "no such folder" in run(capsys, "data", "build", tmp_path / "nowhere", status=2)
    (music / "broken.mid").write_bytes(b"MThd")
    told = run(capsys, "data", "build", music, status=2)
    assert "bachkeras: No file of this folder can be used: broken.mid: it ends too early, in its header." in told
    assert built(tmp_path) == []
    assert "This is no folder" in run(capsys, "data", "build", music / "broken.mid", status=2)
    for command in (["train", "lstm-attention"], ["data", "build", "chorales"]):
        assert "Only a folder may have" in run(capsys, *command, "--keep-performances", status=2)


@pytest.mark.parametrize("changed", [False, True])
def test_a_killed_build_leaves_nothing_to_the_next_one(changed, music, tmp_path, capsys):
    fill(music)
    half = catalog.builder(str(music)).data_path.parent / "incomplete.ABCDEF_1.1.0"
    half.mkdir(parents=True)
    (half / "bach_multihot-train.tfrecord-00000-of-00001").write_bytes(b"half")
    if changed:
        midi.write(music / "piece7.mid", piece(7))
    run(capsys, "data", "build", music)
    assert [path.name for path in (tmp_path / "tfds" / "bach_multihot").glob("music-*/*")] == ["1.1.0"]


def test_a_folder_that_changes_while_it_is_read_is_not_built(music, tmp_path, monkeypatch):
    fill(music)
    read = folder.read

    def read_and_change(*arguments, **options):
        midi.write(music / "piece7.mid", piece(7))
        return read(*arguments, **options)

    monkeypatch.setattr(folder, "read", read_and_change)
    with pytest.raises(FolderError, match="changed while it was read"):
        catalog.build(str(music))
    assert built(tmp_path) == []


COMMAND = [sys.executable, "-m", "bachkeras", "data", "build"]


@pytest.mark.slow
def test_two_builds_at_once_and_one_that_is_killed(music, tmp_path):
    fill(music, 40)
    killed = subprocess.Popen([*COMMAND, music])
    place = tmp_path / "tfds" / "bach_multihot"
    until(lambda: [*place.glob("*/incomplete.*")] or killed.poll() is not None)
    killed.kill()
    killed.wait()
    both = [subprocess.Popen([*COMMAND, music], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert told[0].splitlines()[-1] == told[1].splitlines()[-1]
    assert [path.name for path in place.glob("music-*/*")] == ["1.1.0"]


@pytest.mark.slow
def test_ctrl_c_ends_a_build_without_a_trace(music, tmp_path):
    fill(music, 200)
    process = subprocess.Popen(
        [*COMMAND, music], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    place = tmp_path / "tfds" / "bach_multihot"
    until(lambda: [*place.glob("*/incomplete.*")] or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate()[0]
    assert process.returncode == 130
    assert "Traceback" not in told
    assert [*place.glob("music-*/*")] == []


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


SMALL = """
[model]
hidden = 8
attention_heads = 2
[frame]
onsets = true
units = 8
[data]
window = 16
[training]
epochs = 1
"""


@pytest.mark.slow
def test_from_a_folder_to_new_music(music, tmp_path, capsys, monkeypatch):
    """Train by the folder's path as it is from here, go on and evaluate from elsewhere, and after it has changed."""
    fill(music, 5)
    (tmp_path / "small.toml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    command = ["train", "lstm-attention", "--data", "./music", "--out", tmp_path / "run"]
    told = run(capsys, *command, "--config", tmp_path / "small.toml")
    assert len([*(tmp_path / "run" / "samples").glob("*.mid")]) == 4
    assert "chord trigram" in told
    monkeypatch.chdir("/")
    run(capsys, "evaluate", tmp_path / "run")
    midi.write(music / "piece6.mid", piece(6))
    assert "the folder has changed since" in run(capsys, "evaluate", tmp_path / "run")
    shutil.rmtree(music)
    assert "no such folder" in run(capsys, "evaluate", tmp_path / "run", status=2)
    run(capsys, "generate", "--model", tmp_path / "run", "--count", 1, "--length", 8, "--out", tmp_path / "out")
