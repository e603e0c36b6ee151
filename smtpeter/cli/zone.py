"""DNS records as zone files have them (RFC 1035 section 5)."""

from __future__ import annotations

from typing import NamedTuple

from smtpeter.auth.domain_keys import record_name, record_text
from smtpeter.model.domain import SenderDomain

TTL = 3600  # seconds
_STRING = 255  # octets of one string of a TXT record


class Record(NamedTuple):
    """``name`` is a whole domain name without its last dot; of a TXT record ``value`` is the text."""

    name: str
    type: str
    value: str

    def line(self) -> str:
        """One line of a zone file, which means the same in every zone."""
        value = _strings(self.value) if self.type == "TXT" else self.value
        return f"{self.name}. {TTL} IN {self.type} {value}"


def key_records(domain: SenderDomain) -> list[Record]:
    """Where the domain's keys are published."""
    return [Record(record_name(domain.domain, key.selector), "TXT", record_text(key)) for key in domain.keys]


def _strings(text: str) -> str:
    """In as many strings as it needs: whoever reads the record joins them (RFC 6376 section 3.6.2.2).  No text of ours
    has a quotation mark or a backslash in it."""
    return " ".join(f'"{text[start : start + _STRING]}"' for start in range(0, len(text), _STRING))
