"""The three evaluations against plain loops, on a small model and on models made to be right or wrong."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from bagclip import evaluation, methods, metrics
from bagclip.data.readers.phantom import phantom, prompts
from bagclip.data.study import Annotation, ArrayImage, ArrayMask, Box, Sentence, Study
from bagclip.encoders import ConvNet, Text
from bagclip.evaluation import Result
from bagclip.metrics import Estimate
from bagclip.model import Model
from bagclip.preprocess import Preprocess

STUDIES = list(phantom(60, seed=4, size=64))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = Model(ConvNet(dim=16, size=64, width=4), Text(dim=16, width=16, layers=1), methods.lse_nl(dim=16))
    made.text_encoder.fit(study.document for study in STUDIES)
    return made.eval()


def test_retrieval_equals_a_loop(model):
    result = evaluation.retrieval(model, STUDIES)
    scores = model.score(*model.encode_studies(STUDIES)).numpy()
    texts = [" ".join(study.document.lower().split()) for study in STUDIES]
    places = []
    for i, text in enumerate(texts):
        right = [scores[j, i] for j in range(60) if texts[j] == text]
        wrong = [scores[j, i] for j in range(60) if texts[j] != text]
        places.append(1 + sum(value >= max(right) for value in wrong))
    for depth in (1, 5, 10):
        assert result.metrics[f"text_to_image/R@{depth}"].value == pytest.approx(np.mean(np.array(places) <= depth))
    assert result.metrics["text_to_image/median_rank"].value == np.median(places)
    assert result.context["candidates"] == 60 and result.context["distinct documents"] == len(set(texts)) < 60
    chance = result.metrics["image_to_text/R@10"].chance
    drawn = np.random.default_rng(0)
    hits = [any(texts[j] == texts[i] for j in drawn.permutation(60)[:10]) for i in range(60) for _ in range(300)]
    assert chance == pytest.approx(np.mean(hits), abs=0.012)


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_classification_equals_scikit_learn(model, pool):
    denials = {"nodule": ["No nodule.", "No mass or nodule."], "edema": ["No edema."]}
    asked = {name: (affirming, denials.get(name, [])) for name, (affirming, _) in prompts().items()}
    result = evaluation.classification(model, STUDIES, asked, pool=pool)
    images, _ = model.encode_studies(STUDIES)

    def one_by_one(texts):
        each = [model.score(images, model.encode_documents([[text]])).numpy()[:, 0] for text in texts]
        return getattr(np, pool)(each, axis=0) if texts else 0.0

    areas = []
    for name, (affirming, denying) in asked.items():
        truth = [name in study.labels for study in STUDIES]
        if len(set(truth)) == 1:
            assert f"auroc/{name}" not in result.metrics
            continue
        areas.append(roc_auc_score(truth, one_by_one(affirming) - one_by_one(denying)))
        estimate = result.metrics[f"auroc/{name}"]
        assert estimate.value == pytest.approx(areas[-1], abs=1e-6) and estimate.n == sum(truth)
    macro = result.metrics["macro_auroc"]
    assert macro.value == pytest.approx(np.mean(areas), abs=1e-6) and macro.low < macro.value < macro.high


def test_classification_by_an_attribute(model):
    sides = [
        Study(s.id, s.images, s.document, s.sentences, attributes={"view": "PA" if i % 3 else "AP"})
        for i, s in enumerate(STUDIES)
    ]
    by_view = evaluation.classification(
        model, sides, {"PA": (["frontal"], []), "AP": (["supine"], [])}, attribute="view"
    )
    assert by_view.metrics["auroc/PA"].n == 40 and by_view.metrics["auroc/AP"].n == 20
    with pytest.raises(ValueError, match=r"none of .* is present in some of the 60 studies"):
        evaluation.classification(model, sides, {"lateral": (["lateral"], [])}, attribute="view")
    with pytest.raises(ValueError, match="no affirming prompt"):
        evaluation.classification(model, sides, {"PA": ([], [])}, attribute="view")


class Bright(Model):
    """Answers every phrase with the brightness of the image."""

    sign = 1.0

    def region_map(self, image, sentences):
        return self.sign * image.instances[:, :1].T.reshape(1, 1, *image.grid).expand(
            len(sentences.instances), -1, -1, -1
        )


class Pixels(ConvNet):
    """Regions that hold nothing but their mean brightness."""

    def forward(self, pixels):
        cells = torch.nn.functional.avg_pool2d(pixels, self.stride)
        return cells.permute(0, 2, 3, 1).expand(-1, -1, -1, self.dim)


def bright_squares(size, count=12):
    """Dark images of a size with one bright square each, boxed; every third with a mask in its place."""
    rng, studies = np.random.default_rng(0), []
    height, width = size
    for i in range(count):
        pixels = np.zeros(size, np.uint8)
        side = min(size) // 4
        top, left = int(rng.integers(0, height - side)), int(rng.integers(0, width - side))
        pixels[top : top + side, left : left + side] = 255
        text = "A bright square."
        where = {"mask": ArrayMask(pixels > 0)} if i % 3 == 0 else {"boxes": (Box(left, top, left + side, top + side),)}
        note = Annotation(text, "square" if i % 2 else "spot", "lesion" if i else "device", sentence=0, **where)
        studies.append(
            Study(
                f"s{i}", (ArrayImage(pixels),), text, (Sentence(text, 0, len(text)),), f"p{i // 2}", annotations=(note,)
            )
        )
    return studies


@pytest.mark.parametrize("size", [(128, 128), (200, 130), (90, 210)])
@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_grounding_finds_what_is_there_in_pixels_of_the_original(model, size, fit):
    studies = bright_squares(size)
    finder = Bright(
        Pixels(dim=16, width=4, preprocess=Preprocess(size=(128, 128), fit=fit)), model.text_encoder, model.method
    )
    result = evaluation.grounding(finder, studies)
    assert result.metrics["pointing_game"].value == 1 and result.metrics["cnr_signed"].value > 2.5
    assert result.metrics["pointing_game"].chance < 0.4 and result.metrics["cnr_signed"].chance < 1
    # A square of many cells, thresholded at .1 to .5 between the cells' centres: nearly all of it, little more.
    assert result.metrics["miou"].value > 0.6
    assert result.metrics["cnr_signed"].n == 12 and result.metrics["macro/cnr_signed"].n == 2
    assert result.context["phrases"] == 12 and result.context["patients"] == 6
    finder.sign = -1.0
    inverted = evaluation.grounding(finder, studies)
    assert inverted.metrics["cnr_signed"].value == pytest.approx(-result.metrics["cnr_signed"].value)
    assert inverted.metrics["cnr_abs"].value == pytest.approx(result.metrics["cnr_abs"].value)
    assert inverted.metrics["miou"].value == inverted.metrics["pointing_game"].value == 0


def test_grounding_averages_what_ground_all_shows(model):
    result = evaluation.grounding(model, STUDIES)
    each = evaluation.ground_all(model, STUDIES)
    assert len(each) == sum(len(study.annotations) for study in STUDIES) == result.context["phrases"]
    assert result.metrics["cnr_signed"].value == pytest.approx(np.mean([g.metrics.cnr for g in each]))
    by_label = {}
    for grounded in each:
        by_label.setdefault(grounded.annotation.label, []).append(grounded.metrics.miou)
    assert result.metrics["macro/miou"].value == pytest.approx(np.mean([np.mean(v) for v in by_label.values()]))
    first = each[0]
    image = first.study.images[0]
    np.testing.assert_allclose(first.heat, model.ground(image, first.annotation.phrase), atol=1e-5)
    fit = metrics.grounding_metrics(first.heat, first.annotation.region(image.size))
    assert fit == first.metrics


@pytest.mark.parametrize("granularity", ["words", "document"])
def test_a_phrase_is_a_bag_whatever_its_instances(granularity):
    torch.manual_seed(0)
    text = Text(dim=16, width=16, layers=1, granularity=granularity)
    model = Model(ConvNet(dim=16, size=64, width=4), text, methods.lse_nl(dim=16)).eval()
    text.fit(study.document for study in STUDIES)
    for grounded in evaluation.ground_all(model, STUDIES[:8]):
        heat = model.ground(grounded.study.images[0], grounded.annotation.phrase)
        np.testing.assert_allclose(grounded.heat, heat, atol=1e-5)
    asked = {"effusion": (["Small left pleural effusion.", "Effusion."], ["No effusion."])}
    images, _ = model.encode_studies(STUDIES)
    each = [
        model.score(images, model.encode_documents([[t]])).numpy()[:, 0] for pair in asked["effusion"] for t in pair
    ]
    found = evaluation.zero_shot(model, STUDIES, asked)[:, 0]
    np.testing.assert_allclose(found, (each[0] + each[1]) / 2 - each[2], atol=1e-5)


def test_grounding_counts_the_kinds_asked_for_and_what_was_cropped_away(model):
    studies = bright_squares((128, 256))
    crop = Bright(
        Pixels(dim=16, width=4, preprocess=Preprocess(size=(128, 128), fit="crop")), model.text_encoder, model.method
    )
    result = evaluation.grounding(crop, studies, kinds=["lesion"])
    assert result.context["phrases"] == 11
    unseen = sum(a.region((128, 256))[:, 64:192].sum() == 0 for s in studies[1:] for a in s.annotations)
    assert result.context["regions outside what the encoder sees"] == unseen > 0
    with pytest.raises(ValueError, match=r"got 1 of kinds \['device'\]; the studies have annotations of kinds"):
        evaluation.grounding(crop, studies, kinds=["device"])


def test_a_result_prints_and_is_plain_json():
    result = Result("retrieval", {"text_to_image/R@1": Estimate(0.5, 0.4, float("nan"), 0.01, 9)}, {"candidates": 9})
    assert result.to_dict() == {"text_to_image/R@1": {"value": 0.5, "low": 0.4, "high": None, "chance": 0.01, "n": 9}}
    assert "text_to_image/R@1" in str(result) and "0.500" in str(result)
