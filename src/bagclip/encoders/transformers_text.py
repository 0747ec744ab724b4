"""Any sentence-reading model of transformers: the BERT family, CXR-BERT, ModernBERT, MiniLM and others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from bagclip.encoders.base import Pooling, TextEncoder, encode_by_length, pool
from bagclip.encoders.hub import Source, load_model, load_tokenizer, plain_config, projection

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int64
    from transformers import PreTrainedTokenizerBase


class TransformersText(TextEncoder):
    """A transformers text model, one vector a sentence, and a linear projection.

    Args:
        model: hub name or folder, or the model's configuration as a dict (then with fresh weights, and its tokenizer
            is still to be read by ``load_files``).
        dim: size of a sentence's feature. The projection to it starts as the identity if the model has that size,
            otherwise orthogonal.
        pooling: the first token ("cls") or the "mean" of the tokens, as the model was trained.
        max_tokens: what a sentence is cut off at, special tokens included.
        pretrained: with its weights, or with fresh ones.

    Raises:
        OSError: if the weights are not safetensors; the message says how to convert them.
        ValueError: if the model cannot be built without its publisher's code, has no first token to pool by, or
            reads fewer than ``max_tokens``.
    """

    def __init__(
        self,
        model: Source,
        dim: int = 512,
        *,
        pooling: Pooling = "cls",
        max_tokens: int = 128,
        pretrained: bool = True,
    ) -> None:
        super().__init__()
        self.model = load_model(model, pretrained)
        self._pretrained = pretrained and not isinstance(model, Mapping)
        self.tokenizer = None if isinstance(model, Mapping) else _usable(load_tokenizer(model), pooling)
        longest = getattr(self.model.config, "max_position_embeddings", max_tokens)
        if max_tokens > longest:
            raise ValueError(f"this {self.model.config.model_type!r} model reads {longest} tokens, not {max_tokens}.")
        self.dim, self.pooling, self.max_tokens = dim, pooling, max_tokens
        self.project = projection(self.model.config.hidden_size, dim)

    def encode(self, sentences: Sequence[str]) -> Float[Tensor, "sentences dim"]:
        """One vector a sentence."""
        return self.project(self.pooled(sentences))

    def pooled(self, sentences: Sequence[str]) -> Float[Tensor, "sentences width"]:
        """What the model itself makes of each sentence, before the projection."""
        if self.tokenizer is None:
            raise RuntimeError("this TransformersText has no tokenizer yet; call load_files(folder).")
        tokens = self.tokenizer(list(sentences), verbose=False)["input_ids"]
        for i, ids in enumerate(tokens):
            if len(ids) > self.max_tokens:
                self._count_truncated(self.max_tokens)
                tokens[i] = self.tokenizer(sentences[i], truncation=True, max_length=self.max_tokens)["input_ids"]
        return encode_by_length(tokens, self._pool_tokens, self.tokenizer.pad_token_id or 0, self.model.device)

    def _pool_tokens(
        self, ids: Int64[Tensor, "sentences tokens"], mask: Bool[Tensor, "sentences tokens"]
    ) -> Float[Tensor, "sentences width"]:
        states = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return pool(states, mask, self.pooling)

    def pretrained(self) -> list[nn.Module]:
        """The model, unless its weights are fresh."""
        return [self.model] if self._pretrained else []

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, with the model's configuration for its name."""
        return {
            "class": "TransformersText",
            "model": plain_config(self.model),
            "dim": self.dim,
            "pooling": self.pooling,
            "max_tokens": self.max_tokens,
        }

    def save_files(self, folder: Path) -> None:
        """Write the tokenizer to the folder ``tokenizer``."""
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder / "tokenizer")

    def load_files(self, folder: Path) -> None:
        """Read the tokenizer."""
        path = folder / "tokenizer"
        if not path.is_dir():
            raise FileNotFoundError(f"{path} does not exist; a saved TransformersText has its tokenizer there.")
        self.tokenizer = _usable(load_tokenizer(path), self.pooling)


def _usable(tokenizer: PreTrainedTokenizerBase, pooling: Pooling) -> PreTrainedTokenizerBase:
    if pooling == "cls" and tokenizer.cls_token_id is None:
        raise ValueError(f"a {type(tokenizer).__name__} puts no [CLS] before a sentence; set pooling='mean'.")
    return tokenizer
