import json

import numpy as np
import pytest
import torch

from bagclip import methods
from bagclip.bags import Bag
from bagclip.data.readers.phantom import phantom
from bagclip.data.study import ArrayImage, Sentence, Study
from bagclip.encoders import ConvNet, Text
from bagclip.model import Model


def small(method=None, granularity="sentences", **options):
    torch.manual_seed(0)
    method = method or methods.lse_nl(dim=16)
    text = Text(dim=16, width=16, layers=1, granularity=granularity)
    model = Model(ConvNet(dim=16, size=64, width=4, **options), text, method)
    model.text_encoder.fit(study.document for study in phantom(20, size=64))
    return model.eval()


@pytest.mark.parametrize("name", methods.METHODS)
def test_a_saved_model_scores_the_same(tmp_path, name):
    model, studies = small(methods.build(name, 16)), phantom(3, size=64)
    model.save_pretrained(tmp_path / "m")
    again = Model.from_pretrained(tmp_path / "m")
    assert not again.training
    assert torch.equal(again.score(*again.encode_studies(studies)), model.score(*model.encode_studies(studies)))
    assert np.array_equal(
        again.ground(studies[0].images[0], "effusion"), model.ground(studies[0].images[0], "effusion")
    )


def test_views_of_a_study_make_one_bag():
    rng = np.random.default_rng(0)
    first, second = (ArrayImage(rng.integers(0, 255, (64, 64), dtype=np.uint8)) for _ in range(2))
    text = "No effusion."
    both = Study("s", (first, second), text, (Sentence(text, 0, len(text)),))
    model = small()
    images, _ = model.encode_studies([both, *phantom(1, size=64)])
    assert images.lengths.tolist() == [128, 64]
    each = model.encode_images([first, second])
    torch.testing.assert_close(next(iter(images)), each.instances)
    maps = model.region_map(images.select([0]), model.encode_documents([["effusion"], ["heart"]]))
    assert maps.shape == (2, 2, 8, 8)


def test_a_map_has_the_size_of_the_image_and_marks_what_is_not_seen():
    from bagclip.preprocess import Preprocess

    model = small(preprocess=Preprocess(size=(64, 64), fit="crop"))
    heat = model.ground(np.zeros((64, 96), np.uint8), "effusion")
    assert heat.shape == (64, 96)
    assert np.isnan(heat[:, :16]).all() and np.isnan(heat[:, 80:]).all() and np.isfinite(heat[:, 16:80]).all()


def test_documents_are_split_unless_they_are_lists():
    model = small()
    bag = model.encode_documents(["No effusion. Heart normal.", ["No effusion. Heart normal."]])
    assert bag.lengths.tolist() == [2, 1]


def test_encoders_of_two_dims_are_refused():
    with pytest.raises(ValueError, match="regions of dim 16, the text encoder sentences of dim 8"):
        Model(ConvNet(dim=16, size=64, width=4), Text(dim=8, width=16), methods.lse())


def test_a_damaged_folder_is_refused_with_a_sentence(tmp_path):
    small().save_pretrained(tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        Model.from_pretrained(tmp_path / "m")
    file.write_bytes(whole)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["method"] = methods.clip(16).config()
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="does not fit this architecture: it lacks"):
        Model.from_pretrained(tmp_path / "m")
    with pytest.raises(FileNotFoundError, match="is no model folder"):
        Model.from_pretrained(tmp_path)


def test_a_region_map_needs_a_grid():
    model = small()
    with pytest.raises(ValueError, match="of one image on a grid"):
        model.region_map(Bag.dense(torch.zeros(1, 4, 16)), model.encode_documents(["effusion"]))


@pytest.mark.parametrize("granularity", ["sentences", "words", "document"])
def test_the_map_of_a_phrase_is_the_mean_of_those_of_its_instances(granularity, tmp_path):
    model, (study,) = small(granularity=granularity), phantom(1, size=64)
    image = model.encode_images([study.images[0]])
    phrases = ["small left pleural effusion", "effusion", "no nodule."]
    bags = model.encode_documents([[phrase] for phrase in phrases])
    assert bags.lengths.tolist() == ([4, 1, 3] if granularity == "words" else [1, 1, 1])
    maps = model.region_map(image, bags)
    assert maps.shape == (3, 1, 8, 8)
    for bag, found, phrase in zip(bags, maps, phrases, strict=True):
        each = [model.region_map(image, Bag.dense(row[None, None])) for row in bag]
        torch.testing.assert_close(found, torch.stack([one[0] for one in each]).mean(0))
        geometry = model.geometry(study.images[0])
        heat = model.ground(study.images[0], phrase)
        np.testing.assert_allclose(heat, geometry.to_original(found[0]).numpy(), atol=1e-5)
    model.save_pretrained(tmp_path / "m")
    again = Model.from_pretrained(tmp_path / "m")
    assert again.text_encoder.granularity == granularity
    assert np.array_equal(again.ground(study.images[0], phrases[0]), model.ground(study.images[0], phrases[0]))


def test_scores_in_blocks_and_the_best_of_them_are_those_of_the_whole():
    torch.manual_seed(0)
    model = Model(ConvNet(dim=8, size=64, width=4), Text(dim=8, width=8), methods.lse_nl(8)).eval()
    generator = torch.Generator().manual_seed(1)
    images = Bag.from_list([torch.randn(n, 8, generator=generator) for n in (3, 1, 7, 2, 2)])
    documents = Bag.from_list([torch.randn(1 + n % 3, 8, generator=generator) for n in range(600)])
    documents = documents.select([*range(599), 0])  # the last is as good as the first
    whole = model.method.score(images, documents).detach()
    for memory in (1e-6, 0.5):
        torch.testing.assert_close(model.score(images, documents, memory=memory), whole)
        scores, found = model.top(images, documents, k=7, memory=memory)
        order = whole.argsort(dim=1, descending=True, stable=True)[:, :7]
        assert torch.equal(found, order)
        torch.testing.assert_close(scores, whole.gather(1, order))
    for wrong in (0, 601):
        with pytest.raises(ValueError, match="k is between 1 and the number of documents, 600"):
            model.top(images, documents, k=wrong)
    with pytest.raises(ValueError, match="memory is a positive number"):
        model.score(images, documents, memory=0.0)
