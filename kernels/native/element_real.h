/* Element-wise loops for one precision: each formula of the tables, vectorized by the compiler. */

#include "vector.h"

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

#include "columns_real.h"

/* ----------------------------------------------------------------------------------- losses */

/* Losses go by blocks of rows, one vector lane per row: what is summed or maximised over the columns
 * is then summed lane by lane, in column order. */
/* What the rows of a block are trained towards and count for. */
struct NAME(block) {
    int64_t row[LOSS_BLOCK];
    int32_t label[LOSS_BLOCK];
    REAL weight[LOSS_BLOCK], scale[LOSS_BLOCK];
};

/* The labels of a group, as the columns that they stand for. */
static inline void NAME(load_labels)(struct NAME(block) *block, const struct targets *targets,
                                     ptrdiff_t n_groups, ptrdiff_t group, ptrdiff_t first) {
    for (int i = 0; targets->labels && i < LOSS_BLOCK; i++)
        block->label[i] = targets->labels[block->row[i] * n_groups + group] + (int32_t)first;
}

static inline void NAME(load_block)(struct NAME(block) *block, const struct targets *targets,
                                    const int64_t *order, ptrdiff_t first, int n, double factor) {
    for (int i = 0; i < LOSS_BLOCK; i++) {
        /* Lanes past the last row repeat the first one, with weight 0. */
        const ptrdiff_t at = first + (i < n ? i : 0);
        const int64_t row = order ? order[at] : at;
        block->row[i] = row;
        block->weight[i] = i >= n ? 0 : targets->weights ? ((const REAL *)targets->weights)[row] : 1;
        block->scale[i] = block->weight[i] * (REAL)factor;
    }
}

/* Never inlined: the loops over a block's rows are vectorized only where their operands lie side by side in
 * memory, not where they are picked together one by one. */
static NEVER_INLINE void NAME(load_targets)(const struct NAME(block) *block, const struct targets *targets,
                                      ptrdiff_t columns, ptrdiff_t column, REAL *y) {
    if (targets->labels) {
        for (int i = 0; i < LOSS_BLOCK; i++) y[i] = block->label[i] == column;
    } else {
        const REAL *values = targets->values;
        for (int i = 0; i < LOSS_BLOCK; i++) y[i] = values[block->row[i] * columns + column];
    }
}

/* Per row the largest z of the columns [begin, end) and the sum of exp(z - largest). */
static inline void NAME(shift_and_sum)(struct NAME(block_columns) *z, ptrdiff_t begin, ptrdiff_t end,
                                       REAL *largest, REAL *sum) {
    memcpy(largest, NAME(column)(z, begin), LOSS_BLOCK * sizeof(REAL));
    for (ptrdiff_t column = begin + 1; column < end; column++) {
        const REAL *value = NAME(column)(z, column);
        for (int i = 0; i < LOSS_BLOCK; i++)
            largest[i] = value[i] > largest[i] ? value[i] : largest[i];
    }
    for (int i = 0; i < LOSS_BLOCK; i++) sum[i] = 0;
    for (ptrdiff_t column = begin; column < end; column++) {
        const REAL *value = NAME(column)(z, column);
        for (int i = 0; i < LOSS_BLOCK; i++) sum[i] += FORMULA(exp)(value[i] - largest[i]);
    }
}

/* One row of one group, along its columns: the same sums in the same order, and so the same bits. */
static void NAME(softmax_row)(const REAL *z, REAL *p, ptrdiff_t stride, ptrdiff_t columns) {
    REAL largest = z[0], sum = 0;
    for (ptrdiff_t column = 1; column < columns; column++) {
        const REAL value = z[column / LANES * stride + column % LANES];
        largest = value > largest ? value : largest;
    }
    for (ptrdiff_t column = 0; column < columns; column += LANES) {
        const REAL *from = z + column / LANES * stride;
        REAL *to = p + column / LANES * stride;
        const int n = columns - column < LANES ? (int)(columns - column) : LANES;
        INDEPENDENT
        for (int i = 0; i < LANES; i++) to[i] = FORMULA(exp)(from[i] - largest);
        for (int i = 0; i < n; i++) sum += to[i];
    }
    for (ptrdiff_t column = 0; column < columns; column += LANES)
        for (int i = 0; i < LANES; i++) p[column / LANES * stride + i] /= sum;
}

static void NAME(softmax)(const void *z_, void *p_, ptrdiff_t stride, ptrdiff_t rows,
                          const struct groups *groups) {
    const REAL *z = z_;
    REAL *p = p_, largest[LOSS_BLOCK], sum[LOSS_BLOCK];
    const ptrdiff_t columns = groups->ends[groups->count - 1];
    if (groups->count == 1) /* else columns of a vector belong together that do not here */
        for (; rows % LOSS_BLOCK && rows < LOSS_BLOCK / 2; rows--) /* fewer than fill the lanes */
            NAME(softmax_row)(z + (rows - 1) * LANES, p + (rows - 1) * LANES, stride,
                              groups->ends[0]);
    for (ptrdiff_t first = 0; first < rows; first += LOSS_BLOCK) {
        const int n = rows - first < LOSS_BLOCK ? (int)(rows - first) : LOSS_BLOCK;
        struct NAME(block_columns) from = {z + first * LANES, stride, -1, n, {{0}}};
        struct NAME(new_columns) made = {p + first * LANES, stride, 0, 0, columns, n, {{0}}};
        for (ptrdiff_t group = 0; group < groups->count; group++, made.begin = made.end) {
            made.end = groups->ends[group];
            NAME(shift_and_sum)(&from, made.begin, made.end, largest, sum);
            for (ptrdiff_t column = made.begin; column < made.end; column++) {
                const REAL *value = NAME(column)(&from, column);
                REAL *share = made.value[column % LANES];
                for (int i = 0; i < LOSS_BLOCK; i++)
                    share[i] = FORMULA(exp)(value[i] - largest[i]) / sum[i];
                NAME(store_when_full)(&made, column);
            }
        }
    }
}

/* A loss adds up what the columns [begin, end) contribute, of `columns` in all. */
#define LOSS_ARGUMENTS                                                                            \
    const REAL *taken, ptrdiff_t stride, ptrdiff_t columns, ptrdiff_t begin, ptrdiff_t end,       \
        const struct targets *targets, const REAL *parameters, const struct NAME(block) *block,   \
        int n, REAL *losses, REAL *slopes

/* The parameters of one column, `c`; an array needs at least one element. */
#define LOAD_PARAMETERS(n_parameters)                                                             \
    for (int i = 0; i < n_parameters; i++) c[i] = parameters[i * columns + column];

/* A loss of logits: each element by itself. */
#define ELEMENT_LOSS(name, n_parameters)                                                          \
    static void NAME(name##_block)(LOSS_ARGUMENTS) {                                              \
        REAL y[LOSS_BLOCK], c[n_parameters + 1];                                                  \
        struct NAME(block_columns) from = {taken, stride, -1, n, {{0}}};                          \
        struct NAME(new_columns) made = {slopes, stride, begin, end, columns, n, {{0}}};          \
        for (ptrdiff_t column = begin; column < end; column++) {                                  \
            const REAL *z = NAME(column)(&from, column);                                          \
            REAL *slope = made.value[column % LANES];                                             \
            LOAD_PARAMETERS(n_parameters)                                                         \
            NAME(load_targets)(block, targets, columns, column, y);                               \
            for (int i = 0; i < LOSS_BLOCK; i++) {                                                \
                losses[i] += FORMULA(name##_value_of)(z[i], y[i], c);                             \
                slope[i] = FORMULA(name##_slope_of)(z[i], y[i], c) * block->scale[i];             \
            }                                                                                     \
            if (slopes) NAME(store_when_full)(&made, column);                                     \
        }                                                                                         \
    }

/* A loss of log p, p the softmax of a group; dz = slope - p * (sum of the slopes). */
#define SOFTMAX_LOSS(name, n_parameters)                                                          \
    static void NAME(name##_block)(LOSS_ARGUMENTS) {                                              \
        REAL y[LOSS_BLOCK], largest[LOSS_BLOCK], sum[LOSS_BLOCK], c[n_parameters + 1];            \
        REAL log_sum[LOSS_BLOCK], slope_sum[LOSS_BLOCK] = {0};                                    \
        struct NAME(block_columns) from = {taken, stride, -1, n, {{0}}};                          \
        struct NAME(new_columns) made = {slopes, stride, begin, end, columns, n, {{0}}};          \
        NAME(shift_and_sum)(&from, begin, end, largest, sum);                                     \
        for (int i = 0; i < LOSS_BLOCK; i++) log_sum[i] = FORMULA(log)(sum[i]);              \
        for (ptrdiff_t column = begin; column < end; column++) {                                  \
            const REAL *z = NAME(column)(&from, column);                                          \
            LOAD_PARAMETERS(n_parameters)                                                         \
            NAME(load_targets)(block, targets, columns, column, y);                               \
            for (int i = 0; i < LOSS_BLOCK; i++) {                                                \
                const REAL log_p = (z[i] - largest[i]) - log_sum[i];                              \
                losses[i] += FORMULA(name##_value_of)(log_p, y[i], c);                            \
                slope_sum[i] += FORMULA(name##_slope_of)(log_p, y[i], c);                         \
            }                                                                                     \
        }                                                                                         \
        for (ptrdiff_t column = begin; slopes && column < end; column++) {                        \
            const REAL *z = NAME(column)(&from, column);                                          \
            REAL *new_slope = made.value[column % LANES];                                         \
            LOAD_PARAMETERS(n_parameters)                                                         \
            NAME(load_targets)(block, targets, columns, column, y);                               \
            for (int i = 0; i < LOSS_BLOCK; i++) {                                                \
                const REAL shifted = z[i] - largest[i];                                           \
                const REAL p = FORMULA(exp)(shifted) / sum[i];                                    \
                const REAL slope = FORMULA(name##_slope_of)(shifted - log_sum[i], y[i], c);       \
                new_slope[i] = (slope - p * slope_sum[i]) * block->scale[i];                      \
            }                                                                                     \
            NAME(store_when_full)(&made, column);                                                 \
        }                                                                                         \
    }

#define LOSS_OF(name, is_softmax, n_parameters) JOIN(LOSS_OF, is_softmax)(name, n_parameters)
#define LOSS_OF_0 ELEMENT_LOSS
#define LOSS_OF_1 SOFTMAX_LOSS
FOREACH_LOSS(LOSS_OF)

#define LOSS_ENTRY(name, ...) NAME(name##_block),
static void (*const NAME(loss_blocks)[])(LOSS_ARGUMENTS) = {FOREACH_LOSS(LOSS_ENTRY)};

static double NAME(loss)(int formula, const void *taken_, ptrdiff_t stride, ptrdiff_t rows,
                         const struct groups *groups, const struct targets *targets,
                         const void *parameters, const int64_t *order, double factor,
                         void *slopes_, void *row_losses) {
    const REAL *taken = taken_;
    REAL *slopes = slopes_;
    const ptrdiff_t columns = groups->ends[groups->count - 1];
    double total = 0;
    for (ptrdiff_t first = 0; first < rows; first += LOSS_BLOCK) {
        const int n = rows - first < LOSS_BLOCK ? (int)(rows - first) : LOSS_BLOCK;
        REAL *to = slopes ? slopes + first * LANES : NULL;
        REAL losses[LOSS_BLOCK] = {0};
        struct NAME(block) block;
        NAME(load_block)(&block, targets, order, first, n, factor);
        ptrdiff_t begin = 0;
        for (ptrdiff_t group = 0; group < groups->count; begin = groups->ends[group++]) {
            NAME(load_labels)(&block, targets, groups->count, group, begin);
            NAME(loss_blocks)[formula](taken + first * LANES, stride, columns, begin,
                                       groups->ends[group], targets, parameters, &block, n,
                                       losses, to);
        }
        for (int i = 0; i < n; i++) total += (double)block.weight[i] * losses[i];
        if (row_losses) memcpy((REAL *)row_losses + first, losses, n * sizeof(REAL));
    }
    return total;
}

/* ---------------------------------------------------------------- dropout, penalties, limits */

static void NAME(drop)(const struct dropout *dropout, ptrdiff_t first_row, ptrdiff_t rows,
                       ptrdiff_t first_unit, const void *values_, void *kept_) {
    const REAL *values = values_;
    REAL *kept = kept_;
    const REAL factor = (REAL)dropout->factor;
    const uint32_t threshold = dropout->threshold, unit = (uint32_t)first_unit;
    uint32_t counters[LOSS_BLOCK * LANES];
    /* Some rows at a time: a loop over the lanes of one would be unrolled instead of vectorized. */
    for (ptrdiff_t row = 0; row < rows; row += LOSS_BLOCK) {
        const ptrdiff_t n = rows - row < LOSS_BLOCK ? rows - row : LOSS_BLOCK;
        for (ptrdiff_t i = 0; i < n; i++) {
            const uint32_t row_bits = random_bits(dropout->key + (uint32_t)(first_row + row + i));
            for (int lane = 0; lane < LANES; lane++)
                counters[i * LANES + lane] = row_bits + unit + (uint32_t)lane;
        }
        INDEPENDENT
        for (ptrdiff_t i = 0; i < n * LANES; i++)
            kept[row * LANES + i] =
                values[row * LANES + i] * (random_bits(counters[i]) < threshold ? 0 : factor);
    }
}

static void NAME(adjust)(const void *w_, void *g_, const void *adjustments, ptrdiff_t n) {
    const REAL *w = w_;
    REAL *g = g_, by[3];
    memcpy(by, adjustments, sizeof by);
    INDEPENDENT
    for (ptrdiff_t i = 0; i < n; i++)
        g[i] = FORMULA(adjusted_gradient)(w[i], g[i], by[0], by[1], by[2]);
}

static double NAME(sum_of_squares)(const void *values_, ptrdiff_t n) {
    const REAL *values = values_;
    double sums[LANES] = {0}, total = 0; /* n is of whole vectors */
    for (ptrdiff_t i = 0; i < n; i += LANES)
        for (int j = 0; j < LANES; j++) sums[j] += (double)values[i + j] * values[i + j];
    for (int j = 0; j < LANES; j++) total += sums[j];
    return total;
}

static void NAME(scale)(void *values_, double factor, ptrdiff_t n) {
    REAL *values = values_;
    const REAL by = (REAL)factor;
    for (ptrdiff_t i = 0; i < n; i++) values[i] *= by;
}

static void NAME(limit_norm)(void *panel_, ptrdiff_t rows, double limit) {
    REAL *panel = panel_, factor[LANES];
    double squares[LANES] = {0};
    int any = 0;
    for (ptrdiff_t row = 0; row < rows; row++)
        for (int j = 0; j < LANES; j++)
            squares[j] += (double)panel[row * LANES + j] * panel[row * LANES + j];
    for (int j = 0; j < LANES; j++) {
        const double norm = sqrt(squares[j]);
        any |= norm > limit;
        factor[j] = (REAL)(norm > limit ? limit / norm : 1.0);
    }
    for (ptrdiff_t row = 0; any && row < rows; row++)
        for (int j = 0; j < LANES; j++) panel[row * LANES + j] *= factor[j];
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
FOREACH_STEP(STEP)

#define STEP_ENTRY(name, ...) NAME(name##_steps),
static const step_function NAME(steps)[] = {FOREACH_STEP(STEP_ENTRY)};

#include "sparse_real.h"
#include "normalization_real.h"

const struct element_kernels TABLE(element) = {
    NAME(activation),      NAME(activation_derivative), NAME(activation_slope), NAME(softmax),
    NAME(loss),            NAME(drop),                  NAME(sparse_finite),    NAME(sparse_sum),
    NAME(sparse_gradient), NAME(adjust),                NAME(sum_of_squares),   NAME(scale),
    NAME(limit_norm),      NAME(steps),                 &NAME(normalization),
};

#undef ACTIVATION_CASE
#undef DERIVATIVE_CASE
#undef SLOPE_CASE
#undef NUMBER
#undef ELEMENT_LOSS
#undef SOFTMAX_LOSS
#undef LOSS_ARGUMENTS
#undef LOAD_PARAMETERS
#undef LOSS_OF
#undef LOSS_OF_0
#undef LOSS_OF_1
#undef LOSS_ENTRY
#undef STEP
#undef STEP_ENTRY
