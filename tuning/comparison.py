"""The four families of models side by side, from the presets: `python tuning/comparison.py`.

Each preset of `jsb_quarter` is scored on the test split, and as many samples as there are test pieces stand beside real
Bach and the samplers that need no network. Writes the README's table and picture; the page with players is in `--out`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bachkeras import _files as files
from bachkeras import _start

PRESETS = ("q88", "lstm-vae", "hierarchical-vae", "vq-vae", "wgan", "independent")

JUDGE = "q88"
"""The preset whose model judges all samples, its own too."""

README = Path(__file__).parent.parent / "README.md"

PICTURE = README.parent / "docs" / "comparison.png"

BEGIN, END = "<!-- comparison.py: begin -->", "<!-- comparison.py: end -->"
"""Between these lines of the README stands the table."""

Show = Callable[[Mapping[str, Any]], str]


def figure(key: str, digits: int, place: int | None = None) -> Show:
    """A figure of a row as text; of several the one at a place."""

    def show(row: Mapping[str, Any]) -> str:
        value = row[key] if place is None or row[key] is None else row[key][place]
        return "–" if value is None else f"{value:.{digits}f}"

    return show


def likelihood(key: str) -> Show:
    """Nats a frame; a bound is at most so many."""
    return lambda row: ("≤ " if row["likelihood"] == "bound" and row[key] is not None else "") + figure(key, 3)(row)


def copies(row: Mapping[str, Any]) -> str:
    """Of the longest copies the median and the 95th percentile."""
    found = [row["longest_copy_beats_median"], row["longest_copy_beats_p95"]]
    return "–" if None in found else ", ".join(f"{beats:g}" for beats in found)


COLUMNS: dict[str, Show] = {
    "test: nats/frame": likelihood("test_nats_per_frame"),
    "clean 49": likelihood("clean_nats_per_frame"),
    "judge: nats/frame": figure("judge_nats_per_frame", 2),
    "parallels in 100 beats": figure("parallels_per_100_beats", 2),
    "hold ratio": figure("hold_ratio", 3),
    "chord JSD, n = 1": figure("ngram_jsd", 3, 0),
    "n = 2": figure("ngram_jsd", 3, 1),
    "self-BLEU-4": figure("self_bleu_4_soprano", 3),
    "distinct-3": figure("distinct_3", 3),
    "longest copy: median, 95%": copies,
    "Bach or Mock": figure("bach_or_mock", 1),
    "told from Bach": figure("c2st_accuracy", 2),
    "minutes": figure("train_minutes", 1),
}
"""Of the README's table, by their titles."""

PANELS = {
    "judge, nats/frame": lambda row: row["judge_nats_per_frame"],
    "parallels in 100 beats": lambda row: row["parallels_per_100_beats"],
    "chord successions, JSD": lambda row: (row["ngram_jsd"] or [None] * 2)[1],
    "distinct-3": lambda row: row["distinct_3"],
    "told from Bach": lambda row: row["c2st_accuracy"],
}
"""Of the picture; in each Bach's value is the goal."""

LONGEST = 3
"""A panel ends at so many times Bach's value or that of the best rows; what lies beyond is named at its edge."""


def main(arguments: list[str] | None = None) -> None:
    """Evaluate the presets, and write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("runs/comparison"), help="folder for evaluation.json, the page"
    )
    parser.add_argument("--manual-dir", type=Path, help="a folder that holds the benchmark's file already")
    parsed = parser.parse_args(arguments)
    with_table(README.read_text(), "")  # A README without the place shows before the work.
    _start.tensorflow()
    from bachkeras.training import evaluate

    rows = evaluate.evaluate(PRESETS, parsed.out, judge=JUDGE, manual_dir=parsed.manual_dir)
    rows.sort(key=lambda row: row["model"] != "real bach")  # Bach first, then as they came.
    files.replace(README, with_table(README.read_text(), table(rows)).encode())
    files.replace(PICTURE, picture(rows))
    print(f"{README}, {PICTURE}, {parsed.out / 'report.html'}")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [["", *COLUMNS], ["---"] * (1 + len(COLUMNS))]
    for row in rows:
        name = row["model"]
        title = f"`{name}`" if name in PRESETS else f"**{name}**" if name == "real bach" else name
        lines.append([title, *(show(row) for show in COLUMNS.values())])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_table(readme: str, table: str) -> str:
    """The README with a table in its place."""
    found, count = re.subn(f"{BEGIN}.*?{END}", lambda _: f"{BEGIN}\n{table}\n{END}", readme, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"The README has one place for the table. Received: {count}")
    return found


def picture(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A panel for each figure, a bar for each row, a line where Bach is: a PNG."""
    from matplotlib.figure import Figure

    from bachkeras.evaluation.charts import BACH, MODEL
    from bachkeras.music.render import encode

    bach, others = rows[0], rows[1:]
    made = Figure(figsize=(12, 3.6), dpi=110, facecolor="white", layout="constrained")
    panels = made.subplots(1, len(PANELS), sharey=True)
    names = [row["model"].removeprefix("chord ").removesuffix(" sampler") for row in others]
    for axes, (title, value) in zip(panels, PANELS.items(), strict=True):
        goal, values = value(bach), [value(row) for row in others]
        known = sorted(v for v in values if v is not None)
        limit = max(LONGEST * goal, 1.5 * known[len(known) // 2])
        for place, (row, v) in enumerate(zip(others, values, strict=True)):
            if v is None:
                axes.text(0.02 * limit, place, "does not fit", va="center", fontsize=8, color="0.4")
                continue
            axes.barh(place, min(v, limit), color=MODEL if row["model"] in PRESETS else "0.7", height=0.62)
            if v > limit:
                axes.text(0.97 * limit, place, f"{v:.3g}", va="center", ha="right", fontsize=8, color="white")
        axes.axvline(goal, color=BACH, linewidth=2)
        axes.set_title(title, fontsize=10)
        axes.set_xlim(0, limit)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False, labelsize=8.5)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    made.supxlabel("line: real Bach", color=BACH, fontsize=9.5)
    return encode(made)


if __name__ == "__main__":
    main()
