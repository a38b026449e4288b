"""Bach's chorales as multi-hot piano rolls: a TensorFlow Datasets builder."""

from bach_multihot.bach_multihot_dataset_builder import Builder as Builder
