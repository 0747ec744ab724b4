"""Data: studies, where they are read from, how they are divided and how they become tensors."""

from bagclip.data.augment import Augment
from bagclip.data.batches import Batch, Loader
from bagclip.data.feature_files import FeatureFile
from bagclip.data.features import ArrayFeatures, Features
from bagclip.data.readers import Phantom, pairs, phantom
from bagclip.data.splits import Leak, SplitLeak
from bagclip.data.studies import Rejection, Studies, Summary, TooManyRejected
from bagclip.data.study import Annotation, ArrayImage, ArrayMask, Box, Image, Mask, Sentence, Study

__all__ = [
    "Annotation",
    "ArrayFeatures",
    "ArrayImage",
    "ArrayMask",
    "Augment",
    "Batch",
    "Box",
    "FeatureFile",
    "Features",
    "Image",
    "Leak",
    "Loader",
    "Mask",
    "Phantom",
    "Rejection",
    "Sentence",
    "SplitLeak",
    "Studies",
    "Study",
    "Summary",
    "TooManyRejected",
    "pairs",
    "phantom",
]
