import pytest
import torch

from bagclip.bags import Bag


def test_packing_keeps_every_instance_in_order():
    matrices = [torch.randn(n, 3) for n in (2, 1, 4)]
    bag = Bag.from_list(matrices)
    assert all(torch.equal(a, b) for a, b in zip(bag, matrices, strict=True))
    assert bag.owners.tolist() == [0, 0, 1, 2, 2, 2, 2]
    assert torch.equal(bag.select([2, 0]).instances, torch.cat([matrices[2], matrices[0]]))
    assert [len(rows) for rows in bag.singletons()] == [1] * 7
    both = Bag.concatenate([bag, Bag.from_list(matrices[:1])])
    assert both.lengths.tolist() == [2, 1, 4, 2]


def test_dense_bags_are_packed_row_by_row():
    values = torch.randn(3, 4, 2)
    bag = Bag.dense(values, grid=(2, 2))
    assert all(torch.equal(a, b) for a, b in zip(bag, values, strict=True))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Bag.from_list([torch.zeros(2, 3), torch.zeros(0, 3)], ["s1", "s2"]), "bag 's2' is empty"),
        (
            lambda: Bag.from_list([torch.zeros(2, 3), torch.zeros(2, 4)], ["s1", "s2"]),
            "bag 's2' has dim 4, but bag 's1'",
        ),
        (lambda: Bag.from_list([torch.zeros(3)]), r"must be a matrix \(instances, dim\)"),
        (lambda: Bag.from_list([]), "cannot pack zero bags"),
        (lambda: Bag(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)), "there are no bags"),
        (lambda: Bag(torch.zeros(3, 2), torch.tensor([3, 0])), r"bags \[1\] are empty"),
        (lambda: Bag(torch.zeros(3, 2), torch.tensor([1, 1])), "add up to 2, but there are 3"),
        (lambda: Bag(torch.zeros(3, 2, dtype=torch.int64), torch.tensor([3])), "floating-point matrix"),
        (lambda: Bag(torch.zeros(3, 2), torch.tensor([3.0])), "lengths must be an int64 vector"),
        (
            lambda: Bag(torch.zeros(6, 2), torch.tensor([4, 2]), grid=(2, 2)),
            r"bags \[1\] do not hold whole 2 x 2 grids",
        ),
    ],
)
def test_what_is_no_bag_is_refused_with_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
