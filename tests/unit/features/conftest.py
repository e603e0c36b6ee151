import pytest

from tests.fakes.installed import only_these


@pytest.fixture
def modules(tmp_path):
    """Features of the test's own, and no others."""
    with only_these(tmp_path / "installed") as modules:
        yield modules
