/* The table of kernels: what every ISA supplies for float and for double.
 *
 * Panels. A matrix (rows, columns) is stored as panels of L = `lanes` columns:
 *     panel[column / L][row][column % L],  the panels `stride` values apart (>= rows * L).
 * A row of a panel is one vector. Weights (fan_in, fan_out) are panels with rows = fan_in;
 * activations and slopes (batch, features) are panels with rows = batch. The same panels serve the
 * forward product, the weight gradient and, for slopes, the way back: nothing is transposed but the
 * weights for the input gradient. Columns past the last are zero in weights, biases and slopes, and
 * never read in activations.
 *
 * All pointers of values are `void *`: a table is for one precision, which its user knows. (bfloat16 has
 * the panels of float32; only its products round what they take.)
 */
#ifndef FASTMLP_KERNELS_H
#define FASTMLP_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Losses are computed for so many rows together; threads share rows in such blocks. */
enum { LOSS_BLOCK = 16 };

enum element_type { ELEMENT_UINT8, ELEMENT_FLOAT32, ELEMENT_FLOAT64 };

/* Rows of the caller's array, of any strides (in bytes), as formulas.scaled_input makes them of
 * `center` and `scale`. Both are of the wider of the rows' type and the table's: (n_columns,) if
 * `scales_each`, else one number for all columns. */
struct source {
    const char *data;
    ptrdiff_t row_stride, column_stride;
    enum element_type type;
    int scales_each;
    const void *center, *scale;
};

/* Rows of a sparse matrix (CSR), its values of the table's precision, multiplied by `scale`, which is
 * as above: row r has those from starts[r] to starts[r + 1]. */
struct sparse {
    const int64_t *starts;
    const int32_t *columns;
    const void *values;
    int scales_each;
    const void *scale;
};

/* What a batch is trained towards. */
struct targets {
    const int32_t *labels; /* (all rows, groups) class numbers, or NULL */
    const void *values;    /* (all rows, n_outputs), or NULL */
    const void *weights;   /* (all rows,), or NULL for weight 1 */
};

/* The outputs of each softmax, one group after the other: `ends` of the last one is all columns. */
struct groups {
    ptrdiff_t count;
    const int64_t *ends;
};

/* One optimizer step of n parameters; state i begins at state + i * state_stride (in values). */
typedef void (*step_function)(void *w, const void *g, void *state, ptrdiff_t state_stride,
                              const void *coefficients, ptrdiff_t n);

/* What one layer's inputs are dropped by in one batch; see formulas.dropout_bits. */
struct dropout {
    uint32_t key, threshold;
    double factor; /* what is kept is multiplied by it */
};

/* Changes n values of a gradient by formulas.adjusted_gradient. */
typedef void (*adjust_function)(const void *w, void *g, const void *adjustments, ptrdiff_t n);

/* What the weight gradient does with a tile: the state lies where the parameters do, `state_offset`
 * bytes further, and the coefficients are of the table's precision. Plain gradient descent (`sgd`,
 * whose only coefficient is the learning rate) needs no step: the tile adds it in its registers.
 * Before the step the gradient is adjusted, unless `adjustments` is NULL; biases have their own. */
struct update {
    step_function step;
    adjust_function adjust;
    const void *adjustments, *bias_adjustments;
    int is_gradient_descent;
    ptrdiff_t state_offset, state_stride;
    const void *coefficients;
};

/* What is known of zeros in `a` below: bit l of nonzero[panel * (a_stride / LANES) + row] is set if lane l of
 * that row of that panel is not zero, and may be set if it is, but not past the last input; NULL: nothing
 * is known. A product may then leave out what is zero, as if every value of the other operand were
 * finite. NONZERO_PADDING numbers after the last ones are read, too, and nothing is made of them. */
enum { NONZERO_PADDING = 16 };

/* z = a @ w + b for the output panels [first, last); b may be NULL. The rows of a panel of w lie
 * `w_step` apart: LANES; or fan_out, if w is a row-major matrix of whole vectors. */
typedef void (*weighted_sum_function)(const void *a, ptrdiff_t a_stride, const uint16_t *nonzero,
                                      const void *w, ptrdiff_t w_stride, ptrdiff_t w_step,
                                      const void *b, void *z,
                                      ptrdiff_t z_stride, ptrdiff_t rows, ptrdiff_t fan_in,
                                      ptrdiff_t first, ptrdiff_t last);

/* dw = a.T @ dz for the inputs [first_input, last_input) and the output panels [first, last); the first
 * input begins a panel. With an update, `out` is w and is changed by it at once, tile by tile; without
 * (NULL), `out` takes dw. */
typedef void (*weight_gradient_function)(const void *a, ptrdiff_t a_stride,
                                         const uint16_t *nonzero, const void *dz,
                                         ptrdiff_t dz_stride, void *out, ptrdiff_t out_stride,
                                         const struct update *update, ptrdiff_t rows,
                                         ptrdiff_t first_input, ptrdiff_t last_input,
                                         ptrdiff_t first, ptrdiff_t last);

/* da = dz @ w.T for the panels [first, last) of da, that is of inputs. */
typedef void (*input_gradient_function)(const void *dz, ptrdiff_t dz_stride, const void *w,
                                        ptrdiff_t w_stride, void *da, ptrdiff_t da_stride,
                                        ptrdiff_t rows, ptrdiff_t fan_in, ptrdiff_t fan_out,
                                        ptrdiff_t first, ptrdiff_t last);

/* What an instruction for bfloat16 supplies: the products of float32 panels, rounded on the way, or split
 * into three bfloat16. */
struct three_products {
    weighted_sum_function weighted_sum;
    weight_gradient_function weight_gradient;
    input_gradient_function input_gradient;
};

/* Weights (fan_in, fan_out), times `scale`, rounded and kept as strips of tiles; see below. The scale is 1 but for
 * whole numbers as inputs, which are what they count times it. */
struct weight_strips {
    ptrdiff_t fan_in, fan_out;
    float scale;
    uint32_t *strips;     /* of w: one for each panel of outputs */
    uint32_t *transposed; /* of w.T: one for each panel of inputs; or NULL (always, where there is no keep_inputs) */
};

enum { ROOM_ROWS = 512 };

/* What an instruction for tiles supplies besides, so that operands are rounded once for all products of a
 * batch: strips of tiles, each of 16 rows of `a` or of one panel of w along all of the depth, strip_words(depth)
 * words apart. The strips of w go with w: keep_weights makes them, and an update of `out` (which is w then)
 * changes them, too. What has no strips (NULL) is rounded on the way, as by three_products. */
struct strip_products {
    ptrdiff_t (*strip_words)(ptrdiff_t depth);
    /* As product_kernels.gather, to strips. Where keep_inputs is NULL, products may need the panels of inputs: then
     * this is for bytes without a center and with one scale, and takes them as whole numbers. */
    int (*gather)(const struct source *x, const int64_t *order, ptrdiff_t n_rows, ptrdiff_t batch_rows,
                  ptrdiff_t n_known, ptrdiff_t n_columns, uint32_t *strips);
    /* Some panels of `a`, and some of its rows, from one on that begins the first of these strips. NULL where
     * neither inputs nor weights are kept: then kept->strips is NULL, too. */
    void (*keep_inputs)(const void *a, ptrdiff_t a_stride, ptrdiff_t rows, ptrdiff_t fan_in,
                        ptrdiff_t first, ptrdiff_t last, uint32_t *a_strips);
    void (*keep_weights)(const void *w, ptrdiff_t w_stride, ptrdiff_t first_input, ptrdiff_t last_input,
                         ptrdiff_t first, ptrdiff_t last, const struct weight_strips *kept);
    void (*weighted_sum)(const void *a, ptrdiff_t a_stride, const uint32_t *a_strips, const void *w,
                         ptrdiff_t w_stride, ptrdiff_t w_step, const struct weight_strips *kept, const void *b,
                         void *z, ptrdiff_t z_stride, ptrdiff_t rows, ptrdiff_t fan_in, ptrdiff_t first,
                         ptrdiff_t last);
    /* `room` (or NULL) is for so many strips of dz as there are panels, their depth along its rows, of which
     * ROOM_ROWS are enough. Where there is no keep_inputs it is not used. */
    void (*weight_gradient)(const void *a, ptrdiff_t a_stride, const uint32_t *a_strips, ptrdiff_t fan_in,
                            const void *dz, ptrdiff_t dz_stride, void *out, ptrdiff_t out_stride,
                            const struct update *update, const struct weight_strips *kept,
                            ptrdiff_t rows, ptrdiff_t first_input, ptrdiff_t last_input, ptrdiff_t first,
                            ptrdiff_t last, uint32_t *room);
    void (*input_gradient)(const void *dz, ptrdiff_t dz_stride, const uint32_t *dz_strips, const void *w,
                           ptrdiff_t w_stride, const struct weight_strips *kept, void *da,
                           ptrdiff_t da_stride, ptrdiff_t rows, ptrdiff_t first, ptrdiff_t last);
};

struct product_kernels {
    /* The rows `order[0..n_rows)` of x, of a batch of batch_rows, as panels, and which of their values are
     * not zero; `order` goes on to n_known, for prefetching. Returns whether all values are finite. */
    int (*gather)(const struct source *x, const int64_t *order, ptrdiff_t n_rows,
                  ptrdiff_t batch_rows, ptrdiff_t n_known, ptrdiff_t n_columns, void *panels,
                  ptrdiff_t stride, uint16_t *nonzero);
    /* Row-major (rows, columns) to panels, padded with zero columns, and back. */
    void (*to_panels)(const void *matrix, ptrdiff_t rows, ptrdiff_t columns, void *panels,
                      ptrdiff_t stride);
    void (*from_panels)(const void *panels, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns,
                        void *matrix);
    weighted_sum_function weighted_sum;
    weight_gradient_function weight_gradient;
    /* db = the sum of dz over the rows; `out` as above. */
    void (*bias_gradient)(const void *dz, ptrdiff_t dz_stride, void *out,
                          const struct update *update, ptrdiff_t rows, ptrdiff_t first,
                          ptrdiff_t last);
    /* Panels of w (fan_in, fan_out) to the panels [first, last) of its transpose (fan_out, fan_in). */
    void (*transpose)(const void *w, ptrdiff_t w_stride, void *w_transposed,
                      ptrdiff_t transposed_stride, ptrdiff_t fan_in, ptrdiff_t fan_out,
                      ptrdiff_t first, ptrdiff_t last);
    input_gradient_function input_gradient;
};

/* Batch and layer normalisation; see formulas.py. What has a number per column is a panel of one row. */
struct normalization_kernels {
    /* Mean, variance and formulas.normalization_factor of each column of a panel. */
    void (*column_statistics)(const void *z, ptrdiff_t rows, void *mean, void *variance,
                              void *factor);
    void (*factors)(const void *variance, void *factor, ptrdiff_t n);
    /* Of a panel: x, the normalised z, and gamma x + beta. x may be z. */
    void (*normalize_columns)(const void *z, ptrdiff_t rows, const void *mean, const void *factor,
                              const void *gamma, const void *beta, void *x, void *scaled);
    /* Of a panel: the sums of slopes dz of gamma x + beta, and of their products with x. */
    void (*sums_of_slopes)(const void *x, const void *dz, ptrdiff_t rows, void *dbeta,
                           void *dgamma);
    /* The same, and dz of z, in place. */
    void (*slope_of_columns)(const void *x, void *dz, ptrdiff_t rows, const void *factor,
                             const void *gamma, void *dbeta, void *dgamma);
    /* n columns, after a batch of so many rows. */
    void (*update_running)(void *running_mean, void *running_variance, const void *mean,
                           const void *variance, ptrdiff_t rows, ptrdiff_t n);
    /* Of whole rows of panels: as above, with a factor per row. */
    void (*normalize_rows)(const void *z, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns,
                           const void *gamma, const void *beta, void *x, void *scaled,
                           void *factors);
    void (*slope_of_rows)(const void *x, void *dz, ptrdiff_t stride, ptrdiff_t rows,
                          ptrdiff_t columns, const void *gamma, const void *factors);
};

struct element_kernels {
    /* Of n values, by the formula's place in its table. */
    void (*activation)(int formula, const void *z, void *a, ptrdiff_t n);
    void (*activation_derivative)(int formula, const void *z, const void *a, void *slope,
                                  ptrdiff_t n);
    /* dz = da * f'(z); dz may be da. */
    void (*activation_slope)(int formula, const void *z, const void *a, const void *da, void *dz,
                             ptrdiff_t n);
    /* p = softmax of each row of z, group by group; p may be z. */
    void (*softmax)(const void *z, void *p, ptrdiff_t stride, ptrdiff_t rows,
                    const struct groups *groups);
    /* Slopes of the rows' losses, row i times weight(order[i]) * factor, to panels; `order` NULL
     * stands for 0, 1, 2...; returns the weighted sum of the losses. `parameters` are the loss's
     * own (parameters, columns). Slopes may be `taken`; if NULL they are left out. `row_losses`, if
     * not NULL, takes each row's own loss. */
    double (*loss)(int formula, const void *taken, ptrdiff_t stride, ptrdiff_t rows,
                   const struct groups *groups, const struct targets *targets,
                   const void *parameters, const int64_t *order, double factor, void *slopes,
                   void *row_losses);
    /* Drops some of `rows` rows of a panel, the first of them `first_row` of the batch; the panel's
     * first column is `first_unit`. `kept` may be `values`. */
    void (*drop)(const struct dropout *dropout, ptrdiff_t first_row, ptrdiff_t rows,
                 ptrdiff_t first_unit, const void *values, void *kept);
    /* Whether the values of rows are all finite; z = x @ w + b for some rows and panels; and
     * out += factor * x.T @ dz for some inputs and panels. `dropout` is that of x, or NULL. */
    int (*sparse_finite)(const struct sparse *x, const int64_t *order, ptrdiff_t rows);
    void (*sparse_sum)(const struct sparse *x, const int64_t *order, const struct dropout *dropout,
                       ptrdiff_t first_row, ptrdiff_t last_row, const void *w, ptrdiff_t w_stride,
                       ptrdiff_t w_step, const void *b, void *z, ptrdiff_t z_stride,
                       ptrdiff_t first, ptrdiff_t last);
    void (*sparse_gradient)(const struct sparse *x, const int64_t *order,
                            const struct dropout *dropout, ptrdiff_t rows, const void *dz,
                            ptrdiff_t dz_stride, double factor, void *out, ptrdiff_t out_stride,
                            ptrdiff_t first_input, ptrdiff_t last_input, ptrdiff_t first,
                            ptrdiff_t last);
    adjust_function adjust;
    double (*sum_of_squares)(const void *values, ptrdiff_t n);
    void (*scale)(void *values, double factor, ptrdiff_t n);
    /* Scales each column of a panel of w (rows) to at most this Euclidean norm. */
    void (*limit_norm)(void *panel, ptrdiff_t rows, double limit);
    /* The steps of the optimizers, in the order of their table. */
    const step_function *steps;
    const struct normalization_kernels *normalization;
};

/* What predicts in int8. Panels hold int32 words: sums; or `group` neighbours along the depth of the
 * product, weights (int8) and inputs (uint8), both widened to int16 where a group is 2. So a product's
 * depth is shorter by `group`, and what is missing at its end is a weight of zero. */
struct int8_kernels {
    const char *isa; /* whose instruction multiplies */
    int group;
    /* As of float32: words to panels is product_kernels.to_panels, too. */
    weighted_sum_function weighted_sum;
    /* The rows [first, first + rows) of x as panels of groups, by formulas.quantized of the values as
     * they are, `scale` left aside. Returns whether all of them are finite. */
    int (*quantize_rows)(const struct source *x, ptrdiff_t first, ptrdiff_t rows, ptrdiff_t columns,
                         float steps_per_unit, float zero_point, void *panels, ptrdiff_t stride);
    /* One panel of sums to float32, by formulas.dequantized. */
    void (*dequantize)(const void *sums, ptrdiff_t rows, const float *factors, const float *biases,
                       void *z);
    /* Panel number `panel` of float32 into panels of groups. */
    void (*requantize)(const void *a, ptrdiff_t rows, ptrdiff_t panel, float steps_per_unit,
                       float zero_point, void *panels, ptrdiff_t stride);
};

enum precision { FLOAT32, FLOAT64, BFLOAT16, N_PRECISIONS };

struct kernels {
    const char *isa;
    const char *product_isa; /* whose instruction for bfloat16 multiplies, in place of `isa`; or "" */
    const char *product_note; /* why not one that the CPU says it has; or "" */
    int lanes;
    int value_bytes;
    struct product_kernels product;
    const struct strip_products *strips; /* of `product_isa`, or to be had besides `product`; or NULL */
    struct element_kernels element;
    struct int8_kernels int8; /* in the table of FLOAT32 alone */
};

/* A table per precision for the best ISA of this CPU that is not above `cap` (a name, or NULL for no
 * cap). That of bfloat16 is float32's with other products. NULL if `cap` is not a name of isa_table.h. */
const struct kernels *fastmlp_kernels(const char *cap);
/* Lets AMX multiply in a precision from now on, float32 or bfloat16, if CPU, system and cap allow it: all
 * products (this must come before anybody uses that precision's table), or those of `strips` alone. They are asked
 * once. */
void fastmlp_try_amx(enum precision precision, int all_products);
/* The names of the ISAs of this build, weakest first; NULL past the last. */
const char *fastmlp_isa_name(int i);
/* The names in the formula tables, in order; NULL past the last. */
const char *fastmlp_activation_name(int i);
const char *fastmlp_loss_name(int i);
const char *fastmlp_step_name(int i);

#endif
