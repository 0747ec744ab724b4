import math

import pytest
import torch

from bagclip.scale import Annealed, Learned, anneal, scale, value


def test_a_number_is_kept_as_it_is():
    assert scale(3, "the sharpness of X") == 3.0 and isinstance(scale(3, "the sharpness of X"), float)
    assert value(2.5) == 2.5


@pytest.mark.parametrize("kind", [Learned(2.0), Annealed(2.0, 4.0)], ids=repr)
def test_what_changes_is_kept_and_read(kind):
    assert scale(kind, "the sharpness of X") is kind
    assert value(kind).shape == () and value(kind).item() == pytest.approx(2.0)


@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf, True, None, "5", torch.tensor(5.0)], ids=repr)
def test_what_is_no_positive_number_is_refused(bad):
    with pytest.raises(ValueError, match="the sharpness of X must be a positive number, Learned or Annealed, got"):
        scale(bad, "the sharpness of X")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Learned(0.0), "the start of Learned must be a positive number"),
        (lambda: Learned(1.0, minimum=-1.0), "the minimum of Learned must be a positive number"),
        (lambda: Learned(1.0, maximum=math.inf), "the maximum of Learned must be a positive number"),
        (lambda: Learned(1.0, minimum=2.0), r"starts at 1\.0, outside its limits 2\.0 and None"),
        (lambda: Learned(3.0, maximum=2.0), r"starts at 3\.0, outside its limits None and 2\.0"),
        (lambda: Annealed(-1.0, 1.0), "the start of Annealed must be a positive number"),
        (lambda: Annealed(1.0, 0.0), "the end of Annealed must be a positive number"),
    ],
)
def test_bad_scales_are_refused_in_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_learned_scale_is_learned_by_its_logarithm():
    learned = Learned(5.0)
    (parameter,) = learned.parameters()
    learned().backward()
    assert parameter.grad.item() == pytest.approx(5.0)
    with torch.no_grad():
        parameter.sub_(100.0)
    assert learned().item() > 0


@pytest.mark.parametrize(
    ("limits", "ends"), [((0.5, None), (0.5, 1e4)), ((None, 8.0), (1e-4, 8.0)), ((1.0, 8.0), (1, 8))]
)
def test_limits_hold_the_parameter_and_it_comes_back(limits, ends):
    for direction, end in zip((-1.0, 1.0), ends, strict=True):
        learned = Learned(2.0, *limits)
        optimizer = torch.optim.SGD(learned.parameters(), lr=1.0)
        with torch.no_grad():
            learned.log.add_(direction * 20.0)
        # Two uses before one backward, as in a sum of losses.
        total = learned() + learned()
        free = 2.0 * math.exp(direction * 20.0)
        limit = limits[0] if direction < 0 else limits[1]
        assert total.item() == pytest.approx(2 * (free if limit is None else end), rel=1e-5)
        if limit is not None:
            assert learned.log.item() == pytest.approx(math.log(limit))
            # Downhill from the upper limit, uphill from the lower one: it leaves at the first step.
            optimizer.zero_grad()
            (direction * learned()).backward()
            optimizer.step()
            assert direction * (learned().item() - limit) < 0


def test_a_step_beyond_a_limit_leaves_a_gradient():
    learned = Learned(2.0, maximum=2.0)
    with torch.no_grad():
        learned.log.add_(1.0)
    learned().backward()
    assert learned.log.grad.item() == pytest.approx(2.0)


def test_an_annealed_scale_goes_by_a_constant_factor():
    annealed = Annealed(1.0, 100.0)
    seen = []
    for step in range(5):
        anneal(annealed, step / 4)
        seen.append(annealed().item())
    assert seen == pytest.approx([1.0, math.sqrt(10), 10.0, 10 * math.sqrt(10), 100.0])
    assert not list(annealed.parameters())


def test_annealing_reaches_what_is_nested_and_leaves_the_rest():
    nested = torch.nn.Sequential(torch.nn.Sequential(Annealed(8.0, 2.0)), Learned(3.0))
    anneal(nested, 1.0)
    assert nested[0][0]().item() == pytest.approx(2.0)
    assert nested[1]().item() == pytest.approx(3.0)


def test_progress_is_saved_with_the_weights():
    annealed, again = Annealed(1.0, 100.0), Annealed(1.0, 100.0)
    anneal(annealed, 0.5)
    again.load_state_dict(annealed.state_dict())
    assert again().item() == pytest.approx(10.0)


def test_scales_print_as_they_are_written():
    assert repr(Learned(5.0)) == "Learned(start=5.0)"
    assert repr(Learned(5.0, maximum=100.0)) == "Learned(start=5.0, maximum=100.0)"
    assert repr(Annealed(1.0, 10.0)) == "Annealed(start=1.0, end=10.0)"
