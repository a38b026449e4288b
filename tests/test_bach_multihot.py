import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import bach_multihot
import numpy as np
import pytest
import tensorflow_datasets as tfds

from bachkeras.data import sources

SPLITS = ("train", "validation", "test")


class JsbQuarterTest(tfds.testing.DatasetBuilderTestCase):
    """TFDS's own checks, on two invented pieces a split."""

    DATASET_CLASS = bach_multihot.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ("jsb_quarter",)
    SPLITS = dict.fromkeys(SPLITS, 2)
    DL_DOWNLOAD_RESULT = "jsb-chorales-quarter.json"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.EXAMPLE_DIR = tempfile.mkdtemp()
        pieces = [[[[pitch, pitch + 4], [], [pitch]], [[pitch]]] for pitch in (60, 62, 64)]
        content = dict(zip(("train", "valid", "test"), pieces, strict=True))
        Path(cls.EXAMPLE_DIR, cls.DL_DOWNLOAD_RESULT).write_text(json.dumps(content))

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.EXAMPLE_DIR)


class Jsb16thTest(JsbQuarterTest):
    """The same on the file with voices."""

    BUILDER_CONFIG_NAMES_TO_TEST = ("jsb_16th",)
    DL_DOWNLOAD_RESULT = "Jsb16thSeparated.json"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        pieces = [[[[pitch, 60, -1, 40]] * 3, [[pitch, 60, 55, 40]]] for pitch in (60, 62, 64)]
        content = dict(zip(("train", "valid", "test"), pieces, strict=True))
        Path(cls.EXAMPLE_DIR, cls.DL_DOWNLOAD_RESULT).write_text(json.dumps(content))


def prepare(config: str, data_dir: Path, manual_dir: Path | None = None) -> tfds.core.DatasetBuilder:
    builder = bach_multihot.Builder(config=config, data_dir=data_dir)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    return builder


def decoded(builder: tfds.core.DatasetBuilder, split: str) -> Iterator[sources.Example]:
    for example in tfds.as_numpy(builder.as_dataset(split=split)):
        yield {key: value.decode() if isinstance(value, bytes) else value for key, value in example.items()}


def test_chorales_are_written_as_the_source_gives_them(tmp_path, few_chorales):
    builder = prepare("chorales_8th", tmp_path)
    assert builder.info.metadata["sounding_shift"] == 0
    assert builder.info.metadata["notes"] > builder.info.metadata["vanished"]
    for split in SPLITS:
        found = {example["id"]: example for example in decoded(builder, split)}
        assert set(found) == set(few_chorales[split])
        expected, _ = sources.chorale_examples(few_chorales[split], builder.builder_config.timestep)
        for example in expected:
            assert_equal(found[example["id"]], example | {"family": f"tune of {example['id']}"})


@pytest.mark.parametrize(
    ("name", "file", "read", "shift", "sizes"),
    [
        (
            "jsb_quarter",
            "jsb-chorales-quarter.json",
            sources.jsb_quarter_examples,
            -12,
            [(229, 13807), (76, 4602), (77, 4725)],
        ),
        (
            "jsb_16th",
            "Jsb16thSeparated.json",
            sources.jsb_16th_examples,
            0,
            [(229, 55228), (76, 18408), (77, 18900)],
        ),
    ],
)
def test_a_benchmark_is_its_file(tmp_path, jsb_dir, name, file, read, shift, sizes):
    builder = prepare(name, tmp_path, jsb_dir)
    assert builder.info.metadata["sounding_shift"] == shift
    expected = read((jsb_dir / file).read_text())
    found_sizes = []
    for split in SPLITS:
        found = {example["id"]: example for example in decoded(builder, split)}
        found_sizes.append((len(found), sum(len(example["pianoroll"]) for example in found.values())))
        for example in expected[split]:
            assert_equal(found[example["id"]], example)
    assert found_sizes == sizes
    if name == "jsb_quarter":
        assert sum(int((~example["pianoroll"].any(axis=1)).sum()) for example in expected["test"]) == 17


def assert_equal(found: sources.Example, expected: sources.Example) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)
        if isinstance(value, np.ndarray):
            assert found[key].dtype == value.dtype
