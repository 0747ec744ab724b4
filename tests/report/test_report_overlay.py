import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bagclip.data.study import Annotation, Box
from bagclip.report import overlay
from bagclip.report.overlay import BOX, OPACITY, REGION


@st.composite
def scenes(draw):
    """A random image and a map that is seen everywhere."""
    height, width = draw(st.integers(2, 24)), draw(st.integers(2, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image = rng.integers(0, 256, (height, width, 3) if draw(st.booleans()) else (height, width), dtype=np.uint8)
    return image, rng.normal(size=(height, width)).astype(draw(st.sampled_from([np.float32, np.float64])))


def gray(image):
    return np.array(Image.fromarray(image).convert("L").convert("RGB"))


@given(scenes())
def test_the_lowest_values_leave_the_image_untouched(scene):
    image, heat = scene
    median = float(np.median(heat))
    drawn = overlay(image, heat, limits=(median, float(heat.max()) + 1))
    assert drawn.dtype == np.uint8
    assert drawn.shape == (*image.shape[:2], 3)
    np.testing.assert_array_equal(drawn[heat <= median], gray(image)[heat <= median])


@given(scenes(), st.sampled_from([0.25, 2.0, 16.0]))
def test_a_positive_factor_changes_nothing(scene, factor):
    image, heat = scene
    np.testing.assert_array_equal(overlay(image, factor * heat), overlay(image, heat))


@given(scenes())
def test_mirrored_image_and_map_give_the_mirrored_overlay(scene):
    image, heat = scene
    drawn = overlay(image, heat, region=heat > 1)
    for mirrored in (lambda x: x[:, ::-1], lambda x: x[::-1], lambda x: x.swapaxes(0, 1)):
        again = overlay(*(np.ascontiguousarray(mirrored(x)) for x in scene), region=mirrored(heat > 1))
        np.testing.assert_array_equal(again, mirrored(drawn))


def test_every_pixel_is_the_mix_that_is_promised():
    rng = np.random.default_rng(0)
    image, heat = rng.integers(0, 256, (5, 7), dtype=np.uint8), rng.random((5, 7))
    colours = matplotlib.colormaps["inferno"].resampled(256)
    drawn = overlay(image, heat, limits=(0.2, 0.7))
    for y in range(5):
        for x in range(7):
            strength = min(max((heat[y, x] - 0.2) / 0.5, 0), 1)
            colour = 255 * np.array(colours(0.4 + 0.48 * round(strength * 255) / 255)[:3])
            expected = image[y, x] + OPACITY * strength**2 * (colour - image[y, x])
            np.testing.assert_allclose(drawn[y, x], expected, atol=0.51)


@pytest.mark.parametrize("ground", [0, 60, 130])
def test_colour_grows_with_the_map(ground):
    heat = np.linspace(0, 1, 64)[None]
    drawn = overlay(np.full((1, 64), ground, dtype=np.uint8), heat)[0].astype(int)
    distance = np.abs(drawn - ground).sum(1)
    assert distance[0] == 0
    assert (np.diff(distance[::4]) >= 0).all()
    assert (np.diff(distance[8::4]) > 0).all()


def test_a_constant_map_has_no_colour():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    np.testing.assert_array_equal(overlay(image, np.full((8, 8), 0.3)), gray(image))


@given(st.integers(0, 255))
def test_unseen_pixels_are_hatched_and_change_no_other(ground):
    image = np.full((16, 40), ground, dtype=np.uint8)
    heat = np.random.default_rng(ground).normal(size=image.shape)
    partial = heat.copy()
    partial[:, 20:] = np.nan
    drawn = overlay(image, partial, limits=(-1, 1))
    np.testing.assert_array_equal(drawn[:, :20], overlay(image, heat, limits=(-1, 1))[:, :20])
    levels = np.unique(drawn[:, 20:])
    assert len(levels) == 2
    assert levels[1] - levels[0] > 20


def test_nothing_seen_is_hatched_all_over():
    drawn = overlay(np.zeros((40, 40), dtype=np.uint8), np.full((40, 40), np.nan))
    assert (drawn > 0).all()


def test_the_region_is_ringed_and_not_covered():
    image = np.random.default_rng(1).integers(0, 200, (60, 80), dtype=np.uint8)
    heat = np.random.default_rng(2).random((60, 80))
    region = np.zeros((60, 80), dtype=bool)
    region[20:30, 0:25] = region[25:50, 15:20] = True
    without, drawn = overlay(image, heat), overlay(image, heat, region=region)
    near = {(y + i, x + j) for y, x in np.argwhere(region) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    far = {(y + i, x + j) for y, x in near for i in (-1, 0, 1) for j in (-1, 0, 1)}
    expected = without.copy()
    for y in range(60):
        for x in range(80):
            if (y, x) in far and not region[y, x]:
                expected[y, x] = REGION if (y, x) in near else (0, 0, 0)
    np.testing.assert_array_equal(drawn, expected)


def test_a_box_encloses_the_pixels_that_its_annotation_does():
    image, heat = np.full((40, 50), 90, dtype=np.uint8), np.zeros((40, 50))
    box = Box(10.2, 5.6, 30.5, 22.0)
    drawn = overlay(image, heat, boxes=[box])
    inside = Annotation("mass", "mass", boxes=(box,)).region((40, 50))
    line = (drawn == BOX).all(2)
    assert not (line & inside).any()
    top, left = np.argwhere(inside).min(0)
    bottom, right = np.argwhere(inside).max(0)
    assert line.sum() == 2 * (bottom - top + 3) + 2 * (right - left + 1)
    assert line[top - 1, left - 1 : right + 2].all()
    assert line[bottom + 1, left - 1 : right + 2].all()


def test_enlarging_keeps_the_limits_of_the_map_as_it_was():
    image, heat = np.full((6, 6), 50, dtype=np.uint8), np.zeros((6, 6))
    heat[2, 2] = 1.0
    drawn = overlay(image, heat, scale=9)
    assert drawn.shape == (54, 54, 3)
    np.testing.assert_allclose(drawn[22, 22], overlay(image, heat)[2, 2], atol=1)
    # Halved, the peak is lower, but it is still measured by the map's own highest value.
    assert np.abs(overlay(image, heat, scale=0.5).astype(int) - 50).max() < 80


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heat": np.zeros((3, 4))}, "map has shape"),
        ({"heat": np.full((4, 4), np.inf)}, "infinite at row 0, column 0"),
        ({"image": np.zeros((4, 4))}, "must be uint8"),
        ({"image": np.zeros((4, 4, 4), np.uint8)}, "must be uint8"),
        ({"region": np.zeros((4, 5), bool)}, "region must be boolean"),
        ({"region": np.zeros((4, 4))}, "region must be boolean"),
        ({"limits": (1.0, 0.0)}, "lower one first"),
        ({"limits": (0.0, np.nan)}, "finite"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {"image": np.zeros((4, 4), np.uint8), "heat": np.zeros((4, 4))} | change
    with pytest.raises(ValueError, match=message):
        overlay(**given)
