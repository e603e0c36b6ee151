"""Messages signed by the features that do so, when they go out."""

from __future__ import annotations

from twisted.logger import Logger, LogLevel
from zope.interface import implementer

from smtpeter.errors import FeatureMissing
from smtpeter.interfaces import IFeatureCatalog, ISigner
from smtpeter.model.feature import Options


@implementer(ISigner)
class Signer:
    """Asks the features of a catalog, in their order: each signs what the ones before it have signed."""

    _log = Logger()

    def __init__(self, catalog: IFeatureCatalog) -> None:
        self._catalog = catalog

    def wants(self, account: int | None, options: Options) -> bool:
        """See :meth:`smtpeter.interfaces.ISigner.wants`."""
        try:
            return any(feature.signs(account) for _, feature in self._catalog.signing(options))
        except Exception:
            return True  # sign() will tell what is wrong

    def is_quick(self, account: int | None, options: Options) -> bool:
        """See :meth:`smtpeter.interfaces.ISigner.is_quick`."""
        try:
            return all(each.is_quick(account) for _, each in self._catalog.signing(options) if each.signs(account))
        except Exception:
            return False

    def sign(self, submission: str, account: int | None, options: Options, content: bytes) -> bytes:
        """See :meth:`smtpeter.interfaces.ISigner.sign`."""
        name, fields = "for signatures", b""
        try:
            for name, feature in self._catalog.signing(options):  # noqa: B007 (it is told below)
                if feature.signs(account):
                    added = feature.sign(fields + content if fields else content, account)
                    if added and not added.endswith(b"\r\n"):
                        raise ValueError("what is to be put on top is no whole field")
                    fields = added + fields
        except Exception as error:
            self._log.failure(
                "feature: {feature} failed at delivery: submission={submission}",
                level=LogLevel.error,
                event="feature",
                feature=name,
                submission=submission,
            )
            raise FeatureMissing(f"The feature {name}, which has to sign this message, failed") from error
        return fields
