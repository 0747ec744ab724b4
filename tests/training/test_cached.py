"""Cached gradients are those of one pass, and the activations of one chunk are alive at a time."""

import copy
import logging
import weakref

import numpy as np
import pytest
import torch

from bagclip import methods
from bagclip.bags import Bag
from bagclip.data.readers.phantom import phantom
from bagclip.data.study import ArrayImage, Study
from bagclip.encoders import ConvNet, Features, Text, TransformersImage
from bagclip.losses import Known, OneSentence
from bagclip.method import Method
from bagclip.model import Model
from bagclip.preprocess import Preprocess
from bagclip.training import TrainConfig, train
from bagclip.training.cached import cached_step

COUNTS = [1, 3, 2, 1, 1, 2, 4]
DOCUMENTS = [
    ["No effusion.", "The heart is large and so is the effusion on the left."],
    ["Clear lungs."],
    ["Nodule in the right upper lobe.", "No effusion.", "A tube ends above the carina."],
    ["No effusion."],
    ["Clear lungs.", "Clear lungs."],
    ["Large pneumothorax on the left.", "The heart is small."],
    ["Edema."],
]
KNOWN = Known(
    same=torch.eye(7, dtype=torch.bool).index_put((torch.tensor([1, 4]), torch.tensor([4, 1])), torch.tensor(True))
)
VIT = {
    "model_type": "vit", "image_size": 64, "patch_size": 16, "num_channels": 1, "hidden_size": 16,
    "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
STUDIES = [
    Study(s.id, (ArrayImage(s.images[0].pixels()),), s.document, s.sentences) for s in phantom(16, seed=1, size=64)
]


def text(granularity="sentences", dropout=0.0):
    encoder = Text(dim=16, width=16, layers=1, granularity=granularity, dropout=dropout)
    encoder.fit(" ".join(document) for document in DOCUMENTS)
    return encoder


def convnet():
    torch.manual_seed(0)
    return Model(ConvNet(dim=16, size=32, width=4), text(), methods.lse_nl(dim=16))


def vit(dropout=0.0):
    torch.manual_seed(0)
    image = TransformersImage(VIT, dim=16, preprocess=Preprocess(size=(64, 64), channels=1))
    return Model(image, Text(dim=16, width=16, layers=1, dropout=dropout), methods.lse_nl(dim=16))


def features(granularity="sentences", dropout=0.0, method=None):
    torch.manual_seed(0)
    return Model(Features(12, dim=16), text(granularity, dropout), method or methods.lse_nl(dim=16))


def batch(model, dtype=torch.float64):
    shape = (12,) if isinstance(model.image_encoder, Features) else (1, 32, 32)
    inputs = torch.rand(sum(COUNTS), *shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    return inputs, COUNTS, DOCUMENTS, KNOWN


def gradients(model):
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def one_pass(model, given, seed=5):
    model = copy.deepcopy(model)
    torch.manual_seed(seed)
    loss = model(*given)
    loss.backward()
    return loss.item(), gradients(model)


def cached(model, given, chunk, seed=5, **how):
    model = copy.deepcopy(model)
    loss = cached_step(model, *given, chunk=chunk, seed=seed, **how)
    return loss.item(), gradients(model)


def assert_equal(found, expected, tolerance):
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    assert found[1].keys() == expected[1].keys()
    error = sum(float((found[1][name] - gradient).square().sum()) for name, gradient in expected[1].items())
    assert error**0.5 <= tolerance * sum(float(gradient.square().sum()) for gradient in expected[1].values()) ** 0.5


MODELS = {
    "convnet": lambda: convnet().eval(),  # statistics that stay
    "sentences": features,
    "words": lambda: features("words"),
    "document": lambda: features("document"),
}


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_is_that_of_one_pass(name, chunk):
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 3e-6)):
        model = MODELS[name]().to(dtype)
        given = batch(model, dtype)
        assert_equal(cached(model, given, chunk), one_pass(model, given), tolerance)


@pytest.mark.parametrize("name", methods.METHODS)
def test_so_it_is_for_every_method(name):
    torch.manual_seed(0)
    small = {"carzero": {"hidden": (16,), "layers": 1}, "local_mi": {"hidden": (16, 16)}}.get(name, {})
    image = ConvNet(dim=16, size=32, width=4)
    model = Model(image, text("words"), methods.build(name, 16, **small)).double()
    image.eval()
    prior = torch.full((len(COUNTS),), 0.05, dtype=torch.float64)
    known = Known(KNOWN.same, labels=torch.eye(len(COUNTS), 3, dtype=torch.float64), prior=prior)
    given = *batch(model)[:3], known
    assert_equal(cached(model, given, 3), one_pass(model, given), 1e-10)


def test_it_is_added_to_the_gradient_that_is_there():
    model = features().double()
    given = batch(model)
    cached_step(model, *given, chunk=3, seed=0)
    once = {name: gradient.clone() for name, gradient in gradients(model).items()}
    cached_step(model, *given, chunk=2, seed=0)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, 2 * once[name], rtol=1e-10, atol=1e-14)


def test_a_scaled_loss_scales_every_gradient_once():
    model = features()
    given = batch(model, torch.float32)
    loss, plain = cached(model, given, 3)
    scaled_loss, scaled = cached(model, given, 3, backward=lambda loss: (1024 * loss).backward())
    assert scaled_loss == loss
    # A power of two is multiplied without rounding.
    assert all(torch.equal(scaled[name], 1024 * gradient) for name, gradient in plain.items())


def chunks_in_one_graph(model, given, ends, seed):
    """Plain backward through encodings of the same chunks with the same seeds."""
    model = copy.deepcopy(model)
    inputs, counts, documents, known = given
    seeds = np.random.SeedSequence(seed).generate_state(2 * len(ends)).tolist()
    images, texts, start = [], [], 0
    for i, end in enumerate(ends):
        rows = slice(sum(counts[:start]), sum(counts[:end]))
        torch.manual_seed(seeds[i])
        images.append(model.regions(inputs[rows], counts[start:end]))
        torch.manual_seed(seeds[len(ends) + i])
        texts.append(model.text_encoder(documents[start:end]))
        start = end
    torch.manual_seed(seed)
    loss = model.method.loss(Bag.concatenate(images), Bag.concatenate(texts), known)
    loss.backward()
    return (loss.item(), gradients(model)), dict(model.named_buffers())


@pytest.mark.parametrize("granularity", ["sentences", "words"])
def test_dropout_is_the_same_in_both_encodings_of_a_chunk(granularity):
    model = features(granularity, dropout=0.5).double()
    given = batch(model)
    found = cached(model, given, 3)
    expected, _ = chunks_in_one_graph(model, given, [2, 4, 7], seed=5)
    assert_equal(found, expected, 1e-10)
    assert cached(model, given, 3, seed=6)[0] != found[0]


def test_batch_norm_takes_the_statistics_of_a_chunk_and_counts_them_once():
    model = convnet().double()
    given = batch(model)
    expected, buffers = chunks_in_one_graph(model, given, [2, 4, 7], seed=5)
    assert_equal(cached(model, given, 3), expected, 1e-10)
    assert abs(expected[0] - one_pass(model, given)[0]) > 1e-3
    cached_step(model, *given, chunk=3, seed=5)
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, buffers[name], rtol=1e-10, atol=1e-12, msg=name)
    assert model.image_encoder.mix[1].num_batches_tracked == 3


def test_a_loss_that_draws_draws_what_it_draws_in_one_pass():
    lse = methods.lse()
    model = features(method=Method(lse.score, OneSentence(lse.loss))).double()
    given = batch(model)
    assert_equal(cached(model, given, 2), one_pass(model, given), 1e-10)
    assert one_pass(model, given, seed=6)[0] != one_pass(model, given)[0]


def test_under_autocast_every_weight_still_learns():
    def autocast():
        return torch.autocast("cpu", dtype=torch.bfloat16)

    model = convnet().eval()
    given = batch(model, torch.float32)
    expected = copy.deepcopy(model)
    with autocast():
        loss = expected(*given)
    loss.backward()
    found = cached(model, given, 3, autocast=autocast)
    assert_equal(found, (loss.item(), gradients(expected)), 0.02)  # of numbers with 8 significant bits


def test_an_encoder_that_has_nothing_to_learn_is_left_alone():
    model = features().double()
    model.text_encoder.requires_grad_(False)
    given = batch(model)
    found = cached(model, given, 3)
    assert_equal(found, one_pass(model, given), 1e-10)
    assert not any(name.startswith("text_encoder") for name in found[1])


def test_a_text_that_is_cut_off_is_counted_once(caplog):
    model = features()
    model.text_encoder.max_tokens = 4
    model.text_encoder.tokenizer.enable_truncation(4)
    inputs = torch.rand(3, 12)
    documents = [["No effusion of any kind is seen."], ["."], ["The heart is large and so is the effusion."]]
    cached_step(model, inputs, [1, 1, 1], documents, chunk=1, seed=0)
    assert model.text_encoder.truncated == 2
    assert caplog.text.count("only its beginning is read") == 1


class Saved:
    """Bytes that are saved for the backward pass of an encoder and still alive, and the most there were."""

    def __init__(self):
        self.alive = self.most = 0

    def hooks(self):
        return torch.autograd.graph.saved_tensors_hooks(self.pack, lambda box: box[0])

    def pack(self, tensor):
        box = Box([tensor])
        self.alive += tensor.nbytes
        self.most = max(self.most, self.alive)
        weakref.finalize(box, self.free, tensor.nbytes)
        return box

    def free(self, count):
        self.alive -= count


class Box(list):
    """A list, which can be referred to weakly."""


def most_saved(pairs, chunk):
    """Of a batch of the same four pairs over and over, by both encoders."""
    saved = Saved()

    class Image(ConvNet):
        def bags(self, inputs, counts):
            with saved.hooks():
                return super().bags(inputs, counts)

    class Words(Text):
        def forward(self, documents):
            with saved.hooks():
                return super().forward(documents)

    torch.manual_seed(0)
    words = Words(dim=16, width=16, layers=1)
    words.fit(" ".join(document) for document in DOCUMENTS)
    model = Model(Image(dim=16, size=32, width=4), words, methods.lse_nl(dim=16))
    given = torch.rand(pairs, 1, 32, 32), [1] * pairs, DOCUMENTS[:4] * (pairs // 4)
    if chunk is None:
        model(*given).backward()
    else:
        cached_step(model, *given, chunk=chunk, seed=0)
    assert saved.alive == 0
    return saved.most


def test_the_activations_of_one_chunk_are_alive_at_a_time():
    assert most_saved(16, chunk=4) == most_saved(8, chunk=4) == most_saved(4, chunk=4)
    assert most_saved(16, chunk=None) > 3 * most_saved(16, chunk=4)


def losses(model, out, **options):
    seen = []
    config = TrainConfig(epochs=2, batch_size=8, lr=3e-3, augment=False, **options)
    train(model, STUDIES, config, out=out, observe=lambda step: seen.append(step.loss))
    return seen


def test_a_run_in_chunks_equals_one_without(tmp_path):
    untrained, whole, chunked = vit(), vit(), vit()
    expected, found = losses(whole, tmp_path / "whole"), losses(chunked, tmp_path / "chunked", chunk=4)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    # Not the weights: where the loss does not depend on one, a bias of keys, AdamW follows the rounding.
    untrained.text_encoder.tokenizer = whole.text_encoder.tokenizer
    before, one, other = (model.score(*model.encode_studies(STUDIES)) for model in (untrained, whole, chunked))
    torch.testing.assert_close(other, one, rtol=0, atol=1e-4)
    assert float((before - one).abs().max()) > 0.1


def test_a_chunk_of_the_whole_batch_is_no_chunk(tmp_path):
    expected, found = losses(vit(0.1), tmp_path / "none"), losses(vit(0.1), tmp_path / "all", chunk=8)
    assert found == expected != losses(vit(0.1), tmp_path / "half", chunk=4)


class Stop(Exception):
    pass


def test_a_resumed_run_in_chunks_equals_an_uninterrupted_one_to_the_last_bit(tmp_path):
    config = TrainConfig(epochs=2, batch_size=8, chunk=3, save_every=1e-9)

    def fresh(seed=0):
        torch.manual_seed(seed)
        return Model(ConvNet(dim=16, size=64, width=4), Text(dim=16, width=16, layers=1), methods.lse_nl(dim=16))

    def stop(seen):
        if seen.step == 3:
            raise Stop

    whole, resumed = fresh(), fresh(seed=7)
    progress = train(whole, STUDIES, config, out=tmp_path / "whole")
    with pytest.raises(Stop):
        train(fresh(), STUDIES, config, out=tmp_path / "cut", observe=stop)
    torch.manual_seed(99)
    assert train(resumed, STUDIES, config, out=tmp_path / "cut", resume="auto").history == progress.history
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    with pytest.raises(ValueError, match=r"config\.chunk was 3 and is 4"):
        train(fresh(), STUDIES, TrainConfig(epochs=2, batch_size=8, chunk=4), out=tmp_path / "cut", resume="auto")


class Pretrained(ConvNet):
    def pretrained(self):
        return [self]


@pytest.mark.parametrize(
    ("encoder", "options", "times"),
    [
        (lambda: ConvNet(16, size=64, width=4), {"chunk": 4}, 1),
        (lambda: ConvNet(16, size=64, width=4), {"chunk": 8}, 0),
        (lambda: Pretrained(16, size=64, width=4), {"chunk": 4, "pretrained_lr": 0.0}, 0),
        (lambda: vit().image_encoder, {"chunk": 4}, 0),
    ],
)
def test_batch_norm_in_chunks_is_told_of_once(tmp_path, caplog, encoder, options, times):
    model = Model(encoder(), Text(dim=16, width=16, layers=1), methods.lse_nl(dim=16))
    with caplog.at_level(logging.WARNING, "bagclip"):
        train(model.eval(), STUDIES, TrainConfig(epochs=2, batch_size=8, **options), out=tmp_path)
    assert (
        caplog.text.count("ConvNet has batch norm, whose statistics in training are now of at most 4 studies") == times
    )


def test_what_cannot_be_cut_in_chunks_is_refused():
    model = features()
    inputs, counts, documents, _ = batch(model, torch.float32)
    for arguments, chunk, sentence in (
        ((inputs, counts, documents), 0, "at least one study, got 0"),
        ((inputs, counts, documents[:-1]), 2, "got 7 and 6"),
        ((inputs[:-1], counts, documents), 2, "add up to 14, but there are 13 inputs"),
    ):
        with pytest.raises(ValueError, match=sentence):
            cached_step(model, *arguments, chunk=chunk, seed=0)
    with pytest.raises(ValueError, match="chunk must be a whole number of at least 1, got 0"):
        TrainConfig(chunk=0)
