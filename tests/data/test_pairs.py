import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bagclip.data.files import ImageFile, MaskFile, MaskUnion
from bagclip.data.readers.pairs import pairs
from bagclip.data.studies import TooManyRejected
from bagclip.data.study import Box

DOCUMENT = "Heart normal. No effusion."


@pytest.fixture
def folder(tmp_path):
    """A folder with images a.png to f.png, 40 wide and 30 high."""
    for i, name in enumerate("abcdef"):
        Image.new("L", (40, 30), 10 * i).save(tmp_path / f"{name}.png")
    return tmp_path


def write(folder, name, header, *rows):
    with open(folder / name, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t" if name.endswith(".tsv") else ",").writerows([header, *rows])
    return folder / name


def rejections(studies, table=0):
    return {rejection.row: rejection.reason for rejection in studies.summary.tables[table].rejected}


def test_a_plain_table(folder):
    path = write(
        folder,
        "pairs.csv",
        ["image_path", "document", "patient_id", "group", "split", "labels", "view", "sex"],
        ["a.png", DOCUMENT, "p1", "g1", "train", "Edema|Effusion", "PA", "F"],
        [str(folder / "b.png"), "Approx. 3.5 cm\nmass", "p2", "", "Validation", "", "", "M"],
    )
    first, second = pairs(path)
    assert (first.id, first.patient, first.group, first.split) == ("a.png", "p1", "g1", "train")
    assert first.images == (ImageFile(folder / "a.png", (30, 40), "PA"),)
    assert first.document == DOCUMENT
    assert [(s.text, s.start, s.end) for s in first.sentences] == [("Heart normal.", 0, 13), ("No effusion.", 14, 26)]
    assert first.labels == {"Edema", "Effusion"}
    assert first.attributes == {"sex": "F", "view": "PA"}
    assert (second.group, second.split, second.labels) == ("p2", "val", frozenset())
    assert [s.text for s in second.sentences] == ["Approx. 3.5 cm\nmass"]


def test_names_of_columns_tabs_marks_and_other_roots(folder):
    (folder / "tables").mkdir()
    path = write(folder / "tables", "pairs.tsv", ["Subject ID", "Image", "REPORT"], ["7", "a.png", 'A "big" heart, no'])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\r\n", b"\n\n"))
    (study,) = pairs(path, root=folder)
    assert (study.patient, study.document) == ("7", 'A "big" heart, no')


def test_columns_can_be_named(folder):
    path = write(folder, "pairs.csv", ["path", "what was said", "document"], ["a.png", DOCUMENT, "nothing"])
    (study,) = pairs(path, columns={"document": "what was said"})
    assert study.document == DOCUMENT
    assert study.attributes == {"document": "nothing"}


def test_rows_of_one_study_are_joined(folder):
    path = write(
        folder,
        "pairs.csv",
        ["image", "report", "study", "patient", "split", "label", "view"],
        ["a.png", DOCUMENT, "s1", "p", "train", "Edema", "PA"],
        ["b.png", "Clear.", "s2", "p", "train", "", "AP"],
        ["c.png", DOCUMENT, "s1", "p", "train", "Cyst", "lateral"],
        ["d.png", "Other.", "s1", "p", "train", "", ""],
        ["e.png", DOCUMENT, "s1", "q", "train", "", ""],
        ["f.png", DOCUMENT, "s1", "p", "test", "", ""],
        ["a.png", "Clear.", "s2", "p", "train", "", ""],
    )
    studies = pairs(path, max_rejected=1)
    assert [study.id for study in studies] == ["s1", "s2"]
    assert [(image.path.name, image.view) for image in studies[0].images] == [("a.png", "PA"), ("c.png", "lateral")]
    assert studies[0].labels == {"Edema", "Cyst"}
    assert studies.where(view="lateral")[0].id == "s1"
    assert rejections(studies) == {
        5: "study differs in its document: line 2 of the same study has another",
        6: "study differs in its patient: line 2 of the same study has another",
        7: "study differs in its split: line 2 of the same study has another",
        8: "repeated id: line 2 has the same",
    }


def test_every_bad_row_is_rejected_with_its_line_and_reason(folder):
    (folder / "text.png").write_text("no image")
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:-20])
    Image.new("RGBA", (4, 4)).save(folder / "alpha.png")
    lines = [
        b"image_path,document,patient,split",
        b"a.png,Good.,p1,train",
        b"nowhere/secret1.png,Good.,secret1,train",
        b"text.png,Good.,p1,train",
        b"empty.png,Good.,p1,train",
        b"cut.png,Good.,p1,train",
        b"alpha.png,Good.,p1,train",
        b",Good.,p1,train",
        b"b.png,,p1,train",
        b"b.png,  \t ,p1,train",
        b"b.png,FINDINGS:,p1,train",
        b"b.png,---,p1,train",
        b"b.png,Good.,p1,trian",
        b"./a.png,Again.,p1,train",
        b"b.png,Good.,p1",
        b"b.png,Good, too.,p1,train",
        b"",
        b"b.png,Infiltr\xe9.,p1,train",
        b'b.png,"Good" mass.,p1,train',
        b"b.png,N\0l.,p1,train",
        b'b.png,"Good,',
        b'and still.",p1,',
        b"c.png,Good.,p1,train",
    ]
    (folder / "pairs.csv").write_bytes(b"\n".join(lines))
    studies = pairs(folder / "pairs.csv", max_rejected=1)
    assert [study.id for study in studies] == ["a.png", "b.png", "c.png"]
    found = rejections(studies)
    expected = {
        3: f"file not found: {folder}/nowhere/*.png",
        4: "not an image: ",
        5: "empty file: ",
        6: "truncated or damaged: ",
        7: "alpha channel (RGBA): ",
        8: "no image path: ",
        9: "empty document: ",
        10: "empty document: ",
        11: "no sentence: ",
        12: "no sentence: ",
        13: "unknown split: 'trian'",
        14: "repeated id: line 2 has the same",
        15: "wrong number of fields: 3 instead of 4",
        16: "wrong number of fields: 5 instead of 4",
        18: "not UTF-8: byte 0xE9 at character 7 of column 'document'",
        19: "stray quote or character: ",
    }
    # Before 3.11 the csv module itself refuses the NUL, with words of its own.
    assert found.pop(20).startswith(("NUL character: ", "stray quote or character: "))
    assert found.keys() == expected.keys()
    for line, reason in expected.items():
        assert found[line].startswith(reason), line
    (table,) = studies.summary.tables
    assert (table.rows, table.kept, len(table.rejected)) == (20, 3, 17)
    assert "secret1" not in str(studies.summary) + json.dumps(studies.summary.to_dict())


def test_too_many_rejected_rows_stop_with_one_message(folder):
    rows = [["a.png", DOCUMENT], ["b.png", ""], ["c.png", DOCUMENT], ["d.png", " "], ["x.png", DOCUMENT]]
    path = write(folder, "pairs.csv", ["image", "report"], *rows)
    with pytest.raises(TooManyRejected) as caught:
        pairs(path)
    assert str(caught.value) == (
        f"{path}: 3 of 5 rows were rejected (60.0%, at most 5.0% may be): 2 x empty document (line 3: it has no text); "
        f"1 x file not found (line 6: {folder}/x.png). Mend these rows, or allow a larger share (max_rejected)."
    )
    assert len(pairs(path, max_rejected=0.6)) == 2
    with pytest.raises(TooManyRejected):
        pairs(path, max_rejected=0.59)


def test_ids_are_told_apart(folder):
    rows = [["1", "a.png", DOCUMENT], ["2", "a.png", "Clear."], ["1", "b.png", DOCUMENT], ["", "c.png", DOCUMENT]]
    path = write(folder, "pairs.csv", ["id", "image", "report"], *rows)
    boxes = write(folder, "boxes.csv", ["image", "phrase", "x0", "y0", "x1", "y1"], ["a.png", "edema", 0, 0, 9, 9])
    studies = pairs(path, boxes=boxes, max_rejected=1)
    assert [study.id for study in studies] == ["1", "2"]
    assert [len(study.annotations) for study in studies] == [1, 1]
    assert rejections(studies) == {4: "repeated id: line 2 has the same", 5: "no id: the cell is empty"}


def test_a_relative_table_has_absolute_images(folder, monkeypatch):
    monkeypatch.chdir(folder)
    write(folder, "pairs.csv", ["image", "report"], ["a.png", DOCUMENT])
    boxes = write(
        folder, "boxes.csv", ["image", "phrase", "x0", "y0", "x1", "y1"], [folder / "a.png", "edema", 0, 0, 9, 9]
    )
    (study,) = pairs("pairs.csv", boxes=boxes)
    assert study.images[0].path == folder / "a.png"
    assert len(study.annotations) == 1


def test_unchecked_images_are_only_opened(folder):
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:-20])
    path = write(folder, "pairs.csv", ["image", "report"], ["cut.png", DOCUMENT])
    assert pairs(path, check_images=False)[0].images[0].size == (30, 40)
    with pytest.raises(TooManyRejected, match="truncated"):
        pairs(path)


def test_large_images_are_the_callers_choice(folder):
    path = write(folder, "pairs.csv", ["image", "report"], ["a.png", DOCUMENT])
    with pytest.raises(TooManyRejected, match="too many pixels"):
        pairs(path, max_pixels=1000)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "it is empty"),
        (b"\n \n", "it is empty"),
        (b"image,report\n", "a header but no row"),
        ("image,report\na.png,Good.\n".encode("utf-16"), "it is UTF-16"),
        (b"image,repor\xe9\na.png,Good.\n", "column 2 is not UTF-8"),
        (b"image,image\na.png,Good.\n", "more than one column is named 'image'"),
        (b"image,path,report\na.png,b.png,Good.\n", r"\['image', 'path'\] could each be the image_path"),
        (b"image,repport\na.png,Good.\n", r"no column for the document.*document or report.*Did you mean 'repport'"),
        (b"image;report\na.png;Good.\n", "separated otherwise"),
        (b'image,report\na.png,"Good.\nb.png,Good.\n', "lines 2 to 3 run together"),
        (b'image,report\na.png,"Good.\nb.png,"Good."\n', "lines 2 to 3 run together"),
        (b'image,report\na.png,"' + b"x" * 200_000 + b'"\n', "field larger than field limit"),
    ],
)
def test_tables_that_cannot_be_read_at_all(folder, content, message):
    (folder / "pairs.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        pairs(folder / "pairs.csv", max_rejected=1)
    assert str(folder / "pairs.csv") in str(caught.value)


def test_a_missing_table(folder):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv: there is no such table"):
        pairs(folder / "nowhere.csv")
    with pytest.raises(ValueError, match="it is a folder"):
        pairs(folder)


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"documents": "report"}, "there is no 'documents' to name a column for"),
        ({"document": "reporrt"}, "no table has a column 'reporrt' to take for the document.*Did you mean 'report'"),
        ({"image_path": "fille"}, "no column for the image_path, named fille; .*Did you mean 'file'"),
    ],
)
def test_columns_named_wrongly(folder, columns, message):
    path = write(folder, "pairs.csv", ["file", "report"], ["a.png", DOCUMENT])
    with pytest.raises(ValueError, match=message):
        pairs(path, columns={"image_path": "file", **columns})


def one_image(folder):
    return write(folder, "pairs.csv", ["image_path", "document"], ["a.png", DOCUMENT])


def test_boxes_of_one_phrase_are_one_annotation(folder):
    boxes = write(
        folder,
        "boxes.csv",
        ["image_path", "kind", "phrase", "label", "sentence", "x0", "y0", "x1", "y1"],
        ["a.png", "anatomy", "left lung", "", "", "0", "0", "10", "10"],
        ["./a.png", "anatomy", "left lung", "", "", "5.5", "5", "40", "30"],
        ["a.png", "", "left lung", "", "", "1", "1", "2", "2"],
        ["a.png", "", "", "Effusion", "1.0", "1", "1", "2", "2"],
        ["a.png", "", "", "Edema", "", "1", "1", "2", "2"],
        ["f.png", "", "", "Edema", "", "1", "1", "2", "2"],
    )
    studies = pairs(one_image(folder), boxes=boxes)
    lung, lesion, effusion, edema = studies[0].annotations
    assert (lung.phrase, lung.label, lung.kind, lung.sentence) == ("left lung", "left lung", "anatomy", None)
    assert lung.boxes == (Box(0, 0, 10, 10), Box(5.5, 5, 40, 30))
    assert lesion.kind == "lesion"
    assert (effusion.phrase, effusion.label, effusion.sentence) == ("No effusion.", "Effusion", 1)
    assert (edema.phrase, edema.label) == ("Edema", "Edema")
    table = studies.summary.tables[1]
    assert (table.name, table.rows, table.kept, table.unmatched, table.rejected) == ("boxes", 6, 5, 1, ())


def test_boxes_by_corner_and_extent(folder):
    boxes = write(
        folder,
        "boxes.csv",
        ["path", "category_name", "label_text", "x", "y", "w", "h", "image_width"],
        ["a.png", "Edema", "mild edema", "3", "4", "10", "20", "40"],
    )
    (annotation,) = pairs(one_image(folder), boxes=boxes)[0].annotations
    assert (annotation.phrase, annotation.label) == ("mild edema", "Edema")
    assert annotation.boxes == (Box(3, 4, 13, 24),)


def test_every_bad_box_is_rejected_with_its_line_and_reason(folder):
    boxes = write(
        folder,
        "boxes.csv",
        ["image_path", "phrase", "sentence", "x0", "y0", "x1", "y1"],
        ["a.png", "edema", "", "0", "0", "40", "30"],
        ["a.png", "edema", "", "nan", "0", "4", "3"],
        ["a.png", "edema", "", "0", "", "4", "3"],
        ["a.png", "edema", "", "0", "0", "inf", "3"],
        ["a.png", "edema", "", "0", "0", "four", "3"],
        ["a.png", "edema", "", "9", "0", "4", "3"],
        ["a.png", "edema", "", "1", "2", "4", "2"],
        ["a.png", "edema", "", "0", "0", "40.5", "30"],
        ["a.png", "edema", "", "-0.1", "0", "4", "3"],
        ["a.png", "edema", "", "0", "0", "4", "31"],
        ["a.png", "edema", "", "0.6", "0", "1.4", "30"],
        ["a.png", "edema", "2", "0", "0", "4", "3"],
        ["a.png", "", "", "0", "0", "4", "3"],
    )
    studies = pairs(one_image(folder), boxes=boxes, max_rejected=1)
    assert rejections(studies, 1) == {
        3: "not a number: left is 'nan'",
        4: "not a number: top is ''",
        5: "not a number: right is 'inf'",
        6: "not a number: right is 'four'",
        7: "box inverted or empty: x 9 to 4, y 0 to 3",
        8: "box inverted or empty: x 1 to 4, y 2 to 2",
        9: "box outside the image: x 0 to 40.5, y 0 to 30, in an image 40 wide and 30 high",
        10: "box outside the image: x -0.1 to 4, y 0 to 3, in an image 40 wide and 30 high",
        11: "box outside the image: x 0 to 4, y 0 to 31, in an image 40 wide and 30 high",
        12: "box without a pixel: x 0.6 to 1.4, y 0 to 30 holds the centre of none",
        13: "no such sentence: 2 is not one of 0 to 1 of its document",
        14: "no phrase: neither a phrase, a sentence nor a label says what is there",
    }
    with pytest.raises(TooManyRejected, match="12 of 13 rows"):
        pairs(one_image(folder), boxes=boxes)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.lists(st.floats(-2, 42), min_size=4, max_size=4))
def test_a_box_is_kept_if_and_only_if_it_is_a_region(folder, corners):
    boxes = write(folder, "boxes.csv", ["image", "phrase", "x0", "y0", "x1", "y1"], ["a.png", "edema", *corners])
    studies = pairs(one_image(folder), boxes=boxes, max_rejected=1)
    x0, y0, x1, y1 = corners
    inside = x0 >= 0 and y0 >= 0 and x1 <= 40 and y1 <= 30
    pixels = [(x, y) for x in range(40) for y in range(30) if x0 <= x + 0.5 < x1 and y0 <= y + 0.5 < y1]
    assert bool(studies[0].annotations) == (inside and bool(pixels))
    if studies[0].annotations:
        assert studies[0].annotations[0].region((30, 40)).sum() == len(pixels)


def test_boxes_without_numbers(folder):
    boxes = write(folder, "boxes.csv", ["image", "phrase", "x0", "y0", "x2", "y2"], ["a.png", "edema", 1, 1, 2, 2])
    with pytest.raises(ValueError, match="a box needs four columns"):
        pairs(one_image(folder), boxes=boxes)


def write_mask(folder, name, *boxes, size=(30, 40)):
    mask = np.zeros(size, bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    Image.fromarray(mask).save(folder / name)
    return mask


def test_a_mask_supersedes_boxes_beside_it(folder):
    first = write_mask(folder, "m1.png", (0, 0, 5, 5))
    second = write_mask(folder, "m2.png", (20, 20, 25, 25))
    lung = write_mask(folder, "lung.png", (0, 0, 20, 30))
    masks = write(
        folder,
        "masks.csv",
        ["image_path", "mask_path", "kind", "phrase"],
        ["a.png", "m1.png", "lesion", "edema"],
        ["a.png", "m2.png", "lesion", "edema"],
        ["a.png", "lung.png", "anatomy", "lung"],
        ["f.png", "m1.png", "lesion", "edema"],
    )
    boxes = write(
        folder,
        "boxes.csv",
        ["image_path", "kind", "phrase", "x0", "y0", "x1", "y1"],
        ["a.png", "lesion", "edema", "0", "0", "25", "25"],
        ["a.png", "anatomy", "edema", "0", "0", "25", "25"],
        ["a.png", "lesion", "cyst", "0", "0", "1", "1"],
    )
    studies = pairs(one_image(folder), boxes=boxes, masks=masks)
    found = {(a.phrase, a.kind): a for a in studies[0].annotations}
    assert found.keys() == {("edema", "lesion"), ("edema", "anatomy"), ("cyst", "lesion"), ("lung", "anatomy")}
    assert found["edema", "lesion"].boxes == () and isinstance(found["edema", "lesion"].mask, MaskUnion)
    np.testing.assert_array_equal(found["edema", "lesion"].region((30, 40)), first | second)
    assert found["lung", "anatomy"].mask == MaskFile(folder / "lung.png", (30, 40))
    np.testing.assert_array_equal(found["lung", "anatomy"].region((30, 40)), lung)
    assert found["edema", "anatomy"].mask is None
    _, box_table, mask_table = studies.summary.tables
    assert (box_table.kept, box_table.superseded, box_table.unmatched) == (2, 1, 0)
    assert (mask_table.kept, mask_table.superseded, mask_table.unmatched) == (3, 0, 1)


def test_every_bad_mask_is_rejected_and_its_boxes_count_again(folder):
    write_mask(folder, "empty.png")
    write_mask(folder, "turned.png", (0, 0, 5, 5), size=(40, 30))
    write_mask(folder, "good.png", (0, 0, 5, 5))
    (folder / "text.png").write_text("no image")
    masks = write(
        folder,
        "masks.csv",
        ["image_path", "mask_path", "phrase"],
        ["a.png", "empty.png", "edema"],
        ["a.png", "turned.png", "edema"],
        ["a.png", "nowhere.png", "edema"],
        ["a.png", "text.png", "edema"],
        ["a.png", "", "edema"],
        ["a.png", "good.png", " "],
    )
    boxes = write(folder, "boxes.csv", ["image", "phrase", "x0", "y0", "x1", "y1"], ["a.png", "edema", 0, 0, 9, 9])
    studies = pairs(one_image(folder), boxes=boxes, masks=masks, max_rejected=1)
    kinds = {row: reason.partition(":")[0] for row, reason in rejections(studies, 2).items()}
    assert kinds == {
        2: "mask is empty",
        3: "mask of another size",
        4: "file not found",
        5: "not an image",
        6: "no mask path",
        7: "no phrase",
    }
    assert studies[0].annotations[0].boxes == (Box(0, 0, 9, 9),)


def test_masks_lie_beside_their_table_unless_a_root_is_given(folder):
    (folder / "drawn").mkdir()
    write_mask(folder / "drawn", "m.png", (0, 0, 5, 5))
    masks = write(folder / "drawn", "masks.csv", ["image", "mask", "phrase"], ["a.png", "m.png", "edema"])
    assert pairs(one_image(folder), masks=masks)[0].annotations
    with pytest.raises(TooManyRejected, match=r"file not found \(line 2: .*/m\.png\)"):
        pairs(one_image(folder), masks=masks, root=folder)


COVID = Path(__file__).parents[3] / "shared" / "data" / "covid-cxr"


@pytest.mark.skipif(not COVID.exists(), reason="the covid-cxr data set is not here")
def test_real_studies():
    studies = pairs(COVID / "pairs.csv", boxes=COVID / "boxes.csv", masks=COVID / "masks.csv")
    assert len(studies) == 345
    assert len(studies.where(modality="X-ray")) == 296
    assert studies.summary.splits == {"train": 220, "val": 40, "test": 85}
    assert studies.summary.patients == 154
    main, boxes, masks = studies.summary.tables
    assert (main.kept, masks.kept) == (345, 267)
    assert (boxes.rows, boxes.rejected) == (979, ())
    # By hand: 82 of the images with two lung boxes have no text; 317 boxes were made from masks, and 43 images have
    # masks of both lungs beside their lung boxes.
    assert (boxes.unmatched, boxes.superseded) == (164, 317 + 86)
    with open(COVID / "masks.csv", newline="") as file:
        shares = {(r["image_path"], r["phrase"]): float(r["area_fraction"]) for r in csv.DictReader(file)}
    for study in studies:
        for annotation in study.annotations:
            if annotation.mask is not None:
                share = annotation.region(study.images[0].size).mean()
                assert share == pytest.approx(shares[study.id, annotation.phrase], abs=1e-5)
