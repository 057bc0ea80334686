/* Which loops of the probe there are, and which of them run on this CPU. */
#include "probe.h"

#include "cpu.h"
#include "isa_table.h"

#define DECLARE(name, ...)                                            \
    extern const struct probe_kernels fastmlp_probe_##name##_float32; \
    extern const struct probe_kernels fastmlp_probe_##name##_float64; \
    extern const probe_read fastmlp_probe_read_##name;
FOREACH_ISA(DECLARE)

#define ROW(name, family, bytes, unix_flags, msvc_flags, runs) {#name, bytes, runs},
struct isa_row {
    const char *name;
    int vector_bytes, runs;
};

static struct isa_row row_of(int isa) {
    const struct isa_row rows[] = {FOREACH_ISA(ROW) {0, 0, 0}};
    return rows[isa];
}

const char *fastmlp_probe_name(int isa) { return row_of(isa).name; }
int fastmlp_probe_runs(int isa) { return row_of(isa).runs; }
int fastmlp_probe_vector_bytes(int isa) { return row_of(isa).vector_bytes; }

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
