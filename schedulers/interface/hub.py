"""The Hugging Face Hub: where a config comes from, and where it goes.

huggingface_hub does the talking, with its own cache, its own tokens and its own environment
variables (``HF_ENDPOINT``, ``HF_HOME``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``). It is imported when
something is fetched or sent, not before.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from ..backend.checks import shown
from ..backend.errors import ParameterError, ParameterTypeError
from .card import CARD_NAME


class HubError(OSError, ValueError):
    """A config that could not be fetched, read or sent.

    An OSError because callers of diffusers catch that, a ValueError because an argument named
    something that is not there.
    """


class PushToHubMixin:
    """Something with a config that can be uploaded."""

    config_name: str

    def to_json_string(self) -> str:
        """What is uploaded."""
        raise AttributeError("a class that is pushed to the Hub must say what it is in JSON")

    def _card(self, repo_id: str) -> str:
        """The model card of a repository that has none."""
        raise AttributeError("a class that is pushed to the Hub must say what its card says")

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        create_pr: bool = False,
        safe_serialization: bool = True,
        variant: str | None = None,
        subfolder: str | None = None,
    ) -> str:
        """Upload the config file to a repository, which is made if needed.

        Where the repository has no model card, one goes with it, unless the config goes into a
        subfolder. Nothing else is uploaded.

        Args:
            repo_id: ``"namespace/name"``, or a name in your own namespace.
            commit_message: Title of the commit, default "Upload scheduler".
            private: Whether a repository that is made now is private; an existing one stays as
                it is.
            token: Access token; True or None for the one you logged in with, False for none.
            create_pr: Open a pull request instead of committing to ``main``.
            safe_serialization: Concerns weights, of which a scheduler has none.
            variant: Likewise.
            subfolder: Folder in the repository, for example "scheduler" of a pipeline.

        Returns:
            Address of the commit (huggingface_hub's CommitInfo, which also has ``pr_url``).

        Raises:
            HubError: No such namespace, no permission, or the Hub cannot be reached.
            ImportError: huggingface_hub is not installed.
        """
        del safe_serialization, variant
        path = f"{subfolder}/{self.config_name}" if subfolder else self.config_name
        card = None if subfolder else self._card
        return upload(
            self.to_json_string(), path, repo_id, commit_message, private, token, create_pr, card
        )


def client(why: str) -> ModuleType:
    """The package huggingface_hub.

    Raises:
        ImportError: It is not installed; the message says for what it is needed.
    """
    try:
        # Its modules too: the package itself brings them only with a name out of them.
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as error:
        raise ImportError(
            f"{why} needs huggingface_hub (pip install huggingface_hub); folders need nothing."
        ) from error
    return huggingface_hub


def find(
    name: str | os.PathLike[str],
    filename: str,
    subfolder: str | None = None,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
    proxies: Mapping[str, str] | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    revision: str | None = None,
) -> Path:
    """A config file as a path on this machine: the file itself, in a folder, or off the Hub.

    Args:
        name: ``pretrained_model_name_or_path``.
        filename: Name of the file in the folder or repository.
        subfolder: Folder inside it. A local folder that lacks it is searched itself.
        cache_dir: See ``ConfigMixin.load_config``, as for all that follow.
        force_download: Likewise.
        proxies: Likewise.
        local_files_only: Likewise.
        token: Likewise.
        revision: Likewise.

    Raises:
        HubError: It is not there, or not for you; the message says which.
        ImportError: A repository is asked for and huggingface_hub is not installed.
    """
    for key, value in (("subfolder", subfolder), ("revision", revision)):
        if value is not None and not isinstance(value, str):
            raise ParameterTypeError(f"{key}={shown(value)} must be a string or None.", key)
    if not isinstance(name, (str, os.PathLike)):
        raise ParameterTypeError(
            f"pretrained_model_name_or_path={shown(name)} must be a folder, a file or the id of a "
            "repository on the Hub.",
            "pretrained_model_name_or_path",
        )
    path, named = Path(name), f"pretrained_model_name_or_path={str(name)!r}"
    inside = f" in subfolder={subfolder!r}" if subfolder else ""
    if path.is_file():
        return path
    if path.is_dir():
        for folder in (path / subfolder, path) if subfolder else (path,):
            if (folder / filename).is_file():
                return folder / filename
        hint = (
            " It is a pipeline: pass subfolder='scheduler'."
            if (path / "scheduler" / filename).is_file()
            else ""
        )
        raise HubError(f"{named} is a folder that holds no {filename}{inside}.{hint}")
    if not isinstance(name, str) or name.startswith(("/", "./", "../", "~")):
        raise HubError(f"{named} is no file and no folder; a Hub id looks like 'namespace/name'.")
    if force_download and local_files_only:
        raise ParameterError(
            "force_download=True and local_files_only=True exclude each other.",
            "force_download",
            "local_files_only",
        )
    if proxies:
        warnings.warn(
            "proxies: huggingface_hub takes proxies from HTTPS_PROXY or from its "
            "set_client_factory only; the argument has no effect.",
            stacklevel=4,
        )
    what = {"subfolder": subfolder, "revision": revision}
    return _download(
        named, name, filename, what, cache_dir, force_download, local_files_only, token
    )


def _download(
    named: str,
    repo_id: str,
    filename: str,
    what: dict[str, str | None],
    cache_dir: str | os.PathLike[str] | None,
    force_download: bool,
    local_files_only: bool,
    token: str | bool | None,
) -> Path:
    """A file off the Hub, or out of the cache."""
    hub = client(f"{named}: a repository on the Hub")
    inside = "".join(f" in {key}={value!r}" for key, value in what.items() if value)
    full = f"{what['subfolder']}/{filename}" if what["subfolder"] else filename
    errors = hub.errors
    try:
        known = hub.try_to_load_from_cache(repo_id, full, cache_dir, what["revision"])
        if not local_files_only and (force_download or not isinstance(known, str)):
            # With nothing to fall back on, the download would try for half a minute before it
            # says that there is no network: this single request says so at once.
            hub.get_hf_file_metadata(hub.hf_hub_url(repo_id, filename, **what), token=token)
        return Path(
            hub.hf_hub_download(
                repo_id,
                filename,
                **what,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
            )
        )
    except errors.HFValidationError as error:
        raise HubError(f"{named} is no file, no folder and no Hub id: {error}") from error
    except errors.GatedRepoError as error:
        raise HubError(
            f"{named} is gated: accept its conditions at {_endpoint(hub)}/{repo_id} and pass a "
            "token that may read it."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{named} is no folder here and no repository at {_endpoint(hub)} that this token may "
            "see; for a private one pass token or log in with `hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(
            f"revision={what['revision']!r} is no branch, tag or commit of {named}."
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise HubError(
            f"{named}: {filename}{inside} is not in the cache (cache_dir={_cache(hub, cache_dir)!r}), "
            + (
                "and local_files_only=True forbids to ask the Hub."
                if local_files_only
                else f"and {_endpoint(hub)} could not be asked."
            )
        ) from error
    except errors.EntryNotFoundError as error:
        raise HubError(
            f"{named} holds no {filename}{inside}."
            + ("" if what["subfolder"] else " Of a pipeline, pass subfolder='scheduler'.")
        ) from error
    except errors.LocalTokenNotFoundError as error:
        raise HubError("token=True, but nobody is logged in: `hf auth login`.") from error
    except errors.HfHubHTTPError as error:
        raise HubError(f"{named}: the Hub refused: {_answer(error)}") from error
    except _transport(errors) as error:
        raise HubError(
            f"{named} is no folder here, {_endpoint(hub)} cannot be reached ({error}), and "
            f"{filename}{inside} is not in the cache (cache_dir={_cache(hub, cache_dir)!r})."
        ) from error


def upload(
    text: str,
    path: str,
    repo_id: str,
    commit_message: str | None,
    private: bool | None,
    token: str | bool | None,
    create_pr: bool,
    card: Callable[[str], str] | None = None,
) -> str:
    """Commit one text file to a repository on the Hub, which is made if needed.

    With ``card``, which writes a model card for a repository, that too where there is none.

    Returns:
        Address of the commit.

    Raises:
        HubError: No such namespace, no permission, or the Hub cannot be reached.
        ImportError: huggingface_hub is not installed.
    """
    hub = client(f"repo_id={shown(repo_id)}: a repository on the Hub")
    errors = hub.errors
    if not isinstance(repo_id, str):
        raise ParameterTypeError(
            f"repo_id={shown(repo_id)} must be 'namespace/name' or a name.", "repo_id"
        )
    try:
        api = hub.HfApi(token=token)
        found = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        files = {path: text}
        if card and not any(
            file.rfilename == CARD_NAME for file in api.model_info(found).siblings or ()
        ):
            files[CARD_NAME] = card(found)
        done: str = api.create_commit(
            found,
            [hub.CommitOperationAdd(name, content.encode()) for name, content in files.items()],
            commit_message=commit_message or "Upload scheduler",
            create_pr=create_pr,
        )
    except errors.HFValidationError as error:
        raise HubError(f"repo_id={shown(repo_id)} is no Hub id: {error}") from error
    except errors.LocalTokenNotFoundError as error:
        raise HubError("token=True, but nobody is logged in: `hf auth login`.") from error
    except errors.HfHubHTTPError as error:
        raise HubError(
            f"repo_id={repo_id!r} cannot be written with this token: {_answer(error)}"
        ) from error
    except (errors.OfflineModeIsEnabled, *_transport(errors)) as error:
        raise HubError(
            f"repo_id={repo_id!r}: {_endpoint(hub)} cannot be reached ({error})."
        ) from error
    return done


def _transport(errors: ModuleType) -> tuple[type[Exception], ...]:
    """What the HTTP client of the installed huggingface_hub raises when nobody answers."""
    bases: tuple[type[Exception], ...] = errors.HfHubHTTPError.__bases__
    return bases


def _answer(error: Exception) -> str:
    """The first line of what the Hub said."""
    return next((line for line in str(error).splitlines() if line.strip()), "no reason given")


def _endpoint(hub: ModuleType) -> str:
    return str(hub.constants.ENDPOINT)


def _cache(hub: ModuleType, cache_dir: str | os.PathLike[str] | None) -> str:
    return str(hub.constants.HF_HUB_CACHE if cache_dir is None else cache_dir)


__all__ = ["HubError", "PushToHubMixin", "find", "upload"]
