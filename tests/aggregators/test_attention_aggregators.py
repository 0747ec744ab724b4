import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import normalize

import laws
import reference
import reference_attention as plain
from bagclip.aggregators import (
    PCAM,
    Attention,
    CrossAttention,
    CrossAttentionHead,
    GatedAttention,
    LogSumExp,
    Max,
    Mean,
    NonLocal,
    SoftKey,
    SparseAttention,
    TopKeys,
    VectorAttention,
)
from bagclip.bags import Bag
from bagclip.scale import Annealed, Learned
from bagclip.scores import chain
from bagclip.similarity import Bilinear, Cosine, Dot, Hadamard
from bagclip.testing import finite_gradients

DIM = laws.DIM
MEAN = Mean().over("sentences")
GLORIA = {"sharpness": 4.0, "similarity": Dot(), "normalise": "softmax"}


def left_of_cosine(aggregator, over_sentences=MEAN):
    return chain(aggregator.over("regions"), Cosine(), over_sentences)


def state(module):
    return {name: value.double().tolist() for name, value in module.state_dict().items()}


def of_aggregator(**constants):
    """The parameters of the plain form: the weights of the first aggregator, and constants."""
    return lambda score: {"state": state(score.overs[0].aggregator), **constants}


def averaged(function):
    """The mean over sentences of a plain function that gives one number for each."""
    return lambda regions, sentences, **parameters: reference.average(function(regions, sentences, **parameters))


def gloria(regions, sentences, **parameters):
    return plain.lse_sum(plain.gloria(regions, sentences, **parameters), sharpness=5.0)


def scan(regions, sentences, **parameters):
    return plain.lse_sum(plain.scan(regions, sentences, **parameters), sharpness=6.0)


def limitr(regions, sentences, *, state, sharpness):
    return plain.vector_attention(plain.limitr_vectors(regions, sentences, sharpness=sharpness), state=state)


def pooled_cosine(function):
    return averaged(lambda regions, sentences, **p: [reference.cosine(function(regions, **p), y) for y in sentences])


ANY_KEY = {"temperature": 0.3, "kind": "mlp", "normalised": False, "learned": True}
ANY_KEY_MADE = {"temperature": 0.3, "query": "mlp", "value": "learned", "normalised": False, "hidden": 5}

CHAINS = [
    laws.Member(
        "gated", lambda: left_of_cosine(GatedAttention(DIM, 3)), pooled_cosine(plain.gated_attention), of_aggregator()
    ),
    laws.Member("pcam", lambda: left_of_cosine(PCAM(DIM)), pooled_cosine(plain.pcam), of_aggregator()),
    laws.Member(
        "dsmil",
        lambda: left_of_cosine(NonLocal(DIM, query="mlp", normalised=False, hidden=5)),
        averaged(plain.non_local),
        of_aggregator(kind="mlp", normalised=False),
    ),
    laws.Member(
        "soft_key", lambda: left_of_cosine(SoftKey(DIM, 5.0)), averaged(plain.soft_key), of_aggregator(sharpness=5.0)
    ),
    laws.Member(
        "soft_key_mlp",
        lambda: left_of_cosine(SoftKey(DIM, 5.0, **ANY_KEY_MADE)),
        averaged(plain.soft_key),
        of_aggregator(sharpness=5.0, **ANY_KEY),
    ),
    laws.Member("top_keys", lambda: left_of_cosine(TopKeys(DIM, 2)), averaged(plain.non_local), of_aggregator(keys=2)),
    laws.Member(
        "top_keys_mlp",
        lambda: left_of_cosine(TopKeys(DIM, 3, **ANY_KEY_MADE)),
        averaged(plain.non_local),
        of_aggregator(keys=3, **ANY_KEY),
    ),
    laws.Member(
        "scan_no_norm",
        lambda: left_of_cosine(CrossAttention(4.0)),
        averaged(plain.plain),
        lambda score: {"sharpness": 4.0},
    ),
    laws.Member(
        "gloria",
        lambda: left_of_cosine(CrossAttention(**GLORIA), LogSumExp(5.0, normalised=False).over("sentences")),
        gloria,
        lambda score: {"sharpness": 4.0},
    ),
    laws.Member(
        "scan",
        lambda: left_of_cosine(CrossAttention(9.0, normalise="l2"), LogSumExp(6.0, normalised=False).over("sentences")),
        scan,
        lambda score: {"sharpness": 9.0},
    ),
    laws.Member("sparc", lambda: left_of_cosine(SparseAttention(Dot())), averaged(plain.sparc)),
    laws.Member(
        "limitr",
        lambda: chain(CrossAttention(**GLORIA).over("regions"), Hadamard(), VectorAttention(DIM).over("sentences")),
        limitr,
        lambda score: {"state": state(score.overs[1].aggregator), "sharpness": 4.0},
    ),
    laws.Member(
        "carzero",
        lambda: chain(CrossAttentionHead(DIM, heads=2, layers=2, hidden=(7, 5), feedforward=8).over("regions"), MEAN),
        averaged(plain.carzero),
        of_aggregator(heads=2),
    ),
]
chains = pytest.mark.parametrize("member", CHAINS, ids=lambda member: member.name)


def spread(score):
    """Its layers drawn wide, so that no part is too small to be seen."""
    for parameter in score.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return score


@chains
@settings(max_examples=15)
@given(data=st.data(), dtype=st.sampled_from([torch.float64, torch.float32]))
def test_chain_equals_plain_loops_and_obeys_the_laws(member, data, dtype):
    torch.manual_seed(0)
    score = spread(member.make()).to(dtype)
    images, documents = data.draw(laws.bags(dtype)), data.draw(laws.bags(dtype))
    dense = reference.matrix(member.dense, images, documents, **member.parameters(score))
    laws.close(score(images, documents), dense, dtype)
    laws.hold(score, images, documents)


@chains
def test_gradients_are_finite_at_equal_and_at_zero_vectors(member):
    torch.manual_seed(0)
    for dtype in (torch.float64, torch.float32):
        score = spread(member.make()).to(dtype)
        region, sentence = torch.randn(2, 1, DIM, dtype=dtype)
        images = Bag.from_list([region.repeat(3, 1), torch.zeros(2, DIM, dtype=dtype), torch.cat([region, 0 * region])])
        documents = Bag.from_list([sentence.repeat(2, 1), torch.zeros(3, DIM, dtype=dtype)])
        finite_gradients(score, images, documents)
        finite_gradients(score.T, documents, images)


@chains
def test_gradients_equal_finite_differences(member):
    torch.manual_seed(2)
    score = spread(member.make()).double()
    images = Bag.from_list([torch.randn(n, DIM).double() for n in (3, 1, 4)])
    documents = Bag.from_list([torch.randn(n, DIM).double() for n in (2, 3)])
    assert torch.autograd.gradcheck(
        lambda x, y, *_: score(images.with_instances(x), documents.with_instances(y)),
        (
            images.instances.requires_grad_(),
            documents.instances.requires_grad_(),
            *(p for p in score.parameters() if p.ndim == 1),
        ),
    )


IMAGES = Bag.from_list([torch.randn(n, DIM, generator=torch.Generator().manual_seed(n)).double() for n in (4, 1, 3, 4)])
DOCUMENTS = Bag.from_list(
    [torch.randn(n, DIM, generator=torch.Generator().manual_seed(9 + n)).double() for n in (2, 3)]
)
UNIT = IMAGES.with_instances(normalize(IMAGES.instances, dim=-1))

AROUND_KEY = [
    pytest.param(lambda **options: NonLocal(DIM, **options), id="NonLocal"),
    pytest.param(lambda **options: SoftKey(DIM, 1e7, **options), id="SoftKey"),
    pytest.param(lambda **options: TopKeys(DIM, 1, **options), id="TopKeys"),
]
ATTENDS = [
    SoftKey(DIM, 3.0),
    TopKeys(DIM, 2),
    CrossAttention(),
    CrossAttention(4.0, Bilinear(DIM), "softmax"),
    CrossAttention(4.0, normalise="l2"),
    SparseAttention(),
]


def with_affinity(aggregator, matrix):
    torch.nn.init.zeros_(aggregator.affinity.weight).data += matrix
    return aggregator.double()


def scored(aggregator, images=IMAGES):
    return left_of_cosine(aggregator.double())(images, DOCUMENTS).detach()


@pytest.mark.parametrize("make", AROUND_KEY)
def test_limits_of_pooling_around_a_key(make):
    mean = scored(Mean(), UNIT)
    laws.close(scored(with_affinity(make(temperature=1.0), 0.0)), mean, torch.float64)
    best = chain(Cosine(), Max().over("regions"), MEAN)(IMAGES, DOCUMENTS)
    laws.close(scored(with_affinity(make(temperature=1e-6), torch.eye(DIM))), best, torch.float64)
    laws.close(scored(make(temperature=1e-6, query="identity")), best, torch.float64)


@pytest.mark.parametrize("options", [{}, ANY_KEY_MADE], ids=["linear", "mlp"])
@pytest.mark.parametrize("make", AROUND_KEY[1:])
def test_a_soft_key_of_infinite_sharpness_and_one_top_key_are_non_local(make, options):
    other, hard = make(**options).double(), NonLocal(DIM, **options).double()
    hard.load_state_dict(other.state_dict())
    laws.close(scored(other), scored(hard), torch.float64)


@pytest.mark.parametrize("make", AROUND_KEY)
def test_the_region_map_shows_each_region_as_if_it_were_the_key(make):
    hard = NonLocal(DIM, 0.2).double()
    other = make(temperature=0.2).double()
    other.load_state_dict(hard.state_dict())
    shown = left_of_cosine(other).region_map(IMAGES, DOCUMENTS)
    around = torch.cat([(x @ hard.affinity.weight.T @ hard.affinity.weight @ x.T / 0.2).softmax(1) @ x for x in UNIT])
    expected = normalize(around, dim=1) @ normalize(DOCUMENTS.instances, dim=1).T
    laws.close(shown, expected.detach(), torch.float64)


@pytest.mark.parametrize("make", AROUND_KEY)
def test_options_of_an_affinity_start_from_the_default(make):
    torch.manual_seed(3)
    default = make()
    assert list(default.state_dict()) == ["affinity.weight"]
    learned, raw = make(value="learned"), make(normalised=False)
    learned.load_state_dict(default.state_dict(), strict=False)
    raw.load_state_dict(default.state_dict())
    laws.close(scored(learned), scored(default), torch.float64)
    laws.close(scored(raw, UNIT), scored(default), torch.float64)
    assert not torch.allclose(scored(raw), scored(default))


@pytest.mark.parametrize("aggregator", ATTENDS, ids=repr)
def test_attention_adds_up_to_one_and_averages_the_values(aggregator):
    aggregator = aggregator.double()
    weights = aggregator.attention(IMAGES, DOCUMENTS).detach()
    assert weights.shape == (len(IMAGES.instances), len(DOCUMENTS.instances)) and (weights >= 0).all()
    values = aggregator.values(IMAGES).detach()
    pooled = aggregator.pool_given(IMAGES, DOCUMENTS).detach()
    for i, own in enumerate(weights.split(IMAGES.lengths.tolist())):
        torch.testing.assert_close(own.sum(0), torch.ones(len(DOCUMENTS.instances)).double())
        torch.testing.assert_close(pooled[i], own.T @ values[IMAGES.owners == i])


def test_the_pooled_bag_comes_first_in_the_similarity():
    similarity = Bilinear(DIM).double()
    torch.nn.init.normal_(similarity.map.weight)
    x, y = next(iter(IMAGES)), next(iter(DOCUMENTS))
    expected = (2.0 * y @ similarity.map.weight @ x.T).softmax(0)
    attention = CrossAttention(2.0, similarity).attention(Bag.from_list([y]), Bag.from_list([x]))
    torch.testing.assert_close(attention, expected)


NEIGHBOURS_MATTER = [
    (CrossAttention(4.0), False),
    (CrossAttention(4.0, normalise="softmax"), True),
    (CrossAttention(4.0, normalise="l2"), True),
    (SparseAttention(), False),
    (SoftKey(DIM, 3.0), False),
    (TopKeys(DIM, 2), False),
]


@pytest.mark.parametrize(("aggregator", "coupled"), NEIGHBOURS_MATTER, ids=lambda value: repr(value))
def test_coupled_says_whether_the_neighbours_matter(aggregator, coupled):
    assert aggregator.coupled is coupled
    score = left_of_cosine(aggregator).double()
    assert score.separable is not coupled
    together, alone = score.sentence_scores(IMAGES, DOCUMENTS), score.sentence_scores(IMAGES, DOCUMENTS.singletons())
    assert torch.allclose(together, alone) is not coupled


def test_sentences_do_not_see_each_other_in_a_cross_attention_head():
    score = chain(CrossAttentionHead(DIM, heads=3, layers=1, hidden=(4,), feedforward=4).over("regions"), MEAN).double()
    assert score.separable
    torch.testing.assert_close(
        score.sentence_scores(IMAGES, DOCUMENTS), score.sentence_scores(IMAGES, DOCUMENTS.singletons())
    )


@pytest.mark.parametrize(
    "aggregator",
    [
        CrossAttention(4.0, normalise="softmax"),
        CrossAttention(4.0, normalise="l2"),
        SparseAttention(),
        TopKeys(DIM, 2, 0.1),
    ],
    ids=repr,
)
def test_what_is_not_invariant_to_replication_says_so(aggregator):
    twice = lambda bag: Bag.from_list([rows.repeat(2, 1) for rows in bag])  # noqa: E731
    score = left_of_cosine(aggregator).double()
    assert not score.replication_invariant
    assert not torch.allclose(score(twice(IMAGES), twice(DOCUMENTS)), score(IMAGES, DOCUMENTS))


def test_limits_of_gated_attention():
    torch.manual_seed(4)
    gated, ungated = GatedAttention(DIM, 5).double(), Attention(DIM, 5).double()
    ungated.load_state_dict({k: v for k, v in gated.state_dict().items() if not k.startswith("gate")})
    torch.nn.init.constant_(gated.gate.bias, 100.0)
    laws.close(gated.pool_embeddings(IMAGES), ungated.pool_embeddings(IMAGES).detach(), torch.float64)
    torch.nn.init.zeros_(gated.outer.weight)
    laws.close(gated.pool_embeddings(IMAGES), Mean().pool_embeddings(IMAGES), torch.float64)


def test_limits_of_pcam():
    torch.manual_seed(4)
    pcam = PCAM(DIM).double()
    torch.nn.init.constant_(pcam.logit.bias, 1000.0)
    laws.close(pcam.pool_embeddings(IMAGES), Mean().pool_embeddings(IMAGES), torch.float64)
    torch.nn.init.constant_(pcam.logit.bias, -1000.0)
    expected = torch.stack([(x @ pcam.logit.weight[0]).softmax(0) @ x for x in IMAGES])
    laws.close(pcam.pool_embeddings(IMAGES), expected.detach(), torch.float64)
    single = pcam.float()
    single.pool_embeddings(IMAGES.to(torch.float32)).sum().backward()
    assert torch.isfinite(single.logit.weight.grad).all()


def test_limits_of_cross_attention():
    laws.close(scored(CrossAttention(1e-12)), scored(Mean()), torch.float64)
    best = chain(Cosine(), Max().over("regions"), MEAN)(IMAGES, DOCUMENTS)
    laws.close(scored(CrossAttention(1e7)), best, torch.float64)


def test_sparse_attention_of_equal_similarities_is_uniform():
    images = Bag.from_list([torch.eye(4)[:3], torch.ones(2, 4), torch.zeros(2, 4)])
    documents = Bag.from_list([torch.ones(1, 4), torch.zeros(1, 4)])
    weights = SparseAttention().attention(images, documents)
    torch.testing.assert_close(weights, torch.tensor([1 / 3] * 3 + [1 / 2] * 4)[:, None].expand(-1, 2))


def test_sparse_attention_by_hand():
    images = Bag.from_list([torch.tensor([[-1.0], [0.0], [1.0], [3.0]])])
    weights = SparseAttention(Dot()).attention(images, Bag.from_list([torch.tensor([[2.0], [-2.0]])]))
    # Scaled to 0, 1/4, 1/2, 1 and to 1, 3/4, 1/2, 0; what is below 1/4 is dropped.
    expected = torch.tensor([[0, 1, 2, 4], [4, 3, 2, 0]]).T / torch.tensor([7, 9])
    torch.testing.assert_close(weights, expected)


def test_golden_numbers_of_the_authors_code():
    """Run once on this pair: GLoRIA's local score (temperatures 4, 5, 10), SCAN's two scores, SPARC's weights."""
    image = Bag.from_list([torch.tensor([[1.0, 0.0, 0.5], [0.2, 1.0, 0.0], [-0.3, 0.4, 1.0]])])
    caption = Bag.from_list([torch.tensor([[0.8, 0.1, 0.2], [0.0, 1.0, 0.5]])])

    def local(aggregator, sharpness):
        pool = LogSumExp(sharpness, normalised=False)
        return chain(aggregator.over("regions"), Cosine(), pool.over("sentences"))

    gloria = 10.0 * (5.0 * local(CrossAttention(4.0, Dot(), "softmax"), 5.0))
    assert gloria(image, caption).item() == pytest.approx(54.013603, rel=1e-6)
    unit = [bag.with_instances(normalize(bag.instances, dim=1)) for bag in (image, caption)]
    text_to_image = local(CrossAttention(9.0, normalise="l2"), 6.0)
    assert text_to_image(*unit).item() == pytest.approx(1.076213, rel=1e-6)
    image_to_text = local(CrossAttention(4.0, normalise="l2"), 5.0).T
    assert image_to_text(*unit).item() == pytest.approx(1.099428, rel=1e-6)

    image = Bag.from_list([torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.2]])])
    caption = Bag.from_list([torch.tensor([[2.0, 0.5], [-0.3, 1.0]])])
    weights = [[0.397959, 0.244898, 0.357143, 0.0], [0.0, 0.430464, 0.304636, 0.264901]]
    torch.testing.assert_close(
        SparseAttention(Dot()).attention(image, caption), torch.tensor(weights).T, atol=1e-6, rtol=0
    )


def test_scales_are_learned_and_annealed():
    learned = CrossAttention(Learned(4.0), Dot(), "l2").double()
    torch.testing.assert_close(scored(learned), scored(CrossAttention(4.0, Dot(), "l2")))
    left_of_cosine(learned)(IMAGES, DOCUMENTS).sum().backward()
    assert learned.sharpness.log.grad.abs() > 0
    soft = SoftKey(DIM, Annealed(5.0, 50.0), Learned(0.5)).double()
    fixed = SoftKey(DIM, 5.0, 0.5).double()
    fixed.load_state_dict({"affinity.weight": soft.affinity.weight})
    torch.testing.assert_close(scored(soft), scored(fixed))


def test_every_aggregator_has_its_own_similarity():
    assert CrossAttention().similarity is not CrossAttention().similarity
    assert repr(CrossAttention()) == "CrossAttention(similarity=Cosine())"


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: NonLocal(4, query="tanh"), ValueError, 'the query of NonLocal is "linear", "mlp" or "identity"'),
        (lambda: SoftKey(4, 1.0, value="mlp"), ValueError, 'the value of SoftKey is "identity" or "learned"'),
        (lambda: NonLocal(4, temperature=0.0), ValueError, "the temperature of NonLocal must be a positive number"),
        (lambda: SoftKey(4, -1.0), ValueError, "the sharpness of SoftKey must be a positive number"),
        (lambda: TopKeys(4, 0), ValueError, "the k of TopKeys must be a count"),
        (lambda: TopKeys(4, 0.5), ValueError, "the k of TopKeys must be a count"),
        (lambda: CrossAttention(0.0), ValueError, "the sharpness of CrossAttention must be a positive number"),
        (lambda: CrossAttention(1.0, normalise="l1"), ValueError, '"none", "softmax" or "l2", not by \'l1\''),
        (lambda: CrossAttention(1.0, Hadamard()), TypeError, r"such as Cosine\(\), not by Hadamard\(\)"),
        (lambda: SparseAttention("dot"), TypeError, "SparseAttention attends by a similarity"),
        (lambda: CrossAttentionHead(6, heads=4), ValueError, "splits dim 6 among 4 heads; their number must divide it"),
        (lambda: CrossAttentionHead(6, heads=0), ValueError, "their number must divide it"),
    ],
)
def test_errors_say_what_to_write_instead(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()
