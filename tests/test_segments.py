import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bagclip import segments

PLAIN = {
    "sum": lambda piece: piece.sum(0),
    "mean": lambda piece: piece.mean(0),
    "max": lambda piece: piece.amax(0),
    "logsumexp": lambda piece: piece.exp().sum(0).log(),
    "logmeanexp": lambda piece: piece.exp().mean(0).log(),
}


@st.composite
def pieces(draw):
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    lengths = [lengths[0]] * len(lengths) if draw(st.booleans()) else lengths
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    # Halves, so that ties are common.
    values = torch.randint(-6, 6, (sum(lengths), 3), generator=generator).double() / 2
    return values, torch.tensor(lengths)


@pytest.mark.parametrize("name", PLAIN)
@given(case=pieces())
def test_each_equals_a_loop_along_either_dimension(name, case):
    values, lengths = case
    expected = torch.stack([PLAIN[name](piece) for piece in values.split(lengths.tolist())])
    torch.testing.assert_close(getattr(segments, name)(values, lengths), expected)
    torch.testing.assert_close(getattr(segments, name)(values.T, lengths, dim=1), expected.T)
    torch.testing.assert_close(getattr(segments, name)(values.T, lengths, dim=-1), expected.T)


@given(case=pieces())
def test_softmax_and_argmax_equal_a_loop(case):
    values, lengths = case
    split = values.split(lengths.tolist())
    torch.testing.assert_close(segments.softmax(values, lengths), torch.cat([piece.softmax(0) for piece in split]))
    start, expected = 0, []
    for piece in split:
        expected.append([start + column.tolist().index(max(column.tolist())) for column in piece.T])
        start += len(piece)
    assert segments.argmax(values, lengths).tolist() == expected
    assert segments.argmax(values.T, lengths, dim=1).tolist() == torch.tensor(expected).T.tolist()


@given(case=pieces())
def test_gradients_equal_those_of_a_loop(case):
    values, lengths = case
    values = values + torch.linspace(0, 0.1, values.numel()).double().reshape(values.shape)  # no ties
    for name, plain in PLAIN.items():
        ours, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
        getattr(segments, name)(ours, lengths).square().sum().backward()
        torch.stack([plain(piece) for piece in theirs.split(lengths.tolist())]).square().sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("lengths", [[2, 2], [1, 3]])
def test_extreme_values_neither_overflow_nor_vanish(lengths):
    values = torch.tensor([1e4, -1e4, -1e4, 1e4])
    assert torch.isfinite(segments.logsumexp(values, torch.tensor(lengths))).all()
    assert torch.isfinite(segments.softmax(values, torch.tensor(lengths))).all()


@given(lengths=st.lists(st.integers(1, 4), min_size=1, max_size=8).map(torch.tensor))
def test_by_length_covers_every_entry_once(lengths):
    rows = list(segments.by_length(lengths))
    assert sorted(i for matrix in rows for i in matrix.flatten().tolist()) == list(range(int(lengths.sum())))
    owners = segments.owners(lengths)
    for matrix in rows:
        assert (owners[matrix] == owners[matrix[:, :1]]).all()


@given(case=pieces())
def test_sort_equals_a_loop_and_keeps_the_order_of_equal_ones(case):
    values, lengths = case
    expected = torch.cat([piece.sort(0, descending=True).values for piece in values.split(lengths.tolist())])
    assert torch.equal(segments.sort(values, lengths), expected)
    assert torch.equal(segments.sort(values.T, lengths, dim=1), expected.T)
    assert torch.equal(segments.sort(values.T, lengths, dim=-1), expected.T)
    # The gradient tells where each entry came from: its rank, plus one.
    tracked = values.clone().requires_grad_()
    ranks = torch.cat([torch.arange(1.0, int(n) + 1) for n in lengths]).double()[:, None].expand_as(values)
    (segments.sort(tracked, lengths) * ranks).sum().backward()
    places = torch.empty_like(values)
    start = 0
    for n in lengths.tolist():
        for c in range(values.shape[1]):
            column = values[start : start + n, c].tolist()
            for rank, i in enumerate(sorted(range(n), key=lambda i, column=column: (-column[i], i))):
                places[start + i, c] = rank + 1
        start += n
    assert torch.equal(tracked.grad, places)


@pytest.mark.parametrize("lengths", [[2, 2], [1, 3]])
@pytest.mark.parametrize("name", ["sum", "mean", "max", "logsumexp", "logmeanexp"])
def test_nan_stays_in_its_segment_and_is_never_made_a_number(name, lengths):
    pooled = getattr(segments, name)(torch.tensor([1.0, 2.0, float("nan"), 4.0]), torch.tensor(lengths))
    assert torch.isfinite(pooled[0]) and torch.isnan(pooled[1])
