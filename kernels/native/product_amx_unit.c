/* Matrix products of bfloat16 by the tiles of AMX; see amx.h for those, kernels.h for the panels.
 *
 * A tile of 16 x 16 sums is 16 rows of one panel of z, of da or of w, so it is loaded and stored where
 * it belongs. Two by two of them are computed together: four loads for four products. Operands are
 * rounded and packed in blocks (pack_amx.h) into memory that stays in the caches, each of them once per
 * call, but for more rows than a block has. The order of every sum depends on its length alone.
 *
 * Tiles are configured when a product begins and released when it ends: no thread keeps state, which
 * the system would have to save, and nobody who uses tiles too finds anything but what he has set.
 */
#include <string.h>

#include "amx.h"
#include "pack_amx.h"

/* Of the memory of the first-level cache, 48 KB, two panels of `b` and two rows of tiles of `a` take
 * 2 * SUM_DEPTH * 64 bytes, and blocks of `a` a part of the second-level one, 2 MB. All are of whole
 * tiles. */
enum {
    SUM_ROWS = 256,
    SUM_DEPTH = 416,
    GRADIENT_DEPTH = 512,   /* rows of a and dz */
    GRADIENT_PAIRS = 1 << 16, /* of dz: 256 KB */
    GRADIENT_PANELS = GRADIENT_PAIRS / (GRADIENT_DEPTH / 2 * SIDE) /* of dz, if it is that deep */
};

/* Tiles 0 to 3 are sums (two rows of tiles, two panels), 4 and 5 of `a`, 6 and 7 of `b`. */
static void configure(ptrdiff_t height) {
    struct tile_configuration configuration = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        configuration.row_bytes[tile] = 64;
        configuration.rows[tile] = (uint8_t)(tile < 6 ? height : SIDE);
    }
    TILES_CONFIGURE(&configuration);
}

/* out = start + a @ b for so many rows of tiles and panels, over `steps` tiles of depth. The rows of
 * `start` (NULL for zero) lie start_row bytes apart, 64 or 0; its panels, and those of `out`, so many
 * numbers. */
static ALWAYS_INLINE void multiply(const int tile_rows, const int panels, const uint32_t *a,
                                   const uint32_t *b, ptrdiff_t steps, const float *start,
                                   ptrdiff_t start_row, ptrdiff_t start_panel, float *out,
                                   ptrdiff_t out_panel) {
    const ptrdiff_t next = steps * TILE_PAIRS, start_tile = start_row / 4 * SIDE;
    if (start) {
        TILE_LOAD(0, start, start_row);
        if (panels == 2) TILE_LOAD(1, start + start_panel, start_row);
        if (tile_rows == 2) TILE_LOAD(2, start + start_tile, start_row);
        if (tile_rows == 2 && panels == 2) TILE_LOAD(3, start + start_tile + start_panel, start_row);
    } else {
        TILE_ZERO(0);
        if (panels == 2) TILE_ZERO(1);
        if (tile_rows == 2) TILE_ZERO(2);
        if (tile_rows == 2 && panels == 2) TILE_ZERO(3);
    }
    for (ptrdiff_t step = 0; step < steps; step++, a += TILE_PAIRS, b += TILE_PAIRS) {
        TILE_LOAD(4, a, 64);
        TILE_LOAD(6, b, 64);
        TILE_MULTIPLY(0, 4, 6);
        if (panels == 2) {
            TILE_LOAD(7, b + next, 64);
            TILE_MULTIPLY(1, 4, 7);
        }
        if (tile_rows == 2) {
            TILE_LOAD(5, a + next, 64);
            TILE_MULTIPLY(2, 5, 6);
            if (panels == 2) TILE_MULTIPLY(3, 5, 7);
        }
    }
    TILE_STORE(0, out, 64);
    if (panels == 2) TILE_STORE(1, out + out_panel, 64);
    if (tile_rows == 2) TILE_STORE(2, out + TILE_PAIRS, 64);
    if (tile_rows == 2 && panels == 2) TILE_STORE(3, out + TILE_PAIRS + out_panel, 64);
}

typedef void (*multiply_function)(const uint32_t *a, const uint32_t *b, ptrdiff_t steps,
                                  const float *start, ptrdiff_t start_row, ptrdiff_t start_panel,
                                  float *out, ptrdiff_t out_panel);
/* A function of its own each, with all registers to itself. */
#define MULTIPLY(tile_rows, panels)                                                              \
    static NEVER_INLINE void multiply_##tile_rows##_##panels(                                    \
        const uint32_t *a, const uint32_t *b, ptrdiff_t steps, const float *start,               \
        ptrdiff_t start_row, ptrdiff_t start_panel, float *out, ptrdiff_t out_panel) {           \
        multiply(tile_rows, panels, a, b, steps, start, start_row, start_panel, out, out_panel); \
    }
MULTIPLY(1, 1) MULTIPLY(1, 2) MULTIPLY(2, 1) MULTIPLY(2, 2)
static const multiply_function multiply_tiles[2][2] = {
    {multiply_1_1, multiply_1_2},
    {multiply_2_1, multiply_2_2},
};

static ptrdiff_t least(ptrdiff_t x, ptrdiff_t y) { return x < y ? x : y; }

/* The sums of up to 32 rows and 2 panels. Tiles are as high as configured: where there are fewer rows
 * left, their sums are made elsewhere and copied. */
static void sum_rows(ptrdiff_t rows, ptrdiff_t height, ptrdiff_t panels, const uint32_t *a,
                     const uint32_t *b, ptrdiff_t steps, const float *start, ptrdiff_t start_row,
                     ptrdiff_t start_panel, float *out, ptrdiff_t out_panel) {
    enum { PANEL = 2 * TILE_PAIRS };
    _Alignas(64) float sums[2 * PANEL];
    const ptrdiff_t tile_rows = (rows + SIDE - 1) / SIDE;
    const multiply_function function = multiply_tiles[tile_rows - 1][panels - 1];
    if (rows == height || rows == 2 * height) {
        function(a, b, steps, start, start_row, start_panel, out, out_panel);
        return;
    }
    const size_t n_bytes = rows * SIDE * sizeof(float);
    if (start && start_row) { /* else all rows begin with the same */
        for (ptrdiff_t j = 0; j < panels; j++)
            memcpy(sums + j * PANEL, start + j * start_panel, n_bytes);
        start = sums, start_panel = PANEL;
    }
    function(a, b, steps, start, start_row, start_panel, sums, PANEL);
    for (ptrdiff_t j = 0; j < panels; j++) memcpy(out + j * out_panel, sums + j * PANEL, n_bytes);
}

/* z = a @ w + b as in kernels.h; or a @ w.T, if w has `transposed_rows` (else 0) and fan_in columns. */
static void sum(const float *a, ptrdiff_t a_stride, const float *w, ptrdiff_t w_stride,
                ptrdiff_t w_step, ptrdiff_t transposed_rows, const float *b, float *z,
                ptrdiff_t z_stride, ptrdiff_t all_rows, ptrdiff_t fan_in, ptrdiff_t first,
                ptrdiff_t last) {
    _Alignas(64) uint32_t a_block[SUM_ROWS * SUM_DEPTH / 2], w_block[2 * SIDE * SUM_DEPTH / 2];
    if (all_rows <= 0 || first >= last) return; /* a tile has a row at least */
    const ptrdiff_t height = least(all_rows, SIDE);
    /* Blocks of nearly equal depth. */
    const ptrdiff_t n_blocks = fan_in > SUM_DEPTH ? (fan_in + SUM_DEPTH - 1) / SUM_DEPTH : 1;
    const ptrdiff_t share = (fan_in + n_blocks - 1) / n_blocks;
    const ptrdiff_t depth = (share + TILE_DEPTH - 1) / TILE_DEPTH * TILE_DEPTH;
    configure(height);
    for (ptrdiff_t row_block = 0; row_block < all_rows; row_block += SUM_ROWS) {
        const ptrdiff_t rows = least(all_rows - row_block, SUM_ROWS);
        ptrdiff_t input = 0;
        do { /* once even if there is nothing to sum: then z is b */
            const ptrdiff_t inputs = least(fan_in - input, depth);
            const ptrdiff_t steps = (inputs + TILE_DEPTH - 1) / TILE_DEPTH;
            pack_columns(a + input / SIDE * a_stride + row_block * SIDE, a_stride, rows, inputs,
                         a_block);
            for (ptrdiff_t panel = first; panel < last; panel += 2) {
                const ptrdiff_t panels = least(last - panel, 2);
                for (ptrdiff_t j = 0; j < panels; j++) {
                    uint32_t *packed = w_block + j * steps * TILE_PAIRS;
                    const ptrdiff_t row = (panel + j) * SIDE;
                    if (transposed_rows)
                        pack_columns_transposed(w + input / SIDE * w_stride + row * SIDE, w_stride,
                                                transposed_rows - row, inputs, packed);
                    else
                        pack_rows(w + (panel + j) * w_stride + input * w_step, w_step, inputs, packed);
                }
                for (ptrdiff_t row = 0; row < rows; row += 2 * SIDE) {
                    float *out = z + panel * z_stride + (row_block + row) * SIDE;
                    const float *bias = b ? b + panel * SIDE : NULL;
                    sum_rows(least(rows - row, 2 * SIDE), height, panels,
                             a_block + row / SIDE * steps * TILE_PAIRS, w_block, steps,
                             input ? out : bias, input ? 64 : 0, input ? z_stride : SIDE, out,
                             z_stride);
                }
            }
            input += depth;
        } while (input < fan_in);
    }
    TILES_RELEASE();
}

static void weighted_sum(const void *a, ptrdiff_t a_stride, const uint16_t *nonzero, const void *w,
                         ptrdiff_t w_stride, ptrdiff_t w_step, const void *b, void *z,
                         ptrdiff_t z_stride, ptrdiff_t rows, ptrdiff_t fan_in, ptrdiff_t first,
                         ptrdiff_t last) {
    (void)nonzero;
    sum(a, a_stride, w, w_stride, w_step, 0, b, z, z_stride, rows, fan_in, first, last);
}

static void input_gradient(const void *dz, ptrdiff_t dz_stride, const void *w, ptrdiff_t w_stride,
                           void *da, ptrdiff_t da_stride, ptrdiff_t rows, ptrdiff_t fan_in,
                           ptrdiff_t fan_out, ptrdiff_t first, ptrdiff_t last) {
    sum(dz, dz_stride, w, w_stride, SIDE, fan_in, NULL, da, da_stride, rows, fan_out, first, last);
}

/* What becomes of n numbers of a gradient: see struct update. Plain gradient descent is the formula
 * `sgd` on vectors. */
static void take_step(const struct update *update, float *gradient, float *out, ptrdiff_t n) {
    if (!update) {
        memcpy(out, gradient, n * sizeof(float));
    } else if (update->is_gradient_descent && !update->adjustments) {
        const float factor = -*(const float *)update->coefficients;
        for (ptrdiff_t i = 0; i < n; i += SIDE)
            store_numbers(out + i, load_numbers(out + i) + factor * load_numbers(gradient + i));
    } else {
        if (update->adjustments) update->adjust(out, gradient, update->adjustments, n);
        update->step(out, gradient, (char *)out + update->state_offset, update->state_stride,
                     update->coefficients, n);
    }
}

static void weight_gradient(const void *a_, ptrdiff_t a_stride, const uint16_t *nonzero,
                            const void *dz_, ptrdiff_t dz_stride, void *out_, ptrdiff_t out_stride,
                            const struct update *update, ptrdiff_t rows, ptrdiff_t first_input,
                            ptrdiff_t last_input, ptrdiff_t first, ptrdiff_t last) {
    (void)nonzero;
    enum { WIDTH = 2 * SIDE, PANEL = WIDTH * SIDE }; /* inputs together, and their sums of a panel */
    const float *a = a_, *dz = dz_;
    float *out = out_;
    _Alignas(64) uint32_t a_block[GRADIENT_DEPTH / 2 * WIDTH], dz_block[GRADIENT_PAIRS];
    _Alignas(64) float gradient[GRADIENT_PANELS * PANEL]; /* (panel, input, output) */
    const ptrdiff_t most_steps = (least(rows, GRADIENT_DEPTH) + TILE_DEPTH - 1) / TILE_DEPTH;
    const ptrdiff_t group =
        most_steps ? GRADIENT_PAIRS / (most_steps * TILE_PAIRS) / 2 * 2 : GRADIENT_PANELS;
    configure(SIDE);
    for (ptrdiff_t group_first = first; group_first < last; group_first += group) {
        const ptrdiff_t group_last = least(group_first + group, last);
        for (ptrdiff_t input = first_input; input < last_input; input += WIDTH) {
            const ptrdiff_t width = least(last_input - input, WIDTH);
            const ptrdiff_t tile_rows = (width + SIDE - 1) / SIDE;
            for (ptrdiff_t row = 0; row < rows; row += GRADIENT_DEPTH) {
                const ptrdiff_t block_rows = least(rows - row, GRADIENT_DEPTH);
                const ptrdiff_t steps = (block_rows + TILE_DEPTH - 1) / TILE_DEPTH;
                for (ptrdiff_t i = 0; i < tile_rows; i++)
                    pack_rows_transposed(a + (input / SIDE + i) * a_stride + row * SIDE, block_rows,
                                         a_block + i * steps * TILE_PAIRS);
                if (input == first_input || rows > GRADIENT_DEPTH)
                    for (ptrdiff_t panel = group_first; panel < group_last; panel++)
                        pack_rows(dz + panel * dz_stride + row * SIDE, SIDE, block_rows,
                                  dz_block + (panel - group_first) * steps * TILE_PAIRS);
                for (ptrdiff_t panel = group_first; panel < group_last; panel += 2) {
                    const ptrdiff_t panels = least(group_last - panel, 2);
                    /* Sums that go on wait in a place of their own. */
                    float *sums = gradient + (rows > GRADIENT_DEPTH ? panel - group_first : 0) * PANEL;
                    multiply_tiles[tile_rows - 1][panels - 1](
                        a_block, dz_block + (panel - group_first) * steps * TILE_PAIRS, steps,
                        row ? sums : NULL, 64, PANEL, sums, PANEL);
                    for (ptrdiff_t j = 0; j < panels && row + block_rows == rows; j++)
                        take_step(update, sums + j * PANEL,
                                  out + (panel + j) * out_stride + input * SIDE, width * SIDE);
                }
            }
        }
    }
    TILES_RELEASE();
}

const struct bfloat16_products JOIN(JOIN(fastmlp_product, FASTMLP_ISA), bfloat16) = {
    weighted_sum, weight_gradient, input_gradient,
};
