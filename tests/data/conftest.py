import pytest

from tests.data.files import tone, write


@pytest.fixture
def folder(tmp_path):
    """Four speakers in as many formats, and a file of every broken kind."""
    for speaker, suffix in enumerate(("wav", "flac", "ogg", "aiff")):
        for take in range(2):
            path = tmp_path / f"speaker{speaker}" / "book" / f"take{take}.{suffix}"
            write(path, tone(1.0, 8000, 200 + 300 * speaker))
    return tmp_path
