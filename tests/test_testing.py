"""What is exported for parts from outside: it passes what obeys the laws, and names the law that is broken."""

import pytest
import torch

from bagclip import methods, parse, segments
from bagclip.aggregators import Aggregator, LogSumExp, Max, Mean, PoolsEmbeddings, PoolsScores
from bagclip.bags import Bag
from bagclip.losses import InfoNCE, Loss
from bagclip.scores import chain
from bagclip.similarity import Cosine, Critic, Similarity
from bagclip.testing import check


class Midrange(Aggregator, PoolsScores):
    """Half way between the largest and the smallest score: one class, and `check` is one line."""

    smooth = False

    def pool_scores(self, scores, lengths, dim):
        return 0.5 * (segments.max(scores, lengths, dim) - segments.max(-scores, lengths, dim))


def test_a_new_aggregator_is_one_class_and_one_line():
    check(Midrange())
    score = chain(Cosine(), Midrange().over("regions"), Mean().over("sentences"))
    assert repr(parse(repr(score))) == repr(score)
    method = methods.build(repr(score), dim=8)
    assert method.config()["score"] == repr(score)
    images, documents = (
        Bag.dense(torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]])),
        Bag.dense(torch.tensor([[[1.0, 0.0]]])),
    )
    assert score(images, documents).item() == pytest.approx(0.5)


@pytest.mark.parametrize("name", methods.METHODS)
def test_methods_pass(name):
    torch.manual_seed(0)
    small = {"carzero": {"hidden": (8,), "layers": 2}, "local_mi": {"hidden": (8, 4)}}
    check(methods.build(name, 8, **small.get(name, {})), cases=2)


class First(Aggregator, PoolsEmbeddings, spelled=False):
    """Depends on the order."""

    def pool_embeddings(self, bag):
        return torch.stack([rows[0] for rows in bag])


class Padded(Aggregator, PoolsScores, spelled=False):
    """The maximum of the bags padded with zeros, as two widely used trainers take it."""

    smooth = False

    def pool_scores(self, scores, lengths, dim):
        pieces = [rows.movedim(dim, 0) for rows in scores.split(lengths.tolist(), dim)]
        return torch.nn.utils.rnn.pad_sequence(pieces).amax(0).movedim(0, dim)


class Counting(LogSumExp, spelled=False):
    """Says that a bag may be repeated."""

    replication_invariant = True

    def __init__(self):
        super().__init__(5.0, normalised=False)


class Kinked(Max, spelled=False):
    """Says that it is smooth."""

    smooth = True


class Exploding(Aggregator, PoolsScores, spelled=False):
    """Has no gradient where scores are zero."""

    def pool_scores(self, scores, lengths, dim):
        return segments.mean(scores.abs(), lengths, dim).sqrt() + segments.mean(scores.abs().pow(0.25), lengths, dim)


class Rivals(Aggregator, PoolsEmbeddings, spelled=False):
    """Depends on the other bags of the batch."""

    def pool_embeddings(self, bag):
        return segments.mean(bag.instances, bag.lengths) + bag.instances.mean(0)


class Forgetful(Aggregator, PoolsScores):
    """Keeps an argument under another name than it is given by, or rather another value."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor if factor == 1.0 else 2 * factor

    def pool_scores(self, scores, lengths, dim):
        return self.factor * segments.mean(scores, lengths, dim)


class Lopsided(Similarity, spelled=False):
    """Its matrix is not its pairs."""

    def pairs(self, regions, sentences):
        return Cosine().pairs(regions, sentences)

    def forward(self, regions, sentences):
        return Cosine()(regions.roll(1, 0), sentences)


@pytest.mark.parametrize(
    ("part", "law"),
    [
        (First(), "permutation"),
        (Padded(), "batch_independence"),
        (Counting(), "replication"),
        (Kinked(), "smoothness"),
        (Exploding(), "finite_gradients"),
        (Rivals(), "batch_independence"),
        (Forgetful(3.0), "formula"),
        (Lopsided(), "permutation"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, torch.nn.Module) else value,
)
def test_a_broken_part_is_told_by_its_law(part, law):
    with pytest.raises(AssertionError, match=f"breaks the law of {law}"):
        check(part, cases=8)


class OrderOfPairs(Loss, spelled=False):
    def __init__(self, score):
        super().__init__()
        self.score = score

    def forward(self, images, documents, known=None):
        return self.score(images, documents)[0].sum()


def test_a_broken_loss_is_told():
    with pytest.raises(AssertionError, match="pairs in another order"):
        check(OrderOfPairs(methods.lse().score))


def test_parts_pass_and_stay_as_they_are():
    critic = Critic(dim=4, hidden=(8,))
    before = critic.region.weight.clone()
    check(critic)
    check(InfoNCE(methods.filip().score))
    assert critic.region.weight.dtype == torch.float32 and torch.equal(critic.region.weight, before)


def test_a_name_that_the_library_has_is_refused():
    with pytest.raises(TypeError, match=r"already means bagclip\.aggregators\.max\.Max"):

        class Max(Aggregator):
            pass
