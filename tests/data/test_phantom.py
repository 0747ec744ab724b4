"""Synthetic radiographs: the same for the same numbers, and text, boxes, masks and pixels tell one story."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from bagclip.data.readers.phantom import FINDINGS, Phantom, phantom, prompts
from bagclip.data.readers.phantom.scene import PhantomImage, Scene
from bagclip.data.study import Annotation, Box, Study

DEVICES = {"endotracheal tube", "central venous catheter", "pacemaker"}


def scene_of(study: Study) -> Scene:
    (image,) = study.images
    assert isinstance(image, PhantomImage)
    return image.scene


def change(study: Study, name: str) -> np.ndarray:
    """How much a finding changes each pixel."""
    size = study.images[0].size[0]
    without = scene_of(study).draw(size, without={name})
    return np.abs(study.images[0].pixels().astype(int) - without.astype(int))


def pixels(annotation: Annotation) -> np.ndarray:
    assert annotation.mask is not None
    return annotation.mask.pixels()


@pytest.fixture(scope="module")
def studies() -> list[Study]:
    return list(phantom(150, seed=5))


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [Scene.sample(6, i) for i in range(2500)]


def test_a_study_depends_on_seed_and_index_only() -> None:
    few, many = phantom(5, seed=3, size=64), phantom(5_000, seed=3, size=64)
    late = many[4_321]
    for i in (4, 0, 2):
        assert few[i] == many[i]
        np.testing.assert_array_equal(few[i].images[0].pixels(), many[i].images[0].pixels())
    np.testing.assert_array_equal(late.images[0].pixels(), many[4_321].images[0].pixels())
    assert late.id == late.patient == "phantom-3-004321"
    assert few[0].id != phantom(5, seed=4)[0].id
    assert not np.array_equal(few[0].images[0].pixels(), phantom(5, seed=4, size=64)[0].images[0].pixels())
    assert not np.array_equal(few[0].images[0].pixels(), few[1].images[0].pixels())


def test_it_is_a_sequence() -> None:
    data = phantom(20, seed=1, split="val")
    assert len(data) == 20
    assert data[-1] == data[19]
    assert data[19].split == "val"
    part = data[4:16:3]
    assert isinstance(part, Phantom)
    assert [study.id for study in part] == [data[i].id for i in (4, 7, 10, 13)]
    assert part[1:][-1] == data[13]
    assert len({study.patient for study in data}) == 20
    with pytest.raises(IndexError):
        data[20]
    assert list(phantom(0)) == []


@pytest.mark.parametrize("arguments", [{"count": -1}, {"count": 1, "seed": -1}, {"count": 1, "size": 63}])
def test_bad_arguments_are_named(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"-1|63"):
        phantom(**arguments)


@pytest.mark.parametrize("size", [64, 97, 512])
def test_pictures_are_gray_and_of_the_size_asked_for(size: int) -> None:
    image = phantom(1, size=size)[0].images[0]
    picture = image.pixels()
    assert picture.dtype == np.uint8
    assert picture.shape == image.size == (size, size)
    assert picture.std() > 20


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**40), st.integers(0, 10**6), st.integers(64, 160))
def test_text_boxes_and_masks_belong_together(seed: int, index: int, size: int) -> None:
    study = phantom(index + 1, seed=seed, size=size)[index]
    assert study.document == " ".join(sentence.text for sentence in study.sentences)
    assert all(re.fullmatch(r"[A-Z0-9][^\[\]{}|]*\.", sentence.text) for sentence in study.sentences)
    assert {a.label for a in study.annotations} == study.labels - {"no finding"}
    assert len({a.sentence for a in study.annotations}) == len(study.annotations)
    assert ("no finding" in study.labels) == (not study.annotations)
    for a in study.annotations:
        assert a.sentence is not None
        assert a.phrase == study.sentences[a.sentence].text
        assert a.kind == ("device" if a.label in DEVICES else "lesion")
        mask = pixels(a)
        assert mask.shape == (size, size)
        assert mask.any()
        boxed = np.zeros_like(mask)
        for box in a.boxes:
            assert 0 <= box.left < box.right <= size
            assert 0 <= box.top < box.bottom <= size
            part = (slice(int(box.top), int(box.bottom)), slice(int(box.left), int(box.right)))
            boxed[part] = True
            # Tight: the mask reaches all four sides.
            assert mask[part][0].any() and mask[part][-1].any()
            assert mask[part][:, 0].any() and mask[part][:, -1].any()
        assert not (mask & ~boxed).any()


def test_masks_lie_where_the_picture_changes(studies: list[Study]) -> None:
    share: dict[str, list[float]] = {name: [] for name in FINDINGS}
    for study in studies:
        for a in study.annotations:
            changed, mask = change(study, a.label), pixels(a)
            near = ndimage.binary_dilation(mask, iterations=2)
            share[a.label].append(changed[near].sum() / changed.sum())
            # Visible: somewhere in the mask the change is well above rounding.
            assert np.percentile(changed[mask], 90) >= 8, (study.id, a.phrase)
            if a.label != "cardiomegaly":  # whose mask is the whole heart, while only its border has moved
                assert (changed[mask] > 0).mean() > 0.6, (study.id, a.phrase)
    for name, shares in share.items():
        assert len(shares) >= 3, name
        # Edema fades out over the whole lung.
        assert min(shares) > (0.6 if name == "edema" else 0.8), name


def test_a_large_heart_hides_no_effusion(scenes: list[Scene]) -> None:
    both = [s for s in scenes if {"cardiomegaly", "pleural effusion"} <= {finding.name for finding in s.findings}]
    assert len(both) > 50
    for scene in both:
        for a in scene.annotations(64):
            assert all(box.right - box.left >= 1 for box in a.boxes), a.phrase
            if a.label in ("pleural effusion", "consolidation") and re.search("both|bilateral", a.phrase.lower()):
                assert len(a.boxes) == 2, a.phrase


def test_boxes_can_be_replaced_like_any_field(studies: list[Study]) -> None:
    a = next(a for study in studies for a in study.annotations)
    assert replace(a, phrase="elsewhere").boxes == a.boxes
    assert replace(a, boxes=(Box(1, 2, 3, 4),)).boxes == (Box(1, 2, 3, 4),)


def test_leaving_out_nothing_changes_nothing(studies: list[Study]) -> None:
    study = next(s for s in studies if "pneumothorax" not in s.labels)
    assert not change(study, "pneumothorax").any()


def test_the_patients_right_is_on_the_left_of_the_picture(studies: list[Study]) -> None:
    seen = Counter[str]()
    for study in studies:
        for a in study.annotations:
            said = set(re.findall(r"\b(right|left)\b", a.phrase.lower()))
            # Catheters and leads cross the midline, several nodules lie on both sides.
            several = a.label == "nodule" and len(a.boxes) > 1
            if len(said) != 1 or a.label in DEVICES or several:
                continue
            (side,) = said
            seen[side] += 1
            weight = change(study, a.label).sum(0)
            middle = (weight * (np.arange(len(weight)) + 0.5)).sum() / weight.sum()
            assert (middle < len(weight) / 2) == (side == "right"), a.phrase
            assert all((box.left + box.right < len(weight)) == (side == "right") for box in a.boxes), a.phrase
    assert min(seen["right"], seen["left"]) > 30


def test_catheters_and_pacemakers_come_from_the_side_that_is_named(studies: list[Study]) -> None:
    checked = 0
    for study in studies:
        for a in study.annotations:
            if a.label in ("central venous catheter", "pacemaker"):
                side = re.search(r"right|left", a.phrase.lower())
                assert side
                columns = np.flatnonzero(pixels(a).any(0)) / 96 - 0.5
                outermost = columns[np.abs(columns).argmax()]
                if abs(outermost) > 0.15:
                    assert (outermost < 0) == (side[0] == "right"), a.phrase
                    checked += 1
    assert checked > 10


def test_the_heart_bulges_to_the_right_of_the_picture() -> None:
    mean = np.mean([Scene.sample(9, i).draw(64, without=FINDINGS) for i in range(40)], axis=0)
    rows, width = slice(38, 46), mean.shape[1]
    left_of_picture, right_of_picture = mean[rows, 20:26].mean(), mean[rows, width - 26 : width - 20].mean()
    assert right_of_picture > left_of_picture + 15


def test_zones_lie_above_each_other(studies: list[Study]) -> None:
    heights: dict[str, list[float]] = {"upper": [], "mid": [], "lower": []}
    for study in studies:
        for a in study.annotations:
            zones = re.findall(r"\b(upper|mid|lower)\b", a.phrase)
            if len(zones) == 1 and len(a.boxes) == 1 and a.label not in DEVICES:
                heights[zones[0]].append(float(np.argwhere(pixels(a))[:, 0].mean()))
    upper, mid, lower = (np.array(heights[zone]) for zone in ("upper", "mid", "lower"))
    assert min(map(len, heights.values())) > 5
    assert upper.max() < mid.max() < lower.max()
    assert upper.mean() + 12 < mid.mean() < lower.mean() - 12


def test_sizes_in_words_are_the_sizes_drawn() -> None:
    checked = 0
    for study in phantom(150, seed=2, size=256):
        for a in study.annotations:
            if a.label in ("nodule", "mass") and len(a.boxes) == 1:
                number = re.search(r"(\d+(?:\.\d)?) ?(mm|cm)", a.phrase)
                assert number
                cm = float(number[1]) / (10 if number[2] == "mm" else 1)
                # The picture is 40 cm wide at a scale of one.
                area = pixels(a).sum() / (256 * scene_of(study).patient.scale) ** 2 * 40**2
                assert 0.6 * cm < 2 * (area / np.pi) ** 0.5 < 1.1 * cm, a.phrase
                checked += 1
    assert checked > 10


def test_severity_shows() -> None:
    areas: dict[str, list[int]] = {"small": [], "moderate": [], "large": []}
    for study in phantom(250, seed=8, size=64):
        for a in study.annotations:
            size = re.search(r"small|moderate|large", a.phrase.lower())
            if a.label == "pleural effusion" and len(a.boxes) == 1 and size:
                areas[size[0]].append(int(pixels(a).sum()))
    small, moderate, large = (np.mean(areas[word]) for word in ("small", "moderate", "large"))
    assert 2 * small < moderate
    assert 1.5 * moderate < large


# Read by a person, not taken from the package: what each sentence about nothing denies.
DENIALS = {
    r"pneumothorax": {"pneumothorax"},
    r"effusion": {"pleural effusion"},
    r"heart size is normal|normal heart size|heart is normal|silhouette is|cardiomegaly": {"cardiomegaly"},
    r"consolidation|airspace": {"consolidation"},
    r"edema|vascular congestion": {"edema"},
    r"nodule or mass": {"nodule", "mass"},
    r"rib fracture|osseous|bony": {"rib fracture"},
    r"atelectasis": {"atelectasis"},
    r"support devices|lines or tubes": DEVICES,
    r"not intubated": {"endotracheal tube"},
    r"central line|central venous": {"central venous catheter"},
    r"pacemaker": {"pacemaker"},
    r"lungs are (well expanded and )?clear|clear lungs": {
        "nodule",
        "mass",
        "consolidation",
        "edema",
        "atelectasis",
        "pleural effusion",
        "pneumothorax",
    },
    r"acute cardiopulmonary|normal chest": set(FINDINGS),
}
IRRELEVANT = r"comparison|view of the chest|degenerative|upper abdomen|correlation|unremarkable|discussed"


def test_nothing_that_is_drawn_is_denied(scenes: list[Scene]) -> None:
    counts = []
    for scene in scenes:
        labels = {finding.name for finding in scene.findings}
        others = [text.lower() for text, finding in scene.lines if finding is None]
        denying = [text for text in others if not re.search(IRRELEVANT, text)]
        for text in denying:
            denied = [names for pattern, names in DENIALS.items() if re.search(pattern, text)]
            assert denied, text
            assert not set().union(*denied) & labels, text
        if labels:
            counts.append(len(denying))
        assert len(others) - len(denying) <= 2
    assert set(counts) == {0, 1, 2} and min(counts.count(n) for n in range(3)) > len(counts) / 5


def test_studies_are_as_in_real_life(scenes: list[Scene]) -> None:
    labels = [{finding.name for finding in scene.findings} for scene in scenes]
    share = {name: sum(name in names for names in labels) / len(labels) for name in FINDINGS}
    assert 0.22 < sum(not names for names in labels) / len(labels) < 0.32
    assert max(map(len, labels)) == max(len(scene.findings) for scene in scenes) == 4
    assert min(share.values()) > 0.04
    assert max(share.values()) < 0.3
    # Heart failure: findings come together.
    for one, other in (("cardiomegaly", "edema"), ("cardiomegaly", "pleural effusion"), ("edema", "pleural effusion")):
        together = sum({one, other} <= names for names in labels) / len(labels)
        assert together > 1.8 * share[one] * share[other]
    order = [
        scene.findings[0].name for scene in scenes if {"edema", "cardiomegaly"} <= {f.name for f in scene.findings}
    ]
    assert {"edema", "cardiomegaly"} <= set(order)


def test_normal_reports_repeat_and_abnormal_ones_hardly_do(scenes: list[Scene]) -> None:
    documents: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for scene in scenes:
        documents[not scene.findings][" ".join(text for text, _ in scene.lines)] += 1
    normal, abnormal = documents[True], documents[False]
    assert sum(count for _, count in normal.most_common(8)) > 0.5 * sum(normal.values())
    assert len(abnormal) > 0.97 * sum(abnormal.values())


def test_findings_have_many_phrasings(scenes: list[Scene]) -> None:
    said: dict[str, set[str]] = {name: set() for name in FINDINGS}
    for scene in scenes:
        for text, k in scene.lines:
            if k is not None:
                # Without side, place, size and severity.
                said[scene.findings[k].name].add(re.sub(r"\b(right|left|upper|mid|lower|\d\S*)\b", "", text.lower()))
    assert all(len(texts) >= 6 for texts in said.values()), {name: len(texts) for name, texts in said.items()}


def test_prompts_cover_the_findings_and_speak_as_the_reports_do() -> None:
    assert tuple(sorted(prompts())) == tuple(sorted(FINDINGS))
    assert len(FINDINGS) == len(set(FINDINGS)) >= 10
    written = {
        word for study in phantom(400, seed=9, size=64) for word in re.findall(r"[a-z]+", study.document.lower())
    }
    for affirming, denying in prompts().values():
        assert len(affirming) == len(set(affirming)) >= 2 and not denying
        for sentence in affirming:
            assert sentence[0].isupper() or sentence[0].isdigit()
            assert sentence.endswith(".") and not re.search(r"\b(no|not|normal|clear)\b", sentence.lower())
            assert set(re.findall(r"[a-z]+", sentence.lower())) <= written, sentence


def test_another_size_draws_the_same_patient() -> None:
    small, large = phantom(60, seed=4, size=64), phantom(60, seed=4, size=192)
    for a, b in zip(small, large, strict=True):
        assert (a.id, a.document, a.labels) == (b.id, b.document, b.labels)
        for one, other in zip(a.annotations, b.annotations, strict=True):
            for box, larger in zip(one.boxes, other.boxes, strict=True):
                edges = np.array([[getattr(x, s) for s in ("left", "top", "right", "bottom")] for x in (box, larger)])
                assert np.abs(edges[0] - edges[1] / 3).max() <= 2.5, one.phrase
    picture, fine = small[0].images[0].pixels(), large[0].images[0].pixels()
    shrunk = fine.reshape(64, 3, 64, 3).mean((1, 3))
    assert np.corrcoef(picture.ravel(), shrunk.ravel())[0, 1] > 0.97
