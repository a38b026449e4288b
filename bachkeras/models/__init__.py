"""The models. Importing this package registers them, so that `keras.saving.load_model` knows them."""

from bachkeras.layers.frame import ChainedVoices, IndependentNotes
from bachkeras.layers.quantizer import VectorQuantizer
from bachkeras.models.code_prior import CodePrior
from bachkeras.models.hierarchical_vae import HierarchicalVAE
from bachkeras.models.lstm_attention import LSTMAttention
from bachkeras.models.lstm_gan import LSTMGAN
from bachkeras.models.lstm_vae import LSTMVAE
from bachkeras.models.vq_vae import VQVAE

__all__ = [
    "LSTMGAN",
    "LSTMVAE",
    "VQVAE",
    "ChainedVoices",
    "CodePrior",
    "HierarchicalVAE",
    "IndependentNotes",
    "LSTMAttention",
    "VectorQuantizer",
]
