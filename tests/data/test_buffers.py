import concurrent.futures

import numpy as np

from audioslots_jax.data.buffers import Buffers


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_comes_back_when_nobody_can_read_it_any_more():
    buffers = Buffers()
    first = buffers.empty((3, 2, 100))
    first[:] = 7
    start, part = address(first), first[1:, 0, 50:]
    del first
    other = buffers.empty((3, 2, 100))
    other[:] = 8
    np.testing.assert_array_equal(part, 7)
    del part
    assert address(buffers.empty((2, 2, 100))) == start
    larger = buffers.empty((30, 2, 100))
    larger[:] = 9
    np.testing.assert_array_equal(other, 8)


def test_arrays_are_aligned_writable_and_of_their_shape():
    buffers = Buffers()
    arrays = [buffers.empty((size, 3)) for size in (1, 5, 1000, 0)]
    for array in arrays:
        assert array.shape[1:] == (3,)
        assert array.dtype == np.float32
        assert address(array) % 64 == 0
        array[:] = 1


def test_many_threads_never_share_an_array():
    buffers = Buffers()

    def work(number):
        for _ in range(200):
            array = buffers.empty((50,))
            array[:] = number
            other = buffers.empty((50,))
            other[:] = -number
            if not (array == number).all():
                return False
            del array
        return True

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(1, 33)))
    # Each of 8 threads holds three at most: a new `other` is made before the old one is let go.
    assert len(buffers._free) <= 8 * 3
