"""The ``smtpeter`` command: what operators do with a gateway, whether it runs or not."""
