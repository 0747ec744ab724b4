"""Training and evaluation on features that were made elsewhere, from files and of as many rows as they have."""

import csv

import numpy as np
import pytest
import torch

from bagclip import evaluation, methods, weights
from bagclip.data.features import ArrayFeatures
from bagclip.data.readers.pairs import pairs
from bagclip.data.study import Annotation, Box, Study
from bagclip.encoders import Features, Text
from bagclip.model import Model
from bagclip.training import TrainConfig, train

FINDINGS = ("necrosis", "mitosis", "stroma", "lymphocytes")
CONFIG = TrainConfig(epochs=2, batch_size=8, save_every=1e-9)


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """32 files of 5 to 40 patches of width 12; some patches of a slide point along its finding's own axis."""
    folder = tmp_path_factory.mktemp("slides")
    rng = np.random.default_rng(0)
    with open(folder / "pairs.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "report", "labels"])
        for i in range(32):
            finding = i % len(FINDINGS)
            patches = 0.3 * rng.standard_normal((rng.integers(5, 40), 12))
            patches[:3, finding] += 3
            np.save(folder / f"{i}.npy", patches.astype(np.float16))
            table.writerow([f"{i}.npy", f"There is {FINDINGS[finding]}. Case {i}.", FINDINGS[finding]])
    return pairs(folder / "pairs.csv")


def fresh(seed=0, granularity="sentences"):
    torch.manual_seed(seed)
    text = Text(dim=16, width=16, layers=1, granularity=granularity)
    return Model(Features(width=12, dim=16), text, methods.lse_nl(dim=16))


class Stop(Exception):
    pass


@pytest.mark.parametrize("granularity", ["sentences", "words", "document"])
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_last_bit(slides, tmp_path, granularity):
    whole = fresh(granularity=granularity)
    progress = train(whole, slides, CONFIG, out=tmp_path / "whole", val=slides[:8])
    assert progress.step == 8

    def stop(seen):
        if seen.step == 3:
            raise Stop

    with pytest.raises(Stop):
        train(fresh(granularity=granularity), slides, CONFIG, out=tmp_path / "cut", val=slides[:8], observe=stop)
    resumed = fresh(7, granularity)
    train(resumed, slides, CONFIG, out=tmp_path / "cut", val=slides[:8], resume="auto")
    for name, tensor in weights.tensors(whole).items():
        assert torch.equal(tensor, weights.tensors(resumed)[name]), name
    again = Model.from_pretrained(tmp_path / "cut")
    assert torch.equal(again.score(*again.encode_studies(slides)), whole.score(*whole.encode_studies(slides)))


def test_augmentation_leaves_features_alone(slides, tmp_path):
    models = [fresh(), fresh()]
    for model, augment in zip(models, (True, False), strict=True):
        train(model, slides, TrainConfig(epochs=1, batch_size=8, augment=augment), out=tmp_path / str(augment))
    first, second = (weights.tensors(model) for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_on_other_features_is_not_gone_on_with(slides, tmp_path):
    train(fresh(), slides[:16], TrainConfig(epochs=1, batch_size=8), out=tmp_path)
    fewer = [Study(s.id, (ArrayFeatures(s.images[0].features()[:4]),), s.document, s.sentences) for s in slides[:16]]
    with pytest.raises(ValueError, match="is of another run: data was"):
        train(fresh(), fewer, TrainConfig(epochs=1, batch_size=8), out=tmp_path, resume="auto")


@pytest.fixture(scope="module")
def learned(slides, tmp_path_factory):
    model = fresh()
    train(model, slides, TrainConfig(epochs=40, batch_size=16, lr=5e-3), out=tmp_path_factory.mktemp("run"))
    return model


def test_what_is_in_a_few_patches_is_learned_and_can_be_found(slides, learned):
    prompts = {name: ([f"There is {name}."], []) for name in FINDINGS}
    result = evaluation.classification(learned, slides, prompts)
    assert result.metrics["macro_auroc"].value > 0.95
    assert evaluation.retrieval(learned, slides).metrics["text_to_image/R@10"].value > 0.7
    image = learned.encode_images([slides[1].images[0]])
    phrase = learned.encode_documents([["There is mitosis."]])
    values = learned.method.score.region_map(image, phrase)[:, 0]
    assert len(values) == slides[1].images[0].shape[0] and set(values.topk(3).indices.tolist()) == {0, 1, 2}


def test_matrices_are_encoded_as_files_are(slides, learned):
    files = learned.encode_images(slides[i].images[0] for i in range(3))
    arrays = learned.encode_images([slides[i].images[0].features() for i in range(3)])
    studies, _ = learned.encode_studies(slides[:3])
    assert torch.equal(files.instances, arrays.instances) and torch.equal(files.lengths, arrays.lengths)
    torch.testing.assert_close(studies.instances, files.instances)


def test_nothing_is_drawn_where_there_are_no_pixels(slides, learned):
    with pytest.raises(ValueError, match=r"Features reads no pixels.* told by model\.method\.score\.region_map"):
        learned.ground(slides[0].images[0], "There is necrosis.")
    note = Annotation("necrosis", "necrosis", boxes=(Box(0, 0, 1, 1),))
    drawn = [Study(s.id, s.images, s.document, s.sentences, annotations=(note,)) for s in slides[:3]]
    with pytest.raises(ValueError, match=r"on a grid, got 1 bags and grid None.*region_map\(images, phrases\)"):
        evaluation.grounding(learned, drawn)
