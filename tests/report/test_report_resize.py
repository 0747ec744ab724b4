import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bagclip.data.study import Annotation, Box
from bagclip.report.resize import resize_boxes, resize_image, resize_map, resize_region

sizes = st.tuples(st.integers(1, 30), st.integers(1, 30))


@given(sizes, sizes, st.integers(0, 2**32 - 1))
def test_maps_stay_within_their_values_and_constant_ones_constant(old, new, seed):
    heat = np.random.default_rng(seed).normal(size=old)
    shown = resize_map(heat, new)
    assert shown.shape == new
    assert heat.min() - 1e-5 <= shown.min() <= shown.max() <= heat.max() + 1e-5
    np.testing.assert_allclose(resize_map(np.full(old, 0.3), new), 0.3, rtol=1e-6)


@given(st.integers(2, 9))
def test_what_is_unseen_keeps_its_place_and_does_not_bleed(factor):
    heat = np.full((6, 8), 5.0)
    heat[:, :3] = heat[4:] = np.nan
    shown = resize_map(heat, (6 * factor, 8 * factor))
    expected = np.kron(heat, np.ones((factor, factor)))
    # Where the two edges meet, the corner is rounded.
    corner = np.zeros(shown.shape, dtype=bool)
    corner[4 * factor - factor : 4 * factor, 3 * factor : 4 * factor] = True
    np.testing.assert_allclose(shown[~corner], expected[~corner], rtol=1e-6)
    assert np.isin(np.round(shown[corner & ~np.isnan(shown)], 4), 5.0).all()


@given(st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_boxes_and_regions_grow_alike(factor, seed):
    left, top, width, height = np.random.default_rng(seed).integers(1, 10, 4).tolist()
    box = Box(left, top, left + width, top + height)
    old, new = (24, 26), (24 * factor, 26 * factor)
    of_box = Annotation("a", "a", boxes=resize_boxes([box], old, new)).region(new)
    of_region = resize_region(Annotation("a", "a", boxes=(box,)).region(old), new)
    # Only the rounded corners of the region differ.
    assert np.count_nonzero(of_box != of_region) <= 4 * factor


def test_a_catheter_of_one_pixel_survives_shrinking():
    region = np.zeros((200, 200), dtype=bool)
    region[:, 97] = True
    assert resize_region(region, (50, 50)).any(axis=1).all()


def test_an_image_at_its_own_size_is_itself():
    image = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_image(image, (9, 11)), image)
    assert resize_image(image[..., 0], (18, 33)).shape == (18, 33)
