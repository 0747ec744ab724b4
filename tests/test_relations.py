"""Who is a special case of whom: a test for each relation of the catalogue, and a relation for each test."""

import pytest
import torch
from torch.nn.functional import normalize

from bagclip import methods
from bagclip.aggregators import (
    ISR,
    PCAM,
    Attention,
    AutoPool,
    CrossAttention,
    ExpSoftmax,
    GatedAttention,
    GeneralisedMean,
    LinearSoftmax,
    LogSumExp,
    Max,
    Mean,
    NoisyOr,
    NonLocal,
    SoftKey,
    TopK,
    TopKeys,
)
from bagclip.bags import Bag
from bagclip.methods import RELATIONS
from bagclip.scores import chain
from bagclip.similarity import Bilinear, Cosine, Dot

DIM = 6
SHARPEST = 1e5


def bag(*lengths, seed, unit=False):
    rows = torch.randn(sum(lengths), DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Bag(normalize(rows, dim=-1) if unit else rows, torch.tensor(lengths))


IMAGES, DOCUMENTS = bag(4, 1, 3, seed=1), bag(2, 1, 3, 2, seed=2)
UNIT, UNIT_DOCUMENTS = bag(4, 1, 3, seed=1, unit=True), bag(2, 1, 3, 2, seed=2, unit=True)
ONE = DOCUMENTS.singletons()
"""Documents of one sentence."""

PROBABILITIES = torch.tensor([0.1, 0.5, 0.8, 0.3, 0.9, 0.2], dtype=torch.float64)
LENGTHS = torch.tensor([3, 1, 2])


def score(name, **options):
    torch.manual_seed(0)
    return methods.build(name, DIM, **options).score.double()


def set_to(module, **weights):
    """The module with its parameters of these last names filled with a number, or the identity."""
    with torch.no_grad():
        for path, parameter in module.named_parameters():
            for name, value in weights.items():
                if path.endswith(name.replace("__", ".")):
                    parameter.copy_(
                        torch.eye(*parameter.shape) if value == "identity" else torch.full_like(parameter, value)
                    )
    return module


def pooled(aggregator, scores=PROBABILITIES):
    return aggregator.double().pool_scores(scores, LENGTHS, 0)


def embedded(aggregator, images=IMAGES):
    return aggregator.double().pool_embeddings(images)


def same_score(one, other):
    """Of the same bags, with the weights of the first."""

    def holds():
        a, b = score(one), score(other)
        b.load_state_dict(a.state_dict())
        return a(IMAGES, DOCUMENTS), b(IMAGES, DOCUMENTS)

    return holds


def over_regions(aggregator, images, documents):
    return chain(aggregator.double().over("regions"), Cosine(), Mean().over("sentences"))(images, documents)


def mean_of_cosines(aggregator):
    return chain(Cosine(), aggregator.over("regions"), Mean().over("sentences"))(IMAGES, DOCUMENTS)


def dsmil_streams():
    stream = score("dsmil").score
    return stream.left, stream.right


def dsmil_is_nl():
    general = NonLocal(DIM, 0.05, query="linear", normalised=False).double()
    special = score("nl")
    general.load_state_dict(special.aggregators[0].state_dict())
    return special(UNIT, DOCUMENTS), over_regions(general, UNIT, DOCUMENTS)


def soft_key_is_non_local():
    torch.manual_seed(0)
    hard, soft = NonLocal(DIM, 0.3).double(), SoftKey(DIM, sharpness=SHARPEST, temperature=0.3).double()
    soft.load_state_dict(hard.state_dict())
    return over_regions(hard, IMAGES, DOCUMENTS), over_regions(soft, IMAGES, DOCUMENTS)


def top_keys_are_non_local():
    torch.manual_seed(0)
    hard, top = NonLocal(DIM, 0.3).double(), TopKeys(DIM, k=1, temperature=0.3).double()
    top.load_state_dict(hard.state_dict())
    return over_regions(hard, IMAGES, DOCUMENTS), over_regions(top, IMAGES, DOCUMENTS)


def noisy_or_of_one():
    alone = torch.tensor([0.0, 0.7, 0.0, 0.3, 0.0, 0.2], dtype=torch.float64)
    return pooled(Max(), alone), pooled(NoisyOr(sharpness=None), alone)


def isr_is_log_sum_exp():
    logits = PROBABILITIES.logit()
    return pooled(ISR(sharpness=1.0), logits), pooled(LogSumExp(1.0, normalised=False), logits).sigmoid()


def exp_softmax_is_auto_pool():
    return pooled(ExpSoftmax(3.0)), pooled(set_to(AutoPool(), alpha=3.0)).detach()


def linear_softmax_is_pcam():
    """The first of two features is the probability, the second its logit, which alone decides the weights."""
    pcam = PCAM(2).double()
    with torch.no_grad():
        for parameter in pcam.parameters():
            parameter.copy_(torch.tensor([[0.0, 1.0]]) if parameter.ndim == 2 else torch.zeros(1))
    features = torch.stack([PROBABILITIES, PROBABILITIES.logit()], dim=1)
    return pooled(LinearSoftmax(sharpness=None)), pcam.pool_embeddings(Bag(features, LENGTHS))[:, 0]


HOLDS = {
    ("plip", "clip"): same_score("plip", "clip"),
    ("siglip", "clip"): same_score("siglip", "clip"),
    ("convirt", "biovil"): same_score("convirt", "biovil"),
    ("medclip", "biovil"): same_score("medclip", "biovil"),
    ("biovil_l", "biovil"): same_score("biovil_l", "biovil"),
    ("lovt", "biovil"): same_score("lovt", "biovil"),
    ("mgca", "biovil"): same_score("mgca", "biovil"),
    ("sparc", "biovil"): same_score("sparc", "biovil"),
    ("lse_nl_losses", "lse_nl"): same_score("lse_nl_losses", "lse_nl"),
    ("biovil", "clip"): lambda: (
        score("biovil")(IMAGES, DOCUMENTS),
        set_to(score("clip"), outer__weight=0.0)(IMAGES, DOCUMENTS),
    ),
    ("clip", "abmil"): lambda: (score("clip")(IMAGES, ONE), score("abmil")(IMAGES, ONE)),
    ("biovil", "nl"): lambda: (
        score("biovil")(UNIT, ONE),
        set_to(score("nl"), affinity__weight=0.0)(UNIT, ONE),
    ),
    ("biovil", "gloria"): lambda: (3 * score("biovil")(IMAGES, ONE), score("gloria")(IMAGES, ONE)),
    ("maxsim", "lse"): lambda: (
        score("maxsim")(IMAGES, DOCUMENTS),
        score("lse", sharpness=SHARPEST)(IMAGES, DOCUMENTS),
    ),
    ("maxsim", "nl"): lambda: (
        score("maxsim")(IMAGES, DOCUMENTS),
        set_to(score("nl", temperature=1e-9), affinity__weight="identity")(IMAGES, DOCUMENTS),
    ),
    ("maxsim", "gloria_separable"): lambda: (
        score("maxsim")(UNIT, UNIT_DOCUMENTS),
        score("gloria_separable", sharpness=SHARPEST).score.left(UNIT, UNIT_DOCUMENTS),
    ),
    ("maxsim", "dsmil"): lambda: (score("maxsim")(IMAGES, DOCUMENTS), dsmil_streams()[0](IMAGES, DOCUMENTS)),
    ("nl", "dsmil"): dsmil_is_nl,
    ("maxsim", "filip"): lambda: (
        score("maxsim")(IMAGES, DOCUMENTS),
        methods.filip().loss.text_to_image(IMAGES, DOCUMENTS),
    ),
    ("maxsim", "local_mi"): lambda: (
        score("maxsim")(IMAGES, DOCUMENTS),
        chain(Cosine(), *score("local_mi").right)(IMAGES, DOCUMENTS),
    ),
    ("biovil", "xclip"): lambda: (
        score("biovil")(UNIT.singletons(), UNIT_DOCUMENTS.singletons()),
        score("xclip", sharpness=1e-9)(UNIT.singletons(), UNIT_DOCUMENTS.singletons()),
    ),
    ("scan_i2t", "scan_t2i"): lambda: (
        score("scan_i2t")(IMAGES, DOCUMENTS),
        score("scan_t2i", sharpness=4.0, sentence_sharpness=5.0).T(IMAGES, DOCUMENTS),
    ),
    ("lse", "lse_nl"): lambda: (score("lse")(IMAGES, DOCUMENTS), score("lse_nl").score.left(IMAGES, DOCUMENTS)),
    ("nl", "lse_nl"): lambda: (score("nl")(IMAGES, DOCUMENTS), score("lse_nl").score.right(IMAGES, DOCUMENTS)),
    ("Mean", "LogSumExp"): lambda: (mean_of_cosines(Mean()), mean_of_cosines(LogSumExp(1e-6))),
    ("Max", "LogSumExp"): lambda: (mean_of_cosines(Max()), mean_of_cosines(LogSumExp(SHARPEST))),
    ("Max", "TopK"): lambda: (pooled(Max()), pooled(TopK(1))),
    ("Mean", "TopK"): lambda: (pooled(Mean()), pooled(TopK(1.0))),
    ("Mean", "GeneralisedMean"): lambda: (pooled(Mean()), pooled(GeneralisedMean(power=1.0, sharpness=None))),
    ("Max", "GeneralisedMean"): lambda: (pooled(Max()), pooled(GeneralisedMean(power=SHARPEST, sharpness=None))),
    ("ISR", "LogSumExp"): isr_is_log_sum_exp,
    ("NoisyOr", "Max"): noisy_or_of_one,
    ("Mean", "AutoPool"): lambda: (pooled(Mean()), pooled(AutoPool())),
    ("ExpSoftmax", "AutoPool"): exp_softmax_is_auto_pool,
    ("Max", "ExpSoftmax"): lambda: (pooled(Max()), pooled(ExpSoftmax(SHARPEST))),
    ("LinearSoftmax", "PCAM"): linear_softmax_is_pcam,
    ("Mean", "Attention"): lambda: (embedded(Mean()), embedded(set_to(Attention(DIM), outer__weight=0.0))),
    ("Mean", "GatedAttention"): lambda: (embedded(Mean()), embedded(set_to(GatedAttention(DIM), outer__weight=0.0))),
    ("Mean", "PCAM"): lambda: (embedded(Mean()), embedded(set_to(PCAM(DIM), weight=0.0))),
    ("Mean", "NonLocal"): lambda: (
        over_regions(Mean(), UNIT, DOCUMENTS),
        over_regions(set_to(NonLocal(DIM), affinity__weight=0.0), UNIT, DOCUMENTS),
    ),
    ("NonLocal", "SoftKey"): soft_key_is_non_local,
    ("NonLocal", "TopKeys"): top_keys_are_non_local,
    ("Mean", "CrossAttention"): lambda: (
        over_regions(Mean(), IMAGES, DOCUMENTS),
        over_regions(CrossAttention(1e-7), IMAGES, DOCUMENTS),
    ),
    ("Dot", "Bilinear"): lambda: (
        Dot()(IMAGES.instances, DOCUMENTS.instances),
        Bilinear(DIM).double()(IMAGES.instances, DOCUMENTS.instances),
    ),
    ("Cosine", "Dot"): lambda: (
        Cosine()(UNIT.instances, UNIT_DOCUMENTS.instances),
        Dot()(UNIT.instances, UNIT_DOCUMENTS.instances),
    ),
}


def test_every_relation_has_a_test():
    assert [(r.special, r.general) for r in RELATIONS] == list(dict.fromkeys((r.special, r.general) for r in RELATIONS))
    assert {(r.special, r.general) for r in RELATIONS} == set(HOLDS)


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda r: f"{r.special}-{r.general}")
def test_relation_holds(relation):
    special, general = HOLDS[relation.special, relation.general]()
    torch.testing.assert_close(general.detach(), special.detach(), atol=2e-4, rtol=2e-4)
    assert special.numel() > 1 and special.std() > 1e-3  # not equal because all is the same


VALUES_IN_COSINES = (
    "clip",
    "convirt",
    "biovil",
    "biovil_l",
    "filip",
    "maxsim",
    "medclip",
    "xclip",
    "siglip",
    "plip",
    "lovt",
    "mgca",
    "sparc",
    "abmil",
    "dsmil",
    "lse",
    "nl",
    "lse_nl",
    "lse_nl_losses",
    "gloria_separable",
    "scan_t2i",
    "scan_i2t",
)


@pytest.mark.parametrize("name", VALUES_IN_COSINES)
def test_one_region_and_one_sentence_give_the_cosine(name):
    images, documents = bag(1, 1, 1, seed=3), bag(1, 1, seed=4)
    expected = torch.cosine_similarity(images.instances[:, None], documents.instances[None], dim=-1)
    torch.testing.assert_close(score(name)(images, documents).detach(), expected)
