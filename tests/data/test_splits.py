from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bagclip.data import splits
from bagclip.data.files import ImageFile
from bagclip.data.studies import Studies
from bagclip.data.study import ArrayImage, Sentence, Study

IMAGE = ArrayImage(np.zeros((4, 4), np.uint8))
TEXT = (Sentence("Normal.", 0, 7),)


def study(id, **fields):
    return Study(id, fields.pop("images", (IMAGE,)), "Normal.", TEXT, **fields)


def test_shares_are_met_on_average():
    studies = splits.assign(Studies(study(str(i)) for i in range(5000)))
    counts = studies.summary.splits
    for name, share in {"train": 0.8, "val": 0.1, "test": 0.1}.items():
        assert abs(counts[name] - 5000 * share) < 4 * np.sqrt(5000 * share * (1 - share))


def test_seeds_differ():
    studies = Studies(study(str(i)) for i in range(100))
    first, second = (splits.assign(studies, seed=seed) for seed in (0, 1))
    assert first.split("train")[:] != second.split("train")[:]
    assert {s.id for s in first.split("train")} != {s.id for s in second.split("train")}
    assert [s.split for s in splits.assign(studies, seed=1)] == [s.split for s in second]


@given(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=20), st.integers(0, 9), st.randoms())
def test_groups_stay_whole_and_where_they_are(groups, seed, random):
    studies = [study(str(i), group=group) for i, group in enumerate(groups)]
    whole = {s.id: s.split for s in splits.assign(Studies(studies), seed=seed)}
    assert len({(s.group, whole[s.id]) for s in studies}) == len(set(groups))
    some = random.sample(studies, random.randint(0, len(studies)))
    assert all(whole[s.id] == s.split for s in splits.assign(Studies(some), seed=seed))
    assert splits.leaks(splits.assign(Studies(studies), seed=seed)) == []


def test_studies_with_a_split_are_not_divided_again():
    with pytest.raises(ValueError, match=r"1 of 2 studies have a split already \('b' first\)"):
        splits.assign(Studies([study("a"), study("b", split="test")]))


@pytest.mark.parametrize("fractions", [{}, {"train": 0.8}, {"train": 1.5, "test": -0.5}, {"train": 80, "test": 20}])
def test_fractions_are_shares_of_a_whole(fractions):
    with pytest.raises(ValueError, match="add up to 1"):
        splits.assign(Studies([study("a")]), fractions)


def test_leaks_are_named_by_study_and_never_by_patient(tmp_path):
    for name, value in [("one", 1), ("two", 2)]:
        Image.new("L", (8, 8), value).save(tmp_path / f"{name}.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "one.png").read_bytes())
    files = {name: (ImageFile(tmp_path / f"{name}.png", (8, 8)),) for name in ("one", "two", "copy")}
    studies = Studies(
        [
            study("a", patient="secret", split="train"),
            study("b", patient="secret", split="test"),
            study("c", patient="p3", group="family", split="train"),
            study("d", patient="p4", group="family", split="val"),
            study("e", patient="p5", split="train", images=files["one"]),
            study("f", patient="p6", split="test", images=files["copy"]),
            study("g", patient="p7", split="test", images=files["two"]),
            study("h", patient="p8", split="train"),
            study("i", patient="p8", split="train"),
            study("j", patient="p8"),
        ]
    )
    assert splits.leaks(studies) == [
        splits.Leak("patient", ("a", "b"), ("test", "train")),
        splits.Leak("group", ("c", "d"), ("train", "val")),
        splits.Leak("image file", ("e", "f"), ("test", "train")),
    ]
    with pytest.raises(
        splits.SplitLeak, match="1 patient and 1 group and 1 image file in more than one split"
    ) as caught:
        splits.check(studies)
    assert "studies a, b share a patient across test and train" in str(caught.value)
    assert "secret" not in str(caught.value)
    splits.check(studies, allow=True)
    splits.check(Studies(replace(s, split="train") for s in studies))
