"""Bugs of other systems, each a test that this one passes. What they did is in the name or the first line."""

import pytest
import torch

from bagclip import methods, segments
from bagclip.aggregators import ISR, CrossAttention, LogSumExp, Max, Mean, NoisyOr, NonLocal
from bagclip.bags import Bag
from bagclip.encoders import Text
from bagclip.engine import matrix
from bagclip.losses import InfoNCE, Known, MutualInformation, info_nce
from bagclip.scores import chain
from bagclip.similarity import Cosine, Dot


def opposed(*lengths):
    """Regions that all point away from the one sentence."""
    rows = [torch.tensor([[-1.0, 0.1 * i] for i in range(1, n + 1)]) for n in lengths]
    return Bag.from_list(rows), Bag.from_list([torch.tensor([[1.0, 0.0]])])


def test_a_padded_zero_does_not_beat_negative_similarities():
    """PyLate multiplied by the mask before the maximum: a true -0.8 became 0.0."""
    images, document = opposed(1, 4)
    for score in (methods.maxsim().score, methods.lse(10.0).score, methods.filip().score):
        together = score(images, document)
        assert together.max() < 0
        for i in range(2):
            assert torch.allclose(score(images.select([i]), document), together[i : i + 1])
        assert torch.allclose(matrix(score, images, document), together)


def test_padding_never_enters_a_local_score_whatever_the_length_of_the_text():
    """GLoRIA took a caption's number of characters for its number of words, so that padding was scored."""
    torch.manual_seed(0)
    text = Text(dim=8, width=8, layers=1, granularity="words").eval()
    documents = [["No effusion."], ["There is a small left pleural effusion with some atelectasis at the base."]]
    text.fit(" ".join(d) for d in documents)
    bag = text(documents)
    assert bag.lengths.tolist() == [3, 14]  # words and full stops
    alone = [text([d]) for d in documents]
    images = Bag.dense(torch.randn(2, 4, 8))
    local = methods.gloria().loss.left.score
    together = local(images, bag)
    for j, single in enumerate(alone):
        torch.testing.assert_close(local(images, single), together[:, j : j + 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("sharpness", [100.0, 1000.0])
def test_log_sum_exp_does_not_overflow(sharpness, dtype):
    """GLoRIA and SCAN sum exponentials without the shift by the maximum."""
    images, documents = (Bag.dense(torch.ones(2, 3, 4)).to(dtype) for _ in range(2))
    score = methods.lse(sharpness).score
    assert torch.allclose(score(images, documents), torch.ones(2, 2), atol=1e-3)
    assert torch.allclose(matrix(score, images, documents), torch.ones(2, 2), atol=1e-3)


def test_what_is_trained_is_what_ranks_but_where_the_paper_says_otherwise():
    """GLoRIA trains log-sum-exp over words and ranks by their maximum; the separable form has one score for both."""
    separable = methods.gloria_separable()
    images, documents = Bag.dense(torch.randn(3, 4, 6)), Bag.dense(torch.randn(3, 2, 6))
    parts = [loss.score(images, documents) for loss in (separable.loss.left, separable.loss.right)]
    torch.testing.assert_close(separable.score(images, documents), 0.5 * (parts[0] + parts[1]))


@pytest.mark.parametrize(
    "aggregator", [ISR(sharpness=None), NoisyOr(sharpness=None), LogSumExp(5.0), Max()], ids=lambda a: type(a).__name__
)
def test_the_caller_s_array_stays_as_it_is(aggregator):
    """skboost's ISR wrote its patch of p = 1 into the caller's array; SCAN exponentiates in place."""
    scores = torch.tensor([0.2, 1.0, 0.0, 0.7])
    before = scores.clone()
    aggregator.pool_scores(scores, torch.tensor([3, 1]), 0)
    assert torch.equal(scores, before)


def test_every_view_of_a_study_counts():
    """LIMITR averaged the lateral image alone where it says both."""
    frontal, lateral = torch.randn(4, 6), torch.randn(4, 6)
    document = Bag.from_list([frontal[1:2]])
    both = methods.maxsim().score(Bag.from_list([torch.cat([frontal, lateral])]), document)
    assert both.item() == pytest.approx(1.0, abs=1e-6)
    swapped = methods.limitr(6).score
    one = swapped(Bag.from_list([torch.cat([frontal, lateral])]), document)
    other = swapped(Bag.from_list([torch.cat([lateral, frontal])]), document)
    torch.testing.assert_close(one, other)


def test_the_two_directions_are_averaged_unless_it_says_summed():
    """GLoRIA and MGCA sum them, CLIP and CARZero average: a factor 2 in the effective learning rate."""
    logits = torch.randn(4, 4)
    images, documents = Bag.dense(torch.randn(4, 3, 6)), Bag.dense(torch.randn(4, 2, 6))
    score = methods.lse().score
    mean = InfoNCE(score, temperature=1.0)(images, documents)
    total = InfoNCE(score, temperature=1.0, weights=(1.0, 1.0))(images, documents)
    assert total.item() == pytest.approx(2 * mean.item())
    assert methods.gloria().loss.left.weights == (1.0, 1.0)
    assert info_nce(logits) >= 0


def test_equal_regions_choose_the_first_in_every_engine():
    """A tie between regions was decided by padding, by the device or by nobody."""
    row = torch.tensor([[0.6, 0.8]])
    images = Bag.from_list([torch.cat([row, row, torch.tensor([[1.0, 0.0]])]), row])
    assert segments.argmax(torch.tensor([1.0, 1.0, 0.5, 2.0]), torch.tensor([3, 1])).tolist() == [0, 3]
    score = chain(NonLocal(2, 0.1).over("regions"), Cosine(), Mean().over("sentences"))
    document = Bag.from_list([row])
    torch.testing.assert_close(matrix(score, images, document), score(images, document))


def test_pairs_of_one_study_are_no_negatives_and_an_empty_pool_is_not_minus_infinity():
    """The code of local MI gives minus infinity where all pairs of a batch are of one study."""
    score = chain(Dot(), Max().over("regions"), Mean().over("sentences"))
    images, documents = Bag.dense(torch.randn(2, 3, 4)), Bag.dense(torch.randn(2, 2, 4))
    value = MutualInformation(score)(images, documents, Known(same=torch.ones(2, 2, dtype=torch.bool)))
    assert torch.isfinite(value)


def test_one_region_one_word_and_equal_similarities_are_no_division_by_zero():
    """SPARC's ports divide 0 by 0 for one region or equal similarities; SCAN's squeeze drops an axis."""
    for name in ("sparc", "scan_t2i", "scan_i2t", "gloria", "mgca"):
        method = methods.build(name, 4)
        for images in (Bag.dense(torch.ones(2, 1, 4)), Bag.dense(torch.ones(2, 5, 4))):
            documents = Bag.dense(torch.ones(2, 1, 4))
            assert method.score(images, documents).shape == (2, 2)
            assert torch.isfinite(method.loss(images, documents))


def test_attention_over_a_ragged_batch_leaves_other_documents_alone():
    """A port of SPARC summed the grouping over all images of the batch."""
    images, documents = Bag.dense(torch.randn(3, 4, 6)), Bag.from_list([torch.randn(n, 6) for n in (1, 4, 2)])
    score = chain(CrossAttention(4.0, Dot(), "softmax").over("regions"), Cosine(), Mean().over("sentences"))
    whole = score(images, documents)
    torch.testing.assert_close(score(images.select([1]), documents.select([2])), whole[1:2, 2:3])
