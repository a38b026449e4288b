"""Tables of an evaluation: rows that compare, columns in which something stands, missing figures as dashes."""

import numpy as np
import pytest

from bachkeras.evaluation import columns, rows, tables

EVERY = [*columns.SETTINGS, *(column for some in columns.SECTIONS.values() for column in some)]


def row(model, **figures):
    common = {"data": "jsb_quarter", "grid": "1", "voices": "by rank", "protocol": "Q88", "notes": "", "seed": 0}
    return (
        common | {"contaminated": False, "temperature": 1.0, "top_p": 1.0, "samples": 77} | figures | {"model": model}
    )


ROWS = [
    row(
        "q88",
        parameters=1834120,
        test_nats_per_frame=4.58123,
        likelihood="exact",
        hold_ratio=0.3221,
        longest_copy_beats_p95=7.0,
    ),
    row("gan", notes="a GAN has no likelihood"),
    row("chord trigram", test_nats_per_frame=6.102, likelihood="exact", temperature=None, top_p=None, seed=None),
    row("real bach", hold_ratio=0.316, longest_copy_beats_p95=9.4, kl_nats=float("nan")),
    row(
        "s16",
        data="jsb_16th",
        voices="labelled",
        test_nats_per_frame=1.623,
        protocol="S16",
        parallels_per_100_beats=3.25,
    ),
    row("real bach", data="jsb_16th", voices="labelled", protocol=None, parallels_per_100_beats=0.89),
]


def test_the_table_as_text():
    first, second = tables.groups(ROWS)
    assert [one.name for one in first.rows] == ["real bach", "q88", "gan", "chord trigram"]
    assert [column.key for column in second.columns] == [
        "test_nats_per_frame",
        "parallels_per_100_beats",
    ]
    assert tables.table(ROWS) == "\n".join(
        [
            "jsb_quarter, grid 1, voices by rank",
            "protocol Q88, samples 77, temperature 1, top-p 1, seed 0",
            "",
            "               Parameters   Kind         NLL  Hold ratio  Copy, 95%",
            "                                  nats/frame                  beats",
            "                                       lower     as Bach    as Bach",
            "real bach               -      -           -       0.316        9.4",
            "q88             1,834,120  exact       4.581       0.322        7.0",
            "gan [1]                 -      -           -           -          -",
            "chord trigram           -  exact       6.102           -          -",
            "",
            "[1] a GAN has no likelihood",
            "",
            "jsb_16th, grid 1, voices labelled",
            "protocol S16, samples 77, temperature 1, top-p 1, seed 0",
            "",
            "                  NLL      Parallels",
            "           nats/frame  per 100 beats",
            "                lower        as Bach",
            "real bach           -           0.89",
            "s16             1.623           3.25",
        ]
    )


def test_a_wide_table_goes_on_below():
    text = tables.table([row("a" * 30, **{column.key: 0.5 for some in columns.SECTIONS.values() for column in some})])
    lines = text.splitlines()
    assert max(map(len, lines)) <= tables.WIDTH
    assert sum(line.startswith("a") for line in lines) > 3
    for some in columns.SECTIONS.values():
        assert all(column.title in text for column in some)


def test_every_column_says_what_it_is():
    assert len({column.key for column in EVERY}) == len({column.title for column in EVERY}) == len(EVERY)
    assert all(column.meaning.endswith(".") for column in EVERY)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("parameters", 1234567, "1,234,567"),
        ("seed", 20260714, "20260714"),
        ("temperature", 0.9, "0.9"),
        ("shuffle_gap_nats", -0.0001, "0.000"),
        ("judge_nats_per_frame", np.float64("nan"), "-"),
        ("ngram_jsd", [None] * 4, "-"),
        ("contaminated", True, "yes"),
    ],
)
def test_figures_as_text(key, value, text):
    (column,) = [column for column in EVERY if column.key == key]
    assert column.show(value) == text


def test_settings_that_differ_are_columns():
    (group,) = tables.groups([row("one"), row("two", temperature=0.9), row("chord trigram", temperature=None)])
    assert group.setting == "protocol Q88, samples 77, top-p 1, seed 0"
    assert [column.key for column in group.columns] == ["temperature"]
    assert [one.cells for one in group.rows] == [("1",), ("0.9",), ("-",)]


def test_rows_with_one_note_share_it():
    (group,) = tables.groups(
        [row("one", notes="why"), row("two", notes="else"), row("three", notes="why"), row("four")]
    )
    assert group.notes == ("why", "else")
    assert [one.note for one in group.rows] == [1, 2, 1, 0]


def test_notes_speak_of_the_columns_that_are_there():
    notes = "hold_ratio, kl_nats: no frames; judge_nats_per_frame: no judge"
    (group,) = tables.groups([row("one", notes=notes), row("two", hold_ratio=0.5)])
    assert group.notes == ("Hold ratio: no frames",)


def test_every_figure_of_a_row_is_a_column():
    """But for the details, which evaluation.json alone has, and for what stands above and beside a table."""
    details = {"model", "data", "grid", "voices", "notes", "style", "distances", "floors"}
    assert {column.key for column in EVERY} == set(rows.KEYS) - details


def test_what_bach_alone_has_is_no_column():
    (group,) = tables.groups([row("real bach", hold_ratio=0.3, distinct_3=0.3), row("two", hold_ratio=0.5)])
    assert [column.key for column in group.columns] == ["hold_ratio"]


def test_rows_without_figures_are_names():
    assert tables.table([row("one")]).splitlines()[-1] == "one"
    assert tables.table([]) == ""
