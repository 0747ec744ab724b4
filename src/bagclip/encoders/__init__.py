"""Encoders: an image becomes a bag of regions, a document a bag of sentences or words."""

from bagclip.encoders.base import Encoder, GridEncoder, ImageEncoder, TextEncoder, image_from_config, text_from_config
from bagclip.encoders.convnet import ConvNet
from bagclip.encoders.features import Features
from bagclip.encoders.text import Text
from bagclip.encoders.transformers_image import TransformersImage
from bagclip.encoders.transformers_text import TransformersText

__all__ = [
    "ConvNet",
    "Encoder",
    "Features",
    "GridEncoder",
    "ImageEncoder",
    "Text",
    "TextEncoder",
    "TransformersImage",
    "TransformersText",
    "image_from_config",
    "text_from_config",
]
