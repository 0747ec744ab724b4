import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score

from bagclip.metrics import CNR_LIMIT, cnr, grounding_metrics, iou, miou, pointing_game

SEEDS = st.integers(0, 10_000)
METRICS = (cnr, miou, pointing_game)


def problem(seed, unseen=0.2):
    """A map of few distinct values with unseen pixels, and a mask of which something in and around it is seen."""
    rng = np.random.default_rng(seed)
    heat = rng.integers(-2, 9, size=(7, 9)) / 10
    heat[rng.random(heat.shape) < unseen] = np.nan
    mask = np.zeros(heat.shape, dtype=bool)
    mask[1:4, 2:6] = True
    heat[1, 2], heat[1, 3], heat[0, 0], heat[0, 1] = 0.7, 0.1, 0.2, 0.4
    return heat, mask


@given(seed=SEEDS)
def test_cnr_by_the_nan_aware_formula(seed):
    heat, mask = problem(seed)
    inside, outside = heat[mask], heat[~mask]
    expected = (np.nanmean(inside) - np.nanmean(outside)) / np.sqrt(np.nanvar(inside) + np.nanvar(outside))
    assert cnr(heat, mask) == pytest.approx(expected, abs=1e-12)
    assert cnr(heat, mask, signed=False) == pytest.approx(abs(expected), abs=1e-12)


def test_cnr_has_population_variances():
    heat = np.array([[3.0, 5.0], [0.0, 2.0]])
    mask = np.array([[True, True], [False, False]])
    # Means 4 and 1; population variances 1 and 1, sample variances would be 2 and 2 and give 1.5.
    assert cnr(heat, mask) == pytest.approx(3 / math.sqrt(2))
    assert cnr(-heat, mask) == pytest.approx(-3 / math.sqrt(2))
    assert cnr(-heat, mask, signed=False) == pytest.approx(3 / math.sqrt(2))


@given(seed=SEEDS, scale=st.floats(0.01, 100), offset=st.floats(-1000, 1000))
def test_cnr_ignores_positive_affine_maps_and_flips_with_the_sign(seed, scale, offset):
    heat, mask = problem(seed)
    assert cnr(scale * heat + offset, mask) == pytest.approx(cnr(heat, mask), abs=1e-8)
    assert cnr(-scale * heat + offset, mask) == pytest.approx(-cnr(heat, mask), abs=1e-8)


@given(seed=SEEDS)
def test_cnr_of_inside_and_outside_swapped_flips(seed):
    heat, mask = problem(seed)
    assert cnr(heat, ~mask) == pytest.approx(-cnr(heat, mask), abs=1e-12)


def test_cnr_of_single_precision_with_an_offset():
    rng = np.random.default_rng(0)
    mask = np.zeros((300, 400), dtype=bool)
    mask[50:90, 60:200] = True
    # Multiples of 1/1024 up to 1, so that adding 4096 loses no bit.
    heat = rng.integers(0, 1025, size=mask.shape).astype(np.float32) / 1024
    assert cnr(heat + np.float32(4096), mask) == pytest.approx(cnr(heat.astype(np.float64), mask), rel=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, -7e8])
def test_a_constant_map_has_no_contrast(value):
    heat = np.full((5, 7), value)
    mask = np.zeros((5, 7), dtype=bool)
    mask[:2, :3] = True
    heat[4, 4] = np.nan
    assert cnr(heat, mask) == 0.0
    # 6 of 34 seen pixels.
    assert pointing_game(heat, mask) == pytest.approx(6 / 34)


@pytest.mark.parametrize("values", [(1.0, 0.0), (0.3, 0.1), (1e-9, 0.0)])
def test_a_map_without_noise_reaches_the_limit(values):
    mask = np.zeros((5, 7), dtype=bool)
    mask[:2, :3] = True
    heat = np.where(mask, *values)
    assert cnr(heat, mask) == CNR_LIMIT
    assert cnr(-heat, mask) == -CNR_LIMIT
    assert cnr(-heat, mask, signed=False) == CNR_LIMIT


@given(seed=SEEDS, threshold=st.sampled_from([-1.0, 0.1, 0.3, 0.5, 0.8]))
def test_iou_is_scikit_learns_jaccard(seed, threshold):
    heat, mask = problem(seed)
    predicted = np.nan_to_num(heat, nan=-np.inf) >= threshold
    expected = jaccard_score(mask.ravel(), predicted.ravel(), zero_division=0)
    assert iou(heat, mask, threshold) == pytest.approx(expected)


@given(seed=SEEDS)
def test_miou_is_the_mean_over_thresholds(seed):
    heat, mask = problem(seed)
    assert miou(heat, mask) == pytest.approx(sum(iou(heat, mask, t) for t in (0.1, 0.2, 0.3, 0.4, 0.5)) / 5)
    assert miou(heat, mask, [0.3]) == iou(heat, mask, 0.3)


def test_iou_by_hand():
    heat = np.array([[0.5, 0.4, np.nan], [0.5, 0.1, np.nan]])
    mask = np.array([[True, True, True], [False, False, False]])
    # At 0.5: one hit, one stray, and the unseen pixel of the mask counts as missed.
    assert iou(heat, mask, 0.5) == pytest.approx(1 / 4)
    assert iou(heat, mask, 0.51) == 0.0
    assert iou(heat, mask, 0.0) == pytest.approx(2 / 5)


@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.3, np.float64(0.7)])
def test_a_threshold_is_met_in_any_precision(threshold):
    heat = np.full((2, 2), threshold, dtype=np.float32)
    assert iou(heat, np.ones((2, 2), dtype=bool), threshold) == 1.0


@given(seed=SEEDS)
def test_pointing_game_by_a_plain_loop(seed):
    heat, mask = problem(seed)
    best, winners = -math.inf, []
    for place, value in np.ndenumerate(heat):
        if value > best:
            best, winners = value, []
        if value == best:
            winners.append(place)
    assert pointing_game(heat, mask) == pytest.approx(sum(mask[place] for place in winners) / len(winners))


def test_pointing_game_is_decided_by_the_arg_max():
    heat = np.random.default_rng(0).permutation(20).reshape(4, 5).astype(float)
    for place in np.ndindex(4, 5):
        mask = np.zeros((4, 5), dtype=bool)
        mask[place] = True
        assert pointing_game(heat, mask) == (np.unravel_index(heat.argmax(), heat.shape) == place)


def test_what_is_not_seen_counts_as_a_miss():
    heat = np.full((4, 6), 0.5)
    heat[:, :2] = np.nan
    outside_the_crop, empty, everything = np.zeros((4, 6), dtype=bool), np.zeros((4, 6), dtype=bool), ~np.isnan(heat)
    outside_the_crop[1:3, :2] = True
    for metric in METRICS:
        assert metric(heat, outside_the_crop) == 0.0
        assert metric(heat, empty) == 0.0
        assert metric(np.full((4, 6), np.nan), everything) == 0.0
    assert cnr(heat, everything) == 0.0
    assert pointing_game(heat, everything) == 1.0
    assert grounding_metrics(heat, outside_the_crop) == (0, 0, 0, 0, 0)
    assert grounding_metrics(heat, empty).seen == 0


@given(seed=SEEDS)
def test_all_at_once_equals_one_by_one(seed):
    heat, mask = problem(seed)
    metrics = grounding_metrics(heat, mask, thresholds=(0.2, 0.4))
    assert metrics[:4] == (
        cnr(heat, mask),
        cnr(heat, mask, signed=False),
        miou(heat, mask, (0.2, 0.4)),
        pointing_game(heat, mask),
    )
    assert metrics.seen == pytest.approx(1 - np.isnan(heat[mask]).mean())


def test_arrays_of_the_caller_are_left_alone():
    heat, mask = problem(0)
    before = heat.copy(), mask.copy()
    grounding_metrics(heat, mask)
    np.testing.assert_array_equal(heat, before[0])
    np.testing.assert_array_equal(mask, before[1])


@pytest.mark.parametrize("metric", [*METRICS, grounding_metrics])
def test_bad_input_is_refused(metric):
    heat, mask = problem(0)
    with pytest.raises(ValueError, match="one shape"):
        metric(heat, mask.T)
    with pytest.raises(ValueError, match="boolean"):
        metric(heat, mask.astype(np.uint8))
    heat[3, 4] = np.inf
    with pytest.raises(ValueError, match="infinite at row 3, column 4"):
        metric(heat, mask)
