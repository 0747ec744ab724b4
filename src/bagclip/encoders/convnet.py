"""A small residual network that keeps a fine grid of local regions, for tests, demos and modest data sets."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bagclip.encoders.base import GridEncoder
from bagclip.preprocess import Preprocess

if TYPE_CHECKING:
    from jaxtyping import Float


class ConvNet(GridEncoder):
    """A small ResNet (He et al., 2016) that knows where it looks (CoordConv: Liu et al., 2018).

    A region sees little more than its neighbours (31 pixels by default), so its feature describes that place, and the
    map of a sentence stays where the sentence is seen: where every region sees nearly all of the image, any of them can
    answer. As reports name side and zone, the coordinates of a region are an input beside its pixels. With the defaults
    it makes a 12 x 12 grid and costs about 69 million multiply-adds an image.

    Args:
        dim: size of a region's feature.
        size: height and width of the input; any multiple of the stride works at run time.
        channels: 1 (gray) or 3 (RGB).
        width: channels after the first convolution; they double with every halving of the resolution.
        stride: input pixels to one region, a power of two from 4 on.
        depth: residual blocks before the last halving; each lets a region see two regions' widths more.
        preprocess: how inputs are made, instead of ``size`` and ``channels``.

    Example:
        >>> import torch
        >>> ConvNet(dim=64)(torch.rand(2, 1, 96, 96)).shape
        torch.Size([2, 12, 12, 64])
    """

    def __init__(
        self,
        dim: int = 128,
        *,
        size: int = 96,
        channels: int = 1,
        width: int = 32,
        stride: int = 8,
        depth: int = 1,
        preprocess: Preprocess | None = None,
    ) -> None:
        super().__init__()
        if stride < 4 or stride & (stride - 1):
            raise ValueError(f"stride must be a power of two from 4 on, got {stride}.")
        self.dim, self.width, self.stride, self.depth = dim, width, stride, depth
        self.preprocess = preprocess or Preprocess(size=(size, size), channels=channels)
        self._check_size(*self.preprocess.size)

        halvings = stride.bit_length() - 1
        widths = [self.preprocess.channels] + [width * 2**i for i in range(halvings)]
        steps = [_halving(*pair, last=i == halvings) for i, pair in enumerate(pairwise(widths), start=1)]
        self.stem = nn.Sequential(*steps[:-1])
        self.blocks = nn.Sequential(*(_Residual(widths[-2]) for _ in range(depth)))
        self.last = steps[-1]
        self.place = nn.Conv2d(2, widths[-1], 1, bias=False)
        self.mix = nn.Sequential(
            nn.Conv2d(widths[-1], widths[-1], 1, bias=False), nn.BatchNorm2d(widths[-1]), nn.ReLU()
        )
        self.project = nn.Conv2d(widths[-1], dim, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on CPUs

    def forward(
        self, pixels: Float[Tensor, "images channels height width"]
    ) -> Float[Tensor, "images rows columns dim"]:
        """Regions of pixels in [0, 1]."""
        self._check_size(*pixels.shape[2:])
        features = self.last(self.blocks(self.stem(self.preprocess.normalise(pixels))))
        mixed = self.mix(features + self.place(_coordinates(features)))
        return self.project(mixed).permute(0, 2, 3, 1)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "class": "ConvNet",
            "dim": self.dim,
            "width": self.width,
            "stride": self.stride,
            "depth": self.depth,
            "preprocess": self.preprocess.to_dict(),
        }

    def _check_size(self, height: int, width: int) -> None:
        # Otherwise cells would reach over the border, and maps would come back to the wrong place.
        if height % self.stride or width % self.stride:
            raise ValueError(f"the input is {height} x {width}; both must be multiples of the stride, {self.stride}.")


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(features + self.second(F.relu(self.first(features))))


def _halving(inputs: int, outputs: int, last: bool) -> nn.Sequential:
    # Each 3 x 3 of stride 2 shifts what a cell sees by half a cell of its input, to the side of its padding. The last
    # one pads the other side, which makes up for all before it: cells are centred to half a pixel.
    return nn.Sequential(
        nn.ZeroPad2d((0, 1, 0, 1) if last else (1, 0, 1, 0)),
        nn.Conv2d(inputs, outputs, 3, stride=2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _coordinates(features: Tensor) -> Float[Tensor, "1 2 rows columns"]:
    """Centres of the cells, (y, x) from -1 to 1."""
    rows, columns = ((torch.arange(n, device=features.device) + 0.5) / n * 2 - 1 for n in features.shape[2:])
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None].to(features.dtype)
