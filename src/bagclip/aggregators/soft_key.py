"""Non-local pooling around a soft key: every region is key as far as it is similar."""

from __future__ import annotations

from torch import Tensor

from bagclip import segments
from bagclip.aggregators.affinity import MixedKey, Query, Value
from bagclip.bags import Bag
from bagclip.scale import Scale, scale, value
from bagclip.similarity import Cosine


class SoftKey(MixedKey):
    """Non-local pooling whose key is a mean of all regions, weighted by their cosine with the sentence y_m.

        sum_n a_n x_n,   a = softmax_n(<q_n, sum_k c_k q_k> / temperature),   c = softmax_k(sharpness cos(x_k, y_m))

    The key then has no jumps, and gradients reach it through the choice as well. Proposed here, after LSE+NL (Wang et
    al., 2023).

    Limits: sharpness -> infinity is `NonLocal` before `Cosine`; sharpness -> 0 attends to the mean query, whatever the
    sentence. For the others see `NonLocal`.

    Args:
        dim: size of the features.
        sharpness: multiplies the cosines; fixed, learned or annealed.
        temperature: see `Affinity`, as all that follow.
        query: what of a region is compared with the key.
        value: what of a region is averaged.
        normalised: whether both are of l2-normalised features.
        hidden: size of the layers of the "mlp".

    Raises:
        ValueError: if the sharpness is neither a positive number nor learned or annealed; and see `Affinity`.

    Example:
        >>> import torch
        >>> regions, sentence = Bag.from_list([torch.eye(3)]), Bag.from_list([torch.tensor([[0.0, 2.0, 0.0]])])
        >>> SoftKey(dim=3, sharpness=100.0, temperature=0.01).pool_given(regions, sentence).detach().round()
        tensor([[[0., 1., 0.]]])
    """

    def __init__(
        self,
        dim: int,
        sharpness: Scale,
        temperature: Scale | None = None,
        query: Query = "linear",
        value: Value = "identity",
        normalised: bool = True,
        hidden: int = 128,
    ) -> None:
        super().__init__(dim, temperature, query, value, normalised, hidden)
        self.sharpness = scale(sharpness, "the sharpness of SoftKey")

    def shares(self, bag: Bag, other: Bag) -> Tensor:
        """See `MixedKey`."""
        return segments.softmax(value(self.sharpness) * Cosine()(bag.instances, other.instances), bag.lengths)
