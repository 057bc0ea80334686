/* Which loops of the probe there are, and which of them run on this CPU. */
#include "probe.h"

#include "cpu.h"
#include "isa_table.h"

#define DECLARE(name, ...)                                            \
    extern const struct probe_kernels fastmlp_probe_##name##_float32; \
    extern const struct probe_kernels fastmlp_probe_##name##_float64; \
    extern const probe_read fastmlp_probe_read_##name;
FOREACH_ISA(DECLARE)

#define NAME_ROW(name, ...) #name,
#define BYTES_ROW(name, family, bytes, ...) bytes,
static const char *const names[] = {FOREACH_ISA(NAME_ROW) 0};
static const int vector_bytes[] = {FOREACH_ISA(BYTES_ROW) 0};

const char *fastmlp_probe_name(int isa) { return names[isa]; }
int fastmlp_probe_vector_bytes(int isa) { return vector_bytes[isa]; }

int fastmlp_probe_runs(int isa) {
#define RUNS_ROW(name, family, bytes, unix_flags, msvc_flags, runs) runs,
    const int runs[] = {FOREACH_ISA(RUNS_ROW) 0};
    return runs[isa];
}

const struct probe_kernels *fastmlp_probe_kernels(int isa, int use_double) {
#define KERNELS(name, ...) {&fastmlp_probe_##name##_float32, &fastmlp_probe_##name##_float64},
    static const struct probe_kernels *const tables[][2] = {FOREACH_ISA(KERNELS)};
    return tables[isa][use_double != 0];
}

probe_read fastmlp_probe_reader(int isa) {
#define READER(name, ...) &fastmlp_probe_read_##name,
    static const probe_read *const readers[] = {FOREACH_ISA(READER)};
    return *readers[isa];
}
