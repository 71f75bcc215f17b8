"""The named endpoints, as a program calls them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Client]:
    made = Client(address, verbose=False)
    yield made
    made.close()


def test_schedule_tells_the_levels(client: Client) -> None:
    answer = client.predict("DPM++ 2M Karras", steps=12, api_name="/schedule")
    assert answer["ok"] is True
    assert answer["nfe"] == 12
    rho = answer["columns"]["rho"]
    assert len(rho) == 12
    assert rho == sorted(rho, reverse=True)


def test_run_returns_the_film(client: Client) -> None:
    answer = client.predict(
        "DDIMScheduler",
        config=json.dumps({"eta": 0.5}),
        steps=6,
        model="points",
        cond="moons",
        seed=3,
        api_name="/run",
    )
    assert answer["film"]["frames"] == 6
    assert answer["final"]["f32"]


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"scheduler": "NoSuchScheduler"}, "scheduler"),
        ({"scheduler": "DDIMScheduler", "steps": 0}, "steps"),
        ({"scheduler": "DDIMScheduler", "steps": 10**12}, "steps"),
        ({"scheduler": "DDIMScheduler", "steps": "many"}, "steps"),
        ({"scheduler": "DDIMScheduler", "samples": 65}, "samples"),
        ({"scheduler": "DDIMScheduler", "seed": -1}, "seed"),
        ({"scheduler": "DDIMScheduler", "model": "nothing"}, "model"),
        ({"scheduler": "DDIMScheduler", "config": '{"beta_start": NaN}'}, "beta_start"),
        ({"scheduler": "DDIMScheduler", "config": '{"beta_start": "x"}'}, "beta_start"),
        ({"scheduler": "DDIMScheduler", "config": '{"betastart": 1}'}, "betastart"),
        ({"scheduler": "DDIMScheduler", "config": "not json"}, "config"),
    ],
)
@pytest.mark.parametrize("endpoint", ["/schedule", "/run"])
def test_a_wrong_setting_is_named(
    client: Client, endpoint: str, settings: dict[str, object], word: str
) -> None:
    with pytest.raises(AppError) as refused:
        client.predict(**settings, api_name=endpoint)
    assert word in str(refused.value)
    assert "Traceback" not in str(refused.value)
