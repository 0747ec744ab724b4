from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from torch import Tensor

from bagclip.encoders import TransformersImage, image_from_config
from bagclip.preprocess import Preprocess

VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
STAGES = {"hidden_sizes": [8, 12, 16, 32], "depths": [1, 1, 1, 1]}
# The model, its input's size, and the size of one region of it.
FAMILIES = {
    "resnet": (lambda: hf.ResNetModel(hf.ResNetConfig(embedding_size=8, layer_type="basic", **STAGES)), 96, 32),
    "convnext": (lambda: hf.ConvNextModel(hf.ConvNextConfig(**STAGES)), 96, 32),
    "vit": (lambda: hf.ViTModel(hf.ViTConfig(image_size=48, patch_size=8, **VIT)), 48, 8),
    "deit": (lambda: hf.DeiTModel(hf.DeiTConfig(image_size=48, patch_size=8, **VIT)), 48, 8),
    "dinov2": (lambda: hf.Dinov2Model(hf.Dinov2Config(image_size=56, patch_size=14, mlp_ratio=2, **VIT)), 56, 14),
    "registers": (
        lambda: hf.Dinov2WithRegistersModel(
            hf.Dinov2WithRegistersConfig(image_size=56, patch_size=14, mlp_ratio=2, num_register_tokens=4, **VIT)
        ),
        56,
        14,
    ),
    "swin": (
        lambda: hf.SwinModel(
            hf.SwinConfig(
                image_size=64, patch_size=4, embed_dim=8, depths=[1, 1, 1], num_heads=[1, 2, 2], window_size=4
            )
        ),
        64,
        16,
    ),
}
TOKENS_BEFORE = {"vit": 1, "deit": 2, "dinov2": 1, "registers": 5, "swin": 0}

families = pytest.mark.parametrize("family", FAMILIES)


def processor(kind: str = "ViTImageProcessor", **values: object) -> dict:
    ours = {
        "image_processor_type": kind,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.25, 0.3],
        "resample": 2,
        "rescale_factor": 1 / 255,
    }
    return {**ours, **values}


def write(folder: Path, family: str, preprocessor: dict | None = None) -> str:
    """A model folder as the hub has it."""
    torch.manual_seed(0)
    build, size, _ = FAMILIES[family]
    model = build()
    if hasattr(model.config, "patch_size"):  # the initial weights of transformers are too small to tell regions apart
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim > 1:
                    weight.normal_(std=0.2)
    model.save_pretrained(folder)
    settings = preprocessor or processor(size={"height": size, "width": size})
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return str(folder)


def pixels(size: int, images: int = 2) -> Tensor:
    return torch.rand(images, 3, size, size, generator=torch.Generator().manual_seed(1))


@families
def test_regions_are_the_last_hidden_state_on_its_grid(family: str, tmp_path: Path) -> None:
    _, size, cell = FAMILIES[family]
    encoder = TransformersImage(write(tmp_path, family), dim=32).eval()
    images = pixels(size)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])
    raw = hf.AutoModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        regions = encoder(images)  # dim is the hidden size, so the projection is still the identity
        states = raw(((images.permute(0, 2, 3, 1) - mean) / std).permute(0, 3, 1, 2)).last_hidden_state

    cells = size // cell
    assert regions.shape == (2, cells, cells, 32)
    for row in range(cells):
        for column in range(cells):
            if states.ndim == 4:
                expected = states[:, :, row, column]
            else:
                expected = states[:, TOKENS_BEFORE[family] + row * cells + column]
            torch.testing.assert_close(regions[:, row, column], expected, atol=1e-5, rtol=1e-5)


@families
def test_a_region_describes_its_place(family: str, tmp_path: Path) -> None:
    _, size, cell = FAMILIES[family]
    encoder = TransformersImage(write(tmp_path, family), dim=32, size=2 * size).eval()
    cells = 2 * size // cell
    reach = 3 if family == "resnet" else 1  # convolutions of a ResNet see far beyond their cell
    images = pixels(2 * size, images=1)
    changed = images.clone()
    changed[:, :, : reach * cell, -reach * cell :] = 1 - changed[:, :, : reach * cell, -reach * cell :]
    with torch.no_grad():
        change = (encoder(changed) - encoder(images)).norm(dim=-1)[0]
    row, column = divmod(change.argmax().item(), cells)
    assert row < reach and column >= cells - reach


@families
def test_rebuilt_from_its_config_it_encodes_the_same(family: str, tmp_path: Path) -> None:
    _, size, _ = FAMILIES[family]
    encoder = TransformersImage(write(tmp_path, family), dim=6).eval()
    encoder.preprocess = replace(encoder.preprocess, fit="pad")
    config = json.loads(json.dumps(encoder.config()))
    assert str(tmp_path) not in json.dumps(config)
    again = image_from_config(config, tmp_path / "empty")
    again.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(pixels(size)), encoder(pixels(size)))
    assert again.preprocess == encoder.preprocess and again.config() == encoder.config()


@families
def test_another_size_gives_another_grid(family: str, tmp_path: Path) -> None:
    _, size, cell = FAMILIES[family]
    encoder = TransformersImage(write(tmp_path, family), dim=6, size=2 * size).eval()
    assert encoder.preprocess.size == (2 * size, 2 * size)
    cells = 2 * size // cell
    with torch.no_grad():
        assert encoder(pixels(2 * size)).shape == (2, cells, cells, 6)
        with pytest.raises(ValueError, match=f"a region .* is {cell} x {cell} pixels, .* no multiple"):
            encoder(pixels(size + 4 if cell > 8 else size + 2))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            processor(
                "BitImageProcessor",
                do_center_crop=True,
                size={"shortest_edge": 72},
                crop_size={"height": 56, "width": 56},
            ),
            Preprocess((56, 56), "crop", 72),
        ),
        (processor("CLIPImageProcessor", do_center_crop=True, size=56, crop_size=56), Preprocess((56, 56), "crop", 56)),
        (processor(size=64), Preprocess((64, 64), "stretch")),
        (processor(size={"height": 64, "width": 48}), Preprocess((64, 48), "stretch")),
        (
            processor("ConvNextImageProcessor", size={"shortest_edge": 56}, crop_pct=0.875),
            Preprocess((56, 56), "crop", 64),
        ),
        (
            processor("ConvNextImageProcessor", size={"shortest_edge": 384}, crop_pct=0.875),
            Preprocess((384, 384), "stretch"),
        ),
        (processor(size=64, do_normalize=False), Preprocess((64, 64), "stretch", mean=(0,), std=(1,))),
    ],
)
def test_the_models_preprocessing_is_taken_over(settings: dict, expected: Preprocess, tmp_path: Path) -> None:
    encoder = TransformersImage(write(tmp_path, "resnet", settings), dim=6)
    if settings["do_normalize"]:
        expected = replace(expected, channels=3, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
    assert encoder.preprocess == replace(expected, channels=3)

    # The library's own processor agrees, on an image smooth enough for its other way of rounding.
    wave = np.sin(np.arange(150)[:, None, None] / 19) + np.cos(np.arange(170)[None, :, None] / 23) + np.arange(3)
    image = (wave * 50 + 100).clip(0, 255).astype(np.uint8)
    theirs = hf.AutoImageProcessor.from_pretrained(tmp_path)(image, return_tensors="pt")["pixel_values"][0]
    ours = encoder.preprocess.normalise(encoder.preprocess(image)[0])
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 0.06


@pytest.mark.parametrize(
    "settings",
    [
        processor(size=64, do_resize=False),
        processor(size=64, rescale_factor=1 / 127.5),
        processor("BitImageProcessor", do_center_crop=False, size={"shortest_edge": 72}),
    ],
)
def test_preprocessing_that_cannot_be_read_is_refused(settings: dict, tmp_path: Path) -> None:
    folder = write(tmp_path, "resnet", settings)
    with pytest.raises(ValueError, match="give preprocess=Preprocess"):
        TransformersImage(folder)
    given = Preprocess((64, 64), channels=3)
    assert TransformersImage(folder, preprocess=given).preprocess == given


def test_no_preprocessing_is_guessed(tmp_path: Path) -> None:
    folder = write(tmp_path, "resnet")
    os.remove(tmp_path / "preprocessor_config.json")
    with pytest.raises(ValueError, match=r"no preprocessing could be read.*give preprocess=Preprocess"):
        TransformersImage(folder)


def test_gray_models_read_gray_images(tmp_path: Path) -> None:
    torch.manual_seed(0)
    hf.ResNetModel(hf.ResNetConfig(num_channels=1, embedding_size=8, layer_type="basic", **STAGES)).save_pretrained(
        tmp_path
    )
    encoder = TransformersImage(tmp_path, dim=6, preprocess=Preprocess((64, 64)))
    assert encoder.preprocess.channels == 1
    assert encoder(torch.rand(1, 1, 64, 64)).shape == (1, 2, 2, 6)


def test_fresh_weights_are_drawn_by_seed(tmp_path: Path) -> None:
    folder = write(tmp_path, "vit")
    encoders = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        encoders.append(TransformersImage(folder, pretrained=False).state_dict())
    name = "model.embeddings.patch_embeddings.projection.weight"
    assert torch.equal(encoders[0][name], encoders[1][name]) and not torch.equal(encoders[0][name], encoders[2][name])
    assert not torch.equal(encoders[0][name], TransformersImage(folder).state_dict()[name])


def test_half_precision_weights_are_read_in_full(tmp_path: Path) -> None:
    folder = write(tmp_path, "vit")
    hf.AutoModel.from_pretrained(folder).to(torch.bfloat16).save_pretrained(folder)
    encoder = TransformersImage(folder)
    assert {weight.dtype for weight in encoder.parameters()} == {torch.float32}
    again = image_from_config(encoder.config(), tmp_path)
    assert {weight.dtype for weight in again.parameters()} == {torch.float32}


def test_models_without_a_grid_are_refused(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    hf.CLIPConfig().save_pretrained(tmp_path / "clip")
    with pytest.raises(ValueError, match="'clip' model reads more than images"):
        TransformersImage(tmp_path / "clip", pretrained=False)
    masked = {"model_type": "vit_mae", "image_size": 48, "patch_size": 8, **VIT}
    encoder = TransformersImage(masked, preprocess=Preprocess((48, 48)))
    with pytest.raises(ValueError, match="gave 10 tokens for a grid of 6 x 6 regions"):
        encoder(pixels(48))
