import pickle
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from bagclip.data.files import BadFile, ImageFile, MaskFile, MaskUnion, check_all, check_image, check_mask

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (30, 40), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8)


def png_chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def write_png(path, width, height, depth, colour, data):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, data) for name, data in chunks))


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff"])
def test_gray_images_stay_as_they_are(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(GRAY).save(path)
    assert check_image(path) == check_image(path, decode=False) == (30, 40)
    image = ImageFile(path, (30, 40), "PA")
    assert image.view == "PA"
    np.testing.assert_array_equal(image.pixels(), GRAY)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff"])
def test_colour_images_stay_as_they_are(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLOUR).save(path)
    np.testing.assert_array_equal(ImageFile(path, check_image(path)).pixels(), COLOUR)


def test_a_gif_is_a_palette_and_so_colour(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.gif")
    pixels = ImageFile(tmp_path / "a.gif", check_image(tmp_path / "a.gif")).pixels()
    np.testing.assert_array_equal(pixels, np.repeat(GRAY[..., None], 3, axis=2))


def test_other_modes_become_gray_or_colour(tmp_path):
    Image.fromarray(GRAY > 99).save(tmp_path / "one.png")
    one = ImageFile(tmp_path / "one.png", check_image(tmp_path / "one.png"))
    np.testing.assert_array_equal(one.pixels(), np.where(GRAY > 99, 255, 0))
    palette = Image.fromarray((GRAY > 99).astype(np.uint8), "L")
    palette.putpalette([10, 20, 30, 200, 100, 0])
    palette.save(tmp_path / "palette.png")
    pixels = ImageFile(tmp_path / "palette.png", check_image(tmp_path / "palette.png")).pixels()
    np.testing.assert_array_equal(pixels, np.where((GRAY > 99)[..., None], [200, 100, 0], [10, 20, 30]))


@pytest.mark.parametrize("suffix", ["png", "tiff", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_counts_for_size_and_pixels(tmp_path, suffix, orientation):
    path = tmp_path / f"a.{suffix}"
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:8, :8] = 255  # The first corner, which the orientation puts elsewhere.
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    turned = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.T,
        6: np.rot90(pixels, -1),
        7: np.rot90(pixels, 2).T,
        8: np.rot90(pixels),
    }[orientation]
    assert check_image(path) == check_image(path, decode=False) == turned.shape
    read = ImageFile(path, turned.shape).pixels()
    np.testing.assert_array_equal(read > 127, turned > 127)


def bad_files(folder):
    """Each bad file with what must be said about it."""
    gray, colour = Image.fromarray(GRAY), Image.fromarray(COLOUR)
    yield folder / "nowhere.png", "file not found"
    yield folder, "cannot be opened"

    path = folder / "empty.png"
    path.touch()
    yield path, "empty file"

    path = folder / "text.png"
    path.write_text("patient,image\n1,2\n")
    yield path, "not an image"

    for suffix in ("png", "jpg", "bmp", "gif", "tiff"):
        path = folder / f"truncated.{suffix}"
        gray.save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        yield path, "truncated or damaged"

    path = folder / "header.png"
    gray.save(path)
    path.write_bytes(path.read_bytes()[:20])
    yield path, "truncated or damaged"

    path = folder / "flipped.png"
    gray.save(path)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    yield path, "truncated or damaged"

    path = folder / "bomb.png"
    write_png(path, 30_000, 30_000, 8, 0, bytes(30_000))
    yield path, r"too many pixels: 30,000 x 30,000 are more than 80,000,000"

    path = folder / "deep.png"
    Image.fromarray(GRAY.astype(np.uint16) * 256).save(path)
    yield path, "more than 8 bits.*window"

    path = folder / "deep_colour.png"
    write_png(path, 4, 3, 16, 2, bytes(3 * (1 + 4 * 6)))
    yield path, "more than 8 bits"

    path = folder / "integers.tiff"
    Image.fromarray(GRAY.astype(np.int32)).save(path)
    yield path, "more than 8 bits"

    path = folder / "floats.tiff"
    Image.fromarray(GRAY.astype(np.float32)).save(path)
    yield path, "more than 8 bits"

    path = folder / "cmyk.jpg"
    colour.convert("CMYK").save(path)
    yield path, "CMYK"

    path = folder / "lab.tiff"
    Image.new("LAB", (4, 3)).save(path)
    yield path, "LAB colours"

    for mode in ("RGBA", "LA"):
        path = folder / f"{mode}.png"
        colour.convert(mode).save(path)
        yield path, "alpha channel"

    path = folder / "transparent_palette.png"
    colour.quantize(8).save(path, transparency=0)
    yield path, "alpha channel"

    path = folder / "transparent_colour.png"
    colour.save(path, transparency=(1, 2, 3))
    yield path, "alpha channel"

    for suffix in ("gif", "tiff", "png"):
        path = folder / f"frames.{suffix}"
        gray.save(path, save_all=True, append_images=[Image.fromarray(255 - GRAY)])
        yield path, "several frames: it holds 2"


def test_bad_images_are_refused_with_the_reason(tmp_path):
    for path, reason in bad_files(tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ValueError, match=reason) as caught:
                check_image(path)
        assert str(path) in str(caught.value)
        assert str(tmp_path) not in caught.value.reason


def test_headers_alone_do_not_show_truncation(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(GRAY).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert check_image(path, decode=False) == (30, 40)
    with pytest.raises(OSError, match=r"a\.png.*truncated"):
        ImageFile(path, (30, 40)).pixels()


def test_the_limit_of_pixels_is_the_callers(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(GRAY).save(path)
    assert check_image(path, max_pixels=1200) == (30, 40)
    with pytest.raises(ValueError, match="too many pixels"):
        check_image(path, max_pixels=1199)
    # Above what pillow itself would open, yet asked for.
    write_png(tmp_path / "large.png", 30_000, 30_000, 1, 0, b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_image(tmp_path / "large.png", max_pixels=10**9, decode=False) == (30_000, 30_000)


def test_a_file_that_changed_is_not_read_as_another(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(GRAY).save(path)
    image = ImageFile(path, check_image(path))
    Image.fromarray(GRAY.T).save(path)
    with pytest.raises(OSError, match="now 30 x 40"):
        image.pixels()
    path.unlink()
    with pytest.raises(OSError, match="not found"):
        image.pixels()


def test_files_and_errors_survive_pickling(tmp_path):
    image = ImageFile(tmp_path / "a.png", (3, 4), "PA")
    assert pickle.loads(pickle.dumps(image)) == image
    error = pickle.loads(pickle.dumps(BadFile(tmp_path, "empty file: it has 0 bytes.")))
    assert error.reason == "empty file: it has 0 bytes." and str(tmp_path) in str(error)


def test_masks_are_what_is_not_zero(tmp_path):
    inside = GRAY > 200
    palette = Image.fromarray(inside.astype(np.uint8), "L")
    palette.putpalette([255, 255, 255, 0, 0, 0])
    images = {
        "one": Image.fromarray(inside),
        "low": Image.fromarray(inside.astype(np.uint8)),
        "gray": Image.fromarray(np.where(inside, GRAY, 0).astype(np.uint8)),
        "blue": Image.fromarray(np.where(inside[..., None], [0, 0, 9], 0).astype(np.uint8)),
        "palette": palette,
    }
    for name, image in images.items():
        image.save(tmp_path / f"{name}.png")
        check_mask(tmp_path / f"{name}.png", (30, 40))
        mask = MaskFile(tmp_path / f"{name}.png", (30, 40)).pixels()
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, inside)


def test_masks_of_one_thing_are_united(tmp_path):
    parts = [np.zeros((4, 5), bool) for _ in range(2)]
    parts[0][0], parts[1][:, 2] = True, True
    for i, part in enumerate(parts):
        Image.fromarray(part).save(tmp_path / f"{i}.png")
    union = MaskUnion(tuple(MaskFile(tmp_path / f"{i}.png", (4, 5)) for i in range(2)))
    np.testing.assert_array_equal(union.pixels(), parts[0] | parts[1])


@pytest.mark.parametrize(
    "name, array, reason",
    [
        ("size.png", np.ones((40, 30), bool), "another size: it is 30 x 40 pixels, its image is 40 x 30"),
        ("empty.png", np.zeros((30, 40), np.uint8), "mask is empty"),
        ("hazy.jpg", GRAY, "mask is a JPEG"),
        ("deep.png", GRAY.astype(np.uint16), "more than 8 bits"),
    ],
)
def test_bad_masks_are_refused_with_the_reason(tmp_path, name, array, reason):
    Image.fromarray(array).save(tmp_path / name)
    with pytest.raises(BadFile, match=reason):
        check_mask(tmp_path / name, (30, 40))


def test_many_files_are_checked_once_each(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    (tmp_path / "b.png").touch()
    calls = []

    def check(path):
        calls.append(path)
        return check_image(path)

    found = check_all(check, [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "a.png"])
    assert sorted(calls) == [tmp_path / "a.png", tmp_path / "b.png"]
    assert found[tmp_path / "a.png"] == (30, 40)
    assert isinstance(found[tmp_path / "b.png"], BadFile)
