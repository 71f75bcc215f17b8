"""From and to the Hub: the real client, against a server on this machine that speaks its protocol."""

import inspect
import json
import re
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import diffusers
import huggingface_hub
import pytest
from huggingface_hub import constants, hf_api

from schedulers import HubError, Scheduler
from schedulers.interface.card import model_card
from tests.parity.harness import SCHEDULERS
from tests.parity.hub_server import Hub, running
from tests.parity.oracle import DIFFUSERS, SchedulerLike, diffusers_class, diffusers_scheduler
from tests.parity.test_config import changed, plain

NAME = "scheduler_config.json"
DDIM = SCHEDULERS["DDIMScheduler"]
#: Long enough for a busy machine, too short for the client's own 23 seconds of retries.
AT_ONCE = 8.0


def config(**values: object) -> str:
    return json.dumps({"_class_name": "DDIMScheduler", "beta_end": 0.03, **values})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A server, with this process's client pointed at it: nobody logged in, nothing cached."""
    with running() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hf_api.api, "endpoint", server.url)
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        server.add("ann/ddim", {NAME: config()})
        yield server
    huggingface_hub.close_session()


def asked(hub: Hub, method: str) -> int:
    """How many requests for files were made in this way since the last question."""
    number = sum(made == method and "/resolve/" in path for made, path in hub.requests)
    hub.requests = [request for request in hub.requests if request[0] != method]
    return number


# --- reading ----------------------------------------------------------------------------------


def test_a_file_is_fetched_once_and_asked_for_again_by_its_etag(hub: Hub) -> None:
    first = DDIM.from_pretrained("ann/ddim")
    assert first.config.beta_end == 0.03 and asked(hub, "GET") == 1
    asked(hub, "HEAD")
    again = DDIM.from_pretrained("ann/ddim")
    assert dict(again.config) == dict(first.config)
    assert (asked(hub, "HEAD"), asked(hub, "GET")) == (1, 0)
    hub.repositories["ann/ddim"].commit({"README.md": b"words"})
    DDIM.from_pretrained("ann/ddim")
    assert asked(hub, "GET") == 0, "another commit, the same file"
    hub.repositories["ann/ddim"].commit({NAME: config(beta_end=0.05).encode()})
    assert DDIM.from_pretrained("ann/ddim").config.beta_end == 0.05
    assert asked(hub, "GET") == 1
    DDIM.from_pretrained("ann/ddim", force_download=True)
    assert asked(hub, "GET") == 1


def test_subfolder_revision_and_cache_dir(hub: Hub, tmp_path: Path) -> None:
    repository = hub.add("ann/pipe", {f"scheduler/{NAME}": config(beta_end=0.1)})
    old = repository.refs["main"]
    repository.commit({f"scheduler/{NAME}": config(beta_end=0.2).encode()})
    repository.commit({f"scheduler/{NAME}": config(beta_end=0.3).encode()}, ref="dev")

    def beta(**where: object) -> object:
        return DDIM.from_pretrained("ann/pipe", "scheduler", **where).config.beta_end

    assert [beta(), beta(revision="dev"), beta(revision=old)] == [0.2, 0.3, 0.1]
    hub.requests.clear()
    assert beta(revision=old) == 0.1 and not hub.requests, "a commit never changes"
    elsewhere = tmp_path / "elsewhere"
    assert beta(cache_dir=elsewhere) == 0.2
    assert any(elsewhere.rglob(NAME))
    found, commit = DDIM.load_config(
        "ann/pipe", return_commit_hash=True, subfolder="scheduler", revision=old
    )
    assert found["beta_end"] == 0.1 and commit == old


def test_what_is_cached_needs_no_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HubError, match=r"ann/ddim'.*not in the cache.*local_files_only=True"):
        DDIM.from_pretrained("ann/ddim", local_files_only=True)
    DDIM.from_pretrained("ann/ddim")
    hub.requests.clear()
    assert DDIM.from_pretrained("ann/ddim", local_files_only=True).config.beta_end == 0.03
    assert not hub.requests
    hub.broken = True
    assert DDIM.from_pretrained("ann/ddim").config.beta_end == 0.03
    with pytest.raises(HubError, match="pretrained_model_name_or_path='ann/new'.*503"):
        DDIM.from_pretrained("ann/new")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    assert DDIM.from_pretrained("ann/ddim").config.beta_end == 0.03
    with pytest.raises(HubError, match="ann/new'.*not in the cache"):
        DDIM.from_pretrained("ann/new")


def test_without_a_network_it_says_so_at_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    DDIM.from_pretrained("ann/ddim")
    nobody = "http://127.0.0.1:9"  # the discard port: nobody listens
    monkeypatch.setattr(constants, "ENDPOINT", nobody)
    template = nobody + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    start = time.monotonic()
    assert DDIM.from_pretrained("ann/ddim").config.beta_end == 0.03
    with pytest.raises(HubError, match=r"ann/other'.*127\.0\.0\.1:9 cannot be reached.*cache_dir"):
        DDIM.from_pretrained("ann/other")
    with pytest.raises(HubError, match=r"repo_id='ann/other'.*cannot be reached"):
        DDIM().push_to_hub("ann/other", token="hf_ann")
    assert time.monotonic() - start < AT_ONCE


def test_a_renamed_repository_is_followed(hub: Hub) -> None:
    hub.renamed["ann/old"] = "ann/ddim"
    assert DDIM.from_pretrained("ann/old").config.beta_end == 0.03


def test_private_and_gated_repositories_open_to_their_token(hub: Hub, tmp_path: Path) -> None:
    hub.add("ann/secret", {NAME: config()}, private=True)
    hub.add("ann/gated", {NAME: config()}, gated=True)
    for name, reason in (("ann/secret", "no repository"), ("ann/gated", "is gated.*accept")):
        for token in (None, False, "hf_bob"):
            with pytest.raises(
                HubError, match=f"pretrained_model_name_or_path='{name}'.*{reason}"
            ):
                DDIM.from_pretrained(name, token=token)
        own = tmp_path / "own"
        assert DDIM.from_pretrained(name, token="hf_ann", cache_dir=own).config.beta_end == 0.03
    # the token of who is logged in acts unless it is told not to
    Path(constants.HF_TOKEN_PATH).write_text("hf_ann")
    assert DDIM.from_pretrained("ann/secret", token=True).config.beta_end == 0.03
    assert DDIM.from_pretrained("ann/secret").config.beta_end == 0.03
    with pytest.raises(HubError):
        DDIM.from_pretrained("ann/secret", token=False, cache_dir=tmp_path / "new")


@pytest.mark.parametrize(
    ("name", "where", "message"),
    [
        ("ann/nothing", {}, "no folder here and no repository"),
        ("ann/ddim", {"revision": "gone"}, "revision='gone' is no branch"),
        ("ann/ddim", {"subfolder": "unet"}, f"holds no {NAME} in subfolder='unet'"),
        ("ann/unet", {}, "config of a UNet2DModel"),
        ("ann/broken", {}, "not valid JSON"),
        ("ann/list", {}, "holds a list"),
        ("ann/odd", {}, r"config of a \['pipe'"),
        ("ann/pipe", {}, "pass subfolder='scheduler'"),
        ("no id/at/all", {}, "no Hub id"),
        ("./folder", {}, "no file and no folder"),
        ("ann/ddim", {"token": True}, "nobody is logged in"),
        ("ann/ddim", {"token": "hf_wrong"}, "refused.*401"),
        ("ann/ddim", {"force_download": True, "local_files_only": True}, "exclude each other"),
        ("ann/range", {}, "beta_end=-1"),
    ],
)
def test_errors_say_what_is_wrong(
    hub: Hub, name: str, where: dict[str, object], message: str
) -> None:
    hub.add("ann/unet", {NAME: json.dumps({"_class_name": "UNet2DModel"})})
    hub.add("ann/broken", {NAME: "{"})
    hub.add("ann/list", {NAME: "[1]"})
    hub.add("ann/odd", {NAME: json.dumps({"_class_name": ["pipe", "X"]})})
    hub.add("ann/pipe", {"model_index.json": "{}", f"scheduler/{NAME}": config()})
    hub.add("ann/range", {NAME: config(beta_end=-1)})
    with pytest.raises(ValueError, match=message) as caught:
        DDIM.from_pretrained(name, **where)
    if name not in ("ann/range",) and "force" not in str(where):
        assert isinstance(caught.value, OSError), "callers of diffusers catch that"


@pytest.mark.parametrize(
    "wrong",
    [
        {"pretrained_model_name_or_path": None},
        {"pretrained_model_name_or_path": 3},
        {"subfolder": 3},
        {"revision": 3},
    ],
)
def test_wrong_types_are_named(hub: Hub, wrong: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=next(iter(wrong))):
        DDIM.from_pretrained(**{"pretrained_model_name_or_path": "ann/ddim", **wrong})
    assert not hub.requests


def test_folders_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(HubError, match=f"holds no {NAME}"):
        DDIM.from_pretrained(tmp_path)
    DDIM().save_pretrained(tmp_path / "scheduler")
    with pytest.raises(HubError, match="pass subfolder='scheduler'"):
        DDIM.from_pretrained(tmp_path)
    # as upstream: a folder that is the subfolder already
    DDIM.from_pretrained(tmp_path / "scheduler", subfolder="scheduler")
    with pytest.raises(HubError, match="no file and no folder"):
        DDIM.from_pretrained(tmp_path / "nowhere")


def test_what_was_read_is_told(hub: Hub) -> None:
    hub.add("ann/more", {NAME: config(skip_prk_steps=True)})
    scheduler, unused, info = DDIM.from_pretrained(
        "ann/more", return_unused_kwargs=True, output_loading_info=True, steps_offset=1, colour=3
    )
    assert scheduler.config.steps_offset == 1
    assert unused["colour"] == 3 and unused["skip_prk_steps"] is True
    assert info["unexpected_keys"] == ["skip_prk_steps"] and info["error_msgs"] == []
    assert "beta_start" in info["missing_keys"]
    assert not {"beta_end", "steps_offset"} & set(info["missing_keys"])
    with pytest.warns(UserWarning, match="no parameter colour"):
        DDIM.from_pretrained("ann/more", colour=3)
    with pytest.warns(UserWarning, match="no parameter colour"):
        DDIM.from_config({}, colour=3)
    with pytest.warns(UserWarning, match="proxies"):
        DDIM.from_pretrained("ann/more", proxies={"https": "http://127.0.0.1:9"})
    with pytest.warns(FutureWarning, match="from_pretrained"):
        assert DDIM.from_config("ann/ddim").config.beta_end == 0.03
    with pytest.warns(FutureWarning, match="load_config"):
        assert DDIM.get_config_dict("ann/ddim")["beta_end"] == 0.03


def test_folders_need_no_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    DDIM(beta_end=0.04).save_pretrained(tmp_path)
    assert DDIM.from_pretrained(tmp_path).config.beta_end == 0.04
    for needs in (lambda: DDIM.from_pretrained("ann/ddim"), lambda: DDIM().push_to_hub("ann/x")):
        with pytest.raises(ImportError, match="ann/.*needs huggingface_hub"):
            needs()


def test_a_base_class_names_the_way(tmp_path: Path) -> None:
    DDIM().save_pretrained(tmp_path)
    with pytest.raises(TypeError, match="Scheduler is a base of schedulers: use"):
        Scheduler.from_pretrained(tmp_path)


# --- writing ----------------------------------------------------------------------------------


def test_upload_creates_commits_and_proposes(hub: Hub, tmp_path: Path) -> None:
    scheduler = DDIM(beta_end=0.07)
    done = scheduler.push_to_hub("ann/mine", "First", private=True, token="hf_ann")
    mine = hub.repositories["ann/mine"]
    assert mine.private and mine.messages[mine.refs["main"]] == "First"
    assert done == f"{hub.url}/ann/mine/commit/{mine.refs['main']}"
    assert mine.commits[mine.refs["main"]][NAME].decode() == scheduler.to_json_string()
    again = DDIM.from_pretrained("ann/mine", token="hf_ann")
    assert dict(again.config) == {
        k: v for k, v in scheduler.config.items() if k != "_use_default_values"
    }
    scheduler.push_to_hub("mine", subfolder="scheduler", token="hf_ann")  # one's own namespace
    files = mine.commits[mine.refs["main"]]
    assert {NAME, f"scheduler/{NAME}"} <= set(files)
    assert mine.messages[mine.refs["main"]] == "Upload scheduler"
    before = hub.repositories["ann/ddim"].refs["main"]
    proposal = scheduler.push_to_hub("ann/ddim", token="hf_bob", create_pr=True)
    assert hub.repositories["ann/ddim"].refs["main"] == before
    assert proposal.pr_url == f"{hub.url}/ann/ddim/discussions/1"
    proposed = DDIM.from_pretrained("ann/ddim", revision="refs/pr/1")
    assert proposed.config.beta_end == 0.07


def test_saving_may_upload_too(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "private.txt").write_text("stays here")
    DDIM().save_pretrained(tmp_path / "mine", push_to_hub=True, token="hf_ann")
    mine = hub.repositories["ann/mine"]
    assert "private.txt" not in mine.commits[mine.refs["main"]]
    assert (
        DDIM.from_pretrained("ann/mine").config == DDIM.from_pretrained(tmp_path / "mine").config
    )
    DDIM().save_pretrained(tmp_path, push_to_hub=True, repo_id="ann/other", token="hf_ann")
    assert "ann/other" in hub.repositories


CARD = "README.md"


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_card_says_what_it_is_and_how_to_load_it(name: str, tmp_path: Path) -> None:
    known = inspect.signature(SCHEDULERS[name]).parameters
    config = {"trained_betas": [0.1] * 100} if "trained_betas" in known else {}
    scheduler = SCHEDULERS[name](**config)
    scheduler.save_pretrained(tmp_path)
    text = model_card(scheduler, tmp_path.as_posix())
    card = huggingface_hub.ModelCard(text)
    in_diffusers = hasattr(diffusers, name)
    assert card.data.library_name == ("diffusers" if in_diffusers else None)
    assert card.data.tags == ["diffusion", "scheduler"]
    assert card.text.lstrip().startswith(f"# {scheduler.title}\n")
    assert scheduler.reference.bibtex in text and scheduler.reference.url in text
    assert ("| `trained_betas` | `[0.1, 0.1" in text) == bool(config)
    assert max(map(len, text.splitlines())) < 400
    # its code loads it, and with diffusers where that is what it says
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    loaded: dict[str, SchedulerLike] = {}
    exec(code[0], loaded)
    home = "diffusers" if in_diffusers else "schedulers"
    assert type(loaded["scheduler"]).__module__.split(".")[0] == home
    assert loaded["scheduler"].config.get("trained_betas") == config.get("trained_betas")
    assert (code[1:] == ["pipe.scheduler = scheduler\n"]) == (scheduler.call_form == "step")


def test_a_repository_without_a_card_gets_one(hub: Hub) -> None:
    DDIM().push_to_hub("mine", subfolder="scheduler", token="hf_ann")
    mine = hub.repositories["ann/mine"]
    assert CARD not in mine.commits[mine.refs["main"]], "a part of a pipeline has no card"
    DDIM().push_to_hub("mine", token="hf_ann")
    assert mine.commits[mine.refs["main"]][CARD].decode() == model_card(DDIM(), "ann/mine")
    mine.commit({CARD: b"My own words."})
    DDIM(beta_end=0.03).push_to_hub("mine", token="hf_ann")
    assert mine.commits[mine.refs["main"]][CARD] == b"My own words.", "is kept"
    DDIM().push_to_hub("ann/ddim", token="hf_bob", create_pr=True)
    theirs = hub.repositories["ann/ddim"]
    assert CARD in theirs.commits[theirs.refs["refs/pr/1"]]
    assert CARD not in theirs.commits[theirs.refs["main"]]
    assert len(theirs.commits) == 2, "config and card are one commit"


@pytest.mark.parametrize(
    ("repo_id", "token", "message"),
    [
        ("ann/ddim", "hf_bob", "repo_id='ann/ddim' cannot be written.*403"),
        ("ann/new", None, "repo_id='ann/new' cannot be written.*401"),
        ("a b", "hf_ann", "repo_id='a b' is no Hub id"),
        ("ann/ddim", True, "nobody is logged in"),
    ],
)
def test_uploads_that_are_refused(hub: Hub, repo_id: str, token: object, message: str) -> None:
    before = {name: dict(r.refs) for name, r in hub.repositories.items()}
    with pytest.raises(HubError, match=message):
        DDIM().push_to_hub(repo_id, token=token)
    assert {name: dict(r.refs) for name, r in hub.repositories.items()} == before


# --- both libraries ---------------------------------------------------------------------------


def push_theirs(scheduler: SchedulerLike, repo_id: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler.push_to_hub(repo_id, token="hf_ann")


@pytest.mark.parametrize("name", DIFFUSERS)
def test_either_library_reads_what_the_other_pushed(hub: Hub, name: str) -> None:
    ours, theirs = SCHEDULERS[name](**changed(name)), diffusers_scheduler(name, **changed(name))
    ours.push_to_hub("ann/ours", token="hf_ann")
    found = diffusers_class(name).from_pretrained("ann/ours", cache_dir=constants.HF_HUB_CACHE)
    assert plain(found.config) == plain(theirs.config)
    push_theirs(theirs, "ann/theirs")
    again = SCHEDULERS[name].from_pretrained("ann/theirs")
    assert plain(again.config) == plain(theirs.config)
