import pytest

from audioslots_jax.data import prepare as preparing
from audioslots_jax.data.prepare import prepare
from tests.data.files import tone, write, write_librimix


@pytest.fixture
def folder(tmp_path):
    """Four speakers in as many formats."""
    for speaker, suffix in enumerate(("wav", "flac", "ogg", "aiff")):
        for take in range(2):
            path = tmp_path / f"speaker{speaker}" / "book" / f"take{take}.{suffix}"
            write(path, tone(1.0, 8000, 200 + 300 * speaker))
    return tmp_path


@pytest.fixture(scope="session")
def librimix(tmp_path_factory):
    """A small folder like the one Libri2Mix is made of; do not change it."""
    return write_librimix(tmp_path_factory.mktemp("librimix"))


@pytest.fixture(scope="session")
def stored(librimix, tmp_path_factory):
    """The store of that folder; do not change it."""
    output = tmp_path_factory.mktemp("stored") / "store"
    prepare(librimix, output, 16000)
    return output


@pytest.fixture(scope="session")
def stored_speech(speech, tmp_path_factory):
    """The store of the official rows' utterances."""
    output = tmp_path_factory.mktemp("stored_speech") / "store"
    prepare(speech / "librimix", output, 16000)
    return output


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of one to two recordings."""
    monkeypatch.setattr(preparing, "PART_BYTES", 60_000)
