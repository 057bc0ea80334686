/* Matrix products of pairs of bfloat16 by AVX512-BF16, in the tables of this instruction set alone. */
#include <immintrin.h>
#include <string.h>

#include "unit.h"

#define REAL float
#define PRECISION bfloat16
#define PAIR 2

/* A float of a rounded panel is two bfloat16; nothing but this computes with it. */
static ALWAYS_INLINE __m512 add_products(__m512 sum, float pair, __m512 pairs) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_ps(pair), (__m512bh)pairs);
}
#define MULTIPLY_ADD add_products
#include "vector.h"

/* The instruction takes a sum below 2^-126 for zero, too. */
#define STEP_OF_ZEROS(sum) add_products(sum, 0, NAME(zero)())

#include "tile_real.h"

#include "nonzeros_real.h"

/* As bits: a pair may look like a float below 2^-126, which some processes have compared as zero. */
static ALWAYS_INLINE unsigned nonzero_numbers(const float *pairs) {
    return _mm512_test_epi32_mask(_mm512_loadu_si512(pairs), _mm512_set1_epi32(0x7fff7fff));
}

/* The instruction takes numbers below 2^-126 for zero. */
static void round_columns(const float *panels, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns,
                          float *out, ptrdiff_t out_stride) {
    for (ptrdiff_t column = 0; column < columns; column += 2 * LANES) {
        /* Past the last column there may be anything, or no panel at all. */
        const ptrdiff_t left = columns - column;
        const __mmask16 low = left >= LANES ? 0xffff : (__mmask16)((1 << left) - 1);
        const __mmask16 high = left >= 2 * LANES ? 0xffff
                               : left > LANES    ? (__mmask16)((1 << (left - LANES)) - 1)
                                                 : 0;
        for (ptrdiff_t row = 0; row < rows; row++) {
            const float *from = panels + row * LANES;
            const __m512 first = _mm512_maskz_loadu_ps(low, from);
            const __m512 second = _mm512_maskz_loadu_ps(high, high ? from + stride : from);
            _mm512_storeu_ps(out + row * LANES, (__m512)_mm512_cvtne2ps_pbh(second, first));
        }
        panels += 2 * stride;
        out += out_stride;
    }
}

static void round_rows(const float *panel, ptrdiff_t step, ptrdiff_t rows, float *out) {
    int16_t places[2 * LANES]; /* 0, 16, 1, 17...: a number of one row, its neighbour of the next */
    for (int i = 0; i < 2 * LANES; i++) places[i] = (int16_t)(i / 2 + i % 2 * LANES);
    const __m512i order = _mm512_loadu_si512(places);
    const ptrdiff_t whole = rows / 2;
    for (ptrdiff_t pair = 0; pair < whole; pair++, panel += 2 * step) {
        const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(panel + step),
                                                          _mm512_loadu_ps(panel));
        _mm512_storeu_si512(out + pair * LANES, _mm512_permutexvar_epi16(order, both));
    }
    if (rows % 2) {
        const __m512i both =
            (__m512i)_mm512_cvtne2ps_pbh(_mm512_setzero_ps(), _mm512_loadu_ps(panel));
        _mm512_storeu_si512(out + whole * LANES, _mm512_permutexvar_epi16(order, both));
    }
}

/* Columns past the last are zero in w. */
static void round_transposed(const float *panels, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns,
                             float *out) {
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    for (ptrdiff_t column = 0; column < columns; column += 2 * LANES) {
        const ptrdiff_t left = (columns - column + 1) / 2, steps = left < LANES ? left : LANES;
        __m512 line[LANES]; /* first a row of pairs, at the end a column of them */
        UNROLL
        for (int i = 0; i < LANES; i++) {
            const float *from = panels + i * LANES;
            const __mmask16 low = i < rows ? 0xffff : 0;
            const __mmask16 high = i < rows && columns - column > LANES ? 0xffff : 0;
            const __m512 first = _mm512_maskz_loadu_ps(low, from);
            const __m512 second = _mm512_maskz_loadu_ps(high, high ? from + stride : from);
            line[i] = (__m512)_mm512_cvtne2ps_pbh(second, first);
        }
        /* Lines i and i + d swap the lanes that are off their diagonal blocks of d x d. */
        UNROLL
        for (int d = 1; d < LANES; d *= 2) {
            const __mmask16 upper = _mm512_test_epi32_mask(lane, _mm512_set1_epi32(d));
            const __m512i other = _mm512_set1_epi32(16); /* lanes from 16 on: of the second line */
            const __m512i to_first = _mm512_mask_add_epi32(
                lane, upper, _mm512_sub_epi32(lane, _mm512_set1_epi32(d)), other);
            const __m512i to_second = _mm512_mask_add_epi32(
                _mm512_add_epi32(lane, _mm512_set1_epi32(d)), upper, lane, other);
            UNROLL
            for (int i = 0; i < LANES; i++) {
                if (i & d) continue;
                const __m512 one = line[i], two = line[i + d];
                line[i] = _mm512_permutex2var_ps(one, to_first, two);
                line[i + d] = _mm512_permutex2var_ps(one, to_second, two);
            }
        }
        for (int i = 0; i < steps; i++) _mm512_storeu_ps(out + i * LANES, line[i]);
        panels += 2 * stride;
        out += LANES * LANES;
    }
}

#include "product_bfloat16.h"

const struct three_products TABLE(product) = {
    NAME(bfloat16_weighted_sum), NAME(bfloat16_weight_gradient), NAME(bfloat16_input_gradient),
};
