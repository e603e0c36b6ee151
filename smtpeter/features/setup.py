"""What a worker is told once, at its start: all that it needs of the configuration, and no secret but what it needs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, NamedTuple

from smtpeter.features.frames import BadFrame
from smtpeter.features.pipeline import Limits
from smtpeter.features.services import FeatureKeys, KeySource, Surroundings, keys_of
from smtpeter.settings import Features, Settings

_DATES: dict[str, Any] = {"datetime": datetime, "date": date, "time": time}  # what TOML has and JSON has not


class Setup(NamedTuple):
    """Goes through a pipe, not over a command line or the environment: it has the features' keys in it.

    ``parent`` is the process id of the server.
    """

    parent: int
    store_url: str
    data_dir: Path
    surroundings: Surroundings
    features: Features
    keys: Mapping[str, FeatureKeys]
    limits: Limits

    @staticmethod
    def of(settings: Settings, source: KeySource, names: Iterable[str]) -> Setup:
        """For the workers of this process; ``names`` are those of the features that run."""
        return Setup(
            os.getpid(),
            settings.store.url,
            settings.data_dir,
            Surroundings.of(settings),
            settings.features,
            {name: keys_of(source, name) for name in names},
            Limits(settings.limits.mime_depth, settings.limits.mime_parts),
        )

    def encode(self) -> bytes:
        """The payload of a frame."""
        document = {
            "parent": self.parent,
            "store_url": self.store_url,
            "data_dir": str(self.data_dir),
            "surroundings": self.surroundings._asdict(),
            "disabled": self.features.disabled,
            "paths": [str(path) for path in self.features.paths],
            "tables": {name: _plain(table) for name, table in self.features.tables.items()},
            "keys": {name: keys.to_json() for name, keys in self.keys.items()},
            "limits": self.limits._asdict(),
        }
        return json.dumps(document).encode("ascii")

    @staticmethod
    def decode(payload: bytes) -> Setup:
        """What :meth:`encode` gave.

        :raises BadFrame: where it is none of that.
        """
        try:
            document = json.loads(payload, object_hook=_revived)
            return Setup(
                document["parent"],
                document["store_url"],
                Path(document["data_dir"]),
                Surroundings(**document["surroundings"]),
                Features(
                    tuple(document["disabled"]),
                    tuple(Path(path) for path in document["paths"]),
                    document["tables"],
                ),
                {name: FeatureKeys.from_json(keys) for name, keys in document["keys"].items()},
                Limits(**document["limits"]),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadFrame(f"no set-up: {type(error).__name__}") from error  # the text may have a key in it

    def __repr__(self) -> str:
        return f"Setup(parent={self.parent})"


def _plain(value: Any) -> Any:
    """A value of TOML as JSON has it."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    for name, kind in _DATES.items():
        if isinstance(value, kind):
            return {f"${name}": value.isoformat()}
    return value


def _revived(document: dict[str, Any]) -> Any:
    if len(document) == 1:
        ((name, text),) = document.items()
        kind = _DATES.get(name.removeprefix("$")) if name.startswith("$") else None
        if kind is not None:
            return kind.fromisoformat(text)
    return document
