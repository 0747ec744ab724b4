"""The same numbers from other people's maintained implementations, where they are installed."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from bagclip import methods
from bagclip.aggregators import ISR, Attention, CrossAttentionHead, GatedAttention, GeneralisedMean, LogSumExp, NonLocal
from bagclip.bags import Bag
from bagclip.losses import InfoNCE, info_nce
from bagclip.scores import chain
from bagclip.similarity import Cosine, Dot

LENGTHS = (5, 1, 3, 2)


def bag(*lengths, dim=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Bag.from_list([torch.randn(n, dim, dtype=torch.float64, generator=generator) for n in lengths])


def padded(bags):
    """The bags as one tensor with a mask, filled with what would win if it were not masked."""
    rows = torch.nn.utils.rnn.pad_sequence(list(bags), batch_first=True, padding_value=1e3)
    return rows, torch.arange(rows.shape[1]) < bags.lengths[:, None]


def test_maxsim_is_that_of_sentence_transformers():
    util = pytest.importorskip("sentence_transformers.util")
    images, documents = bag(*LENGTHS), bag(3, 1, 4, seed=1)
    unit = [torch.nn.functional.normalize(rows, dim=-1) for rows in documents]
    regions = [torch.nn.functional.normalize(rows, dim=-1) for rows in images]
    summed = util.maxsim(unit, regions).T.double()  # queries are the documents
    mean = util.mean_maxsim(unit, regions).T.double()
    ours = methods.maxsim().score(images, documents)
    torch.testing.assert_close(ours, mean, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(ours * documents.lengths, summed, atol=1e-6, rtol=1e-6)
    assert ours.min() < 0  # where a padded zero would have won


@pytest.mark.parametrize("gated", [False, True])
def test_attention_is_that_of_torchmil(gated):
    nn = pytest.importorskip("torchmil.nn")
    torch.manual_seed(0)
    theirs = nn.AttentionPool(in_dim=6, att_dim=7, gated=gated).double()
    ours = (GatedAttention if gated else Attention)(dim=6, hidden=7).double()
    names = {"inner": theirs.fc1.module, "outer": theirs.fc2} | ({"gate": theirs.fc_gated.module} if gated else {})
    with torch.no_grad():
        for name, layer in names.items():
            for weight, parameter in getattr(ours, name).named_parameters():
                parameter.copy_(getattr(layer, weight))
    images = bag(*LENGTHS)
    rows, mask = padded(images)
    torch.testing.assert_close(ours.pool_embeddings(images), theirs(rows, mask))


def test_non_local_is_the_critical_instance_attention_of_torchmil():
    models = pytest.importorskip("torchmil.models")
    torch.manual_seed(0)
    theirs = models.DSMIL(in_shape=(6,), att_dim=6).double()
    sentence = theirs.inst_classifier.weight.detach()  # its class is our sentence
    with torch.no_grad():
        theirs.inst_classifier.bias.zero_()
        theirs.q_nn.bias.zero_()  # ours is linear without
    images = bag(4, 4, 4)
    ours = NonLocal(dim=6, query="linear", normalised=False).double()
    with torch.no_grad():
        ours.affinity.weight.copy_(theirs.q_nn.weight)
    rows = torch.stack(list(images))
    _, weights, instances = theirs(rows, torch.ones(3, 4, dtype=torch.bool), return_att=True, return_inst_pred=True)
    torch.testing.assert_close(Dot()(images.instances, sentence).flatten(), instances.flatten())
    expected = torch.einsum("bn,bnd->bd", weights.squeeze(-1), rows) @ sentence.T
    score = chain(ours.over("regions"), Dot(), LogSumExp(1.0).over("sentences"))
    torch.testing.assert_close(score(images, Bag.from_list([sentence])), expected)


def test_info_nce_is_that_of_pytorch_metric_learning_and_of_transformers():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    from transformers.models.clip.modeling_clip import image_text_contrastive_loss

    class Given(distances.BaseDistance):
        def __init__(self, matrix):
            super().__init__(normalize_embeddings=False, is_inverted=True)
            self.matrix = matrix

        def compute_mat(self, query, reference):
            return self.matrix

        def pairwise_distance(self, query, reference):
            raise NotImplementedError

    images, documents = bag(*LENGTHS), bag(2, 1, 3, 2, seed=1)
    score = methods.lse(5.0).score
    matrix = score(images, documents)
    labels, any_features = torch.arange(4), torch.zeros(4, 1)
    for scores in (matrix, matrix.T):
        theirs = losses.NTXentLoss(temperature=0.1, distance=Given(scores))
        # A copy: of one and the same object it takes pairs with themselves out.
        expected = theirs(any_features, labels, ref_emb=any_features, ref_labels=labels.clone())
        torch.testing.assert_close(info_nce(scores / 0.1), expected)
    torch.testing.assert_close(
        InfoNCE(score, temperature=0.1)(images, documents), image_text_contrastive_loss(matrix / 0.1)
    )


def test_pools_are_those_of_scipy():
    scores = np.array([[0.3, -0.2, 0.9, 0.4], [0.1, 0.8, 0.2, 0.5]])
    flat, lengths = torch.tensor(scores).flatten(), torch.tensor([4, 4])
    for sharpness in (0.5, 5.0, 200.0):
        ours = LogSumExp(sharpness).pool_scores(flat, lengths, 0)
        np.testing.assert_allclose(ours, special.logsumexp(sharpness * scores, axis=1, b=0.25) / sharpness)
        summed = LogSumExp(sharpness, normalised=False).pool_scores(flat, lengths, 0)
        np.testing.assert_allclose(summed, special.logsumexp(sharpness * scores, axis=1) / sharpness)
    probabilities = special.expit(scores)
    for power in (0.5, 1.0, 3.0):
        ours = GeneralisedMean(power, sharpness=None).pool_scores(torch.tensor(probabilities).flatten(), lengths, 0)
        np.testing.assert_allclose(ours, stats.pmean(probabilities, power, axis=1))
    isr = ISR(sharpness=1.0).pool_scores(flat, lengths, 0)
    np.testing.assert_allclose(isr, special.expit(special.logsumexp(scores, axis=1)))


def test_cross_attention_head_is_the_decoder_of_torch_without_its_self_attention():
    torch.manual_seed(0)
    head = CrossAttentionHead(dim=8, heads=2, layers=2, hidden=(5,), feedforward=12).double()
    images, documents = bag(*LENGTHS, dim=8), bag(2, 1, dim=8, seed=1)
    torch.nn.init.normal_(head.norm.weight)
    expected = []
    for rows in images:
        memory, queries = head.norm(rows), head.norm(documents.instances)
        for own in head.decoder:
            layer = torch.nn.TransformerDecoderLayer(8, 2, 12, dropout=0.0, norm_first=True, batch_first=True).double()
            with torch.no_grad():
                layer.self_attn.out_proj.weight.zero_()
                layer.self_attn.out_proj.bias.zero_()
                layer.norm2.load_state_dict(own.before_attention.state_dict())
                layer.norm3.load_state_dict(own.before_feedforward.state_dict())
                layer.multihead_attn.load_state_dict(own.attention.state_dict())
                layer.linear1.load_state_dict(own.feedforward[0].state_dict())
                layer.linear2.load_state_dict(own.feedforward[2].state_dict())
            queries = layer(queries[None], memory[None])[0]
        expected.append(head.mlp(head.norm(queries)).squeeze(-1))
    torch.testing.assert_close(head.score_given(images, documents), torch.stack(expected))


def test_the_local_score_of_gloria_is_that_of_its_code():
    """The golden number of its own code on a toy pair (temperatures 4, 5 and 10, summed)."""
    images = Bag.from_list([torch.tensor([[1, 0, 0.5], [0.2, 1, 0], [-0.3, 0.4, 1]], dtype=torch.float64)])
    documents = Bag.from_list([torch.tensor([[0.8, 0.1, 0.2], [0, 1, 0.5]], dtype=torch.float64)])
    trained = methods.gloria().loss.left.score
    assert trained(images, documents).item() == pytest.approx(54.013603, abs=1e-6)
    unit = [torch.nn.functional.normalize(b.instances, dim=-1) for b in (images, documents)]
    regions, words = Bag.from_list([unit[0]]), Bag.from_list([unit[1]])
    assert methods.scan_t2i().score(regions, words).item() == pytest.approx(1.076213, abs=1e-6)
    assert methods.scan_i2t().score(regions, words).item() == pytest.approx(1.099428, abs=1e-6)


def test_the_attention_of_gloria_is_nearly_flat():
    """With 361 regions no weight of a training attention exceeds e^4 / (e^4 + 360)."""
    images, documents = bag(361, dim=6), bag(9, seed=1)
    attention = methods.gloria().loss.left.score.score.left[0].aggregator
    weights = attention.attention(images, documents.with_instances(30 * documents.instances))
    assert weights.max() <= math.exp(4) / (math.exp(4) + 360) + 1e-9
    assert Cosine()(images.instances, documents.instances).shape == weights.shape
