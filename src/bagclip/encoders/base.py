"""What every encoder promises: an image becomes a bag of regions, a document a bag of sentences or words."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from bagclip import segments
from bagclip.bags import Bag
from bagclip.data.study import Image
from bagclip.preprocess import Preprocess

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped, UInt8

log = logging.getLogger("bagclip")

Granularity = Literal["sentences", "words", "document"]


class Encoder(nn.Module, ABC):
    """Half of a model: it can be rebuilt from its ``config()`` and the files in its folder, without a network.

    ``dim`` is the size of an instance. Subclasses are found by their class name, yours too once they are imported.
    """

    dim: int
    classes: ClassVar[dict[str, type[Encoder]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Encoder.classes[cls.__name__] = cls

    def pretrained(self) -> list[nn.Module]:
        """The parts that were learned before, elsewhere; training treats them with more care than fresh ones."""
        return []

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The class name under "class" and what ``from_config`` needs, as plain values for a JSON file."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Encoder:
        """The same architecture with fresh weights; by default the config holds the constructor's arguments."""
        arguments = {key: value for key, value in config.items() if key != "class"}
        if "preprocess" in arguments:
            arguments["preprocess"] = Preprocess.from_dict(arguments["preprocess"])
        return cls(**arguments)

    def save_files(self, folder: Path) -> None:
        """Write what is neither config nor weights, a tokenizer, say."""

    def load_files(self, folder: Path) -> None:
        """Read what ``save_files`` wrote."""


class ImageEncoder(Encoder):
    """An encoder of images: ``read`` makes an input of each, ``bags`` encodes the inputs of several studies."""

    @abstractmethod
    def read(self, image: Image) -> Shaped[Tensor, "inputs ..."]:
        """What is taken of one image, for a loader to keep and join: 8-bit pixels, or features as floats."""

    @abstractmethod
    def bags(self, inputs: Float[Tensor, "inputs ..."], counts: Sequence[int]) -> Bag:
        """One bag a study.

        Args:
            inputs: what was read of all images, one after the other; pixels now in [0, 1].
            counts: how many inputs each study has.
        """


class GridEncoder(ImageEncoder):
    """An encoder of pixels, whose regions lie on a grid; ``preprocess`` makes its input and travels with it."""

    preprocess: Preprocess

    @abstractmethod
    def forward(
        self, pixels: Float[Tensor, "images channels height width"]
    ) -> Float[Tensor, "images rows columns dim"]:
        """Regions of pixels in [0, 1], on a grid whose cells divide the input evenly; it normalises them itself."""

    def read(self, image: Image) -> UInt8[Tensor, "1 channels height width"]:
        """The pixels of one image as an input."""
        return self.preprocess(image.pixels())[0][None]

    def bags(self, inputs: Float[Tensor, "images channels height width"], counts: Sequence[int]) -> Bag:
        """One bag a study: the grids of its images, one after the other."""
        grid = self(inputs)
        rows, columns = grid.shape[1:3]
        return Bag(grid.flatten(0, 2), torch.tensor(counts) * (rows * columns), (rows, columns))


class TextEncoder(Encoder):
    """An encoder of documents; its ``granularity`` is what an instance of a document's bag is.

    "sentences": each sentence. "words": each word of each sentence, read in its sentence. "document": the whole of it,
    its sentences joined by a space, so that every bag has one instance.

    ``truncated`` counts the texts (sentences, or documents) that were longer than the encoder can read; the first one
    also warns.
    """

    granularity: Granularity = "sentences"
    truncated: int = 0

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> Float[Tensor, "texts dim"]:
        """One vector a text, whatever the other texts are."""

    def encode_words(self, texts: Sequence[str]) -> Bag:
        """The words of each text, one bag a text, whatever the other texts are."""
        raise NotImplementedError(f"{type(self).__name__} does not tell words apart; choose another granularity.")

    def fit(self, documents: Iterable[str]) -> None:
        """Learn a vocabulary from documents, if there is none yet."""

    def forward(self, documents: Sequence[Sequence[str]]) -> Bag:
        """Bags of sentences or words, in order, or of one instance each.

        A text that occurs again is encoded once (with one dropout mask).

        Raises:
            ValueError: if there is no document, one is a string or has no sentence, or a sentence is blank.
        """
        if not documents:
            raise ValueError("there are no documents; give at least one list of sentences.")
        known: dict[str, int] = {}
        rows: list[int] = []
        for i, document in enumerate(documents):
            if isinstance(document, str):
                raise ValueError(f"document {i} is one string, {document[:40]!r}; give the list of its sentences.")
            if not document:
                raise ValueError(f"document {i} has no sentence; a bag needs at least one to have a score.")
            for j, sentence in enumerate(document):
                if not sentence.strip():
                    raise ValueError(f"sentence {j} of document {i} is blank; leave it out.")
            texts = [" ".join(document)] if self.granularity == "document" else document
            rows += [known.setdefault(text, len(known)) for text in texts]
        bags = self._encode_bags(list(known)).select(rows)
        if self.granularity == "document":
            return bags
        counts = torch.tensor([len(document) for document in documents])
        return Bag(bags.instances, segments.sum(bags.lengths, counts))

    def _encode_bags(self, texts: list[str]) -> Bag:
        """One bag a text."""
        if self.granularity == "words":
            return self.encode_words(texts)
        return Bag(self.encode(texts), torch.ones(len(texts), dtype=torch.int64))

    def _count_truncated(self, max_tokens: int) -> None:
        # The text itself is not told: logs hold nothing that somebody wrote about a patient.
        if not self.truncated:
            what = "document" if self.granularity == "document" else "sentence"
            log.warning(
                "a %s has more than %d tokens and only its beginning is read; raise max_tokens or split such "
                "%ss. Later ones are counted in .truncated.",
                what,
                max_tokens,
                what,
            )
        self.truncated += 1


def checked_granularity(name: str) -> Granularity:
    """The granularity of that name; ``ValueError`` if there is none."""
    for granularity in get_args(Granularity):
        if name == granularity:
            return granularity
    raise ValueError(f"granularity must be one of {', '.join(get_args(Granularity))}, got {name!r}.")


def image_from_config(config: Mapping[str, Any], folder: Path) -> ImageEncoder:
    """The image encoder of a ``config()`` and its folder, weights aside."""
    encoder = _from_config(config, folder)
    if not isinstance(encoder, ImageEncoder):
        raise ValueError(f"{config['class']} in {folder} is no image encoder.")
    return encoder


def text_from_config(config: Mapping[str, Any], folder: Path) -> TextEncoder:
    """The text encoder of a ``config()`` and its folder, weights aside."""
    encoder = _from_config(config, folder)
    if not isinstance(encoder, TextEncoder):
        raise ValueError(f"{config['class']} in {folder} is no text encoder.")
    return encoder


def _from_config(config: Mapping[str, Any], folder: Path) -> Encoder:
    name = config.get("class")
    if name not in Encoder.classes:
        raise ValueError(
            f"the model in {folder} has an encoder of class {name!r}; known are {', '.join(sorted(Encoder.classes))}. "
            f"Import the module that defines it first."
        )
    encoder = Encoder.classes[name].from_config(config)
    encoder.load_files(folder)
    return encoder
