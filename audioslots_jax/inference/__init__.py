"""Recordings of any length and rate in, separated recordings out."""

from audioslots_jax.inference.recordings import RecordingSeparator, load
from audioslots_jax.inference.stitching import stitch

__all__ = ["RecordingSeparator", "load", "stitch"]
