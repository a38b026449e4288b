"""Distributions over one frame: the heart of every model here."""

from bachkeras.layers.frame.base import Draw, FrameDistribution
from bachkeras.layers.frame.chained import ChainedVoices
from bachkeras.layers.frame.independent import IndependentNotes

__all__ = ["ChainedVoices", "Draw", "FrameDistribution", "IndependentNotes"]
