"""Settings for tests by the names of their fields; processes are configured by the names of variables only."""

from typing import Any

from pydantic import AliasChoices

from torghut_runtime.settings import Settings


def feed_settings(**fields: Any) -> Settings:
    values: dict[str, Any] = {}
    for name, value in fields.items():
        alias = Settings.model_fields[name].validation_alias
        values[str(alias.choices[0] if isinstance(alias, AliasChoices) else alias)] = value
    return Settings(**values)
