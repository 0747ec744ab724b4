import numpy as np
import pytest
import torch

from bagclip.data.features import ArrayFeatures
from bagclip.data.study import ArrayImage
from bagclip.encoders import Features, image_from_config


def slide(regions, width, seed=0):
    return ArrayFeatures(np.random.default_rng(seed).standard_normal((regions, width)).astype(np.float32))


def test_of_one_size_features_stay_as_they_are():
    encoder, image = Features(width=6, dim=6), slide(5, 6)
    bag = encoder.bags(encoder.read(image), [5])
    assert torch.equal(bag.instances, torch.from_numpy(image.features())) and bag.grid is None


@pytest.mark.parametrize(("width", "dim"), [(12, 5), (5, 12)])
def test_of_two_sizes_the_projection_starts_orthogonal(width, dim):
    weight = Features(width, dim).project.weight.detach()
    gram = weight @ weight.T if dim < width else weight.T @ weight
    torch.testing.assert_close(gram, torch.eye(min(width, dim)), atol=1e-5, rtol=0)


def test_bags_are_ragged_and_of_no_company():
    encoder = Features(width=6, dim=4)
    slides = [slide(n, 6, seed=n) for n in (7, 1, 30)]
    with torch.no_grad():
        bag = encoder.bags(torch.cat([encoder.read(image) for image in slides]), [7, 1, 30])
        for rows, image in zip(bag, slides, strict=True):
            expected = image.features() @ encoder.project.weight.numpy().T + encoder.project.bias.numpy()
            np.testing.assert_allclose(rows.numpy(), expected, atol=1e-5)


def test_arrays_that_cannot_be_written_are_read_without_a_warning(recwarn):
    array = np.zeros((2, 3), np.float32)
    array.flags.writeable = False
    assert torch.equal(Features(width=3).read(ArrayFeatures(array)), torch.zeros(2, 3))
    assert not recwarn.list


def test_what_it_cannot_read_is_told():
    with pytest.raises(
        ValueError, match=r"of width 4, and the encoder takes width 3; build it for them, Features\(width=4"
    ):
        Features(width=3).read(slide(2, 4))
    with pytest.raises(ValueError, match="the image is made of pixels"):
        Features(width=3).read(ArrayImage(np.zeros((3, 3), np.uint8)))
    for width in (0, 2.5, "many"):
        with pytest.raises(ValueError, match="width must be a whole number of at least 1"):
            Features(width=width)


def test_it_is_rebuilt_from_its_config(tmp_path):
    encoder = Features(width=6, dim=4)
    again = image_from_config(encoder.config(), tmp_path)
    again.load_state_dict(encoder.state_dict())
    inputs = encoder.read(slide(5, 6))
    assert torch.equal(again.bags(inputs, [5]).instances, encoder.bags(inputs, [5]).instances)
    assert again.config() == encoder.config() == {"class": "Features", "width": 6, "dim": 4}
