"""Methods in which sentences or words attend to regions, or regions to words, before they are compared."""

from __future__ import annotations

from collections.abc import Sequence

from bagclip.aggregators import CrossAttention, CrossAttentionHead, LogSumExp, Max, Mean, VectorAttention
from bagclip.losses import HardestHinge, InfoNCE
from bagclip.method import Method
from bagclip.methods.one_vector import biovil
from bagclip.scores import chain
from bagclip.similarity import Cosine, Dot, Hadamard


def gloria() -> Method:
    """A global score, and a local one in which words compete for each region before they attend to the regions.

    Equation:
        R_m = cos(sum_n a_nm x_n, y_m),  a = softmax_n(4 u_nm),  u = softmax_m(<x_n, y_m>);
        1/2 [5 max_m R_m + cos(mean_n x_n, mean_m y_m)] to rank with; CE(10 log sum_m exp(5 R_m)) + CE(10 cos(mean_n
        x_n, mean_m y_m)) to learn with, both directions summed

    Reference:
        Huang et al., GLoRIA: A Multimodal Global-Local Representation Learning Framework for Label-efficient Medical
        Image Recognition, ICCV 2021, as its code computes it: trained with one score, ranked with another. Words are
        its sentences: ``granularity="words"`` of a text encoder.
    """
    words = CrossAttention(4.0, Dot(), "softmax").over("regions")
    trained = chain(words, Cosine(), LogSumExp(5.0, normalised=False).over("sentences"))
    ranked = chain(words, Cosine(), Max().over("sentences"))
    overall = biovil().score
    loss = InfoNCE(50.0 * trained, temperature=1.0, weights=(1.0, 1.0)) + InfoNCE(
        overall, temperature=0.1, weights=(1.0, 1.0)
    )
    return Method(0.5 * (5.0 * ranked + overall), loss, name="gloria")


def gloria_separable(sharpness: float = 4.0) -> Method:
    """GLoRIA without the competition of the words, so that each sentence is scored alone.

    Equation:
        R_m = cos(sum_n a_nm x_n, y_m),  a = softmax_n(r <x_n, y_m> / sqrt(d));
        1/2 (1/M) sum_m [R_m + cos(mean_n x_n, y_m)] to rank with; InfoNCE of each half to learn with

    Reference:
        A variant of GLoRIA (Huang et al., ICCV 2021). It divides by sqrt(d), which was needed for stability (Bica et
        al., 2024), and takes the mean over the sentences, so that long documents have no bonus.
    """
    local = chain(CrossAttention(sharpness, Dot(scaled=True)).over("regions"), Cosine(), Mean().over("sentences"))
    overall = chain(Mean().over("regions"), Cosine(), Mean().over("sentences"))
    return Method(0.5 * (local + overall), InfoNCE(local) + InfoNCE(overall), name="gloria_separable")


def biovil_l(sharpness: float = 4.0) -> Method:
    """The score of BioViL to rank with, and the local loss of the separable GLoRIA to learn with as well.

    Equation:
        cos(mean_n x_n, mean_m y_m) to rank with; InfoNCE of it + InfoNCE((1/M) sum_m R_m) to learn with,
        R_m as in gloria_separable

    Reference:
        Boecking et al., ECCV 2022. Its local loss is not in the released code: reconstructed from GLoRIA, its model.
    """
    local = chain(CrossAttention(sharpness, Dot(scaled=True)).over("regions"), Cosine(), Mean().over("sentences"))
    overall = biovil().score
    return Method(overall, InfoNCE(overall) + InfoNCE(local), name="biovil_l")


def scan_t2i(sharpness: float = 9.0, sentence_sharpness: float = 6.0, margin: float = 0.2) -> Method:
    """Each word attends to the regions; log-sum-exp over the words; the hardest negatives of a batch.

    Equation:
        (1/r) log sum_m exp(r R_m),  R_m = cos(sum_n a_nm x_n, y_m),  a = softmax_n(9 u_nm),  u the cosines, negative
        ones times 1/10, l2-normalised over m

    Reference:
        Lee et al., Stacked Cross Attention for Image-Text Matching, ECCV 2018, text to image. Words are its sentences,
        and its features are l2-normalised before.
    """
    score = chain(
        CrossAttention(sharpness, normalise="l2").over("regions"),
        Cosine(),
        LogSumExp(sentence_sharpness, normalised=False).over("sentences"),
    )
    return Method(score, HardestHinge(score, margin), name="scan_t2i")


def scan_i2t(sharpness: float = 4.0, region_sharpness: float = 5.0, margin: float = 0.2) -> Method:
    """Each region attends to the words; log-sum-exp over the regions; the hardest negatives of a batch.

    Equation:
        (1/r) log sum_n exp(r R_n),  R_n = cos(x_n, sum_m a_nm y_m),  a = softmax_m(4 u_nm),  u the cosines, negative
        ones times 1/10, l2-normalised over n

    Reference:
        Lee et al., Stacked Cross Attention for Image-Text Matching, ECCV 2018, image to text (its scales for Flickr30K;
        ``region_sharpness`` is 20 for COCO). Words are its sentences, and its features are l2-normalised before.
    """
    score = chain(
        CrossAttention(sharpness, normalise="l2").over("sentences"),
        Cosine(),
        LogSumExp(region_sharpness, normalised=False).over("regions"),
    )
    return Method(score, HardestHinge(score, margin), name="scan_i2t")


def limitr(dim: int = 128) -> Method:
    """A global score, and two local ones that pool the products of each word or region with what it attends to.

    Equation:
        H = sigmoid(w . s),  s = sum_m b_m u_m / |sum_m b_m u_m|,  b learned self-attention around the mean of the u_m,
        u_m = c_m * y_m / |c_m * y_m|,  c_m = sum_n a_nm x_n,  a as in gloria;  G the same with regions and sentences
        exchanged;  1/2 [(H + G) / 2 + cos(mean_n x_n, mean_m y_m)] to rank with

    Reference:
        Dawidowicz, Hirsch and Tal, LIMITR: Leveraging Local Information for Medical Image-Text Representation, ICCV
        2023, as its code computes it, but for two things: there one self-attention serves both sides, here each has its
        own; and the lateral image is another view of the study, not stand-in regions where there is none.
    """
    words = chain(
        CrossAttention(4.0, Dot(), "softmax").over("regions"), Hadamard(), VectorAttention(dim).over("sentences")
    )
    regions = chain(
        CrossAttention(4.0, Dot(), "softmax").over("sentences"), Hadamard(), VectorAttention(dim).over("regions")
    )
    overall = biovil().score
    loss = (
        InfoNCE(words, temperature=0.1)
        + InfoNCE(regions, temperature=0.1)
        + InfoNCE(overall, temperature=0.1, weights=(1.0, 1.0))
    )
    return Method(0.5 * (0.5 * (words + regions) + overall), loss, name="limitr")


def carzero(dim: int = 128, heads: int = 4, layers: int = 4, hidden: Sequence[int] = (1024, 512, 256)) -> Method:
    """A decoder of cross-attention scores the document against the regions, and the image against the sentences.

    Equation:
        1/2 [D(mean_m y_m | x_1 ... x_N) + D(mean_n x_n | y_1 ... y_M)],  D a decoder without self-attention and a
        perceptron, the same for both

    Reference:
        Lai et al., CARZero: Cross-Attention Alignment for Radiology Zero-Shot Classification, CVPR 2024. Its queries
        are [CLS] vectors, which are among the keys as well; here they are the means of the bags, which are not. It
        contrasts the raw outputs, with no temperature.
    """
    head = CrossAttentionHead(dim, heads, layers, hidden).named("head")
    over_regions = chain(Mean().over("sentences"), head.over("regions"))
    over_sentences = chain(Mean().over("regions"), head.over("sentences"))
    loss = InfoNCE(over_regions, temperature=1.0) + InfoNCE(over_sentences, temperature=1.0)
    return Method(0.5 * (over_regions + over_sentences), loss, name="carzero")
