/* Which tables there are and which one this CPU gets. */
#include <stdio.h>
#include <string.h>

#include "amx_check.h"
#include "cpu.h"
#include "formulas.h"
#include "isa_table.h"
#include "kernels.h"

#define DECLARE(name, ...)                                              \
    extern const struct product_kernels fastmlp_product_##name##_float32; \
    extern const struct product_kernels fastmlp_product_##name##_float64; \
    extern const struct product_kernels fastmlp_product_##name##_bfloat16; \
    extern const struct element_kernels fastmlp_element_##name##_float32; \
    extern const struct element_kernels fastmlp_element_##name##_float64; \
    extern const struct int8_kernels fastmlp_kernels_##name##_int8;
FOREACH_ISA(DECLARE)
#define DECLARE_INT8(name, ...) extern const struct int8_kernels fastmlp_kernels_##name##_int8;
#if defined(FASTMLP_AVX512_VNNI)
FOREACH_INT8(DECLARE_INT8)
#endif
#define DECLARE_BFLOAT16(name, ...) \
    extern const struct three_products fastmlp_product_##name##_bfloat16;
#if defined(FASTMLP_AVX512_BF16)
FOREACH_BFLOAT16(DECLARE_BFLOAT16)
#endif
#if defined(FASTMLP_AMX)
#define DECLARE_AMX(name, ...) \
    extern const struct three_products fastmlp_product_##name##_bfloat16, fastmlp_product_##name##_float32; \
    extern const struct strip_products fastmlp_strips_##name##_bfloat16, fastmlp_strips_##name##_float32;
FOREACH_AMX(DECLARE_AMX)
#endif

#define NAME_ROW(name, ...) #name,
static const char *const isa_names[] = {FOREACH_ISA(NAME_ROW) FOREACH_INT8(NAME_ROW)
                                        FOREACH_BFLOAT16(NAME_ROW) FOREACH_AMX(NAME_ROW) 0};
static const char *const activation_names[] = {FOREACH_ACTIVATION(NAME_ROW) 0};
static const char *const loss_names[] = {FOREACH_LOSS(NAME_ROW) 0};
static const char *const step_names[] = {FOREACH_STEP(NAME_ROW) 0};

const char *fastmlp_isa_name(int i) { return isa_names[i]; }
const char *fastmlp_activation_name(int i) { return activation_names[i]; }
const char *fastmlp_loss_name(int i) { return loss_names[i]; }
const char *fastmlp_step_name(int i) { return step_names[i]; }

static struct kernels tables[N_PRECISIONS];
static int may_try_amx[N_PRECISIONS];

static void multiply_by(const char *isa, const struct three_products *products,
                        enum precision precision) {
    struct kernels *table = &tables[precision];
    table->product_isa = isa;
    table->product.weighted_sum = products->weighted_sum;
    table->product.weight_gradient = products->weight_gradient;
    table->product.input_gradient = products->input_gradient;
}

const struct kernels *fastmlp_kernels(const char *cap) {
    int last = 0, i = 0;
    while (isa_names[last + 1] && !(cap && !strcmp(cap, isa_names[last]))) last++;
    if (cap && strcmp(cap, isa_names[last])) return 0;
    /* The better overwrite the weaker; each CPU is asked once: that is slow in a virtual machine. */
#define TABLE_OF(name, row, bytes, size, precision) \
    (struct kernels){#name, "", "", (bytes) / (size), size, fastmlp_product_##name##_##row, NULL, \
                     fastmlp_element_##name##_##precision, fastmlp_kernels_##name##_int8}
#define CHOOSE_ROW(name, family, bytes, unix_flags, msvc_flags, runs)                \
    if (i++ <= last && (runs)) {                                                     \
        tables[FLOAT32] = TABLE_OF(name, float32, bytes, 4, float32);                \
        tables[FLOAT64] = TABLE_OF(name, float64, bytes, 8, float64);                \
        tables[BFLOAT16] = TABLE_OF(name, bfloat16, bytes, 4, float32);              \
    }
    FOREACH_ISA(CHOOSE_ROW)
#if defined(FASTMLP_AVX512_VNNI)
#define CHOOSE_INT8(name, needs, bytes, flags, runs)                                 \
    if (i++ <= last && !strcmp(tables[FLOAT32].isa, #needs) && (runs))               \
        tables[FLOAT32].int8 = fastmlp_kernels_##name##_int8;
#else
#define CHOOSE_INT8(...) i++;
#endif
    FOREACH_INT8(CHOOSE_INT8)
#define CHOOSE_BFLOAT16(name, needs, bytes, flags, runs)                             \
    if (i++ <= last && !strcmp(tables[BFLOAT16].isa, #needs) && (runs))              \
        multiply_by(#name, &fastmlp_product_##name##_bfloat16, BFLOAT16);
#if !defined(FASTMLP_AVX512_BF16)
#undef CHOOSE_BFLOAT16
#define CHOOSE_BFLOAT16(...) i++;
#endif
    FOREACH_BFLOAT16(CHOOSE_BFLOAT16)
#define CHOOSE_AMX(name, needs, ...) \
    may_try_amx[FLOAT32] = may_try_amx[BFLOAT16] = i++ <= last && !strcmp(tables[FLOAT32].isa, #needs);
    FOREACH_AMX(CHOOSE_AMX)
    return tables;
}

#if defined(FASTMLP_AMX)
/* Uses the tiles, or notes why they are left aside where the CPU says it has them. */
static void try_tiles(const char *isa, const struct three_products *products,
                      const struct strip_products *strips, enum precision precision, int all_products) {
    static char reasons[N_PRECISIONS][160];
    const char *refusal = amx_refusal();
    const char *fault = refusal ? NULL : products_fault(products, precision == BFLOAT16);
    if (!refusal && !fault) {
        if (all_products) multiply_by(isa, products, precision);
        tables[precision].strips = strips;
        return;
    }
    if (fault)
        snprintf(reasons[precision], sizeof *reasons,
                 "AMX computes %s wrong here: a fault of the CPU, an emulator or a hypervisor", fault);
    tables[precision].product_note = refusal ? refusal : reasons[precision];
}
#endif

void fastmlp_try_amx(enum precision precision, int all_products) {
#if defined(FASTMLP_AMX)
#define TILES_OF(kind, name) \
    (precision == FLOAT32 ? &fastmlp_##kind##_##name##_float32 : &fastmlp_##kind##_##name##_bfloat16)
#define TRY_AMX(name, needs, bytes, flags, runs)                                         \
    if (may_try_amx[precision] && (runs))                                                \
        try_tiles(#name, TILES_OF(product, name), TILES_OF(strips, name), precision, all_products);
    FOREACH_AMX(TRY_AMX)
#endif
    (void)all_products;
    may_try_amx[precision] = 0;
}
