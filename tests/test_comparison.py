"""The README's table of the four families, and its picture."""

import struct

import comparison  # tuning/comparison.py
import pytest

import bachkeras
from bachkeras.evaluation import rows


def row(model, **figures):
    return dict.fromkeys(rows.KEYS) | {
        "model": model,
        "parallels_per_100_beats": 1.954,
        "hold_ratio": 0.3234,
        "ngram_jsd": [0.0061, 0.0644, 0.2, 0.3],
        "self_bleu_4_soprano": 0.9,
        "distinct_3": 0.35,
        "longest_copy_beats_median": 5.0,
        "longest_copy_beats_p95": 9.4,
        "bach_or_mock": 8.66,
        "c2st_accuracy": 0.483,
        "judge_nats_per_frame": 4.5,
        **figures,
    }


ROWS = [
    row("real bach"),
    row("q88", likelihood="exact", test_nats_per_frame=4.5337, clean_nats_per_frame=4.7708, train_minutes=9.41),
    row("lstm-vae", likelihood="bound", test_nats_per_frame=4.991, judge_nats_per_frame=None),
    row("chord unigram sampler", parallels_per_100_beats=36.0),
]


def test_the_table():
    head, line, bach, q88, vae, unigram = comparison.table(ROWS).splitlines()
    assert head.startswith("|  | test: nats/frame | clean 49 | judge: nats/frame |")
    assert line.count("---") == head.count("|") - 1 == len(comparison.COLUMNS) + 1
    assert bach.startswith("| **real bach** | – | – | 4.50 | 1.95 | 0.323 | 0.006 | 0.064 | 0.900 |")
    assert q88.startswith("| `q88` | 4.534 | 4.771 | 4.50 |")
    assert q88.endswith("| 5, 9.4 | 8.7 | 0.48 | 9.4 |")
    assert vae.startswith("| `lstm-vae` | ≤ 4.991 | – | – |")
    assert unigram.startswith("| chord unigram sampler |")


def test_the_table_takes_its_place():
    readme = f"before\n{comparison.BEGIN}\nold\n{comparison.END}\nafter\n"
    assert comparison.with_table(readme, "new \\1") == f"before\n{comparison.BEGIN}\nnew \\1\n{comparison.END}\nafter\n"
    with pytest.raises(ValueError, match="one place for the table"):
        comparison.with_table("nothing", "new")


def test_the_picture():
    png = comparison.picture(ROWS)
    width, height = struct.unpack(">II", png[16:24])
    assert png.startswith(b"\x89PNG")
    assert width > 2 * height


def test_the_readme_has_the_figures_of_the_presets():
    readme, cards = comparison.README.read_text(), bachkeras.presets()
    for name in comparison.PRESETS:
        figures = cards[name]["figures"]
        (line,) = [line for line in readme.splitlines() if line.startswith(f"| `{name}` |") and line.count("|") == 15]
        if "test_nats_per_frame" in figures:
            assert f" {figures['test_nats_per_frame']:.3f} " in line
        assert f" {figures['parallels_per_100_beats']:.2f} " in line
        assert f" {figures['ngram_jsd'][1]:.3f} " in line
