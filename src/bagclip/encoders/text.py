"""A small text transformer whose word pieces are learned from the user's own documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from bagclip.encoders.base import Granularity, TextEncoder, checked_granularity
from bagclip.encoders.tokens import Pooling, encode_by_length, pool, words_by_length

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int64
    from tokenizers import Encoding, Tokenizer

    from bagclip.bags import Bag

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


class Text(TextEncoder):
    """A pre-norm transformer (Xiong et al., 2020) over lower-cased word pieces.

    ``fit`` must see the documents before the first sentence is encoded; training does it.

    Args:
        dim: size of an instance's feature.
        vocabulary: the most word pieces that are learned.
        width: size of a token inside the transformer.
        layers: transformer layers.
        heads: attention heads; they divide the width.
        max_tokens: what a sentence, or a document that is one instance, is cut off at, two special tokens included.
        pooling: "mean" of the tokens, or the first token ("cls"); words are always the mean of their own pieces.
        dropout: in training, of attention, hidden units and residuals.
        granularity: what an instance is: "sentences", "words" (marks such as a full stop are words too) or "document".

    Example:
        >>> text = Text(dim=64)
        >>> text.fit(["Small left pleural effusion. No pneumothorax."])
        >>> bag = text([["small left pleural effusion", "no pneumothorax"], ["no pneumothorax"]])
        >>> bag.lengths.tolist(), bag.dim
        ([2, 1], 64)
    """

    def __init__(
        self,
        dim: int = 128,
        *,
        vocabulary: int = 4096,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        max_tokens: int = 64,
        pooling: Pooling = "mean",
        dropout: float = 0.1,
        granularity: Granularity = "sentences",
    ) -> None:
        super().__init__()
        self.dim, self.vocabulary, self.width, self.layers, self.heads = dim, vocabulary, width, layers, heads
        self.max_tokens, self.pooling, self.dropout = max_tokens, pooling, dropout
        self.granularity = checked_granularity(granularity)
        self.tokenizer: Tokenizer | None = None

        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(max_tokens, width)
        self.embedding = nn.Sequential(nn.LayerNorm(width), nn.Dropout(dropout))
        # Not nn.TransformerEncoder: it copies one layer, so that all would start from the same weights.
        self.transformer = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, dim)
        for table in (self.tokens, self.positions):
            nn.init.normal_(table.weight, std=0.02)
        nn.init.xavier_uniform_(self.project.weight)

    def fit(self, documents: Iterable[str]) -> None:
        """Learn word pieces from documents; the same documents in any order give the same ones."""
        if self.tokenizer is None:
            self.tokenizer = _train_word_pieces(list(documents), self.vocabulary, self.max_tokens)

    def encode(self, texts: Sequence[str]) -> Float[Tensor, "texts dim"]:
        """One vector a text."""
        tokens = [encoding.ids for encoding in self._encodings(texts)]
        return encode_by_length(tokens, self._encode_tokens, 0, self.tokens.weight.device)

    def encode_words(self, texts: Sequence[str]) -> Bag:
        """The words of each text, one bag a text."""
        encodings = self._encodings(texts)
        tokens, words = [encoding.ids for encoding in encodings], [encoding.word_ids for encoding in encodings]
        bag = words_by_length(tokens, words, self._states, 0, self.tokens.weight.device)
        return bag.with_instances(self.project(bag.instances))

    def _encodings(self, texts: Sequence[str]) -> list[Encoding]:
        encodings = self._fitted().encode_batch(list(texts))
        for encoding in encodings:
            if encoding.overflowing:
                self._count_truncated(self.max_tokens)
        return encodings

    def _encode_tokens(
        self, ids: Int64[Tensor, "texts tokens"], mask: Bool[Tensor, "texts tokens"]
    ) -> Float[Tensor, "texts dim"]:
        return self.project(pool(self._states(ids, mask), mask, self.pooling))

    def _states(
        self, ids: Int64[Tensor, "texts tokens"], mask: Bool[Tensor, "texts tokens"]
    ) -> Float[Tensor, "texts tokens width"]:
        states = self.embedding(self.tokens(ids) + self.positions.weight[: ids.shape[1]])
        for layer in self.transformer:
            states = layer(states, src_key_padding_mask=~mask)
        return self.norm(states)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("dim", "vocabulary", "width", "layers", "heads", "max_tokens", "pooling", "dropout", "granularity")
        return {"class": "Text", **{name: getattr(self, name) for name in names}}

    def save_files(self, folder: Path) -> None:
        """Write tokenizer.json."""
        self._fitted().save(str(folder / "tokenizer.json"))

    def load_files(self, folder: Path) -> None:
        """Read tokenizer.json."""
        from tokenizers import Tokenizer

        path = folder / "tokenizer.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist; a saved Text encoder has its word pieces there.")
        self.tokenizer = Tokenizer.from_file(str(path))

    def _fitted(self) -> Tokenizer:
        if self.tokenizer is None:
            raise RuntimeError("this Text encoder has no vocabulary yet; call fit(documents), or train the model.")
        return self.tokenizer


def _train_word_pieces(documents: Sequence[str], vocabulary: int, max_tokens: int) -> Tokenizer:
    """A lower-casing WordPiece tokenizer (Wu et al., 2016), the same in every process."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    normalizer = normalizers.BertNormalizer(lowercase=True)
    counts: Counter[str] = Counter()
    for document in documents:
        counts.update("".join(normalizer.normalize_str(document).split()))
    if not counts:
        raise ValueError(f"cannot learn a vocabulary: there is no text in {len(documents)} documents.")
    # The trainer numbers characters in the order of a randomly seeded hash table and breaks ties by these numbers.
    # Given as special tokens, they come first and in our order. At most a quarter of the vocabulary is spent on
    # them, as some scripts have thousands.
    frequent = sorted(counts, key=lambda character: (-counts[character], character))[: vocabulary // 8]
    alphabet = [prefix + character for prefix in ("", "##") for character in sorted(frequent)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=SPECIAL + alphabet,
        limit_alphabet=0,
        show_progress=False,
    )
    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.normalizer, learner.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    learner.train_from_iterator(documents, trainer)

    # Made anew, because the learner would take every letter for a special token.
    tokenizer = Tokenizer(models.WordPiece(learner.get_vocab(), unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = learner.normalizer, learner.pre_tokenizer
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, SPECIAL.index(token)) for token in ("[CLS]", "[SEP]")]
    )
    tokenizer.enable_truncation(max_tokens)
    return tokenizer
