"""The REST API: everything below ``/v1/``, ``/openapi.json`` and ``/docs``."""
