"""Arrays that are kept on the host and shown in the format that was asked for."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np

from .backend.arrays import Array, host_values, torch_backend, torch_is_installed
from .backend.checks import check_floats, check_numbers, shown
from .interface.config import ConfigMixin


class Published(ConfigMixin):
    """Public arrays, made out of host arrays when they are first looked at."""

    #: Host arrays by their public names, each with the device it goes to.
    _published: dict[str, tuple[np.ndarray, Any]]
    #: What ``timesteps`` shows, and the same where it was not assigned.
    _timesteps: Any
    _own_timesteps: Any

    def _show_as(self, tensor_format: str | None) -> None:
        """Nothing is published yet; what will be, is shown in a format, torch's where it is."""
        if tensor_format is None:
            tensor_format = "pt" if torch_is_installed() else "np"
        self._check_format(tensor_format)
        self.tensor_format = tensor_format
        self._published = {}
        self._timesteps = self._own_timesteps = None

    @staticmethod
    def _check_format(tensor_format: object) -> None:
        if not isinstance(tensor_format, str) or tensor_format not in ("pt", "np"):
            raise ValueError(f"tensor_format={shown(tensor_format)} must be 'pt' or 'np'.")

    def set_format(self, tensor_format: Literal["pt", "np"] = "pt") -> Self:
        """Switch ``timesteps`` and ``sigmas`` to torch tensors ("pt") or NumPy arrays ("np").

        ``step`` takes arrays of either kind, whatever the format.

        Returns:
            The scheduler itself.

        Raises:
            ValueError: Another format.
        """
        self._check_format(tensor_format)
        if tensor_format != self.tensor_format:
            self.tensor_format = tensor_format
            for name in self._published:
                self.__dict__.pop(name, None)
            own, assigned = self._own_timesteps, self._timesteps
            self._timesteps = self._own_timesteps = None
            if assigned is not own:
                self._timesteps = self._in_format(host_values(assigned))
        return self

    def _publish(self, name: str, array: np.ndarray, device: Any = None) -> None:
        """Give a host array a public name; it is shown in the format of ``tensor_format``."""
        array.setflags(write=False)
        if device is not None and self.tensor_format == "pt":
            torch_backend().check_device(device)
        self._published[name] = (array, device)
        if name == "timesteps":
            self._timesteps = self._own_timesteps = None
        else:
            self.__dict__.pop(name, None)

    def _in_format(self, array: np.ndarray, device: Any = None) -> Array:
        """A copy of a host array in the format of ``tensor_format``."""
        if self.tensor_format == "np":
            return array.copy()
        return torch_backend().tensor(array, device)

    def __getattr__(self, name: str) -> Any:
        """A published array, made when it is first looked at; else a config key."""
        published = self.__dict__.get("_published", {})
        if name not in published:
            return super().__getattr__(name)
        value = self.__dict__[name] = self._in_format(*published[name])
        return value

    @property
    def timesteps(self) -> Array:
        """The times at which the model is asked, in the order of the calls."""
        if self._timesteps is None and "timesteps" in self._published:
            own = self._in_format(*self._published["timesteps"])
            self._timesteps = self._own_timesteps = own
        return self._timesteps

    @timesteps.setter
    def timesteps(self, values: Array) -> None:
        # Callers of diffusers cut the schedule short by assignment.
        self._timesteps = values
        if values is not None:
            self._cut(tuple(host_values(values).astype(np.float64).tolist()))

    def _cut(self, times: tuple[float, ...]) -> None:
        """Go by these times, which a caller assigned."""
        raise AttributeError("a scheduler class must say what follows from its times")

    @property
    def sigmas(self) -> Array:
        """Levels."""
        if "sigmas" not in self.__dict__:
            self.__dict__["sigmas"] = self.__getattr__("sigmas")
        return self.__dict__["sigmas"]

    @sigmas.setter
    def sigmas(self, values: Array) -> None:
        self.__dict__["sigmas"] = values

    @staticmethod
    def match_shape(values: Array, broadcast_array: Array) -> Array:
        """Give ``values`` trailing axes so that they broadcast against ``broadcast_array``.

        Args:
            values: Shape (batch,) or a scalar; list, array or tensor.
            broadcast_array: Array of shape (batch, ...); its kind and device are taken.

        Returns:
            Shape (batch, 1, ..., 1).
        """
        backend = check_floats("broadcast_array", broadcast_array)
        return backend.broadcast(check_numbers("values", values), broadcast_array)
