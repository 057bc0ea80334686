/* Element-wise loops for one precision: each formula of the tables, vectorized by the compiler. */

#undef LANES
#define LANES (FASTMLP_VECTOR_BYTES / (int)sizeof(REAL))
#undef FORMULA
#define FORMULA(name) JOIN(name, PRECISION)

/* ------------------------------------------------------------------------------ activations */

#define ACTIVATION_CASE(name, in_z)                                                               \
    case FORMULA(name##_number):                                                                  \
        INDEPENDENT                                                                               \
        for (ptrdiff_t i = 0; i < n; i++) a[i] = FORMULA(name)(z[i]);                             \
        break;
#define DERIVATIVE_CASE(name, in_z)                                                               \
    case FORMULA(name##_number):                                                                  \
        INDEPENDENT                                                                               \
        for (ptrdiff_t i = 0; i < n; i++) slope[i] = FORMULA(name##_at)(z[i], a[i]);              \
        break;
/* Only the array that the derivative is written in is read: the other one may not be kept. */
#define SLOPE_CASE(name, in_z)                                                                    \
    case FORMULA(name##_number): {                                                                \
        const REAL *source = in_z ? z : a;                                                        \
        INDEPENDENT                                                                               \
        for (ptrdiff_t i = 0; i < n; i++)                                                         \
            dz[i] = da[i] * FORMULA(name##_at)(source[i], source[i]);                             \
        break;                                                                                    \
    }
#define NUMBER(name, ...) FORMULA(name##_number),

enum { FOREACH_ACTIVATION(NUMBER) };

static void NAME(activation)(int formula, const void *z_, void *a_, ptrdiff_t n) {
    const REAL *z = z_;
    REAL *a = a_;
    switch (formula) { FOREACH_ACTIVATION(ACTIVATION_CASE) }
}

static void NAME(activation_derivative)(int formula, const void *z_, const void *a_, void *slope_,
                                        ptrdiff_t n) {
    const REAL *z = z_, *a = a_;
    REAL *slope = slope_;
    switch (formula) { FOREACH_ACTIVATION(DERIVATIVE_CASE) }
}

static void NAME(activation_slope)(int formula, const void *z_, const void *a_, const void *da_,
                                   void *dz_, ptrdiff_t n) {
    const REAL *z = z_, *a = a_, *da = da_;
    REAL *dz = dz_;
    switch (formula) { FOREACH_ACTIVATION(SLOPE_CASE) }
}

/* ----------------------------------------------------------------------------------- losses */

/* Lane by lane, so that it is vectorized; then over the lanes. Columns past the last are left out. */
static inline REAL NAME(largest)(const REAL *z, ptrdiff_t stride, ptrdiff_t columns) {
    REAL largest = z[0];
    for (ptrdiff_t column = 0; column < columns; column++) {
        const REAL value = z[column / LANES * stride + column % LANES];
        largest = value > largest ? value : largest;
    }
    return largest;
}

/* shifted = z - max(z), e = exp(shifted), per column of one row; returns the sum of e. */
static inline REAL NAME(exponentials)(const REAL *z, ptrdiff_t stride, ptrdiff_t columns, REAL *e) {
    const REAL largest = NAME(largest)(z, stride, columns);
    REAL sum = 0;
    for (ptrdiff_t column = 0; column < columns; column += LANES) {
        const ptrdiff_t left = columns - column, width = left < LANES ? left : LANES;
        const REAL *from = z + column / LANES * stride;
        REAL *to = e + column / LANES * stride;
        REAL exponential[FASTMLP_VECTOR_BYTES / sizeof(REAL)];
        for (int lane = 0; lane < LANES; lane++)
            exponential[lane] = FORMULA(exp)(from[lane] - largest);
        for (ptrdiff_t lane = 0; lane < width; lane++) sum += exponential[lane];
        for (int lane = 0; lane < LANES; lane++)
            to[lane] = lane < width ? exponential[lane] : 0;
    }
    return sum;
}

static void NAME(softmax)(const void *z_, void *p_, ptrdiff_t stride, ptrdiff_t rows,
                          ptrdiff_t columns) {
    const REAL *z = z_;
    REAL *p = p_;
    for (ptrdiff_t row = 0; row < rows; row++, z += LANES, p += LANES) {
        const REAL sum = NAME(exponentials)(z, stride, columns, p);
        for (ptrdiff_t panel = 0; panel * LANES < columns; panel++)
            for (int lane = 0; lane < LANES; lane++) p[panel * stride + lane] /= sum;
    }
}

static inline REAL NAME(target)(const struct targets *targets, int64_t row, ptrdiff_t columns,
                                ptrdiff_t column) {
    if (targets->labels) return targets->labels[row] == column;
    return ((const REAL *)targets->values)[row * columns + column];
}

/* A loss of logits: each element by itself. */
#define ELEMENT_LOSS(name, value_of, slope_of)                                                    \
    static double NAME(name##_rows)(const REAL *z, ptrdiff_t stride, ptrdiff_t rows,              \
                                    ptrdiff_t columns, const struct targets *targets,             \
                                    const int64_t *order, double factor, REAL *slopes) {          \
        double total = 0;                                                                         \
        for (ptrdiff_t i = 0; i < rows; i++) {                                                    \
            const int64_t row = order ? order[i] : i;                                             \
            const REAL weight = targets->weights ? ((const REAL *)targets->weights)[row] : 1;     \
            const REAL scale = weight * (REAL)factor;                                             \
            REAL sum = 0;                                                                         \
            for (ptrdiff_t column = 0; column < columns; column += LANES) {                       \
                const ptrdiff_t left = columns - column, width = left < LANES ? left : LANES;     \
                const ptrdiff_t at = column / LANES * stride + i * LANES;                         \
                REAL y[FASTMLP_VECTOR_BYTES / sizeof(REAL)] = {0};                                \
                REAL value[FASTMLP_VECTOR_BYTES / sizeof(REAL)];                                  \
                REAL slope[FASTMLP_VECTOR_BYTES / sizeof(REAL)];                                  \
                for (ptrdiff_t lane = 0; lane < width; lane++)                                    \
                    y[lane] = NAME(target)(targets, row, columns, column + lane);                 \
                for (int lane = 0; lane < LANES; lane++) {                                        \
                    value[lane] = FORMULA(value_of)(z[at + lane], y[lane]);                       \
                    slope[lane] = FORMULA(slope_of)(z[at + lane], y[lane]) * scale;               \
                }                                                                                 \
                for (ptrdiff_t lane = 0; lane < width; lane++) sum += value[lane];                \
                if (!slopes) continue;                                                            \
                for (int lane = 0; lane < LANES; lane++)                                          \
                    slopes[at + lane] = lane < width ? slope[lane] : 0;                           \
            }                                                                                     \
            total += (double)weight * sum;                                                        \
        }                                                                                         \
        return total;                                                                             \
    }

/* A loss of log p, p the softmax of a row; dz = slope - p * (sum of the slopes). */
#define SOFTMAX_LOSS(name, value_of, slope_of)                                                    \
    static double NAME(name##_rows)(const REAL *z, ptrdiff_t stride, ptrdiff_t rows,              \
                                    ptrdiff_t columns, const struct targets *targets,             \
                                    const int64_t *order, double factor, REAL *slopes) {          \
        double total = 0;                                                                         \
        for (ptrdiff_t i = 0; i < rows; i++, z += LANES) {                                        \
            const int64_t row = order ? order[i] : i;                                             \
            const REAL weight = targets->weights ? ((const REAL *)targets->weights)[row] : 1;     \
            const REAL scale = weight * (REAL)factor;                                             \
            const REAL largest = NAME(largest)(z, stride, columns);                               \
            REAL sum_e = 0, value = 0, sum_slope = 0;                                             \
            for (ptrdiff_t column = 0; column < columns; column += LANES) {                       \
                const ptrdiff_t left = columns - column, width = left < LANES ? left : LANES;     \
                REAL e[FASTMLP_VECTOR_BYTES / sizeof(REAL)];                                      \
                const REAL *from = z + column / LANES * stride;                                   \
                for (int lane = 0; lane < LANES; lane++)                                          \
                    e[lane] = FORMULA(exp)(from[lane] - largest);                                 \
                for (ptrdiff_t lane = 0; lane < width; lane++) sum_e += e[lane];                  \
            }                                                                                     \
            const REAL log_sum = FORMULA(libm_log)(sum_e);                                        \
            for (ptrdiff_t column = 0; column < columns; column++) {                              \
                const REAL y = NAME(target)(targets, row, columns, column);                       \
                const REAL log_p =                                                                \
                    (z[column / LANES * stride + column % LANES] - largest) - log_sum;            \
                value += FORMULA(value_of)(log_p, y);                                             \
                sum_slope += FORMULA(slope_of)(log_p, y);                                         \
            }                                                                                     \
            total += (double)weight * value;                                                      \
            if (!slopes) continue;                                                                \
            for (ptrdiff_t column = 0; column < columns; column += LANES) {                       \
                const ptrdiff_t left = columns - column, width = left < LANES ? left : LANES;     \
                const REAL *from = z + column / LANES * stride;                                   \
                REAL *to = slopes + column / LANES * stride + i * LANES;                          \
                REAL y[FASTMLP_VECTOR_BYTES / sizeof(REAL)] = {0};                                \
                REAL slope[FASTMLP_VECTOR_BYTES / sizeof(REAL)];                                  \
                for (ptrdiff_t lane = 0; lane < width; lane++)                                    \
                    y[lane] = NAME(target)(targets, row, columns, column + lane);                 \
                for (int lane = 0; lane < LANES; lane++) {                                        \
                    const REAL shifted = from[lane] - largest;                                    \
                    const REAL p = FORMULA(exp)(shifted) / sum_e;                                 \
                    slope[lane] =                                                                 \
                        (FORMULA(slope_of)(shifted - log_sum, y[lane]) - p * sum_slope) * scale;  \
                }                                                                                 \
                for (int lane = 0; lane < LANES; lane++) to[lane] = lane < width ? slope[lane] : 0; \
            }                                                                                     \
        }                                                                                         \
        return total;                                                                             \
    }

#define LOSS_ROWS(name, is_softmax, value_of, slope_of)                                           \
    JOIN(LOSS_ROWS, is_softmax)(name, value_of, slope_of)
#define LOSS_ROWS_0 ELEMENT_LOSS
#define LOSS_ROWS_1 SOFTMAX_LOSS
FOREACH_LOSS(LOSS_ROWS)

#define LOSS_NUMBER(name, ...) FORMULA(name##_loss_number),
enum { FOREACH_LOSS(LOSS_NUMBER) };

#define LOSS_CASE(name, ...)                                                                      \
    case FORMULA(name##_loss_number):                                                             \
        return NAME(name##_rows)(taken, stride, rows, columns, targets, order, factor, slopes);

static double NAME(loss)(int formula, const void *taken, ptrdiff_t stride, ptrdiff_t rows,
                         ptrdiff_t columns, const struct targets *targets, const int64_t *order,
                         double factor, void *slopes) {
    switch (formula) { FOREACH_LOSS(LOSS_CASE) }
    return 0;
}

/* ------------------------------------------------------------------------------- optimizers */

#define STEP(name, n_states, n_coefficients)                                                      \
    static void NAME(name##_steps)(void *w_, const void *g_, void *state_, ptrdiff_t state_stride, \
                                   const void *coefficients, ptrdiff_t n) {                       \
        REAL *restrict w = w_, *restrict state = state_, c[n_coefficients];                       \
        const REAL *restrict g = g_;                                                              \
        memcpy(c, coefficients, sizeof c);                                                        \
        INDEPENDENT                                                                               \
        for (ptrdiff_t i = 0; i < n; i++)                                                         \
            FORMULA(name##_step)(&w[i], g[i], state + i, state_stride, c);                        \
    }
FOREACH_OPTIMIZER(STEP)

#define STEP_ENTRY(name, ...) NAME(name##_steps),
static const step_function NAME(steps)[] = {FOREACH_OPTIMIZER(STEP_ENTRY)};

const struct element_kernels TABLE(element) = {
    NAME(activation), NAME(activation_derivative), NAME(activation_slope), NAME(softmax),
    NAME(loss),       NAME(steps),
};

#undef ACTIVATION_CASE
#undef DERIVATIVE_CASE
#undef SLOPE_CASE
#undef NUMBER
#undef ELEMENT_LOSS
#undef SOFTMAX_LOSS
#undef LOSS_ROWS
#undef LOSS_ROWS_0
#undef LOSS_ROWS_1
#undef LOSS_NUMBER
#undef LOSS_CASE
#undef STEP
#undef STEP_ENTRY
