import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from bagclip.metrics import auroc, auroc_weighted, bootstrap, bootstrap_weighted, macro_auroc, macro_auroc_weighted


def problem(seed, units=40, findings=3):
    rng = np.random.default_rng(seed)
    positive = rng.random((units, findings)) < 0.4
    positive[0], positive[1] = True, False
    # One decimal, so that ties are common within and across the classes.
    return (rng.normal(size=(units, findings)) + positive).round(1), positive


@given(seed=st.integers(0, 10_000))
def test_auroc_is_scikit_learns(seed):
    scores, positive = problem(seed)
    assert auroc(scores[:, 0], positive[:, 0]) == pytest.approx(roc_auc_score(positive[:, 0], scores[:, 0]))
    assert macro_auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores, average="macro"))


@given(seed=st.integers(0, 10_000), whole=st.booleans())
def test_weighted_auroc_is_scikit_learns(seed, whole):
    scores, positive = problem(seed)
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 4, size=(5, 40)) if whole else rng.random((5, 40))
    weights[:, :2] = 1
    expected = [roc_auc_score(positive[:, 0], scores[:, 0], sample_weight=row) for row in weights]
    np.testing.assert_allclose(auroc_weighted(scores[:, 0], positive[:, 0], weights), expected)


@given(seed=st.integers(0, 10_000))
def test_weights_are_multiplicities(seed):
    scores, positive = problem(seed, units=8)
    weights = np.random.default_rng(seed).integers(0, 3, size=(10, 8))
    expected = [macro_auroc(np.repeat(scores, row, axis=0), np.repeat(positive, row, axis=0)) for row in weights]
    np.testing.assert_allclose(macro_auroc_weighted(scores, positive, weights), expected, equal_nan=True)


def test_auroc_counts_pairs():
    scores, positive = problem(3)
    pairs = [
        1.0 if p > n else 0.5 if p == n else 0.0 for p in scores[positive[:, 0], 0] for n in scores[~positive[:, 0], 0]
    ]
    assert auroc(scores[:, 0], positive[:, 0]) == pytest.approx(sum(pairs) / len(pairs))


@pytest.mark.parametrize(
    ("scores", "area"), [([3, 2, 1], 1.0), ([1, 2, 3], 0.0), ([5, 5, 5], 0.5), ([0, 0, -np.inf], 0.75)]
)
def test_auroc_by_hand(scores, area):
    assert auroc(np.array(scores, dtype=float), np.array([True, False, False])) == area


@pytest.mark.parametrize("present", [True, False])
def test_one_class_has_no_area(present):
    assert np.isnan(auroc(np.array([0.1, 0.2]), np.array([present, present])))
    assert np.isnan(macro_auroc(np.array([[0.1], [0.2]]), np.array([[present], [present]])))


def test_nothing_has_no_area():
    assert np.isnan(auroc(np.array([]), np.array([], dtype=bool)))
    assert np.isnan(macro_auroc(np.zeros((3, 0)), np.zeros((3, 0), dtype=bool)))


def test_macro_leaves_out_findings_of_one_class():
    scores, positive = problem(0)
    both = macro_auroc(scores[:, :2], positive[:, :2])
    positive[:, 2] = False
    assert macro_auroc(scores, positive) == both


def test_interval_of_macro_auroc_equals_the_generic_one():
    scores, positive = problem(1, units=60)
    patients = [f"patient {i // 2}" for i in range(60)]
    fast = bootstrap_weighted(lambda weights: macro_auroc_weighted(scores, positive, weights), patients, draws=200)
    slow = bootstrap(lambda sample: macro_auroc(scores[sample], positive[sample]), patients, draws=200)
    assert fast == pytest.approx(slow)
    assert fast[0] < macro_auroc(scores, positive) < fast[1]


def test_bad_input_is_refused():
    scores, positive = np.array([0.1, np.nan, 0.3]), np.array([True, False, True])
    with pytest.raises(ValueError, match="unit 1 is NaN"):
        auroc(scores, positive)
    with pytest.raises(ValueError, match="boolean"):
        auroc(np.zeros(3), np.array([1, 0, -1]))
    with pytest.raises(ValueError, match="one length"):
        auroc(np.zeros(2), positive)
    with pytest.raises(ValueError, match="one shape"):
        macro_auroc(np.zeros((3, 2)), positive)
    with pytest.raises(ValueError, match=r"\(draws, 3\)"):
        auroc_weighted(np.zeros(3), positive, np.ones((1, 2)))
    with pytest.raises(ValueError, match="from 0 up"):
        auroc_weighted(np.zeros(3), positive, np.array([[1, -1, 1]]))
