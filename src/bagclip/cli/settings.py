"""Settings from the command line: ``--set part.name=value`` for the parts of a model and its training."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bagclip import methods
from bagclip.encoders import ConvNet, Features, ImageEncoder, Text, TextEncoder, TransformersImage, TransformersText
from bagclip.formula import parse
from bagclip.model import Model
from bagclip.spelling import nearest
from bagclip.training import TrainConfig

PARTS = ("train", "method", "image", "text")


def parse_settings(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Settings by part, the values read as YAML.

    Raises:
        ValueError: if a setting is not ``part.name=value``, or there is no such part.

    Example:
        >>> parse_settings(["train.lr=3e-4", "method.sharpness=8"])["train"]
        {'lr': 0.0003}
    """
    settings: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for text in texts:
        key, equals, value = text.partition("=")
        part, dot, name = key.strip().partition(".")
        if not (equals and dot and name):
            raise ValueError(f"--set {text!r} is not of the form part.name=value, such as train.lr=3e-4.")
        if part not in settings:
            raise ValueError(f"--set {text!r}: there is no part {part!r}; {nearest(part, PARTS)}")
        settings[part][name] = _value(value)
    return settings


def build_model(
    method: str, settings: Mapping[str, Mapping[str, Any]], *, image: str, text: str, dim: int
) -> tuple[Model, TrainConfig]:
    """The model and the training that settings describe.

    Args:
        method: name of a method.
        settings: what `parse_settings` gave.
        image: "convnet", "features", or a transformers model by hub name or local folder.
        text: "text", or likewise.
        dim: size of the joint space.
    """
    if dim < 1:
        raise ValueError(f"--dim must be at least 1, got {dim}.")
    if image == "features" and "width" not in settings["image"]:
        raise ValueError(
            "--image features does not say how many features a region has; add --set image.width=N, the columns of the "
            "matrices."
        )
    image_encoder: ImageEncoder = (
        _call({"convnet": ConvNet, "features": Features}[image], "image", settings, dim=dim)
        if image in ("convnet", "features")
        else _call(TransformersImage, "image", settings, model=image, dim=dim)
    )
    text_encoder: TextEncoder = (
        _call(Text, "text", settings, dim=dim)
        if text == "text"
        else _call(TransformersText, "text", settings, model=text, dim=dim)
    )
    try:
        built = methods.build(method, dim, **settings["method"])
    except TypeError as error:
        raise ValueError(f"the settings of method {settings['method']} cannot be used: {error}") from error
    model = Model(image_encoder, text_encoder, built)
    return model, _call(TrainConfig, "train", settings)


def _call(function: Callable[..., Any], part: str, settings: Mapping[str, Mapping[str, Any]], **fixed: Any) -> Any:
    known = [name for name in inspect.signature(function).parameters if name not in fixed]
    for name in settings[part]:
        if name not in known:
            raise ValueError(f"--set {part}.{name}: there is no such setting; {nearest(name, known)}")
    try:
        return function(**fixed, **settings[part])
    except (TypeError, AssertionError, RuntimeError, IndexError) as error:
        raise ValueError(f"the settings of {part} {settings[part]} cannot be used: {error}") from error


def _value(text: str) -> Any:
    import yaml

    if text.strip().startswith(("Learned(", "Annealed(")):
        return parse(text)
    if text.strip().lower() in ("no", "yes", "on", "off"):
        return text.strip()  # words here, though YAML takes them for truth values
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"--set: {text!r} is no value: {' '.join(str(error).split())}.") from error
    if isinstance(value, str):
        # YAML takes 3e-4, without a point, for text.
        try:
            return float(value)
        except ValueError:
            return value
    return value
