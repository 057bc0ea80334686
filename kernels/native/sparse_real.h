/* The first layer on sparse rows, for one precision: work goes with what is stored, not with the
 * width. Included after element_real.h. A stored value counts scaled, and as dropout leaves it. */

static inline REAL NAME(stored)(const struct sparse *x, int64_t at) {
    const REAL *scale = x->scale;
    return FORMULA(scaled_input)(((const REAL *)x->values)[at], 0,
                                 scale[x->scales_each ? x->columns[at] : 0]);
}

static inline REAL NAME(kept)(REAL value, const struct dropout *dropout, ptrdiff_t row, int32_t unit) {
    if (!dropout) return value;
    const uint32_t row_bits = random_bits(dropout->key + (uint32_t)row);
    const uint32_t bits = random_bits(row_bits + (uint32_t)unit);
    return value * (bits < dropout->threshold ? 0 : (REAL)dropout->factor);
}

static int NAME(sparse_finite)(const struct sparse *x, const int64_t *order, ptrdiff_t rows) {
    REAL zero = 0; /* as long as all values are finite */
    for (ptrdiff_t row = 0; row < rows; row++)
        for (int64_t at = x->starts[order[row]]; at < x->starts[order[row] + 1]; at++)
            zero += NAME(stored)(x, at) * 0;
    return zero == 0;
}

/* So many panels at a time take a stored value and its place once. */
enum { NAME(PANELS_AT_ONCE) = 4 };

static ALWAYS_INLINE void NAME(sum_panels)(const int panels, const struct sparse *x, int64_t begin,
                                           int64_t end, const struct dropout *dropout,
                                           ptrdiff_t row, const REAL *w, ptrdiff_t w_stride,
                                           ptrdiff_t w_step, const REAL *b, REAL *z,
                                           ptrdiff_t z_stride) {
    REAL sum[4 * LANES];
    memcpy(sum, b, panels * LANES * sizeof(REAL));
    for (int64_t at = begin; at < end; at++) {
        const int32_t unit = x->columns[at];
        const REAL value = NAME(kept)(NAME(stored)(x, at), dropout, row, unit);
        const REAL *from = w + unit * w_step;
        for (int j = 0; j < panels; j++)
            for (int i = 0; i < LANES; i++) sum[j * LANES + i] += value * from[j * w_stride + i];
    }
    for (int j = 0; j < panels; j++)
        memcpy(z + j * z_stride, sum + j * LANES, LANES * sizeof(REAL));
}

static void NAME(sparse_sum)(const struct sparse *x, const int64_t *order,
                             const struct dropout *dropout, ptrdiff_t first_row, ptrdiff_t last_row,
                             const void *w_, ptrdiff_t w_stride, ptrdiff_t w_step, const void *b_,
                             void *z_, ptrdiff_t z_stride, ptrdiff_t first, ptrdiff_t last) {
    const REAL *w = w_, *b = b_;
    for (ptrdiff_t row = first_row; row < last_row; row++) {
        const int64_t begin = x->starts[order[row]], end = x->starts[order[row] + 1];
        REAL *z = (REAL *)z_ + row * LANES;
        ptrdiff_t panel = first;
        for (; panel + NAME(PANELS_AT_ONCE) <= last; panel += NAME(PANELS_AT_ONCE))
            NAME(sum_panels)(NAME(PANELS_AT_ONCE), x, begin, end, dropout, row,
                             w + panel * w_stride, w_stride, w_step, b + panel * LANES,
                             z + panel * z_stride, z_stride);
        for (; panel < last; panel++)
            NAME(sum_panels)(1, x, begin, end, dropout, row, w + panel * w_stride, w_stride, w_step,
                             b + panel * LANES, z + panel * z_stride, z_stride);
    }
}

static ALWAYS_INLINE void NAME(gradient_panels)(const int panels, const struct sparse *x,
                                                const int64_t *order, const struct dropout *dropout,
                                                ptrdiff_t rows, const REAL *dz, ptrdiff_t dz_stride,
                                                REAL factor, REAL *out, ptrdiff_t out_stride,
                                                ptrdiff_t first_input, ptrdiff_t last_input) {
    for (ptrdiff_t row = 0; row < rows; row++) {
        for (int64_t at = x->starts[order[row]]; at < x->starts[order[row] + 1]; at++) {
            const int32_t unit = x->columns[at];
            if (unit < first_input || unit >= last_input) continue;
            const REAL value = factor * NAME(kept)(NAME(stored)(x, at), dropout, row, unit);
            for (int j = 0; j < panels; j++) {
                const REAL *slopes = dz + j * dz_stride + row * LANES;
                REAL *to = out + j * out_stride + unit * LANES;
                INDEPENDENT
                for (int i = 0; i < LANES; i++) to[i] += value * slopes[i];
            }
        }
    }
}

static void NAME(sparse_gradient)(const struct sparse *x, const int64_t *order,
                                  const struct dropout *dropout, ptrdiff_t rows, const void *dz_,
                                  ptrdiff_t dz_stride, double factor, void *out_,
                                  ptrdiff_t out_stride, ptrdiff_t first_input, ptrdiff_t last_input,
                                  ptrdiff_t first, ptrdiff_t last) {
    const REAL *dz = dz_;
    REAL *out = out_;
    ptrdiff_t panel = first;
    for (; panel + NAME(PANELS_AT_ONCE) <= last; panel += NAME(PANELS_AT_ONCE))
        NAME(gradient_panels)(NAME(PANELS_AT_ONCE), x, order, dropout, rows, dz + panel * dz_stride,
                              dz_stride, (REAL)factor, out + panel * out_stride, out_stride,
                              first_input, last_input);
    for (; panel < last; panel++)
        NAME(gradient_panels)(1, x, order, dropout, rows, dz + panel * dz_stride, dz_stride,
                              (REAL)factor, out + panel * out_stride, out_stride, first_input,
                              last_input);
}
