import numpy as np
import pytest
import torch

from bagclip import methods
from bagclip.data.features import ArrayFeatures
from bagclip.data.readers.phantom import phantom
from bagclip.data.study import Study
from bagclip.encoders import ConvNet, Features, Text
from bagclip.model import Model
from bagclip.report.gallery import retrieval_examples

STUDIES = list(phantom(6, seed=3, size=64))


def model_of(image, granularity):
    torch.manual_seed(0)
    model = Model(image, Text(dim=16, width=16, layers=1, granularity=granularity), methods.lse_nl(dim=16)).eval()
    model.text_encoder.fit(study.document for study in STUDIES)
    return model


@pytest.mark.parametrize("granularity", ["sentences", "words", "document"])
def test_the_best_sentence_is_a_sentence_whatever_the_instances(granularity):
    model = model_of(ConvNet(dim=16, size=64, width=4), granularity)
    by_document = {study.document: study for study in STUDIES}
    for example in retrieval_examples(model, STUDIES, count=2):
        for candidate in example.candidates:
            study = by_document[example.query_text or candidate.text]
            pixels = example.query_image if candidate.image is None else candidate.image
            image = model.encode_images([pixels])
            scores = {s.text: float(model.score(image, model.encode_documents([[s.text]]))) for s in study.sentences}
            assert candidate.best_sentence_score == pytest.approx(max(scores.values()), abs=1e-5)
            assert scores[candidate.best_sentence] == pytest.approx(max(scores.values()), abs=1e-5)


def test_features_have_no_picture():
    rng = np.random.default_rng(0)
    slides = [
        Study(s.id, (ArrayFeatures(rng.standard_normal((5 + i, 12)).astype(np.float32)),), s.document, s.sentences)
        for i, s in enumerate(STUDIES)
    ]
    examples = retrieval_examples(model_of(Features(width=12, dim=16), "sentences"), slides, count=2)
    assert len(examples) == 4 and {example.kind for example in examples} == {"text_to_image", "image_to_text"}
    for example in examples:
        assert example.query_image is None and all(candidate.image is None for candidate in example.candidates)
        assert all(candidate.best_sentence for candidate in example.candidates)
