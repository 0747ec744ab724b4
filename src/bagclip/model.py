"""A model: an image encoder, a text encoder and a method."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from bagclip import encoders, segments, weights
from bagclip.bags import Bag
from bagclip.data.batches import Loader, chunks, join
from bagclip.data.features import ArrayFeatures
from bagclip.data.sentences import split
from bagclip.data.study import ArrayImage, Image, Study
from bagclip.encoders import GridEncoder, ImageEncoder, TextEncoder
from bagclip.engine import matrix
from bagclip.losses import Known
from bagclip.method import Method
from bagclip.preprocess import Geometry

if TYPE_CHECKING:
    from jaxtyping import Float, Int64


class Model(nn.Module):
    """Aligns images with documents: encodes both as bags and scores their match.

    Args:
        image_encoder: makes each image a bag of regions.
        text_encoder: makes each document a bag of sentences or words, of the same dim.
        method: the score to rank with and the loss to learn with.

    Raises:
        ValueError: if the encoders' dims differ.

    Example:
        >>> import numpy as np
        >>> from bagclip import methods
        >>> from bagclip.encoders import ConvNet, Text
        >>> model = Model(ConvNet(dim=32, size=64), Text(dim=32), methods.lse_nl(dim=32))
        >>> model.text_encoder.fit(["No pneumothorax. Small left effusion."])
        >>> images = model.encode_images([np.zeros((64, 64), np.uint8), np.zeros((80, 64), np.uint8)])
        >>> documents = model.encode_documents(["No pneumothorax. Small left effusion."])
        >>> model.score(images, documents).shape
        torch.Size([2, 1])
        >>> model.ground(np.zeros((80, 64), np.uint8), "small left effusion").shape
        (80, 64)
    """

    def __init__(self, image_encoder: ImageEncoder, text_encoder: TextEncoder, method: Method) -> None:
        super().__init__()
        if image_encoder.dim != text_encoder.dim:
            raise ValueError(
                f"the image encoder gives regions of dim {image_encoder.dim}, the text encoder sentences of dim "
                f"{text_encoder.dim}; build both with one dim."
            )
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.method = method

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(
        self,
        inputs: Float[Tensor, "inputs ..."],
        counts: Sequence[int],
        documents: Sequence[Sequence[str]],
        known: Known | None = None,
    ) -> Float[Tensor, ""]:
        """The method's loss for a batch of pairs.

        Args:
            inputs: what the image encoder read of every study: the pixels of its views, in [0, 1], or rows of features.
            counts: how many of them each study has.
            documents: the sentences of each study.
            known: what else is known about the pairs.
        """
        return self.method.loss(self.regions(inputs, counts), self.text_encoder(documents), known)

    def regions(self, inputs: Float[Tensor, "inputs ..."], counts: Sequence[int]) -> Bag:
        """The bag of regions of each study: those of its images, one after the other."""
        return self.image_encoder.bags(inputs, counts)

    @torch.no_grad()
    def encode_studies(self, studies: Sequence[Study], batch_size: int = 64) -> tuple[Bag, Bag]:
        """Regions of the images and instances of the documents of studies, on the CPU."""
        if not len(studies):
            raise ValueError("there are no studies to encode; give at least one.")
        images, documents = [], []
        with _evaluating(self):
            loader = Loader(studies, self.image_encoder.read, memory=0)
            for batch in loader.batches(chunks(len(studies), batch_size)):
                images.append(self.regions(batch.inputs.to(self.device), batch.counts).to("cpu"))
                documents.append(self.text_encoder(batch.documents).to("cpu"))
        return Bag.concatenate(images), Bag.concatenate(documents)

    @torch.no_grad()
    def encode_images(self, images: Iterable[Image | np.ndarray], batch_size: int = 64) -> Bag:
        """Regions of single images, on the CPU: lazily read ones, 8-bit arrays, or float matrices of features."""
        bags, items = [], [_image(image) for image in images]
        if not items:
            raise ValueError("there are no images to encode; give at least one.")
        with _evaluating(self):
            for indices in chunks(len(items), batch_size):
                inputs = [self.image_encoder.read(items[i]) for i in indices]
                bags.append(self.regions(join(inputs).to(self.device), [len(part) for part in inputs]).to("cpu"))
        return Bag.concatenate(bags)

    @torch.no_grad()
    def encode_documents(self, documents: Sequence[str | Sequence[str]], batch_size: int = 256) -> Bag:
        """Bags of documents, which are texts (and are split) or lists of sentences, on the CPU."""
        lists = [
            [text[start:end] for start, end in split(text)] if isinstance(text, str) else list(text)
            for text in documents
        ]
        if not lists:
            raise ValueError("there are no documents to encode; give at least one.")
        with _evaluating(self):
            bags = [
                self.text_encoder([lists[i] for i in indices]).to("cpu") for indices in chunks(len(lists), batch_size)
            ]
        return Bag.concatenate(bags)

    @torch.no_grad()
    def score(self, images: Bag, documents: Bag, memory: float = 0.5) -> Float[Tensor, "images documents"]:
        """Score of every image with every document, on the CPU.

        Args:
            images: regions.
            documents: sentences.
            memory: about how many gigabytes to take on the device, beside the images and documents of a block.
        """
        table = torch.empty(len(images), len(documents))
        for rows, columns, scores in self._blocks(images, documents, memory):
            table[rows, columns] = scores.cpu().to(table)
        return table

    @torch.no_grad()
    def top(
        self, images: Bag, documents: Bag, k: int = 10, memory: float = 0.5
    ) -> tuple[Float[Tensor, "images k"], Int64[Tensor, "images k"]]:
        """The documents that each image scores highest with, without the table of all scores; on the CPU.

        Args:
            images: regions.
            documents: sentences.
            k: how many, at most the number of documents.
            memory: see `score`.

        Returns:
            Scores from high to low, and the documents they are of; of equal scores the first document comes first.

        Raises:
            ValueError: if there are not k documents.

        Example:
            >>> from bagclip import methods
            >>> from bagclip.encoders import ConvNet, Text
            >>> model = Model(ConvNet(dim=8, size=64, width=4), Text(dim=8, width=8), methods.lse())
            >>> scores, found = model.top(Bag.dense(torch.randn(3, 5, 8)), Bag.dense(torch.randn(20, 2, 8)), k=4)
            >>> found.shape
            torch.Size([3, 4])
        """
        if not 1 <= k <= len(documents):
            raise ValueError(f"k is between 1 and the number of documents, {len(documents)}, got {k}.")
        best = torch.full((len(images), k), float("-inf"))
        found = torch.full((len(images), k), len(documents))
        for rows, columns, scores in self._blocks(images, documents, memory):
            indices = torch.arange(columns.start, columns.stop).expand(scores.shape)
            values = torch.cat([best[rows], scores.cpu().to(best)], 1)
            indices = torch.cat([found[rows], indices], 1)
            order = values.argsort(dim=1, descending=True, stable=True)[:, :k]
            best[rows], found[rows] = values.gather(1, order), indices.gather(1, order)
        return best, found

    def _blocks(self, images: Bag, documents: Bag, memory: float) -> Iterator[tuple[slice, slice, Tensor]]:
        """Scores of some images with some documents after others, columns after columns for the same rows."""
        if not memory > 0:
            raise ValueError(f"memory is a positive number of gigabytes, got {memory!r}.")
        similarities = max(1, int(memory * 2**30) // 32)  # a score holds a few tensors of that size
        with _evaluating(self):
            across = list(documents.split(256))
            widest = max(len(column.instances) for column in across)
            top = 0
            for block in images.split(max(1, similarities // (int(images.lengths.max()) * widest))):
                rows, left = slice(top, top + len(block)), 0
                top = rows.stop
                moved = block.to(self.device)
                for column in across:
                    columns = slice(left, left + len(column))
                    left = columns.stop
                    yield rows, columns, matrix(self.method.score, moved, column.to(self.device))

    @torch.no_grad()
    def region_map(self, image: Bag, phrases: Bag) -> Float[Tensor, "phrases views rows columns"]:
        """Where each phrase, a bag of its own, is seen in one image bag, on the grid of its regions.

        The map of a phrase of several instances, of words, say, is the mean of theirs.
        """
        if len(image) != 1 or image.grid is None:
            raise ValueError(
                f"a region map is of one image on a grid, got {len(image)} bags and grid {image.grid}; which of any "
                f"regions answer a phrase is told by model.method.score.region_map(images, phrases)."
            )
        with _evaluating(self):
            values = self.method.score.region_map(image.to(self.device), phrases.to(self.device)).cpu()
        return segments.mean(values, phrases.lengths, dim=1).T.reshape(len(phrases), -1, *image.grid)

    def ground(self, image: Image | np.ndarray, phrase: str) -> Float[np.ndarray, "height width"]:
        """Where a phrase is seen, in pixels of the original image; NaN where the encoder does not look.

        Args:
            image: 8-bit (height, width) or (height, width, 3).
            phrase: one sentence, taken as it is.
        """
        item = _image(image)
        geometry = self.geometry(item)
        values = self.region_map(self.encode_images([item]), self.encode_documents([[phrase]]))
        return geometry.to_original(values[0, 0]).numpy()

    def geometry(self, image: Image) -> Geometry:
        """How the pixels of an image lie in the encoder's input; ``ValueError`` if there are none."""
        if not isinstance(self.image_encoder, GridEncoder):
            raise ValueError(
                f"the image encoder {type(self.image_encoder).__name__} reads no pixels, so there are none to show a "
                f"phrase in; which regions answer it is told by model.method.score.region_map(images, phrases)."
            )
        return self.image_encoder.preprocess.geometry(*image.size)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write a model folder: config.json, model.safetensors and the files of the encoders (tokenizer)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for encoder in (self.image_encoder, self.text_encoder):
            encoder.save_files(folder)
        config = {
            "library_name": "bagclip",
            "image_encoder": self.image_encoder.config(),
            "text_encoder": self.text_encoder.config(),
            "method": self.method.config(),
        }
        weights.write(folder / "config.json", json.dumps(config, indent=2).encode())
        weights.save(folder / "model.safetensors", weights.tensors(self), {"format": "pt"})

    @classmethod
    def from_pretrained(cls, name: str | Path) -> Model:
        """Load a model folder, a run folder (its best model), or a model of the hub by name.

        Raises:
            FileNotFoundError: if there is no model folder of that name and no hub model could be found.
            ValueError: if its weights are damaged or do not fit its config.
        """
        folder = _folder(name)
        config = json.loads((folder / "config.json").read_text())
        if config.get("library_name") != "bagclip":
            raise ValueError(f"{folder} holds no bagclip model: its config.json does not say library_name bagclip.")
        model = cls(
            encoders.image_from_config(config["image_encoder"], folder),
            encoders.text_from_config(config["text_encoder"], folder),
            Method.from_config(config["method"]),
        )
        saved, _ = weights.load(folder / "model.safetensors")
        weights.restore(model, saved, str(folder / "model.safetensors"))
        return model.eval()


def _image(image: Image | np.ndarray) -> Image:
    if not isinstance(image, np.ndarray):
        return image
    return ArrayFeatures(image) if image.dtype.kind == "f" else ArrayImage(image)


def _folder(name: str | Path) -> Path:
    """The model folder a name stands for."""
    for folder in (Path(name), Path(name) / "model"):
        if (folder / "config.json").is_file():
            return folder
    if Path(name).parent.is_dir() or len(Path(name).parts) != 2:
        raise FileNotFoundError(f"{name} is no model folder: neither it nor its folder 'model' has a config.json.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(name), allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"]))
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise FileNotFoundError(f"{name} is neither a folder here nor a model that the hub gave: {reason}") from error


class _evaluating:
    """Evaluation mode for a while."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __enter__(self) -> None:
        self.was = self.model.training
        self.model.eval()

    def __exit__(self, *_: object) -> None:
        self.model.train(self.was)
