"""Methods that compare one vector of the image with one of the document, or of each sentence."""

from __future__ import annotations

from typing import Literal

from bagclip.aggregators import Attention, Mean
from bagclip.losses import InfoNCE, Sigmoid, SoftTargets
from bagclip.method import Method
from bagclip.scale import Scale
from bagclip.scores import chain
from bagclip.similarity import Cosine


def clip(dim: int = 128) -> Method:
    """One vector a bag: attention-pooled regions against the mean of the sentences.

    Equation:
        cos(sum_n a_n x_n, mean_m y_m),  a = softmax_n(w . tanh(V x_n))

    Reference:
        Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021. The pooling of
        a bag into one vector is the image encoder's affair there; here it is attention (Ilse et al., 2018).
    """
    return Method(chain(Attention(dim).over("regions"), Mean().over("sentences"), Cosine()), name="clip")


def plip(dim: int = 128) -> Method:
    """The score and the loss of CLIP, for pathology.

    Equation:
        cos(sum_n a_n x_n, mean_m y_m),  a = softmax_n(w . tanh(V x_n))

    Reference:
        Huang et al., A visual-language foundation model for pathology image analysis using medical Twitter, Nature
        Medicine 2023: CLIP, trained on from its weights, with learning rate and batch size of its own.
    """
    return Method(clip(dim).score, name="plip")


def siglip(dim: int = 128) -> Method:
    """The score of CLIP, each pair of a batch judged on its own.

    Equation:
        cos(sum_n a_n x_n, mean_m y_m) to rank with; -(1/B) sum_ij log sigmoid(z_ij (h_ij / t + b)) to learn with,
        z_ij = 1 for a pair that belongs together and -1 for any other

    Reference:
        Zhai et al., Sigmoid Loss for Language Image Pre-Training, ICCV 2023.
    """
    score = clip(dim).score
    return Method(score, Sigmoid(score), name="siglip")


def biovil() -> Method:
    """The mean region against the mean sentence.

    Equation:
        cos(mean_n x_n, mean_m y_m)

    Reference:
        Boecking et al., Making the Most of Text Semantics to Improve Biomedical Vision-Language Processing, ECCV 2022:
        its global score, without its language-model losses. Its document vector is that of [CLS]; here it is the mean
        of the sentence vectors. Its temperature is not published as code; here it is learned.
    """
    return Method(chain(Mean().over("regions"), Mean().over("sentences"), Cosine()), name="biovil")


def convirt() -> Method:
    """The mean region against the mean sentence, image to text weighing three times text to image.

    Equation:
        cos(mean_n x_n, mean_m y_m) to rank with; 3/4 NCE(image to text) + 1/4 NCE(text to image) to learn with, at a
        fixed temperature of 1/10

    Reference:
        Zhang et al., Contrastive Learning of Medical Visual Representations from Paired Images and Text, MLHC 2022
        (arXiv 2010.00747). Its projections are the encoders' affair here; its text is pooled by a maximum of tokens.
    """
    score = biovil().score
    return Method(score, InfoNCE(score, temperature=0.1, weights=(0.75, 0.25)), name="convirt")


def medclip(targets: Literal["labels", "text"] = "labels", target_temperature: Scale = 0.2) -> Method:
    """The mean region against the mean sentence, with soft targets: who shares labels is half a positive.

    Equation:
        cos(mean_n x_n, mean_m y_m) to rank with; cross-entropy, both ways, of its softmax with softmax_j(s_ij / u) to
        learn with, s the similarity of the labels of i and j

    Reference:
        Wang et al., MedCLIP: Contrastive Learning from Unpaired Medical Images and Text, EMNLP 2022. There images and
        texts need not be pairs, and s is an inner product of labels of -1, 0 and 1; here it is a cosine, so u is
        smaller.

    Args:
        targets: from the labels of the studies, which must have some, or from the similarity of the documents'
            features.
        target_temperature: u.
    """
    score = biovil().score
    return Method(score, SoftTargets(score, targets=targets, target_temperature=target_temperature), name="medclip")


def abmil(dim: int = 128) -> Method:
    """Attention-pooled regions against each sentence: embedding-level multiple instance learning.

    Equation:
        (1/M) sum_m cos(sum_n a_n x_n, y_m),  a = softmax_n(w . tanh(V x_n))

    Reference:
        Ilse, Tomczak and Welling, Attention-based Deep Multiple Instance Learning, ICML 2018, with a sentence in the
        place of a class.
    """
    return Method(chain(Attention(dim).over("regions"), Cosine(), Mean().over("sentences")), name="abmil")
