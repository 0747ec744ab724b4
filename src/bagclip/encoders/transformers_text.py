"""Any sentence-reading model of transformers: the BERT family, CXR-BERT, ModernBERT, MiniLM and others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from bagclip.encoders.base import Granularity, TextEncoder, checked_granularity
from bagclip.encoders.hub import Source, load_model, load_tokenizer, plain_config, projection
from bagclip.encoders.tokens import Pooling, encode_by_length, pool, words_by_length

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int64
    from transformers import PreTrainedTokenizerBase

    from bagclip.bags import Bag


class TransformersText(TextEncoder):
    """A transformers text model and a linear projection of its last hidden state.

    Args:
        model: hub name or folder, or the model's configuration as a dict (then with fresh weights, and its tokenizer
            is still to be read by ``load_files``).
        dim: size of an instance's feature. The projection to it starts as the identity if the model has that size,
            otherwise orthogonal.
        pooling: the first token ("cls") or the "mean" of the tokens, as the model was trained; words are always the
            mean of their own pieces.
        max_tokens: what a sentence, or a document that is one instance, is cut off at, special tokens included.
        pretrained: with its weights, or with fresh ones.
        granularity: what an instance is: "sentences", "words" (as its tokenizer divides a text before it looks for
            pieces: in the BERT family marks such as a full stop are words too) or "document".

    Raises:
        OSError: if the weights are not safetensors; the message says how to convert them.
        ValueError: if the model cannot be built without its publisher's code, has no first token to pool by, reads
            fewer than ``max_tokens``, or cannot tell words apart and should.
    """

    def __init__(
        self,
        model: Source,
        dim: int = 512,
        *,
        pooling: Pooling = "cls",
        max_tokens: int = 128,
        pretrained: bool = True,
        granularity: Granularity = "sentences",
    ) -> None:
        super().__init__()
        self.granularity, self.pooling = checked_granularity(granularity), pooling
        self.model = load_model(model, pretrained)
        self._pretrained = pretrained and not isinstance(model, Mapping)
        self.tokenizer = None if isinstance(model, Mapping) else self._usable(load_tokenizer(model))
        longest = getattr(self.model.config, "max_position_embeddings", max_tokens)
        if max_tokens > longest:
            raise ValueError(f"this {self.model.config.model_type!r} model reads {longest} tokens, not {max_tokens}.")
        self.dim, self.max_tokens = dim, max_tokens
        self.project = projection(self.model.config.hidden_size, dim)

    def encode(self, texts: Sequence[str]) -> Float[Tensor, "texts dim"]:
        """One vector a text."""
        return self.project(self.pooled(texts))

    def encode_words(self, texts: Sequence[str]) -> Bag:
        """The words of each text, one bag a text."""
        tokens, words = self._tokens(texts)
        bag = words_by_length(tokens, words, self._states, self._padding, self.model.device)
        return bag.with_instances(self.project(bag.instances))

    def pooled(self, texts: Sequence[str]) -> Float[Tensor, "texts width"]:
        """What the model itself makes of each text, before the projection."""
        tokens, _ = self._tokens(texts)
        return encode_by_length(tokens, self._pool_tokens, self._padding, self.model.device)

    def _tokens(self, texts: Sequence[str]) -> tuple[list[list[int]], list[list[int | None]]]:
        """Token ids of each text and, if they matter, the words that they belong to."""
        read = self._tokenizer(list(texts), verbose=False)
        tokens = read["input_ids"]
        words = [read.word_ids(i) for i in range(len(tokens))] if self.granularity == "words" else []
        for i, ids in enumerate(tokens):
            if len(ids) > self.max_tokens:
                self._count_truncated(self.max_tokens)
                cut = self._tokenizer(texts[i], truncation=True, max_length=self.max_tokens)
                tokens[i] = cut["input_ids"]
                if words:
                    words[i] = cut.word_ids()
        return tokens, words

    @property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is None:
            raise RuntimeError("this TransformersText has no tokenizer yet; call load_files(folder).")
        return self.tokenizer

    @property
    def _padding(self) -> int:
        return self._tokenizer.pad_token_id or 0

    def _states(
        self, ids: Int64[Tensor, "texts tokens"], mask: Bool[Tensor, "texts tokens"]
    ) -> Float[Tensor, "texts tokens width"]:
        return self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state

    def _pool_tokens(
        self, ids: Int64[Tensor, "texts tokens"], mask: Bool[Tensor, "texts tokens"]
    ) -> Float[Tensor, "texts width"]:
        return pool(self._states(ids, mask), mask, self.pooling)

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
            "granularity": self.granularity,
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
        self.tokenizer = self._usable(load_tokenizer(path))

    def _usable(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        if self.granularity == "words":
            if not tokenizer.is_fast:
                raise ValueError(
                    f"a {type(tokenizer).__name__} does not tell which word a token belongs to; save the model with a "
                    f"fast tokenizer, or choose another granularity."
                )
        elif self.pooling == "cls" and tokenizer.cls_token_id is None:
            raise ValueError(f"a {type(tokenizer).__name__} puts no [CLS] before a sentence; set pooling='mean'.")
        return tokenizer
