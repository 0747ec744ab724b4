import numpy as np
import pytest

from bagclip.data.features import ArrayFeatures
from bagclip.data.study import Annotation, Box, Sentence, Study

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
def test_floats_of_any_precision_become_single(dtype):
    image = ArrayFeatures(ROWS.astype(dtype), "slide")
    assert image.shape == (4, 3) and image.view == "slide" and image.coords() is None
    assert image.features().dtype == np.float32 and np.array_equal(image.features(), ROWS)


def test_places_are_kept():
    image = ArrayFeatures(ROWS, places=np.array([[0, 0], [0, 256], [256, 0], [256, 256]]))
    assert image.coords().dtype == np.float64 and image.coords()[2].tolist() == [256, 0]
    with pytest.raises(ValueError, match=r"coords of 4 regions must be \(4, 2\), got \(3, 2\)"):
        ArrayFeatures(ROWS, places=np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (ROWS.astype(int), "must be a matrix of floats"),
        (ROWS[0], "must be a matrix of floats"),
        (ROWS[:0], "and not empty"),
        (np.where(ROWS == 5, np.nan, ROWS), "hold NaN, infinite values"),
        (ROWS.astype(float) * 1e300, "some too large for float32"),
    ],
)
def test_what_is_no_matrix_of_finite_floats_is_refused(array, sentence):
    with pytest.raises(ValueError, match=sentence):
        ArrayFeatures(array)


def test_there_are_no_pixels():
    image = ArrayFeatures(ROWS)
    with pytest.raises(ValueError, match="given as features has no pixels"):
        image.pixels()
    note = Annotation("mass", "mass", boxes=(Box(0, 0, 1, 1),))
    study = Study("s", (image,), "A mass.", (Sentence("A mass.", 0, 7),), annotations=(note,))
    with pytest.raises(ValueError, match="given as features has no pixels"):
        note.region(study.images[0].size)
