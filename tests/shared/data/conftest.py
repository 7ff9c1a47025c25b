import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of all caches, empty: no test reads or writes that of the user."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("PEEPHOLE_CACHE", str(folder))
    return folder
