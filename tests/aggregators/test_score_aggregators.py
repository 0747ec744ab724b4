import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_aggregators as reference
from bagclip.aggregators.auto_pool import AutoPool
from bagclip.aggregators.exp_softmax import ExpSoftmax
from bagclip.aggregators.generalised_mean import GeneralisedMean
from bagclip.aggregators.isr import ISR
from bagclip.aggregators.linear_softmax import LinearSoftmax
from bagclip.aggregators.log_sum_exp import LogSumExp
from bagclip.aggregators.max import Max
from bagclip.aggregators.mean import Mean
from bagclip.aggregators.noisy_and import NoisyAnd
from bagclip.aggregators.noisy_or import NoisyOr
from bagclip.aggregators.probability import PoolsProbabilities
from bagclip.aggregators.top_k import TopK
from bagclip.scale import Annealed, Learned, anneal


def auto_pool(alpha, **options):
    aggregator = AutoPool(**options)
    torch.nn.init.constant_(aggregator.alpha, alpha)
    return aggregator


REAL = [
    (Mean, reference.mean, {}),
    (Max, reference.maximum, {}),
    (TopK, reference.top_k, {"k": 1}),
    (TopK, reference.top_k, {"k": 3}),
    (TopK, reference.top_k, {"k": 0.5}),
    (TopK, reference.top_k, {"k": 0.07}),
    (LogSumExp, reference.log_sum_exp, {"sharpness": 4.0}),
    (LogSumExp, reference.log_sum_exp, {"sharpness": 0.3, "normalised": False}),
    (ExpSoftmax, reference.exp_softmax, {}),
    (ExpSoftmax, reference.exp_softmax, {"sharpness": 6.0}),
    (auto_pool, reference.auto_pool, {"alpha": -1.5}),
]
FORMS = [
    (GeneralisedMean, reference.generalised_mean, {"power": 3.0}),
    (GeneralisedMean, reference.generalised_mean, {"power": 0.2}),
    (NoisyOr, reference.noisy_or, {}),
    (ISR, reference.isr, {}),
    (NoisyAnd, reference.noisy_and, {}),
    (NoisyAnd, reference.noisy_and, {"slope": 3.0, "share": 0.2}),
    (LinearSoftmax, reference.linear_softmax, {}),
]
SQUASHED = [(make, plain, options | {"sharpness": 2.0, "threshold": 0.25}) for make, plain, options in FORMS]
GIVEN = [(make, plain, options | {"sharpness": None}) for make, plain, options in FORMS]


def name(case):
    return f"{case[0].__name__}({', '.join(f'{k}={v}' for k, v in case[2].items())})"


def cases(table):
    return pytest.mark.parametrize("case", table, ids=name)


def pool(aggregator, *bags, dtype=torch.float64):
    """The pooled value of each bag, a list of numbers."""
    scores = torch.tensor([s for bag in bags for s in bag], dtype=dtype)
    return aggregator.pool_scores(scores, torch.tensor([len(bag) for bag in bags]), 0).detach()


def gradient(aggregator, *bags, dtype=torch.float64):
    scores = torch.tensor([s for bag in bags for s in bag], dtype=dtype, requires_grad=True)
    aggregator.pool_scores(scores, torch.tensor([len(bag) for bag in bags]), 0).sum().backward()
    return scores.grad


@st.composite
def bags(draw, low=-2.0, high=2.0):
    """Scores (total, 2) of ragged bags or of bags of one length, with ties and the ends of the range among them."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    if draw(st.booleans()):
        lengths = [lengths[0]] * len(lengths)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    shape = (sum(lengths), 2)
    values = low + (high - low) * torch.rand(shape, dtype=torch.float64, generator=generator)
    if draw(st.booleans()):
        values = low + (high - low) * (2 * torch.rand(shape, dtype=torch.float64, generator=generator)).round() / 2
    return values, torch.tensor(lengths)


def looped(plain, options, values, lengths):
    pieces = values.split(lengths.tolist())
    return torch.tensor([[plain(column.tolist(), **options) for column in piece.T] for piece in pieces]).double()


def check_against_loop(case, values, lengths):
    make, plain, options = case
    aggregator = make(**options).double()
    expected = looped(plain, options, values, lengths)
    before = values.clone()
    torch.testing.assert_close(aggregator.pool_scores(values, lengths, 0).detach(), expected)
    torch.testing.assert_close(aggregator.pool_scores(values.T, lengths, 1).detach(), expected.T)
    torch.testing.assert_close(aggregator.pool_scores(values.T, lengths, -1).detach(), expected.T)
    trailing = values.reshape(1, -1, 2, 1).expand(3, -1, -1, 2)
    pooled = aggregator.pool_scores(trailing, lengths, 1).detach()
    torch.testing.assert_close(pooled, expected.reshape(1, -1, 2, 1).expand(3, -1, -1, 2))
    assert torch.equal(values, before)
    single = make(**options).pool_scores(values.float(), lengths, 0).detach()
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, atol=2e-5, rtol=1e-4)


@cases(REAL + SQUASHED)
@given(bag=bags())
def test_real_scores_pool_as_in_a_plain_loop(case, bag):
    check_against_loop(case, *bag)


@cases(GIVEN)
@given(bag=bags(0.0, 1.0))
def test_probabilities_pool_as_in_a_plain_loop(case, bag):
    check_against_loop(case, *bag)


@pytest.mark.parametrize("lengths", [[3, 1, 4], [2, 2, 2, 2]], ids=["ragged", "equal"])
@cases(REAL + SQUASHED + GIVEN)
def test_gradients_equal_finite_differences(case, lengths):
    make, _, options = case
    aggregator = make(**options).double()
    generator = torch.Generator().manual_seed(0)
    scores = (0.1 + 0.8 * torch.rand(8, 2, dtype=torch.float64, generator=generator)).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: aggregator.pool_scores(s, torch.tensor(lengths), 0), scores)


@cases(REAL + SQUASHED + GIVEN)
def test_what_is_declared_invariant_to_replication_is(case):
    make, _, options = case
    aggregator = make(**options).double()
    bag = [0.1, 0.4, 0.7, 0.9]
    once, twice = pool(aggregator, bag), pool(aggregator, bag * 2)
    # TopK promises nothing: whether it is depends on k and on the size of the bag.
    if make is not TopK:
        assert torch.allclose(once, twice) == aggregator.replication_invariant
    assert TopK.replication_invariant is False


def test_only_what_chooses_is_not_smooth():
    kinked = {name(case) for case in REAL + SQUASHED + GIVEN if not case[0](**case[2]).smooth}
    assert kinked == {"Max()", "TopK(k=1)", "TopK(k=3)", "TopK(k=0.5)", "TopK(k=0.07)"}
    assert TopK(1.0).smooth and not TopK(1).smooth


S, P = [0.0, 0.5, 1.0], [0.1, 0.5, 0.8]


@pytest.mark.parametrize(
    ("aggregator", "bag", "golden"),
    [
        (Mean(), S, 0.5),
        (LogSumExp(1.0), S, 0.581657),
        (LogSumExp(5.0), S, 0.797297),
        (LogSumExp(10.0), S, 0.890815),
        (LogSumExp(1.0, normalised=False), S, 1.680270),
        (LogSumExp(5.0, normalised=False), S, 1.017019),
        (ExpSoftmax(5.0), S, 0.956117),
        (auto_pool(5.0), S, 0.956117),
        (NoisyOr(None), P, 0.91),
        (ISR(None), P, 0.836364),
        (GeneralisedMean(2.0, None), P, 0.547723),
        (LinearSoftmax(None), P, 0.642857),
        (ExpSoftmax(), P, 0.545305),
        (NoisyAnd(10.0, 0.5, None), P, 0.416310),
    ],
    ids=repr,
)
def test_golden_numbers(aggregator, bag, golden):
    assert pool(aggregator, bag).item() == pytest.approx(golden, abs=1e-6)


@given(bag=bags())
def test_limits_of_what_pools_scores(bag):
    values, lengths = bag
    mean, top = Mean().pool_scores(values, lengths, 0), Max().pool_scores(values, lengths, 0)

    def same(aggregator, expected, atol=1e-12):
        torch.testing.assert_close(
            aggregator.pool_scores(values, lengths, 0).detach(), expected.detach(), atol=atol, rtol=0
        )

    same(TopK(1), top)
    same(TopK(1.0), mean)
    same(TopK(1000), mean)
    same(AutoPool(), mean)
    same(auto_pool(1.0), ExpSoftmax(1.0).pool_scores(values, lengths, 0))
    same(auto_pool(-1e4), -Max().pool_scores(-values, lengths, 0), atol=1e-3)
    same(ExpSoftmax(1e-7), mean, atol=1e-5)
    same(ExpSoftmax(1e4), top, atol=1e-3)
    for k in (1, 2, 0.3, 0.9):
        pooled = TopK(k).pool_scores(values, lengths, 0)
        assert (pooled <= top + 1e-12).all() and (pooled >= mean - 1e-12).all()


@given(bag=bags(0.0, 1.0))
def test_limits_and_bounds_of_what_pools_probabilities(bag):
    values, lengths = bag
    pooled = lambda aggregator: aggregator.double().pool_scores(values, lengths, 0).detach()  # noqa: E731
    mean, top = pooled(Mean()), pooled(Max())
    torch.testing.assert_close(pooled(GeneralisedMean(1.0, None)), mean)
    torch.testing.assert_close(pooled(GeneralisedMean(1e4, None)), top, atol=1e-3, rtol=0)
    torch.testing.assert_close(pooled(NoisyAnd(1e-6, 0.3, None)), mean, atol=1e-5, rtol=0)
    for aggregator in (NoisyOr(None), ISR(None)):
        assert (pooled(aggregator) >= top - 1e-12).all() and (pooled(aggregator) <= 1).all()
    for aggregator in (GeneralisedMean(2.5, None), LinearSoftmax(None)):
        assert (pooled(aggregator) >= mean - 1e-12).all() and (pooled(aggregator) <= top + 1e-12).all()
    assert (pooled(GeneralisedMean(0.5, None)) <= mean + 1e-12).all()
    assert ((pooled(NoisyAnd(sharpness=None)) >= 0) & (pooled(NoisyAnd(sharpness=None)) <= 1)).all()


@given(bag=bags())
def test_isr_is_a_log_sum_exp_in_logit_space(bag):
    values, lengths = bag
    logits = LogSumExp(1.0, normalised=False).pool_scores(3.0 * (values - 0.1), lengths, 0)
    torch.testing.assert_close(ISR(3.0, 0.1).pool_scores(values, lengths, 0), logits.sigmoid())


@given(bag=bags())
def test_squashing_first_gives_the_same(bag):
    values, lengths = bag
    p = torch.sigmoid(2.0 * (values - 0.5))
    for make, _, options in FORMS:
        squashed = make(**options, sharpness=2.0, threshold=0.5).double().pool_scores(values, lengths, 0)
        torch.testing.assert_close(make(**options, sharpness=None).double().pool_scores(p, lengths, 0), squashed)


@pytest.mark.parametrize("slope", [1e-6, 0.5, 10.0, 1e4])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_noisy_and_goes_from_nothing_to_one(slope, share):
    assert pool(NoisyAnd(slope, share, None), [0.0, 0.0], [1.0], [1.0, 1.0, 1.0]).tolist() == [0, 1, 1]


def test_noisy_and_learns_its_share():
    aggregator = NoisyAnd(sharpness=None)
    assert aggregator.logit.sigmoid().item() == 0.5
    optimizer = torch.optim.SGD(aggregator.parameters(), lr=50.0)
    for _ in range(20):
        optimizer.zero_grad()
        (-aggregator.pool_scores(torch.tensor([0.2, 0.3]), torch.tensor([2]), 0)).sum().backward()
        optimizer.step()
    assert 0 < aggregator.logit.sigmoid().item() < 0.2


def test_top_k_counts_shares_exactly_and_takes_the_first_of_equal_ones():
    # 0.07 * 100 is a little more than 7 in floating point.
    assert pool(TopK(0.07), [float(i) for i in range(100)]).item() == 96
    assert pool(TopK(1e-12), [1.0, 2.0, 3.0]).item() == 3
    assert gradient(TopK(2), [1.0, 3.0, 1.0, 1.0], [2.0, 2.0, 2.0]).tolist() == [0.5, 0.5, 0, 0, 0.5, 0.5, 0]
    assert gradient(TopK(2), [1.0, 3.0, 1.0], [2.0, 2.0, 2.0]).tolist() == [0.5, 0.5, 0, 0.5, 0.5, 0]


FAR = [[1000.0, -1000.0], [-1000.0, -1000.0, -1000.0], [1000.0], [0.0, 1000.0, 1000.0]]
ENDS = [[0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0], [1.0], [0.0], [0.3, 1.0, 0.0], [1e-42, 1e-30], [1e-42]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("alone", [False, True], ids=["ragged", "alone"])
@cases([*REAL, *FORMS, *GIVEN])
def test_extremes_have_finite_values_and_gradients(case, alone, dtype):
    make, _, options = case
    extremes = ENDS if options.get("sharpness", 0) is None else FAR
    for batch in [[bag] for bag in extremes] if alone else [extremes]:
        aggregator = make(**options).to(dtype)
        assert torch.isfinite(pool(aggregator, *batch, dtype=dtype)).all()
        assert torch.isfinite(gradient(aggregator, *batch, dtype=dtype)).all()
        assert all(torch.isfinite(p.grad).all() for p in aggregator.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@cases(FORMS)
def test_gradients_are_finite_where_probabilities_underflow(case, dtype):
    make, _, options = case
    for logit in (-80.0, -87.0, -87.5, -88.0, -90.0, -95.0, -103.0, -104.0, -110.0, -700.0, -710.0, -740.0, -750.0):
        aggregator = make(**options, sharpness=1.0).to(dtype)
        assert torch.isfinite(gradient(aggregator, [logit], [logit, logit - 3.0], dtype=dtype)).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_values_and_derivatives_at_the_ends(dtype):
    close = lambda actual, expected: torch.testing.assert_close(actual, torch.tensor(expected, dtype=dtype))  # noqa: E731
    close(pool(NoisyOr(None), [0.0, 0.0], [1.0, 0.2], dtype=dtype), [0.0, 1.0])
    close(gradient(NoisyOr(None), [0.0, 0.0], [1.0, 0.2], dtype=dtype), [1.0, 1.0, 0.8, 0.0])
    close(pool(ISR(None), [0.0, 0.0], [1.0, 0.2], dtype=dtype), [0.0, 1.0])
    close(gradient(ISR(None), [0.0, 0.0], [1.0, 0.2], [0.0, 0.5], dtype=dtype), [1.0, 1.0, 1.0, 0.0, 0.25, 1.0])
    assert pool(LinearSoftmax(None), [0.0, 0.0], [0.0, 0.5], dtype=dtype).tolist() == [0.0, 0.5]
    close(gradient(LinearSoftmax(None), [0.0, 0.0], [0.0, 0.5], dtype=dtype), [0.0, 0.0, -1.0, 1.0])
    assert pool(GeneralisedMean(2.0, None), [0.0, 0.0], dtype=dtype).item() == 0
    close(gradient(GeneralisedMean(0.5, None), [0.0, 0.0], [0.0, 0.5], dtype=dtype), [0.0, 0.0, 0.0, 0.25])


def test_small_probabilities_keep_their_digits():
    for aggregator in (NoisyOr(None), ISR(None)):
        pooled = pool(aggregator, [1e-12, 3e-12], dtype=torch.float32).item()
        assert pooled == pytest.approx(4e-12, rel=1e-5, abs=0)


def test_saturated_noisy_or_and_isr_keep_their_gradient():
    # In float32 both values are 1; their derivatives by one logit are about exp(-20) all the same.
    for aggregator in (NoisyOr(1.0), ISR(1.0)):
        assert pool(aggregator, [20.0], dtype=torch.float32).item() == 1
        slope = gradient(aggregator, [20.0], dtype=torch.float32).item()
        assert slope == pytest.approx(math.exp(-20), rel=1e-3)


@pytest.mark.parametrize("lengths", [[2, 2], [1, 3]], ids=["equal", "ragged"])
@cases(REAL + SQUASHED)
def test_nan_is_never_made_a_number(case, lengths):
    make, _, options = case
    scores = torch.tensor([1.0, 2.0, math.nan, 3.0])
    pooled = make(**options).pool_scores(scores, torch.tensor(lengths), 0)
    assert torch.isfinite(pooled[0]) and torch.isnan(pooled[1])


@cases(GIVEN)
def test_what_is_no_probability_is_refused(case):
    make, _, options = case
    aggregator = make(**options)
    with pytest.raises(ValueError, match=r"over regions takes scores for probabilities.*from -0\.25 to 0\.5"):
        aggregator.pool_scores(torch.tensor([[0.5], [-0.25]]), torch.tensor([2]), 0)
    for dim in (1, -1):
        with pytest.raises(ValueError, match=r"over sentences .*from 0\.5 to 1\.5"):
            aggregator.pool_scores(torch.tensor([[0.5, 1.5]]), torch.tensor([2]), dim)
    with pytest.raises(ValueError, match="nan"):
        aggregator.pool_scores(torch.tensor([0.5, math.nan]), torch.tensor([2]), 0)


@cases(GIVEN)
def test_rounding_beside_the_ends_is_no_error(case):
    make, _, options = case
    aggregator = make(**options)
    beside = torch.tensor([-1e-7, 1 + 2e-7])
    pooled = aggregator.pool_scores(beside, torch.tensor([2]), 0)
    assert torch.equal(pooled, aggregator.pool_scores(torch.tensor([0.0, 1.0]), torch.tensor([2]), 0))
    assert torch.equal(beside, torch.tensor([-1e-7, 1 + 2e-7]))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: TopK(0), r"the k of TopK must be a count .* or a share .*, got 0\."),
        (lambda: TopK(True), "got True"),
        (lambda: TopK(0.0), r"got 0\.0"),
        (lambda: TopK(1.5), r"got 1\.5"),
        (lambda: TopK(math.nan), "got nan"),
        (lambda: TopK("3"), "got '3'"),
        (lambda: LogSumExp(0.0), "the sharpness of LogSumExp must be a positive number"),
        (lambda: ExpSoftmax(-1.0), "the sharpness of ExpSoftmax must be a positive number"),
        (lambda: NoisyOr(0.0), "the sharpness of NoisyOr must be a positive number"),
        (lambda: NoisyOr(threshold=math.inf), "the threshold of NoisyOr must be a finite number, got inf"),
        (lambda: ISR(None, 0.5), "ISR has a threshold, 0.5, but no sharpness"),
        (lambda: GeneralisedMean(0.0), "the power of GeneralisedMean must be a positive number"),
        (lambda: NoisyAnd(slope=-2.0), "the slope of NoisyAnd must be a positive number"),
        (lambda: NoisyAnd(share=1.0), r"the share of NoisyAnd must be a number between 0 and 1, .* got 1\.0"),
        (lambda: NoisyAnd(share=3.0), r"got 3\.0"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("aggregator", "formula"),
    [
        (TopK(3), "TopK(k=3)"),
        (TopK(0.5), "TopK(k=0.5)"),
        (NoisyOr(), "NoisyOr()"),
        (ISR(None), "ISR(sharpness=None)"),
        (GeneralisedMean(2, threshold=0.25), "GeneralisedMean(power=2.0, threshold=0.25)"),
        (NoisyAnd(share=0.25), "NoisyAnd(share=0.25)"),
        (LinearSoftmax(Learned(5.0)), "LinearSoftmax(sharpness=Learned(start=5.0))"),
        (AutoPool(nonnegative=True), "AutoPool(nonnegative=True)"),
        (ExpSoftmax(Annealed(1.0, 9.0)), "ExpSoftmax(sharpness=Annealed(start=1.0, end=9.0))"),
        (LogSumExp(Learned(5.0)), "LogSumExp(sharpness=Learned(start=5.0))"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_prints_as_its_formula(aggregator, formula):
    assert repr(aggregator) == formula


SCALED = {
    "LogSumExp": LogSumExp,
    "LogSumExp sum": lambda scale: LogSumExp(scale, normalised=False),
    "ExpSoftmax": ExpSoftmax,
    "GeneralisedMean": GeneralisedMean,
    "GeneralisedMean of given": lambda scale: GeneralisedMean(scale, None),
    "GeneralisedMean, sharpness": lambda scale: GeneralisedMean(2.0, scale),
    "NoisyOr": NoisyOr,
    "ISR": ISR,
    "NoisyAnd": lambda scale: NoisyAnd(sharpness=scale),
    "NoisyAnd, slope": lambda scale: NoisyAnd(scale),
    "LinearSoftmax": LinearSoftmax,
}


@pytest.mark.parametrize("make", SCALED.values(), ids=SCALED)
def test_scales_may_be_learned_or_annealed(make):
    bags = [[0.1, 0.4, 0.6], [0.9]]
    fixed = pool(make(3.0), *bags)
    learned = make(Learned(3.0)).double()
    torch.testing.assert_close(pool(learned, *bags), fixed, atol=1e-6, rtol=0)
    scores, lengths = torch.tensor(bags[0]).double(), torch.tensor([3])

    def at(log):
        with torch.no_grad():
            learned_parameter.copy_(log)
        return learned.pool_scores(scores, lengths, 0)

    (learned_parameter,) = (p for n, p in learned.named_parameters() if n.endswith(".log"))
    log = learned_parameter.detach().clone()
    at(log).sum().backward()
    difference = (at(log + 1e-5) - at(log - 1e-5)).item() / 2e-5
    assert learned_parameter.grad.item() == pytest.approx(difference, rel=1e-5)
    annealed = make(Annealed(1.0, 9.0))
    torch.testing.assert_close(pool(annealed, *bags), pool(make(1.0), *bags))
    anneal(annealed, 0.5)
    torch.testing.assert_close(pool(annealed, *bags), fixed, atol=1e-6, rtol=0)


def test_constrained_auto_pool_is_held_at_zero_and_comes_back():
    scores, lengths = torch.tensor([0.0, 0.5, 1.0], requires_grad=True), torch.tensor([3])
    free, held = auto_pool(-2.0), auto_pool(-2.0, nonnegative=True)
    assert free.pool_scores(scores, lengths, 0).item() < 0.5
    # Two uses before one backward, as in a sum of losses.
    total = held.pool_scores(scores, lengths, 0) + held.pool_scores(scores, lengths, 0)
    assert total.item() == 1.0 and held.alpha.item() == 0.0
    (-total).sum().backward()
    assert held.alpha.grad.item() < 0
    torch.optim.SGD([held.alpha], lr=1.0).step()
    assert held.pool_scores(scores, lengths, 0).item() > 0.5


def test_probabilities_pool_on_along_a_chain():
    scores = torch.tensor([[0.3, -0.2], [0.1, 0.5], [0.2, 0.2]]).double()
    regions = NoisyOr(4.0).pool_scores(scores, torch.tensor([2, 1]), 0)
    document = LinearSoftmax(None).pool_scores(regions, torch.tensor([2]), 1)
    columns = [[scores[i, j].item() for i in rows] for rows in ((0, 1), (2,)) for j in (0, 1)]
    p = [reference.noisy_or(column, 4.0) for column in columns]
    expected = [reference.linear_softmax(p[:2], None), reference.linear_softmax(p[2:], None)]
    torch.testing.assert_close(document, torch.tensor(expected).double()[:, None])
    assert isinstance(NoisyOr(), PoolsProbabilities)
