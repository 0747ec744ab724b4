import numpy as np
import pytest
import torch

from bagclip import losses, methods
from bagclip.aggregators import Attention, LogSumExp, Max, Mean, NonLocal
from bagclip.bags import Bag
from bagclip.formula import parse
from bagclip.losses import InfoNCE, Known
from bagclip.method import Method
from bagclip.scores import chain
from bagclip.similarity import Cosine

MAX, MEAN, COS = Max().over("regions"), Mean().over("sentences"), Cosine()


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: chain(COS, Max(), MEAN), TypeError, r'write Max\(\)\.over\("regions"\)'),
        (lambda: chain(COS, "max", MEAN), TypeError, "not of 'max'"),
        (lambda: chain(MAX, MEAN), ValueError, r"exactly one similarity, this one has none; put Cosine\(\)"),
        (
            lambda: chain(COS, COS, MAX, MEAN),
            ValueError,
            r"compares exactly once, this one with Cosine\(\) and Cosine\(\); drop one",
        ),
        (lambda: chain(COS, MAX), ValueError, r"sentences are never pooled; add an aggregator such as Mean\(\)\.over"),
        (lambda: chain(COS, MAX, MAX, MEAN), ValueError, "pools each axis once, so drop one"),
        (lambda: chain(MAX, COS, MEAN), TypeError, r"Max pools scores; write it to the right: chain\(Cosine\(\), Max"),
        (
            lambda: chain(COS, Attention(4).over("regions"), MEAN),
            TypeError,
            "Attention pools embeddings; write it to the left",
        ),
        (lambda: chain(COS, NonLocal(4).over("regions"), MEAN), TypeError, "NonLocal pools embeddings"),
        (
            lambda: chain(NonLocal(4).over("regions"), MEAN, COS),
            ValueError,
            "already depends on the other bag; pool sentences before it, or right",
        ),
        (lambda: Max().over("words"), ValueError, 'an axis is "regions" or "sentences"'),
        (lambda: LogSumExp(0.0), ValueError, "must be a positive number, Learned or Annealed, got 0.0"),
        (lambda: LogSumExp(float("nan")), ValueError, "must be a positive number"),
        (lambda: NonLocal(4, temperature=-1.0), ValueError, "must be a positive number"),
        (lambda: chain(COS, MAX, MEAN) + 1.0, TypeError, "a score adds to a score"),
        (lambda: chain(COS, MAX, MEAN) * chain(COS, MAX, MEAN), TypeError, "scaled by a finite number"),
        (lambda: float("inf") * chain(COS, MAX, MEAN), TypeError, "scaled by a finite number"),
        (lambda: InfoNCE(), ValueError, "needs a score for both directions"),
        (
            lambda: InfoNCE(chain(COS, MAX, MEAN), temperature=0.0),
            ValueError,
            "temperature of InfoNCE must be a positive number",
        ),
    ],
)
def test_a_malformed_score_says_what_to_write_instead(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "chain(Cosine(), open('x'))",
        "chain(*[Cosine()])",
        "(lambda: 0)()",
        "Cosine().forward",
        "chain(Cosine(), Max().over('regions'), Mean().over('sentences')).left",
        "1 + 1",
        "2.0",
        "Unknown()",
        "chain(",
        "",
        "(" * 500,
    ],
)
def test_what_is_no_formula_is_refused_and_not_run(text):
    with pytest.raises((ValueError, TypeError)):
        parse(text)


SMALL = {"carzero": {"heads": 2, "layers": 2}}


@pytest.mark.parametrize("name", methods.METHODS)
def test_a_method_is_rebuilt_from_its_formulas_with_the_same_shared_parts(name):
    method = methods.build(name, dim=6, **SMALL.get(name, {}))
    again = Method.from_config(method.config())
    assert again.config() == method.config()
    again.load_state_dict(method.state_dict())
    assert len(list(again.parameters())) == len(list(method.parameters()))
    images = Bag.dense(torch.randn(3, 4, 6), grid=(2, 2))
    documents = Bag.from_list([torch.randn(n, 6) for n in (1, 3, 2)])
    assert torch.equal(again.score(images, documents), method.score(images, documents))
    losses = []
    for loss in (again.loss, method.loss):
        torch.manual_seed(0)
        losses.append(loss(images, documents, Known(labels=torch.eye(3))))
    assert torch.equal(*losses)


def test_lse_nl_contrasts_the_mean_score_or_both_scores():
    torch.manual_seed(0)
    images, documents = Bag.dense(torch.randn(4, 5, 6)), Bag.from_list([torch.randn(n, 6) for n in (1, 3, 2, 2)])
    as_scores, as_losses = methods.lse_nl(6), methods.lse_nl_losses(6)
    as_losses.score.load_state_dict(as_scores.score.state_dict())
    local, non_local = as_losses.score.score.left, as_losses.score.score.right
    assert torch.equal(as_scores.score(images, documents), as_losses.score(images, documents))
    assert torch.equal(as_scores.loss(images, documents), InfoNCE(as_scores.score)(images, documents))
    both = InfoNCE(local)(images, documents) + InfoNCE(non_local)(images, documents)
    assert torch.equal(as_losses.loss(images, documents), both)


def test_parts_that_are_shared_in_another_way_are_refused_before_they_are_saved():
    non_local = methods.nl(6).score
    for method in (Method(non_local, InfoNCE(image_to_text=non_local.T, text_to_image=non_local)),):
        with pytest.raises(ValueError, match="shares parts in a way its formulas do not tell"):
            method.config()


def test_sums_keep_their_order_in_the_formula():
    a, b, c = (chain(COS, LogSumExp(r).over("regions"), MEAN) for r in (1.0, 2.0, 3.0))
    for score in (a + b + c, a + (b + c), 2.0 * (a + b) + c, -0.5 * a, 0.5 * (2.0 * a)):
        assert repr(parse(repr(score))) == repr(score)


def test_transposed_formula_is_understood():
    assert repr(parse('chain(Cosine(), Max().over("regions"), Mean().over("sentences")).T')) == (
        'chain(Cosine(), Max().over("sentences"), Mean().over("regions"))'
    )


@pytest.mark.parametrize("name", methods.METHODS)
def test_every_method_is_described(name):
    description = methods.describe(name)
    assert all(vars(description).values())
    assert repr(parse(description.formula)) == description.formula


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("lse-nl", {}, "did you mean 'lse_nl'"),
        ("lse", {"sharpnes": 2.0}, "did you mean 'sharpness'"),
        ("biovil", {"dim": 3}, None),
        ("chain(Cosine())", {}, "regions are never pooled"),
        ("Cosine()", {}, "is a Cosine of 0 scores; a method is given by the formula"),
        (repr(methods.nl(6).score), {}, r"NonLocal\(dim=6, temperature=0.05\) is for another size .* write dim=8"),
        (repr(methods.filip().loss), {}, "is a InfoNCE of 2 scores"),
        ("chain(Cosine(), Max().over('regions'), Mean().over('sentences'))", {"dim2": 3}, "a formula has no options"),
    ],
)
def test_unknown_methods_and_options_name_the_nearest(name, options, sentence):
    if sentence is None:
        assert methods.build(name, **options).name == name
        return
    with pytest.raises(ValueError, match=sentence):
        methods.build(name, 8, **options)


def test_incomparable_bags_are_refused():
    score = chain(COS, MAX, MEAN)
    good = Bag.dense(torch.ones(1, 2, 3))
    for other, sentence in [
        (Bag.dense(torch.ones(1, 2, 4)), "regions have dim 3 and sentences dim 4"),
        (Bag.dense(torch.ones(1, 2, 3, dtype=torch.float64)), "regions are torch.float32"),
        (Bag.dense(torch.ones(1, 2, 3, device="meta")), "regions are torch.float32 on cpu, sentences .* on meta"),
        (Bag.dense(torch.full((1, 2, 3), float("nan"))), r"sentences of bags \[0\] hold NaN"),
        (Bag.from_list([torch.ones(2, 3), torch.full((1, 3), float("inf"))]), r"sentences of bags \[1\] hold NaN"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            score(good, other)


def test_weights_elsewhere_or_in_another_precision_are_named():
    bags = Bag.dense(torch.ones(1, 2, 3))
    for score, sentence in [
        (methods.nl(3).score.double(), r"affinity\.weight are torch\.float64 on cpu, the bags torch\.float32"),
        (methods.nl(3).score.bfloat16(), "are torch.bfloat16 .* scores are computed in float32 at least"),
        (methods.nl(3).score.to("meta"), "on meta, the bags torch.float32 on cpu"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            score(bags, bags)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_bags_in_half_precision_are_scored_in_float32(dtype):
    torch.manual_seed(0)
    score = methods.lse_nl(6).score
    images, documents = Bag.dense(torch.randn(3, 4, 6)).to(dtype), Bag.dense(torch.randn(2, 3, 6)).to(dtype)
    expected = score(images.to(torch.float32), documents.to(torch.float32))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = score(images, documents)
    assert found.dtype == torch.float32 and torch.equal(found, expected)


def test_a_named_part_is_one_part():
    text = (
        'chain(Attention(dim=6).named("pool").over("regions"), Mean().over("sentences"), Cosine()) + '
        'chain(Attention(dim=6).named("pool").over("sentences"), Mean().over("regions"), Cosine())'
    )
    score = parse(text)
    assert repr(score) == text and len(list(score.parameters())) == 3
    other = parse(text.replace('"pool"', '"other"', 1))
    assert len(list(other.parameters())) == 6
    carzero = methods.carzero(8, heads=2, layers=1)
    assert carzero.score.score.left.middle.aggregator is carzero.loss.right.score.middle.aggregator


@pytest.mark.parametrize(
    "text",
    [
        'chain(Cosine(), LogSumExp(sharpness=Learned(start=5.0)).over("regions"), Mean().over("sentences"))',
        'chain(Cosine(), LogSumExp(sharpness=Annealed(start=1.0, end=9.0)).over("regions"), Mean().over("sentences"))',
        'InfoNCE(score=chain(Cosine(), TopK(k=2).over("regions"), Mean().over("sentences")), weights=(1.0, 0.25))',
        'chain(Critic(dim=4, hidden=(8, 3)), Max().over("regions"), Mean().over("sentences"))',
        'chain(SparseAttention(similarity=Dot(scaled=True)).over("regions"), Cosine(), Mean().over("sentences"))',
    ],
)
def test_scales_tuples_and_parts_in_parts_are_read(text):
    assert repr(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('chain(Cosin(), Max().over("regions"), Mean().over("sentences"))', "did you mean 'Cosine'"),
        (
            'chain(Cosine(), LogSumExp().over("regions"), Mean().over("sentences"))',
            "LogSumExp missing a required argument",
        ),
        ('chain(Cosine(), Max(3).over("regions"), Mean().over("sentences"))', "Max too many positional arguments"),
        ('chain(Cosine(), Max().over("words"), Mean().over("sentences"))', 'an axis is "regions" or "sentences"'),
        ('chain(Cosine(), LogSumExp(-1.0).over("regions"), Mean().over("sentences"))', "must be a positive number"),
    ],
)
def test_a_wrong_formula_says_what_is_wrong(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            'chain(NonLocal(dim=4).over("regions"), Cosine(), Mean().over("sentences"))',
            r"NonLocal\(dim=4\) is for features",
        ),
        ('chain(Bilinear(dim=4), Max().over("regions"), Mean().over("sentences"))', "these have dim 3"),
    ],
)
def test_a_part_of_another_size_is_named(text, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse(text)(Bag.dense(torch.ones(1, 2, 3)), Bag.dense(torch.ones(1, 2, 3)))


def test_a_loss_of_one_score_is_a_method():
    for name in ("siglip", "scan_t2i", "convirt", "lse"):
        method = methods.build(name, 6)
        again = methods.build(repr(method.loss), 6)
        assert repr(again.score) == repr(method.score) and repr(again.loss) == repr(method.loss)


def test_twins_with_weights_of_their_own_are_told_apart_by_name():
    with pytest.raises(ValueError, match=r"each with weights of its own.*\.named"):
        methods.nl(6).score + methods.nl(6).score
    one, other = (chain(Attention(6).named(n).over("regions"), COS, MEAN) for n in ("one", "other"))
    assert len(list(parse(repr(one + other)).parameters())) == 6
    same = methods.nl(6).score
    assert len(list(parse(repr(same + same)).parameters())) == 1


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: InfoNCE(1), TypeError, "InfoNCE needs a score"),
        (lambda: InfoNCE(Max()), TypeError, "InfoNCE needs a score"),
        (lambda: losses.Sigmoid(COS), TypeError, "Sigmoid needs a score"),
        (lambda: Method(InfoNCE(chain(COS, MAX, MEAN))), TypeError, "a method needs a score"),
        (lambda: parse("chain(1, 2)"), ValueError, "aggregators over an axis and one similarity"),
        (
            lambda: parse('chain(Cosine(), Max().over("regions"), Mean().over("sentences")) + 1'),
            ValueError,
            "adds to a",
        ),
        (
            lambda: parse(
                'chain(Attention(4).named("a").over("regions"), Cosine(), Mean().over("sentences")) + '
                'chain(Attention(5).named("a").over("regions"), Cosine(), Mean().over("sentences"))'
            ),
            ValueError,
            "'a' names both",
        ),
    ],
)
def test_what_is_no_score_is_refused_where_it_is_given(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()


def test_numbers_of_numpy_and_odd_names_read_back():
    score = chain(Attention(np.int64(4)).named('a "b"').over("regions"), COS, MEAN)
    assert repr(parse(repr(score))) == repr(score) and "np." not in repr(score)
