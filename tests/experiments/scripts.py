"""The scripts of experiments, which are no package."""

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def load(name: str, script: str = "run") -> ModuleType:
    """Returns a script of an experiment as a module."""
    path = ROOT / "experiments" / name / f"{script}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
