/* From panels of float32 to tiles of pairs of bfloat16, 16 rows of 16 pairs each.
 *
 * Tiles of one operand lie one behind the other along the depth of the product, 32 numbers each: the
 * next 16 rows (of a) or columns (of b) come after all of the depth. What is missing at the end of the
 * depth is zero on both sides, since whatever is there gets multiplied.
 *
 * With PIECES of 3 every tile is followed by two more: of what rounding took from the numbers of the
 * first, and of what rounding took from that. The sum of the three is the number, exactly, unless pieces
 * fall below 2^-126, which become zero.
 */
enum { SIDE = 16, TILE_DEPTH = 2 * SIDE, TILE_PAIRS = SIDE * SIDE, TILE_WORDS = PIECES * TILE_PAIRS };

typedef float unaligned_numbers __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t unaligned_pairs __attribute__((vector_size(64), aligned(4), may_alias));

static ALWAYS_INLINE numbers load_numbers(const float *p) { return *(const unaligned_numbers *)p; }
static ALWAYS_INLINE void store_numbers(float *p, numbers v) { *(unaligned_numbers *)p = v; }
static ALWAYS_INLINE pairs load_pairs(const uint32_t *p) { return *(const unaligned_pairs *)p; }
static ALWAYS_INLINE void store_pairs(uint32_t *p, pairs v) { *(unaligned_pairs *)p = v; }

/* All bits of the first n lanes; n may be anything. */
static ALWAYS_INLINE pairs first_lanes(ptrdiff_t n) {
    const pairs lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return (pairs)(lane < (uint32_t)(n < 0 ? 0 : n > SIDE ? SIDE : n));
}

static ALWAYS_INLINE numbers only(pairs lanes, numbers values) {
    return (numbers)((pairs)values & lanes);
}

/* What is known of packed numbers, where they have three pieces. */
struct extent {
    pairs least; /* in each lane the least number but zero: its bits without the sign, times two, less one */
    pairs rests; /* the bits of all other pieces than the first */
};
#define NO_EXTENT ((struct extent){(pairs){0} - 1u, {0}})

static ALWAYS_INLINE void see(struct extent *extent, numbers values) {
    extent->least = least_lanes(extent->least, (pairs)values + (pairs)values - 1u); /* of zero: all bits */
}

/* The exponent of the least number but zero as float32 has it (2^0 is 127), or at most one less; 255 if
 * there is none. */
static ALWAYS_INLINE int least_exponent(const struct extent *extent) {
    return (int)(least_lane(extent->least) >> 24);
}

static ALWAYS_INLINE int has_rests(const struct extent *extent) { return any_lane(extent->rests); }

/* The nearest bfloat16; of two the larger one. Infinities and NaN stay what they are, or become a number that leaves
 * NaN when it is taken off them. */
static ALWAYS_INLINE numbers rounded_to_piece(numbers values) {
    return (numbers)(((pairs)values + 0x8000u) & 0xffff0000u);
}

/* To `line`, piece by piece: 32 numbers side by side, or two rows, one below the other. Of the last piece nothing
 * is left to round. */
static ALWAYS_INLINE void pieces_of_columns(numbers first, numbers second, pairs line[PIECES],
                                            struct extent *extent) {
    if (PIECES > 1) see(extent, first), see(extent, second);
    for (int piece = 0; piece < PIECES - 1; piece++) {
        const numbers left = rounded_to_piece(first), right = rounded_to_piece(second);
        line[piece] = pairs_of_columns(left, right);
        first -= left;
        second -= right;
    }
    line[PIECES - 1] = pairs_of_columns(first, second);
    for (int piece = 1; piece < PIECES; piece++) extent->rests |= line[piece];
}

static ALWAYS_INLINE void pieces_of_rows(numbers above, numbers below, pairs line[PIECES],
                                         struct extent *extent) {
    if (PIECES == 1) {
        line[0] = pairs_of_rows(above, below);
        return;
    }
    see(extent, above);
    see(extent, below);
    for (int piece = 0; piece < PIECES - 1; piece++) {
        const numbers upper = rounded_to_piece(above), lower = rounded_to_piece(below);
        line[piece] = (pairs)upper >> 16 | (pairs)lower;
        above -= upper;
        below -= lower;
    }
    line[PIECES - 1] = (pairs)above >> 16 | ((pairs)below & 0xffff0000u);
    for (int piece = 1; piece < PIECES; piece++) extent->rests |= line[piece];
}

static ALWAYS_INLINE void store_pieces(uint32_t *out, const pairs line[PIECES]) {
    for (int piece = 0; piece < PIECES; piece++) store_pairs(out + piece * TILE_PAIRS, line[piece]);
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

/* 16 lines of pieces, transposed, to the tiles of these pieces. */
static ALWAYS_INLINE void store_transposed(pairs lines[SIDE][PIECES], uint32_t *out) {
    for (int piece = 0; piece < PIECES; piece++, out += TILE_PAIRS) {
        pairs line[SIDE];
        UNROLL
        for (int i = 0; i < SIDE; i++) line[i] = lines[i][piece];
        transpose_lines(line);
        UNROLL
        for (int i = 0; i < SIDE; i++) store_pairs(out + i * SIDE, line[i]);
    }
}

/* For a: rows of the panels as rows of tiles, the depth along the columns. Rows that are missing in the
 * last tile stay as they are: nobody reads what they make. Each 16 rows have an extent. */
static void pack_columns(const float *panels, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t columns,
                         uint32_t *out, struct extent *extents) {
    for (ptrdiff_t first = 0; first < rows; first += SIDE) {
        const ptrdiff_t height = rows - first < SIDE ? rows - first : SIDE;
        struct extent extent = NO_EXTENT;
        for (ptrdiff_t column = 0; column < columns; column += TILE_DEPTH, out += TILE_WORDS) {
            const float *from = panels + column / SIDE * stride + first * SIDE;
            /* Past the last column there may be anything, or no panel at all. */
            const ptrdiff_t left = columns - column, next = left > SIDE ? stride : 0;
            const pairs low = first_lanes(left), high = first_lanes(left - SIDE);
            for (ptrdiff_t row = 0; row < height; row++, from += SIDE) {
                pairs line[PIECES];
                pieces_of_columns(only(low, load_numbers(from)), only(high, load_numbers(from + next)),
                                  line, &extent);
                store_pieces(out + row * SIDE, line);
            }
        }
        extents[first / SIDE] = extent;
    }
}

/* Pair number `pair` of rows of a panel. Of an extent the lanes past the first ones are left out. */
static ALWAYS_INLINE void pieces_of_pair(const float *panel, ptrdiff_t rows, ptrdiff_t pair, pairs lanes,
                                         pairs line[PIECES], struct extent *extent) {
    const float *above = panel + 2 * pair * SIDE;
    numbers one = {0}, other = {0};
    if (2 * pair < rows) one = load_numbers(above);
    if (2 * pair + 1 < rows) other = load_numbers(above + SIDE);
    if (PIECES > 1) one = only(lanes, one), other = only(lanes, other);
    pieces_of_rows(one, other, line, extent);
}

/* The exponent of a number as float32 has it. */
static int exponent_of(float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return (int)(bits >> 23 & 255);
}

/* For b: one panel, times `scale` (one piece: 1), the depth along its rows. Returns its least exponent, of
 * three pieces: that of the panel and that of the scale, since what becomes zero by it is not, either. */
static int pack_rows(const float *panel, ptrdiff_t step, ptrdiff_t rows, float any_scale, uint32_t *out) {
    const float scale = PIECES == 1 ? 1 : any_scale;
    struct extent extent = NO_EXTENT, of_scaled = NO_EXTENT;
    for (ptrdiff_t row = 0; row < rows; row += TILE_DEPTH, out += TILE_WORDS) {
        const float *from = panel + row * step;
        const ptrdiff_t left = rows - row, whole = left < TILE_DEPTH ? left / 2 : SIDE;
        pairs line[PIECES];
        for (ptrdiff_t pair = 0; pair < whole; pair++, from += 2 * step) {
            const numbers one = load_numbers(from), other = load_numbers(from + step);
            if (PIECES > 1) see(&extent, one), see(&extent, other);
            pieces_of_rows(scale * one, scale * other, line, &of_scaled);
            store_pieces(out + pair * SIDE, line);
        }
        for (ptrdiff_t pair = whole; pair < SIDE; pair++) {
            numbers one = {0};
            if (pair == whole && left % 2) one = load_numbers(from);
            if (PIECES > 1) see(&extent, one);
            pieces_of_rows(scale * one, (numbers){0}, line, &of_scaled);
            store_pieces(out + pair * SIDE, line);
        }
    }
    return PIECES > 1 ? least_exponent(&extent) + exponent_of(scale) - exponent_of(1) : 0;
}

/* For a: the first columns of one panel, `width` of them, as rows of tiles, the depth along its rows. */
static struct extent pack_rows_transposed(const float *panel, ptrdiff_t rows, ptrdiff_t width,
                                          uint32_t *out) {
    const pairs lanes = first_lanes(width);
    struct extent extent = NO_EXTENT;
    for (ptrdiff_t row = 0; row < rows; row += TILE_DEPTH, out += TILE_WORDS) {
        const float *from = panel + row * SIDE;
        pairs lines[SIDE][PIECES]; /* of a pair of rows each */
        if (rows - row >= TILE_DEPTH) {
            UNROLL
            for (int i = 0; i < SIDE; i++)
                pieces_of_pair(from, TILE_DEPTH, i, lanes, lines[i], &extent);
        } else {
            UNROLL
            for (int i = 0; i < SIDE; i++)
                pieces_of_pair(from, rows - row, i, lanes, lines[i], &extent);
        }
        store_transposed(lines, out);
    }
    return extent;
}

/* For b: up to 16 rows of panels as columns of tiles, the depth along the columns, which are zero past
 * the last. Returns their least exponent, as pack_rows does. */
static int pack_columns_transposed(const float *panels, ptrdiff_t stride, ptrdiff_t rows,
                                             ptrdiff_t columns, uint32_t *out) {
    const numbers none = {0};
    struct extent extent = NO_EXTENT;
    for (ptrdiff_t column = 0; column < columns; column += TILE_DEPTH, out += TILE_WORDS) {
        const float *from = panels + column / SIDE * stride;
        const int has_next = columns - column > SIDE;
        pairs lines[SIDE][PIECES];
        if (rows >= SIDE && has_next) {
            UNROLL
            for (int i = 0; i < SIDE; i++)
                pieces_of_columns(load_numbers(from + i * SIDE), load_numbers(from + i * SIDE + stride),
                                  lines[i], &extent);
        } else {
            UNROLL
            for (int i = 0; i < SIDE; i++) {
                const int next = i < rows && has_next;
                pieces_of_columns(i < rows ? load_numbers(from + i * SIDE) : none,
                                  next ? load_numbers(from + i * SIDE + stride) : none, lines[i],
                                  &extent);
            }
        }
        store_transposed(lines, out);
    }
    return PIECES > 1 ? least_exponent(&extent) : 0;
}

/* Strips: all tiles of 16 rows of a, or of one panel of b, along the whole depth. They are kept by who makes them
 * (struct strip_products). */
static ptrdiff_t strip_words(ptrdiff_t depth) {
    const ptrdiff_t words = (depth + TILE_DEPTH - 1) / TILE_DEPTH * TILE_WORDS;
    return words % 1024 ? words : words + SIDE; /* not all strips in the same sets of the cache */
}

#if PIECES == 1
/* Up to 16 rows of panel number `panel` of w, from `input` on, a multiple of 16, to its strip. What is
 * missing in the last tile is zero in the strip already. */
static ALWAYS_INLINE void keep_rows(const float *rows, ptrdiff_t input, ptrdiff_t inputs,
                                    const struct weight_strips *kept, ptrdiff_t panel) {
    uint32_t *strip = kept->strips + panel * strip_words(kept->fan_in);
    uint32_t *out = strip + input / TILE_DEPTH * TILE_WORDS + input % TILE_DEPTH / 2 * SIDE;
    if (inputs == SIDE) {
        UNROLL
        for (int i = 0; i < SIDE; i += 2)
            store_pairs(out + i / 2 * SIDE,
                        pairs_of_rows(load_numbers(rows + i * SIDE), load_numbers(rows + (i + 1) * SIDE)));
    } else
        for (ptrdiff_t row = 0; row < inputs; row += 2) {
            numbers below = {0};
            if (row + 1 < inputs) below = load_numbers(rows + (row + 1) * SIDE);
            store_pairs(out + row / 2 * SIDE, pairs_of_rows(load_numbers(rows + row * SIDE), below));
        }
}

/* The same rows of one or two panels, the second one `next` numbers after the first, to the strip of w.T, where a
 * panel has half of the lines of a tile. Missing rows are zero. */
static ALWAYS_INLINE void keep_transposed(const float *rows, ptrdiff_t next, ptrdiff_t input, ptrdiff_t inputs,
                                          const struct weight_strips *kept, ptrdiff_t panel, ptrdiff_t panels) {
    uint32_t *strip = kept->transposed + input / SIDE * strip_words(kept->fan_out);
    const numbers none = {0};
    const ptrdiff_t second = panels == 2 ? next : 0; /* of one panel alone the other lines are not stored */
    pairs line[SIDE];
    if (inputs == SIDE) {
        UNROLL
        for (int i = 0; i < SIDE; i++)
            line[i] = pairs_of_columns(load_numbers(rows + i * SIDE), load_numbers(rows + i * SIDE + second));
    } else {
        UNROLL
        for (int i = 0; i < SIDE; i++)
            line[i] = pairs_of_columns(i < inputs ? load_numbers(rows + i * SIDE) : none,
                                       i < inputs ? load_numbers(rows + i * SIDE + second) : none);
    }
    transpose_lines(line);
    uint32_t *out[2];
    for (ptrdiff_t j = 0; j < 2; j++)
        out[j] = strip + (panel + j) / 2 * TILE_WORDS + (panel + j) % 2 * (TILE_PAIRS / 2);
    UNROLL
    for (int i = 0; i < SIDE; i++)
        if (i < SIDE / 2 || panels == 2) store_pairs(out[i / (SIDE / 2)] + i % (SIDE / 2) * SIDE, line[i]);
}

/* Rows of one panel of a, the first `columns` of it, to half of the lines of a tile: the second half, or the
 * first one. Rows that are missing stay as they are. */
static void keep_half(const float *panel, ptrdiff_t rows, ptrdiff_t columns, uint32_t *half) {
    const pairs lanes = first_lanes(columns);
    for (ptrdiff_t row = 0; row < rows; row++) {
        const pairs line = pairs_of_columns(only(lanes, load_numbers(panel + row * SIDE)), (numbers){0});
        memcpy(half + row * SIDE, &line, sizeof line / 2);
    }
}

/* The same for whole lines: the last of all columns are zero. */
static void keep_columns(const float *panel, ptrdiff_t next, ptrdiff_t rows, ptrdiff_t columns, uint32_t *tile) {
    const pairs low = first_lanes(columns), high = first_lanes(columns - SIDE);
    if (columns <= SIDE) next = 0; /* there may be no other panel */
    for (ptrdiff_t row = 0; row < rows; row++, panel += SIDE)
        store_pairs(tile + row * SIDE, pairs_of_columns(only(low, load_numbers(panel)),
                                                        only(high, load_numbers(panel + next))));
}
#else
/* Of w and w.T in three pieces there are none. */
#define keep_rows(...) ((void)0)
#define keep_transposed(...) ((void)0)
#endif

#if defined(__clang__)
#define CHOOSE(type, one, two, ...) __builtin_shufflevector((type)(one), (type)(two), __VA_ARGS__)
#else
#define CHOOSE(type, one, two, ...) __builtin_shuffle((type)(one), (type)(two), (type){__VA_ARGS__})
#endif
typedef uint16_t singles __attribute__((vector_size(64)));
typedef uint64_t fours __attribute__((vector_size(64)));
/* In each quarter of both: their numbers in turns, so many (1, 2, 4) at a time, of the first halves and of
 * the last. */
static ALWAYS_INLINE void interleave(const int at_a_time, pairs one, pairs two, pairs *first, pairs *last) {
    if (at_a_time == 1) {
        *first = (pairs)CHOOSE(singles, one, two, 0, 32, 1, 33, 2, 34, 3, 35, 8, 40, 9, 41, 10, 42, 11, 43,
                               16, 48, 17, 49, 18, 50, 19, 51, 24, 56, 25, 57, 26, 58, 27, 59);
        *last = (pairs)CHOOSE(singles, one, two, 4, 36, 5, 37, 6, 38, 7, 39, 12, 44, 13, 45, 14, 46, 15, 47,
                              20, 52, 21, 53, 22, 54, 23, 55, 28, 60, 29, 61, 30, 62, 31, 63);
    } else if (at_a_time == 2) {
        *first = CHOOSE(pairs, one, two, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
        *last = CHOOSE(pairs, one, two, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    } else {
        *first = (pairs)CHOOSE(fours, one, two, 0, 8, 2, 10, 4, 12, 6, 14);
        *last = (pairs)CHOOSE(fours, one, two, 1, 9, 3, 11, 5, 13, 7, 15);
    }
}
#undef CHOOSE

/* The transpose of up to 32 rows of 32 numbers, the last 16 of them `strip` words after the first, to two
 * tiles `next` words apart. The quarters of a row go to their quarters of a line while they are loaded; what
 * is left is the transpose of 8 x 8 numbers in every quarter. */
static ALWAYS_INLINE void transpose_tiles(const uint32_t *tile, ptrdiff_t strip, ptrdiff_t rows,
                                          uint32_t *out, ptrdiff_t next) {
    enum { QUARTER = SIDE / 4 };
    static const uint32_t none[QUARTER]; /* of rows that are missing */
    UNROLL
    for (int quarter = 0; quarter < 4; quarter++) {
        pairs row[8], of_two[8], of_four[8], column[8];
        UNROLL
        for (int i = 0; i < 8; i++) {
            const uint32_t *of[4] = {tile + i * SIDE, tile + (i + 8) * SIDE, tile + strip + i * SIDE,
                                     tile + strip + (i + 8) * SIDE};
            UNROLL
            for (int j = 0; j < 4; j++) of[j] = i + 8 * j < rows ? of[j] + quarter * QUARTER : none;
            row[i] = pairs_of_quarters(of[0], of[1], of[2], of[3]);
        }
        UNROLL
        for (int i = 0; i < 8; i += 2) interleave(1, row[i], row[i + 1], &of_two[i], &of_two[i + 1]);
        UNROLL
        for (int i = 0; i < 8; i += 4) {
            interleave(2, of_two[i], of_two[i + 2], &of_four[i], &of_four[i + 1]);
            interleave(2, of_two[i + 1], of_two[i + 3], &of_four[i + 2], &of_four[i + 3]);
        }
        UNROLL
        for (int i = 0; i < 4; i++)
            interleave(4, of_four[i], of_four[i + 4], &column[2 * i], &column[2 * i + 1]);
        UNROLL
        for (int i = 0; i < 8; i++)
            store_pairs(out + quarter / 2 * next + (quarter % 2 * 8 + i) * SIDE, column[i]);
    }
}

/* For a: 32 columns of strips, from their tile on, as two rows of tiles `next` words apart, the depth along
 * the rows: what pack_rows_transposed makes of panels. Where another thread has half of the columns, it may write
 * them meanwhile: what becomes of these is not used. */
static void transpose_strips(const uint32_t *tile, ptrdiff_t strip, ptrdiff_t rows, uint32_t *out,
                             ptrdiff_t next) {
    for (; rows >= TILE_DEPTH; rows -= TILE_DEPTH, tile += 2 * strip, out += TILE_WORDS)
        transpose_tiles(tile, strip, TILE_DEPTH, out, next);
    if (rows > 0) transpose_tiles(tile, strip, rows, out, next);
}
