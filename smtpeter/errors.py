"""The errors that cross a room's door."""

from __future__ import annotations

from smtpeter.model.reply import Reply


class SmtpeterError(Exception):
    """What all our own errors are, so that an edge can tell them from bugs."""


class ConfigError(SmtpeterError):
    """The configuration or the environment is wrong; the text is one line that names what to change."""


class NotPossible(SmtpeterError):
    """An operator's request cannot be carried out; the text is one line for people."""


class IdempotencyConflict(SmtpeterError):
    """Another request was made under the same idempotency key."""


class Refusal(SmtpeterError):
    """A client's request is refused.

    ``reply`` is what the client is told: what was wrong and what to do.  ``reason`` is for the log only and may
    tell more, but never a secret.
    """

    def __init__(self, code: int, enhanced: str, text: str, reason: str = "") -> None:
        super().__init__(f"{code} {enhanced} {text}")
        self.reply = Reply(code, enhanced, text)
        self.reason = reason or text


class StorageUnavailable(SmtpeterError):
    """The store cannot do this now.  Always temporary for the client: 451, 452 or 503, never 5xx of SMTP."""


class StorageFull(StorageUnavailable):
    """No room left where mail is kept (452 4.3.1)."""


class StoreDamaged(StorageUnavailable):
    """What was to be read or changed lies on a damaged part of the store; what lies elsewhere may be well."""


class ContentCorrupt(SmtpeterError):
    """Stored content cannot be read or does not match its checksum; it must not be sent."""


class FeatureMissing(SmtpeterError):
    """A message cannot be completed for a recipient, because a feature that it needs is gone or fails."""


class WrongSchema(ConfigError):
    """The store was made by a newer version of the program than this one."""
