/* Batch and layer normalisation for one precision; see formulas.py. Included after element_real.h.
 *
 * Means are sums of doubles by the number; the variance is of what is left when the mean is taken away:
 * the mean of squares less the square of the mean would lose its digits. */

/* ---------------------------------------------------------- of columns: a panel, over a batch */

static void NAME(column_statistics)(const void *z_, ptrdiff_t rows, void *mean_, void *variance_,
                                    void *factor_) {
    const REAL *z = z_;
    REAL *mean = mean_, *variance = variance_, *factor = factor_;
    double sum[LANES] = {0}, squares[LANES] = {0};
    for (ptrdiff_t row = 0; row < rows; row++)
        for (int i = 0; i < LANES; i++) sum[i] += z[row * LANES + i];
    for (int i = 0; i < LANES; i++) sum[i] /= (double)rows;
    for (ptrdiff_t row = 0; row < rows; row++)
        for (int i = 0; i < LANES; i++) {
            const double rest = z[row * LANES + i] - sum[i];
            squares[i] += rest * rest;
        }
    for (int i = 0; i < LANES; i++) {
        mean[i] = (REAL)sum[i];
        variance[i] = (REAL)(squares[i] / (double)rows);
        factor[i] = FORMULA(normalization_factor)(variance[i]);
    }
}

static void NAME(normalization_factors)(const void *variance_, void *factor_, ptrdiff_t n) {
    const REAL *variance = variance_;
    REAL *factor = factor_;
    for (ptrdiff_t i = 0; i < n; i++) factor[i] = FORMULA(normalization_factor)(variance[i]);
}

static void NAME(normalize_columns)(const void *z_, ptrdiff_t rows, const void *mean_,
                                    const void *factor_, const void *gamma_, const void *beta_,
                                    void *x_, void *scaled_) {
    const REAL *z = z_;
    REAL *x = x_, *scaled = scaled_, mean[LANES], factor[LANES], gamma[LANES], beta[LANES];
    memcpy(mean, mean_, sizeof mean);
    memcpy(factor, factor_, sizeof factor);
    memcpy(gamma, gamma_, sizeof gamma);
    memcpy(beta, beta_, sizeof beta);
    for (ptrdiff_t row = 0; row < rows; row++) {
        REAL found[LANES];
        for (int i = 0; i < LANES; i++)
            found[i] = FORMULA(normalized)(z[row * LANES + i], mean[i], factor[i]);
        for (int i = 0; i < LANES; i++) {
            x[row * LANES + i] = found[i];
            scaled[row * LANES + i] = FORMULA(scaled_and_shifted)(found[i], gamma[i], beta[i]);
        }
    }
}

static ALWAYS_INLINE void NAME(add_slopes)(const REAL *x, const REAL *dz, ptrdiff_t rows, double *sum,
                                           double *products) {
    for (ptrdiff_t row = 0; row < rows; row++)
        for (int i = 0; i < LANES; i++) {
            const double slope = dz[row * LANES + i];
            sum[i] += slope;
            products[i] += slope * x[row * LANES + i];
        }
}

static void NAME(sums_of_slopes)(const void *x, const void *dz, ptrdiff_t rows, void *dbeta_,
                                 void *dgamma_) {
    REAL *dbeta = dbeta_, *dgamma = dgamma_;
    double sum[LANES] = {0}, products[LANES] = {0};
    NAME(add_slopes)(x, dz, rows, sum, products);
    for (int i = 0; i < LANES; i++) dbeta[i] = (REAL)sum[i];
    for (int i = 0; i < LANES; i++) dgamma[i] = (REAL)products[i];
}

static void NAME(slope_of_columns)(const void *x_, void *dz_, ptrdiff_t rows, const void *factor_,
                                   const void *gamma_, void *dbeta_, void *dgamma_) {
    const REAL *x = x_, *factor = factor_, *gamma = gamma_;
    REAL *dz = dz_, *dbeta = dbeta_, *dgamma = dgamma_;
    REAL mean[LANES], mean_product[LANES], by[LANES];
    double sum[LANES] = {0}, products[LANES] = {0};
    NAME(add_slopes)(x, dz, rows, sum, products);
    for (int i = 0; i < LANES; i++) {
        dbeta[i] = (REAL)sum[i];
        dgamma[i] = (REAL)products[i];
        mean[i] = (REAL)(sum[i] / (double)rows);
        mean_product[i] = (REAL)(products[i] / (double)rows);
        by[i] = gamma[i] * factor[i];
    }
    for (ptrdiff_t row = 0; row < rows; row++) {
        INDEPENDENT
        for (int i = 0; i < LANES; i++)
            dz[row * LANES + i] = FORMULA(normalization_slope)(
                dz[row * LANES + i], x[row * LANES + i], mean[i], mean_product[i], by[i]);
    }
}

static void NAME(update_running)(void *running_mean_, void *running_variance_, const void *mean_,
                                 const void *variance_, ptrdiff_t rows, ptrdiff_t n) {
    const REAL *mean = mean_, *variance = variance_;
    REAL *running_mean = running_mean_, *running_variance = running_variance_;
    if (rows < 2) return; /* one row says nothing about the variance */
    const REAL unbiased = (REAL)((double)rows / (double)(rows - 1));
    for (ptrdiff_t i = 0; i < n; i++) {
        running_mean[i] = FORMULA(running_estimate)(running_mean[i], mean[i]);
        running_variance[i] = FORMULA(running_estimate)(running_variance[i], variance[i] * unbiased);
    }
}

/* ---------------------------------------- of rows, by blocks of LOSS_BLOCK, over all panels */

/* Lanes of a panel that are columns; the others of the last one are left out, and become 0. */
static ALWAYS_INLINE int NAME(width_of)(ptrdiff_t columns, ptrdiff_t panel) {
    const ptrdiff_t left = columns - panel * LANES;
    return left < LANES ? (int)left : LANES;
}

static ALWAYS_INLINE void NAME(add_row_squares)(const REAL *from, const double *mean, ptrdiff_t n,
                                                const int width, double *sums) {
    for (ptrdiff_t row = 0; row < n; row++)
        for (int i = 0; i < width; i++) {
            const double rest = from[row * LANES + i] - mean[row];
            sums[row * LANES + i] += rest * rest;
        }
}

static ALWAYS_INLINE void NAME(add_rows)(const REAL *from, ptrdiff_t n, const int width, double *sums) {
    for (ptrdiff_t row = 0; row < n; row++)
        for (int i = 0; i < width; i++) sums[row * LANES + i] += from[row * LANES + i];
}

/* The mean of each row, of the sums of its lanes. */
static ALWAYS_INLINE void NAME(means_of_lanes)(const double *sums, ptrdiff_t n, ptrdiff_t columns,
                                               double *mean) {
    for (ptrdiff_t row = 0; row < n; row++) {
        double sum = 0;
        for (int i = 0; i < LANES; i++) sum += sums[row * LANES + i];
        mean[row] = sum / (double)columns;
    }
}

static void NAME(normalize_rows)(const void *z_, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns,
                                 const void *gamma_, const void *beta_, void *x_, void *scaled_,
                                 void *factors_) {
    const ptrdiff_t panels = (columns + LANES - 1) / LANES;
    for (ptrdiff_t first = 0; first < rows; first += LOSS_BLOCK) {
        const ptrdiff_t n = rows - first < LOSS_BLOCK ? rows - first : LOSS_BLOCK;
        const REAL *z = (const REAL *)z_ + first * LANES;
        REAL *factors = (REAL *)factors_ + first;
        double sums[LOSS_BLOCK * LANES] = {0}, squares[LOSS_BLOCK * LANES] = {0};
        double mean[LOSS_BLOCK], variance[LOSS_BLOCK];
        for (ptrdiff_t panel = 0; panel < panels; panel++) {
            const int width = NAME(width_of)(columns, panel);
            if (width == LANES) NAME(add_rows)(z + panel * stride, n, LANES, sums);
            else NAME(add_rows)(z + panel * stride, n, width, sums);
        }
        NAME(means_of_lanes)(sums, n, columns, mean);
        for (ptrdiff_t panel = 0; panel < panels; panel++) {
            const int width = NAME(width_of)(columns, panel);
            if (width == LANES) NAME(add_row_squares)(z + panel * stride, mean, n, LANES, squares);
            else NAME(add_row_squares)(z + panel * stride, mean, n, width, squares);
        }
        NAME(means_of_lanes)(squares, n, columns, variance);
        for (ptrdiff_t row = 0; row < n; row++)
            factors[row] = FORMULA(normalization_factor)((REAL)variance[row]);
        for (ptrdiff_t panel = 0; panel < panels; panel++) {
            const int width = NAME(width_of)(columns, panel);
            const REAL *from = z + panel * stride;
            const REAL *gamma = (const REAL *)gamma_ + panel * LANES;
            const REAL *beta = (const REAL *)beta_ + panel * LANES;
            REAL *x = (REAL *)x_ + panel * stride + first * LANES;
            REAL *scaled = (REAL *)scaled_ + panel * stride + first * LANES;
            for (ptrdiff_t row = 0; row < n; row++) {
                const REAL row_mean = (REAL)mean[row];
                REAL found[LANES];
                for (int i = 0; i < LANES; i++)
                    found[i] = FORMULA(normalized)(from[row * LANES + i], row_mean, factors[row]);
                for (int i = width; i < LANES; i++) found[i] = 0;
                for (int i = 0; i < LANES; i++) {
                    x[row * LANES + i] = found[i];
                    scaled[row * LANES + i] =
                        FORMULA(scaled_and_shifted)(found[i], gamma[i], beta[i]);
                }
            }
        }
    }
}

static void NAME(slope_of_rows)(const void *x_, void *dz_, ptrdiff_t stride, ptrdiff_t rows,
                                ptrdiff_t columns, const void *gamma_, const void *factors_) {
    const ptrdiff_t panels = (columns + LANES - 1) / LANES;
    for (ptrdiff_t first = 0; first < rows; first += LOSS_BLOCK) {
        const ptrdiff_t n = rows - first < LOSS_BLOCK ? rows - first : LOSS_BLOCK;
        const REAL *factors = (const REAL *)factors_ + first;
        double sums[LOSS_BLOCK * LANES] = {0}, products[LOSS_BLOCK * LANES] = {0};
        double mean[LOSS_BLOCK], mean_product[LOSS_BLOCK];
        for (ptrdiff_t panel = 0; panel < panels; panel++) { /* past the last column all are 0 */
            const REAL *gamma = (const REAL *)gamma_ + panel * LANES;
            const REAL *x = (const REAL *)x_ + panel * stride + first * LANES;
            const REAL *dz = (const REAL *)dz_ + panel * stride + first * LANES;
            for (ptrdiff_t row = 0; row < n; row++)
                for (int i = 0; i < LANES; i++) {
                    const double slope = gamma[i] * dz[row * LANES + i];
                    sums[row * LANES + i] += slope;
                    products[row * LANES + i] += slope * x[row * LANES + i];
                }
        }
        NAME(means_of_lanes)(sums, n, columns, mean);
        NAME(means_of_lanes)(products, n, columns, mean_product);
        for (ptrdiff_t panel = 0; panel < panels; panel++) {
            const int width = NAME(width_of)(columns, panel);
            const REAL *gamma = (const REAL *)gamma_ + panel * LANES;
            const REAL *x = (const REAL *)x_ + panel * stride + first * LANES;
            REAL *dz = (REAL *)dz_ + panel * stride + first * LANES;
            for (ptrdiff_t row = 0; row < n; row++) {
                const REAL row_mean = (REAL)mean[row], row_product = (REAL)mean_product[row];
                INDEPENDENT
                for (int i = 0; i < LANES; i++)
                    dz[row * LANES + i] =
                        FORMULA(normalization_slope)(gamma[i] * dz[row * LANES + i],
                                                     x[row * LANES + i], row_mean, row_product,
                                                     factors[row]);
                for (int i = width; i < LANES; i++) dz[row * LANES + i] = 0;
            }
        }
    }
}

static const struct normalization_kernels NAME(normalization) = {
    NAME(column_statistics), NAME(normalization_factors), NAME(normalize_columns),
    NAME(sums_of_slopes),    NAME(slope_of_columns),      NAME(update_running),
    NAME(normalize_rows),    NAME(slope_of_rows),
};
