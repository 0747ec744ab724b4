import numpy as np
import pytest
import torch

from bagclip.data.batches import Loader, keys, same
from bagclip.data.features import ArrayFeatures
from bagclip.data.readers.phantom import phantom
from bagclip.data.study import ArrayImage, Sentence, Study
from bagclip.encoders import ConvNet, Features

READ = ConvNet(size=64, width=4).read


def study(name, text):
    return Study(name, (ArrayImage(np.zeros((8, 8), np.uint8)),), text, (Sentence(text, 0, len(text)),))


def test_same_studies_and_documents_are_no_negatives():
    studies = [study("a", "No effusion."), study("b", "no  Effusion."), study("c", "Effusion."), study("c", "Mass.")]
    expected = torch.eye(4, dtype=torch.bool)
    expected[0, 1] = expected[1, 0] = expected[2, 3] = expected[3, 2] = True
    assert torch.equal(same(studies), expected)


def test_keys_are_the_same_on_every_machine():
    (key,) = keys([study("a", "No  effusion.")]).tolist()
    # What b2sum -l 64 says of "a" and of "no effusion."
    assert [f"{number % 2**64:016x}" for number in key] == ["40f89e395b66422f", "18962f2c9bd9b984"]


def test_batches_come_in_order_whatever_the_threads_and_the_memory():
    studies = list(phantom(9, size=64))
    order = [[3, 1], [8], [0, 2, 4], [5, 6, 7]]
    runs = [
        [batch.inputs for batch in Loader(studies, READ, memory=memory, threads=threads).batches(order)]
        for memory, threads in ((0, 1), (2 << 30, 3), (3 * 64 * 64, 2))
    ]
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))
    expected = torch.from_numpy(studies[1].images[0].pixels()) / 255
    assert torch.equal(runs[0][0][1, 0], expected)


def test_an_image_is_decoded_once_and_memory_is_bounded():
    reads = []

    class Counted(ArrayImage):
        def pixels(self):
            reads.append(id(self))
            return self.array

    images = [Counted(np.zeros((64, 64), np.uint8)) for _ in range(3)]
    studies = [Study(str(i), (image,), "x", (Sentence("x", 0, 1),)) for i, image in enumerate(images)]
    loader = Loader(studies, READ, memory=2 * 64 * 64, threads=1)
    for _ in range(3):
        list(loader.batches([[0], [1], [2]]))
    assert len(reads) == 1 + 1 + 3


def test_views_are_named_for_the_transform():
    two = Study("a", (ArrayImage(np.zeros((8, 8), np.uint8)),) * 2, "x", (Sentence("x", 0, 1),))
    seen = []

    def transform(pixels, names):
        seen.append(list(names))
        return pixels

    batch = next(Loader([two, study("b", "y")], READ).batches([[0, 1]], transform))
    assert seen == [["a/0", "a/1", "b/0"]] and batch.counts == [2, 1] and batch.documents == [["x"], ["y"]]


def test_features_are_packed_as_they_are_and_not_transformed():
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((n, 3)).astype(np.float32) for n in (4, 1, 2)]
    slides = [ArrayFeatures(array) for array in arrays]
    text = (Sentence("x", 0, 1),)
    studies = [Study("a", (slides[0], slides[1]), "x", text), Study("b", (slides[2],), "x", text)]
    loader = Loader(studies, Features(width=3, dim=3).read, memory=16 * 3)
    for _ in range(2):  # the second time partly from memory
        (batch,) = loader.batches([[0, 1]], lambda inputs, names: inputs * 0)
        assert batch.counts == [5, 2]
        assert torch.equal(batch.inputs, torch.from_numpy(np.concatenate(arrays)))


def test_a_study_that_cannot_be_read_is_named():
    text = (Sentence("x", 0, 1),)
    slide = Study("a", (ArrayFeatures(np.zeros((2, 3), np.float32)),), "x", text)
    for studies, read, sentence in (
        ([study("b", "y")], Features(width=3).read, "study 'b': the image is made of pixels"),
        ([slide], Features(width=4).read, "study 'a': the features are of width 3, and the encoder takes width 4"),
        ([slide], READ, "study 'a': an image that is given as features has no pixels"),
    ):
        with pytest.raises(ValueError, match=sentence):
            list(Loader(studies, read).batches([[0]]))
