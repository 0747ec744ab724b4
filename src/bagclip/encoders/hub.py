"""Models of transformers by hub name, local folder or configuration: safetensors only, and never remote code."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Source = str | PathLike[str] | Mapping[str, Any]

# Published with remote code, though the weights are those of a class that transformers has.
_SAME_AS = {"cxr-bert": "bert"}

_CONVERT = (
    "import torch, safetensors.torch as s; w = torch.load('pytorch_model.bin', weights_only=True); "
    "s.save_file({k: v.clone() for k, v in w.items()}, 'model.safetensors', {'format': 'pt'})"
)


def load_config(source: Source) -> PretrainedConfig:
    """The configuration of a hub name, a folder or a plain dict.

    Raises:
        OSError: if there is no such folder and the hub gave no such model.
        ValueError: if it is of a type that transformers does not have.
    """
    from transformers import CONFIG_MAPPING, PretrainedConfig

    try:
        values = dict(source) if isinstance(source, Mapping) else PretrainedConfig.get_config_dict(source)[0]
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise OSError(f"{source} is neither a model folder here nor a model that the hub gave: {reason}") from error
    published = values.pop("model_type", None)
    kind = _SAME_AS.get(published, published)
    if kind not in CONFIG_MAPPING:
        raise ValueError(
            f"{_name(source)} is of model type {published!r}, which transformers knows only with the publisher's own "
            f"code, if at all; bagclip never runs such code. Choose a model of a type that transformers has."
        )
    values.pop("auto_map", None)
    return CONFIG_MAPPING[kind].from_dict(values)


def load_model(source: Source, pretrained: bool) -> PreTrainedModel:
    """The model in float32, with its weights or with fresh ones; a plain dict has fresh ones.

    Raises:
        OSError: if there are no safetensors weights.
        ValueError: if the weights are not those of the model.
    """
    from transformers import MODEL_MAPPING, AutoModel

    config = load_config(source)
    options: dict[str, Any] = {"dtype": torch.float32, "trust_remote_code": False}
    # A pooling layer would be dead weight here, as regions and tokens are read before it.
    kind = MODEL_MAPPING.get(type(config), None)
    if kind is not None and "add_pooling_layer" in inspect.signature(kind).parameters:
        options["add_pooling_layer"] = False
    if isinstance(source, Mapping) or not pretrained:
        return AutoModel.from_config(config, **options)
    try:
        model, report = AutoModel.from_pretrained(
            source, config=config, use_safetensors=True, output_loading_info=True, **options
        )
    except OSError as error:
        raise OSError(
            f"{_name(source)}: no safetensors weights could be loaded ({error}). bagclip reads no pickled weights, as "
            f'they can run code; convert a pytorch_model.bin that you trust once, in its folder: python -c "{_CONVERT}"'
        ) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ValueError(
            f"{_name(source)} lacks {len(missing)} weights of a {type(model).__name__}, {missing[0]!r} for one; "
            f"its config.json does not belong to its weights. Pass pretrained=False for fresh weights."
        )
    return model


def load_tokenizer(source: str | PathLike[str]) -> PreTrainedTokenizerBase:
    """The tokenizer of a hub name or a folder."""
    from transformers import AutoTokenizer, BertTokenizerFast, PretrainedConfig

    published = PretrainedConfig.get_config_dict(source)[0].get("model_type")
    if published in _SAME_AS:
        return BertTokenizerFast.from_pretrained(source)
    return AutoTokenizer.from_pretrained(source, trust_remote_code=False)


def plain_config(model: PreTrainedModel) -> dict[str, Any]:
    """What ``load_model`` rebuilds the architecture from."""
    values = model.config.to_dict()
    values.pop("_name_or_path", None)  # a path of this computer says nothing on another
    return values


def projection(width: int, dim: int) -> nn.Linear:
    """A linear map that starts as the identity or, between unequal sizes, orthogonal: pretrained angles survive."""
    linear = nn.Linear(width, dim)
    nn.init.eye_(linear.weight) if width == dim else nn.init.orthogonal_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _name(source: Source) -> str:
    return "the given configuration" if isinstance(source, Mapping) else str(source)
