"""A program for eight CPU devices: prints how a step is divided over them, as JSON."""

import functools
import json
import re
import sys

import jax
import jax.numpy as jnp

from audioslots_jax import Batch
from audioslots_jax.devices import mesh as meshes
from audioslots_jax.training import optimizers
from audioslots_jax.training.state import init_state
from audioslots_jax.training.step import make_task, train_step
from tests.tiny import get_config

config = get_config()
config.mesh, config.matching.solver, config.train.batch_size = sys.argv[1], sys.argv[2], 16
config.model.slot_module.update(slot_size=64, mlp=64)
mesh = meshes.make_mesh()
task, optimizer = make_task(config, mesh), optimizers.build(config)

# What the host is called with, on each device.
called_with = []
pure_callback = jax.pure_callback
jax.pure_callback = lambda solve, shape, costs, **how: (
    called_with.append(list(costs.shape)) or pure_callback(solve, shape, costs, **how)
)

init = functools.partial(init_state, task.separator, optimizer, 960, 0)
of_state = meshes.of_state(config.mesh, mesh, jax.eval_shape(init))
state = jax.jit(init, out_shardings=of_state)()
step = jax.jit(
    functools.partial(train_step, task, optimizer),
    in_shardings=(of_state, meshes.by_row(mesh)),
    out_shardings=(of_state, meshes.replicated(mesh)),
)
batch = Batch(
    jax.ShapeDtypeStruct((16, 960), jnp.float32),
    jax.ShapeDtypeStruct((16, 2, 960), jnp.float32),
    jax.ShapeDtypeStruct((16, 2), bool),
)
program = step.lower(state, batch).compile().as_text()
arrays = jax.tree.leaves(state)
print(
    json.dumps(
        {
            "called_with": called_with,
            "collectives": sorted(
                set(re.findall(r" (all-[a-z]+|reduce-scatter)[-a-z]*\(", program))
            ),
            "on_each": sum(array.addressable_shards[0].data.size for array in arrays),
            "whole": [array.size for array in arrays],
        }
    )
)
