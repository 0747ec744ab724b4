from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import map_coordinates

from bagclip.preprocess import Geometry, Preprocess

FITS = [
    Preprocess(size=(64, 48), fit="pad"),
    Preprocess(size=(64, 48), fit="crop"),
    Preprocess(size=(64, 48), fit="crop", shortest_edge=80),
    Preprocess(size=(64, 48), fit="crop", shortest_edge=40),
    Preprocess(size=(64, 48), fit="stretch"),
]
SHAPES = [(133, 101), (64, 48), (37, 211), (201, 30), (20, 17)]
preprocesses = st.sampled_from(FITS)
shapes = st.tuples(st.integers(8, 150), st.integers(8, 150))
grids = st.tuples(st.integers(1, 9), st.integers(1, 9))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def seen(geometry: Geometry, axis: int) -> np.ndarray:
    """Where the pixel centres of one axis lie in the input."""
    return (np.arange(geometry.original[axis]) + 0.5) * geometry.scale[axis] + geometry.offset[axis]


@pytest.mark.parametrize("preprocess", FITS)
@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_are_those_of_pillow(preprocess: Preprocess, shape: tuple[int, int]) -> None:
    image = noise(*shape, 3)
    pixels, geometry = replace(preprocess, channels=3)(image)

    height, width = (round(n * s) for n, s in zip(shape, geometry.scale, strict=True))
    canvas = Image.new("RGB", (48, 64))
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    canvas.paste(resized, (int(geometry.offset[1]), int(geometry.offset[0])))

    assert pixels.shape == (3, 64, 48) and pixels.dtype == torch.uint8
    difference = pixels.permute(1, 2, 0).numpy().astype(int) - np.asarray(canvas).astype(int)
    assert np.abs(difference).max() <= 1


@given(preprocesses, shapes)
def test_fits_keep_what_they_promise(preprocess: Preprocess, shape: tuple[int, int]) -> None:
    geometry = preprocess.geometry(*shape)
    height, width = (n * s for n, s in zip(shape, geometry.scale, strict=True))
    if preprocess.fit == "stretch":
        assert (height, width) == pytest.approx(preprocess.size) and geometry.offset == (0, 0)
        return
    assert abs(height * shape[1] / shape[0] - width) <= 1 + shape[1] / shape[0]  # proportions, to a rounded pixel
    if preprocess.fit == "pad":
        assert height <= 64 + 1e-9 and width <= 48 + 1e-9
        assert height == pytest.approx(64) or width == pytest.approx(48)
    elif preprocess.shortest_edge:
        assert min(height, width) == pytest.approx(preprocess.shortest_edge)
    else:
        assert height >= 64 - 1e-9 and width >= 48 - 1e-9
        assert height == pytest.approx(64) or width == pytest.approx(48)
    for length, offset, want in zip((height, width), geometry.offset, preprocess.size, strict=True):
        assert abs(length / 2 + offset - want / 2) <= 0.5 + 1e-9  # centred, to whole pixels


@given(preprocesses, shapes, grids)
def test_maps_come_back_as_scipy_interpolates_them(
    preprocess: Preprocess, shape: tuple[int, int], grid: tuple[int, int]
) -> None:
    geometry = preprocess.geometry(*shape)
    values = np.random.default_rng(1).normal(size=grid)
    y, x = seen(geometry, 0), seen(geometry, 1)
    cells = np.meshgrid(y * grid[0] / 64 - 0.5, x * grid[1] / 48 - 0.5, indexing="ij")
    expected = map_coordinates(values, cells, order=1, mode="nearest")
    outside = ((y < 0) | (y >= 64))[:, None] | ((x < 0) | (x >= 48))[None]
    expected[outside] = np.nan

    found = geometry.to_original(torch.from_numpy(values)).numpy()
    assert found.shape == shape
    assert np.array_equal(np.isnan(found), outside)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@given(preprocesses, shapes)
def test_a_ramp_comes_back_as_the_ramp(preprocess: Preprocess, shape: tuple[int, int]) -> None:
    geometry = preprocess.geometry(*shape)
    rows, columns = (np.arange(8) + 0.5) * 8, (np.arange(6) + 0.5) * 8  # centres of cells in the input
    ramp = torch.from_numpy(3 * rows[:, None] - 2 * columns[None] + 5)
    found = geometry.to_original(ramp).numpy()
    y, x = seen(geometry, 0), seen(geometry, 1)
    interior = ((y >= 4) & (y <= 60))[:, None] & ((x >= 4) & (x <= 44))[None]
    np.testing.assert_allclose(found[interior], (3 * y[:, None] - 2 * x[None] + 5)[interior], atol=1e-9)


@pytest.mark.parametrize("preprocess", FITS)
@pytest.mark.parametrize("shape", [(133, 101), (90, 211)])
def test_a_bright_square_is_found_again(preprocess: Preprocess, shape: tuple[int, int]) -> None:
    top, left = shape[0] // 2 - 20, shape[1] // 2 + 5
    image = np.zeros(shape, np.uint8)
    image[top : top + 16, left : left + 16] = 255
    pixels, geometry = preprocess(image)

    weights = pixels[0].double()
    for axis, start in enumerate((top, left)):
        profile = weights.sum(1 - axis)
        centre = (profile * (torch.arange(len(profile)) + 0.5)).sum() / profile.sum()
        assert centre.item() == pytest.approx((start + 8) * geometry.scale[axis] + geometry.offset[axis], abs=0.5)

    cells = torch.nn.functional.avg_pool2d(pixels.float(), 4)[0]
    y, x = np.unravel_index(np.nanargmax(geometry.to_original(cells)), shape)
    assert top <= y < top + 16 and left <= x < left + 16


def test_what_was_cropped_away_is_nan_and_nothing_else() -> None:
    geometry = Preprocess(size=(50, 50), fit="crop").geometry(100, 200)
    found = geometry.to_original(torch.ones(5, 5))
    assert found[:, :50].isnan().all() and found[:, 150:].isnan().all()
    assert (found[:, 50:150] == 1).all()


def test_maps_come_back_in_batches() -> None:
    geometry = Preprocess(size=(64, 48)).geometry(31, 57)
    maps = torch.rand(2, 3, 8, 6, generator=torch.Generator().manual_seed(0))
    found = geometry.to_original(maps)
    assert found.shape == (2, 3, 31, 57) and found.dtype == torch.float32
    torch.testing.assert_close(found[1, 2], geometry.to_original(maps[1, 2]))


def test_the_geometry_is_known_before_the_pixels() -> None:
    for preprocess in FITS:
        assert preprocess(noise(77, 41))[1] == preprocess.geometry(77, 41)


def test_channels_follow_the_encoder() -> None:
    gray, colour = noise(64, 48), noise(64, 48, 3)
    assert torch.equal(FITS[0](gray)[0][0], torch.from_numpy(gray))
    assert torch.equal(replace(FITS[0], channels=3)(gray)[0], torch.from_numpy(gray).expand(3, -1, -1))
    luma = np.asarray(Image.fromarray(colour).convert("L")).astype(int)
    assert np.abs(FITS[0](colour)[0][0].numpy() - luma).max() <= 1


def test_mirrored_and_read_only_arrays_are_read() -> None:
    image = noise(64, 48)
    image.flags.writeable = False
    assert torch.equal(FITS[0](image[:, ::-1])[0][0], torch.from_numpy(image.copy()).flip(1))


def test_normalise() -> None:
    preprocess = Preprocess(size=(1, 2), channels=3, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    pixels = torch.tensor([0, 51, 102, 153, 204, 255], dtype=torch.uint8).reshape(3, 1, 2)
    expected = torch.tensor([[[-0.2, 0.2]], [[0.2, 0.4]], [[0.25, 0.35]]])
    torch.testing.assert_close(preprocess.normalise(pixels), expected)
    torch.testing.assert_close(preprocess.normalise(pixels[None] / 255), expected[None])


def test_it_travels_as_json() -> None:
    for preprocess in [*FITS, Preprocess((8, 8), channels=3, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 2.0))]:
        assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size": (0, 8)}, "size must be a positive"),
        ({"fit": "zoom"}, "pad, crop, stretch"),
        ({"shortest_edge": 9}, "fit='crop'"),
        ({"channels": 2}, "1 .gray. or 3 .RGB."),
        ({"mean": (0.1, 0.2)}, "mean needs one value"),
        ({"std": (0.0,)}, "std must be positive"),
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(FITS[0], **change)


@pytest.mark.parametrize("image", [noise(4, 4).astype(float), noise(4), noise(4, 4, 4), noise(0, 4), noise(4, 0, 3)])
def test_what_is_no_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be uint8 of shape"):
        FITS[0](image)
