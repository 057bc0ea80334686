/* What the unit of AMX takes from these CPUs alone: tiles, and conversions to pairs of bfloat16.
 *
 * A tile is a matrix in a register, of up to 16 rows of 64 bytes; there are eight, named by a literal
 * number. A pair is two bfloat16 in 32 bits, the first one in the lower half. TILE_MULTIPLY(c, a, b)
 * adds to c (rows, 16 float32) the product of a (rows, 16 pairs along the depth) and b (16 pairs along
 * the depth, 16 columns).
 *
 * Everything else of the unit is C for any CPU: the tests compile it with an emulation of this file
 * (FASTMLP_EMULATES_AMX), and so try all of the rest where there is no AMX.
 */
#ifndef FASTMLP_AMX_H
#define FASTMLP_AMX_H

#include <stddef.h>
#include <stdint.h>

#include "unit.h"

typedef float numbers __attribute__((vector_size(64)));  /* 16 of them */
typedef uint32_t pairs __attribute__((vector_size(64))); /* 16 pairs of bfloat16 */

/* What LDTILECFG reads: see Intel's manual, volume 1, chapter 18. */
struct tile_configuration {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

#if defined(FASTMLP_EMULATES_AMX)
#include "amx_emulation.h"
#else
#include <immintrin.h>

/* GCC 12 does not know that these instructions read memory: what lies at p is written before. */
#define WRITTEN(p) __asm__ volatile("" : : "r"(p) : "memory")

#define TILES_CONFIGURE(configuration) (__extension__({ \
    WRITTEN(configuration);                             \
    _tile_loadconfig(configuration);                    \
}))
#define TILES_RELEASE() _tile_release()
#define TILE_ZERO(tile) _tile_zero(tile)
#define TILE_LOAD(tile, from, row_bytes) (__extension__({ \
    WRITTEN(from);                                        \
    _tile_loadd(tile, from, row_bytes);                   \
}))
/* What is read once and not soon again: it takes no room from what is. */
#define TILE_LOAD_ONCE(tile, from, row_bytes) (__extension__({ \
    WRITTEN(from);                                             \
    _tile_stream_loadd(tile, from, row_bytes);                 \
}))
#define TILE_STORE(tile, to, row_bytes) _tile_stored(tile, to, row_bytes)
#define TILE_MULTIPLY(c, a, b) _tile_dpbf16ps(c, a, b)

/* 32 numbers side by side; those below 2^-126 become zero. */
static ALWAYS_INLINE pairs pairs_of_columns(numbers first, numbers second) {
    return (pairs)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}

static ALWAYS_INLINE numbers numbers_of_bytes(const uint8_t *bytes) {
    return (numbers)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)bytes)));
}

/* The first n of 16 bytes, and zeros; no others are read. */
static ALWAYS_INLINE numbers numbers_of_first_bytes(const uint8_t *bytes, ptrdiff_t n) {
    const __mmask16 lanes = (__mmask16)((1u << n) - 1);
    return (numbers)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, bytes)));
}

static ALWAYS_INLINE pairs least_lanes(pairs one, pairs two) {
    return (pairs)_mm512_min_epu32((__m512i)one, (__m512i)two);
}
static ALWAYS_INLINE uint32_t least_lane(pairs all) { return _mm512_reduce_min_epu32((__m512i)all); }
static ALWAYS_INLINE int any_lane(pairs all) { return _mm512_test_epi32_mask((__m512i)all, (__m512i)all) != 0; }

/* Four pairs from each of these places. */
static ALWAYS_INLINE pairs pairs_of_quarters(const uint32_t *first, const uint32_t *second,
                                             const uint32_t *third, const uint32_t *fourth) {
    __m512i all = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)first));
    all = _mm512_inserti32x4(all, _mm_loadu_si128((const __m128i *)second), 1);
    all = _mm512_inserti32x4(all, _mm_loadu_si128((const __m128i *)third), 2);
    return (pairs)_mm512_inserti32x4(all, _mm_loadu_si128((const __m128i *)fourth), 3);
}

/* Of two rows, one below the other: number i of the one and number i of the other are pair i. */
static ALWAYS_INLINE pairs pairs_of_rows(numbers above, numbers below) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8,
                                           23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)below, (__m512)above);
    return (pairs)_mm512_permutexvar_epi16(order, both);
}
#endif
#endif
