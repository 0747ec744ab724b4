import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import laws
import reference
from bagclip import methods
from bagclip.aggregators import LogSumExp, Max, Mean, NonLocal
from bagclip.bags import Bag
from bagclip.scores import chain
from bagclip.similarity import Cosine

members = pytest.mark.parametrize("member", laws.MEMBERS, ids=lambda m: m.name)
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def test_every_method_is_a_member():
    assert set(methods.METHODS) <= {member.name for member in laws.MEMBERS}


@members
@dtypes
@settings(max_examples=8)
@given(data=st.data())
def test_member_obeys_the_laws(member, dtype, data):
    torch.manual_seed(0)
    score = member.make().to(dtype)
    images, documents = data.draw(laws.bags(dtype)), data.draw(laws.bags(dtype))
    dense = reference.matrix(member.dense, images, documents, **member.parameters(score))
    laws.close(score(images, documents), dense, dtype)
    laws.hold(score, images, documents)


@given(score=laws.chains(), data=st.data(), dtype=st.sampled_from([torch.float64, torch.float32]))
def test_random_chains_obey_the_laws(score, data, dtype):
    laws.hold(score.to(dtype), data.draw(laws.bags(dtype)), data.draw(laws.bags(dtype)))


@members
def test_gradients_equal_finite_differences(member):
    torch.manual_seed(2)
    score = member.make().double()
    images = Bag.from_list([torch.randn(n, laws.DIM).double() for n in (3, 1, 4)])
    documents = Bag.from_list([torch.randn(n, laws.DIM).double() for n in (2, 3)])
    assert torch.autograd.gradcheck(
        lambda x, y: score(images.with_instances(x), documents.with_instances(y)),
        (images.instances.requires_grad_(), documents.instances.requires_grad_()),
    )


def test_unnormalised_log_sum_exp_says_that_it_counts():
    score = chain(Cosine(), LogSumExp(2.0, normalised=False).over("regions"), Mean().over("sentences"))
    assert not score.replication_invariant
    bag, document = Bag.dense(torch.ones(1, 1, 2)), Bag.dense(torch.ones(1, 1, 2))
    twice = Bag.dense(torch.ones(1, 2, 2))
    gain = score(twice, document) - score(bag, document)
    assert gain.item() == pytest.approx(0.5 * torch.tensor(2.0).log().item())


@given(data=st.data())
def test_sums_and_multiples_are_linear(data):
    torch.manual_seed(3)
    a, b = methods.clip(laws.DIM).score.double(), methods.lse_nl(laws.DIM).score.double()
    images, documents = data.draw(laws.bags()), data.draw(laws.bags())
    combined = (0.3 * a + b * -2.0)(images, documents)
    laws.close(combined, (0.3 * a(images, documents) - 2.0 * b(images, documents)).detach(), torch.float64)


@given(data=st.data(), sharpness=st.sampled_from([0.01, 0.5, 5.0, 100.0, 1000.0]))
def test_log_sum_exp_lies_between_mean_and_max(data, sharpness):
    images, documents = data.draw(laws.bags()), data.draw(laws.bags())

    def scored(aggregator):
        return chain(Cosine(), aggregator.over("regions"), Mean().over("sentences"))(images, documents)

    low, middle, high = scored(Mean()), scored(LogSumExp(sharpness)), scored(Max())
    assert (low <= middle + 1e-9).all() and (middle <= high + 1e-9).all()
    largest = float(images.lengths.max())
    total = scored(LogSumExp(sharpness, normalised=False))
    assert (high <= total + 1e-9).all() and (total <= high + torch.log(torch.tensor(largest)) / sharpness + 1e-6).all()
    if sharpness == 0.01:
        torch.testing.assert_close(middle, low, atol=0.01, rtol=0)
    if sharpness == 1000.0:
        torch.testing.assert_close(middle, high, atol=0.002, rtol=0)


@given(data=st.data())
def test_limits_of_non_local(data):
    images, documents = data.draw(laws.bags()), data.draw(laws.bags())
    unit = images.with_instances(torch.nn.functional.normalize(images.instances, dim=-1))

    def scored(weight, temperature):
        aggregator = NonLocal(laws.DIM, temperature).double()
        with torch.no_grad():
            aggregator.affinity.weight.copy_(weight * torch.eye(laws.DIM))
        return chain(aggregator.over("regions"), Cosine(), Mean().over("sentences"))(images, documents).detach()

    mean_pooled = chain(Mean().over("regions"), Cosine(), Mean().over("sentences"))(unit, documents)
    laws.close(scored(0.0, 1.0), mean_pooled, torch.float64)
    maxsim = chain(Cosine(), Max().over("regions"), Mean().over("sentences"))(images, documents)
    laws.close(scored(1.0, 1e-9), maxsim, torch.float64)
