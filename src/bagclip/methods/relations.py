"""Who is a special case of whom. Each relation is held by a test of the same pair of names."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Relation:
    """One part or method is another under a condition.

    Args:
        special: what it becomes: a method, an aggregator or a similarity.
        general: what it is a special case of.
        when: under which condition, and up to what.
    """

    special: str
    general: str
    when: str


RELATIONS = (
    Relation("plip", "clip", "always: the same score and loss"),
    Relation("siglip", "clip", "always: the same score, another loss"),
    Relation("convirt", "biovil", "always: the same score, other weights of the directions in the loss"),
    Relation("medclip", "biovil", "always: the same score, another loss"),
    Relation("biovil_l", "biovil", "always: the same score, a local loss added"),
    Relation("lovt", "biovil", "always: the same score, a loss within each pair added"),
    Relation("mgca", "biovil", "always: the same score, a loss within each pair added"),
    Relation("sparc", "biovil", "always: the same score, a loss within each pair added"),
    Relation("biovil", "clip", "the attention is equal (its last layer is 0)"),
    Relation("clip", "abmil", "the document is one sentence"),
    Relation("biovil", "nl", "A = 0, regions are l2-normalised, and the document is one sentence"),
    Relation("biovil", "gloria", "the document is one sentence: its word has no rival, so attention is flat; times 3"),
    Relation("maxsim", "lse", "the sharpness goes to infinity"),
    Relation("maxsim", "nl", "A = 1 and the temperature goes to 0"),
    Relation(
        "maxsim", "gloria_separable", "of its local part: on l2-normalised features, the sharpness goes to infinity"
    ),
    Relation("maxsim", "dsmil", "of its first stream: always"),
    Relation("nl", "dsmil", "of its second stream: a linear query of the same temperature, on l2-normalised features"),
    Relation("maxsim", "filip", "of its text-to-image direction: always; the other is its transpose"),
    Relation("maxsim", "local_mi", "its critic is the cosine"),
    Relation("biovil", "xclip", "the sharpness goes to 0, one region or one sentence, and l2-normalised features"),
    Relation("scan_i2t", "scan_t2i", "transposed, with scales of its own"),
    Relation("lse", "lse_nl", "of its local part: always"),
    Relation("nl", "lse_nl", "of its global part: always"),
    Relation("lse_nl_losses", "lse_nl", "always: the same score, each part contrasted on its own"),
    Relation("Mean", "LogSumExp", "normalised, the sharpness goes to 0"),
    Relation("Max", "LogSumExp", "the sharpness goes to infinity"),
    Relation("Max", "TopK", "k = 1"),
    Relation("Mean", "TopK", "k = 1.0, all of the bag"),
    Relation("Mean", "GeneralisedMean", "power 1, of the probabilities"),
    Relation("Max", "GeneralisedMean", "the power goes to infinity, of the probabilities"),
    Relation("ISR", "LogSumExp", "in logit space: the sigmoid of the summed form with sharpness 1"),
    Relation("NoisyOr", "Max", "of the probabilities, where all but one are 0"),
    Relation("Mean", "AutoPool", "alpha = 0"),
    Relation("ExpSoftmax", "AutoPool", "alpha = the sharpness"),
    Relation("Max", "ExpSoftmax", "the sharpness goes to infinity"),
    Relation("LinearSoftmax", "PCAM", "its features are the probabilities, its weights their logits"),
    Relation("Mean", "Attention", "its last layer is 0"),
    Relation("Mean", "GatedAttention", "its last layer is 0"),
    Relation("Mean", "PCAM", "its weights are 0"),
    Relation("Mean", "NonLocal", "A = 0, on l2-normalised features"),
    Relation("NonLocal", "SoftKey", "the sharpness goes to infinity"),
    Relation("NonLocal", "TopKeys", "k = 1"),
    Relation("Mean", "CrossAttention", "the sharpness goes to 0"),
    Relation("Dot", "Bilinear", "W = 1"),
    Relation("Cosine", "Dot", "on l2-normalised features"),
)
