"""What every encoder promises: an image becomes a grid of regions, a document a bag of sentences."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from bagclip.bags import Bag
from bagclip.preprocess import Preprocess

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int64

log = logging.getLogger("bagclip")

Pooling = Literal["mean", "cls"]


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
    """An encoder of images; ``preprocess`` makes its input and travels with it."""

    preprocess: Preprocess

    @abstractmethod
    def forward(
        self, pixels: Float[Tensor, "images channels height width"]
    ) -> Float[Tensor, "images rows columns dim"]:
        """Regions of pixels in [0, 1], on a grid whose cells divide the input evenly; it normalises them itself."""


class TextEncoder(Encoder):
    """An encoder of documents, one instance a sentence.

    ``truncated`` counts the sentences that were longer than the encoder can read; the first one also warns.
    """

    truncated: int = 0

    @abstractmethod
    def encode(self, sentences: Sequence[str]) -> Float[Tensor, "sentences dim"]:
        """One vector a sentence, whatever the other sentences are."""

    def fit(self, documents: Iterable[str]) -> None:
        """Learn a vocabulary from documents, if there is none yet."""

    def forward(self, documents: Sequence[Sequence[str]]) -> Bag:
        """Bags of sentences, in order; a sentence that occurs again is encoded once (with one dropout mask).

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
                rows.append(known.setdefault(sentence, len(known)))
        vectors = self.encode(list(known))
        lengths = torch.tensor([len(document) for document in documents])
        return Bag(vectors[torch.tensor(rows, device=vectors.device)], lengths)

    def _count_truncated(self, max_tokens: int) -> None:
        # The sentence itself is not told: logs hold nothing that somebody wrote about a patient.
        if not self.truncated:
            log.warning(
                "a sentence has more than %d tokens and only its beginning is read; raise max_tokens or split such "
                "sentences. Later ones are counted in .truncated.",
                max_tokens,
            )
        self.truncated += 1


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


def encode_by_length(
    tokens: Sequence[Sequence[int]],
    encode: Callable[[Int64[Tensor, "some length"], Bool[Tensor, "some length"]], Float[Tensor, "some dim"]],
    padding: int,
    device: torch.device,
) -> Float[Tensor, "sentences dim"]:
    """Encode sentences of similar length together, so that at most seven tokens of padding are computed for one.

    Args:
        tokens: the token ids of each sentence.
        encode: (ids, mask) to vectors; the mask is True at tokens and False at padding.
        padding: id of the padding token.
        device: where to encode.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for i, ids in enumerate(tokens):
        groups[(len(ids) + 7) // 8].append(i)
    vectors = []
    for group in groups.values():
        rows = [torch.tensor(tokens[i]) for i in group]
        table = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding)
        mask = torch.arange(table.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
        vectors.append(encode(table.to(device), mask.to(device)))
    order = torch.tensor([i for group in groups.values() for i in group])
    return torch.cat(vectors)[order.argsort().to(device)]


def pool(
    states: Float[Tensor, "sentences tokens width"], mask: Bool[Tensor, "sentences tokens"], pooling: Pooling
) -> Float[Tensor, "sentences width"]:
    """One vector a sentence: its first token ("cls"), or the mean of its tokens, special ones too ("mean")."""
    if pooling == "cls":
        return states[:, 0]
    weights = mask[:, :, None].to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)
