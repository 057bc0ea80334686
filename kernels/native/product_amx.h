/* Matrix products by the tiles of AMX; see amx.h for those, kernels.h for the panels. The unit that
 * includes this says how many PIECES of bfloat16 a number has: 1, it is rounded; or 3, whose sum it is.
 *
 * A tile of 16 x 16 sums is 16 rows of one panel of z, of da or of w, so it is loaded and stored where
 * it belongs. Two by two of them are computed together: four loads for four products. Operands that do
 * not come as strips (kernels.h) are rounded and packed in blocks (pack_amx.h) into memory that stays in the
 * caches, each of them once per call, but for more rows than a block has. The order of every sum depends on
 * its length alone.
 *
 * Tiles are configured when a product begins and released when it ends: no thread keeps state, which
 * the system would have to save, and nobody who uses tiles too finds anything but what he has set.
 *
 * Three pieces. Of the nine products of pieces six count; the other three together are up to 2^-24 of the
 * largest, one rounding of float32, if they all have the same sign.
 * The small ones are added first, over the depth of a block, while the sum is small: so its roundings are,
 * too. What the pieces cannot do is left to the kernel of float32, one tile of sums at a time, whatever the
 * threads share: where numbers are so small that pieces or their products fall below 2^-126, the tile is
 * filled with NaN; infinities, NaN and numbers that round to infinity make their sums NaN or infinite by
 * themselves (an infinity less itself is NaN); and a tile with such a sum is computed again.
 *
 * Inputs that are whole numbers, bytes, times one scale have one piece: the scale goes to the weights, and to the
 * slopes of their gradient, before these are split. So three products count. They come as strips, of tiles in the
 * places of first pieces; what is left to multiply-add is read from there (sum_of_whole, gradient_of_whole).
 */
#include <math.h>
#include <string.h>

#include "amx.h"
#include "formulas.h"

#define REAL float
#define scaled_input_bfloat16 scaled_input_float32 /* inputs are rounded once they are scaled */
#include "vector.h"

#include "gather_real.h"
#include "pack_amx.h"

/* Of the ISA that AMX's row in isa_table.h needs. */
extern const struct product_kernels fastmlp_product_avx512_float32;
#define MULTIPLY_ADD_KERNELS fastmlp_product_avx512_float32
/* Sums of so few products are more exact, and faster, by multiply-add. */
#define IS_SHALLOW(depth) (PIECES > 1 && (depth) < SIDE)

/* In a sum two panels of `b` stay in the first-level cache, 48 KB, while rows of `a` go by; a gradient has two
 * panels of slopes there while inputs go by. Blocks of `a` take a part of the second-level one, 2 MB. All are
 * of whole tiles. */
enum {
    SUM_DEPTH = PIECES == 1 ? 512 : 128, /* of `b` 32 or 24 KB */
    WHOLE_DEPTH = 192,                  /* where whole numbers take three products: of `b` 36 KB */
    MOST_DEPTH = PIECES == 1 ? SUM_DEPTH : WHOLE_DEPTH,
    SUM_ROWS = PIECES == 1 ? 256 : 512, /* of `a`, packed here */
    STRIP_ROWS = 512,                   /* of `a`, in strips */
    FETCHED_ROWS = 128,                 /* fewer of them have what they need near */
    GRADIENT_DEPTH = ROOM_ROWS,         /* rows of a and dz; of more the sums wait */
    INPUT_WORDS = PIECES == 1 ? 1 << 17 : 1 << 16, /* of a: 512 or 256 KB */
    SLOPE_WORDS = PIECES == 1 ? 1 << 15 : 1 << 17, /* of dz where there is no room: 128 or 512 KB */
    NARROW_WORDS = 1 << 13,                        /* of dz in the first-level cache */
    WAITING_PANELS = PIECES == 1 ? 16 : 10, /* whose sums may wait, of so many blocks of inputs */
    WAITING_BLOCKS = 4
};

/* Of blocks for which a stack of less than 1 MB, as some threads have, would be too small: each thread has its own,
 * from its first product on. */
#define PER_THREAD static _Thread_local

static ptrdiff_t least(ptrdiff_t x, ptrdiff_t y) { return x < y ? x : y; }

/* Tiles 0 to 3 are sums (two rows of tiles, two panels), 4 and 5 of `a`, 6 and 7 of `b`. */
static void configure(ptrdiff_t height) {
    struct tile_configuration configuration = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) {
        configuration.row_bytes[tile] = 64;
        configuration.rows[tile] = (uint8_t)(tile < 6 ? height : SIDE);
    }
    TILES_CONFIGURE(&configuration);
}

/* What the next products will read, and these fetch step by step: so many lines of each strip of `b`, to the
 * second-level cache; and, to the first-level one, the sums that are added to next. */
struct ahead {
    const char *b;
    ptrdiff_t b_next, lines;
    const char *sums; /* or NULL */
    ptrdiff_t sums_next;
};

enum { LINE = 64 };

/* Of 32 rows of sums there are two lines per step, of up to 16. */
static ALWAYS_INLINE void fetch_ahead(const struct ahead *ahead, ptrdiff_t step, const int panels) {
    const char *b = ahead->b + step * ahead->lines * LINE;
    for (ptrdiff_t line = 0; line < ahead->lines; line++, b += LINE) {
        PREFETCH(b);
        PREFETCH(b + ahead->b_next);
    }
    if (!ahead->sums) return;
    const char *sums = ahead->sums + step * 2 * LINE;
    for (int panel = 0; panel < panels; panel++, sums += ahead->sums_next) {
        __builtin_prefetch(sums, 1, 3);
        __builtin_prefetch(sums + LINE, 1, 3);
    }
}

/* Adds the product of two pieces to up to two by two tiles of sums; what is not new is still there. */
static ALWAYS_INLINE void add_product(const int tile_rows, const int panels, const uint32_t *a,
                                      ptrdiff_t a_next, const int a_is_new, const uint32_t *b,
                                      ptrdiff_t b_next, const int b_is_new) {
    if (a_is_new) TILE_LOAD_ONCE(4, a, 64);
    if (b_is_new) TILE_LOAD(6, b, 64);
    TILE_MULTIPLY(0, 4, 6);
    if (panels == 2) {
        if (b_is_new) TILE_LOAD(7, b + b_next, 64);
        TILE_MULTIPLY(1, 4, 7);
    }
    if (tile_rows == 2) {
        if (a_is_new) TILE_LOAD_ONCE(5, a + a_next, 64);
        TILE_MULTIPLY(2, 5, 6);
        if (panels == 2) TILE_MULTIPLY(3, 5, 7);
    }
}

/* The small products of three pieces, each of which shares an operand with the one before. What `a` is
 * rounded to may be all of it (`a_has_rests` is false). */
static ALWAYS_INLINE void add_small_products(const int tile_rows, const int panels,
                                             const int a_has_rests, const uint32_t *a,
                                             ptrdiff_t a_next, const uint32_t *b, ptrdiff_t b_next) {
    const uint32_t *const rest = a + TILE_PAIRS, *const last = a + 2 * TILE_PAIRS;
    add_product(tile_rows, panels, a, a_next, 1, b + 2 * TILE_PAIRS, b_next, 1);
    add_product(tile_rows, panels, a, a_next, 0, b + TILE_PAIRS, b_next, 1);
    if (!a_has_rests) return;
    add_product(tile_rows, panels, rest, a_next, 1, b + TILE_PAIRS, b_next, 0);
    add_product(tile_rows, panels, rest, a_next, 0, b, b_next, 1);
    add_product(tile_rows, panels, last, a_next, 1, b, b_next, 0);
}

/* Two operands of a product: up to two strips of tiles each, so many words apart, `steps` tiles long. */
struct operands {
    const uint32_t *a, *b;
    ptrdiff_t a_next, b_next, steps;
    struct ahead ahead;
};

static int is_descent(const struct update *update) {
    return update && update->is_gradient_descent && !update->adjustments;
}

static ALWAYS_INLINE void descend(const struct update *update, const float *gradient, float *out, ptrdiff_t n) {
    const float factor = -*(const float *)update->coefficients;
    for (ptrdiff_t i = 0; i < n; i += SIDE)
        store_numbers(out + i, load_numbers(out + i) + factor * load_numbers(gradient + i));
}

/* What becomes of n numbers of a gradient: see struct update. Plain gradient descent is the formula
 * `sgd` on vectors. */
static void take_step(const struct update *update, float *gradient, float *out, ptrdiff_t n) {
    if (!update) {
        memcpy(out, gradient, n * sizeof(float));
    } else if (is_descent(update)) {
        descend(update, gradient, out, n);
    } else {
        if (update->adjustments) update->adjust(out, gradient, update->adjustments, n);
        update->step(out, gradient, (char *)out + update->state_offset, update->state_stride,
                     update->coefficients, n);
    }
}

enum { WIDTH = TILE_DEPTH, PANEL_SUMS = WIDTH * SIDE }; /* inputs together, and their sums of a panel */

/* Sums of a gradient that wait for what is made of them: those of so many inputs, and of one or two panels. */
struct pending {
    float *sums;
    ptrdiff_t panel, panels, input, width;
    float *out;
    ptrdiff_t out_stride;
    const struct update *update;
    const struct weight_strips *kept; /* or NULL */
};

/* Tile number `part` of it: rows by rows, panel by panel. */
static NEVER_INLINE void finish(const struct pending *of, ptrdiff_t part) {
    const ptrdiff_t from = part / of->panels * SIDE, j = part % of->panels;
    const ptrdiff_t input = of->input + from, inputs = least(of->width - from, SIDE);
    float *sums = of->sums + j * PANEL_SUMS + from * SIDE;
    float *out = of->out + (of->panel + j) * of->out_stride + input * SIDE;
    if (inputs == SIDE && is_descent(of->update))
        descend(of->update, sums, out, TILE_PAIRS); /* of a length that the compiler knows */
    else
        take_step(of->update, sums, out, inputs * SIDE);
    if (!of->kept) return;
    keep_rows(out, input, inputs, of->kept, of->panel + j);
    if (of->kept->transposed && j == of->panels - 1)
        keep_transposed(out - j * of->out_stride, of->out_stride, input, inputs, of->kept, of->panel,
                        of->panels);
}

static ptrdiff_t parts_of(const struct pending *of) { return (of->width + SIDE - 1) / SIDE * of->panels; }

static void finish_all(struct pending *of) {
    for (ptrdiff_t part = 0; part < parts_of(of); part++) finish(of, part);
    of->panels = 0;
}

enum kind { OF_SUM, OF_GRADIENT };

/* out = start + a @ b for so many rows of tiles and panels. The rows of `start` (NULL for zero) lie
 * start_row bytes apart, 64 or 0; its panels, and those of `out`, so many numbers. What is pending (or NULL) is
 * finished meanwhile. */
static ALWAYS_INLINE void multiply(const enum kind kind, const int a_has_rests, const int tile_rows,
                                   const int panels, const struct operands *of, const float *start,
                                   ptrdiff_t start_row, ptrdiff_t start_panel, float *out,
                                   ptrdiff_t out_panel, const struct pending *pending) {
    const uint32_t *const a = of->a, *const b = of->b;
    const ptrdiff_t a_next = of->a_next, b_next = of->b_next, end = of->steps * TILE_WORDS;
    const ptrdiff_t start_tile = start_row / 4 * SIDE;
    const ptrdiff_t n_parts = kind == OF_GRADIENT && pending ? parts_of(pending) : 0;
    ptrdiff_t part = 0, part_begins = 0; /* one in each fourth of the steps */
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
    for (ptrdiff_t at = 0; PIECES > 1 && at < end; at += TILE_WORDS)
        add_small_products(tile_rows, panels, a_has_rests, a + at, a_next, b + at, b_next);
    for (ptrdiff_t at = 0; at < end; at += TILE_WORDS) {
        if (kind == OF_SUM) fetch_ahead(&of->ahead, at / TILE_WORDS, panels);
        add_product(tile_rows, panels, a + at, a_next, 1, b + at, b_next, 1);
        if (part < n_parts && 4 * at >= part_begins) finish(pending, part++), part_begins += end;
    }
    TILE_STORE(0, out, 64);
    if (panels == 2) TILE_STORE(1, out + out_panel, 64);
    if (tile_rows == 2) TILE_STORE(2, out + TILE_PAIRS, 64);
    if (tile_rows == 2 && panels == 2) TILE_STORE(3, out + TILE_PAIRS + out_panel, 64);
    for (; part < n_parts; part++) finish(pending, part);
}

typedef void (*multiply_function)(const struct operands *of, const float *start, ptrdiff_t start_row,
                                  ptrdiff_t start_panel, float *out, ptrdiff_t out_panel,
                                  const struct pending *pending);
/* A function of its own each, with all registers to itself. */
#define MULTIPLY(kind, rests, tile_rows, panels)                                                   \
    static NEVER_INLINE void multiply_##kind##_##rests##_##tile_rows##_##panels(                   \
        const struct operands *of, const float *start, ptrdiff_t start_row, ptrdiff_t start_panel, \
        float *out, ptrdiff_t out_panel, const struct pending *pending) {                          \
        multiply(kind, rests, tile_rows, panels, of, start, start_row, start_panel, out,           \
                 out_panel, pending);                                                              \
    }
#define MULTIPLY_ALL(kind, rests)                             \
    MULTIPLY(kind, rests, 1, 1) MULTIPLY(kind, rests, 1, 2) \
    MULTIPLY(kind, rests, 2, 1) MULTIPLY(kind, rests, 2, 2)
#define MULTIPLY_TABLE(kind, rests)                                        \
    {{multiply_##kind##_##rests##_1_1, multiply_##kind##_##rests##_1_2}, \
     {multiply_##kind##_##rests##_2_1, multiply_##kind##_##rests##_2_2}}
MULTIPLY_ALL(OF_SUM, 0)
MULTIPLY_ALL(OF_GRADIENT, 0)
#if PIECES == 1
static const multiply_function multiply_tiles[2][1][2][2] = {{MULTIPLY_TABLE(OF_SUM, 0)},
                                                             {MULTIPLY_TABLE(OF_GRADIENT, 0)}};
#else
MULTIPLY_ALL(OF_SUM, 1)
MULTIPLY_ALL(OF_GRADIENT, 1)
static const multiply_function multiply_tiles[2][2][2][2] = {
    {MULTIPLY_TABLE(OF_SUM, 0), MULTIPLY_TABLE(OF_SUM, 1)},
    {MULTIPLY_TABLE(OF_GRADIENT, 0), MULTIPLY_TABLE(OF_GRADIENT, 1)}};
#endif

/* Whether pieces, or products of them, of two operands with these least exponents may fall below 2^-126:
 * so that six of them per term are less than 2^-30 of it. */
static int are_too_small(int exponent, int other) {
    enum { BIAS = 127, LEAST = BIAS - 100, LEAST_SUM = 2 * BIAS - 92 };
    return exponent < LEAST || other < LEAST || exponent + other < LEAST_SUM;
}

static void fill(float *values, ptrdiff_t n, float value) {
    for (ptrdiff_t i = 0; i < n; i++) values[i] = value;
}

/* n is a multiple of 16. */
static int are_finite(const float *values, ptrdiff_t n) {
    pairs found = {0};
    for (ptrdiff_t i = 0; i < n; i += SIDE)
        found |= (pairs)(((pairs)load_numbers(values + i) & 0x7f800000u) == 0x7f800000u);
    uint32_t any = 0;
    for (int i = 0; i < SIDE; i++) any |= found[i];
    return !any;
}

/* The sums of up to 32 rows and 2 panels. Tiles are as high as configured: where there are fewer rows
 * left, their sums are made elsewhere and copied. */
static void sum_rows(ptrdiff_t rows, ptrdiff_t height, ptrdiff_t panels, int a_has_rests,
                     const struct operands *of, const float *start, ptrdiff_t start_row,
                     ptrdiff_t start_panel, float *out, ptrdiff_t out_panel) {
    enum { PANEL = 2 * TILE_PAIRS };
    _Alignas(64) float sums[2 * PANEL];
    const ptrdiff_t tile_rows = (rows + SIDE - 1) / SIDE;
    const multiply_function function = multiply_tiles[OF_SUM][a_has_rests][tile_rows - 1][panels - 1];
    if (rows == height || rows == 2 * height) {
        function(of, start, start_row, start_panel, out, out_panel, NULL);
        return;
    }
    const size_t n_bytes = rows * SIDE * sizeof(float);
    if (start && start_row) { /* else all rows begin with the same */
        for (ptrdiff_t j = 0; j < panels; j++)
            memcpy(sums + j * PANEL, start + j * start_panel, n_bytes);
        start = sums, start_panel = PANEL;
    }
    function(of, start, start_row, start_panel, sums, PANEL, NULL);
    for (ptrdiff_t j = 0; j < panels; j++) memcpy(out + j * out_panel, sums + j * PANEL, n_bytes);
}

/* Whole numbers as they lie in strips. */
typedef uint16_t whole_number __attribute__((may_alias));

/* By multiply-add: adds 16 of them, so far apart, times `scale` and times the same others, to 16 sums. */
static ALWAYS_INLINE void add_whole(numbers sums[SIDE], const whole_number *whole, const ptrdiff_t apart, float scale,
                                    numbers others) {
    UNROLL
    for (int i = 0; i < SIDE; i++) {
        const uint32_t bits = (uint32_t)whole[i * apart] << 16;
        float number;
        memcpy(&number, &bits, sizeof number);
        sums[i] += scale * number * others;
    }
}

/* Of one panel of w or dz: up to 16 rows of whole @ w + b, from `row` on, and up to 16 inputs of whole.T @ dz. */
static void sum_of_whole(const uint32_t *whole, ptrdiff_t fan_in, float scale, ptrdiff_t row, ptrdiff_t rows,
                         const float *w, const float *b, float *z) {
    const whole_number *first = (const whole_number *)(whole + row / SIDE * strip_words(fan_in));
    numbers sums[SIDE] = {{0}};
    for (int i = 0; i < SIDE && b; i++) sums[i] = load_numbers(b);
    for (ptrdiff_t input = 0; input < fan_in; input++)
        add_whole(sums, first + input / TILE_DEPTH * 2 * TILE_WORDS + input % TILE_DEPTH, TILE_DEPTH, scale,
                  load_numbers(w + input * SIDE));
    for (ptrdiff_t i = 0; i < rows; i++) store_numbers(z + i * SIDE, sums[i]);
}

static void gradient_of_whole(const uint32_t *whole, ptrdiff_t fan_in, float scale, ptrdiff_t input,
                              ptrdiff_t inputs, const float *dz, ptrdiff_t rows, float *out) {
    const whole_number *first = (const whole_number *)(whole + input / TILE_DEPTH * TILE_WORDS) + input % TILE_DEPTH;
    const ptrdiff_t strip = 2 * strip_words(fan_in);
    numbers sums[SIDE] = {{0}};
    for (ptrdiff_t row = 0; row < rows; row++)
        add_whole(sums, first + row / SIDE * strip + row % SIDE * TILE_DEPTH, 1, scale,
                  load_numbers(dz + row * SIDE));
    for (ptrdiff_t i = 0; i < inputs; i++) store_numbers(out + i * SIDE, sums[i]);
}

enum { LEAST_WHOLE = 255 }; /* none is less than 1, so that no product is less than a piece */

/* z = a @ w + b as in kernels.h; or a @ w.T, if w has `transposed_rows` (else 0) and fan_in columns. What
 * is there in strips (not NULL) is not packed here; of a in three pieces these are whole numbers times `scale`. */
static void sum(const float *a, ptrdiff_t a_stride, const uint32_t *a_strips, float scale, const float *w,
                ptrdiff_t w_stride, ptrdiff_t w_step, const uint32_t *w_strips,
                ptrdiff_t transposed_rows, const float *b, float *z, ptrdiff_t z_stride,
                ptrdiff_t all_rows, ptrdiff_t fan_in, ptrdiff_t first, ptrdiff_t last) {
    PER_THREAD _Alignas(64) uint32_t a_block[SUM_ROWS * SUM_DEPTH / 2 * PIECES];
    PER_THREAD _Alignas(64) uint32_t w_block[2 * SIDE * MOST_DEPTH / 2 * PIECES];
    struct extent a_extents[SUM_ROWS / SIDE];
    int a_least[STRIP_ROWS / SIDE] = {0}, w_least[2] = {0};
    if (all_rows <= 0 || first >= last) return; /* a tile has a row at least */
    const ptrdiff_t height = least(all_rows, SIDE), strip = strip_words(fan_in);
    /* Blocks of nearly equal depth. */
    const ptrdiff_t most_depth = PIECES > 1 && a_strips ? WHOLE_DEPTH : SUM_DEPTH;
    const ptrdiff_t n_blocks = fan_in > most_depth ? (fan_in + most_depth - 1) / most_depth : 1;
    const ptrdiff_t share = (fan_in + n_blocks - 1) / n_blocks;
    const ptrdiff_t depth = (share + TILE_DEPTH - 1) / TILE_DEPTH * TILE_DEPTH;
    configure(height);
    const ptrdiff_t most_rows = a_strips ? STRIP_ROWS : SUM_ROWS;
    for (ptrdiff_t row_block = 0; row_block < all_rows; row_block += most_rows) {
        const ptrdiff_t rows = least(all_rows - row_block, most_rows);
        ptrdiff_t input = 0;
        do { /* once even if there is nothing to sum: then z is b */
            const ptrdiff_t inputs = least(fan_in - input, depth);
            const ptrdiff_t steps = (inputs + TILE_DEPTH - 1) / TILE_DEPTH;
            const ptrdiff_t at = input / TILE_DEPTH * TILE_WORDS; /* in strips */
            const int is_last = input + depth >= fan_in;
            int a_has_rests = 0;
            struct operands of = {a_block, w_block, steps * TILE_WORDS, steps * TILE_WORDS, steps, {0}};
            of.ahead.b_next = strip * (ptrdiff_t)sizeof *w_strips;
            of.ahead.sums_next = z_stride * (ptrdiff_t)sizeof *z;
            if (a_strips)
                of.a_next = strip;
            else
                pack_columns(a + input / SIDE * a_stride + row_block * SIDE, a_stride, rows, inputs,
                             a_block, a_extents);
            for (ptrdiff_t i = 0; PIECES > 1 && i * SIDE < rows; i++) {
                a_least[i] = a_strips ? LEAST_WHOLE : least_exponent(&a_extents[i]);
                a_has_rests |= !a_strips && has_rests(&a_extents[i]);
            }
            for (ptrdiff_t panel = first; panel < last; panel += 2) {
                const ptrdiff_t panels = least(last - panel, 2);
                /* Then come the next panels, or the first ones with the next block of the depth. */
                const int goes_on = panel + 2 < last;
                const ptrdiff_t next_panel = goes_on ? panel + 2 : first;
                if (w_strips) of.b = w_strips + panel * strip + at, of.b_next = strip;
                of.ahead.lines = w_strips && rows >= FETCHED_ROWS && (goes_on || !is_last)
                                     ? (2 * TILE_WORDS + rows - 1) / rows
                                     : 0;
                for (ptrdiff_t j = 0; j < panels && !w_strips; j++) {
                    uint32_t *packed = w_block + j * of.b_next;
                    const ptrdiff_t row = (panel + j) * SIDE;
                    if (transposed_rows)
                        w_least[j] = pack_columns_transposed(
                            w + input / SIDE * w_stride + row * SIDE, w_stride, transposed_rows - row,
                            inputs, packed);
                    else
                        w_least[j] = pack_rows(w + (panel + j) * w_stride + input * w_step, w_step,
                                               inputs, scale, packed);
                }
                for (ptrdiff_t row = 0; row < rows; row += 2 * SIDE) {
                    float *out = z + panel * z_stride + (row_block + row) * SIDE;
                    const float *bias = b ? b + panel * SIDE : NULL;
                    of.a = a_strips ? a_strips + (row_block + row) / SIDE * strip + at
                                    : a_block + row / SIDE * of.a_next;
                    if (of.ahead.lines)
                        of.ahead.b = (const char *)(w_strips + next_panel * strip + at +
                                                    (goes_on ? 0 : steps * TILE_WORDS)) +
                                     row / (2 * SIDE) * steps * of.ahead.lines * LINE;
                    if (rows >= FETCHED_ROWS)
                        of.ahead.sums = (const char *)(row + 2 * SIDE < rows
                                                           ? out + 2 * TILE_PAIRS
                                                           : z + next_panel * z_stride + row_block * SIDE);
                    sum_rows(least(rows - row, 2 * SIDE), height, panels, a_has_rests, &of,
                             input ? out : bias, input ? 64 : 0, input ? z_stride : SIDE, out,
                             z_stride);
                    for (ptrdiff_t tile = 0; PIECES > 1 && tile < 2 * panels; tile++) {
                        const ptrdiff_t j = tile / 2, first_row = row + tile % 2 * SIDE;
                        const ptrdiff_t height = least(rows - first_row, SIDE);
                        float *sums = out + j * z_stride + tile % 2 * TILE_PAIRS;
                        if (height <= 0) continue;
                        if (are_too_small(a_least[first_row / SIDE], w_least[j]))
                            fill(sums, height * SIDE, NAN);
                        if (!is_last || are_finite(sums, height * SIDE)) continue;
                        const float *a_rows = a + (row_block + first_row) * SIDE;
                        if (a_strips)
                            sum_of_whole(a_strips, fan_in, scale, row_block + first_row, height,
                                         w + (panel + j) * w_stride, b ? bias + j * SIDE : NULL, sums);
                        else if (transposed_rows)
                            MULTIPLY_ADD_KERNELS.input_gradient(
                                a_rows, a_stride, w + (panel + j) * SIDE * SIDE, w_stride, sums, z_stride,
                                height, transposed_rows - (panel + j) * SIDE, fan_in, 0, 1);
                        else
                            MULTIPLY_ADD_KERNELS.weighted_sum(
                                a_rows, a_stride, NULL, w + (panel + j) * w_stride, w_stride, w_step,
                                b ? bias + j * SIDE : NULL, sums, z_stride, height, fan_in, 0, 1);
                    }
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
    if (IS_SHALLOW(fan_in))
        MULTIPLY_ADD_KERNELS.weighted_sum(a, a_stride, nonzero, w, w_stride, w_step, b, z, z_stride, rows,
                                          fan_in, first, last);
    else
        sum(a, a_stride, NULL, 1, w, w_stride, w_step, NULL, 0, b, z, z_stride, rows, fan_in, first, last);
}

static void weighted_sum_of_strips(const void *a, ptrdiff_t a_stride, const uint32_t *a_strips,
                                   const void *w, ptrdiff_t w_stride, ptrdiff_t w_step,
                                   const struct weight_strips *kept, const void *b, void *z,
                                   ptrdiff_t z_stride, ptrdiff_t rows, ptrdiff_t fan_in, ptrdiff_t first,
                                   ptrdiff_t last) {
    if (IS_SHALLOW(fan_in) && !a_strips)
        MULTIPLY_ADD_KERNELS.weighted_sum(a, a_stride, NULL, w, w_stride, w_step, b, z, z_stride, rows,
                                          fan_in, first, last);
    else
        sum(a, a_stride, a_strips, kept ? kept->scale : 1, w, w_stride, w_step, kept ? kept->strips : NULL, 0, b,
            z, z_stride, rows, fan_in, first, last);
}

/* As in kernels.h; `kept`, if not NULL, are the strips of `out`, which is w then. */
static void gradient_of_weights(const float *a, ptrdiff_t a_stride, const uint32_t *a_strips,
                                float scale, ptrdiff_t fan_in, const float *dz, ptrdiff_t dz_stride,
                                float *out, ptrdiff_t out_stride, const struct update *update,
                                const struct weight_strips *kept, ptrdiff_t rows,
                                ptrdiff_t first_input, ptrdiff_t last_input, ptrdiff_t first,
                                ptrdiff_t last, uint32_t *room) {
    enum { MOST_BLOCKS = INPUT_WORDS / (2 * TILE_WORDS), MOST_PANELS = SLOPE_WORDS / TILE_WORDS };
    PER_THREAD _Alignas(64) uint32_t a_block[INPUT_WORDS], some_slopes[SLOPE_WORDS];
    PER_THREAD _Alignas(64) float waiting[WAITING_BLOCKS][WAITING_PANELS * PANEL_SUMS];
    _Alignas(64) float in_turn[2][2 * PANEL_SUMS];
    int a_least[MOST_BLOCKS][2], a_has_rests[MOST_BLOCKS]; /* of each 32 inputs of a_block */
    int dz_least[MOST_PANELS];
    const int is_deep = rows > GRADIENT_DEPTH;
    uint32_t *const dz_block = PIECES == 1 && room ? room : some_slopes;
    const ptrdiff_t most_rows = least(rows, GRADIENT_DEPTH), dz_next = strip_words(most_rows);
    const ptrdiff_t tile_row = (most_rows + TILE_DEPTH - 1) / TILE_DEPTH * TILE_WORDS;
    /* So many panels and inputs at a time. Where the slopes fit the first-level cache, a block of inputs is
     * best used for all of them at once. */
    ptrdiff_t group = dz_block == room ? last - first : SLOPE_WORDS / dz_next / 2 * 2;
    if (is_deep) group = least(group, WAITING_PANELS);
    const int is_narrow = (last - first) * tile_row <= NARROW_WORDS;
    ptrdiff_t blocks = is_narrow && !is_deep ? 1 : INPUT_WORDS / (2 * tile_row);
    if (is_deep) blocks = least(blocks, WAITING_BLOCKS);
    const ptrdiff_t strip = strip_words(fan_in);
    /* By turns, as their sums: a copy would wait for what it copies. */
    const struct pending none = {.out = out, .out_stride = out_stride, .update = update, .kept = kept};
    struct pending pending[2] = {none, none};
    int turn = 0;
    if (rows <= 0) return;
    configure(SIDE);
    for (ptrdiff_t group_first = first; group_first < last; group_first += group) {
        const ptrdiff_t group_last = least(group_first + group, last);
        for (ptrdiff_t input_first = first_input, input_last; input_first < last_input;
             input_first = input_last) {
            input_last = least(last_input, (input_first / WIDTH + blocks) * WIDTH);
            for (ptrdiff_t row = 0; row < rows; row += GRADIENT_DEPTH) {
                const ptrdiff_t block_rows = least(rows - row, GRADIENT_DEPTH);
                const ptrdiff_t steps = (block_rows + TILE_DEPTH - 1) / TILE_DEPTH;
                const ptrdiff_t next = steps * TILE_WORDS;
                const int is_last = row + block_rows == rows;
                ptrdiff_t width;
                for (ptrdiff_t input = input_first; input < input_last; input += width) {
                    const ptrdiff_t half = input % WIDTH; /* the first may be in the middle of a tile */
                    const ptrdiff_t place = input / WIDTH - input_first / WIDTH;
                    uint32_t *packed = a_block + place * 2 * tile_row;
                    width = least(input_last - input, WIDTH - half);
                    a_has_rests[place] = 0;
                    a_least[place][0] = a_least[place][1] = LEAST_WHOLE;
                    if (a_strips)
                        transpose_strips(a_strips + row / SIDE * strip + input / TILE_DEPTH * TILE_WORDS,
                                         strip, block_rows, packed, next);
                    for (ptrdiff_t i = 0; i * SIDE < width && !a_strips; i++) {
                        const struct extent extent =
                            pack_rows_transposed(a + (input / SIDE + i) * a_stride + row * SIDE,
                                                 block_rows, width - i * SIDE, packed + i * next);
                        if (PIECES == 1) continue;
                        a_least[place][i] = least_exponent(&extent);
                        a_has_rests[place] |= has_rests(&extent);
                    }
                }
                for (ptrdiff_t panel = group_first; panel < group_last; panel++) {
                    uint32_t *packed = dz_block + (panel - group_first) * dz_next;
                    if (input_first > first_input && !is_deep) break; /* they are there */
                    const int exponent =
                        pack_rows(dz + panel * dz_stride + row * SIDE, SIDE, block_rows, scale, packed);
                    if (PIECES > 1) dz_least[panel - group_first] = exponent;
                }
                for (ptrdiff_t panel = group_first; panel < group_last; panel += 2) {
                    const ptrdiff_t panels = least(group_last - panel, 2);
                    uint32_t *const slopes = dz_block + (panel - group_first) * dz_next;
                    for (ptrdiff_t input = input_first; input < input_last; input += width) {
                        const ptrdiff_t half = input % WIDTH, place = input / WIDTH - input_first / WIDTH;
                        width = least(input_last - input, WIDTH - half);
                        const ptrdiff_t tile_rows = (width + SIDE - 1) / SIDE;
                        const struct operands of = {
                            a_block + place * 2 * tile_row + (a_strips && half ? next : 0), slopes, next,
                            dz_next, steps, {0}};
                        float *sums = is_deep ? waiting[place] + (panel - group_first) * PANEL_SUMS
                                              : in_turn[turn];
                        struct pending *before = &pending[!turn], *now = &pending[turn];
                        turn = !turn;
                        multiply_tiles[OF_GRADIENT][a_has_rests[place]][tile_rows - 1][panels - 1](
                            &of, row ? sums : NULL, 64, PANEL_SUMS, sums, PANEL_SUMS,
                            before->panels ? before : NULL);
                        before->panels = 0;
                        for (ptrdiff_t tile = 0; PIECES > 1 && tile < tile_rows * panels; tile++) {
                            const ptrdiff_t i = tile % tile_rows, j = tile / tile_rows;
                            const ptrdiff_t inputs = least(width - i * SIDE, SIDE);
                            float *of_tile = sums + j * PANEL_SUMS + i * TILE_PAIRS;
                            if (are_too_small(a_least[place][i],
                                              dz_least[panel + j - group_first]))
                                fill(of_tile, inputs * SIDE, NAN);
                            if (!is_last || are_finite(of_tile, inputs * SIDE)) continue;
                            if (a_strips)
                                gradient_of_whole(a_strips, fan_in, scale, input + i * SIDE, inputs,
                                                  dz + (panel + j) * dz_stride, rows, of_tile);
                            else
                                MULTIPLY_ADD_KERNELS.weight_gradient(
                                    a + (input / SIDE + i) * a_stride, a_stride, NULL,
                                    dz + (panel + j) * dz_stride, dz_stride, of_tile, PANEL_SUMS, NULL,
                                    rows, 0, inputs, 0, 1);
                        }
                        if (!is_last) continue;
                        now->sums = sums, now->panel = panel, now->panels = panels;
                        now->input = input, now->width = width;
                    }
                }
                if (is_deep) finish_all(&pending[!turn]);
            }
        }
    }
    finish_all(&pending[!turn]);
    TILES_RELEASE();
}

static void weight_gradient(const void *a, ptrdiff_t a_stride, const uint16_t *nonzero, const void *dz,
                            ptrdiff_t dz_stride, void *out, ptrdiff_t out_stride,
                            const struct update *update, ptrdiff_t rows, ptrdiff_t first_input,
                            ptrdiff_t last_input, ptrdiff_t first, ptrdiff_t last) {
    if (IS_SHALLOW(rows))
        MULTIPLY_ADD_KERNELS.weight_gradient(a, a_stride, nonzero, dz, dz_stride, out, out_stride, update,
                                             rows, first_input, last_input, first, last);
    else
        gradient_of_weights(a, a_stride, NULL, 1, 0, dz, dz_stride, out, out_stride, update, NULL, rows,
                            first_input, last_input, first, last, NULL);
}

static void weight_gradient_of_strips(const void *a, ptrdiff_t a_stride, const uint32_t *a_strips,
                                      ptrdiff_t fan_in, const void *dz, ptrdiff_t dz_stride, void *out,
                                      ptrdiff_t out_stride, const struct update *update,
                                      const struct weight_strips *kept, ptrdiff_t rows,
                                      ptrdiff_t first_input, ptrdiff_t last_input, ptrdiff_t first,
                                      ptrdiff_t last, uint32_t *room) {
    const struct weight_strips *changed = update && kept->strips ? kept : NULL;
    if (IS_SHALLOW(rows) && !a_strips)
        MULTIPLY_ADD_KERNELS.weight_gradient(a, a_stride, NULL, dz, dz_stride, out, out_stride, update, rows,
                                             first_input, last_input, first, last);
    else
        gradient_of_weights(a, a_stride, a_strips, kept->scale, fan_in, dz, dz_stride, out, out_stride, update,
                            changed, rows, first_input, last_input, first, last, room);
}

static void input_gradient_of_strips(const void *dz, ptrdiff_t dz_stride, const uint32_t *dz_strips, const void *w,
                                     ptrdiff_t w_stride, const struct weight_strips *kept, void *da,
                                     ptrdiff_t da_stride, ptrdiff_t rows, ptrdiff_t first, ptrdiff_t last) {
    if (IS_SHALLOW(kept->fan_out))
        MULTIPLY_ADD_KERNELS.input_gradient(dz, dz_stride, w, w_stride, da, da_stride, rows, kept->fan_in,
                                            kept->fan_out, first, last);
    else
        sum(dz, dz_stride, dz_strips, 1, w, w_stride, SIDE, kept->transposed, kept->fan_in, NULL, da, da_stride,
            rows, kept->fan_out, first, last);
}

static void input_gradient(const void *dz, ptrdiff_t dz_stride, const void *w, ptrdiff_t w_stride,
                           void *da, ptrdiff_t da_stride, ptrdiff_t rows, ptrdiff_t fan_in,
                           ptrdiff_t fan_out, ptrdiff_t first, ptrdiff_t last) {
    const struct weight_strips none = {.fan_in = fan_in, .fan_out = fan_out};
    input_gradient_of_strips(dz, dz_stride, NULL, w, w_stride, &none, da, da_stride, rows, first, last);
}

struct gathered {
    uint32_t *strips;
    ptrdiff_t strip;
    int are_bytes; /* which NAME(are_finite_bytes) */
};

static ALWAYS_INLINE void place_bytes(uint32_t *to, const uint8_t *bytes, ptrdiff_t n, float center,
                                      float scale) {
    for (; n >= TILE_DEPTH; n -= TILE_DEPTH, bytes += TILE_DEPTH, to += TILE_WORDS)
        store_pairs(to, pairs_of_columns(NAME(scaled)(numbers_of_bytes(bytes), center, scale),
                                         NAME(scaled)(numbers_of_bytes(bytes + SIDE), center, scale)));
    if (n == 0) return;
    const ptrdiff_t first = least(n, SIDE), second = n - first;
    const numbers low = NAME(scaled)(numbers_of_first_bytes(bytes, first), center, scale);
    const numbers high = NAME(scaled)(numbers_of_first_bytes(bytes + SIDE, second), center, scale);
    store_pairs(to, pairs_of_columns(only(first_lanes(first), low), only(first_lanes(second), high)));
}

/* Where some columns of a row begin. */
static ALWAYS_INLINE uint32_t *line_of(const struct gathered *gathered, ptrdiff_t row, ptrdiff_t column) {
    return gathered->strips + row / SIDE * gathered->strip + column / TILE_DEPTH * TILE_WORDS + row % SIDE * SIDE;
}

#if PIECES == 1
static void keep_weights(const void *w_, ptrdiff_t w_stride, ptrdiff_t first_input, ptrdiff_t last_input,
                         ptrdiff_t first, ptrdiff_t last, const struct weight_strips *kept) {
    const float *w = w_;
    for (ptrdiff_t panel = first; panel < last; panel += 2)
        for (ptrdiff_t input = first_input; input < last_input; input += SIDE) {
            const ptrdiff_t panels = least(last - panel, 2), inputs = least(last_input - input, SIDE);
            const float *rows = w + panel * w_stride + input * SIDE;
            for (ptrdiff_t j = 0; j < panels; j++)
                keep_rows(rows + j * w_stride, input, inputs, kept, panel + j);
            if (kept->transposed)
                keep_transposed(rows, w_stride, input, inputs, kept, panel, panels);
        }
}

/* In strips for inputs: some rows and panels of `a`. */
static void keep_inputs(const void *a_, ptrdiff_t a_stride, ptrdiff_t rows, ptrdiff_t fan_in,
                        ptrdiff_t first, ptrdiff_t last, uint32_t *strips) {
    for (ptrdiff_t row = 0; row < rows; row += SIDE, strips += strip_words(fan_in)) {
        const ptrdiff_t height = least(rows - row, SIDE);
        for (ptrdiff_t panel = first; panel < last; panel++) {
            const float *a = (const float *)a_ + panel * a_stride + row * SIDE;
            const ptrdiff_t columns = fan_in - panel * SIDE;
            uint32_t *tile = strips + panel / 2 * TILE_WORDS;
            if (panel % 2)
                keep_half(a, height, columns, tile + SIDE / 2);
            else if (panel + 1 < last || columns <= SIDE)
                keep_columns(a, a_stride, height, columns, tile), panel++;
            else
                keep_half(a, height, columns, tile);
        }
    }
}

static ALWAYS_INLINE void place_in_strips(void *destination, const struct source *x, const char *from,
                                          ptrdiff_t row, ptrdiff_t column, ptrdiff_t n,
                                          NAME(vector) *zero) {
    const struct gathered *gathered = destination;
    uint32_t *to = line_of(gathered, row, column);
    float buffer[NAME(COLUMNS_AT_ONCE)];
    if (gathered->are_bytes) {
        const uint8_t *bytes = (const uint8_t *)from;
        const float center = *(const float *)x->center, scale = *(const float *)x->scale;
        if (center == 0)
            place_bytes(to, bytes, n, 0, scale); /* which the compiler does not subtract */
        else
            place_bytes(to, bytes, n, center, scale);
        return;
    }
    NAME(convert)(x, from, column, n, buffer);
    for (ptrdiff_t i = n; i % TILE_DEPTH; i++) buffer[i] = 0;
    for (ptrdiff_t i = 0; i < n; i += TILE_DEPTH, to += TILE_WORDS) {
        const numbers first = load_numbers(buffer + i), second = load_numbers(buffer + i + SIDE);
        *zero += 0 * first + 0 * second;
        store_pairs(to, pairs_of_columns(first, second));
    }
}

#else
/* Bytes alone, as whole numbers: their one scale is that of the weights. */
static ALWAYS_INLINE void place_in_strips(void *destination, const struct source *x, const char *from,
                                          ptrdiff_t row, ptrdiff_t column, ptrdiff_t n,
                                          NAME(vector) *zero) {
    uint8_t buffer[NAME(COLUMNS_AT_ONCE)];
    (void)zero;
    if (x->column_stride != 1) {
        for (ptrdiff_t i = 0; i < n; i++) buffer[i] = *(const uint8_t *)(from + i * x->column_stride);
        from = (const char *)buffer;
    }
    place_bytes(line_of(destination, row, column), (const uint8_t *)from, n, 0, 1);
}
#define keep_inputs NULL
#define keep_weights NULL
#endif

static int gather(const struct source *x, const int64_t *order, ptrdiff_t n_rows, ptrdiff_t batch_rows,
                  ptrdiff_t n_known, ptrdiff_t n_columns, uint32_t *strips) {
    struct gathered gathered = {.strips = strips, .strip = strip_words(n_columns)};
    gathered.are_bytes = NAME(are_finite_bytes)(x);
    return NAME(gather_rows)(x, order, n_rows, batch_rows, n_known, n_columns, place_in_strips, &gathered);
}

const struct strip_products TABLE(strips) = {
    strip_words,  gather, keep_inputs, keep_weights, weighted_sum_of_strips, weight_gradient_of_strips,
    input_gradient_of_strips,
};
const struct three_products TABLE(product) = {weighted_sum, weight_gradient, input_gradient};
