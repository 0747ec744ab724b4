import csv

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from bagclip.data import splits
from bagclip.data.feature_files import FeatureFile, check_features
from bagclip.data.files import BadFile
from bagclip.data.readers.pairs import pairs
from bagclip.data.studies import TooManyRejected

ROWS = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)
TENSOR = torch.from_numpy(ROWS)


def npy(array, cut=None):
    def write(path):
        np.save(path, array, allow_pickle=True)
        path.write_bytes(path.read_bytes()[:cut])

    return write


def raw(content):
    return lambda path: path.write_bytes(content)


def tensors(**named):
    return lambda path: save_file(named, path)


GOOD = {
    "a.npy": (npy(ROWS), ROWS),
    "half.npy": (npy(ROWS.astype(np.float16)), ROWS.astype(np.float16).astype(np.float32)),
    "double.npy": (npy(ROWS.astype(float)), ROWS),
    "big_endian.npy": (npy(ROWS.astype(">f4")), ROWS),
    "by_columns.npy": (npy(np.asfortranarray(ROWS)), ROWS),
    "upper.NPY": (lambda path: npy(ROWS)(path), ROWS),
    "only.safetensors": (tensors(patches=TENSOR), ROWS),
    "named.safetensors": (tensors(features=TENSOR, scores=TENSOR[:, 0].clone()), ROWS),
    "half.safetensors": (tensors(x=TENSOR.half()), ROWS.astype(np.float16).astype(np.float32)),
    "brain.safetensors": (tensors(x=TENSOR.bfloat16()), TENSOR.bfloat16().float().numpy()),
    "placed.safetensors": (tensors(x=TENSOR, coords=torch.arange(12).reshape(6, 2)), ROWS),
}

NAN, INFINITE = ROWS.copy(), ROWS.copy()
NAN[[2, 4], 1], INFINITE[3, 0] = np.nan, np.inf

BAD = {
    "missing.npy": (lambda path: None, "file not found"),
    "folder.npy": (lambda path: path.mkdir(), "file cannot be opened"),
    "empty.npy": (raw(b""), "empty file: it has 0 bytes"),
    "text.npy": (raw(b"1 2 3"), "not a .npy file"),
    "zip.npy": (raw(b"PK\x03\x04 and so on"), "not a .npy file"),
    "pickle.npy": (raw(b"\x80\x04K\x01."), "not a .npy file"),
    "objects.npy": (npy(np.array([[{}]], dtype=object)), "truncated or damaged"),
    "cut.npy": (npy(ROWS, cut=-1), "truncated or damaged"),
    "header.npy": (npy(ROWS, cut=40), "truncated or damaged"),
    "cut.safetensors": (lambda p: (save_file({"x": TENSOR}, p), p.write_bytes(p.read_bytes()[:-1])), "truncated or"),
    "text.safetensors": (raw(b"nothing of the kind"), "truncated or damaged"),
    "vector.npy": (npy(ROWS[0]), r"not a matrix: its shape is \(5,\)"),
    "cube.safetensors": (tensors(x=TENSOR[None]), r"not a matrix: its shape is \(1, 6, 5\)"),
    "none.npy": (npy(ROWS[:0]), "empty matrix: it has 0 regions of 5 numbers"),
    "thin.npy": (npy(ROWS[:, :0]), "empty matrix: it has 6 regions of 0 numbers"),
    "whole.npy": (npy(np.ones((3, 5), int)), "not floats: it holds int64"),
    "complex.npy": (npy(ROWS.astype(complex)), "not floats: it holds complex128"),
    "whole.safetensors": (tensors(x=TENSOR.long()), "not floats: it holds I64"),
    "nan.npy": (npy(NAN), "not finite: 2 of 6 regions hold NaN.* region 2 first"),
    "infinite.safetensors": (tensors(x=torch.from_numpy(INFINITE)), "not finite: 1 of 6 regions .* region 3 first"),
    "huge.npy": (npy(ROWS.astype(float) * 1e300), "not finite: 6 of 6 regions"),
    "several.safetensors": (tensors(a=TENSOR, b=TENSOR.clone()), "which tensor: it holds a, b; name the one"),
    "nothing.safetensors": (tensors(coords=torch.zeros(6, 2)), "which tensor: it holds coords"),
    "lost.safetensors": (tensors(x=TENSOR, coords=torch.zeros(5, 2)), r"coords do not fit: 6 regions need \(6, 2\)"),
    "nowhere.safetensors": (tensors(x=TENSOR, coords=torch.full((6, 2), torch.nan)), "coords not finite"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_files_are_read_as_single_floats(name, tmp_path):
    write, expected = GOOD[name]
    path = tmp_path / name
    if name.endswith(".NPY"):  # numpy would add a suffix of its own
        npy(ROWS)(tmp_path / "x.npy")
        (tmp_path / "x.npy").rename(path)
    else:
        write(path)
    assert check_features(path) == (6, 5) == check_features(path, decode=False)
    image = FeatureFile(path, (6, 5))
    assert image.features().dtype == np.float32 and np.array_equal(image.features(), expected)
    coords = image.coords()
    assert coords is None if not name.startswith("placed") else coords.tolist()[1] == [2.0, 3.0]


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_with_their_reason(name, tmp_path):
    write, reason = BAD[name]
    write(tmp_path / name)
    with pytest.raises(BadFile, match=reason) as raised:
        check_features(tmp_path / name)
    assert name in str(raised.value) and str(tmp_path) not in raised.value.reason


def test_a_pickle_never_runs(tmp_path):
    class Run:
        def __reduce__(self):
            return (tmp_path.joinpath("ran").touch, ())

    np.save(tmp_path / "a.npy", np.array([[Run()]], dtype=object), allow_pickle=True)
    with pytest.raises(BadFile):
        check_features(tmp_path / "a.npy")
    assert not (tmp_path / "ran").exists()


def test_a_file_that_changed_since_is_not_used(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    image = FeatureFile(tmp_path / "a.npy", check_features(tmp_path / "a.npy"))
    np.save(tmp_path / "a.npy", ROWS[:3])
    with pytest.raises(OSError, match=r"another shape: it is \(3, 5\) and was \(6, 5\).*read the data set again"):
        image.features()
    (tmp_path / "a.npy").unlink()
    with pytest.raises(OSError, match=r"file not found.* It was good when its data set was read"):
        image.coords()


def table(folder, names, *, header=("image", "report"), name="pairs.csv"):
    with open(folder / name, "w", newline="") as file:
        rows = [
            [image, f"Slide {i} has a tumour."] if isinstance(image, str) else image for i, image in enumerate(names)
        ]
        csv.writer(file).writerows([header, *rows])
    return folder / name


def reasons(studies, index=0):
    return {rejection.row: rejection.reason for rejection in studies.summary.tables[index].rejected}


def test_every_bad_file_is_rejected_with_its_line_and_reason(tmp_path):
    np.save(tmp_path / "first.npy", ROWS)
    names = ["first.npy"]
    for name, (write, _) in BAD.items():
        write(tmp_path / name)
        names.append(name)
    np.save(tmp_path / "other.npy", ROWS[:, :4])
    Image.new("L", (8, 8)).save(tmp_path / "picture.png")
    names += ["other.npy", "picture.png", "half.safetensors"]
    GOOD["half.safetensors"][0](tmp_path / "half.safetensors")
    studies = pairs(table(tmp_path, names), max_rejected=1)
    assert [study.images for study in studies] == [
        (FeatureFile(tmp_path / "first.npy", (6, 5)),),
        (FeatureFile(tmp_path / "half.safetensors", (6, 5)),),
    ]
    found = reasons(studies)
    assert list(found) == list(range(3, 3 + len(BAD) + 2))
    for (_, expected), reason in zip(BAD.values(), found.values(), strict=False):
        assert expected.partition(":")[0] == reason.partition(":")[0] or expected.startswith("truncated or")
    assert found[len(BAD) + 3] == "another width: a region has 4 features, in line 2 it has 5"
    assert found[len(BAD) + 4] == "pictures and features mixed: line 2 has the other kind of file"
    assert studies.summary.tables[0].kept == 2
    with pytest.raises(TooManyRejected, match="rows were rejected"):
        pairs(tmp_path / "pairs.csv")


def test_without_a_check_headers_are_read(tmp_path):
    for name in ("nan.npy", "vector.npy", "cut.npy"):
        BAD[name][0](tmp_path / name)
    studies = pairs(table(tmp_path, ["nan.npy", "vector.npy", "cut.npy"]), check_images=False, max_rejected=1)
    assert [study.id for study in studies] == ["nan.npy"] and list(reasons(studies)) == [3, 4]


def test_several_slides_of_one_case_are_one_study(tmp_path):
    for name, count in (("a", 6), ("b", 2), ("c", 3)):
        np.save(tmp_path / f"{name}.npy", ROWS[:count])
    rows = [["a.npy", "Tumour.", "s"], ["b.npy", "Tumour.", "s"], ["c.npy", "None.", "t"]]
    first, second = pairs(table(tmp_path, rows, header=("image", "report", "study")))
    assert [image.shape for image in first.images] == [(6, 5), (2, 5)] and len(second.images) == 1


def test_boxes_and_masks_of_features_are_rejected_and_those_of_nothing_unmatched(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    Image.new("1", (8, 8), 1).save(tmp_path / "mask.png")
    header = ("image", "phrase", "x0", "y0", "x1", "y1")
    table(tmp_path, [["a.npy", "mass", 0, 0, 2, 2], ["b.npy", "mass", 0, 0, 2, 2]], header=header, name="boxes.csv")
    table(tmp_path, [["a.npy", "mass", "mask.png"]], header=("image", "phrase", "mask"), name="masks.csv")
    path = table(tmp_path, ["a.npy"])
    studies = pairs(path, boxes=tmp_path / "boxes.csv", masks=tmp_path / "masks.csv", max_rejected=1)
    assert studies[0].annotations == ()
    for index in (1, 2):
        assert reasons(studies, index) == {
            2: "no pixels: the image is given as features, on which nothing can be drawn"
        }
    assert studies.summary.tables[1].unmatched == 1


def test_one_slide_in_two_splits_is_a_leak(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    np.save(tmp_path / "b.npy", ROWS)
    np.save(tmp_path / "c.npy", -ROWS)
    rows = [["a.npy", "Tumour.", "train"], ["b.npy", "None.", "test"], ["c.npy", "Stroma.", "test"]]
    (leak,) = splits.leaks(pairs(table(tmp_path, rows, header=("image", "report", "split"))))
    assert leak.kind == "image file" and leak.studies == ("a.npy", "b.npy")
