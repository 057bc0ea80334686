/* The first layer on sparse rows, for one precision: work goes with what is stored, not with the
 * width. Included after element_real.h. A stored value counts as it is, or as dropout leaves it. */

static inline REAL NAME(kept)(REAL value, const struct dropout *dropout, ptrdiff_t row, int32_t unit) {
    if (!dropout) return value;
    const uint32_t row_bits = random_bits(dropout->key + (uint32_t)row);
    const uint32_t bits = random_bits(row_bits + (uint32_t)unit);
    return value * (bits < dropout->threshold ? 0 : (REAL)dropout->factor);
}

static int NAME(sparse_finite)(const struct sparse *x, const int64_t *order, ptrdiff_t rows) {
    const REAL *values = x->values;
    const REAL scale = (REAL)x->scale;
    REAL zero = 0; /* as long as all values are finite */
    for (ptrdiff_t row = 0; row < rows; row++)
        for (int64_t at = x->starts[order[row]]; at < x->starts[order[row] + 1]; at++)
            zero += (values[at] * scale) * 0;
    return zero == 0;
}

static void NAME(sparse_sum)(const struct sparse *x, const int64_t *order,
                             const struct dropout *dropout, ptrdiff_t first_row, ptrdiff_t last_row,
                             const void *w_, ptrdiff_t w_stride, ptrdiff_t w_step, const void *b_,
                             void *z_, ptrdiff_t z_stride, ptrdiff_t first, ptrdiff_t last) {
    const REAL *w = w_, *b = b_, *values = x->values;
    const REAL scale = (REAL)x->scale;
    for (ptrdiff_t row = first_row; row < last_row; row++) {
        const int64_t begin = x->starts[order[row]], end = x->starts[order[row] + 1];
        for (ptrdiff_t panel = first; panel < last; panel++) {
            REAL sum[LANES];
            memcpy(sum, b + panel * LANES, sizeof sum);
            for (int64_t at = begin; at < end; at++) {
                const int32_t unit = x->columns[at];
                const REAL value = NAME(kept)(values[at] * scale, dropout, row, unit);
                const REAL *from = w + panel * w_stride + unit * w_step;
                for (int i = 0; i < LANES; i++) sum[i] += value * from[i];
            }
            memcpy((REAL *)z_ + panel * z_stride + row * LANES, sum, sizeof sum);
        }
    }
}

static void NAME(sparse_gradient)(const struct sparse *x, const int64_t *order,
                                  const struct dropout *dropout, ptrdiff_t rows, const void *dz_,
                                  ptrdiff_t dz_stride, double factor, void *out_,
                                  ptrdiff_t out_stride, ptrdiff_t first_input, ptrdiff_t last_input,
                                  ptrdiff_t first, ptrdiff_t last) {
    const REAL *values = x->values;
    const REAL scale = (REAL)x->scale, by = (REAL)factor;
    for (ptrdiff_t panel = first; panel < last; panel++) {
        REAL *out = (REAL *)out_ + panel * out_stride;
        for (ptrdiff_t row = 0; row < rows; row++) {
            const REAL *dz = (const REAL *)dz_ + panel * dz_stride + row * LANES;
            for (int64_t at = x->starts[order[row]]; at < x->starts[order[row] + 1]; at++) {
                const int32_t unit = x->columns[at];
                if (unit < first_input || unit >= last_input) continue;
                const REAL value = by * NAME(kept)(values[at] * scale, dropout, row, unit);
                for (int i = 0; i < LANES; i++) out[unit * LANES + i] += value * dz[i];
            }
        }
    }
}
