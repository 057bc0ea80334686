/* bfloat16 where no instruction multiplies it: rounded operands in the tile of float32, whose products
 * of two of them are exact. */
#include "bfloat16.h"

#define PAIR 1

static ALWAYS_INLINE unsigned nonzero_numbers(const float *numbers) {
    return NAME(nonzero_lanes)(NAME(load)(numbers));
}

static void round_columns(const float *panels, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns,
                          float *out, ptrdiff_t out_stride) {
    for (ptrdiff_t column = 0; column < columns; column += LANES) {
        INDEPENDENT
        for (ptrdiff_t i = 0; i < rows * LANES; i++) out[i] = rounded(panels[i]);
        panels += stride;
        out += out_stride;
    }
}

static void round_rows(const float *panel, ptrdiff_t step, ptrdiff_t rows, float *out) {
    for (ptrdiff_t row = 0; row < rows; row++) {
        INDEPENDENT
        for (int i = 0; i < LANES; i++) out[row * LANES + i] = rounded(panel[row * step + i]);
    }
}

static void round_transposed(const float *panels, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns,
                             float *out) {
    for (ptrdiff_t column = 0; column < columns; column++) {
        const float *from = panels + column / LANES * stride + column % LANES;
        for (ptrdiff_t i = 0; i < LANES; i++)
            out[column * LANES + i] = i < rows ? rounded(from[i * LANES]) : 0;
    }
}

#include "product_bfloat16.h"

const struct product_kernels JOIN(JOIN(fastmlp_product, FASTMLP_ISA), bfloat16) = {
    NAME(gather),
    NAME(to_panels),
    NAME(from_panels),
    NAME(bfloat16_weighted_sum),
    NAME(bfloat16_weight_gradient),
    NAME(bias_gradient),
    NAME(transpose),
    NAME(bfloat16_input_gradient),
};
