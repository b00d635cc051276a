"""Settings that come from the environment: one that cannot be used is told by its variable, never by its value."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from models.errors import ConfigurationInvalid


class FromEnvironment(BaseSettings):
    """Base of every settings object.

    Raises:
        ConfigurationInvalid: a value cannot be used; names each variable, and no value, since it may be a secret.
    """

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            mistakes = "; ".join(f"{self._variable(one['loc'])}: {one['msg']}" for one in error.errors())
            # Without its cause: pydantic's own text repeats what it was given.
            raise ConfigurationInvalid(mistakes, "docs/operations.md lists every setting") from None

    @classmethod
    def _variable(cls, place: tuple[int | str, ...]) -> str:
        """Name the variable of a field: the alias that it has, else its name behind the prefix."""
        name = str(place[0]) if place else "the settings"
        field = cls.model_fields.get(name)
        if field is None:
            return name  # pydantic tells an alias where it read one
        return str(field.validation_alias or f"{cls.model_config.get('env_prefix', '')}{name}".upper())
