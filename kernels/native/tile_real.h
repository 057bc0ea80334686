/* The register tile of the matrix products for one precision; see kernels.h for the layout of panels.
 *
 * One register tile serves all three products: it holds up to TILE_ROWS x 2 vectors, or few rows of more
 * panels, and adds, per step of depth, one value of `a` times one vector of `b` each. What differs is only
 * where the next value of `a` is found:
 *     weighted sum      tile rows are batch rows, depth runs over the inputs of a row
 *     weight gradient   tile rows are inputs, depth runs over the batch
 *     input gradient    the weighted sum of slopes and transposed weights
 * A tile takes all steps of the depth or those of a list, which leaves out steps where every value of `a`
 * is zero. The order of every sum is fixed: it depends on neither the tile nor the range of panels asked
 * for, and what is left out would have changed nothing (unless `b` is not finite).
 * Included after vector.h, with MULTIPLY_ADD(sum, value, vector) defined; and STEP_OF_ZEROS(sum), if a step
 * whose values are all zero may make something else of a sum.
 */
#ifndef STEP_OF_ZEROS
#define STEP_OF_ZEROS(sum) (sum)
#endif
#undef TILE_ROWS
#undef GRADIENT_ROWS
#undef GRADIENT_PANELS
#undef LISTED_ROWS
#undef LISTED_INPUTS
#undef LISTED_INPUT_PANELS
#undef WIDE_PANELS
#undef LISTED_PANELS
#undef PACKED_PANELS
/* As many as fit the registers: 32 of them with AVX-512, else 16 (the vectors of b and 1 value kept). Tiles of
 * the weight gradient have so many inputs that panels of 8 or 16 are whole tiles; with 16 registers three
 * panels, since eight sums alone would wait for each other (4 cycles, and two units that add). */
#define TILE_ROWS (FASTMLP_VECTOR_BYTES == 64 ? 13 : 6)
#define GRADIENT_ROWS (FASTMLP_VECTOR_BYTES == 64 ? 8 : 4)
#define GRADIENT_PANELS (FASTMLP_VECTOR_BYTES == 64 ? 2 : 3)
/* With lists, enough rows and so many panels, tiles are lower and wider where registers allow: the fewer
 * values of `a` a step has, the more steps have zeros alone. Of 8 rows or more there are tiles of LISTED_ROWS
 * and one row less. */
#define LISTED_PANELS (FASTMLP_VECTOR_BYTES == 64 ? 4 : 2)
#define LISTED_ROWS (FASTMLP_VECTOR_BYTES == 64 ? 4 : TILE_ROWS)
#define LISTED_INPUTS (FASTMLP_VECTOR_BYTES == 64 ? 4 : GRADIENT_ROWS)
#define LISTED_INPUT_PANELS (FASTMLP_VECTOR_BYTES == 64 ? 4 : GRADIENT_PANELS)
/* A single row takes so many panels at once: two sums alone would wait for each other. */
#define WIDE_PANELS 8
/* For so many panels a block of `a` is packed first, in the order in which tiles take it: else it lies in as
 * many places as it has panels. (With AVX-512, whose tiles take twice as much of each, it brings nothing.) */
#define PACKED_PANELS (FASTMLP_VECTOR_BYTES == 64 ? PTRDIFF_MAX : 96)

/* A step of a list is how far from the tile's its values of `a` are and, in the upper half, its vectors of
 * `b`: one number, which is added to and stored as such. */
#define STEP_AT(a, b) ((uint64_t)(a) + ((uint64_t)(b) << 32))

/* Adds one step's products to the sums. */
static ALWAYS_INLINE void NAME(add_step)(const int rows, const int panels, const REAL *a,
                                         const ptrdiff_t a_row, const REAL *b, const ptrdiff_t b_panel,
                                         NAME(vector) sum[13][WIDE_PANELS]) {
    NAME(vector) b_vector[WIDE_PANELS];
    UNROLL
    for (int j = 0; j < panels; j++) b_vector[j] = NAME(load)(b + j * b_panel);
    UNROLL
    for (int i = 0; i < rows; i++) {
        const REAL value = a[i * a_row];
        UNROLL
        for (int j = 0; j < panels; j++) sum[i][j] = MULTIPLY_ADD(sum[i][j], value, b_vector[j]);
    }
}

/* out[i][j] (rows x panels vectors) = start[i][j] + the sum over the depth of a * b; or, with a
 * learning rate, out - learning_rate * the sum: the formula `sgd` on vectors. `start` is NULL for zero;
 * its rows lie `start_row` apart (0: the same for all), its panels `start_panel`. The depth is that of
 * the list, if there is one; else `a` is walked in segments of `segment` steps. */
static ALWAYS_INLINE void NAME(tile)(const int rows, const int panels, const REAL *a,
                                     const ptrdiff_t a_row, const ptrdiff_t a_step,
                                     const ptrdiff_t segment, const ptrdiff_t a_segment,
                                     const REAL *b, const ptrdiff_t b_panel,
                                     const ptrdiff_t b_step, ptrdiff_t depth,
                                     const uint64_t *list, const REAL *start,
                                     const ptrdiff_t start_row, const ptrdiff_t start_panel,
                                     const REAL *learning_rate, REAL *out,
                                     const ptrdiff_t out_panel) {
    NAME(vector) sum[13][WIDE_PANELS];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int j = 0; j < panels; j++)
            sum[i][j] = start ? NAME(load)(start + i * start_row + j * start_panel) : NAME(zero)();
    }
    if (list) { /* as if no step was left out, however many there are */
        UNROLL
        for (int i = 0; i < rows; i++) {
            UNROLL
            for (int j = 0; j < panels; j++) sum[i][j] = STEP_OF_ZEROS(sum[i][j]);
        }
        for (ptrdiff_t step = 0; step < depth; step++)
            NAME(add_step)(rows, panels, a + (uint32_t)list[step], a_row, b + (list[step] >> 32), b_panel,
                           sum);
        depth = 0;
    }
    while (depth > 0) {
        const ptrdiff_t steps = depth < segment ? depth : segment;
        for (ptrdiff_t step = 0; step < steps; step++) {
            NAME(add_step)(rows, panels, a + step * a_step, a_row, b, b_panel, sum);
            b += b_step;
        }
        a += a_segment;
        depth -= steps;
    }
    const REAL factor = learning_rate ? -*learning_rate : 0; /* read once: `out` might change it */
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int j = 0; j < panels; j++) {
            REAL *place = out + j * out_panel + i * LANES;
            if (learning_rate)
                sum[i][j] = NAME(multiply_add)(NAME(load)(place), factor, sum[i][j]);
            NAME(store)(place, sum[i][j]);
        }
    }
}

#define TILE_PARAMETERS                                                                           \
    const REAL *a, ptrdiff_t a_segment, const REAL *b, ptrdiff_t b_panel, ptrdiff_t b_step,       \
        ptrdiff_t depth, const uint64_t *list, const REAL *start, ptrdiff_t start_row,            \
        ptrdiff_t start_panel, const REAL *learning_rate, REAL *out, ptrdiff_t out_panel
typedef void (*NAME(tile_function))(TILE_PARAMETERS);

/* Tiles of the weighted sum: rows of a panel lie LANES apart, inputs side by side. */
#define SUM_TILE(rows, panels)                                                                    \
    static void NAME(sum_tile_##rows##_##panels)(TILE_PARAMETERS) {                               \
        (void)learning_rate;                                                                      \
        NAME(tile)(rows, panels, a, LANES, 1, LANES, a_segment, b, b_panel, b_step, depth, list,  \
                   start, start_row, start_panel, NULL, out, out_panel);                          \
    }
/* Tiles of the weight gradient: inputs lie side by side, batch rows LANES apart. */
#define GRADIENT_TILE(rows, panels)                                                               \
    static void NAME(gradient_tile_##rows##_##panels)(TILE_PARAMETERS) {                          \
        (void)a_segment, (void)b_step;                                                            \
        NAME(tile)(rows, panels, a, 1, LANES, PTRDIFF_MAX, 0, b, b_panel, LANES, depth, list,     \
                   start, start_row, start_panel, learning_rate, out, out_panel);                 \
    }
/* The same, of rows that were packed: those of a tile side by side, an input behind the other. */
#define PACKED_TILE(rows, panels)                                                                 \
    static void NAME(packed_tile_##rows##_##panels)(TILE_PARAMETERS) {                            \
        (void)learning_rate, (void)a_segment, (void)list;                                         \
        NAME(tile)(rows, panels, a, 1, rows, PTRDIFF_MAX, 0, b, b_panel, b_step, depth, NULL,     \
                   start, start_row, start_panel, NULL, out, out_panel);                          \
    }
#define BOTH_PANELS(TILE, rows) TILE(rows, 1) TILE(rows, 2)

SUM_TILE(1, 8)
BOTH_PANELS(SUM_TILE, 1) BOTH_PANELS(SUM_TILE, 2) BOTH_PANELS(SUM_TILE, 3)
BOTH_PANELS(SUM_TILE, 4) BOTH_PANELS(SUM_TILE, 5) BOTH_PANELS(SUM_TILE, 6)
#if FASTMLP_VECTOR_BYTES == 64
SUM_TILE(3, 4) SUM_TILE(4, 4) GRADIENT_TILE(4, 4)
BOTH_PANELS(SUM_TILE, 7) BOTH_PANELS(SUM_TILE, 8) BOTH_PANELS(SUM_TILE, 9)
BOTH_PANELS(SUM_TILE, 10) BOTH_PANELS(SUM_TILE, 11) BOTH_PANELS(SUM_TILE, 12)
BOTH_PANELS(SUM_TILE, 13)
#endif
BOTH_PANELS(GRADIENT_TILE, 1) BOTH_PANELS(GRADIENT_TILE, 2) BOTH_PANELS(GRADIENT_TILE, 3)
BOTH_PANELS(GRADIENT_TILE, 4)
#if FASTMLP_VECTOR_BYTES != 64
GRADIENT_TILE(4, 3)
BOTH_PANELS(PACKED_TILE, 5) BOTH_PANELS(PACKED_TILE, 6)
#else
BOTH_PANELS(GRADIENT_TILE, 5) BOTH_PANELS(GRADIENT_TILE, 6) BOTH_PANELS(GRADIENT_TILE, 7)
BOTH_PANELS(GRADIENT_TILE, 8)
#endif

/* By rows, then by panels. */
#define TILE_ENTRY(kind, rows) {0, NAME(kind##_tile_##rows##_1), NAME(kind##_tile_##rows##_2)}
#if FASTMLP_VECTOR_BYTES == 64
#define WIDE_ENTRY(kind, rows) \
    {0, NAME(kind##_tile_##rows##_1), NAME(kind##_tile_##rows##_2), 0, NAME(kind##_tile_##rows##_4)}
#define GRADIENT_ENTRY WIDE_ENTRY
#else
#define WIDE_ENTRY TILE_ENTRY
#define GRADIENT_ENTRY(kind, rows) \
    {0, NAME(kind##_tile_##rows##_1), NAME(kind##_tile_##rows##_2), NAME(kind##_tile_##rows##_3)}
#endif
static const NAME(tile_function) NAME(sum_tiles)[][5] = {
    {0, 0}, TILE_ENTRY(sum, 1), TILE_ENTRY(sum, 2), WIDE_ENTRY(sum, 3), WIDE_ENTRY(sum, 4),
    TILE_ENTRY(sum, 5), TILE_ENTRY(sum, 6),
#if FASTMLP_VECTOR_BYTES == 64
    TILE_ENTRY(sum, 7), TILE_ENTRY(sum, 8), TILE_ENTRY(sum, 9), TILE_ENTRY(sum, 10),
    TILE_ENTRY(sum, 11), TILE_ENTRY(sum, 12), TILE_ENTRY(sum, 13),
#endif
};
/* None where nothing is packed. */
static const NAME(tile_function) NAME(packed_tiles)[][3] = {
    {0, 0},
#if FASTMLP_VECTOR_BYTES != 64
    {0, 0}, {0, 0}, {0, 0}, {0, 0}, TILE_ENTRY(packed, 5), TILE_ENTRY(packed, 6),
#endif
};
static const NAME(tile_function) NAME(gradient_tiles)[][5] = {
    {0, 0}, TILE_ENTRY(gradient, 1), TILE_ENTRY(gradient, 2), TILE_ENTRY(gradient, 3),
    GRADIENT_ENTRY(gradient, 4),
#if FASTMLP_VECTOR_BYTES == 64
    TILE_ENTRY(gradient, 5), TILE_ENTRY(gradient, 6), TILE_ENTRY(gradient, 7),
    TILE_ENTRY(gradient, 8),
#endif
};
#undef TILE_PARAMETERS
#undef SUM_TILE
#undef GRADIENT_TILE
#undef PACKED_TILE
#undef BOTH_PANELS
#undef TILE_ENTRY
#undef WIDE_ENTRY
#undef GRADIENT_ENTRY

/* How many of the panels that are left a tile takes: as many as it may, 2 or 1. Where it may take 3, the last
 * 4 are 2 and 2, not 3 and 1. */
static inline ptrdiff_t NAME(panels_of_tile)(ptrdiff_t left, ptrdiff_t most) {
    if (most == 3 && left == 4) return 2;
    return left >= most ? most : left >= 2 ? 2 : 1;
}

/* Fetches n numbers of some panels ahead: from the last cache or from memory they take as long as the steps
 * of a small tile. */
static inline void NAME(fetch)(const REAL *values, ptrdiff_t stride, ptrdiff_t panels, ptrdiff_t n) {
    for (ptrdiff_t j = 0; j < panels; j++)
        for (ptrdiff_t i = 0; i < n; i += 64 / (ptrdiff_t)sizeof(REAL)) PREFETCH(values + j * stride + i);
}

/* From so many steps on: few do not hide what they wait for, and their weights are in a cache that is near. */
enum { NAME(STEPS_TO_FETCH) = 32 };

/* One optimizer step of n parameters, whose gradient is adjusted first. */
static void NAME(step)(const struct update *update, const void *adjustments, REAL *w, REAL *gradient,
                       ptrdiff_t n) {
    if (adjustments) update->adjust(w, gradient, adjustments, n);
    update->step(w, gradient, (char *)w + update->state_offset, update->state_stride,
                 update->coefficients, n);
}
