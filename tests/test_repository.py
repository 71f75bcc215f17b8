"""The files that a Space and a fresh clone depend on agree with each other."""

import importlib.metadata
import re
import subprocess
import sys
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


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-dev.txt", "requirements-oracle.txt"]
)
def test_what_is_pinned_is_what_runs(name: str) -> None:
    """Else an old environment tests something else than what is installed anew."""
    installed = {package: importlib.metadata.version(package) for package in requirements(name)}
    assert {k: v.split("+")[0] for k, v in installed.items()} == requirements(name)


def test_the_space_runs_the_gradio_that_is_pinned() -> None:
    matter = front_matter()
    assert matter["sdk"] == "gradio"
    assert matter["sdk_version"] == requirements("requirements.txt")["gradio"]
    assert matter["license"] == "apache-2.0"
    assert len(matter["short_description"]) <= 60


def test_runtime_needs_no_oracle() -> None:
    assert not {"diffusers", "k-diffusion", "torchsde"} & set(requirements("requirements.txt"))


def test_the_example_in_the_readme_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        subprocess.run([sys.executable, "-c", block], cwd=ROOT, check=True)


def test_the_readme_opens_with_two_commands() -> None:
    text = (ROOT / "README.md").read_text().split("---\n", 2)[2]
    commands = re.findall(r"```bash\n(.*?)\n```", text, re.DOTALL)
    assert len(commands) == 2
    assert commands[0].endswith("python app.py")
    assert (ROOT / commands[1]).stat().st_mode & 0o111, "the test command must be executable"
    assert commands[1] in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize(
    "name", ["README.md", "docs/architecture.md", "docs/adding-a-scheduler.md"]
)
def test_links_to_files_lead_somewhere(name: str) -> None:
    path = ROOT / name
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text())
    assert all((path.parent / link).exists() for link in links)


@pytest.mark.parametrize("page", ["README.md", *map(str, (ROOT / "docs").glob("*.md"))])
def test_the_paths_that_the_docs_name_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    rooms = r"(?:schedulers|models|sampling|visualize|assets|tests|benchmarks|docs)"
    for path in re.findall(rf"`({rooms}/[\w./-]+)`", text):
        assert (ROOT / path).exists(), f"{page} names {path}"
