"""The page's wiring, without a server: what Gradio makes of the explorer's questions."""

from __future__ import annotations

import json

import gradio as gr
import pytest

from sampling import SpecError
from visualize import page
from visualize.explore import Explorer


@pytest.fixture(scope="module")
def blocks() -> gr.Blocks:
    return page.build()


def test_the_endpoints_list_their_parameters(blocks: gr.Blocks) -> None:
    info = blocks.get_api_info()
    assert info is not None
    named = info["named_endpoints"]
    assert set(named) == {"/schedule", "/run"}
    for endpoint in named.values():
        listed = {entry["parameter_name"]: entry for entry in endpoint["parameters"]}
        assert list(listed) == [
            "scheduler", "config", "steps", "model", "cond", "seed", "samples", "device",
        ]  # fmt: skip
        required = [name for name, e in listed.items() if not e["parameter_has_default"]]
        assert required == ["scheduler"]
        assert listed["steps"]["parameter_default"] == 20
        assert listed["config"]["type"]["type"] == "string"
        assert listed["steps"]["type"]["type"] == "number"
        assert endpoint["description"].endswith(".")


def test_the_packed_schema_says_everything_once() -> None:
    schema = Explorer(device="cpu").schema()
    packed = page.packed(schema)
    for entry, whole in zip(packed["schedulers"], schema["schedulers"], strict=True):
        for key in packed["packed"]:
            assert [packed["shared"][k] for k in entry[key]] == whole[key]
    texts = [json.dumps(part, sort_keys=True) for part in packed["shared"]]
    assert len(set(texts)) == len(texts)
    assert len(json.dumps(packed)) < 0.6 * len(json.dumps(schema))


def test_the_page_asks_by_the_names_that_its_modules_use(blocks: gr.Blocks) -> None:
    (stage,) = (block for block in blocks.blocks.values() if isinstance(block, page.Stage))
    assert [function.__name__ for function in stage.server_fns] == ["schedule", "film"]
    assert stage.server_fns[0]({"steps": 0})["errors"]["steps"]


def test_a_refusal_is_shown_without_a_traceback() -> None:
    def refuse(steps: float) -> None:
        """Refuse."""
        raise SpecError("steps", f"steps={steps} is too much")

    asked = page._function(refuse)
    assert asked.__doc__ == "Refuse."
    with pytest.raises(gr.Error, match="steps=3 is too much") as refused:
        asked(3)
    assert refused.value.print_exception is False
