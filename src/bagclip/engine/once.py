"""Once: closed forms have a first derivative, and say so when they are asked for a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def once(gradients: Sequence[Tensor | None], inputs: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """The gradients of a closed form, which raise a RuntimeError when they are differentiated themselves.

    `torch.autograd.function.once_differentiable` does so only where the gradients that come in are tracked; where the
    inputs alone are, it would leave their second derivatives out without a word.
    """
    if not torch.is_grad_enabled():
        return tuple(gradients)
    tracked = [t for t in inputs if t is not None]
    return tuple(None if gradient is None else _Once.apply(gradient, *tracked) for gradient in gradients)


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *inputs: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise RuntimeError(
            'the closed form of a score cannot be differentiated twice; compute it with using("reference") for that.'
        )
