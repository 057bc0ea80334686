/* A block of LOSS_BLOCK rows of panels, column by column: what the loops over rows take, a vector lane per
 * row. Rows past the last repeat the first one.
 *
 * Squares of LANES x LANES are transposed in registers: columns that are picked together number by number
 * take four times as long, as their vectors wait for so many small stores.
 */

/* A number of each row, of all columns of one panel. */
typedef REAL NAME(columns)[LANES][LOSS_BLOCK];

#if defined(__GNUC__)
#if defined(__clang__)
#define CHOOSE(one, two, ...) __builtin_shufflevector(one, two, __VA_ARGS__)
#else
#define CHOOSE(one, two, ...) __builtin_shuffle(one, two, (NAME(lane_numbers)){__VA_ARGS__})
#endif
typedef INTEGER NAME(lane_numbers) __attribute__((vector_size(FASTMLP_VECTOR_BYTES)));
/* Lines i and i + d swap the lanes that are off their diagonal blocks of d x d. */
#define SWAP(d, to_first, to_second)                            \
    UNROLL                                                      \
    for (int i = 0; i < LANES; i++) {                           \
        if (i & d) continue;                                    \
        const NAME(vector) one = line[i], two = line[i + d];    \
        line[i] = CHOOSE(one, two, to_first);                   \
        line[i + d] = CHOOSE(one, two, to_second);              \
    }
#define LIST(...) __VA_ARGS__

/* Rows of `from` lie from_row numbers apart and become columns of `to`, whose rows lie to_row apart. */
static ALWAYS_INLINE void NAME(transpose_square)(const REAL *from, ptrdiff_t from_row, REAL *to,
                                                 ptrdiff_t to_row) {
    NAME(vector) line[LANES];
    UNROLL
    for (int i = 0; i < LANES; i++) line[i] = NAME(load)(from + i * from_row);
#if FASTMLP_VECTOR_BYTES / REAL_BYTES == 2
    SWAP(1, LIST(0, 2), LIST(1, 3))
#elif FASTMLP_VECTOR_BYTES / REAL_BYTES == 4
    SWAP(1, LIST(0, 4, 2, 6), LIST(1, 5, 3, 7))
    SWAP(2, LIST(0, 1, 4, 5), LIST(2, 3, 6, 7))
#elif FASTMLP_VECTOR_BYTES / REAL_BYTES == 8
    SWAP(1, LIST(0, 8, 2, 10, 4, 12, 6, 14), LIST(1, 9, 3, 11, 5, 13, 7, 15))
    SWAP(2, LIST(0, 1, 8, 9, 4, 5, 12, 13), LIST(2, 3, 10, 11, 6, 7, 14, 15))
    SWAP(4, LIST(0, 1, 2, 3, 8, 9, 10, 11), LIST(4, 5, 6, 7, 12, 13, 14, 15))
#else
    SWAP(1, LIST(0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
         LIST(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
    SWAP(2, LIST(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
         LIST(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
    SWAP(4, LIST(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
         LIST(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
    SWAP(8, LIST(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
         LIST(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
#endif
    UNROLL
    for (int i = 0; i < LANES; i++) NAME(store)(to + i * to_row, line[i]);
}
#undef SWAP
#undef LIST
#undef CHOOSE
#else
static void NAME(transpose_square)(const REAL *from, ptrdiff_t from_row, REAL *to, ptrdiff_t to_row) {
    for (int i = 0; i < LANES; i++)
        for (int j = 0; j < LANES; j++) to[j * to_row + i] = from[i * from_row + j];
}
#endif

/* Never inlined: what works on the columns is to find them side by side in memory. */
static NEVER_INLINE void NAME(load_panel)(const REAL *panel, int n, NAME(columns) value) {
    REAL rows[LOSS_BLOCK * LANES];
    if (n < LOSS_BLOCK) {
        for (int i = 0; i < LOSS_BLOCK; i++)
            memcpy(rows + i * LANES, panel + (i < n ? i : 0) * LANES, LANES * sizeof(REAL));
        panel = rows;
    }
    for (int i = 0; i < LOSS_BLOCK; i += LANES)
        NAME(transpose_square)(panel + i * LANES, LANES, &value[0][i], LOSS_BLOCK);
}

/* Some columns of a panel, its rows being n. */
static NEVER_INLINE void NAME(store_panel)(REAL *panel, int n, int first, int last,
                                           NAME(columns) value) {
    REAL rows[LOSS_BLOCK * LANES];
    if (first > 0 || last < LANES) {
        for (int lane = first; lane < last; lane++)
            for (int i = 0; i < n; i++) panel[i * LANES + lane] = value[lane][i];
        return;
    }
    REAL *to = n < LOSS_BLOCK ? rows : panel;
    for (int i = 0; i < LOSS_BLOCK; i += LANES)
        NAME(transpose_square)(&value[0][i], LOSS_BLOCK, to + i * LANES, LANES);
    if (n < LOSS_BLOCK) memcpy(panel, rows, n * LANES * sizeof(REAL));
}

/* The columns of many panels, which are taken in order; one panel is here at a time. */
struct NAME(block_columns) {
    const REAL *panels;
    ptrdiff_t stride, panel;
    int n;
    NAME(columns) value;
};

static ALWAYS_INLINE const REAL *NAME(column)(struct NAME(block_columns) *block, ptrdiff_t column) {
    if (column / LANES != block->panel) {
        block->panel = column / LANES;
        NAME(load_panel)(block->panels + block->panel * block->stride, block->n, block->value);
    }
    return block->value[column % LANES];
}

/* What becomes of the columns [begin, end) of `columns`; after the last one there are zeros in its panel. */
struct NAME(new_columns) {
    REAL *panels;
    ptrdiff_t stride, begin, end, columns;
    int n;
    NAME(columns) value;
};

/* `column` is the latest of them that is there. */
static ALWAYS_INLINE void NAME(store_when_full)(struct NAME(new_columns) *made, ptrdiff_t column) {
    const ptrdiff_t start = column / LANES * LANES;
    int last = (int)(column + 1 - start);
    if (last < LANES && column + 1 < made->end) return;
    if (column + 1 == made->columns)
        for (; last < LANES; last++) memset(made->value[last], 0, sizeof made->value[last]);
    NAME(store_panel)(made->panels + column / LANES * made->stride, made->n,
                      made->begin > start ? (int)(made->begin - start) : 0, last, made->value);
}
