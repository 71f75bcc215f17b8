"""What every model promises: limits, dtypes, batches, errors. Parametrised over ``MODELS``."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from models import MODELS, ImageModel, LineModel, Model, PlaneModel, load

EVERY_CLASS = [(m, c.id) for m, info in MODELS.items() for c in info.classes]
ALPHAS = [0.0, 1e-6, 2.0**-12, 0.03, 0.5, 1.0]
SIGMAS = [0.0, 1e-12, 1e-3, 0.03, 1.0, 14.6, 80.0, 1000.0]


def draw(model: Model, n: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn((n, *model.shape), generator=generator, dtype=torch.float64).to(dtype)


def test_the_first_model_is_the_local_score_machine() -> None:
    assert list(MODELS) == ["emoji-local", "emoji-ideal", "points", "mixture-2d", "mixture-1d"]
    assert all(key == info.id for key, info in MODELS.items())


@pytest.mark.parametrize("model_id", MODELS)
def test_descriptions_are_complete(model_id: str) -> None:
    info = MODELS[model_id]
    ids = [entry.id for entry in info.classes]
    assert info.default_class in ids
    assert len(set(ids)) == len(ids)
    assert info.title and info.text.endswith(".")
    for option in info.options:
        assert option.low <= option.default <= option.high
        assert option.step > 0 and option.text.endswith(".")
    model = load(model_id)
    assert model.info is info or model.info == info
    assert model.shape == info.shape
    kinds = {"image": ImageModel, "plane": PlaneModel, "line": LineModel}
    assert isinstance(model, kinds[info.kind])


@pytest.mark.parametrize(("model_id", "cond"), EVERY_CLASS)
def test_pure_noise_gives_the_mean_and_no_noise_the_sample(model_id: str, cond: str) -> None:
    model = load(model_id)
    x = draw(model, 2, torch.float64)
    mean = model.denoise(x, 0.0, 1.0, cond)
    assert torch.equal(mean[0], mean[1])
    # Continuity: nearly pure noise is nearly the mean.
    nearly = model.denoise(x, 1e-9, 1.0, cond)
    torch.testing.assert_close(nearly, mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(model.denoise(x, 0.5, 0.0, cond), x / 0.5, rtol=0, atol=0)
    assert torch.equal(model.denoise(x, 0.0, 0.0, cond), mean)


@pytest.mark.parametrize("model_id", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_level_gives_a_finite_answer_within_the_data(
    model_id: str, dtype: torch.dtype
) -> None:
    model = load(model_id)
    bounded = model.info.kind == "image" or model_id == "points"
    for alpha in ALPHAS:
        for sigma in SIGMAS:
            for scale in {0.0, sigma, 1.0}:
                x = draw(model, 2, dtype) * scale
                got = model.denoise(x, alpha, sigma)
                assert torch.isfinite(got).all(), (alpha, sigma, scale)
                if bounded and (sigma > 0.0 or alpha == 0.0):
                    # A posterior mean lies in the convex hull of the data.
                    limit = 1.0 if model.info.kind == "image" else 4.0
                    assert got.abs().max() <= limit + 1e-5, (alpha, sigma, scale)


@pytest.mark.parametrize("model_id", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_ends_of_the_allowed_range_are_answered_too(model_id: str, dtype: torch.dtype) -> None:
    model = load(model_id)
    for alpha in (5e-324, 1e-160, 1e-30, 1e-12, 1.0, 1e6, 1e12):
        for sigma in (5e-324, 1e-160, 1e-20, 1e-9, 1e-6, 1.0, 1e12):
            x = alpha * model.denoise(draw(model, 2, dtype), 0.0, 1.0)
            x += sigma * draw(model, 2, dtype)
            assert torch.isfinite(model.denoise(x, alpha, sigma)).all(), (alpha, sigma)


@pytest.mark.parametrize("model_id", MODELS)
@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str
)
def test_dtype_and_shape_stay(model_id: str, dtype: torch.dtype) -> None:
    model = load(model_id)
    x = draw(model, 3, dtype)
    kept = x.clone()
    for alpha, sigma in ((1.0, 0.5), (0.0, 1.0), (1.0, 0.0)):
        got = model.denoise(x, alpha, sigma)
        assert got.dtype == dtype
        assert got.shape == x.shape
        assert got.data_ptr() != x.data_ptr()
        assert got.is_contiguous()
    assert torch.equal(x, kept)


@pytest.mark.parametrize("model_id", MODELS)
def test_float32_follows_float64(model_id: str) -> None:
    model = load(model_id)
    for alpha, sigma in ((1.0, 0.3), (0.6, 0.8), (1.0, 14.6), (0.05, 1.0)):
        x = draw(model, 2, torch.float64)
        single = model.denoise(x.float(), alpha, sigma).double()
        # Logits of images are sums of 3072 terms of size sigma^2 / sigma^2: 3072 roundings.
        torch.testing.assert_close(single, model.denoise(x, alpha, sigma), rtol=0, atol=2e-3)


@pytest.mark.parametrize("model_id", MODELS)
@pytest.mark.parametrize("sigma", [0.05, 1.0, 14.6])
def test_a_batch_equals_its_samples_one_by_one(model_id: str, sigma: float) -> None:
    model = load(model_id)
    x = draw(model, 5, torch.float64) * sigma
    whole = model.denoise(x, 1.0, sigma)
    alone = torch.cat([model.denoise(one[None], 1.0, sigma) for one in x])
    torch.testing.assert_close(whole, alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize("model_id", MODELS)
def test_no_samples_are_fine_and_no_gradient_is_kept(model_id: str) -> None:
    model = load(model_id)
    assert model.denoise(draw(model, 0), 1.0, 0.5).shape == (0, *model.shape)
    assert not model.denoise(draw(model, 1).requires_grad_(), 1.0, 0.5).requires_grad


@pytest.mark.parametrize("model_id", MODELS)
def test_none_means_the_default_class(model_id: str) -> None:
    model, x = load(model_id), draw(load(model_id), 1)
    expected = model.denoise(x, 1.0, 0.5, MODELS[model_id].default_class)
    assert torch.equal(model.denoise(x, 1.0, 0.5), expected)
    last = MODELS[model_id].classes[-1].id
    assert not torch.equal(model.denoise(x, 1.0, 0.5, last), expected)


@pytest.mark.parametrize("model_id", MODELS)
def test_bad_calls_name_what_is_wrong(model_id: str) -> None:
    model, x = load(model_id), draw(load(model_id), 1)
    with pytest.raises(ValueError, match="cond='nobody'"):
        model.denoise(x, 1.0, 0.5, "nobody")
    with pytest.raises(ValueError, match="x has shape"):
        model.denoise(x[0], 1.0, 0.5)
    with pytest.raises(ValueError, match="x has shape"):
        model.denoise(torch.cat([x, x], -1), 1.0, 0.5)
    for bad in (-0.1, float("nan"), float("inf"), 1e13, 10**400):
        with pytest.raises(ValueError, match="alpha="):
            model.denoise(x, bad, 0.5)
        with pytest.raises(ValueError, match="sigma="):
            model.denoise(x, 1.0, bad)
    for wrong in ("0.5", None, [0.5], 1j, True):
        with pytest.raises(TypeError, match="^alpha=.* must be a number"):
            model.denoise(x, wrong, 0.5)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="^sigma=.* must be a number"):
            model.denoise(x, 1.0, wrong)  # type: ignore[arg-type]
    for nothing in (["a"], 3, {}):
        with pytest.raises(TypeError, match="^cond="):
            model.denoise(x, 1.0, 0.5, nothing)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="x must be a floating-point"):
        model.denoise(x.to(torch.int64), 1.0, 0.5)
    with pytest.raises(TypeError, match="x must be a floating-point"):
        model.denoise(np.zeros((1, *model.shape)), 1.0, 0.5)  # type: ignore[arg-type]


def test_load_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="model_id='emoji-global'.*emoji-local"):
        load("emoji-global")
    for nothing in (["x"], None, {}):
        with pytest.raises(TypeError, match="^model_id=.*emoji-local"):
            load(nothing)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="colour=3.0.*patch"):
        load("emoji-local", colour=3.0)
    with pytest.raises(ValueError, match="patch=3.0.*none"):
        load("points", patch=3.0)
    for bad in (0.5, 25.0, float("nan")):
        with pytest.raises(ValueError, match="patch="):
            load("emoji-local", patch=bad)
    for wrong in ("3", True, None):
        with pytest.raises(TypeError, match="patch="):
            load("emoji-local", patch=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="device='abacus'"):
        load("points", device="abacus")


@pytest.mark.parametrize("model_id", MODELS)
def test_loading_again_is_remembered(model_id: str) -> None:
    assert load(model_id) is load(model_id, "cpu")
    defaults = {option.name: option.default for option in MODELS[model_id].options}
    assert load(model_id, "cpu", **defaults) is load(model_id)


def test_the_protocol_is_what_the_models_have() -> None:
    wanted = list(inspect.signature(Model.denoise).parameters)
    for model_id in MODELS:
        assert list(inspect.signature(type(load(model_id)).denoise).parameters) == wanted
