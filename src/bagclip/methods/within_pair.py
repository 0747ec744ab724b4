"""Methods that learn, beside a score, from the tokens within each pair: their local part is no score of a pair."""

from __future__ import annotations

from bagclip.aggregators import CrossAttention, SparseAttention
from bagclip.losses import InfoNCE, WithinPair
from bagclip.method import Method
from bagclip.methods.one_vector import biovil
from bagclip.scale import Learned
from bagclip.similarity import Dot


def lovt(sharpness: float = 10.0, radius: float = 0.5) -> Method:
    """Global contrast, and within each pair regions with what they attend to in the text and sentences likewise.

    Equation:
        cos(mean_n x_n, mean_m y_m) to rank with; InfoNCE of it + 3/4 [W(regions) + W(sentences)] to learn with, W the
        InfoNCE of each token and what it attends to among the tokens of its own pair, both ways

    Reference:
        Müller et al., Joint Learning of Localized Representations from Medical Images and Reports, ECCV 2022. Its
        attention has linear maps of its own and no sharpness; here it is of the cosines. All tokens weigh the same.

    Args:
        sharpness: of the attention.
        radius: how far regions count as positives of each other, as a share of the grid's diagonal, 0 for not at all;
            regions without a grid need 0.
    """
    score = biovil().score
    local = WithinPair(CrossAttention(sharpness).over("regions"), temperature=0.3) + WithinPair(
        CrossAttention(sharpness).over("sentences"), temperature=0.3, radius=radius
    )
    return Method(score, InfoNCE(score, temperature=0.1, weights=(0.75, 0.25)) + 0.75 * local, name="lovt")


def mgca() -> Method:
    """Global contrast, and within each pair words with what they attend to in the image, and regions likewise.

    Equation:
        cos(mean_n x_n, mean_m y_m) to rank with; InfoNCE of it + W(words) + W(regions) to learn with, W as in lovt

    Reference:
        Wang et al., Multi-Granularity Cross-modal Alignment for Generalized Medical Visual Representation Learning,
        NeurIPS 2022. Its third loss, of prototypes, and its weights of tokens by [CLS] attention are left out; all
        tokens weigh the same. Its features are l2-normalised before they are averaged; here they are as they are.
    """
    score = biovil().score
    local = WithinPair(CrossAttention(10.0).over("regions"), temperature=0.1) + WithinPair(
        CrossAttention(10.0).over("sentences"), temperature=0.1
    )
    return Method(score, InfoNCE(score, temperature=0.07, weights=(1.0, 1.0)) + local, name="mgca")


def sparc(local_weight: float = 1.0) -> Method:
    """Global contrast, and within each pair tokens with the sparse group of regions that is most similar to them.

    Equation:
        cos(mean_n x_n, mean_m y_m) to rank with; 1/2 InfoNCE of it + l W to learn with, W as in lovt with weights
        a_nm = [min-max_n(<x_n, y_m>)]_(>= 1/N), normalised to add up to one

    Reference:
        Bica et al., Improving fine-grained understanding in image-text pre-training, ICML 2024. Its code is not public:
        after its text and ports of it. Each of the two losses has a learned temperature of its own.
    """
    score = biovil().score
    local = WithinPair(SparseAttention(Dot()).over("regions"), Learned(0.07, minimum=0.01))
    return Method(score, 0.5 * InfoNCE(score) + local_weight * local, name="sparc")
