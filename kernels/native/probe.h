/* The probe of the machine's limits: what its units can do at most when nothing is in their way.
 *
 * Compiled once per ISA like the kernels (probe_unit.c); the tile unit (AMX) stands by itself
 * (probe_matrix.c). Only benchmarks use it. Nothing here reads a clock: the caller does.
 */
#ifndef FASTMLP_PROBE_H
#define FASTMLP_PROBE_H

#include <stddef.h>
#include <stdint.h>

/* One step of the multiply-add loop is one multiply-add in each of so many vectors. They are
 * independent: enough of them to hide the latency of two units, few enough for 16 registers. */
enum { PROBE_ACCUMULATORS = 12 };
/* The reading loop takes so many bytes at a time. */
enum { PROBE_BLOCK_BYTES = 512 };

struct probe_kernels {
    /* `steps` times accumulator += x * y; returns the sum over all lanes of all accumulators. */
    double (*multiply_add)(int64_t steps, double x, double y);
};

/* Read `blocks` blocks `passes` times; returns the sum of all 64-bit words read, modulo 2^64. */
typedef uint64_t (*probe_read)(const void *data, ptrdiff_t blocks, int64_t passes);

/* The ISA's name, or NULL past the last one; whether it runs here; the width of its vectors. */
const char *fastmlp_probe_name(int isa);
int fastmlp_probe_runs(int isa);
int fastmlp_probe_vector_bytes(int isa);
const struct probe_kernels *fastmlp_probe_kernels(int isa, int use_double);
probe_read fastmlp_probe_reader(int isa);

/* One step of the tile loop is one product of 16 x 32 by 32 x 16 bfloat16 in each of so many
 * accumulating tiles (16 x 16 float32). */
enum { PROBE_TILES = 4, PROBE_TILE_MULTIPLY_ADDS = 16 * 16 * 32 };

enum probe_matrix_state {
    MATRIX_READY,
    MATRIX_NOT_BUILT,  /* this build has no code for it: another CPU family, system or compiler */
    MATRIX_NOT_IN_CPU, /* CPUID says that the CPU, or the virtual machine, has none */
    MATRIX_NOT_ALLOWED /* the operating system does not save its registers */
};

/* Asks CPUID and then, once per process, the operating system. */
enum probe_matrix_state fastmlp_probe_matrix_state(void);
/* `steps` steps on tiles full of ones; returns the sum of the accumulating tiles' values. To be
 * called only if the state is MATRIX_READY. */
double fastmlp_probe_matrix(int64_t steps);

#endif
