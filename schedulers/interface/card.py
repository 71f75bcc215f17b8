"""The model card that goes to the Hub beside a scheduler's config: what it is, and how to load it."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

from ..backend.checks import shown

if TYPE_CHECKING:
    from ..core.scheduler import Scheduler

CARD_NAME = "README.md"

PIPELINE = """In a pipeline whose model was trained with these betas and this prediction type:

```python
pipe.scheduler = scheduler
```

"""


def model_card(scheduler: Scheduler, repo_id: str) -> str:
    """A card in Markdown, with the metadata by which the Hub files it.

    Args:
        scheduler: What is uploaded.
        repo_id: Where to, "namespace/name".
    """
    made = type(scheduler)
    name, paper = made.__name__, made.reference
    home = "diffusers" if made.in_diffusers else "schedulers"
    or_ours = f"  # or: from schedulers import {name}" if made.in_diffusers else ""
    library = ["library_name: diffusers"] if made.in_diffusers else []
    metadata = "\n".join([*library, "tags:", "- diffusion", "- scheduler"])
    sentence = " ".join((inspect.getdoc(made) or "").split("\n\n")[0].split()).replace("``", "`")
    return f"""---
{metadata}
---

# {made.title}

{sentence} {made.good_for}

`{name}` says how a diffusion model is sampled: at which noise levels it is asked, and how its
answers become the next sample. It has no weights; the file `{scheduler.config_name}` is all there is.

## Use

```python
from {home} import {name}{or_ours}

scheduler = {name}.from_pretrained("{repo_id}")
```

{PIPELINE if made.call_form == "step" else ""}## Settings

{_settings(scheduler)}

## Paper

{paper}{f" <{paper.url}>" if paper.url else ""}

```bibtex
{paper.bibtex}
```
"""


def _settings(scheduler: Scheduler) -> str:
    """The parameters that differ from their defaults, each with its effect."""
    config = json.loads(scheduler.to_json_string())
    rows = [
        f"| `{p.name}` | `{shown(config[p.name])}` | {p.text} |"
        for p in scheduler.parameters()
        if p.call == "init" and p.name in config and config[p.name] != _written(p.default)
    ]
    if not rows:
        return "Those of the class, none changed."
    head = ["| parameter | value | effect |", "| --- | --- | --- |"]
    return "\n".join([*head, *rows, "", "All others are those of the class."])


def _written(value: Any) -> Any:
    """A default as it comes back from a file."""
    return list(value) if isinstance(value, tuple) else value
