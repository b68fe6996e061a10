"""Trains AudioSlots: ``python main.py --config=configs/voices.py --workdir=runs/voices``.

The same command continues a run that was stopped; with ``--mode=evaluate`` it scores the run on
whole mixtures. Any field of the config can be given on the command line, such as
``--config.train.steps=500``.

On a cluster every process runs the same command. On Slurm, TPU pods and what else JAX knows they
find each other; elsewhere each is told ``--coordinator``, ``--num_processes`` and ``--process_id``.

Ends with 0 when the run is done, 2 after a mistake, 130 after Ctrl-C, and 143 after SIGTERM, which
lets the step under way end and saves it.
"""

import os
import re
import signal
import sys
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from audioslots_jax.devices.memory import keep_freed_memory
from audioslots_jax.errors import Preempted, UserError
from audioslots_jax.flags import parse

CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment: a file in configs/.")
WORKDIR = flags.DEFINE_string("workdir", None, "Where the run lives; made if it does not exist.")
MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "evaluate"], "Train, or score the workdir's best checkpoint."
)
COORDINATOR = flags.DEFINE_string("coordinator", None, "Of several processes: HOST:PORT of one.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many they are.", lower_bound=1)
PROCESS_ID = flags.DEFINE_integer("process_id", None, "Which one this is, from 0.", lower_bound=0)
DISTRIBUTED = flags.DEFINE_bool("distributed", True, "Look for the other processes of a cluster.")
flags.mark_flags_as_required(["config", "workdir"])

# TensorFlow reads these on import. It only moves batches here, so its notes on how its kernels are
# built are of no use to anybody.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def main(argv: list[str]) -> None:
    """Runs the experiment of the flags."""
    logging.set_verbosity(logging.ERROR)
    keep_freed_memory()

    from audioslots_jax.compilation import keep_compiled

    keep_compiled()
    try:
        if len(argv) > 1:
            raise UserError(f"unexpected argument {argv[1]!r}; flags start with --.")
        if "://" in WORKDIR.value:
            raise UserError(f"--workdir {WORKDIR.value} is no folder; mount the bucket as one.")
        workdir = Path(WORKDIR.value).expanduser()

        from audioslots_jax.training.page import leave_page
        from audioslots_jax.training.settings import complete

        if MODE.value == "evaluate":
            from audioslots_jax.evaluation.whole import describe, evaluate

            print(describe(evaluate(complete(CONFIG.value), workdir), workdir))
        else:
            start_distributed()

            from audioslots_jax.training.loop import train

            train(CONFIG.value, workdir)

        leave_page(workdir, complete(CONFIG.value))
    except UserError as error:
        fail(str(error))
    except Preempted as preempted:
        print(preempted, file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)
    except KeyboardInterrupt:
        trained = "continues from the last checkpoint" if MODE.value == "train" else "starts anew"
        fail(f"interrupted; the same command {trained}.", code=130)


def start_distributed() -> None:
    """Joins the processes of a cluster, if there is one; all but the first one are silent."""
    import jax

    explicit = (COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    if any(value is not None for value in explicit):
        if any(value is None for value in explicit):
            raise UserError("--coordinator, --num_processes and --process_id go together.")
        if not re.fullmatch(r".+:\d+", COORDINATOR.value):
            raise UserError(f"--coordinator is {COORDINATOR.value!r}; it must be HOST:PORT.")
        if PROCESS_ID.value >= NUM_PROCESSES.value:
            raise UserError("--process_id counts from 0, so it is below --num_processes.")
        detection = "deactivate"
    elif DISTRIBUTED.value and os.environ.get("SLURM_NTASKS") != "1":
        detection = None
    else:  # a lone task of Slurm has all devices of its machine; JAX would take the first
        return
    try:
        jax.distributed.initialize(*explicit, cluster_detection_method=detection)
    except (ValueError, RuntimeError) as error:
        if detection is None and "coordinator_address" in str(error):
            return  # there is no cluster
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"the processes of this run did not find each other ({reason}); tell each of them the "
            "same --coordinator, with a free port, or start a single one with --nodistributed."
        ) from None
    if jax.process_index() > 0:
        os.environ["TQDM_DISABLE"] = "1"
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (as long as the process lives)


def parse_flags(argv: list[str]) -> list[str]:
    """The arguments that are no flags; what is wrong with flags or config becomes a sentence."""
    if any(arg.lstrip("-") in ("help", "helpshort", "helpfull") for arg in argv[1:]):
        return app.parse_flags_with_usage(argv)
    try:
        return parse(flags.FLAGS, argv)
    except UserError as error:
        fail(str(error))


def fail(message: str, code: int = 2) -> NoReturn:
    """Ends the program with one sentence on stderr."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
