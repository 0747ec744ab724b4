from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.metrics import coverage_error

from bagclip.metrics import chance_median_rank, chance_recall_at, median_rank, ranks, recall_at


def problem(seed, queries=6, candidates=9):
    rng = np.random.default_rng(seed)
    relevant = rng.random((queries, candidates)) < 0.3
    relevant[np.arange(queries), rng.integers(candidates, size=queries)] = True
    # Few distinct values, so that ties are common.
    return rng.integers(-2, 3, size=(queries, candidates)).astype(np.float32), relevant


@given(seed=st.integers(0, 10_000))
def test_ranks_are_scipys_among_the_irrelevant(seed):
    scores, relevant = problem(seed)
    for row, wanted, rank in zip(scores, relevant, ranks(scores, relevant), strict=True):
        others = np.append(row[~wanted], row[wanted].max())
        assert rank == rankdata(-others, method="max")[-1]


@given(seed=st.integers(0, 10_000))
def test_with_one_relevant_candidate_the_mean_rank_is_scikit_learns_coverage_error(seed):
    scores, _ = problem(seed)
    relevant = np.eye(9, dtype=bool)[np.random.default_rng(seed).integers(9, size=6)]
    assert ranks(scores, relevant).mean() == pytest.approx(coverage_error(relevant, scores))


@given(seed=st.integers(0, 10_000))
def test_order_of_candidates_and_monotone_maps_change_nothing(seed):
    scores, relevant = problem(seed)
    order = np.random.default_rng(seed).permutation(9)
    expected = ranks(scores, relevant)
    np.testing.assert_array_equal(ranks(scores[:, order], relevant[:, order]), expected)
    np.testing.assert_array_equal(ranks(np.exp(3 * scores), relevant), expected)


def test_ranks_by_hand():
    scores = np.array([[0.9, 0.8, 0.1], [0.9, 0.8, 0.1], [0.5, 0.5, 0.1]])
    relevant = np.array([[False, True, True], [True, True, False], [False, True, False]])
    assert ranks(scores, relevant).tolist() == [2, 1, 2]
    assert ranks(scores.T, relevant.T).tolist() == [2, 1, 3]


@pytest.mark.parametrize("constant", [0.0, -np.inf])
def test_a_constant_score_is_worst(constant):
    assert ranks(np.full((3, 5), constant), np.eye(3, 5, dtype=bool)).tolist() == [5, 5, 5]


def test_duplicates_marked_relevant_do_not_push_each_other_down():
    scores = np.array([[0.9, 0.9, 0.9, 0.2]])
    assert ranks(scores, np.array([[True, True, True, False]])).tolist() == [1]
    assert ranks(scores, np.array([[True, False, False, False]])).tolist() == [3]


def test_ranks_refuse_what_cannot_be_ranked():
    scores, relevant = problem(0)
    with pytest.raises(ValueError, match="query 2 has no relevant candidate"):
        ranks(scores, relevant & (np.arange(6) != 2)[:, None])
    with pytest.raises(ValueError, match="one shape"):
        ranks(scores.T, relevant)
    with pytest.raises(ValueError, match="boolean"):
        ranks(scores, relevant.astype(int))
    scores[4, 1] = np.nan
    with pytest.raises(ValueError, match="row 4 of the scores has a NaN"):
        ranks(scores, relevant)


def test_recall_and_median():
    found = np.array([1, 5, 6, 10, 11])
    assert [recall_at(found, k).mean() for k in (1, 5, 10)] == [0.2, 0.4, 0.8]
    assert median_rank(found) == 6
    assert median_rank(found[:4]) == 5.5
    assert np.isnan(median_rank(np.array([])))


def enumerated_recall(candidates, count, k):
    """R@k over all orders of the candidates, of which the first ``count`` are relevant."""
    orders = list(permutations(range(candidates)))
    return Fraction(sum(any(c < count for c in order[:k]) for order in orders), len(orders))


@pytest.mark.parametrize("candidates", [1, 2, 3, 4, 5, 6])
def test_chance_is_that_of_all_orders(candidates):
    counts, places = range(1, candidates + 1), range(1, candidates + 1)
    table = {r: [enumerated_recall(candidates, r, k) for k in places] for r in counts}
    for first in counts:
        for second in counts:
            average = [(a + b) / 2 for a, b in zip(table[first], table[second], strict=True)]
            queries = np.array([first, second])
            for k in places:
                assert chance_recall_at(queries, candidates, k) == pytest.approx(float(average[k - 1]), abs=1e-12)
            half = next(k for k in places if average[k - 1] >= Fraction(1, 2))
            assert chance_median_rank(queries, candidates) == half


def test_chance_is_reached_by_random_scores():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 5, size=4000)
    found = ranks(rng.random((4000, 50)), np.arange(50) < counts[:, None])
    for k in (1, 5, 10):
        assert recall_at(found, k).mean() == pytest.approx(chance_recall_at(counts, 50, k), abs=0.03)
    assert median_rank(found) == pytest.approx(chance_median_rank(counts, 50), abs=1)


def test_chance_of_many_candidates_is_stable():
    assert chance_recall_at(np.array([1]), 1_000_000, 10) == pytest.approx(1e-5)
    assert chance_recall_at(np.array([999_995]), 1_000_000, 6) == 1.0
    assert chance_median_rank(np.array([1]), 1_000_000) == 500_000


def test_k_beyond_the_candidates_finds_everything():
    assert chance_recall_at(np.array([1, 2]), candidates=3, k=10) == 1.0


@pytest.mark.parametrize(
    ("counts", "k", "reason"),
    [([0, 1], 1, "counts from 0"), ([4], 1, "1 to 3 relevant"), ([1], 0, "k=0"), ([], 1, "no query")],
)
def test_chance_refuses_impossible_counts(counts, k, reason):
    with pytest.raises(ValueError, match=reason):
        chance_recall_at(np.array(counts), candidates=3, k=k)
