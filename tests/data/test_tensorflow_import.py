import sys
from types import SimpleNamespace

from audioslots_jax.data.tensorflow_import import import_tensorflow


def test_accelerators_are_hidden_from_tensorflow(monkeypatch):
    hidden = []
    config = SimpleNamespace(set_visible_devices=lambda *args: hidden.append(args))
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=config))
    assert import_tensorflow().config is config
    assert hidden == [([], "GPU")]


def test_it_can_be_asked_for_again_when_tensorflow_runs():
    tensorflow = import_tensorflow()
    assert tensorflow.constant(1).numpy() == 1
    assert import_tensorflow() is tensorflow
    assert not tensorflow.config.get_visible_devices("GPU")
