from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bagclip.encoders import ConvNet, image_from_config
from bagclip.preprocess import Preprocess


def trained(**options: object) -> ConvNet:
    """As after some training: its statistics are no longer those of no data."""
    torch.manual_seed(0)
    encoder = ConvNet(**{"dim": 12, "width": 8, **options})  # type: ignore[arg-type]
    for _ in range(5):
        encoder(pixels(8, encoder.preprocess.channels))
    return encoder.eval()


def pixels(images: int, channels: int = 1, height: int = 96, width: int = 96) -> Tensor:
    return torch.rand(images, channels, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("stride", [4, 8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_grid_follows_the_input(stride: int, channels: int) -> None:
    encoder = trained(stride=stride, channels=channels, width=4)
    assert encoder.preprocess == Preprocess((96, 96), channels=channels)
    assert encoder(pixels(2, channels)).shape == (2, 96 // stride, 96 // stride, 12)
    assert encoder(pixels(2, channels, 48, 160)).shape == (2, 48 // stride, 160 // stride, 12)


def test_an_image_is_encoded_the_same_in_any_company() -> None:
    encoder, images = trained(), pixels(5)
    with torch.no_grad():
        alone = torch.cat([encoder(image[None]) for image in images])
        torch.testing.assert_close(encoder(images), alone, atol=1e-5, rtol=0)


def test_a_region_sees_its_own_neighbourhood() -> None:
    encoder, images = trained(), pixels(1).requires_grad_()
    encoder(images)[0, 5, 7].sum().backward()
    assert images.grad is not None
    for seen, cell in zip(images.grad[0, 0].nonzero(as_tuple=True), (5, 7), strict=True):
        first, end = seen.min().item(), seen.max().item() + 1
        assert abs((first + end) / 2 - (8 * cell + 4)) <= 0.5  # centred on the region
        assert 8 < end - first <= 32


def test_a_region_knows_its_side() -> None:
    encoder = trained()
    with torch.no_grad():
        regions = encoder(torch.full((1, 1, 96, 96), 0.5))[0]
    inner = regions[4:8, 4:8]  # far from the border, where only the place can differ
    assert (inner[:, 0] - inner[:, -1]).norm(dim=-1).min() > 1e-2
    assert (inner[0] - inner[-1]).norm(dim=-1).min() > 1e-2


def test_a_gray_image_means_the_same_however_it_is_normalised() -> None:
    images = pixels(2)
    first = trained()
    second = trained()
    second.preprocess = replace(first.preprocess, mean=(0.0,), std=(1.0,))
    with torch.no_grad():
        torch.testing.assert_close(second((images - 0.5) / 0.25), first(images))


def test_every_weight_learns() -> None:
    encoder = trained().train()
    encoder(pixels(4)).square().sum().backward()
    for name, weight in encoder.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all() and weight.grad.abs().sum() > 0, name


def test_rebuilt_from_its_config_it_encodes_the_same(tmp_path: Path) -> None:
    preprocess = Preprocess((64, 32), fit="crop", channels=3, mean=(0.4,), std=(0.1, 0.2, 0.3))
    encoder = trained(stride=4, depth=2, preprocess=preprocess)
    again = image_from_config(json.loads(json.dumps(encoder.config())), tmp_path)
    again.load_state_dict(encoder.state_dict())
    assert again.preprocess == preprocess
    with torch.no_grad():
        assert torch.equal(again.eval()(pixels(2, 3, 64, 32)), encoder(pixels(2, 3, 64, 32)))


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="power of two"):
        ConvNet(stride=6)
    with pytest.raises(ValueError, match="power of two from 4 on"):
        ConvNet(stride=2)
    with pytest.raises(ValueError, match="100 x 100; both must be multiples of the stride, 8"):
        ConvNet(size=100)
    with pytest.raises(ValueError, match="96 x 92; both must be multiples"):
        ConvNet()(pixels(1, 1, 96, 92))
