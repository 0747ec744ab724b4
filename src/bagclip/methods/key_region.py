"""Methods in which a sentence finds the regions that show it: maximum, log-sum-exp, attention around a key region."""

from __future__ import annotations

from collections.abc import Sequence

from bagclip.aggregators import ExpSoftmax, LogSumExp, Max, Mean, NonLocal
from bagclip.losses import InfoNCE, MutualInformation, OneSentence
from bagclip.method import Method
from bagclip.methods.one_vector import biovil
from bagclip.scale import Scale
from bagclip.scores import Score, chain
from bagclip.similarity import Cosine, Critic


def maxsim() -> Method:
    """Each sentence finds its best region; the document is the mean of its sentences.

    Equation:
        (1/M) sum_m max_n s_nm

    Reference:
        Khattab and Zaharia, ColBERT, SIGIR 2020, with words for sentences and sum in the place of mean, which would
        give long documents a bonus among documents.
    """
    return Method(_local(Max()), name="maxsim")


def filip() -> Method:
    """Late interaction both ways: regions find their best words to pick a text, words their best regions for an image.

    Equation:
        (1/N) sum_n max_m s_nm for image to text, (1/M) sum_m max_n s_nm for text to image; their mean to rank with

    Reference:
        Yao et al., FILIP: Fine-grained Interactive Language-Image Pre-Training, ICLR 2022, without its prompts and its
        dropping of tokens. Words are its sentences: ``granularity="words"`` of a text encoder.
    """
    words = _local(Max())
    patches = words.T
    return Method(0.5 * (patches + words), InfoNCE(image_to_text=patches, text_to_image=words), name="filip")


def xclip(sharpness: float = 100.0) -> Method:
    """Four granularities: image and document, image and sentences, regions and document, regions and sentences.

    Equation:
        1/4 [cos(x, y) + P_m cos(x, y_m) + P_n cos(x_n, y) + 1/2 (P_m P_n s_nm + P_n P_m s_nm)],
        P_n s_n = sum_n s_n softmax_n(r s_n),  x and y the means of their bags

    Reference:
        Ma et al., X-CLIP: End-to-End Multi-grained Contrastive Learning for Video-Text Retrieval, ACM MM 2022, frames
        being its regions and words its sentences, both l2-normalised before they are averaged. Its
        permutation-invariant core: learned mixing matrices of frames with frames and words with words, the identity at
        first, were left out, because their size is that of the bags and the order of the instances would matter.
    """
    regions, sentences = ExpSoftmax(sharpness).over("regions"), ExpSoftmax(sharpness).over("sentences")
    image, document = Mean().over("regions"), Mean().over("sentences")
    fine = 0.5 * (chain(Cosine(), regions, sentences) + chain(Cosine(), sentences, regions))
    coarse = biovil().score + chain(image, Cosine(), sentences) + chain(document, Cosine(), regions)
    return Method(0.25 * (coarse + fine), name="xclip")


def local_mi(dim: int = 128, hidden: Sequence[int] = (1024, 512)) -> Method:
    """A learned critic finds the region with the highest mutual information with a sentence.

    Equation:
        (1/M) sum_m max_n D(x_n, y_m) to rank with, D a perceptron on the pair; a lower bound on the mutual information
        of an image and one random sentence of its document to learn with

    Reference:
        Liao et al., Multimodal Representation Learning via Maximization of Local Mutual Information, MICCAI 2021. The
        released code has the global part only; the local one follows a summary of its text.

    Args:
        dim: size of the joint space.
        hidden: sizes of the critic's hidden layers.
    """
    score = chain(Critic(dim, hidden), Max().over("regions"), Mean().over("sentences"))
    return Method(score, OneSentence(MutualInformation(score)), name="local_mi")


def dsmil(dim: int = 128) -> Method:
    """Two streams: the best region of each sentence, and all regions attended from it.

    Equation:
        1/2 (1/M) sum_m [max_n s_nm + cos(sum_n a_nm x_n, y_m)],  a = softmax_n(<q(x_n), q(x_k(m))> / sqrt(128)),
        q a perceptron with 128 outputs, k(m) = argmax_n s_nm

    Reference:
        Li, Li and Eliceiri, Dual-stream Multiple Instance Learning Network for Whole Slide Image Classification with
        Self-supervised Contrastive Learning, CVPR 2021, with a sentence in the place of a class and the cosine in that
        of its classifiers, which mix classes.
    """
    best = _local(Max())
    attended = _around(NonLocal(dim, query="mlp", normalised=False))
    loss = 0.5 * InfoNCE(best) + 0.5 * InfoNCE(attended)
    return Method(0.5 * (best + attended), loss, name="dsmil")


def lse(sharpness: Scale = 10.0) -> Method:
    """Local score: log-sum-exp over regions, mean over sentences.

    Equation:
        (1/M) sum_m (1/r) [log sum_n exp(r s_nm) - log N]

    Reference:
        The local part of LSE+NL (Wang et al., IPMI 2023), reconstructed.
    """
    return Method(_local(LogSumExp(sharpness)), name="lse")


def nl(dim: int = 128, temperature: Scale | None = 0.05) -> Method:
    """Global score: regions pooled around the key region of each sentence, mean over sentences.

    Equation:
        (1/M) sum_m cos(sum_n a_nm x^_n, y_m),  a = softmax_n(<A x^_n, A x^_k(m)> / t),  k(m) = argmax_n s_nm

    Reference:
        The global part of LSE+NL (Wang et al., IPMI 2023), reconstructed from its lineage: DSMIL (Li, Li and Eliceiri,
        CVPR 2021).
    """
    return Method(_around(NonLocal(dim, temperature)), name="nl")


def lse_nl(dim: int = 128, sharpness: Scale = 10.0, temperature: Scale | None = 0.05) -> Method:
    """The local and the global score together: their mean is contrasted.

    Equation:
        1/2 lse + 1/2 nl

    Reference:
        Wang, Wells, Berkowitz, Horng and Golland, Using Multiple Instance Learning to Build Multimodal Representations,
        IPMI 2023 (arXiv 2212.05561). Its equations were not at hand: this is a reconstruction from its abstract and
        lineage.

    Args:
        dim: size of the joint space.
        sharpness: of the log-sum-exp.
        temperature: of the affinities around the key region.
    """
    return Method(0.5 * (_local(LogSumExp(sharpness)) + _around(NonLocal(dim, temperature))), name="lse_nl")


def lse_nl_losses(dim: int = 128, sharpness: Scale = 10.0, temperature: Scale | None = 0.05) -> Method:
    """The local and the global score together, each contrasted on its own.

    Equation:
        1/2 lse + 1/2 nl to rank with; InfoNCE(lse) + InfoNCE(nl) to learn with

    Reference:
        As `lse_nl`, joined the way of its neighbours (GLoRIA, LIMITR, LoVT). Which of the two the paper does is not
        known here; see docs/lse-nl.md for what they measure.

    Args:
        dim: size of the joint space.
        sharpness: of the log-sum-exp.
        temperature: of the affinities around the key region.
    """
    local, around = _local(LogSumExp(sharpness)), _around(NonLocal(dim, temperature))
    return Method(0.5 * (local + around), InfoNCE(local) + InfoNCE(around), name="lse_nl_losses")


def _local(over_regions: LogSumExp | Max) -> Score:
    return chain(Cosine(), over_regions.over("regions"), Mean().over("sentences"))


def _around(over_regions: NonLocal) -> Score:
    return chain(over_regions.over("regions"), Cosine(), Mean().over("sentences"))
