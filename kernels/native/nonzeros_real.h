/* Lists of the steps that a tile takes where many values of `a` are zero, for one precision; see kernels.h
 * for what is known of zeros. Included after tile_real.h. */
#if defined(__GNUC__) && defined(__AVX__)
#include <immintrin.h>
#endif

/* Lists for the tiles of a block have room for so many steps: 48 KB. One panel in so many is a sample. */
enum { NAME(LISTED_STEPS) = 6 << 10, NAME(PANELS_PER_SAMPLE) = 4 };

/* One bit per lane, the first one's lowest: whether it is not zero. */
static ALWAYS_INLINE unsigned NAME(nonzero_lanes)(const REAL *p) {
#if defined(__GNUC__) && defined(__AVX512F__) && FASTMLP_VECTOR_BYTES == 64
    if (sizeof(REAL) == sizeof(float))
        return _mm512_cmp_ps_mask(_mm512_loadu_ps((const void *)p), _mm512_setzero_ps(), _CMP_NEQ_UQ);
    return _mm512_cmp_pd_mask(_mm512_loadu_pd((const void *)p), _mm512_setzero_pd(), _CMP_NEQ_UQ);
#elif defined(__GNUC__) && defined(__AVX__) && FASTMLP_VECTOR_BYTES == 32
    if (sizeof(REAL) == sizeof(float))
        return _mm256_movemask_ps(
            _mm256_cmp_ps(_mm256_loadu_ps((const void *)p), _mm256_setzero_ps(), _CMP_NEQ_UQ));
    return _mm256_movemask_pd(
        _mm256_cmp_pd(_mm256_loadu_pd((const void *)p), _mm256_setzero_pd(), _CMP_NEQ_UQ));
#else
    unsigned lanes = 0;
    UNROLL
    for (int lane = 0; lane < LANES; lane++) lanes |= (unsigned)(p[lane] != 0) << lane;
    return lanes;
#endif
}

/* Whether lists pay: in a sample, the first tile in some of the panels, less than three quarters of the
 * steps of the depth have a value other than zero. */
static int NAME(has_many_zeros)(const uint16_t *nonzero, ptrdiff_t panel_rows, ptrdiff_t rows,
                                ptrdiff_t inputs) {
    ptrdiff_t steps = 0, all_steps = 0;
    if (!nonzero) return 0;
    for (ptrdiff_t panel = 0; panel * LANES < inputs; panel += NAME(PANELS_PER_SAMPLE)) {
        unsigned lanes = 0;
        for (ptrdiff_t row = 0; row < rows && row < TILE_ROWS; row++)
            lanes |= nonzero[panel * panel_rows + row];
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
        unsigned lanes = 0;
        for (ptrdiff_t row = 0; row < rows; row++) lanes |= nonzero[row];
        nonzero += a_stride / LANES;
        /* No branch could be foreseen: every step is written, and the next may take its place. */
        uint64_t step = STEP_AT(panel * a_stride, panel * LANES * w_step);
        UNROLL
        for (int lane = 0; lane < LANES; lane++) {
            list[n] = step;
            n += lanes >> lane & 1;
            step += STEP_AT(1, w_step);
        }
    }
    return n;
}

/* Lists the steps of a tile of the weight gradient, rows in which not all of these lanes of a panel are
 * zero; returns how many they are. */
static ptrdiff_t NAME(list_rows)(const uint16_t *nonzero, ptrdiff_t rows, unsigned lanes,
                                 uint64_t *list) {
    ptrdiff_t n = 0;
    for (ptrdiff_t row = 0; row < rows; row++) {
        list[n] = STEP_AT(row * LANES, row * LANES);
        n += (nonzero[row] & lanes) != 0;
    }
    return n;
}
