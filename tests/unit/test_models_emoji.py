"""The atlas, and the local score machine against a direct implementation of its definition."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models import MODELS, atlas, emoji, load, local_score
from models.emoji import EmojiModel, IdealEmoji
from models.local_score import FULL, LocalScoreMachine, patch_side

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "emoji"
CLASSES = [entry.id for entry in MODELS["emoji-local"].classes]


def small_set(n: int = 7, side: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand((n, 3, side, side), generator=generator, dtype=torch.float64) * 2 - 1


def direct(
    images: torch.Tensor, x: torch.Tensor, alpha: float, sigma: float, patch: int
) -> torch.Tensor:
    """The definition, pixel by pixel and image by image."""
    count, _, height, width = images.shape
    result, reach = torch.empty_like(x), patch // 2
    for row in range(height):
        for column in range(width):
            rows = slice(max(row - reach, 0), row + reach + 1)
            columns = slice(max(column - reach, 0), column + reach + 1)
            seen = x[:, rows, columns]
            logits = [
                -float((seen - alpha * images[i, :, rows, columns]).square().sum())
                / (2 * sigma**2)
                for i in range(count)
            ]
            weights = [math.exp(value - max(logits)) for value in logits]
            total = math.fsum(weights)
            result[:, row, column] = sum(
                w / total * images[i, :, row, column] for i, w in enumerate(weights)
            )
    return result


@pytest.mark.parametrize("patch", [1, 3, 5, 11])
@pytest.mark.parametrize(("alpha", "sigma"), [(1.0, 0.1), (0.8, 0.6), (1.0, 5.0), (0.01, 1.0)])
def test_the_machine_is_its_definition(patch: int, alpha: float, sigma: float) -> None:
    images = small_set()
    generator = torch.Generator().manual_seed(4)
    noise = torch.randn((2, 3, 6, 6), generator=generator, dtype=torch.float64)
    x = alpha * images[:2] + sigma * noise
    got = LocalScoreMachine(images).posterior_mean(x, alpha, sigma, patch)
    for one, answer in zip(x, got, strict=True):
        expected = direct(images, one, alpha, sigma, patch)
        torch.testing.assert_close(answer, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("together", [2, 3, 8])
def test_how_many_go_together_changes_nothing(together: int) -> None:
    images = small_set()
    x = torch.randn((5, 3, 6, 6), generator=torch.Generator().manual_seed(4)).double()
    alone = LocalScoreMachine(images, together=1).posterior_mean(x, 0.9, 0.7, 5)
    got = LocalScoreMachine(images, together=together).posterior_mean(x, 0.9, 0.7, 5)
    torch.testing.assert_close(got, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.05, 1.0, 14.6, 200.0])
def test_a_patch_as_large_as_the_image_is_the_ideal_denoiser(sigma: float) -> None:
    ideal = load("emoji-ideal")
    assert isinstance(ideal, IdealEmoji)
    images = ideal.images("hearts", torch.float64)
    generator = torch.Generator().manual_seed(1)
    x = images[:2] + sigma * torch.randn(
        images[:2].shape, generator=generator, dtype=torch.float64
    )
    got = LocalScoreMachine(images).posterior_mean(x, 1.0, sigma, FULL)
    torch.testing.assert_close(got, ideal.denoise(x, 1.0, sigma, "hearts"), rtol=0, atol=1e-9)


def test_at_high_noise_the_default_machine_is_the_ideal_denoiser() -> None:
    local, ideal = load("emoji-local"), load("emoji-ideal")
    x = 20.0 * torch.randn((1, 3, 32, 32), dtype=torch.float64)
    expected = ideal.denoise(x, 1.0, 20.0, "faces")
    torch.testing.assert_close(local.denoise(x, 1.0, 20.0, "faces"), expected, rtol=0, atol=1e-9)


def test_only_the_ratio_sets_the_patch() -> None:
    local = load("emoji-local")
    x = torch.randn((1, 3, 32, 32), dtype=torch.float64)
    once = local.denoise(x, 1.0, 0.7, "hearts")
    half = local.denoise(0.5 * x, 0.5, 0.35, "hearts")
    torch.testing.assert_close(once, half, rtol=0, atol=1e-9)


def test_a_drag_of_the_patch_builds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []

    class Counted(LocalScoreMachine):
        def __init__(self, images: torch.Tensor, together: int | None = None) -> None:
            built.append(len(images))
            super().__init__(images, together)

    monkeypatch.setattr(local_score, "LocalScoreMachine", Counted)
    local_score.machine.cache_clear()
    emoji.posterior.cache_clear()
    x = torch.randn((1, 3, 32, 32), generator=torch.Generator().manual_seed(3))
    answers = []
    for position in range(40):  # more positions than models are remembered
        model = load("emoji-local", patch=1.0 + 0.5 * position)
        assert isinstance(model, EmojiModel)
        answers.append(model.denoise(x, 1.0, 0.5, "hearts"))
        model.nearest(x, "hearts")
    assert built == [39]
    assert emoji.posterior.cache_info().misses == 1
    # The patch still counts.
    assert not torch.equal(answers[0], answers[-1])
    assert torch.equal(load("emoji-local", patch=1.0).denoise(x, 1.0, 0.5, "hearts"), answers[0])
    local_score.machine.cache_clear()


def test_the_patch_shrinks_from_63_to_3_log_linearly() -> None:
    assert patch_side(math.inf) == patch_side(12.0) == 63
    assert patch_side(0.3) == patch_side(0.0) == 3
    middle = patch_side(math.sqrt(0.3 * 12.0))
    assert abs(middle - math.sqrt(3 * 63)) <= 1.0  # rounded to an odd number
    sides = [patch_side(rho) for rho in np.geomspace(0.01, 100, 300)]
    assert sides == sorted(sides)
    assert all(side % 2 == 1 for side in sides)
    assert patch_side(1e-9, 24.0) >= 23  # memorises
    assert patch_side(math.inf, 1.0) == 21


def sample(model: EmojiModel, cond: str, seed: int, steps: int = 20) -> torch.Tensor:
    """Euler on the probability flow, from sigma 14.6 to 0."""
    ramp = torch.linspace(14.6 ** (1 / 7), 0.03 ** (1 / 7), steps).double() ** 7
    sigmas = [*ramp.tolist(), 0.0]
    generator = torch.Generator().manual_seed(seed)
    x = sigmas[0] * torch.randn((1, *model.shape), generator=generator)
    for here, target in pairwise(sigmas):
        x0 = model.denoise(x, 1.0, here, cond)
        x = x0 + target / here * (x - x0)
    return x


def test_ideal_and_large_patches_memorise_and_small_patches_create() -> None:
    distances = {}
    for name, model in (
        ("ideal", load("emoji-ideal")),
        ("large", load("emoji-local", patch=24)),
        ("default", load("emoji-local")),
        ("small", load("emoji-local", patch=1)),
    ):
        assert isinstance(model, EmojiModel)
        images = torch.cat([sample(model, "faces", seed) for seed in range(9)])
        distances[name] = float(np.median(model.nearest(images, "faces")[1]))
    assert distances["ideal"] < 0.01
    assert distances["large"] < 0.01
    assert distances["large"] < distances["default"] < distances["small"]
    assert distances["small"] > 0.2


@pytest.mark.parametrize("model_id", ["emoji-local", "emoji-ideal"])
def test_nearest_finds_the_image_itself(model_id: str) -> None:
    model = load(model_id)
    assert isinstance(model, EmojiModel)
    images = model.images("flags")
    index, distance = model.nearest(images[::17] + 0.01, "flags")
    np.testing.assert_array_equal(index, np.arange(len(images))[::17])
    np.testing.assert_allclose(distance, 0.01, atol=1e-5)
    with pytest.raises(ValueError, match="x0 has shape"):
        model.nearest(images[0], "flags")
    with pytest.raises(ValueError, match="cond='nobody'"):
        model.nearest(images, "nobody")


@pytest.mark.parametrize("cond", CLASSES)
def test_every_class_holds_its_images_and_names(cond: str) -> None:
    model = load("emoji-local")
    assert isinstance(model, EmojiModel)
    images, names = model.images(cond), model.names(cond)
    entry = next(item for item in atlas.index().classes if item.id == cond)
    assert images.shape == (entry.count, 3, 32, 32)
    assert len(names) == entry.count == len(set(names))
    assert 30 <= entry.count <= 270
    assert images.min() >= -1.0 and images.max() <= 1.0
    flat = images.flatten(1)
    assert (flat.std(1) > 0.03).all()  # no tile is empty
    assert len(torch.unique(flat, dim=0)) == entry.count  # and no two are alike


def test_tiles_are_cut_where_the_sheet_says() -> None:
    with Image.open(FOLDER / "animals.png") as sheet:
        tile = np.asarray(sheet.crop((3 * 32, 2 * 32, 4 * 32, 3 * 32))).transpose(2, 0, 1)
    np.testing.assert_array_equal(atlas.images("animals")[2 * 16 + 3], tile)
    assert not atlas.images("animals").flags.writeable
    assert atlas.names("faces")[0].name == "grinning face"
    with pytest.raises(ValueError, match="class_id='nobody'"):
        atlas.images("nobody")


def test_the_folder_holds_what_the_index_lists_and_the_licences() -> None:
    index = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
    sheets = sorted(path.name for path in FOLDER.glob("*.png"))
    assert sheets == sorted(entry["file"] for entry in index["classes"])
    for entry in index["classes"]:
        with Image.open(FOLDER / entry["file"]) as sheet:
            rows = -(-entry["count"] // index["columns"])
            assert sheet.size == (index["columns"] * index["tile"], rows * index["tile"])
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 2_500_000
    for name, words in (
        ("LICENSE-OFL-1.1.txt", "SIL OPEN FONT LICENSE Version 1.1"),
        ("LICENSE-Apache-2.0.txt", "Apache License"),
        ("LICENSE-Unicode.txt", "UNICODE"),
        ("NOTICE.md", "Noto Color Emoji"),
    ):
        assert words in (FOLDER / name).read_text(encoding="utf-8")
