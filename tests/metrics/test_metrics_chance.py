from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagclip.metrics import derangement


@given(n=st.integers(2, 200), seed=st.integers(0, 2**32))
def test_nothing_stays_and_everything_is_dealt_once(n, seed):
    deal = derangement(n, seed)
    assert sorted(deal.tolist()) == list(range(n))
    assert not (deal == np.arange(n)).any()
    np.testing.assert_array_equal(deal, derangement(n, seed))


def test_every_other_unit_is_equally_likely():
    partners = Counter(int(derangement(4, seed)[0]) for seed in range(900))
    assert set(partners) == {1, 2, 3}
    # 300 expected, standard deviation 14.
    assert all(abs(count - 300) < 5 * 14.2 for count in partners.values())


def test_a_single_unit_has_nobody_to_exchange_with():
    with pytest.raises(ValueError, match="at least 2"):
        derangement(1)
