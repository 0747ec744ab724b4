import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagclip.metrics import Estimate
from bagclip.report.figures import HEIGHT, WIDTH, axis, curves, interval
from bagclip.report.names import QUANTITIES, VARIANTS, label, number

NAN = float("nan")


def points(line):
    return [tuple(map(float, pair.split(","))) for pair in line.points.split()]


def test_a_curve_is_straight_where_the_loss_is():
    (chart,) = curves([{"epoch": e, "loss": 5 - e} for e in (1, 2, 3, 4)])
    (line,) = chart.lines
    (x1, y1), (x2, y2), (x3, y3), (x4, y4) = points(line)
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y2 - y1 == pytest.approx(y4 - y3, abs=0.2)
    assert y1 < y4, "y grows downwards"
    assert 0 <= x1 < x4 <= WIDTH
    assert 0 <= y1 < y4 <= HEIGHT
    assert line.end == (x4, y4)
    assert line.value == "1.000"


def test_ticks_stand_where_their_values_are():
    (chart,) = curves([{"epoch": e, "loss": float(e)} for e in range(1, 21)])
    at = dict(zip(range(1, 21), points(chart.lines[0]), strict=True))
    assert len(chart.x) >= 3
    for tick in chart.x:
        assert tick.at == at[int(tick.text)][0]
    for tick in chart.y:
        if float(tick.text) in at:
            assert tick.at == at[int(float(tick.text))][1]
    assert {float(tick.text) for tick in chart.y} & set(at)


def test_recall_at_10_is_drawn_of_the_validation():
    history = [
        {
            "epoch": e,
            "loss": 1.0,
            "val": {f"{d}/{m}": 0.1 * e for d in VARIANTS for m in ("R@1", "R@10", "median_rank")},
        }
        for e in (1, 2)
    ]
    _, chart = curves(history)
    assert "recall at 10" in chart.title
    assert {line.name for line in chart.lines} == set(VARIANTS.values())


def test_other_validation_metrics_are_all_drawn():
    _, chart = curves([{"epoch": 1, "loss": 1.0, "val": {"macro_auroc": 0.8, "mine": 0.3}}])
    assert [(line.name, line.value) for line in chart.lines] == [("mine", "0.300"), ("Macro AUROC", "0.800")]


def test_what_is_not_finite_is_left_out():
    assert curves([]) == ()
    assert curves([{"epoch": 1, "loss": NAN}]) == ()
    history = [{"epoch": e, "loss": x, "val": {}} for e, x in enumerate((4.0, NAN, math.inf, 2.0), 1)]
    (chart,) = curves(history)
    assert len(points(chart.lines[0])) == 2


def test_an_epoch_without_validation_is_a_gap_that_is_bridged():
    history = [
        {"epoch": 1, "loss": 1.0, "val": {"a": 0.1}},
        {"epoch": 2, "loss": 1.0},
        {"epoch": 3, "loss": 1.0, "val": {"a": 0.2}},
    ]
    loss, validation = curves(history)
    assert [x for x, _ in points(validation.lines[0])] == [x for x, _ in points(loss.lines[0])][::2]


@given(st.lists(st.floats(-1e6, 1e6), max_size=6))
def test_an_axis_holds_zero_and_all_values(values):
    low, high = axis([*values, NAN])
    assert low <= min([0, *values])
    assert high >= max([0, *values])
    if all(0 <= x <= 1 for x in values):
        assert (low, high) == (0, 1)
    else:
        # Not much room is wasted.
        assert high - low <= 3 * (max([0, *values]) - min([0, *values]))


def test_an_interval_on_an_axis_by_hand():
    assert interval(Estimate(0.5, 0.0, 1.5, -0.5, 9), (-0.5, 2.0)) == (40.0, 20.0, 80.0, 0.0)
    assert interval(Estimate(0.5, NAN, NAN, NAN, 9), (0.0, 1.0)) == (50.0, None, None, None)


def test_every_metric_of_the_evaluations_has_words():
    for quantity, words in QUANTITIES.items():
        assert label(quantity) == ("", words, quantity)
        for variant, group in VARIANTS.items():
            assert label(f"{variant}/{quantity}") == (group, words, quantity)


@pytest.mark.parametrize("name", ["", "/", "a/b", "R@10/", "macro/", "cnr_signed/left/right", "<b>"])
def test_no_name_is_lost(name):
    assert label(name).words in name


@given(st.floats(-1e5, 1e5), st.integers(0, 4))
def test_a_number_says_what_it_is_rounded_to(x, decimals):
    read = float(number(x, decimals).replace("−", "-"))
    assert read == pytest.approx(x, rel=0.51, abs=0) or abs(read - x) <= 0.5 * 10**-decimals + 1e-9
    assert (read == 0) == (x == 0)
