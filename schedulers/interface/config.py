"""Configuration: constructor arguments as a frozen dict, to and from JSON files.

The files are those of diffusers (``scheduler_config.json``, sorted keys, ``_class_name`` and
``_diffusers_version``), so that either library reads what the other saves.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import warnings
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..backend.checks import shown
from ..backend.errors import ParameterError, ParameterTypeError
from .hub import HubError, PushToHubMixin, find
from .params import Parameter, describe

CONFIG_NAME = "scheduler_config.json"
#: Version of diffusers whose configs these are.
DIFFUSERS_VERSION = "0.42.1"
#: Keywords of ours that upstream does not know; written only where they differ from the default.
OWN_KEYWORDS = ("compat", "tensor_format", "timestep_values")


class FrozenDict(dict[str, Any]):
    """A dict that refuses assignment, and whose keys can be read as attributes.

    Deleting a key works, because callers of diffusers delete ``_use_default_values``.

    Args:
        values: The entries.
        meant: Entries that came from another class's config and were taken for a word of one's
            own, as name -> (there, here), so that going back restores them.
    """

    _meant: Mapping[str, tuple[Any, Any]]

    def __init__(
        self, values: Mapping[str, Any], meant: Mapping[str, tuple[Any, Any]] | None = None
    ) -> None:
        """Take over the entries."""
        super().__init__(values)
        object.__setattr__(self, "_meant", meant or {})

    def __getattr__(self, name: str) -> Any:
        """The value of a key."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the config has no key {name!r}.") from None

    def _refuse(self, *args: object, **kwargs: object) -> None:
        raise TypeError(
            "a config cannot be changed: make a new scheduler with "
            "Scheduler.from_config(scheduler.config, key=value)."
        )

    __setitem__ = _refuse
    __setattr__ = _refuse
    update = _refuse
    setdefault = _refuse
    pop = _refuse
    popitem = _refuse  # type: ignore[assignment]
    clear = _refuse
    __ior__ = _refuse  # type: ignore[assignment]

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenDict:
        """A copy with the same values."""
        return FrozenDict(self, self._meant)

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[str, Any], Mapping[str, Any]]]:
        """Pickles through a plain dict."""
        return FrozenDict, (dict(self), self._meant)


def configured(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap a constructor: check its arguments against their descriptions, then keep them.

    The wrapped body runs with the checked values and ``self.config`` in place.
    """

    @functools.cache
    def known() -> dict[str, Any]:
        """Parameters with their defaults, read when the first object is made."""
        return {p.name: p.default for p in inspect.signature(init).parameters.values()}

    @functools.wraps(init)
    def wrapper(self: ConfigMixin, *args: Any, **kwargs: Any) -> None:
        hidden = {k: v for k, v in kwargs.items() if k.startswith("_")}
        given = {k: v for k, v in kwargs.items() if not k.startswith("_")}
        for former, present in self._aliases.items():
            if former in given and (value := given.pop(former)) is not None:
                given[present] = value
        _told_kind(given, known())
        values = known().copy()
        del values["self"]
        unknown = [name for name in given if name not in values]
        if unknown:
            raise ParameterTypeError(
                f"{type(self).__name__} has no parameter {unknown[0]!r}; it takes "
                f"{', '.join(values)}.",
                *unknown,
            )
        if args:
            # Binding says what is wrong with too many or doubled arguments.
            given |= inspect.signature(init).bind(self, *args, **given).arguments
            del given["self"]
        values |= given
        for name, translation in self._translations.items():
            value = values.get(name)
            if isinstance(value, str):
                values[name] = translation.get(value, value)
        for parameter in self.parameters():
            value = values[parameter.name] if parameter.call == "init" else parameter.default
            if value is not parameter.default:
                values[parameter.name] = parameter.check(value)
        config = {k: v for k, v in values.items() if k not in OWN_KEYWORDS}
        for name, usual in (("compat", "diffusers"), ("timestep_values", None)):
            if values.get(name, usual) != usual:
                config[name] = values[name]
        defaults = [name for name in config if name not in given]
        if defaults:
            config["_use_default_values"] = defaults
        self._made_with = FrozenDict({**hidden, **config})
        self._stand_on(self._made_with)
        init(self, **values)

    return wrapper


class ConfigMixin(PushToHubMixin):
    """A class whose constructor arguments are its config."""

    config_name = CONFIG_NAME
    #: Whether other classes can be made from this one's config, as in diffusers.
    has_compatibles = True
    _config: FrozenDict
    #: What the class knows of its config.
    _settings: Mapping[str, Any]
    #: The config as the constructor left it, whatever replaced it since.
    _made_with: FrozenDict
    #: Values of siblings' parameters that mean one of ours: {name: {theirs: ours}}.
    _translations: ClassVar[Mapping[str, Mapping[str | None, str]]] = {}
    #: Former names of parameters: {former: present}.
    _aliases: ClassVar[Mapping[str, str]] = {}
    _compatibles: tuple[str, ...] = ()
    #: Parameters of other classes that this one reads when a config carries them, as upstream.
    _reads_foreign: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    @functools.cache
    def parameters(cls) -> tuple[Parameter, ...]:
        """Every parameter of the constructor, then those of ``step`` that a person can turn."""
        init = describe(cls.__init__, "init")
        step = getattr(cls, "step", None)
        return init + (describe(step, "step") if step else ())

    @property
    def config(self) -> FrozenDict:
        """The constructor arguments; foreign keys of the file it came from survive in it."""
        return self._config

    @property
    def _internal_dict(self) -> FrozenDict:
        """The config, under the name by which diffusers' pipelines replace it."""
        return self._config

    @_internal_dict.setter
    def _internal_dict(self, config: Mapping[str, Any]) -> None:
        self._stand_on(FrozenDict(config))

    def register_to_config(self, /, **values: Any) -> None:
        """Replace config entries (as diffusers' pipelines do)."""
        self._stand_on(FrozenDict({**self._config, **values}, self._config._meant))

    def _stand_on(self, config: FrozenDict) -> None:
        """Take a config; a foreign key of it is no setting, whatever its name."""
        known = self._init_keys() | self._reads_foreign
        self._config = config
        self._settings = {name: value for name, value in config.items() if name in known}

    def _setting(self, name: str) -> Any:
        """A config value that this class knows; None if it has none."""
        return self._settings.get(name)

    def __getattr__(self, name: str) -> Any:
        """Config keys as attributes, with a FutureWarning, as in diffusers."""
        config = self.__dict__.get("_config")
        if config is not None and not name.startswith("_") and name in config:
            warnings.warn(
                f"read scheduler.config.{name} instead of scheduler.{name}.",
                FutureWarning,
                stacklevel=2,
            )
            return config[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # --- from and to dictionaries -------------------------------------------------------------

    @classmethod
    @functools.cache
    def _init_keys(cls) -> frozenset[str]:
        """Names of the constructor's described parameters."""
        return frozenset(p.name for p in cls.parameters() if p.call == "init")

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        return_unused_kwargs: bool = False,
        **kwargs: Any,
    ) -> Any:
        """A scheduler from a config, also one of a compatible class.

        Args:
            config: A config or plain dict. Keys that this class does not know are kept, so that
                A -> B -> A restores A; defaults that were never passed explicitly do not carry
                over (``_use_default_values``). A folder or Hub id, which the first version of
                diffusers took here, goes to ``from_pretrained`` with a FutureWarning.
            return_unused_kwargs: Also return what was not used.
            **kwargs: Overrides of config values. What the class does not know has no effect, and
                a warning says so unless ``return_unused_kwargs`` hands it back.

        Returns:
            The scheduler, or ``(scheduler, unused)``.

        Raises:
            TypeError: ``config`` is not a mapping, or this class only a base.
            ValueError: No config, that of a model, or a value out of range.
        """
        if config is None:  # the name that this argument had in the first version
            config = kwargs.pop("pretrained_model_name_or_path", None)
        if config is None:
            raise ParameterError("config=None: pass scheduler.config or a dictionary.", "config")
        if isinstance(config, (str, os.PathLike)):
            warnings.warn(
                f"load folders and repositories with {cls.__name__}.from_pretrained.",
                FutureWarning,
                stacklevel=2,
            )
            return cls.from_pretrained(config, return_unused_kwargs=return_unused_kwargs, **kwargs)
        if not isinstance(config, Mapping):
            raise ParameterTypeError(
                f"config={shown(config)} must be scheduler.config or a dictionary.", "config"
            )
        cls._require_scheduler(config, "config")
        if not cls._init_keys():
            raise TypeError(
                f"{cls.__name__} is a base of schedulers: use "
                "schedulers.SCHEDULERS[config['_class_name']].from_config(config)."
            )
        defaults = set(config.get("_use_default_values", ()))
        original = {
            k: v for k, v in config.items() if k not in defaults and k != "_use_default_values"
        }
        meant: dict[str, tuple[Any, Any]] = dict(getattr(config, "_meant", {}))
        original |= {k: there for k, (there, here) in meant.items() if original.get(k) == here}
        expected = cls._init_keys() | set(cls._aliases)
        _told_kind(kwargs, expected)
        chosen = {k: v for k, v in original.items() if k in expected}
        chosen |= {k: kwargs.pop(k) for k in list(kwargs) if k in expected}
        for name, translation in cls._translations.items():
            if name in chosen and chosen[name] is None and None in translation:
                chosen[name] = translation[None]
        hidden = {k: v for k, v in original.items() if k not in chosen}
        scheduler = cls(**chosen)
        if "_class_name" in hidden:
            hidden["_class_name"] = cls.__name__
        meant |= {k: (chosen[k], scheduler._config[k]) for k in cls._translations if k in chosen}
        scheduler._stand_on(FrozenDict(scheduler._config, meant))
        scheduler.register_to_config(**hidden)
        if return_unused_kwargs:
            return scheduler, {**kwargs, **hidden}
        _warn_unused(cls, kwargs)
        return scheduler

    def to_json_string(self) -> str:
        """The config as diffusers writes it: sorted, indented by two, with class and version."""
        self.register_to_config(
            _class_name=type(self).__name__, _diffusers_version=DIFFUSERS_VERSION
        )
        values = {k: _json_value(v) for k, v in self._config.items()}
        values.pop("_use_default_values", None)
        return json.dumps(values, indent=2, sort_keys=True) + "\n"

    def to_json_file(self, json_file_path: str | os.PathLike[str]) -> None:
        """Write ``to_json_string`` to a file."""
        Path(json_file_path).write_text(self.to_json_string(), encoding="utf-8")

    def save_config(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """Write ``scheduler_config.json`` into a folder, which is made if needed.

        Args:
            save_directory: The folder.
            push_to_hub: Also upload the file.
            **kwargs: ``repo_id`` (default: the name of the folder) and the other arguments of
                ``push_to_hub``.

        Raises:
            ValueError: ``save_directory`` is a file.
            TypeError: A keyword that ``push_to_hub`` does not know.
            HubError: The upload was refused.
        """
        folder = Path(save_directory)
        if folder.is_file():
            raise ParameterError(
                f"save_directory={str(folder)!r} is a file; pass a folder.", "save_directory"
            )
        folder.mkdir(parents=True, exist_ok=True)
        self.to_json_file(folder / self.config_name)
        if push_to_hub:
            repo_id = kwargs.pop("repo_id", folder.resolve().name)
            self.push_to_hub(repo_id, **kwargs)

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """Write ``scheduler_config.json`` into a folder; diffusers reads it. See ``save_config``."""
        self.save_config(save_directory, push_to_hub, **kwargs)

    @classmethod
    def load_config(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        return_unused_kwargs: bool = False,
        return_commit_hash: bool = False,
        *,
        subfolder: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        force_download: bool = False,
        proxies: Mapping[str, str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Read a config from a folder, a file, or a repository on the Hub.

        Args:
            pretrained_model_name_or_path: Folder, config file, or Hub id ("namespace/name").
            return_unused_kwargs: Also return ``kwargs``.
            return_commit_hash: Also return the commit that the file is of, None for a folder.
            subfolder: Folder inside it, for example "scheduler" of a saved pipeline.
            cache_dir: Where downloads are kept, default ``HF_HUB_CACHE``. A file that one token
                brought there is served to all who read the cache: give each its own.
            force_download: Fetch again what the cache has.
            proxies: No effect, with a warning: set ``HTTPS_PROXY`` instead.
            local_files_only: Do not ask the Hub, take what the cache has.
            token: Access token. True for the one you logged in with, False for none; None is
                huggingface_hub's default, which is the one you logged in with, if any.
            revision: Branch, tag or commit, default "main".
            **kwargs: Returned.

        Returns:
            The config as a dictionary, or a tuple that starts with it.

        Raises:
            HubError: (an OSError and a ValueError) Nothing is there, it is not for you, the Hub
                cannot be reached, or the file holds no JSON object.
            ImportError: huggingface_hub is needed and not installed.
        """
        path = find(
            pretrained_model_name_or_path,
            cls.config_name,
            subfolder,
            cache_dir=cache_dir,
            force_download=force_download,
            proxies=proxies,
            local_files_only=local_files_only,
            token=token,
            revision=revision,
        )
        named = (
            f"pretrained_model_name_or_path={str(pretrained_model_name_or_path)!r}: {path.name}"
        )
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise HubError(f"{named} is not valid JSON: {error}.") from error
        if not isinstance(config, dict):
            raise HubError(f"{named} holds a {type(config).__name__}, not an object.")
        found = re.search(r"snapshots/([0-9a-f]{40})/", path.as_posix())
        more = [kwargs] if return_unused_kwargs else []
        more += [found and found.group(1)] if return_commit_hash else []  # type: ignore[list-item]
        return (config, *more) if more else config

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> Any:
        """``load_config``, by the name it had in the first version; with a FutureWarning."""
        warnings.warn("get_config_dict is load_config now.", FutureWarning, stacklevel=2)
        return cls.load_config(pretrained_model_name_or_path, **kwargs)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        subfolder: str | None = None,
        return_unused_kwargs: bool = False,
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        force_download: bool = False,
        proxies: Mapping[str, str] | None = None,
        output_loading_info: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
        revision: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """A scheduler from a folder or Hub repository that either library wrote.

        Args:
            pretrained_model_name_or_path: Folder, config file, or Hub id ("namespace/name").
            subfolder: Folder inside it, for example "scheduler" of a saved pipeline.
            return_unused_kwargs: Also return what was not used.
            cache_dir: See ``load_config``, as for the next five.
            force_download: Fetch again what the cache has.
            proxies: No effect, with a warning.
            output_loading_info: Also return a dictionary with ``missing_keys`` (parameters that
                the config does not give), ``unexpected_keys`` (keys that the class does not know)
                and ``error_msgs`` (empty: an error is raised).
            local_files_only: Do not ask the Hub.
            token: Access token.
            revision: Branch, tag or commit.
            **kwargs: Overrides of config values.

        Returns:
            The scheduler, or a tuple of it, what was not used, and the loading info, as asked.

        Raises:
            HubError: (an OSError and a ValueError) Nothing is there, it is not for you, the Hub
                cannot be reached, or it is no scheduler's config.
            ValueError: A value is out of range.
        """
        config = cls.load_config(
            pretrained_model_name_or_path,
            subfolder=subfolder,
            cache_dir=cache_dir,
            force_download=force_download,
            proxies=proxies,
            local_files_only=local_files_only,
            token=token,
            revision=revision,
        )
        named = f"pretrained_model_name_or_path={str(pretrained_model_name_or_path)!r}"
        cls._require_scheduler(config, named)
        scheduler, unused = cls.from_config(config, True, **kwargs)
        if not return_unused_kwargs:
            _warn_unused(cls, [key for key in kwargs if key in unused])
        found: list[Any] = [unused] if return_unused_kwargs else []
        if output_loading_info:
            given, public = {**config, **kwargs}, (k for k in config if not k.startswith("_"))
            found.append(
                {
                    "missing_keys": sorted(cls._init_keys() - given.keys()),
                    "unexpected_keys": sorted(set(public) - cls._init_keys()),
                    "error_msgs": [],
                }
            )
        return (scheduler, *found) if found else scheduler

    @classmethod
    def _require_scheduler(cls, config: Mapping[str, Any], named: str) -> None:
        """Refuse the config of a model or a pipeline; any scheduler's will do, as in diffusers."""
        name = config.get("_class_name", cls.__name__)
        if not isinstance(name, str) or not (name == cls.__name__ or "Scheduler" in name):
            raise HubError(
                f"{named} is the config of a {name}, not of a scheduler; in a pipeline it is in "
                "the folder scheduler."
            )

    def __repr__(self) -> str:
        """Class and config, as diffusers shows them."""
        return f"{type(self).__name__} {self.to_json_string()}"


def _told_kind(given: dict[str, Any], known: Container[str]) -> None:
    """Put the word for ``predict_epsilon``, by which diffusers 0.7 and 0.8 told it."""
    if "predict_epsilon" in given and "prediction_type" in known:
        told = given.pop("predict_epsilon")
        if not isinstance(told, bool):
            raise ParameterTypeError(
                f"predict_epsilon={shown(told)} must be True or False.", "predict_epsilon"
            )
        given.setdefault("prediction_type", "epsilon" if told else "sample")


def _warn_unused(cls: type[ConfigMixin], names: Iterable[str]) -> None:
    """Say which overrides have no effect."""
    unknown = ", ".join(names)
    if unknown:
        warnings.warn(f"{cls.__name__} has no parameter {unknown}: ignored.", stacklevel=3)


def _json_value(value: Any) -> Any:
    """Arrays as lists, functions as null: a file cannot hold them; everything else as it is."""
    if callable(value):
        return None
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
