/* From panels of float32 to tiles of pairs of bfloat16, 16 rows of 16 pairs each.
 *
 * Tiles of one operand lie one behind the other along the depth of the product, 32 numbers each: the
 * next 16 rows (of a) or columns (of b) come after all of the depth. What is missing at the end of the
 * depth is zero on both sides, since whatever is there gets multiplied.
 */
enum { SIDE = 16, TILE_DEPTH = 2 * SIDE, TILE_PAIRS = SIDE * SIDE };

typedef float unaligned_numbers __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t unaligned_pairs __attribute__((vector_size(64), aligned(4), may_alias));

static ALWAYS_INLINE numbers load_numbers(const float *p) { return *(const unaligned_numbers *)p; }
static ALWAYS_INLINE void store_numbers(float *p, numbers v) { *(unaligned_numbers *)p = v; }
static ALWAYS_INLINE void store_pairs(uint32_t *p, pairs v) { *(unaligned_pairs *)p = v; }

/* All bits of the first n lanes; n may be anything. */
static ALWAYS_INLINE pairs first_lanes(ptrdiff_t n) {
    const pairs lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return (pairs)(lane < (uint32_t)(n < 0 ? 0 : n > SIDE ? SIDE : n));
}

static ALWAYS_INLINE numbers only(pairs lanes, numbers values) {
    return (numbers)((pairs)values & lanes);
}

#if defined(__clang__)
#define CHOOSE(one, two, ...) __builtin_shufflevector(one, two, __VA_ARGS__)
#else
#define CHOOSE(one, two, ...) __builtin_shuffle(one, two, (pairs){__VA_ARGS__})
#endif
/* Lines i and i + d swap the lanes that are off their diagonal blocks of d x d. */
#define SWAP(d, to_first, to_second)                       \
    UNROLL                                                 \
    for (int i = 0; i < SIDE; i++) {                       \
        if (i & d) continue;                               \
        const pairs one = line[i], two = line[i + d];      \
        line[i] = CHOOSE(one, two, to_first);              \
        line[i + d] = CHOOSE(one, two, to_second);         \
    }
#define LIST(...) __VA_ARGS__

/* The transpose of 16 lines of 16 pairs. */
static ALWAYS_INLINE void transpose_lines(pairs line[SIDE]) {
    SWAP(1, LIST(0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
         LIST(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
    SWAP(2, LIST(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
         LIST(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
    SWAP(4, LIST(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
         LIST(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
    SWAP(8, LIST(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
         LIST(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
}
#undef SWAP
#undef LIST
#undef CHOOSE

/* For a: rows of the panels as rows of tiles, the depth along the columns. Rows that are missing in the
 * last tile stay as they are: nobody reads what they make. */
static void pack_columns(const float *panels, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns,
                         uint32_t *out) {
    for (ptrdiff_t first = 0; first < rows; first += SIDE) {
        const ptrdiff_t height = rows - first < SIDE ? rows - first : SIDE;
        for (ptrdiff_t column = 0; column < columns; column += TILE_DEPTH, out += TILE_PAIRS) {
            const float *from = panels + column / SIDE * stride + first * SIDE;
            /* Past the last column there may be anything, or no panel at all. */
            const ptrdiff_t left = columns - column, next = left > SIDE ? stride : 0;
            const pairs low = first_lanes(left), high = first_lanes(left - SIDE);
            for (ptrdiff_t row = 0; row < height; row++, from += SIDE)
                store_pairs(out + row * SIDE, pairs_of_columns(only(low, load_numbers(from)),
                                                               only(high, load_numbers(from + next))));
        }
    }
}

/* Pair number `pair` of rows of a panel that are `step` apart. */
static ALWAYS_INLINE pairs pair_of_rows(const float *panel, ptrdiff_t step, ptrdiff_t rows,
                                        ptrdiff_t pair) {
    const numbers none = {0};
    const float *above = panel + 2 * pair * step;
    if (2 * pair + 1 < rows) return pairs_of_rows(load_numbers(above), load_numbers(above + step));
    return 2 * pair < rows ? pairs_of_rows(load_numbers(above), none) : (pairs)none;
}

/* For b: one panel, the depth along its rows. */
static void pack_rows(const float *panel, ptrdiff_t step, ptrdiff_t rows, uint32_t *out) {
    const ptrdiff_t whole = rows / 2, all = (rows + TILE_DEPTH - 1) / TILE_DEPTH * SIDE;
    for (ptrdiff_t pair = 0; pair < whole; pair++, panel += 2 * step)
        store_pairs(out + pair * SIDE, pairs_of_rows(load_numbers(panel), load_numbers(panel + step)));
    for (ptrdiff_t pair = whole; pair < all; pair++)
        store_pairs(out + pair * SIDE, pair_of_rows(panel, step, rows % 2, pair - whole));
}

/* For a: the columns of one panel as rows of tiles, the depth along its rows. */
static void pack_rows_transposed(const float *panel, ptrdiff_t rows, uint32_t *out) {
    for (ptrdiff_t row = 0; row < rows; row += TILE_DEPTH, out += TILE_PAIRS) {
        const float *from = panel + row * SIDE;
        pairs line[SIDE]; /* first a pair of rows, at the end a column of them */
        if (rows - row >= TILE_DEPTH) {
            UNROLL
            for (int i = 0; i < SIDE; i++) line[i] = pair_of_rows(from, SIDE, TILE_DEPTH, i);
        } else {
            UNROLL
            for (int i = 0; i < SIDE; i++) line[i] = pair_of_rows(from, SIDE, rows - row, i);
        }
        transpose_lines(line);
        UNROLL
        for (int i = 0; i < SIDE; i++) store_pairs(out + i * SIDE, line[i]);
    }
}

/* For b: up to 16 rows of panels as columns of tiles, the depth along the columns, which are zero past
 * the last. */
static void pack_columns_transposed(const float *panels, ptrdiff_t stride, ptrdiff_t rows,
                                    ptrdiff_t columns, uint32_t *out) {
    const numbers none = {0};
    for (ptrdiff_t column = 0; column < columns; column += TILE_DEPTH, out += TILE_PAIRS) {
        const float *from = panels + column / SIDE * stride;
        const int has_next = columns - column > SIDE;
        pairs line[SIDE];
        if (rows >= SIDE && has_next) {
            UNROLL
            for (int i = 0; i < SIDE; i++)
                line[i] = pairs_of_columns(load_numbers(from + i * SIDE),
                                           load_numbers(from + i * SIDE + stride));
        } else {
            UNROLL
            for (int i = 0; i < SIDE; i++) {
                const int next = i < rows && has_next;
                line[i] = pairs_of_columns(i < rows ? load_numbers(from + i * SIDE) : none,
                                           next ? load_numbers(from + i * SIDE + stride) : none);
            }
        }
        transpose_lines(line);
        UNROLL
        for (int i = 0; i < SIDE; i++) store_pairs(out + i * SIDE, line[i]);
    }
}
