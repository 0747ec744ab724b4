import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from bagclip.data.augment import Augment

STILL = {"brightness": 0.0, "contrast": 0.0, "gamma": 0.0, "noise": 0.0}


def blob(x, y, size=64):
    rows, columns = np.mgrid[:size, :size] + 0.5
    return torch.tensor(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18), dtype=torch.float32)[None, None]


def centre(pixels):
    rows, columns = np.mgrid[: pixels.shape[-2], : pixels.shape[-1]] + 0.5
    weight = pixels[0, 0].numpy()
    return (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()


@given(names=st.lists(st.text(max_size=5), min_size=1, max_size=4, unique=True), epoch=st.integers(0, 5))
def test_a_sample_depends_on_seed_epoch_and_name_alone(names, epoch):
    pixels = torch.rand(len(names), 1, 16, 16, generator=torch.Generator().manual_seed(0))
    whole = Augment()(pixels, names, seed=1, epoch=epoch)
    assert whole.shape == pixels.shape and whole.min() >= 0 and whole.max() <= 1
    for i, name in enumerate(names):
        alone = Augment()(pixels[i : i + 1], [name], seed=1, epoch=epoch)
        torch.testing.assert_close(alone[0], whole[i], atol=1e-6, rtol=0)
        assert not torch.equal(alone, Augment()(pixels[i : i + 1], [name], seed=1, epoch=epoch + 1))
        assert not torch.equal(alone, Augment()(pixels[i : i + 1], [name], seed=2, epoch=epoch))


def test_left_stays_left():
    for seed in range(50):
        x, _ = centre(Augment(**STILL)(blob(16, 32), ["s"], seed=seed, epoch=0))
        assert 8 < x < 28


def test_ranges_are_kept_and_used():
    moved = [
        centre(Augment(rotation=0, zoom=0, shift=0.1, **STILL)(blob(32, 32), ["s"], seed=s, epoch=0)) for s in range(60)
    ]
    x, y = np.array(moved).T - 32
    assert abs(x).max() <= 6.5 and abs(y).max() <= 6.5 and abs(x).max() > 5 and abs(y).max() > 5
    turned = [
        centre(Augment(shift=0, zoom=0, rotation=10, **STILL)(blob(52, 32), ["s"], seed=s, epoch=0)) for s in range(60)
    ]
    x, y = np.array(turned).T - 32
    angles = np.degrees(np.arctan2(y, x))
    np.testing.assert_allclose(np.hypot(x, y), 20, atol=0.2)
    assert abs(angles).max() <= 10.2 and abs(angles).max() > 8


def test_no_change_asked_for_is_none_made():
    pixels = torch.rand(2, 3, 12, 20)
    still = Augment(rotation=0, shift=0, zoom=0, **STILL)(pixels, ["a", "b"], seed=0, epoch=0)
    torch.testing.assert_close(still, pixels, atol=1e-5, rtol=0)
