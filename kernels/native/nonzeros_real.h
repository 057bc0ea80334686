/* Lists of the steps that a tile takes where many values of `a` are zero, for one precision; see kernels.h
 * for what is known of zeros. Included after tile_real.h. */
#if defined(__GNUC__) && defined(__AVX__)
#include <immintrin.h>
#endif

/* Lists for the tiles of a block have room for so many steps: 48 KB. One panel in so many is a sample. */
enum { NAME(LISTED_STEPS) = 6 << 10, NAME(PANELS_PER_SAMPLE) = 4 };

/* One bit per lane, the first one's lowest: whether it is not zero. */
static ALWAYS_INLINE unsigned NAME(nonzero_lanes)(NAME(vector) values) {
#if defined(__GNUC__) && defined(__AVX512F__) && FASTMLP_VECTOR_BYTES == 64
    if (sizeof(REAL) == sizeof(float))
        return _mm512_cmp_ps_mask((__m512)values, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    return _mm512_cmp_pd_mask((__m512d)values, _mm512_setzero_pd(), _CMP_NEQ_UQ);
#elif defined(__GNUC__) && defined(__AVX__) && FASTMLP_VECTOR_BYTES == 32
    if (sizeof(REAL) == sizeof(float))
        return _mm256_movemask_ps(_mm256_cmp_ps((__m256)values, _mm256_setzero_ps(), _CMP_NEQ_UQ));
    return _mm256_movemask_pd(_mm256_cmp_pd((__m256d)values, _mm256_setzero_pd(), _CMP_NEQ_UQ));
#else
    REAL lane[LANES];
    unsigned lanes = 0;
    NAME(store)(lane, values);
    UNROLL
    for (int i = 0; i < LANES; i++) lanes |= (unsigned)(lane[i] != 0) << i;
    return lanes;
#endif
}

/* Adds the steps of the lanes that are set to a list, of which the first lies at `step`, the others an
 * `increment` apart each; returns how many they are. Writes LANES numbers, whatever the lanes. */
static ALWAYS_INLINE ptrdiff_t NAME(add_steps)(unsigned lanes, uint64_t step, uint64_t increment,
                                               uint64_t *list) {
    ptrdiff_t n = 0;
#if defined(__GNUC__) && defined(__AVX512F__) && FASTMLP_VECTOR_BYTES == 64
    const __m512i firsts = _mm512_mullo_epi64(_mm512_set1_epi64((int64_t)increment),
                                              _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));
    UNROLL
    for (int lane = 0; lane < LANES; lane += 8) {
        const __m512i steps =
            _mm512_add_epi64(firsts, _mm512_set1_epi64((int64_t)(step + lane * increment)));
        const unsigned some = lanes >> lane & 0xff;
        _mm512_storeu_si512(list + n, _mm512_maskz_compress_epi64((__mmask8)some, steps));
        n += __builtin_popcount(some);
    }
#else
    /* No branch could be foreseen: every step is written, and the next may take its place. */
    UNROLL
    for (int lane = 0; lane < LANES; lane++) {
        list[n] = step;
        n += lanes >> lane & 1;
        step += increment;
    }
#endif
    return n;
}

/* One bit per row, of LANES rows: whether some of these lanes of a panel are not zero. */
static ALWAYS_INLINE unsigned NAME(nonzero_rows)(const uint16_t *nonzero, unsigned lanes) {
#if defined(__GNUC__) && defined(__AVX512F__) && FASTMLP_VECTOR_BYTES == 64
    if (LANES == 16)
        return _mm256_test_epi16_mask(_mm256_loadu_si256((const void *)nonzero),
                                      _mm256_set1_epi16((short)lanes));
    return _mm_test_epi16_mask(_mm_loadu_si128((const void *)nonzero), _mm_set1_epi16((short)lanes));
#elif defined(__GNUC__) && defined(__AVX__) && FASTMLP_VECTOR_BYTES == 32
    const __m128i some = _mm_and_si128(_mm_loadu_si128((const void *)nonzero),
                                       _mm_set1_epi16((short)lanes)); /* 8 rows, if also for LANES 4 */
    const __m128i none = _mm_cmpeq_epi16(some, _mm_setzero_si128());
    return ~_mm_movemask_epi8(_mm_packs_epi16(none, none)) & ((1u << LANES) - 1);
#else
    unsigned rows = 0;
    UNROLL
    for (int row = 0; row < LANES; row++) rows |= (unsigned)((nonzero[row] & lanes) != 0) << row;
    return rows;
#endif
}

/* Which lanes of a panel are not zero in one of the rows. */
static ALWAYS_INLINE unsigned NAME(some_lanes)(const uint16_t *nonzero, ptrdiff_t rows) {
    unsigned lanes = 0;
    for (ptrdiff_t row = 0; row < rows; row++) lanes |= nonzero[row];
    return lanes;
}

/* Whether lists pay for so many panels of outputs: in a sample, the first rows, as many as a tile with lists
 * has, in some of the panels, less than three quarters of the steps of the depth have a value other than
 * zero. */
static int NAME(has_many_zeros)(const uint16_t *nonzero, ptrdiff_t panel_rows, ptrdiff_t rows,
                                ptrdiff_t inputs, ptrdiff_t out_panels) {
    const ptrdiff_t tile_rows = out_panels >= LISTED_PANELS ? LISTED_ROWS : TILE_ROWS;
    ptrdiff_t steps = 0, all_steps = 0;
    if (!nonzero) return 0;
    if (rows > tile_rows) rows = tile_rows;
    for (ptrdiff_t panel = 0; panel * LANES < inputs; panel += NAME(PANELS_PER_SAMPLE)) {
        const unsigned lanes = NAME(some_lanes)(nonzero + panel * panel_rows, rows);
        UNROLL
        for (int lane = 0; lane < LANES; lane++) steps += lanes >> lane & 1;
        all_steps += inputs - panel * LANES < LANES ? inputs - panel * LANES : LANES;
    }
    return steps * 4 < all_steps * 3;
}

/* Whether what a list says of a weighted sum fits its numbers. */
static int NAME(can_list)(ptrdiff_t inputs, ptrdiff_t a_stride, ptrdiff_t w_step) {
    if (inputs > NAME(LISTED_STEPS)) inputs = NAME(LISTED_STEPS); /* no block is deeper */
    return (inputs / LANES + 1) * a_stride <= UINT32_MAX && (inputs + LANES) * w_step <= UINT32_MAX;
}

/* Lists the steps of a tile of the weighted sum, inputs that are not zero in all of its rows; returns how
 * many they are. There must be room for whole panels. */
static ptrdiff_t NAME(list_inputs)(const uint16_t *nonzero, ptrdiff_t rows, ptrdiff_t inputs,
                                   ptrdiff_t a_stride, ptrdiff_t w_step, uint64_t *list) {
    ptrdiff_t n = 0;
    for (ptrdiff_t panel = 0; panel * LANES < inputs; panel++) {
        const unsigned lanes = NAME(some_lanes)(nonzero, rows);
        nonzero += a_stride / LANES;
        n += NAME(add_steps)(lanes, STEP_AT(panel * a_stride, panel * LANES * w_step),
                             STEP_AT(1, w_step), list + n);
    }
    return n;
}

/* Lists the steps of a tile of the weight gradient, rows in which not all of these lanes of a panel are
 * zero; returns how many they are. */
static ptrdiff_t NAME(list_rows)(const uint16_t *nonzero, ptrdiff_t rows, unsigned lanes,
                                 uint64_t *list) {
    ptrdiff_t n = 0;
    for (ptrdiff_t row = 0; row < rows; row += LANES) {
        unsigned flags = NAME(nonzero_rows)(nonzero + row, lanes);
        if (rows - row < LANES) flags &= (1u << (rows - row)) - 1; /* beyond lies anything */
        n += NAME(add_steps)(flags, STEP_AT(row * LANES, row * LANES), STEP_AT(LANES, LANES), list + n);
    }
    return n;
}
