/* The weighted sum of panels, a register tile at a time; see kernels.h. */
#include "tile_real.h"

#include "nonzeros_real.h"

/* What is worked on together: of `a` 128 to 256 KB, for the second-level cache, which has 512 KB or
 * more; of two panels of w, if there are many rows to use it for, 16 KB, for the first-level cache; of the
 * panels of low tiles with lists up to 48 KB, of which they read a part. */
enum {
    NAME(BLOCK_VALUES) = (128 << 10) / sizeof(REAL),
    NAME(BLOCK_DEPTH) = FASTMLP_VECTOR_BYTES == 64 ? 128 : 256,
    NAME(BLOCK_ROWS) = 2 * NAME(BLOCK_VALUES) / NAME(BLOCK_DEPTH),
    NAME(LISTED_BLOCK_ROWS) = NAME(BLOCK_VALUES) / 256 /* lists have room for their tiles */
};

/* From so many tiles on, a block of w whose rows lie apart is first copied to where they do not. */
enum { NAME(TILES_TO_COPY) = 3 };

/* Up to LANES rows of the panels of w, so many columns of them, as one panel whose rows are the columns. */
static void NAME(copy_transposed)(const REAL *w, ptrdiff_t w_stride, ptrdiff_t rows, ptrdiff_t columns,
                                  REAL *copy) {
    for (ptrdiff_t column = 0; column < columns; column += LANES, w += w_stride, copy += LANES * LANES) {
        if (rows >= LANES && columns - column >= LANES) {
            UNROLL
            for (int i = 0; i < LANES; i++) {
                UNROLL
                for (int lane = 0; lane < LANES; lane++) copy[i * LANES + lane] = w[lane * LANES + i];
            }
            continue;
        }
        for (ptrdiff_t i = 0; i < LANES && column + i < columns; i++)
            for (ptrdiff_t lane = 0; lane < LANES; lane++)
                copy[i * LANES + lane] = lane < rows ? w[lane * LANES + i] : 0;
    }
}

/* So many columns of `rows` rows of panels, one column behind the other. */
static void NAME(pack_rows)(const REAL *a, ptrdiff_t a_stride, ptrdiff_t rows, ptrdiff_t columns, REAL *to) {
    for (ptrdiff_t column = 0; column < columns; column += LANES, a += a_stride) {
        const ptrdiff_t width = columns - column < LANES ? columns - column : LANES;
        for (ptrdiff_t lane = 0; lane < width; lane++, to += rows)
            for (ptrdiff_t row = 0; row < rows; row++) to[row] = a[row * LANES + lane];
    }
}

/* z = a @ w + b as in kernels.h; or a @ w.T, if w has `transposed_rows` (else 0) and fan_in columns. `packed`
 * is room for BLOCK_ROWS by BLOCK_DEPTH values of `a`, or NULL: they are taken where they are. */
static void NAME(sum_in_blocks)(const void *a_, ptrdiff_t a_stride, const uint16_t *nonzero,
                                const void *w_, ptrdiff_t w_stride, ptrdiff_t w_step,
                                ptrdiff_t transposed_rows, const void *b_, void *z_, ptrdiff_t z_stride,
                                ptrdiff_t all_rows, ptrdiff_t fan_in, ptrdiff_t first, ptrdiff_t last,
                                REAL *packed) {
    const REAL *a = a_, *w = w_, *b = b_;
    enum { SQUARE = LANES * LANES };
    REAL *z = z_, copy[2 * NAME(BLOCK_DEPTH) * LANES];
    uint64_t lists[NAME(LISTED_STEPS) + LANES];
    ptrdiff_t listed[NAME(LISTED_BLOCK_ROWS) / LISTED_ROWS + 1]; /* steps of each tile */
    /* A list costs as much as a few products per step. */
    const int is_listed = (all_rows < TILE_ROWS ? all_rows : TILE_ROWS) * (last - first) >= 8 &&
                          NAME(can_list)(fan_in, a_stride, w_step) &&
                          NAME(has_many_zeros)(nonzero, a_stride / LANES, all_rows, fan_in, last - first);
    const ptrdiff_t block_rows = is_listed ? NAME(LISTED_BLOCK_ROWS) : NAME(BLOCK_ROWS);
    for (ptrdiff_t row_block = 0; row_block < all_rows; row_block += block_rows) {
        const ptrdiff_t rows_left = all_rows - row_block;
        const ptrdiff_t rows = rows_left < block_rows ? rows_left : block_rows;
        const int is_low = is_listed && last - first >= LISTED_PANELS && rows >= 2 * LISTED_ROWS;
        const ptrdiff_t tile_rows = is_low ? LISTED_ROWS : TILE_ROWS;
        const ptrdiff_t tile_panels = is_low ? LISTED_PANELS : 2;
        /* Tiles of nearly equal height: 128 rows are 8 of 13 and 2 of 12, not 9 of 13 and one of
         * 11. */
        const ptrdiff_t n_tiles = (rows + tile_rows - 1) / tile_rows;
        ptrdiff_t depth = NAME(BLOCK_VALUES) / rows / LANES * LANES, input = 0;
        const int copies = transposed_rows || (w_step != LANES && n_tiles >= NAME(TILES_TO_COPY));
        const ptrdiff_t copied_depth = 2 * NAME(BLOCK_DEPTH) / tile_panels;
        if (depth < NAME(BLOCK_DEPTH) || copies) depth = NAME(BLOCK_DEPTH);
        if (is_listed) { /* blocks of nearly equal depth, of whole panels */
            ptrdiff_t most = NAME(LISTED_STEPS) / n_tiles / LANES;
            if (copies && most > copied_depth / LANES) most = copied_depth / LANES;
            const ptrdiff_t in_panels = (fan_in + LANES - 1) / LANES;
            const ptrdiff_t n_blocks = (in_panels + most - 1) / most;
            depth = (in_panels + n_blocks - 1) / n_blocks * LANES;
        }
        do { /* once even if there is nothing to sum: then z is b */
            const ptrdiff_t inputs = fan_in - input < depth ? fan_in - input : depth;
            const ptrdiff_t step = copies ? LANES : w_step;
            ptrdiff_t panels;
            /* Of so many rows tiles have TILE_ROWS or one less. */
            const int packs = packed && !is_listed && rows >= TILE_ROWS * TILE_ROWS;
            for (ptrdiff_t tile = 0; packs && tile < n_tiles; tile++) {
                const ptrdiff_t row = tile * rows / n_tiles, next = (tile + 1) * rows / n_tiles;
                NAME(pack_rows)(a + input / LANES * a_stride + (row_block + row) * LANES, a_stride,
                                next - row, inputs, packed + row * inputs);
            }
            for (ptrdiff_t tile = 0; is_listed && tile < n_tiles; tile++) {
                const ptrdiff_t row = tile * rows / n_tiles, next = (tile + 1) * rows / n_tiles;
                listed[tile] = NAME(list_inputs)(
                    nonzero + input / LANES * (a_stride / LANES) + row_block + row, next - row,
                    inputs, a_stride, step, lists + tile * depth);
            }
            for (ptrdiff_t panel = first; panel < last; panel += panels) {
                const int is_wide = rows == 1 && last - panel >= WIDE_PANELS && !transposed_rows;
                panels = is_wide ? WIDE_PANELS : NAME(panels_of_tile)(last - panel, tile_panels);
                const REAL *block = w + panel * w_stride + input * w_step;
                for (ptrdiff_t j = 0; transposed_rows && j < panels; j++)
                    NAME(copy_transposed)(w + input / LANES * w_stride + (panel + j) * SQUARE,
                                          w_stride, transposed_rows - (panel + j) * LANES, inputs,
                                          copy + j * copied_depth * LANES);
                for (ptrdiff_t i = 0; copies && !transposed_rows && i < inputs; i++)
                    for (ptrdiff_t j = 0; j < panels; j++)
                        NAME(store)(copy + (j * copied_depth + i) * LANES,
                                    NAME(load)(block + i * w_step + j * w_stride));
                for (ptrdiff_t tile = 0; tile < n_tiles; tile++) {
                    const ptrdiff_t row = row_block + tile * rows / n_tiles;
                    const ptrdiff_t next = row_block + (tile + 1) * rows / n_tiles;
                    REAL *out = z + panel * z_stride + row * LANES;
                    const REAL *bias = b ? b + panel * LANES : NULL;
                    if (input) /* the sums of the next tile */
                        NAME(fetch)(out + (next - row) * LANES, z_stride, panels, (next - row) * LANES);
                    if (transposed_rows && panel + 2 * panels <= last) /* a share of the next panels */
                        for (ptrdiff_t i = tile * inputs / n_tiles / LANES;
                             i < (tile + 1) * inputs / n_tiles / LANES; i++)
                            NAME(fetch)(w + (input / LANES + i) * w_stride + (panel + panels) * SQUARE, 0, 1,
                                        panels * SQUARE);
                    const NAME(tile_function) function =
                        is_wide ? NAME(sum_tile_1_8)
                        : packs ? NAME(packed_tiles)[next - row][panels]
                                : NAME(sum_tiles)[next - row][panels];
                    function(
                        packs ? packed + (row - row_block) * inputs
                              : a + input / LANES * a_stride + row * LANES,
                        a_stride,
                        copies ? copy : block, copies ? copied_depth * LANES : w_stride, step,
                        is_listed ? listed[tile] : inputs, is_listed ? lists + tile * depth : NULL,
                        input ? out : bias, input ? LANES : 0, input ? z_stride : LANES, NULL, out,
                        z_stride);
                }
            }
            input += depth;
        } while (input < fan_in);
    }
}

static NEVER_INLINE void NAME(sum_of_packed)(
    const void *a, ptrdiff_t a_stride, const uint16_t *nonzero, const void *w, ptrdiff_t w_stride,
    ptrdiff_t w_step, ptrdiff_t transposed_rows, const void *b, void *z, ptrdiff_t z_stride, ptrdiff_t rows,
    ptrdiff_t fan_in, ptrdiff_t first, ptrdiff_t last) {
    REAL packed[NAME(BLOCK_ROWS) * NAME(BLOCK_DEPTH)]; /* 256 KB, for those alone who need them */
    NAME(sum_in_blocks)(a, a_stride, nonzero, w, w_stride, w_step, transposed_rows, b, z, z_stride, rows,
                        fan_in, first, last, packed);
}

static ALWAYS_INLINE void NAME(sum)(const void *a, ptrdiff_t a_stride, const uint16_t *nonzero,
                                    const void *w, ptrdiff_t w_stride, ptrdiff_t w_step,
                                    ptrdiff_t transposed_rows, const void *b, void *z, ptrdiff_t z_stride,
                                    ptrdiff_t rows, ptrdiff_t fan_in, ptrdiff_t first, ptrdiff_t last) {
    if (last - first >= PACKED_PANELS)
        NAME(sum_of_packed)(a, a_stride, nonzero, w, w_stride, w_step, transposed_rows, b, z, z_stride, rows,
                            fan_in, first, last);
    else
        NAME(sum_in_blocks)(a, a_stride, nonzero, w, w_stride, w_step, transposed_rows, b, z, z_stride, rows,
                            fan_in, first, last, NULL);
}

static void NAME(weighted_sum)(const void *a, ptrdiff_t a_stride, const uint16_t *nonzero, const void *w,
                               ptrdiff_t w_stride, ptrdiff_t w_step, const void *b, void *z,
                               ptrdiff_t z_stride, ptrdiff_t rows, ptrdiff_t fan_in, ptrdiff_t first,
                               ptrdiff_t last) {
    NAME(sum)(a, a_stride, nonzero, w, w_stride, w_step, 0, b, z, z_stride, rows, fan_in, first, last);
}

static void NAME(input_gradient)(const void *dz, ptrdiff_t dz_stride, const void *w, ptrdiff_t w_stride,
                                 void *da, ptrdiff_t da_stride, ptrdiff_t rows, ptrdiff_t fan_in,
                                 ptrdiff_t fan_out, ptrdiff_t first, ptrdiff_t last) {
    NAME(sum)(dz, dz_stride, NULL, w, w_stride, LANES, fan_in, NULL, da, da_stride, rows, fan_out, first,
              last);
}
