"""WAV files: what is in them, who plays them, and what happens where FluidSynth fails."""

import json
import os
import shutil
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from bachkeras.music import audio, fluidsynth, midi
from bachkeras.music.fluidsynth import FluidSynthError
from bachkeras.music.score import NOTE, Score, Tempo
from bachkeras.music.synthesis import PEAK, RATE, TAIL, synthesize

PATH = os.environ["PATH"]
FOLDERS = fluidsynth.FOLDERS

FAKE = """#!%s -IS
import array, json, math, pathlib, sys
arguments = sys.argv[1:]
here = pathlib.Path(__file__).parent
midi = pathlib.Path(arguments[-1])
(here / "midi").write_bytes(midi.read_bytes())
config = pathlib.Path(arguments[arguments.index("-f") + 1]).read_text()
(here / "call").write_text(json.dumps([arguments, config, sys.stdin.read()]))
samples = [a * math.sin(2 * math.pi * 440 * t / 44100) for t in range(44100 * 4) for a in (0.02, -0.01)]
sound = pathlib.Path(arguments[arguments.index("-F") + 1])
%s
"""
"""A program that notes how it was called, then does as told; 4 seconds of A4 are ready for it in `samples`."""

SINGS = 'sound.write_bytes(array.array("f", samples).tobytes())'
IS_SILENT = 'sound.write_bytes(array.array("f", [3e-8 for _ in samples]).tobytes())'
FAILS = 'sys.exit("fluidsynth: a warning\\nfluidsynth: no memory.")'
WRITES_NOTHING = ""
HANGS = "import time; time.sleep(60)"


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(fluidsynth, "FOLDERS", (str(tmp_path / "fonts"),))
    monkeypatch.delenv(audio.VARIABLE, raising=False)


@pytest.fixture
def install(tmp_path):
    """Installs a program called fluidsynth that does as told."""

    def install(does=SINGS):
        program = tmp_path / "bin" / "fluidsynth"
        program.parent.mkdir()
        program.write_text(FAKE % (sys.executable, does))
        program.chmod(0o755)

    if os.name == "nt":
        pytest.skip("A script is no program on Windows")
    return install


def font(folder, name="some.sf2"):
    """A file that could be a soundfont."""
    (folder / "fonts").mkdir(exist_ok=True)
    (folder / "fonts" / name).touch()
    return folder / "fonts" / name


def call(folder):
    """How the fake was called: its arguments, the content of its configuration and of its standard input."""
    return json.loads((folder / "bin" / "call").read_text())


def score(pitch=69, quarters=2, **values):
    """One note, a quarter a second."""
    return Score(np.array([(0, 480 * quarters, pitch, 0)], NOTE), parts=("",), tempos=(Tempo(0, 60),), **values)


def read(path):
    """The parameters of a WAV file, and its samples of full scale 1, float64 `(samples, channels)`."""
    with wave.open(str(path)) as file:
        content = file.readframes(file.getnframes())
        return file.getparams(), np.frombuffer(content, "<i2").reshape(-1, file.getnchannels()) / 32767


# The file.


def test_a_file_has_16_bits_and_44100_samples_a_second(tmp_path):
    audio.write(tmp_path / "a.wav", score())
    parameters, sound = read(tmp_path / "a.wav")
    assert parameters[:5] == (1, 2, 44_100, round((2 + TAIL) * RATE), "NONE")
    np.testing.assert_allclose(sound[:, 0], synthesize(score()), atol=1 / 32767)
    assert np.abs(sound).max() == pytest.approx(PEAK, abs=1e-4)


def test_a_program_has_its_own_sound(tmp_path):
    audio.write(tmp_path / "a.wav", score(), program=19)
    np.testing.assert_allclose(read(tmp_path / "a.wav")[1][:, 0], synthesize(score(), 19), atol=1 / 32767)


def test_the_same_score_is_the_same_file(tmp_path):
    audio.write(tmp_path / "a.wav", score())
    audio.write(tmp_path / "b.wav", score())
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_a_file_is_replaced_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    path.write_text("before")

    def fail(*_):
        assert path.read_text() == "before"
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="No space"):
            audio.write(path, score())
    assert [file.name for file in tmp_path.iterdir()] == ["a.wav"]
    assert path.read_text() == "before"
    audio.write(str(path), score())
    assert path.read_bytes()[:4] == b"RIFF"
    assert [file.name for file in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize(("changes", "program"), [({"quarters": 0}, 0), ({}, 128)])
def test_an_error_writes_nothing(changes, program, install, tmp_path):
    install()
    with pytest.raises(ValueError, match="Received: "):
        audio.write(tmp_path / "a.wav", score(**changes), program, font(tmp_path))
    assert not (tmp_path / "a.wav").exists()
    assert not (tmp_path / "bin" / "call").exists()


# FluidSynth.


def test_fluidsynth_is_called_with_a_midi_file_and_nothing_of_the_users(install, tmp_path):
    install()
    audio.write(tmp_path / "a.wav", score(), 19, font(tmp_path))
    arguments, config, stdin = call(tmp_path)
    assert arguments[:4] == ["-n", "-i", "-q", "-f"]
    assert arguments[5:16] == [
        *("-o", "synth.default-soundfont=", "-r", "44100"),
        *("-T", "raw", "-O", "float", "-E", "little", "-F"),
    ]
    assert arguments[17] == str(tmp_path / "fonts" / "some.sf2")
    assert config == stdin == ""
    assert not Path(arguments[-1]).parent.exists()
    midi.write(tmp_path / "expected.mid", score(end=4 * 480), program=19)
    assert (tmp_path / "bin" / "midi").read_bytes() == (tmp_path / "expected.mid").read_bytes()


def test_what_fluidsynth_plays_is_cut_and_as_loud_as_all_else(install, tmp_path):
    install()
    audio.write(tmp_path / "a.wav", score(), soundfont=font(tmp_path))
    parameters, sound = read(tmp_path / "a.wav")
    assert parameters[:4] == (2, 2, 44_100, round((2 + TAIL) * RATE))
    expected = 0.9 * np.sin(2 * np.pi * 440 * np.arange(len(sound)) / RATE)
    np.testing.assert_allclose(sound[:, 0], expected, atol=2e-4)
    np.testing.assert_allclose(sound[:, 1], -expected / 2, atol=2e-4)


def test_a_soundfont_is_that_of_the_argument_then_of_the_variable_then_of_a_folder(install, tmp_path, monkeypatch):
    install()
    names = ("argument.sf2", "variable.sf3", "folder.SF2")
    argument, variable, _ = (font(tmp_path, name) for name in names)
    monkeypatch.setenv(audio.VARIABLE, str(variable))
    audio.write(tmp_path / "a.wav", score(), soundfont=argument)
    assert Path(call(tmp_path)[0][17]).name == "argument.sf2"
    audio.write(tmp_path / "a.wav", score())
    assert Path(call(tmp_path)[0][17]).name == "variable.sf3"
    monkeypatch.setenv(audio.VARIABLE, "")
    argument.unlink()
    variable.unlink()
    audio.write(tmp_path / "a.wav", score())
    assert Path(call(tmp_path)[0][17]).name == "folder.SF2"


def test_of_the_soundfonts_of_a_folder_the_default_comes_first(install, tmp_path):
    install()
    assert fluidsynth.find_soundfont() is None
    for name in ("readme.txt", "Some.sf2", "FluidR3_GM.sf2", "A.sf3", "default-GM.sf2"):
        font(tmp_path, name)
    (tmp_path / "fonts" / "default.sf2").symlink_to(tmp_path / "nowhere")
    found = []
    while path := fluidsynth.find_soundfont():
        found.append(path.name)
        path.unlink()
    assert found == ["default-GM.sf2", "FluidR3_GM.sf2", "A.sf3", "Some.sf2"]


def test_a_soundfont_in_a_folder_is_nothing_without_fluidsynth(tmp_path):
    font(tmp_path)
    assert fluidsynth.find_soundfont() is None
    audio.write(tmp_path / "a.wav", score())
    assert read(tmp_path / "a.wav")[0].nchannels == 1


FAILURES = [
    (FAILS, "FluidSynth failed: fluidsynth: no memory. Received: soundfont="),
    (IS_SILENT, "This soundfont makes no sound. Received: soundfont="),
    (WRITES_NOTHING, "FluidSynth failed: .*No such file.*. Received: soundfont="),
]


@pytest.mark.parametrize("by", ["argument", "variable"])
@pytest.mark.parametrize(("does", "message"), FAILURES[:2])
def test_a_soundfont_that_was_named_and_fails_is_an_error(does, message, by, install, tmp_path, monkeypatch):
    install(does)
    named = font(tmp_path)
    if by == "variable":
        monkeypatch.setenv(audio.VARIABLE, str(named))
    with pytest.raises(FluidSynthError, match=f"^{message}'.*some.sf2'$"):
        audio.write(tmp_path / "a.wav", score(), soundfont=named if by == "argument" else None)
    assert not (tmp_path / "a.wav").exists()


@pytest.mark.parametrize(("does", "message"), FAILURES)
def test_one_that_was_only_found_gives_way_to_simple_sounds(does, message, install, tmp_path):
    install(does)
    font(tmp_path)
    with pytest.warns(RuntimeWarning, match=f"^Simple sounds play instead of a soundfont: {message}") as warnings:
        audio.write(tmp_path / "a.wav", score())
    assert [warning.filename for warning in warnings] == [__file__]
    np.testing.assert_allclose(read(tmp_path / "a.wav")[1][:, 0], synthesize(score()), atol=1 / 32767)


def test_a_score_that_midi_cannot_hold_is_played_all_the_same(install, tmp_path):
    install()
    font(tmp_path)
    fine = Score(np.array([(0, 40_000, 69, 0)], NOTE), 40_000, parts=("",))
    with pytest.warns(RuntimeWarning, match="ticks per quarter must be 1..32767"):
        audio.write(tmp_path / "a.wav", fine)
    assert len(read(tmp_path / "a.wav")[1]) == round((0.75 + TAIL) * RATE)


def test_fluidsynth_is_not_waited_for_without_end(install, tmp_path, monkeypatch):
    install(HANGS)
    monkeypatch.setattr(fluidsynth, "_PATIENCE", 0.1 - 2 - TAIL)
    with pytest.raises(FluidSynthError, match=r"^FluidSynth failed: .* timed out after 0\.1.* seconds\. Received: "):
        audio.write(tmp_path / "a.wav", score(), soundfont=font(tmp_path))


def test_a_soundfont_that_is_not_there(install, tmp_path):
    install()
    with pytest.raises(FluidSynthError, match=r"^This soundfont is not there\. Received: soundfont='no.sf2'$"):
        audio.write(tmp_path / "a.wav", score(), soundfont="no.sf2")


def test_a_soundfont_without_fluidsynth(tmp_path):
    with pytest.raises(FluidSynthError, match=r"^A soundfont needs FluidSynth; install it\. Received: soundfont='.*'$"):
        audio.write(tmp_path / "a.wav", score(), soundfont=font(tmp_path))


def test_the_real_fluidsynth(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", PATH)
    monkeypatch.setattr(fluidsynth, "FOLDERS", FOLDERS)
    if fluidsynth.find_soundfont() is None:
        pytest.skip(f"{'A soundfont' if shutil.which('fluidsynth') else 'FluidSynth'} is not installed")
    audio.write(tmp_path / "a.wav", score(), program=19)
    parameters, sound = read(tmp_path / "a.wav")
    assert parameters[:4] == (2, 2, 44_100, round((2 + TAIL) * RATE))
    assert np.abs(sound).max() == pytest.approx(PEAK, abs=1e-4)
    spectrum = np.abs(np.fft.rfft(sound[: 2 * RATE].sum(axis=1)))
    octaves = np.log2(spectrum.argmax() / 2 / 440)  # An organ's octave may be louder than its fundamental.
    assert octaves == pytest.approx(round(octaves), abs=0.01)
    assert np.abs(sound[-RATE // 10 :]).max() < 0.02
    broken = tmp_path / "broken.sf2"
    broken.write_bytes(b"RIFF" + bytes(1000))
    with pytest.raises(FluidSynthError, match="This soundfont makes no sound"):
        audio.write(tmp_path / "a.wav", score(), soundfont=broken)
