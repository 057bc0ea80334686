/* Matrix products of float32 panels whose operands are rounded to bfloat16; sums are float32.
 *
 * Operands are rounded (to nearest, ties to even) block by block into memory that stays in the caches,
 * and multiplied there by the register tile. A value of a rounded panel stands for PAIR numbers that
 * are summed together, neighbours along the depth of the product: two for an instruction that takes
 * pairs, one where bfloat16 is emulated. So a tile's depth is shorter by PAIR, and nothing else differs.
 * Where many inputs are zero, tiles take lists of steps as in sum_real.h, by what is zero in a rounded block.
 *
 * Included where REAL is float, after tile_real.h and nonzeros_real.h, with PAIR defined and four functions:
 *     nonzero_numbers    one bit per value of a rounded vector: whether it stands for something but zeros
 *     round_columns      PAIR neighbouring columns of a row become one value
 *     round_rows         PAIR rows of a panel, one below the other, become one row
 *     round_transposed   PAIR columns become one row: round_rows of the transpose of the panels
 * What is missing at the end of the depth counts as zero. The order of every sum is fixed, as in
 * product_real.h. A unit for another instruction (AMX) fills a struct three_products of its own.
 */
enum {
    SUM_ROWS = 256 * PAIR, /* of `a`, rounded together */
    SUM_DEPTH = 256,       /* a multiple of PAIR * LANES */
    LISTED_BLOCK_ROWS = 64 * PAIR, /* instead of SUM_ROWS: lists have room for as many tiles */
    MOST_PANELS = 4,       /* of a tile */
    GRADIENT_DEPTH = 512,  /* rows of a and dz, rounded together; of whole pairs */
    ROUNDED_PANELS = 16,   /* of dz, at most */
    GRADIENT_VALUES = 1 << 16
};

/* Notes which numbers of a rounded block of panels are not zero, as kernels.h has it. */
static void note_nonzeros(const REAL *block, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns,
                          uint16_t *nonzero) {
    for (ptrdiff_t panel = 0; panel * LANES < columns; panel++)
        for (ptrdiff_t row = 0; row < rows; row++)
            nonzero[panel * (stride / LANES) + row] =
                (uint16_t)nonzero_numbers(block + panel * stride + row * LANES);
}

/* z = a @ w + b as in kernels.h; or a @ w.T, if w has `transposed_rows` (else 0) and `fan_in` columns. */
static void NAME(bfloat16_sum)(const REAL *a, ptrdiff_t a_stride, const uint16_t *nonzero, const REAL *w,
                               ptrdiff_t w_stride, ptrdiff_t w_step, ptrdiff_t transposed_rows,
                               const REAL *b, REAL *z, ptrdiff_t z_stride, ptrdiff_t all_rows,
                               ptrdiff_t fan_in, ptrdiff_t first, ptrdiff_t last) {
    _Static_assert(MOST_PANELS >= LISTED_PANELS, "a block has room for the panels of a tile");
    REAL a_block[(SUM_ROWS + 1) * SUM_DEPTH / PAIR], w_block[MOST_PANELS * SUM_DEPTH / PAIR * LANES];
    uint16_t of_block[(LISTED_BLOCK_ROWS + 1) * SUM_DEPTH / PAIR / LANES]; /* what is not zero in a_block */
    uint64_t lists[NAME(LISTED_STEPS) + LANES];
    ptrdiff_t listed[LISTED_BLOCK_ROWS / LISTED_ROWS + 1]; /* steps of each tile */
    const int is_listed =
        NAME(has_many_zeros)(nonzero, a_stride / LANES, all_rows, fan_in, last - first);
    const ptrdiff_t most_rows = is_listed ? LISTED_BLOCK_ROWS : SUM_ROWS;
    /* Blocks of nearly equal depth, of whole panels. */
    const ptrdiff_t n_blocks = fan_in > SUM_DEPTH ? (fan_in + SUM_DEPTH - 1) / SUM_DEPTH : 1;
    const ptrdiff_t unit = PAIR * LANES, share = (fan_in + n_blocks - 1) / n_blocks;
    const ptrdiff_t depth = (share + unit - 1) / unit * unit;
    for (ptrdiff_t row_block = 0; row_block < all_rows; row_block += most_rows) {
        const ptrdiff_t rows_left = all_rows - row_block;
        const ptrdiff_t rows = rows_left < most_rows ? rows_left : most_rows;
        const int is_low = is_listed && last - first >= LISTED_PANELS && rows >= 2 * LISTED_ROWS;
        const ptrdiff_t tile_rows = is_low ? LISTED_ROWS : TILE_ROWS;
        const ptrdiff_t n_tiles = (rows + tile_rows - 1) / tile_rows;
        /* One row more: panels of 128 rows would all lie in the same sets of the cache. */
        const ptrdiff_t block_stride = (rows + 1) * LANES;
        ptrdiff_t input = 0;
        do { /* once even if there is nothing to sum: then z is b */
            const ptrdiff_t inputs = fan_in - input < depth ? fan_in - input : depth;
            const ptrdiff_t steps = (inputs + PAIR - 1) / PAIR;
            ptrdiff_t panels;
            round_columns(a + input / LANES * a_stride + row_block * LANES, a_stride, rows, inputs,
                          a_block, block_stride);
            if (is_listed) note_nonzeros(a_block, block_stride, rows, steps, of_block);
            for (ptrdiff_t tile = 0; is_listed && tile < n_tiles; tile++) {
                const ptrdiff_t row = tile * rows / n_tiles, next = (tile + 1) * rows / n_tiles;
                listed[tile] = NAME(list_inputs)(of_block + row, next - row, steps, block_stride, LANES,
                                                 lists + tile * (SUM_DEPTH / PAIR));
            }
            for (ptrdiff_t panel = first; panel < last; panel += panels) {
                panels = NAME(panels_of_tile)(last - panel, is_low ? LISTED_PANELS : 2);
                for (ptrdiff_t j = 0; j < panels; j++) {
                    REAL *rounded_panel = w_block + j * steps * LANES;
                    const ptrdiff_t row = (panel + j) * LANES;
                    if (transposed_rows)
                        round_transposed(w + input / LANES * w_stride + row * LANES, w_stride,
                                         transposed_rows - row, inputs, rounded_panel);
                    else
                        round_rows(w + (panel + j) * w_stride + input * w_step, w_step, inputs,
                                   rounded_panel);
                }
                for (ptrdiff_t tile = 0; tile < n_tiles; tile++) {
                    const ptrdiff_t row = tile * rows / n_tiles, next = (tile + 1) * rows / n_tiles;
                    REAL *out = z + panel * z_stride + (row_block + row) * LANES;
                    const REAL *bias = b ? b + panel * LANES : NULL;
                    NAME(sum_tiles)[next - row][panels](
                        a_block + row * LANES, block_stride, w_block, steps * LANES, LANES,
                        is_listed ? listed[tile] : steps,
                        is_listed ? lists + tile * (SUM_DEPTH / PAIR) : NULL, input ? out : bias,
                        input ? LANES : 0, input ? z_stride : LANES, NULL, out, z_stride);
                }
            }
            input += depth;
        } while (input < fan_in);
    }
}

static void NAME(bfloat16_weighted_sum)(const void *a, ptrdiff_t a_stride, const uint16_t *nonzero,
                                        const void *w, ptrdiff_t w_stride, ptrdiff_t w_step,
                                        const void *b, void *z, ptrdiff_t z_stride, ptrdiff_t rows,
                                        ptrdiff_t fan_in, ptrdiff_t first, ptrdiff_t last) {
    NAME(bfloat16_sum)(a, a_stride, nonzero, w, w_stride, w_step, 0, b, z, z_stride, rows, fan_in, first,
                       last);
}

static void NAME(bfloat16_input_gradient)(const void *dz, ptrdiff_t dz_stride, const void *w,
                                          ptrdiff_t w_stride, void *da, ptrdiff_t da_stride,
                                          ptrdiff_t rows, ptrdiff_t fan_in, ptrdiff_t fan_out,
                                          ptrdiff_t first, ptrdiff_t last) {
    NAME(bfloat16_sum)(dz, dz_stride, NULL, w, w_stride, LANES, fan_in, NULL, da, da_stride, rows,
                       fan_out, first, last);
}

static void NAME(bfloat16_weight_gradient)(const void *a_, ptrdiff_t a_stride,
                                           const uint16_t *nonzero, const void *dz_,
                                           ptrdiff_t dz_stride, void *out_, ptrdiff_t out_stride,
                                           const struct update *update, ptrdiff_t rows,
                                           ptrdiff_t first_input, ptrdiff_t last_input,
                                           ptrdiff_t first, ptrdiff_t last) {
    const REAL *a = a_, *dz = dz_;
    REAL *out = out_;
    REAL a_block[GRADIENT_DEPTH / PAIR * LANES], dz_block[GRADIENT_VALUES];
    REAL gradient[ROUNDED_PANELS * LANES * LANES]; /* of an input panel: (panel, input, output) */
    uint16_t of_block[GRADIENT_DEPTH / PAIR + NONZERO_PADDING]; /* what is not zero in a_block */
    uint64_t list[GRADIENT_DEPTH / PAIR + LANES];
    const int is_listed =
        NAME(has_many_zeros)(nonzero, a_stride / LANES, rows, last_input, last - first);
    const int is_low = is_listed && last - first >= LISTED_PANELS;
    const ptrdiff_t tile_inputs = is_low ? LISTED_INPUTS : GRADIENT_ROWS;
    const int adds_at_once = !update || (update->is_gradient_descent && !update->adjustments);
    const REAL *learning_rate = update ? update->coefficients : NULL;
    const ptrdiff_t most_rows = rows < GRADIENT_DEPTH ? rows : GRADIENT_DEPTH;
    const ptrdiff_t most_values = (most_rows + PAIR - 1) / PAIR * LANES; /* of a panel */
    ptrdiff_t group = GRADIENT_VALUES / most_values / 2 * 2;
    if (group > ROUNDED_PANELS) group = ROUNDED_PANELS;
    for (ptrdiff_t group_first = first; group_first < last; group_first += group) {
        const ptrdiff_t group_last = last - group_first < group ? last : group_first + group;
        for (ptrdiff_t input = first_input; input < last_input; input += LANES) {
            const ptrdiff_t width = last_input - input < LANES ? last_input - input : LANES;
            for (ptrdiff_t row = 0; row < rows; row += GRADIENT_DEPTH) {
                const int is_last = rows - row <= GRADIENT_DEPTH;
                const ptrdiff_t block_rows = is_last ? rows - row : GRADIENT_DEPTH;
                const ptrdiff_t steps = (block_rows + PAIR - 1) / PAIR;
                round_rows(a + input / LANES * a_stride + row * LANES, LANES, block_rows, a_block);
                if (is_listed) note_nonzeros(a_block, LANES, steps, LANES, of_block);
                if (input == first_input || rows > GRADIENT_DEPTH)
                    for (ptrdiff_t panel = group_first; panel < group_last; panel++)
                        round_rows(dz + panel * dz_stride + row * LANES, LANES, block_rows,
                                   dz_block + (panel - group_first) * steps * LANES);
                ptrdiff_t height, panels;
                for (ptrdiff_t lane = 0; lane < width; lane += height) {
                    height = width - lane < tile_inputs ? width - lane : tile_inputs;
                    ptrdiff_t depth = steps, tile_panels = is_low ? LISTED_INPUT_PANELS : GRADIENT_PANELS;
                    if (height < tile_inputs) tile_panels = 2;
                    if (is_listed)
                        depth = NAME(list_rows)(of_block, steps, ((1u << height) - 1) << lane, list);
                    for (ptrdiff_t panel = group_first; panel < group_last; panel += panels) {
                        panels = NAME(panels_of_tile)(group_last - panel, tile_panels);
                        const REAL *dz_tile = dz_block + (panel - group_first) * steps * LANES;
                        REAL *sums = gradient + ((panel - group_first) * LANES + lane) * LANES;
                        REAL *place = out + panel * out_stride + (input + lane) * LANES;
                        const int is_done = is_last && adds_at_once;
                        if (update && is_last && depth >= NAME(STEPS_TO_FETCH))
                            NAME(fetch)(place, out_stride, panels, height * LANES);
                        NAME(gradient_tiles)[height][panels](
                            a_block + lane, 0, dz_tile, steps * LANES, LANES, depth,
                            is_listed ? list : NULL, row ? sums : NULL, LANES, LANES * LANES,
                            is_done ? learning_rate : NULL, is_done ? place : sums,
                            is_done ? out_stride : LANES * LANES);
                        for (int j = 0; j < panels && is_last && !is_done; j++)
                            NAME(step)(update, update->adjustments, place + j * out_stride,
                                       sums + j * LANES * LANES, height * LANES);
                    }
                }
            }
        }
    }
}
