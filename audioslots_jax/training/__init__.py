"""Training: state, step, loop, checkpoints, evaluation and reports."""
