/* Which tables there are and which one this CPU gets. */
#include <string.h>

#include "cpu.h"
#include "formulas.h"
#include "isa_table.h"
#include "kernels.h"

#define DECLARE(name, ...)                                              \
    extern const struct product_kernels fastmlp_product_##name##_float32; \
    extern const struct product_kernels fastmlp_product_##name##_float64; \
    extern const struct element_kernels fastmlp_element_##name##_float32; \
    extern const struct element_kernels fastmlp_element_##name##_float64;
FOREACH_ISA(DECLARE)

#define NAME_ROW(name, ...) #name,
static const char *const isa_names[] = {FOREACH_ISA(NAME_ROW) 0};
static const char *const activation_names[] = {FOREACH_ACTIVATION(NAME_ROW) 0};
static const char *const loss_names[] = {FOREACH_LOSS(NAME_ROW) 0};
static const char *const optimizer_names[] = {FOREACH_OPTIMIZER(NAME_ROW) 0};

const char *fastmlp_isa_name(int i) { return isa_names[i]; }
const char *fastmlp_activation_name(int i) { return activation_names[i]; }
const char *fastmlp_loss_name(int i) { return loss_names[i]; }
const char *fastmlp_optimizer_name(int i) { return optimizer_names[i]; }

const struct kernels *fastmlp_kernels(const char *cap, int use_double) {
#define RUNS_ROW(name, family, bytes, unix_flags, msvc_flags, runs) runs,
    const int runs[] = {FOREACH_ISA(RUNS_ROW) 0}; /* asked once: slow in a virtual machine */
    static struct kernels tables[2];
    int best = -1;
    for (int i = 0; isa_names[i]; i++) {
        if (runs[i]) best = i;
        if (cap && !strcmp(cap, isa_names[i])) break;
        if (cap && !isa_names[i + 1]) return 0;
    }
    struct kernels *table = &tables[use_double != 0];
    int i = 0;
#define CHOOSE_ROW(name, family, bytes, ...)                                               \
    if (i++ == best) {                                                                     \
        table->isa = #name;                                                                \
        table->value_bytes = use_double ? 8 : 4;                                           \
        table->lanes = bytes / table->value_bytes;                                         \
        table->product = use_double ? fastmlp_product_##name##_float64                     \
                                    : fastmlp_product_##name##_float32;                    \
        table->element = use_double ? fastmlp_element_##name##_float64                     \
                                    : fastmlp_element_##name##_float32;                    \
    }
    FOREACH_ISA(CHOOSE_ROW)
    return table;
}
