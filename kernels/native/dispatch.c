/* Which tables there are and which one this CPU gets. */
#include <string.h>

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

#define NAME_ROW(name, ...) #name,
static const char *const isa_names[] = {FOREACH_ISA(NAME_ROW) FOREACH_INT8(NAME_ROW)
                                              FOREACH_BFLOAT16(NAME_ROW) 0};
static const char *const activation_names[] = {FOREACH_ACTIVATION(NAME_ROW) 0};
static const char *const loss_names[] = {FOREACH_LOSS(NAME_ROW) 0};
static const char *const step_names[] = {FOREACH_STEP(NAME_ROW) 0};

const char *fastmlp_isa_name(int i) { return isa_names[i]; }
const char *fastmlp_activation_name(int i) { return activation_names[i]; }
const char *fastmlp_loss_name(int i) { return loss_names[i]; }
const char *fastmlp_step_name(int i) { return step_names[i]; }

const struct kernels *fastmlp_kernels(const char *cap) {
    static struct kernels tables[N_PRECISIONS];
    int last = 0, i = 0;
    while (isa_names[last + 1] && !(cap && !strcmp(cap, isa_names[last]))) last++;
    if (cap && strcmp(cap, isa_names[last])) return 0;
    /* The better overwrite the weaker; each CPU is asked once: that is slow in a virtual machine. */
#define TABLE_OF(name, row, bytes, size, precision) \
    (struct kernels){#name, "", (bytes) / (size), size, fastmlp_product_##name##_##row, \
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
    if (i++ <= last && !strcmp(tables[BFLOAT16].isa, #needs) && (runs)) {            \
        struct kernels *table = &tables[BFLOAT16];                                   \
        table->bfloat16_isa = #name;                                                 \
        table->product.weighted_sum = fastmlp_product_##name##_bfloat16.weighted_sum;\
        table->product.weight_gradient = fastmlp_product_##name##_bfloat16.weight_gradient; \
        table->product.input_gradient = fastmlp_product_##name##_bfloat16.input_gradient;   \
    }
#if defined(FASTMLP_AVX512_BF16)
    FOREACH_BFLOAT16(CHOOSE_BFLOAT16)
#endif
    return tables;
}
