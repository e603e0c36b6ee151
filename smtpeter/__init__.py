"""A self-hosted email gateway: mail comes in by SMTP or HTTPS and is delivered with care."""

__version__ = "0.1.0"
