"""Who may import what, and what an import costs in a fresh interpreter."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "audioslots_jax"

# Packages from the ground up: each may import those before it, and none of those after it.
FLOORS = [
    {"errors", "progress"},
    {"compilation", "fields", "flags", "variations"},
    {"matching"},
    {"audio"},
    {"models"},
    {"data"},
    {"separator", "workdir"},
    {"sequences"},
    {"objectives"},
    {"devices"},
    {"reports"},
    {"inference"},
    {"evaluation"},
    {"lens"},
    {"training"},
    {"doctor"},
    {"cli", "__init__"},
]
# What reads a checkpoint, and imports nothing of the training.
READS_CHECKPOINTS = "audioslots_jax.training.checkpoints"


def imports(path):
    """The modules that a file imports, whenever it does, but for those of its types alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from whole if node.module == "audioslots_jax" else {node.module}


def test_imports_run_downward():
    floors = {name: floor for floor, names in enumerate(FLOORS) for name in names}
    for path in ROOT.rglob("*.py"):
        own = path.relative_to(ROOT).with_suffix("").parts[0]
        for module in imports(path):
            package, _, rest = module.partition(".")
            if package == "audioslots_jax" and module != READS_CHECKPOINTS:
                other = rest.split(".")[0]
                where = f"{path.relative_to(ROOT)} imports {module}"
                assert own == other or floors.get(other, -1) < floors[own] or own == "__init__", (
                    where
                )


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("tensorflow", {"data/tensorflow_import.py", "data/tfds_libri2mix.py"}),
        (
            "optax",
            {"matching.py", "training/optimizers.py", "training/state.py", "training/step.py"},
        ),
    ],
)
def test_heavy_packages_have_their_places(package, allowed):
    users = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        for module in imports(path)
        if module.split(".")[0] == package
    }
    assert users <= allowed


EVENTS = {"tensorflow", "tensorboard", "clu"}
FILES = {"soundfile", "soxr", "pyloudnorm", "matplotlib", "orbax"}


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        (
            "audioslots_jax, audioslots_jax.training.step, audioslots_jax.training.flops",
            FILES | EVENTS,
        ),
        ("audioslots_jax, audioslots_jax.inference", {"scipy", "optax"} | EVENTS),
        ("audioslots_jax.evaluation.whole", EVENTS),
        ("audioslots_jax.training.loop, audioslots_jax.doctor", EVENTS),
    ],
)
def test_heavy_packages_are_imported_where_they_are_used(modules, heavy):
    program = f"import sys, {modules}; assert not {heavy} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", program], check=True)
