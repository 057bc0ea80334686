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
    extern const struct bfloat16_products fastmlp_product_##name##_bfloat16;
#if defined(FASTMLP_AVX512_BF16)
FOREACH_BFLOAT16(DECLARE_BFLOAT16)
#endif
#if defined(FASTMLP_AMX)
FOREACH_AMX(DECLARE_BFLOAT16)
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
static int may_try_amx;

static void multiply_bfloat16(const char *isa, const struct bfloat16_products *products) {
    struct kernels *table = &tables[BFLOAT16];
    table->bfloat16_isa = isa;
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
    (struct kernels){#name, "", "", (bytes) / (size), size, fastmlp_product_##name##_##row, \
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
        multiply_bfloat16(#name, &fastmlp_product_##name##_bfloat16);
#if !defined(FASTMLP_AVX512_BF16)
#undef CHOOSE_BFLOAT16
#define CHOOSE_BFLOAT16(...) i++;
#endif
    FOREACH_BFLOAT16(CHOOSE_BFLOAT16)
#define CHOOSE_AMX(name, needs, ...) may_try_amx = i++ <= last && !strcmp(tables[BFLOAT16].isa, #needs);
    FOREACH_AMX(CHOOSE_AMX)
    return tables;
}

#if defined(FASTMLP_AMX)
/* Returns why tiles are left aside that the CPU says it has, or NULL. */
static const char *try_tiles(const char *isa, const struct bfloat16_products *products) {
    static char reason[160];
    const char *refusal = amx_refusal();
    if (refusal) return refusal;
    const char *fault = bfloat16_products_fault(products);
    if (!fault) {
        multiply_bfloat16(isa, products);
        return NULL;
    }
    snprintf(reason, sizeof reason,
             "AMX computes %s wrong here: a fault of the CPU, an emulator or a hypervisor", fault);
    return reason;
}
#endif

void fastmlp_try_amx(void) {
#if defined(FASTMLP_AMX)
#define TRY_AMX(name, needs, bytes, flags, runs)                                         \
    if (may_try_amx && (runs)) {                                                         \
        const char *reason = try_tiles(#name, &fastmlp_product_##name##_bfloat16);       \
        if (reason) tables[BFLOAT16].bfloat16_note = reason;                             \
    }
    FOREACH_AMX(TRY_AMX)
    may_try_amx = 0;
#endif
}
