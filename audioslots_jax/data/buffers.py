"""Arrays for batch after batch, whose memory is used again."""

import math
import weakref

import numpy as np
from jaxtyping import Float32


class Buffers:
    """Makes arrays, and takes their memory back when they are gone.

    Fresh memory, which the system clears page by page, costs as much time as filling it with crops.
    """

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def empty(self, shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
        """Returns an array of this shape with anything in it.

        It is aligned to 64 bytes, so that TensorFlow and JAX take it over without a copy.
        """
        count = math.prod(shape)
        try:
            memory = self._free.pop()
        except IndexError:  # rather than a look before, which several threads could take at once
            memory = bytearray()
        if len(memory) < 4 * count + 64:
            memory = bytearray(4 * count + 64)
        start = -np.frombuffer(memory, np.uint8).ctypes.data % 64
        # All views of this array keep it alive, and only then has it nobody who could still read.
        array = np.frombuffer(memory, np.float32, count, start)
        weakref.finalize(array, self._free.append, memory).atexit = False
        return array.reshape(shape)
