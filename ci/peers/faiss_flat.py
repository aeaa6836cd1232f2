"""Measures FAISS's flat inner-product search on the vectors of `runtime/benches/recall.rs`: pip install faiss-cpu numpy.

One million unit vectors of 384 numbers, 32 queries, top 10, on THREADS threads (first argument, default 2). As installed, FAISS takes
its BLAS path from 20 queries on; a second argument `simd` keeps it on its own kernels, which are several times faster here. Prints
{"name", "theirs"}: seconds, the median of nine searches.
"""

import json
import statistics
import sys
import time

import faiss
import numpy

ROWS, DIMENSION, QUERIES, TOP = 1_000_000, 384, 32, 10


def unit_vectors(seed, rows):
    """SplitMix64's uniform values, as kernel::SplitMix gives them, each row divided by its length."""
    out = numpy.empty((rows, DIMENSION), numpy.float32)
    step = numpy.uint64(0x9E3779B97F4A7C15)
    for first in range(0, rows, 50_000):
        last = min(rows, first + 50_000)
        z = numpy.arange(first * DIMENSION + 1, last * DIMENSION + 1, dtype=numpy.uint64) * step + numpy.uint64(seed)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        top = ((z ^ (z >> numpy.uint64(31))) >> numpy.uint64(40)).astype(numpy.int64) - (1 << 23)
        out[first:last] = (top.astype(numpy.float32) * numpy.float32(2.0**-23)).reshape(-1, DIMENSION)
        out[first:last] /= numpy.linalg.norm(out[first:last], axis=1, keepdims=True)
    return out


faiss.omp_set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
if "simd" in sys.argv[2:]:
    faiss.cvar.distance_compute_blas_threshold = QUERIES + 1
index = faiss.IndexFlatIP(DIMENSION)
index.add(unit_vectors(2, ROWS))
queries = unit_vectors(1, QUERIES)
taken = []
for _ in range(9):
    begin = time.perf_counter()
    index.search(queries, TOP)
    taken.append(time.perf_counter() - begin)
print(json.dumps({"name": "flat search, 1 M x 384 f32, top 10, batch 32", "theirs": statistics.median(taken)}))
