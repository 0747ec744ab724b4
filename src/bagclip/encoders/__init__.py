"""Encoders: an image becomes a grid of regions, a document a bag of sentences."""

from bagclip.encoders.base import Encoder, ImageEncoder, TextEncoder, image_from_config, text_from_config
from bagclip.encoders.convnet import ConvNet
from bagclip.encoders.text import Text
from bagclip.encoders.transformers_image import TransformersImage
from bagclip.encoders.transformers_text import TransformersText

__all__ = [
    "ConvNet",
    "Encoder",
    "ImageEncoder",
    "Text",
    "TextEncoder",
    "TransformersImage",
    "TransformersText",
    "image_from_config",
    "text_from_config",
]
