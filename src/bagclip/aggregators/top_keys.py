"""Non-local pooling around several keys: the regions most similar to the sentence."""

from __future__ import annotations

import torch
from torch import Tensor

from bagclip.aggregators.affinity import MixedKey, Query, Value, by_bag
from bagclip.bags import Bag
from bagclip.scale import Scale
from bagclip.similarity import Cosine


class TopKeys(MixedKey):
    """Non-local pooling whose key is the mean of the k regions most similar to the sentence by cosine.

        sum_n a_n x_n,   a = softmax_n(<q_n, (1/k) sum_{j in top k} q_j> / temperature)

    Of equal similarities the first regions are keys; in a bag of fewer than k all are. Proposed here, after LSE+NL
    (Wang et al., 2023).

    Limits: k = 1 is `NonLocal` before `Cosine`; k -> infinity attends to the mean query, whatever the sentence. For the
    others see `NonLocal`.

    Args:
        dim: size of the features.
        k: how many regions are keys.
        temperature: see `Affinity`, as all that follow.
        query: what of a region is compared with the key.
        value: what of a region is averaged.
        normalised: whether both are of l2-normalised features.
        hidden: size of the layers of the "mlp".

    Raises:
        ValueError: if k is no count of at least 1; and see `Affinity`.

    Example:
        >>> import torch
        >>> regions, sentence = Bag.from_list([torch.eye(3)]), Bag.from_list([torch.tensor([[1.0, 2.0, 0.0]])])
        >>> TopKeys(dim=3, k=2, temperature=0.01).pool_given(regions, sentence).detach().round(decimals=2)
        tensor([[[0.5000, 0.5000, 0.0000]]])
    """

    smooth = False

    def __init__(
        self,
        dim: int,
        k: int,
        temperature: Scale | None = None,
        query: Query = "linear",
        value: Value = "identity",
        normalised: bool = True,
        hidden: int = 128,
    ) -> None:
        super().__init__(dim, temperature, query, value, normalised, hidden)
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise ValueError(f"the k of TopKeys must be a count (1, 2, ...), got {k!r}.")
        self.k = k

    @property
    def replication_invariant(self) -> bool:  # type: ignore[override]
        """Only with a single key: of a repeated bag, the k most similar are fewer different ones."""
        return self.k == 1

    def shares(self, bag: Bag, other: Bag) -> Tensor:
        """See `MixedKey`."""

        def chosen(similarities: Tensor) -> Tensor:
            first = similarities.argsort(dim=1, descending=True, stable=True)[:, : self.k]
            return torch.zeros_like(similarities).scatter(1, first, 1 / first.shape[1])

        return by_bag(chosen, bag.lengths, Cosine()(bag.instances, other.instances).detach())
