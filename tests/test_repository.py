"""The files that a Space and a fresh clone depend on agree with each other."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def requirements(name: str) -> dict[str, str]:
    """Package -> pinned version, of one requirements file."""
    lines = (ROOT / name).read_text().splitlines()
    named = [line for line in lines if line and not line.startswith(("#", "-r "))]
    return dict(line.split("==") for line in named)


def front_matter() -> dict[str, str]:
    """The scalar keys of the README's first block."""
    text = (ROOT / "README.md").read_text()
    block = re.match(r"---\n(.*?)\n---\n", text, flags=re.DOTALL)
    assert block is not None, "README.md must open with the Spaces front matter"
    pairs = re.findall(r"^(\w+): (.+)$", block.group(1), flags=re.MULTILINE)
    return {key: value.strip('"') for key, value in pairs}


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-dev.txt", "requirements-oracle.txt"]
)
def test_every_requirement_is_pinned_exactly(name: str) -> None:
    pins = requirements(name)
    assert pins
    assert all(re.fullmatch(r"[\w.]+", version) for version in pins.values())


def test_the_space_runs_the_gradio_that_is_pinned() -> None:
    matter = front_matter()
    assert matter["sdk"] == "gradio"
    assert matter["sdk_version"] == requirements("requirements.txt")["gradio"]
    assert matter["license"] == "apache-2.0"
    assert len(matter["short_description"]) <= 60


def test_runtime_needs_no_oracle() -> None:
    assert not {"diffusers", "k-diffusion", "torchsde"} & set(requirements("requirements.txt"))
