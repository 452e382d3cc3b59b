"""Options that belong together, written once: a command takes them as one argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints


def opened(command: Callable[..., None]) -> Callable[..., None]:
    """Open up the groups of options that a command takes.

    Parameters
    ----------
    command : callable
        A parameter whose type is a dataclass stands for the fields of it, each with an annotated
        option and a default.

    Returns
    -------
    callable
        The same command for Typer: every field is an option, where the group stood.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type] = {}
    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if is_dataclass(kind) and isinstance(kind, type):
            groups[parameter.name] = kind
            own = get_type_hints(kind, include_extras=True)
            parameters += [_option(f.name, own[f.name], f.default) for f in fields(kind)]
        else:
            parameters.append(_option(parameter.name, kind, parameter.default))

    @wraps(command)
    def call(**values: Any) -> None:
        joined = {
            name: kind(**{f.name: values.pop(f.name) for f in fields(kind)})
            for name, kind in groups.items()
        }
        command(**values, **joined)

    # Typer reads these; what wraps() copies is that of the closed command.
    del call.__wrapped__
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    return call


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
    )
