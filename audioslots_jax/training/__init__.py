"""Training: settings, state, step, loop, optimisers and checkpoints."""
