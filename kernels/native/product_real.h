/* Gathering and matrix products for one precision; see kernels.h for the layout of panels. */
#include "vector.h"

#include "gather_real.h"
#include "sum_real.h"

/* So many rows of a batch are worked on together, if no list says which: of two panels of slopes a part of
 * the first-level cache. */
enum { NAME(GRADIENT_BLOCK_ROWS) = 128 };

static void NAME(weight_gradient)(const void *a_, ptrdiff_t a_stride, const uint16_t *nonzero,
                                  const void *dz_, ptrdiff_t dz_stride, void *out_,
                                  ptrdiff_t out_stride, const struct update *update, ptrdiff_t rows,
                                  ptrdiff_t first_input, ptrdiff_t last_input, ptrdiff_t first,
                                  ptrdiff_t last) {
    const REAL *a = a_, *dz = dz_;
    REAL *out = out_;
    /* Sums of a tile of inputs by the panels of a group, from one block of rows to the next. */
    enum {
        MOST_INPUTS = 8,
        MOST_PANELS = 2 * NAME(BLOCK_VALUES) / (NAME(GRADIENT_BLOCK_ROWS) * LANES),
        ROOM = MOST_INPUTS * LANES
    };
    _Static_assert(GRADIENT_ROWS <= MOST_INPUTS && LISTED_INPUTS <= MOST_INPUTS, "a tile has room");
    REAL sums[MOST_PANELS * ROOM];
    uint64_t steps[NAME(LISTED_STEPS) + LANES], *list = NULL;
    if (rows <= NAME(LISTED_STEPS) &&
        NAME(has_many_zeros)(nonzero, a_stride / LANES, rows, last_input, last - first))
        list = steps;
    const int is_low = list && last - first >= LISTED_PANELS;
    const ptrdiff_t tile_inputs = is_low ? LISTED_INPUTS : GRADIENT_ROWS;
    const ptrdiff_t block_rows = list || rows < NAME(GRADIENT_BLOCK_ROWS) ? rows : NAME(GRADIENT_BLOCK_ROWS);
    const int is_added = update && update->is_gradient_descent && !update->adjustments;
    ptrdiff_t height, group = 2 * NAME(BLOCK_VALUES) / (rows * LANES);
    group = group / LISTED_INPUT_PANELS * LISTED_INPUT_PANELS; /* of whole tiles of either kind */
    if (group < LISTED_INPUT_PANELS) group = LISTED_INPUT_PANELS;
    for (ptrdiff_t group_first = first; group_first < last; group_first += group) {
        const ptrdiff_t group_last = last - group_first < group ? last : group_first + group;
        for (ptrdiff_t input = first_input; input < last_input; input += height) {
            /* A tile never straddles two panels of a. */
            const ptrdiff_t lane = input % LANES;
            height = last_input - input < tile_inputs ? last_input - input : tile_inputs;
            height = height < LANES - lane ? height : LANES - lane;
            const REAL *a_tile = a + input / LANES * a_stride + lane;
            ptrdiff_t depth = rows;
            if (list)
                depth = NAME(list_rows)(nonzero + input / LANES * (a_stride / LANES), rows,
                                        ((1u << height) - 1) << lane, list);
            if (is_added && depth == 0) continue; /* these weights do not change */
            ptrdiff_t tile_panels = is_low ? LISTED_INPUT_PANELS : GRADIENT_PANELS;
            if (height < tile_inputs) tile_panels = 2;
            ptrdiff_t panels;
            for (ptrdiff_t row = 0; row < rows; row += block_rows, a_tile += block_rows * LANES) {
                const int is_last = rows - row <= block_rows, is_placed = is_last && (!update || is_added);
                if (!list) depth = is_last ? rows - row : block_rows;
                for (ptrdiff_t panel = group_first; panel < group_last; panel += panels) {
                    panels = NAME(panels_of_tile)(group_last - panel, tile_panels);
                    REAL *out_tile = out + panel * out_stride + input * LANES;
                    REAL *kept = sums + (rows > block_rows ? panel - group_first : 0) * ROOM;
                    if (update && is_last && depth >= NAME(STEPS_TO_FETCH))
                        NAME(fetch)(out_tile, out_stride, panels, height * LANES);
                    NAME(gradient_tiles)[height][panels](
                        a_tile, 0, dz + panel * dz_stride + row * LANES, dz_stride, LANES, depth, list,
                        row ? kept : NULL, LANES, ROOM, is_placed && update ? update->coefficients : NULL,
                        is_placed ? out_tile : kept, is_placed ? out_stride : ROOM);
                    for (int j = 0; is_last && !is_placed && j < panels; j++)
                        NAME(step)(update, update->adjustments, out_tile + j * out_stride, kept + j * ROOM,
                                   height * LANES);
                }
            }
        }
    }
}

static void NAME(bias_gradient)(const void *dz_, ptrdiff_t dz_stride, void *out_,
                                const struct update *update, ptrdiff_t rows, ptrdiff_t first,
                                ptrdiff_t last) {
    const REAL *dz = dz_;
    REAL *out = out_;
    REAL gradient[LANES];
    for (ptrdiff_t panel = first; panel < last; panel++) {
        NAME(vector) sum = NAME(zero)();
        for (ptrdiff_t row = 0; row < rows; row++)
            sum = NAME(add)(sum, NAME(load)(dz + panel * dz_stride + row * LANES));
        if (!update) {
            NAME(store)(out + panel * LANES, sum);
            continue;
        }
        NAME(store)(gradient, sum);
        NAME(step)(update, update->bias_adjustments, out + panel * LANES, gradient, LANES);
    }
}

static void NAME(transpose)(const void *w_, ptrdiff_t w_stride, void *out_, ptrdiff_t out_stride,
                            ptrdiff_t fan_in, ptrdiff_t fan_out, ptrdiff_t first, ptrdiff_t last) {
    const REAL *w = w_;
    REAL *out = out_;
    for (ptrdiff_t panel = first; panel < last; panel++) {
        const ptrdiff_t left = fan_in - panel * LANES, width = left < LANES ? left : LANES;
        for (ptrdiff_t column = 0; column < fan_out; column++) {
            const REAL *from = w + column / LANES * w_stride + panel * LANES * LANES + column % LANES;
            REAL *to = out + panel * out_stride + column * LANES;
            ptrdiff_t lane = 0;
            for (; lane < width; lane++) to[lane] = from[lane * LANES];
            for (; lane < LANES; lane++) to[lane] = 0;
        }
    }
}

/* Rows go over in blocks: panel by panel alone, each step would be on another page of the matrix. */
enum { NAME(ROWS_AT_ONCE) = 16 };

static void NAME(to_panels)(const void *matrix_, ptrdiff_t rows, ptrdiff_t columns, void *panels_,
                            ptrdiff_t stride) {
    const REAL *matrix = matrix_;
    for (ptrdiff_t first = 0; first < rows; first += NAME(ROWS_AT_ONCE)) {
        const ptrdiff_t last = rows - first < NAME(ROWS_AT_ONCE) ? rows : first + NAME(ROWS_AT_ONCE);
        for (ptrdiff_t column = 0; column < columns; column += LANES) {
            const ptrdiff_t left = columns - column, width = left < LANES ? left : LANES;
            REAL *panel = (REAL *)panels_ + column / LANES * stride;
            const REAL *from = matrix + column;
            for (ptrdiff_t row = first; row < last && width == LANES; row++)
                NAME(store)(panel + row * LANES, NAME(load)(from + row * columns));
            for (ptrdiff_t row = first; row < last && width < LANES; row++) {
                memcpy(panel + row * LANES, from + row * columns, width * sizeof(REAL));
                memset(panel + row * LANES + width, 0, (LANES - width) * sizeof(REAL));
            }
        }
    }
}

static void NAME(from_panels)(const void *panels_, ptrdiff_t stride, ptrdiff_t rows,
                              ptrdiff_t columns, void *matrix_) {
    REAL *matrix = matrix_;
    for (ptrdiff_t first = 0; first < rows; first += NAME(ROWS_AT_ONCE)) {
        const ptrdiff_t last = rows - first < NAME(ROWS_AT_ONCE) ? rows : first + NAME(ROWS_AT_ONCE);
        for (ptrdiff_t column = 0; column < columns; column += LANES) {
            const ptrdiff_t left = columns - column, width = left < LANES ? left : LANES;
            const REAL *panel = (const REAL *)panels_ + column / LANES * stride;
            REAL *to = matrix + column;
            for (ptrdiff_t row = first; row < last && width == LANES; row++)
                NAME(store)(to + row * columns, NAME(load)(panel + row * LANES));
            for (ptrdiff_t row = first; row < last && width < LANES; row++)
                memcpy(to + row * columns, panel + row * LANES, width * sizeof(REAL));
        }
    }
}

struct NAME(gathered) {
    REAL *panels;
    ptrdiff_t stride;
    uint16_t *nonzero;
    int are_bytes; /* which NAME(are_finite_bytes) */
};

/* A vector of bytes, where the ISA converts as many: compilers take their loops apart into single ones. */
#if defined(__GNUC__) && defined(__AVX512F__) && FASTMLP_VECTOR_BYTES == 64
#define HAS_VECTOR_OF_BYTES 1
static ALWAYS_INLINE NAME(vector) NAME(vector_of_bytes)(const uint8_t *from) {
    if (sizeof(REAL) == sizeof(float))
        return (NAME(vector))_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)from)));
    return (NAME(vector))_mm512_cvtepi32_pd(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)from)));
}
#elif defined(__GNUC__) && defined(__AVX2__) && FASTMLP_VECTOR_BYTES == 32
#define HAS_VECTOR_OF_BYTES 1
static ALWAYS_INLINE NAME(vector) NAME(vector_of_bytes)(const uint8_t *from) {
    int32_t four;
    if (sizeof(REAL) == sizeof(float))
        return (NAME(vector))_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)from)));
    memcpy(&four, from, sizeof four);
    return (NAME(vector))_mm256_cvtepi32_pd(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four)));
}
#else
#define HAS_VECTOR_OF_BYTES 0
#endif

static ALWAYS_INLINE void NAME(place_in_panels)(void *destination, const struct source *x,
                                                const char *from, ptrdiff_t row, ptrdiff_t column,
                                                ptrdiff_t n, NAME(vector) *zero) {
    const struct NAME(gathered) *gathered = destination;
    const ptrdiff_t stride = gathered->stride;
    _Alignas(64) REAL buffer[NAME(COLUMNS_AT_ONCE)]; /* no vector lies in two lines */
    REAL *to = gathered->panels + column / LANES * stride + row * LANES;
    uint16_t *lanes = gathered->nonzero + column / LANES * (stride / LANES) + row;
#if HAS_VECTOR_OF_BYTES
    if (gathered->are_bytes) { /* without a buffer, but for the last columns */
        const REAL center = *(const REAL *)x->center, scale = *(const REAL *)x->scale;
        for (; n >= LANES; n -= LANES, column += LANES, from += LANES) {
            const NAME(vector) values =
                NAME(scaled)(NAME(vector_of_bytes)((const uint8_t *)from), center, scale);
            NAME(store)(to, values);
            *lanes = (uint16_t)NAME(nonzero_lanes)(values);
            to += stride;
            lanes += stride / LANES;
        }
        if (n == 0) return;
    }
#endif
    NAME(convert)(x, from, column, n, buffer);
    for (ptrdiff_t i = n; i % LANES; i++) buffer[i] = 0; /* the last vector carries zeros past the last column */
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const NAME(vector) values = NAME(load)(buffer + i);
        *zero = NAME(multiply_add)(*zero, 0, values);
        NAME(store)(to, values);
        *lanes = (uint16_t)NAME(nonzero_lanes)(values);
        to += stride;
        lanes += stride / LANES;
    }
}

static int NAME(gather)(const struct source *x, const int64_t *order, ptrdiff_t n_rows,
                        ptrdiff_t batch_rows, ptrdiff_t n_known, ptrdiff_t n_columns, void *panels,
                        ptrdiff_t stride, uint16_t *nonzero) {
    struct NAME(gathered) gathered = {panels, stride, nonzero, NAME(are_finite_bytes)(x)};
    return NAME(gather_rows)(x, order, n_rows, batch_rows, n_known, n_columns, NAME(place_in_panels),
                             &gathered);
}

#undef HAS_VECTOR_OF_BYTES

const struct product_kernels TABLE(product) = {
    NAME(gather),          NAME(to_panels),     NAME(from_panels), NAME(weighted_sum),
    NAME(weight_gradient), NAME(bias_gradient), NAME(transpose),   NAME(input_gradient),
};
