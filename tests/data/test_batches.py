import numpy as np
import torch

from bagclip.data.batches import Loader, same
from bagclip.data.readers.phantom import phantom
from bagclip.data.study import ArrayImage, Sentence, Study
from bagclip.preprocess import Preprocess

PREPROCESS = Preprocess(size=(64, 64))


def study(name, text):
    return Study(name, (ArrayImage(np.zeros((8, 8), np.uint8)),), text, (Sentence(text, 0, len(text)),))


def test_same_studies_and_documents_are_no_negatives():
    studies = [study("a", "No effusion."), study("b", "no  Effusion."), study("c", "Effusion."), study("c", "Mass.")]
    expected = torch.eye(4, dtype=torch.bool)
    expected[0, 1] = expected[1, 0] = expected[2, 3] = expected[3, 2] = True
    assert torch.equal(same(studies), expected)


def test_batches_come_in_order_whatever_the_threads_and_the_memory():
    studies = list(phantom(9, size=64))
    order = [[3, 1], [8], [0, 2, 4], [5, 6, 7]]
    runs = [
        [batch.pixels for batch in Loader(studies, PREPROCESS, memory=memory, threads=threads).batches(order)]
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
    loader = Loader(studies, PREPROCESS, memory=2 * 64 * 64, threads=1)
    for _ in range(3):
        list(loader.batches([[0], [1], [2]]))
    assert len(reads) == 1 + 1 + 3


def test_views_are_named_for_the_transform():
    two = Study("a", (ArrayImage(np.zeros((8, 8), np.uint8)),) * 2, "x", (Sentence("x", 0, 1),))
    seen = []

    def transform(pixels, names):
        seen.append(list(names))
        return pixels

    batch = next(Loader([two, study("b", "y")], PREPROCESS).batches([[0, 1]], transform))
    assert seen == [["a/0", "a/1", "b/0"]] and batch.views == [2, 1] and batch.documents == [["x"], ["y"]]
