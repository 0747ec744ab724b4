import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagclip.metrics import (
    Estimate,
    bootstrap,
    bootstrap_macro,
    bootstrap_mean,
    bootstrap_median,
    bootstrap_weighted,
    interval,
    macro,
    micro,
)

NAN = float("nan")


def units(seed, count=60, patients=20, missing=0.0):
    rng = np.random.default_rng(seed)
    clusters = [f"patient {i}" for i in rng.integers(patients, size=count)]
    groups = np.array(["edema", "mass", "effusion"])[rng.integers(3, size=count)]
    values = rng.normal(size=count).round(1)
    values[rng.random(count) < missing] = np.nan
    return values, groups, clusters


@given(seed=st.integers(0, 10_000), missing=st.sampled_from([0.0, 0.3]))
def test_fast_intervals_equal_the_generic_one(seed, missing):
    values, groups, clusters = units(seed, missing=missing)
    options = {"draws": 50, "level": 0.9, "seed": seed}

    def generic(statistic):
        return bootstrap(statistic, clusters, **options)

    assert bootstrap_mean(values, clusters, **options) == pytest.approx(generic(lambda i: micro(values[i])))
    assert bootstrap_macro(values, groups, clusters, **options) == pytest.approx(
        generic(lambda i: macro(values[i], groups[i]))
    )
    assert bootstrap_median(values, clusters, **options) == pytest.approx(generic(lambda i: np.nanmedian(values[i])))


def test_the_interval_is_that_of_all_resamples():
    # Three patients have 27 equally likely resamples, so the quantiles can be worked out.
    values, clusters = np.array([0.0, 0.0, 0.0, 1.0, 5.0]), ["a", "a", "a", "b", "c"]
    rows = {"a": [0, 1, 2], "b": [3], "c": [4]}
    means = [values[rows[x] + rows[y] + rows[z]].mean() for x in "abc" for y in "abc" for z in "abc"]
    expected = np.quantile(np.repeat(means, 1000), [0.1, 0.9])
    assert bootstrap_mean(values, clusters, draws=20_000, level=0.8) == pytest.approx(expected)


def test_whole_clusters_are_drawn():
    clusters = ["a", "b", "a", "c", "b", "a"]
    seen = []

    def record(weights):
        seen.append(weights)
        return np.zeros(len(weights))

    bootstrap_weighted(record, clusters, draws=300)
    weights = np.concatenate(seen)
    np.testing.assert_array_equal(weights[:, [0, 1]], weights[:, [2, 4]])
    np.testing.assert_array_equal(weights[:, 0], weights[:, 5])
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(axis=1), 3)
    assert weights[:, 0].max() == 3


def test_seed_decides_and_block_size_does_not(monkeypatch):
    values, _, clusters = units(0)
    first = bootstrap_mean(values, clusters, seed=1)
    assert first == bootstrap_mean(values, clusters, seed=1)
    assert first != bootstrap_mean(values, clusters, seed=2)
    monkeypatch.setattr(interval, "BLOCK", 7 * len(values))
    assert bootstrap_mean(values, clusters, seed=1) == pytest.approx(first)


def test_units_of_one_cluster_widen_the_interval():
    values = np.repeat(np.random.default_rng(0).normal(size=30), 10)
    low, high = bootstrap_mean(values, np.repeat(np.arange(30), 10))
    naive_low, naive_high = bootstrap_mean(values, np.arange(300))
    # Ten copies of a unit carry the information of one: the naive interval is sqrt(10) times too narrow.
    assert (high - low) / (naive_high - naive_low) == pytest.approx(math.sqrt(10), rel=0.15)


def test_coverage_with_strong_correlation_within_clusters():
    rng = np.random.default_rng(0)
    clusters, units_of_one = np.repeat(np.arange(40), 8), np.arange(320)
    covered = naive_covered = 0
    for _ in range(200):
        values = np.repeat(rng.normal(size=40), 8) + 0.3 * rng.normal(size=320)
        low, high = bootstrap_mean(values, clusters, draws=400)
        covered += low <= 0 <= high
        low, high = bootstrap_mean(values, units_of_one, draws=400)
        naive_covered += low <= 0 <= high
    assert 0.90 <= covered / 200 <= 0.98
    assert naive_covered / 200 < 0.7


def test_undefined_draws_are_left_out_up_to_one_half():
    # A sample of three patients has one given patient in 19 of 27 draws.
    clusters = ["a", "b", "c"]
    assert bootstrap(lambda i: 1.0 if 1 in i else NAN, clusters) == (1.0, 1.0)
    assert all(map(math.isnan, bootstrap(lambda i: 1.0 if 0 not in i else NAN, clusters)))


def test_undefined_values_make_no_interval():
    for fast in (bootstrap_mean, bootstrap_median):
        assert all(map(math.isnan, fast([NAN, NAN, NAN], ["a", "b", "c"])))


@pytest.mark.parametrize("clusters", [[], ["ann", "ann"]])
def test_fewer_than_two_clusters_make_no_interval(clusters):
    assert all(map(math.isnan, bootstrap_mean(np.arange(len(clusters)), clusters)))


@pytest.mark.parametrize("fast", [bootstrap_mean, bootstrap_median])
def test_bad_values_are_refused(fast):
    with pytest.raises(ValueError, match="one cluster each"):
        fast([1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="value 1 is infinite"):
        fast([1.0, math.inf], ["a", "b"])


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="every value needs one"):
        bootstrap_macro([1.0, 2.0], ["edema"], ["a", "b"])
    with pytest.raises(ValueError, match="draws=0"):
        bootstrap_mean([1.0, 2.0], ["a", "b"], draws=0)
    with pytest.raises(ValueError, match="level=95"):
        bootstrap_mean([1.0, 2.0], ["a", "b"], level=95)
    with pytest.raises(ValueError, match="one number for each"):
        bootstrap_weighted(lambda weights: weights, ["a", "b"])


def test_estimate_as_text_and_json():
    estimate = Estimate(np.float64(0.712), 0.655, 0.75, chance=0.002, n=np.int64(500))
    assert str(estimate) == "0.71 [0.66, 0.75] (chance 0.002, n=500)"
    assert json.loads(json.dumps(estimate.to_dict(), allow_nan=False)) == {
        "value": 0.712,
        "low": 0.655,
        "high": 0.75,
        "chance": 0.002,
        "n": 500,
    }
    assert str(Estimate(12.0, NAN, NAN, 250, 9)) == "12.0 [nan, nan] (chance 250.0, n=9)"
    assert Estimate(0.0, NAN, math.inf, NAN, 0).to_dict() == {
        "value": 0.0,
        "low": None,
        "high": None,
        "chance": None,
        "n": 0,
    }
