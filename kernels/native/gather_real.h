/* Rows of the caller's array, converted and scaled, on their way to wherever a unit places them.
 *
 * Included once per precision, after vector.h, with NAME(scaled_input).
 */
#include <math.h>

enum { NAME(COLUMNS_AT_ONCE) = 128, NAME(LEAST_AHEAD) = 8, NAME(MOST_AHEAD) = 32,
       NAME(ROWS_TOGETHER) = 16 };

/* One stretch of a row, converted and scaled, to a buffer: a plain loop that is vectorized for rows
 * whose elements lie side by side. */
#define CONVERT(TYPE, WIDE, SCALED)                                                               \
    {                                                                                             \
        const WIDE *center = (const WIDE *)x->center + first, one_center = *center;               \
        const WIDE *scale = (const WIDE *)x->scale + first, one_scale = *scale;                   \
        const TYPE *values = (const TYPE *)from;                                                  \
        if (x->column_stride != (ptrdiff_t)sizeof(TYPE)) {                                        \
            for (ptrdiff_t i = 0; i < n; i++)                                                     \
                to[i] = (REAL)SCALED((WIDE)*(const TYPE *)(from + i * x->column_stride),          \
                                     center[i * x->scales_each], scale[i * x->scales_each]);      \
        } else if (x->scales_each) {                                                              \
            for (ptrdiff_t i = 0; i < n; i++)                                                     \
                to[i] = (REAL)SCALED((WIDE)values[i], center[i], scale[i]);                       \
        } else {                                                                                  \
            for (ptrdiff_t i = 0; i < n; i++)                                                     \
                to[i] = (REAL)SCALED((WIDE)values[i], one_center, one_scale);                     \
        }                                                                                         \
        break;                                                                                    \
    }

static inline void NAME(convert)(const struct source *x, const char *restrict from,
                                 ptrdiff_t column, ptrdiff_t n, REAL *restrict to) {
    const ptrdiff_t first = x->scales_each ? column : 0; /* of the numbers to scale by */
    switch (x->type) {
    case ELEMENT_UINT8: CONVERT(uint8_t, REAL, NAME(scaled_input))
    case ELEMENT_FLOAT32: CONVERT(float, REAL, NAME(scaled_input))
    case ELEMENT_FLOAT64: CONVERT(double, double, scaled_input_float64)
    }
}
#undef CONVERT

/* A vector, scaled: without a buffer, which takes twice as long. */
static ALWAYS_INLINE NAME(vector) NAME(scaled)(NAME(vector) values, REAL center, REAL scale) {
    REAL lane[LANES];
    NAME(store)(lane, values);
    INDEPENDENT
    for (int i = 0; i < LANES; i++) lane[i] = NAME(scaled_input)(lane[i], center, scale);
    return NAME(load)(lane);
}

/* Whether the rows are bytes side by side, all of them finite once they are scaled by the one center and scale. */
static int NAME(are_finite_bytes)(const struct source *x) {
    if (x->type != ELEMENT_UINT8 || x->column_stride != 1 || x->scales_each) return 0;
    const REAL center = *(const REAL *)x->center, scale = *(const REAL *)x->scale;
    return isfinite(NAME(scaled_input)(0, center, scale)) && isfinite(NAME(scaled_input)(255, center, scale));
}

/* Converts n columns of a row, from one on that lies at `from`, and puts them where they belong; adds them
 * times 0 to `zero`. */
typedef void (*NAME(place_function))(void *destination, const struct source *x, const char *from,
                                     ptrdiff_t row, ptrdiff_t column, ptrdiff_t n, NAME(vector) *zero);

/* As product_kernels.gather has it, with each row placed by `place`, some columns at a time. */
static ALWAYS_INLINE int NAME(gather_rows)(const struct source *x, const int64_t *order,
                                           ptrdiff_t n_rows, ptrdiff_t batch_rows, ptrdiff_t n_known,
                                           ptrdiff_t n_columns, NAME(place_function) place,
                                           void *destination) {
    REAL zeros[LANES];
    NAME(vector) zero = NAME(zero)(); /* as long as all values are finite */
    int finite = 1;
    /* Rows come in random order, which no hardware prefetcher foresees. Few rows fetch those in their place
     * in the next batch, which then come while this one is worked on. Each piece of a row fetches one:
     * a whole row at once would wait for the memory. */
    ptrdiff_t rows_ahead = batch_rows < NAME(LEAST_AHEAD) ? NAME(LEAST_AHEAD) : batch_rows;
    if (n_rows > NAME(MOST_AHEAD)) rows_ahead = NAME(MOST_AHEAD);
    const ptrdiff_t step = x->column_stride, ahead_bytes = n_columns * (step < 0 ? 0 : step);
    /* A few rows at a time, so that what is written lies together. */
    for (ptrdiff_t first = 0; first < n_rows; first += NAME(ROWS_TOGETHER)) {
        const ptrdiff_t rows = n_rows - first < NAME(ROWS_TOGETHER) ? n_rows - first : NAME(ROWS_TOGETHER);
        for (ptrdiff_t column = 0; column < n_columns; column += NAME(COLUMNS_AT_ONCE)) {
            const ptrdiff_t left = n_columns - column;
            const ptrdiff_t n = left < NAME(COLUMNS_AT_ONCE) ? left : NAME(COLUMNS_AT_ONCE);
            for (ptrdiff_t row = first; row < first + rows; row++) {
                if (row + rows_ahead < n_known && ahead_bytes <= 4096) {
                    const char *ahead = x->data + order[row + rows_ahead] * x->row_stride + column * step;
                    for (ptrdiff_t byte = 0; byte < n * step; byte += 64) PREFETCH(ahead + byte);
                }
                place(destination, x, x->data + order[row] * x->row_stride + column * step, row, column, n,
                      &zero);
            }
        }
    }
    NAME(store)(zeros, zero);
    for (int i = 0; i < LANES; i++) finite &= zeros[i] == 0;
    return finite;
}
