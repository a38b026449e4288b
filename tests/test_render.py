"""Pictures: the colours of the parts are where their notes are, and nothing is left out."""

import dataclasses
import os
import subprocess
import sys
import warnings

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from bachkeras.data import chorales
from bachkeras.music import render
from bachkeras.music.render import ALONE, COLOURS
from bachkeras.music.score import NOTE, Meter, Score
from bachkeras.music.voices import SATB


def score(*notes, **values):
    """A score in 4/4 of (start, end, pitch, part) in quarters; the part is 0 where it is left out."""
    rows = [(round(start * 480), round(end * 480), *rest, 0)[:4] for start, end, *rest in notes]
    return Score(np.array(rows, NOTE), **({"parts": ("Piano",), "meters": (Meter(0, 4, 4),)} | values))


def drawn(score, folder):
    """The pixels, (height, width, 3), 0..1."""
    render.picture(folder / "piece.png", score)
    return matplotlib.image.imread(folder / "piece.png")[..., :3]


def is_colour(pixels, colour):
    return np.abs(pixels - to_rgb(colour)).max(axis=-1) < 0.01


def boxes(pixels, colour):
    """(left, right, top, bottom) of each rectangle of a colour, by its columns and in those by its rows."""
    there = is_colour(pixels, colour)
    columns = spans(there.any(axis=0))
    return [(left, right, *rows) for left, right in columns for rows in spans(there[:, left:right].any(axis=1))]


def spans(line):
    """[first, stop) of the runs of true values."""
    edges = np.flatnonzero(np.diff(np.r_[False, line, False]))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def monotone(bars):
    """A score of whole notes on one pitch: as many rows of boxes as systems."""
    return score(*[(4 * i, 4 * i + 4, 65) for i in range(bars)])


def rows(pixels):
    """The boxes in each row of them, from the top."""
    there = is_colour(pixels, ALONE)
    return [len(spans(there[top:bottom].any(axis=0))) for top, bottom in spans(there.any(axis=1))]


def test_a_png_for_a_page(tmp_path):
    pixels = drawn(chorales.read("bwv253").score, tmp_path)
    assert (tmp_path / "piece.png").read_bytes().startswith(b"\x89PNG")
    height, width, _ = pixels.shape
    assert width == 1600
    assert 800 < height < 1400
    assert (pixels == 1).all(axis=-1).mean() > 0.4


def test_each_part_has_its_colour_where_its_notes_are(tmp_path):
    # A note a bar in each part, at heights in the order of the parts.
    notes = [(4 * part, 4 * part + 4, 72 - 7 * part, part) for part in range(4)]
    pixels = drawn(score(*notes, parts=SATB), tmp_path)
    music = pixels[60:]  # Below the legend.
    places = [boxes(music, colour) for colour in COLOURS[:4]]
    assert [len(place) for place in places] == [1] * 4
    lefts, rights, tops, _ = np.array(places)[:, 0].T
    assert (np.diff(lefts) > 300).all()
    assert (np.abs(rights[:-1] - lefts[1:]) <= 4).all()
    assert np.ptp(np.diff(tops)) <= 1
    assert 7 * 10 < np.diff(tops)[0] < 7 * 20


def test_the_legend_names_parts_and_a_single_part_has_none(tmp_path):
    notes = [(0, 4, 60), (0, 4, 64)]
    alone = drawn(score(*notes), tmp_path)
    assert len(boxes(alone, ALONE)) == 2
    two = drawn(score(*notes, parts=("Piano", "")), tmp_path)
    assert len(two) > len(alone)
    assert is_colour(two[:50], COLOURS[0]).any()
    assert is_colour(two[:50], COLOURS[1]).any()


def test_repeated_notes_show_a_gap_and_a_held_one_does_not(tmp_path):
    repeated = boxes(drawn(score(*[(i, i + 1, 60) for i in range(8)]), tmp_path), ALONE)
    assert len(repeated) == 8
    assert len(boxes(drawn(score((0, 8, 60)), tmp_path), ALONE)) == 1


def test_parts_on_one_pitch_are_both_seen(tmp_path):
    pixels = drawn(score((0, 8, 60, 0), (0, 4, 60, 1), (4, 6, 67, 1), parts=("Alto", "Tenor")), tmp_path)[60:]
    (alto,) = boxes(pixels, COLOURS[0])
    first, second = boxes(pixels, COLOURS[1])
    assert alto[2] < first[2] < first[3] <= alto[3] + 1  # The tenor has the lower half ...
    assert abs(first[1] - (alto[0] + alto[1]) / 2) < 5  # ... of the first half,
    assert second[3] < alto[2]  # and crosses.
    half = is_colour(pixels, COLOURS[0])[:, alto[0] + 20].sum()
    whole = is_colour(pixels, COLOURS[0])[:, alto[1] - 20].sum()
    assert 0.3 < half / whole < 0.6


@pytest.mark.parametrize(
    ("bars", "wanted"),
    [(1, [1]), (8, [8]), (9, [5, 4]), (17, [6, 6, 5]), (161, [11] * 14 + [7])],
)
def test_more_bars_are_more_systems_up_to_sixteen(bars, wanted, tmp_path):
    assert rows(drawn(monotone(bars), tmp_path)) == wanted


def test_all_systems_have_one_scale(tmp_path):
    pixels = drawn(monotone(9), tmp_path)
    widths = [right - left for left, right, _, _ in boxes(pixels[: len(pixels) // 2], ALONE)]
    widths += [right - left for left, right, _, _ in boxes(pixels[len(pixels) // 2 :], ALONE)]
    assert len(widths) == 9
    assert np.ptp(widths) <= 1


def numbers(score):
    return [[bar.number for bar in system.bars] for system in render._systems(score)]


def test_an_upbeat_comes_before_bar_1(tmp_path):
    upbeat = dataclasses.replace(score((0, 1, 60), (1, 5, 65), (5, 9, 60)), upbeat=480)
    assert numbers(upbeat) == [[0, 1, 2]]
    assert numbers(chorales.read("bwv253").score) == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]
    first, second, _ = (right - left for left, right, _, _ in boxes(drawn(upbeat, tmp_path), ALONE))
    assert abs(4 * first - second) < 10


def test_without_a_meter_quarters_are_numbered(tmp_path):
    assert numbers(score((0, 6.5, 60), meters=(), upbeat=480)) == [[1, 2, 3, 4, 5, 6, 7]]
    with_meter, without = (drawn(score((0, 8, 60), meters=meters), tmp_path) for meters in ((Meter(0, 4, 4),), ()))
    assert with_meter.shape == without.shape
    assert (with_meter != without).any()


def test_the_same_score_is_the_same_bytes_without_date_or_version(tmp_path):
    for name in ("one.png", "two.png"):
        render.picture(tmp_path / name, score((0, 4, 60), title="Title"))
    content = (tmp_path / "one.png").read_bytes()
    assert content == (tmp_path / "two.png").read_bytes()
    for text in (b"Software", b"atplotlib", b"tEXt", b"tIME"):
        assert text not in content


@pytest.mark.parametrize("parts", [(), ("",), SATB])
def test_an_empty_score_is_an_empty_grid(parts, tmp_path):
    pixels = drawn(Score(np.array([], NOTE), parts=parts), tmp_path)
    assert not is_colour(pixels[60:], ALONE).any()
    assert (pixels[60:] < 0.9).any()


def test_names_are_no_formulas(tmp_path):
    names = {"title": r"$\nonsense$ _ " + "long " * 40, "parts": ("_one $x$", r"\frac", *["Part"] * 10)}
    drawn(score((0, 4, 60), **names), tmp_path)


def test_letters_that_the_font_has_not_are_no_matter(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn(score((0, 4, 60), title="茉莉花", parts=("歌", "")), tmp_path)


def test_a_picture_that_fails_leaves_nothing_behind(tmp_path):
    path = tmp_path / "piece.png"
    path.write_text("before")
    with pytest.raises(ValueError, match="A meter needs beats"):
        render.picture(path, score((0, 4, 60), meters=(Meter(0, 0, 4),)))
    assert path.read_text() == "before"
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        render.picture(tmp_path / "folder", score((0, 4, 60)))
    with pytest.raises(FileNotFoundError):
        render.picture(tmp_path / "none" / "piece.png", score((0, 4, 60)))
    assert sorted(os.listdir(tmp_path)) == ["folder", "piece.png"]


def test_no_display_and_no_pyplot(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from bachkeras.music import render\n"
        "from bachkeras.music.score import NOTE, Score\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"render.picture({str(tmp_path / 'piece.png')!r}, Score(np.array([(0, 480, 60, 0)], NOTE), parts=('',)))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    hidden = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    subprocess.run([sys.executable, "-c", code], env=hidden | {"MPLBACKEND": "TkAgg"}, check=True)
    assert (tmp_path / "piece.png").stat().st_size > 1000
