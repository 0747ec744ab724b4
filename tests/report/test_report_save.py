import numpy as np
import pytest
from PIL import Image

from bagclip.data.study import Box
from bagclip.report import overlay, save_overlay

PHRASE = "small left pleural effusion"


def scene(height, width):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width), dtype=np.uint8), rng.random((height, width))


def test_a_large_image_keeps_its_pixels(tmp_path):
    image, heat = scene(600, 400)
    region = heat > 0.99
    save_overlay(tmp_path / "heat.png", image, heat, phrase=PHRASE, region=region, limits=(0.5, 0.9))
    saved = np.array(Image.open(tmp_path / "heat.png"))
    np.testing.assert_array_equal(saved[:600], overlay(image, heat, region=region, limits=(0.5, 0.9)))
    assert saved.shape[0] > 600
    assert saved.shape[1:] == (400, 3)


@pytest.mark.parametrize(("size", "factor"), [((96, 96), 6), ((320, 200), 2), ((100, 511), 2), ((512, 30), 1)])
def test_a_small_image_is_enlarged_by_a_whole_factor(tmp_path, size, factor):
    save_overlay(tmp_path / "heat.PNG", *scene(*size), phrase=PHRASE)
    assert Image.open(tmp_path / "heat.PNG").width == factor * size[1]


def test_the_caption_has_room_for_the_phrase_and_a_key_of_what_is_drawn(tmp_path):
    image, heat = scene(520, 520)

    def caption(**drawn):
        save_overlay(tmp_path / "heat.png", image, drawn.pop("heat", heat), **{"phrase": PHRASE, **drawn})
        return np.array(Image.open(tmp_path / "heat.png"))[520:].astype(int)

    plain = caption()
    assert (plain.max(2) > 200).any()
    long = caption(phrase=" ".join([PHRASE] * 8))
    assert len(long) > len(plain)
    # Text touches neither edge.
    assert (long[:, :8] == long[0, 0]).all()
    assert (long[:, -8:] == long[0, 0]).all()
    marks = {"cyan": (0, 225, 255), "white": (255, 255, 255)}
    for name, drawn in (("cyan", {"region": heat > 0.9}), ("white", {"boxes": [Box(5, 5, 50, 60)]})):
        for other, colour in marks.items():
            assert (caption(**drawn) == colour).all(2).any() == (name == other)
    unseen = heat.copy()
    unseen[:, 0] = np.nan
    assert not np.array_equal(caption(heat=unseen)[: len(plain)], plain)


def test_a_narrow_image_gets_a_caption_too(tmp_path):
    save_overlay(tmp_path / "heat.png", *scene(512, 20), phrase="cardiomegaly", boxes=[Box(1, 1, 9, 9)])
    assert Image.open(tmp_path / "heat.png").width == 20


def test_another_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.png, not 'heat.jpg'"):
        save_overlay(tmp_path / "heat.jpg", *scene(8, 8), phrase=PHRASE)


def test_a_failure_leaves_what_was_there(tmp_path):
    image, heat = scene(64, 64)
    save_overlay(tmp_path / "heat.png", image, heat, phrase=PHRASE)
    before = (tmp_path / "heat.png").read_bytes()
    heat[3, 4] = np.inf
    with pytest.raises(ValueError, match="row 3, column 4"):
        save_overlay(tmp_path / "heat.png", image, heat, phrase=PHRASE)
    assert (tmp_path / "heat.png").read_bytes() == before
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OSError, match="cannot write"):
        save_overlay(tmp_path / "folder.png", *scene(64, 64), phrase=PHRASE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.png", "heat.png"]
