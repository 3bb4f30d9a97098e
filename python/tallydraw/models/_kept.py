"""Kept: a model as a value: its parameters, one fit, and what is prepared from both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from tallydraw import _check
from tallydraw.models._parameters import own_parameter, same_parameter
from tallydraw.models._state import Fitted, Prepared
from tallydraw.tables import Tables

_NOBODYS = frozenset({int, float, str, bool, type(None)})  # values that cannot be changed


class Kept(ABC):
    """What a model keeps, and nothing of what it computes.

    Parameters belong to the model alone: they are copied, and checked as far as they can be without data. A fit is
    replaced as a whole; what is prepared from it and the parameters is made where it is first asked for, is published
    by one assignment, and is made again where either has changed. A pickle has none of it, and no number of threads.
    """

    _parameters: ClassVar[tuple[str, ...]]
    _frozen: ClassVar[tuple[str, ...]] = ("n_categories",)  # what a fit settles for good
    _fits: ClassVar[tuple[str, ...]] = ("fit", "partial_fit", "from_probabilities")  # what makes a fit
    _fitted: Fitted | None
    _cache: Prepared | None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._frozen and getattr(self, "_fitted", None) is not None:
            raise AttributeError(f"{name} is settled by the first fit: make another {type(self).__name__}")
        if name in self._parameters:
            value = self._checked(name, value if type(value) in _NOBODYS else own_parameter(value))
        object.__setattr__(self, name, value)

    def _checked(self, name: str, value: Any) -> Any:
        """The value of a parameter, as far as it can be checked without data."""
        if name == "missing" and value is not None:
            return _check.natural("missing", value, least=-(2**63))
        if name == "unseen":
            _check.unseen_rule(value)
        return value

    @abstractmethod
    def _derived(self, fitted: Fitted) -> tuple[Any, Tables | None]:
        """Probabilities and class prior of a fit, under the parameters of this moment; ValueError where they differ."""

    def _prepared(self) -> Prepared:
        """What is derived, for the fit and the parameters of this moment."""
        fitted, cache = self._require_fitted(), self._cache
        parameters = tuple(getattr(self, name) for name in self._parameters)
        if (
            cache is not None
            and cache.fitted is fitted
            and all(a is b for a, b in zip(cache.parameters, parameters, strict=True))
        ):
            return cache
        fresh = Prepared(fitted, parameters, *self._derived(fitted))
        self._cache = fresh
        return fresh

    def _require_fitted(self) -> Fitted:
        fitted = self._fitted
        if fitted is None:
            raise AttributeError(
                f"this {type(self).__name__} is not fitted: call {', '.join(self._fits[:-1])} or {self._fits[-1]}"
            )
        return fitted

    def _require_counts(self) -> Fitted:
        fitted = self._require_fitted()
        if fitted.counts is None:
            raise AttributeError(self._has_no_counts())
        return fitted

    def _has_no_counts(self) -> str:
        kind = type(self).__name__
        return f"this {kind} was made from probabilities, or is a component of a Mixture: it has no counts"

    def _counted(self) -> Prepared:
        """What is derived from counts; AttributeError where there are none."""
        self._require_counts()
        return self._prepared()

    def _with_class(self, method: str) -> Prepared:
        prepared = self._prepared()
        if prepared.classes is None:
            raise AttributeError(
                f"{method} needs a class, and this {type(self).__name__} has none: fit it with y, or make it by "
                "from_probabilities(tables, class_prior=...) (components of a Mixture have none)"
            )
        return prepared

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_cache": None}
        if state.get("_fitted") is not None:
            state["_fitted"] = state["_fitted"]._replace(n_threads=None)  # of this machine, and no part of the fit
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        fitted = state.get("_fitted")
        if fitted is not None:  # a pickle forgets what is read-only
            for part in (fitted.sizes, fitted.names, fitted.classes):
                if part is not None:
                    part.flags.writeable = False
        self.__dict__.update(state | {name: own_parameter(state[name]) for name in self._parameters})

    def __repr__(self) -> str:
        plain = type(self)()
        shown = [
            f"{name}={getattr(self, name)!r}"
            for name in self._parameters
            if not same_parameter(getattr(self, name), getattr(plain, name))
        ]
        return f"{type(self).__name__}({', '.join(shown)})"
