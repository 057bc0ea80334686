/* Products of int8 with exact sums in int32, and the ways between them and float32, compiled once per
 * ISA and once per instruction for int8. No contraction: the formulas give the same bits everywhere. */
#include <string.h>

#include "formulas.h"
#include "unit.h"

#define REAL int32_t
#define PRECISION int8
#include "vector.h"

#if defined(FASTMLP_FOR_AVX512_VNNI)
/* A word is four bytes: vpdpbusd multiplies them with no sum on the way that could saturate. */
#define GROUP 4
typedef uint8_t narrow;
typedef int8_t narrow_weight;
#else
/* A word is two int16: products of uint8 and int8 fit them, and the sum of two products fits int32.
 * (vpmaddubsw takes four bytes at once, but its sums of two products saturate at 16 bits.) */
#define GROUP 2
typedef int16_t narrow, narrow_weight;
#endif

#if !defined(FASTMLP_PORTABLE) && defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>
#if GROUP == 4
#define ADD_PRODUCTS(sum, word, words) \
    _mm512_dpbusd_epi32((__m512i)(sum), _mm512_set1_epi32(word), (__m512i)(words))
#elif FASTMLP_VECTOR_BYTES == 64
#define ADD_PRODUCTS(sum, word, words) \
    _mm512_add_epi32((__m512i)(sum), _mm512_madd_epi16(_mm512_set1_epi32(word), (__m512i)(words)))
#elif FASTMLP_VECTOR_BYTES == 32
#define ADD_PRODUCTS(sum, word, words) \
    _mm256_add_epi32((__m256i)(sum), _mm256_madd_epi16(_mm256_set1_epi32(word), (__m256i)(words)))
#else
#define ADD_PRODUCTS(sum, word, words) \
    _mm_add_epi32((__m128i)(sum), _mm_madd_epi16(_mm_set1_epi32(word), (__m128i)(words)))
#endif
#define MULTIPLY_ADD(sum, word, words) ((NAME(vector))ADD_PRODUCTS(sum, word, words))
#else
#define MULTIPLY_ADD NAME(add_products)
#define PART(type, word, i) ((type)((word) >> (i) * (32 / GROUP)))
static ALWAYS_INLINE NAME(vector) NAME(add_products)(NAME(vector) sum, int32_t word,
                                                     NAME(vector) words) {
#if defined(__GNUC__) && GROUP == 2
    /* Right shifts of negative numbers keep the sign. */
    return sum + (words << 16 >> 16) * PART(narrow, word, 0) + (words >> 16) * PART(narrow, word, 1);
#else
    int32_t sums[LANES], weights[LANES];
    NAME(store)(sums, sum);
    NAME(store)(weights, words);
    for (int lane = 0; lane < LANES; lane++)
        for (int i = 0; i < GROUP; i++)
            sums[lane] += PART(narrow, word, i) * PART(narrow_weight, weights[lane], i);
    return NAME(load)(sums);
#endif
}
#endif

#include "sum_real.h"

/* What a row is converted and quantized by, so much at a time: of whole panels of groups. */
enum { COLUMNS_AT_ONCE = 1024 };

/* One stretch of a row: a plain loop that is vectorized where its elements lie side by side. */
#define CONVERT(TYPE)                                                                             \
    if (column_stride == (ptrdiff_t)sizeof(TYPE)) {                                               \
        for (ptrdiff_t i = 0; i < n; i++) to[i] = (float)((const TYPE *)from)[i];                 \
    } else {                                                                                      \
        for (ptrdiff_t i = 0; i < n; i++) to[i] = (float)*(const TYPE *)(from + i * column_stride); \
    }                                                                                             \
    break;

static const float *convert(enum element_type type, const char *restrict from,
                            ptrdiff_t column_stride, ptrdiff_t n, float *restrict to) {
    switch (type) {
    case ELEMENT_UINT8: CONVERT(uint8_t)
    case ELEMENT_FLOAT32:
        if (column_stride == (ptrdiff_t)sizeof(float)) return (const float *)from;
        CONVERT(float)
    case ELEMENT_FLOAT64: CONVERT(double)
    }
    return to;
}
#undef CONVERT

/* Two loops: in one, compilers pick the bounds among the narrow numbers, in several times the time. */
static ALWAYS_INLINE void quantize(const float *values, ptrdiff_t n, float steps_per_unit,
                                   float zero_point, float *steps, narrow *restrict to) {
    INDEPENDENT
    for (ptrdiff_t i = 0; i < n; i++)
        steps[i] = quantized_float32(values[i], steps_per_unit, zero_point);
    for (ptrdiff_t i = 0; i < n; i++) to[i] = (narrow)(int32_t)steps[i];
}

static int all_finite(const float *values, ptrdiff_t n) {
    int32_t wrong = 0;
    for (ptrdiff_t i = 0; i < n; i++) wrong |= !(values[i] - values[i] == 0);
    return !wrong;
}

static int quantize_rows(const struct source *x, ptrdiff_t first, ptrdiff_t rows, ptrdiff_t columns,
                         float steps_per_unit, float zero_point, void *panels, ptrdiff_t stride) {
    float buffer[COLUMNS_AT_ONCE];
    narrow steps[COLUMNS_AT_ONCE];
    int finite = 1;
    const int as_they_are = x->type == ELEMENT_UINT8 && x->column_stride == 1 &&
                            steps_per_unit == 1 && zero_point == 0;
    for (ptrdiff_t row = 0; row < rows; row++) {
        const char *from = x->data + (first + row) * x->row_stride;
        for (ptrdiff_t column = 0; column < columns; column += COLUMNS_AT_ONCE) {
            const ptrdiff_t left = columns - column, n = left < COLUMNS_AT_ONCE ? left : COLUMNS_AT_ONCE;
            const char *part = from + column * x->column_stride;
            if (as_they_are) {
                for (ptrdiff_t i = 0; i < n; i++) steps[i] = ((const uint8_t *)part)[i];
            } else {
                const float *values = convert(x->type, part, x->column_stride, n, buffer);
                finite &= all_finite(values, n);
                quantize(values, n, steps_per_unit, zero_point, buffer, steps);
            }
            for (ptrdiff_t i = n; i % (GROUP * LANES); i++) steps[i] = 0;
            for (ptrdiff_t i = 0; i < n; i += GROUP * LANES)
                memcpy((int32_t *)panels + (column + i) / (GROUP * LANES) * stride + row * LANES,
                       steps + i, LANES * sizeof(int32_t));
        }
    }
    return finite;
}

static void dequantize(const void *sums_, ptrdiff_t rows, const float *factors, const float *biases,
                       void *z_) {
    const int32_t *restrict sums = sums_;
    float *restrict z = z_, factor[LANES], bias[LANES];
    memcpy(factor, factors, sizeof factor);
    memcpy(bias, biases, sizeof bias);
    for (ptrdiff_t row = 0; row < rows; row++)
        for (int i = 0; i < LANES; i++)
            z[row * LANES + i] =
                dequantized_float32((float)sums[row * LANES + i], factor[i], bias[i]);
}

static void requantize(const void *a, ptrdiff_t rows, ptrdiff_t panel, float steps_per_unit,
                       float zero_point, void *panels, ptrdiff_t stride) {
    char *to = (char *)((int32_t *)panels + panel / GROUP * stride);
    to += panel % GROUP * LANES * sizeof(narrow);
    for (ptrdiff_t row = 0; row < rows; row++) {
        float buffer[LANES];
        narrow steps[LANES];
        quantize((const float *)a + row * LANES, LANES, steps_per_unit, zero_point, buffer, steps);
        memcpy(to + row * LANES * sizeof(int32_t), steps, sizeof steps);
    }
}

#define STRING_(name) #name
#define STRING(name) STRING_(name)
const struct int8_kernels TABLE(kernels) = {
    STRING(FASTMLP_ISA), GROUP, NAME(weighted_sum), quantize_rows, dequantize, requantize,
};
