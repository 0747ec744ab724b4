"""Non-local pooling: attention around the key region, which uses the correlation between regions."""

from __future__ import annotations

from bagclip.aggregators.affinity import Affinity


class NonLocal(Affinity):
    """Mean of a bag's features weighted by their affinity to the key region of a sentence.

    With x normalised, k(m) = argmax_n s_nm and a learned A, the embedding of the bag for sentence m is

        sum_n a_n x_n,   a = softmax_n(<A x_n, A x_k(m)> / temperature).

    Reconstructed from the name and lineage of LSE+NL (Wang et al., 2023): the critical-instance attention of DSMIL (Li,
    Li and Eliceiri, 2021) with a sentence in the place of a class. A sentence matters only through its key region, so
    the embeddings of all candidate keys are one self-attention of the bag, whose row k(m) is taken. The gradient
    reaches the key region through that row; the choice itself has none. Of equal similarities the first region is key.

    Limits: A = 0 averages the normalised regions; A = 1 and temperature -> 0 gives the key region itself.

    Args:
        dim: see `Affinity`, as all that follow; A is (dim, dim), orthogonal at first.
        temperature: divides the affinities; sqrt(dim) when None.
        query: "mlp" or "identity" in the place of A.
        value: "learned" averages V x in the place of x.
        normalised: False takes the features as they are.
        hidden: size of the layers of the "mlp".

    Raises:
        ValueError: see `Affinity`.

    Example:
        >>> import torch
        >>> from bagclip.bags import Bag
        >>> NonLocal(dim=3, temperature=0.01).contexts(Bag.from_list([torch.eye(3)])).detach().round()
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 1.]])
    """

    smooth = False
