"""Law 10, in a running interpreter: what `import schedulers` pulls in, and what it can do without.

`tests/unit/test_imports.py` walks the same law in the source.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "scipy", "gradio", "diffusers", "huggingface_hub", "matplotlib")


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_pulls_in_nothing_heavy() -> None:
    code = f"import sys, schedulers; print([m for m in {HEAVY} if m in sys.modules])"
    assert run(code) == "[]"


def test_a_class_is_loaded_when_it_is_asked_for() -> None:
    code = """
import sys, schedulers
loaded = {m for m in sys.modules if m.startswith("schedulers.")}
assert loaded == {"schedulers.interface", "schedulers.interface.lookup"}, loaded
for name in schedulers.SCHEDULERS:
    assert getattr(schedulers, name) is schedulers.SCHEDULERS[name]
    assert name in dir(schedulers) and name in schedulers.__all__
print(all(hasattr(schedulers, name) for name in schedulers.__all__), schedulers.interface.params.__name__)
"""
    assert run(code) == "True schedulers.interface.params"


def test_the_hub_is_asked_by_a_process_that_never_met_it(tmp_path: Path) -> None:
    """The client brings its modules late; nobody else may have brought them."""
    code = f"""
import schedulers
try:
    schedulers.DDIMScheduler.from_pretrained("a/b", local_files_only=True, cache_dir={str(tmp_path)!r})
except schedulers.HubError as error:
    print("is not in the cache" in str(error))
"""
    assert run(code) == "True"


def test_numpy_runs_without_torch_and_scipy() -> None:
    """As on a machine where neither is installed."""
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "scipy"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import numpy as np
from schedulers import SCHEDULERS
for name, cls in SCHEDULERS.items():
    known = {p.name for p in cls.parameters()}
    beta = {"use_beta_sigmas": True} if "use_beta_sigmas" in known else {}
    s = cls(**beta)
    s.set_timesteps(5)
    x = np.ones((2, 3))
    if s.call_form == "karras_ve":
        x, sigma = s.add_noise_to_input(x, 2.0)
        s.step(x, sigma, 1.0, x)
        continue
    if s.call_form == "score_sde":
        x = s.step_pred(-x, s.timesteps[0], s.step_correct(-x, x).prev_sample).prev_sample
        continue
    if s.call_form == "adaptive":
        x = s.sample(lambda x, sigma: x / (1 + sigma), x)
        assert np.isfinite(x).all()
        continue
    for t in s.timesteps:
        x = s.step(s.scale_model_input(x, t), t, x).prev_sample
    assert np.isfinite(x).all()
print("done")
"""
    assert run(code) == "done"
