"""How fast MIDI becomes pianorolls: figures by `pytest tests/test_midi_speed.py -m slow -s -n 0`."""

import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bachkeras.music import midi, pianoroll
from bachkeras.music.score import NOTE, Score

FILES, NOTES = 10_000, 500


def pianoroll_notes(path):
    """The notes of a file that has become a pianoroll."""
    score = midi.read(path)
    pianoroll.from_score(score)
    return len(score.notes)


def notes_per_second(paths, times, map_=map):
    begin = time.perf_counter()
    return sum(map_(pianoroll_notes, paths * times)) / (time.perf_counter() - begin)


@pytest.mark.slow
def test_notes_per_second_from_file_to_pianoroll(jsb_dir):
    """In one process faster than pretty_midi (where it is installed) at the same grid, and faster in two."""
    paths = sorted((jsb_dir / "midi").glob("*.mid"))
    notes_per_second(paths, 1)  # All is imported now.
    one = notes_per_second(paths, 20)
    with ProcessPoolExecutor(2) as pool:
        sum(pool.map(pianoroll_notes, paths))  # Its workers are there now.
        two = notes_per_second(paths, 20, lambda function, items: pool.map(function, items, chunksize=4))
    print(f"\n{one:.0f} notes/s in one process, {two:.0f} in two")
    assert one > 10_000
    pretty_midi = pytest.importorskip("pretty_midi")
    frames = {path: len(pianoroll.from_score(midi.read(path)).frames) for path in paths}
    begin, notes = time.perf_counter(), 0
    for path in paths * 10:
        file = pretty_midi.PrettyMIDI(str(path))
        file.get_piano_roll(fs=frames[path] / file.get_end_time())
        notes += sum(len(instrument.notes) for instrument in file.instruments)
    other = notes / (time.perf_counter() - begin)
    print(f"pretty_midi: {other:.0f} notes/s")
    assert one > other


def generated(folder, count):
    """Files of `NOTES` notes in two voices, all different."""
    random = np.random.default_rng(0)
    for i in range(count):
        notes = np.zeros(NOTES, NOTE)
        lengths = 120 * random.integers(1, 5, NOTES)
        for part in range(2):
            mine = slice(part, None, 2)
            notes["end"][mine] = np.cumsum(lengths[mine])
            notes["start"][mine] = notes["end"][mine] - lengths[mine]
            notes["part"][mine] = part
            walk = np.cumsum(random.integers(-4, 5, NOTES // 2))
            notes["pitch"][mine] = 72 - 24 * part + np.abs(walk % 48 - 24) - 12
        midi.write(folder / f"{i:05}.mid", Score(notes, parts=("", "")))


@pytest.mark.slow
def test_a_large_folder():
    """Built in bounded memory, here a tenth of 10,000 files; for all of them `python tests/test_midi_speed.py`.

    By way of a small process: Linux also counts the memory of a process before it became another program.
    """
    told = subprocess.check_output([sys.executable, __file__, str(FILES // 10)], text=True)
    assert int(re.search(r"(\d+) MiB", told)[1]) < 1500


def build(folder, count):
    """Minutes and MiB at the peak of any one process."""
    (folder / "music").mkdir()
    generated(folder / "music", count)
    environment = os.environ | {"TFDS_DATA_DIR": str(folder / "tfds")}
    command = [sys.executable, "-c", BUILD, str(folder / "music")]
    begin = time.perf_counter()
    told = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout
    return (time.perf_counter() - begin) / 60, int(told.splitlines()[-1]) / 1024


BUILD = """
import resource, sys
from bachkeras.data import catalog
catalog.build(sys.argv[1])
print(max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""
"""Build a folder; then the most memory that this process or one of its children had, in KiB."""


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else FILES
    with tempfile.TemporaryDirectory() as place:
        print("{:.1f} minutes, {:.0f} MiB".format(*build(Path(place), number)))
