"""Two and four processes compute what one does. Run as a program, this file is the processes."""

import json
import multiprocessing
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.flop_counter import FlopCounterMode

from bagclip import methods
from bagclip.aggregators import AutoPool, CrossAttention, LogSumExp, Max, Mean
from bagclip.bags import Bag
from bagclip.engine.distributed import Share, average_gradients, check_pairs, part
from bagclip.losses import (
    Debiased,
    HardestHinge,
    InfoNCE,
    Known,
    MutualInformation,
    Sigmoid,
    SoftTargets,
    SquaredSharpness,
    WithinPair,
)
from bagclip.scale import Learned
from bagclip.scores import chain
from bagclip.similarity import Cosine

DIM = 16
REGIONS, SENTENCES = [3, 1, 2, 2, 2, 4, 1], [2, 2, 5, 1, 3, 1, 2]
SIZES = {2: [3, 4], 4: [2, 1, 3, 1]}
"""The same seven pairs, shared by two and by four: some shares are ragged, some are not."""


def maxsim():
    return chain(Cosine(), Max().over("regions"), Mean().over("sentences"))


def lse():
    return chain(Cosine(), LogSumExp(Learned(5.0)).over("regions"), Mean().over("sentences"))


def several():
    pooled = chain(Cosine(), AutoPool(1.0).over("regions"), Mean().over("sentences"))
    return InfoNCE(pooled) + 0.5 * Sigmoid(maxsim()) + 0.1 * SquaredSharpness(pooled)


CASES = {
    "lse_nl": lambda: methods.lse_nl(DIM).loss,
    "one_way": lambda: InfoNCE(lse(), weights=(0.0, 1.0)),
    "two_scores": lambda: InfoNCE(image_to_text=maxsim().T, text_to_image=lse(), weights=(0.75, 0.25)),
    "sigmoid": lambda: Sigmoid(lse(), bias=-1.0),
    "debiased": lambda: Debiased(maxsim(), prior=None, temperature=Learned(0.3)),
    "labels": lambda: SoftTargets(maxsim(), target_temperature=0.5),
    "text": lambda: SoftTargets(maxsim(), targets="text", target_temperature=0.1),
    "hardest": lambda: HardestHinge(maxsim()),
    "hinge": lambda: HardestHinge(maxsim(), margin=0.5, hardest=False),
    "information": lambda: MutualInformation(lse()),
    "within": lambda: WithinPair(CrossAttention(10.0).over("regions"), temperature=Learned(0.3)),
    "several": several,
    "nothing_known": lambda: InfoNCE(lse()),
    "float32": lambda: methods.lse_nl(DIM).loss,
    "bfloat16": lambda: methods.lse_nl(DIM).loss,
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-6, torch.bfloat16: 2e-2}


class Small(nn.Module):
    """Two linear encoders and a loss."""

    def __init__(self, name):
        super().__init__()
        torch.manual_seed(0)
        dtype = DTYPES.get(name, torch.float64)
        self.images, self.documents = nn.Linear(5, DIM).to(dtype), nn.Linear(6, DIM).to(dtype)
        self.loss = CASES[name]().to(torch.promote_types(dtype, torch.float32))

    def forward(self, images, documents, known):
        images = images.with_instances(self.images(images.instances))
        return self.loss(images, documents.with_instances(self.documents(documents.instances)), known)


def batch(name, share=slice(None)):
    """The whole batch, or a process's share of it; some pairs are the same, by one key or by the other."""
    dtype = DTYPES.get(name, torch.float64)
    generator = torch.Generator().manual_seed(1)
    images, documents = (
        Bag(torch.randn(sum(lengths), width, generator=generator).to(dtype), torch.tensor(lengths))
        for lengths, width in ((REGIONS, 5), (SENTENCES, 6))
    )
    known = Known(
        keys=torch.tensor([[0, 0], [1, 1], [2, 2], [0, 3], [4, 1], [5, 5], [2, 6]])[share],
        labels=(torch.rand(7, 4, generator=generator) < 0.4).float()[share],
        prior=0.9 * torch.rand(7, generator=generator)[share],
    )
    pairs = list(range(7))[share]
    return images.select(pairs), documents.select(pairs), None if name == "nothing_known" else known


def flops(model, arguments):
    with FlopCounterMode(display=False) as counter:
        model(*arguments).backward()
    return counter.get_total_flops()


def features(pairs, dtype):
    """Features of pairs of three regions and four sentences, which are large beside what is sent for each pair."""
    return [Bag.dense(torch.randn(pairs, size, 256).to(dtype)) for size in (3, 4)]


# What each of the processes does


def process(rank, folder):
    torch.set_num_threads(1)
    numbers, facts = {}, {}
    for world, sizes in sorted(SIZES.items(), reverse=True):
        if rank < world:
            where = {"init_method": f"file://{folder}/{world}", "rank": rank, "world_size": world}
            dist.init_process_group("gloo", timeout=timedelta(seconds=60), **where)
            share = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
            for name in CASES:
                model = Small(name)
                parallel = DistributedDataParallel(model)
                loss = parallel(*batch(name, share))
                loss.backward()
                numbers |= {f"{world}/{name}/{key}": p.grad for key, p in model.named_parameters()}
                numbers[f"{world}/{name}"] = loss.detach()
            numbers |= {f"{world}/sharded/{key}": gradient for key, gradient in sharded(batch("lse_nl", share)).items()}
            facts[world] = {
                "flops": flops(Small("lse_nl"), batch("lse_nl", share)),
                "sent": {str(dtype): sent(features(5, dtype)) for dtype in TOLERANCES},
                "part": list(range(11))[part(11)],
                "errors": errors(rank),
            }
            dist.destroy_process_group()
    save_file({key: value.contiguous() for key, value in numbers.items()}, Path(folder, f"{rank}.safetensors"))
    Path(folder, f"{rank}.json").write_text(json.dumps(facts))


def sharded(arguments):
    """Gradients where FSDP spreads the parameters over the processes; it does not do so with those of one number."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = Small("lse_nl")
    scales = [p for p in model.parameters() if not p.ndim]
    fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)), ignored_params=set(scales))
    model(*arguments).backward()
    average_gradients(scales)
    return {key: p.grad.full_tensor() if p.ndim else p.grad for key, p in model.named_parameters()}


def sent(bags):
    """Bytes this process sends to others for the loss and its gradients; a ring passes each number on twice."""
    world, total = dist.get_world_size(), 0
    exchange, reduce = dist.all_to_all_single, dist.all_reduce

    def counted_exchange(output, input, output_sizes, input_sizes):
        nonlocal total
        others = sum(input_sizes) - input_sizes[dist.get_rank()]
        total += others * input[0].numel() * input.itemsize
        exchange(output, input, output_sizes, input_sizes)

    def counted_reduce(tensor, *arguments):
        nonlocal total
        total += 2 * (world - 1) / world * tensor.nbytes
        reduce(tensor, *arguments)

    dist.all_to_all_single, dist.all_reduce = counted_exchange, counted_reduce
    images, documents = (bag.with_instances(bag.instances.requires_grad_()) for bag in bags)
    loss = InfoNCE(maxsim()).to(torch.promote_types(images.instances.dtype, torch.float32))
    loss(images, documents, Known(keys=torch.randint(9, (len(images), 2)))).backward()
    dist.all_to_all_single, dist.all_reduce = exchange, reduce
    return total


def errors(rank):
    """What this process is told where one of them, or all, does something wrong."""
    fewer, other = 3 - (rank == 1), 8 + (rank == 1)
    ones = Bag.dense(torch.ones(3, 2, 8))
    wrong = {
        "few": lambda: part(1),
        "none": lambda: check_pairs(rank != 1),
        "pairs": lambda: Share.of(ones, Bag.dense(torch.ones(fewer, 2, 8))),
        "dim": lambda: Share.of(ones, Bag.dense(torch.ones(3, 2, other))),
        "same": lambda: InfoNCE(maxsim())(ones, ones, Known(same=torch.eye(3).bool())),
        "matrix": lambda: HardestHinge(maxsim())(ones, ones, Known(same=torch.eye(3).bool())),
    }
    told = {}
    for name, act in wrong.items():
        try:
            act()
        except ValueError as error:
            told[name] = str(error)
    return told


# What is expected of them


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What each of four processes computed."""
    folder = tmp_path_factory.mktemp("processes")
    command = [sys.executable, __file__, str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stderr
    return [
        (load_file(folder / f"{rank}.safetensors"), json.loads((folder / f"{rank}.json").read_text()))
        for rank in range(4)
    ]


def same_numbers(actual, expected, tolerance, what):
    scale = max(1.0, float(expected.detach().abs().max()))
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * scale, msg=lambda text: f"{what}: {text}")


@pytest.mark.parametrize("name", CASES)
def test_every_process_has_the_loss_and_gradients_of_one(ran, name):
    model = Small(name)
    loss = model(*batch(name))
    loss.backward()
    tolerance = TOLERANCES[DTYPES.get(name, torch.float64)]
    for world in SIZES:
        for numbers, _ in ran[:world]:
            same_numbers(numbers[f"{world}/{name}"], loss.detach(), min(tolerance, 1e-6), f"{world} loss")
            for key, parameter in model.named_parameters():
                same_numbers(numbers[f"{world}/{name}/{key}"], parameter.grad, tolerance, f"{world} {key}")
    assert any(parameter.grad.abs().max() > 1e-3 for parameter in model.parameters())


def test_gradients_are_the_same_where_parameters_are_sharded(ran):
    model = Small("lse_nl")
    model(*batch("lse_nl")).backward()
    for world in SIZES:
        for numbers, _ in ran[:world]:
            for key, parameter in model.named_parameters():
                same_numbers(numbers[f"{world}/sharded/{key}"], parameter.grad, 1e-10, f"{world} {key}")


def test_what_is_the_same_in_another_process_is_no_negative():
    """The cases above would not notice if keys made no difference."""
    images, documents, known = batch("sigmoid")
    told, untold = (Small("sigmoid")(images, documents, facts).item() for facts in (known, None))
    assert untold - told > 1e-3
    assert known.alike.nonzero().tolist() == [
        *([0, 0], [0, 3], [1, 1], [1, 4], [2, 2], [2, 6], [3, 0], [3, 3]),
        *([4, 1], [4, 4], [5, 5], [6, 2], [6, 6]),
    ]


def test_each_pair_is_scored_once(ran):
    alone = flops(Small("lse_nl"), batch("lse_nl"))
    assert alone > 0
    for world in SIZES:
        assert sum(facts[str(world)]["flops"] for _, facts in ran[:world]) == alone


def test_sentences_travel_once_each_way_and_little_else_does(ran):
    for world in SIZES:
        pairs, sentences = 5 * world, 20 * world
        for _, facts in ran[:world]:
            for dtype in TOLERANCES:
                back = max(4, dtype.itemsize)
                most = sentences * 256 * (dtype.itemsize + back) * (world - 1) / world
                assert most <= facts[str(world)]["sent"][str(dtype)] <= most + 64 * pairs


def test_a_batch_is_shared_without_rest(ran):
    for world in SIZES:
        parts = [facts[str(world)]["part"] for _, facts in ran[:world]]
        assert [index for part in parts for index in part] == list(range(11))
        assert max(map(len, parts)) - min(map(len, parts)) == 1


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("few", "a batch of 1 pairs cannot be shared by {world} processes"),
        ("none", "process 1 has no pairs of this batch"),
        ("pairs", "pairs image i with document i, got 3 and 2 in process 1"),
        ("dim", "process 0: dim 8, 32 bits; process 1: dim 9, 32 bits"),
        ("same", "tells of the pairs of one process, but {world} work together"),
        ("matrix", "tells of the pairs of one process, but {world} work together"),
    ],
)
def test_every_process_is_told_what_is_wrong(ran, name, sentence):
    for world in SIZES:
        for _, facts in ran[:world]:
            assert sentence.format(world=world) in facts[str(world)]["errors"][name]


def test_one_process_alone_needs_no_other():
    images, documents, known = batch("sigmoid")
    share = Share.of(images, documents)
    assert share.join(images, documents) == (images, documents) and share.gather(known.keys) is known.keys
    assert known.gather(share) is known and part(3) == slice(0, 3)
    with pytest.raises(ValueError, match="process 0 has no pairs"):
        check_pairs(0)
    with pytest.raises(ValueError, match="give one of them"):
        Known(same=torch.eye(2).bool(), keys=torch.eye(2).long())


if __name__ == "__main__":
    # Forked when everything is imported, also what DistributedDataParallel does: that takes longer than all the rest.
    import torch._dynamo
    import torch.distributed.fsdp

    context = multiprocessing.get_context("fork")
    running = [context.Process(target=process, args=(rank, sys.argv[1])) for rank in range(4)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    sys.exit(any(one.exitcode for one in running))
