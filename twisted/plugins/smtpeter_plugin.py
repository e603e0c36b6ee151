"""Tells twistd of the smtpeter subcommand."""

from twisted.application.service import ServiceMaker

smtpeter = ServiceMaker("smtpeter", "smtpeter.tap", "A self-hosted email gateway.", "smtpeter")
