import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference_losses as reference
from bagclip.aggregators import Max, Mean
from bagclip.aggregators.auto_pool import AutoPool
from bagclip.bags import Bag
from bagclip.formula import parse
from bagclip.losses import (
    Debiased,
    HardestHinge,
    InfoNCE,
    Known,
    MutualInformation,
    OneSentence,
    Sigmoid,
    SoftTargets,
    SquaredSharpness,
    debiased_info_nce,
    hinge,
    info_nce,
    mutual_information,
    pairwise_sigmoid,
    soft_cross_entropy,
)
from bagclip.losses.soft_targets import label_similarity, text_similarity
from bagclip.scale import Annealed, Learned, anneal
from bagclip.scores import chain
from bagclip.similarity import Cosine, Critic, Dot

DIM = 6
GOLDEN = torch.tensor([[0.9, 0.1, -0.2], [0.3, 0.8, 0.0], [-0.1, 0.2, 0.7]], dtype=torch.float64)


def score():
    return chain(Cosine(), Max().over("regions"), Mean().over("sentences"))


def ragged(count, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    lengths = [[1 + (i + seed) % 3 for i in range(count)], [1 + (2 * i + seed) % 4 for i in range(count)]]
    images, documents = (
        Bag.from_list([torch.randn(n, DIM, dtype=torch.float64, generator=generator).to(dtype) for n in sizes])
        for sizes in lengths
    )
    return images, documents


def known(count, seed=0):
    """Symmetric, with the diagonal: as the trainer makes it."""
    generator = torch.Generator().manual_seed(seed)
    groups = torch.randint(0, count, (count,), generator=generator)
    return Known(
        same=groups[:, None] == groups,
        labels=(torch.rand(count, 4, generator=generator) < 0.4).float(),
        prior=0.9 * torch.rand(count, generator=generator),
    )


EXAMPLES = {
    "sigmoid": lambda: Sigmoid(score(), temperature=0.2, bias=-1.0),
    "labels": lambda: SoftTargets(score(), temperature=0.2, target_temperature=0.5),
    "text": lambda: SoftTargets(score(), temperature=0.2, targets="text", target_temperature=0.1),
    "hardest": lambda: HardestHinge(score()),
    "hinge": lambda: HardestHinge(score(), margin=0.5, hardest=False),
    "dv": lambda: MutualInformation(score()),
    "infonce": lambda: MutualInformation(score(), bound="infonce"),
    "debiased": lambda: Debiased(score(), temperature=0.3),
    "sample": lambda: Debiased(score(), prior=None, temperature=0.3),
    "one": lambda: OneSentence(InfoNCE(score(), temperature=0.2)),
}
examples = pytest.mark.parametrize("make", EXAMPLES.values(), ids=EXAMPLES)


def two_way(function, matrix, excluded):
    """The sum of both directions."""
    return function(matrix, excluded) + function(reference.transpose(matrix), reference.transpose(excluded))


def by_loops(name, scores, facts, documents):
    scores, same = scores.tolist(), facts.same.tolist()
    divide = lambda t: [[value / t for value in row] for row in scores]  # noqa: E731
    match name:
        case "sigmoid":
            return reference.pairwise_sigmoid([[value - 1.0 for value in row] for row in divide(0.2)], same)
        case "labels" | "text":
            if name == "labels":
                vectors = [[*row, float(not any(row))] for row in facts.labels.tolist()]
            else:
                vectors = [
                    [sum(column) / len(rows) for column in zip(*rows.tolist(), strict=True)] for rows in documents
                ]
            scale = 0.5 if name == "labels" else 0.1
            similar = [[reference.cosine(a, b) / scale for b in vectors] for a in vectors]
            similar = [[1 / scale if same[i][j] else v for j, v in enumerate(row)] for i, row in enumerate(similar)]
            both = [(divide(0.2), similar), (reference.transpose(divide(0.2)), reference.transpose(similar))]
            return 0.5 * sum(reference.soft_cross_entropy(s, [reference.softmax(row) for row in t]) for s, t in both)
        case "hardest":
            return two_way(lambda s, e: reference.hinge(s, 0.2, True, e), scores, same)
        case "hinge":
            return two_way(lambda s, e: reference.hinge(s, 0.5, False, e), scores, same)
        case "dv" | "infonce":
            return -reference.mutual_information(scores, name, same)
        case "debiased" | "sample":
            prior = [0.1] * len(scores) if name == "debiased" else facts.prior.tolist()
            return 0.5 * two_way(lambda s, e: reference.debiased(s, prior, -1 / 0.3, e), divide(0.3), same)
        case "one":
            return 0.5 * two_way(reference.info_nce, divide(0.2), same)


@pytest.mark.parametrize("name", EXAMPLES)
@given(seed=st.integers(0, 999), count=st.integers(2, 6), groups=st.booleans())
def test_every_loss_equals_its_loops(name, seed, count, groups):
    images, documents = ragged(count, seed)
    facts = known(count, seed)
    if not groups:
        one_way = torch.rand(count, count, generator=torch.Generator().manual_seed(seed)) < 0.2
        facts = Known(one_way | torch.eye(count, dtype=torch.bool), facts.labels, facts.prior)
    loss = EXAMPLES[name]().double().eval()
    value = loss(images, documents, facts)
    expected = by_loops(name, score()(images, documents), facts, documents)
    assert value.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@examples
@given(seed=st.integers(0, 999))
def test_the_order_of_pairs_does_not_matter(make, seed):
    images, documents = ragged(5, seed)
    facts, order = known(5, seed), torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    moved = Known(facts.same[order][:, order], facts.labels[order], facts.prior[order])
    loss = make().double().eval()
    value = loss(images.select(order.tolist()), documents.select(order.tolist()), moved)
    torch.testing.assert_close(value, loss(images, documents, facts))


@examples
def test_gradients_equal_finite_differences(make):
    images, documents = ragged(4, 1)
    facts, loss = known(4, 3), make().double().eval()
    # The targets have no gradient, so sentences are varied only where they are no target.
    vary = not (isinstance(loss, SoftTargets) and loss.targets == "text")
    assert torch.autograd.gradcheck(
        lambda x, y: loss(images.with_instances(x), documents.with_instances(y), facts),
        (images.instances.requires_grad_(), documents.instances.requires_grad_(vary)),
    )


@examples
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("alike", [False, True])
def test_losses_and_gradients_are_finite_and_in_full_precision(make, dtype, alike):
    images, documents = ragged(4, 2, dtype)
    if alike:
        images, documents = Bag.dense(torch.ones(4, 2, DIM, dtype=dtype)), Bag.dense(torch.ones(4, 3, DIM, dtype=dtype))
    features, loss = images.instances.clone().requires_grad_(), make().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(images.with_instances(features), documents, known(4, 0))
    value.backward()
    assert value.item() == loss(images.to(torch.float32), documents.to(torch.float32), known(4, 0)).item()
    assert value.dtype == torch.float32 and torch.isfinite(value)
    assert torch.isfinite(features.grad).all()


@examples
def test_without_anything_known_nothing_is_left_out(make):
    images, documents = ragged(4)
    loss, facts = make().double().eval(), known(4)
    bare = Known(labels=facts.labels, prior=facts.prior)
    full = Known(torch.eye(4, dtype=torch.bool), facts.labels, facts.prior)
    assert loss(images, documents, bare).item() == loss(images, documents, full).item()


@examples
def test_where_all_are_the_same_there_is_no_negative(make):
    images, documents = ragged(3)
    facts = Known(torch.ones(3, 3, dtype=torch.bool), torch.zeros(3, 2), torch.zeros(3))
    value = make().double()(images, documents, facts)
    assert torch.isfinite(value)
    if not isinstance(make(), Sigmoid | SoftTargets):
        assert value.item() == 0


@examples
def test_a_formula_reads_back(make):
    again = parse(repr(make()))
    assert repr(again) == repr(make())
    images, documents = ragged(3)
    assert again.eval()(images, documents, known(3)).item() == make().eval()(images, documents, known(3)).item()


@pytest.mark.parametrize("kind", [Sigmoid, SoftTargets, Debiased])
def test_temperatures_are_fixed_annealed_or_learned(kind):
    images, documents = ragged(3)
    fixed = kind(score(), temperature=0.2).double()
    annealed = kind(score(), temperature=Annealed(0.4, 0.1)).double()
    anneal(annealed, 0.5)
    learned = kind(score(), temperature=Learned(0.2)).double()
    values = [loss(images, documents, known(3)) for loss in (fixed, annealed, learned)]
    assert values[0].item() == pytest.approx(values[1].item()) == pytest.approx(values[2].item())
    values[2].backward()
    assert len(list(learned.parameters())) - len(list(fixed.parameters())) == 1
    assert len(list(fixed.parameters())) == (kind is Sigmoid)
    assert learned.temperature.log.grad.abs() > 0
    default = kind(score())
    assert 1 / default.sharpness.item() == pytest.approx(0.1 if kind is Sigmoid else 0.07)
    assert repr(default) == f"{kind.__name__}(score={score()!r})"


def test_golden_sigmoid():
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    assert pairwise_sigmoid(logits).item() == pytest.approx(2 * math.log(2))
    # Zhai et al.: at the start, with bias -10, the negatives cost nothing and a positive its full 10.
    assert pairwise_sigmoid(torch.zeros(3, 3) - 10).item() == pytest.approx(
        10 + 3 * math.log1p(math.exp(-10)), rel=1e-6
    )
    loss = Sigmoid(score())
    images, documents = ragged(3)
    loss.double()(images, documents).backward()
    assert loss.offset.item() == -10 and loss.offset.grad < 0


def test_golden_medclip():
    """Its released code on these labels and cosines, with inner products of labels in the place of their cosine."""
    images = torch.tensor([[1.0, 0, -1], [0, 1, 1], [0, 0, 0]], dtype=torch.float64)
    texts = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 0, -1]], dtype=torch.float64)
    logits = torch.tensor([[0.9, 0.1, -0.2], [0.3, 0.8, 0], [-0.1, 0.2, 0.7]], dtype=torch.float64) / 0.07
    rows = soft_cross_entropy(logits, (images @ texts.mT).softmax(1))
    columns = soft_cross_entropy(logits.mT, (texts @ images.mT).softmax(1))
    assert (0.5 * (rows + columns)).item() == pytest.approx(6.750263, abs=1e-6)


def test_sharp_targets_of_distinct_labels_are_info_nce():
    images, documents = ragged(4)
    soft = SoftTargets(score(), temperature=0.2, target_temperature=0.001)
    expected = InfoNCE(score(), temperature=0.2)(images, documents)
    assert soft(images, documents, Known(labels=torch.eye(4))).item() == pytest.approx(expected.item())


def test_flat_targets_of_one_class_ask_for_every_document_alike():
    images, documents = ragged(4)
    logits = score()(images, documents) / 0.2
    expected = -0.5 * (logits.log_softmax(1) + logits.log_softmax(0)).sum() / 16
    loss = SoftTargets(score(), temperature=0.2)(images, documents, Known(labels=torch.zeros(4, 3)))
    assert loss.item() == pytest.approx(expected.item())


def test_similarities_of_labels_and_of_texts():
    labels = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]])
    half = 2**-0.5
    expected = torch.tensor([[1, half, 0, 0], [half, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    torch.testing.assert_close(label_similarity(labels), expected)
    documents = Bag.from_list([torch.tensor([[2.0, 0], [0, 2]]), torch.tensor([[0.0, 3]])])
    torch.testing.assert_close(text_similarity(documents), torch.tensor([[1, half], [half, 1]]))


def test_targets_of_text_have_no_gradient():
    images, documents = ragged(4)
    features = documents.instances.clone().requires_grad_()
    loss = SoftTargets(score(), temperature=0.2, targets="text", target_temperature=0.1)
    (gradient,) = torch.autograd.grad(loss(images, documents.with_instances(features)), features)
    logits = score()(images, documents.with_instances(features)) / 0.2
    target = (text_similarity(documents) / 0.1).softmax(1)
    fixed = 0.5 * (soft_cross_entropy(logits, target) + soft_cross_entropy(logits.mT, target))
    torch.testing.assert_close(gradient, torch.autograd.grad(fixed, features)[0])


def test_golden_hinge():
    scores = torch.tensor([[0.5, 0.45, 0.1], [0.2, 0.6, 0.55], [0.4, 0.3, 0.35]])
    both = lambda hardest: hinge(scores, 0.2, hardest) + hinge(scores.mT, 0.2, hardest)  # noqa: E731
    assert both(False).item() == pytest.approx(1.25)  # SCAN's code, as run
    assert both(True).item() == pytest.approx(1.10)


@given(seed=st.integers(0, 999))
def test_all_negatives_cost_at_least_as_much_as_the_hardest(seed):
    images, documents = ragged(5, seed)
    hardest, every = (HardestHinge(score(), hardest=flag)(images, documents) for flag in (True, False))
    assert every >= hardest
    two = [bag.select([0, 1]) for bag in (images, documents)]
    assert HardestHinge(score())(*two) == HardestHinge(score(), hardest=False)(*two)


def test_a_false_negative_is_never_the_hardest():
    scores = torch.tensor([[0.0, 5.0, 0.1], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]], requires_grad=True)
    excluded = torch.zeros(3, 3, dtype=torch.bool)
    excluded[0, 1] = True
    hinge(scores, 0.2, True, excluded).backward()
    assert scores.grad[0].tolist() == [-1, 0, 1]


def test_golden_mutual_information():
    scores = torch.tensor([[2.0, 0.5], [-1.0, 1.0]], dtype=torch.float64)
    dv, infonce = mutual_information(scores).item(), mutual_information(scores, "infonce").item()
    mass = math.exp(0.5) + math.exp(-1)
    assert dv == pytest.approx(1.5 - math.log(mass / 2)) and infonce == pytest.approx(1.5 - math.log(mass))


@given(seed=st.integers(0, 999))
def test_the_two_bounds_differ_by_the_logarithm_of_the_negatives_and_have_one_gradient(seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(4, 4, dtype=torch.float64, generator=generator).requires_grad_()
    excluded = known(4, seed).same & ~torch.eye(4, dtype=torch.bool)
    negatives = 12 - int(excluded.sum())
    if not negatives:
        return
    bounds = [mutual_information(scores, bound, excluded) for bound in ("dv", "infonce")]
    assert (bounds[0] - bounds[1]).item() == pytest.approx(math.log(negatives))
    gradients = [torch.autograd.grad(bound, scores)[0] for bound in bounds]
    torch.testing.assert_close(*gradients)


def test_donsker_varadhan_does_not_overflow_and_ignores_a_constant():
    scores = torch.eye(3) * 2 + 5000
    assert mutual_information(scores).item() == pytest.approx(2)


def test_a_critic_learns_that_what_belongs_together_does():
    torch.manual_seed(0)
    loss = MutualInformation(chain(Critic(DIM, (32,)), Max().over("regions"), Mean().over("sentences")))
    features = torch.randn(16, 1, DIM)
    images, documents = Bag.dense(features), Bag.dense(-features)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.01)
    first = loss(images, documents).item()
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(images, documents)
        value.backward()
        optimizer.step()
    assert value.item() < first - 0.5


def test_golden_debiased():
    """Chuang et al.'s estimator with one positive, at temperature 0.5; the last, where it is clamped."""
    for prior, expected in [(0.0, 0.391317), (0.1, 0.268794), (0.3, 0.053863), ([0.0, 0.1, 0.3], 0.226967)]:
        rates = torch.as_tensor(prior, dtype=torch.float64).expand(3)
        assert debiased_info_nce(GOLDEN / 0.5, rates, -2.0).item() == pytest.approx(expected, abs=1e-6)


@given(seed=st.integers(0, 999), masked=st.booleans())
def test_without_false_negatives_debiasing_is_info_nce(seed, masked):
    images, documents = ragged(5, seed)
    facts = Known(same=known(5, seed).same) if masked else Known()
    expected = InfoNCE(score(), temperature=0.1)(images, documents, facts)
    assert Debiased(score(), prior=0.0, temperature=0.1)(images, documents, facts).item() == pytest.approx(
        expected.item()
    )
    zero = Known(facts.same, None, torch.zeros(5))
    sample = Debiased(score(), prior=None, temperature=0.1)(images, documents, zero)
    assert sample.item() == pytest.approx(expected.item())


def test_what_is_known_to_be_the_same_is_not_corrected_for_twice():
    images, documents = ragged(5)
    same = torch.block_diag(torch.ones(2, 2), torch.ones(3, 3)).bool()
    prior = torch.tensor([1, 1, 2, 2, 2]) / 4
    debiased = Debiased(score(), prior=None, temperature=0.1)(images, documents, Known(same, None, prior))
    assert debiased.item() == pytest.approx(InfoNCE(score(), temperature=0.1)(images, documents, Known(same)).item())


def test_one_prior_for_all_is_the_same_prior_of_each():
    images, documents = ragged(5)
    each = Debiased(score(), prior=None, temperature=0.1)(images, documents, Known(prior=torch.full((5,), 0.2)))
    assert Debiased(score(), prior=0.2, temperature=0.1)(images, documents).item() == pytest.approx(each.item())


def test_debiasing_expects_less_of_the_negatives_but_never_less_than_the_lowest_score():
    rates = [torch.full((3,), prior) for prior in (0.0, 0.05, 0.2, 0.99)]
    values = [debiased_info_nce(GOLDEN / 0.5, rate, -2.0).item() for rate in rates]
    assert values == sorted(values, reverse=True) and values[-1] > 0
    logits = torch.eye(4, dtype=torch.float64).requires_grad_()
    floor = debiased_info_nce(logits, torch.full((4,), 0.5), lowest=-1.0)
    assert floor.item() == pytest.approx(math.log1p(3 * math.exp(-2)))
    floor.backward()
    # The clamped negatives have no gradient, the positives have.
    assert torch.equal(logits.grad, torch.diag(logits.grad.diagonal())) and (logits.grad.diagonal() < 0).all()


def test_a_clamped_row_has_a_finite_gradient_however_far_it_is_clamped():
    logits = (400 * torch.eye(3) - 100).requires_grad_()
    debiased_info_nce(logits, torch.full((3,), 0.5), lowest=-100.0).backward()
    assert torch.isfinite(logits.grad).all()


def test_scores_below_minus_one_need_a_lower_floor():
    big = chain(Dot(), Max().over("regions"), Mean().over("sentences"))
    images, documents = ragged(4)
    expected = InfoNCE(big, temperature=1.0)(images, documents).item()
    assert Debiased(big, prior=0.0, temperature=1.0, lowest=-50.0)(images, documents).item() == pytest.approx(expected)
    assert Debiased(big, prior=0.0, temperature=1.0)(images, documents).item() > expected


def test_one_sentence_depends_on_the_seed_alone_and_draws_every_sentence_equally_often():
    images, documents = ragged(4)
    loss = OneSentence(InfoNCE(score(), temperature=0.2))
    draw = lambda seed: (torch.manual_seed(seed), loss(images, documents).item())[1]  # noqa: E731
    assert draw(3) == draw(3) and len({draw(seed) for seed in range(20)}) > 5
    marked = Bag.from_list([torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]), torch.ones(1, 3)])
    torch.manual_seed(0)
    seen = []
    probe = OneSentence(InfoNCE(score()))
    probe.loss.forward = lambda images, documents, known=None: seen.append(documents) or torch.tensor(0.0)
    for _ in range(600):
        probe(marked, marked)
    assert all(bag.lengths.tolist() == [1, 1] and bag.instances[1].tolist() == [1, 1, 1] for bag in seen)
    counts = torch.stack([bag.instances[0] for bag in seen]).sum(0)
    assert (abs(counts - 200) < 60).all()  # five standard deviations


def test_one_sentence_takes_whole_documents_when_not_training():
    images, documents = ragged(4)
    inner = InfoNCE(score(), temperature=0.2)
    state = torch.random.get_rng_state()
    assert OneSentence(inner).eval()(images, documents).item() == inner(images, documents).item()
    assert torch.equal(torch.random.get_rng_state(), state)


def test_squared_sharpness_is_the_sum_over_all_auto_pools():
    shared = AutoPool()
    left = chain(Cosine(), shared.over("regions"), AutoPool().over("sentences"))
    right = chain(Dot(), shared.over("regions"), Mean().over("sentences"))
    penalty = SquaredSharpness(left + 0.5 * right)
    with torch.no_grad():
        shared.alpha.fill_(3.0)
        left.overs[1].aggregator.alpha.fill_(-2.0)
    value = penalty(*ragged(2))
    value.backward()
    assert value.item() == 13 and shared.alpha.grad.item() == 6
    whole = parse(repr(InfoNCE(left) + 1e-4 * SquaredSharpness(left)))
    assert whole.left.score is whole.right.loss.score


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (
            lambda: Sigmoid(score(), temperature=-1.0),
            ValueError,
            "the temperature of Sigmoid must be a positive number",
        ),
        (lambda: Sigmoid(score(), bias=float("nan")), ValueError, "bias of Sigmoid starts at a finite number, got nan"),
        (lambda: SoftTargets(score(), targets="images"), ValueError, 'of "labels" or of "text", not of \'images\''),
        (lambda: SoftTargets(score(), target_temperature=Learned(1.0)), ValueError, "cannot be learned"),
        (lambda: SoftTargets(score())(*ragged(2)), ValueError, 'none are known: give .* targets="text"'),
        (
            lambda: SoftTargets(score())(*ragged(2), Known(labels=torch.zeros(3, 1))),
            ValueError,
            r"got \(3, 1\) for 2 pairs",
        ),
        (
            lambda: HardestHinge(score(), margin=-0.1),
            ValueError,
            "margin of HardestHinge must be a number of at least 0",
        ),
        (lambda: MutualInformation(score(), bound="mine"), ValueError, 'is "dv" or "infonce", not \'mine\''),
        (lambda: MutualInformation(score())(*ragged(1)), ValueError, "give at least two pairs"),
        (lambda: OneSentence(score()), TypeError, r"write OneSentence\(InfoNCE\(score\)\), say"),
        (lambda: Debiased(score(), prior=1.0), ValueError, "at least 0 and less than 1, got 1.0"),
        (lambda: Debiased(score(), prior=-0.1), ValueError, "at least 0 and less than 1, got -0.1"),
        (lambda: Debiased(score(), lowest=-math.inf), ValueError, "lowest score of Debiased must be a finite number"),
        (
            lambda: Debiased(score(), prior=None)(*ragged(2)),
            ValueError,
            r"give Known\(prior=...\), or one prior for all",
        ),
        (
            lambda: Debiased(score(), prior=None)(*ragged(2), Known(prior=torch.tensor([0.5, 1.0]))),
            ValueError,
            r"the priors of pairs \[1\] are \[1.0\]: .* nothing to contrast",
        ),
        (
            lambda: Debiased(score(), prior=None)(*ragged(2), Known(prior=torch.zeros(3))),
            ValueError,
            r"got \(3,\) for 2 pairs",
        ),
        (lambda: SquaredSharpness(score()), ValueError, "has no AutoPool"),
        (lambda: HardestHinge(score())(ragged(2)[0], ragged(3)[1]), ValueError, "got 2 and 3"),
    ],
)
def test_what_makes_no_sense_is_refused(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()


@pytest.mark.parametrize("name", ["labels", "text", "hardest", "hinge", "debiased", "sample", "one"])
def test_one_pair_alone_costs_nothing(name):
    images, documents = ragged(1)
    assert EXAMPLES[name]().double()(images, documents, known(1)).item() == 0


def test_matrix_losses_agree_with_info_nce_on_its_golden():
    assert debiased_info_nce(GOLDEN / 0.5, torch.zeros(3), -2.0).item() == pytest.approx(info_nce(GOLDEN / 0.5).item())
    hard = soft_cross_entropy(GOLDEN / 0.5, torch.eye(3, dtype=torch.float64))
    assert hard.item() == pytest.approx(info_nce(GOLDEN / 0.5).item())


def test_what_is_no_number_stays_none():
    logits = torch.tensor([[0.9, float("nan"), -0.2], [0.3, 0.8, 0.0], [-0.1, 0.2, 0.7]]) / 0.5
    assert torch.isnan(debiased_info_nce(logits, torch.full((3,), 0.1), -2.0))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"same": torch.ones(3, 3)}, "same is a boolean matrix"),
        ({"same": torch.ones(3, dtype=torch.bool)}, "same is a boolean matrix"),
        ({"keys": torch.arange(3)}, "keys are int64"),
        ({"keys": torch.zeros(3, 1)}, "keys are int64"),
    ],
)
def test_what_is_known_is_of_its_type(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        Known(**wrong)
