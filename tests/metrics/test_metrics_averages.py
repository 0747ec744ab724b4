import math

import numpy as np
import pytest

from bagclip.metrics import macro, micro
from bagclip.metrics.averages import group_codes, mean_of_counted

NAN = float("nan")


def test_micro_and_macro_by_hand():
    values, groups = [1.0, 0.0, NAN, 0.5, NAN], ["edema", "edema", "edema", "mass", "fracture"]
    assert micro(values) == pytest.approx((1 + 0 + 0.5) / 3)
    assert macro(values, groups) == pytest.approx((0.5 + 0.5) / 2)
    assert macro([1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"]) == 0.5


@pytest.mark.parametrize("values", [[], [NAN, NAN]])
def test_nothing_to_average_is_nan(values):
    assert math.isnan(micro(values))
    assert math.isnan(macro(values, ["a"] * len(values)))


def test_mean_of_counted_is_numpys_nanmean():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4, 6, 5))
    values[rng.random(values.shape) < 0.4] = np.nan
    values[..., 0] = 1.0
    np.testing.assert_allclose(mean_of_counted(values), np.nanmean(values, axis=-1))


def test_group_codes_do_not_confuse_types():
    codes, count = group_codes([1, "1", (1,), 1, "1"])
    assert codes.tolist() == [0, 1, 2, 0, 1]
    assert count == 3


@pytest.mark.parametrize("missing", [None, NAN, np.float64("nan")])
def test_a_missing_group_is_named(missing):
    with pytest.raises(ValueError, match="unit 1 has no group"):
        group_codes(["ann", missing])


def test_one_group_for_each_value():
    with pytest.raises(ValueError, match="one group each"):
        macro([1.0, 2.0], ["a"])
