/* The tiles of AMX and their conversions in plain C, as the architecture documents them: palette 1 with
 * its eight tiles of 16 rows of 64 bytes, and the order of TDPBF16PS's sums. See kernels/native/amx.h.
 *
 * What a CPU answers with an exception is counted instead.
 */
#include <math.h>
#include <string.h>

struct emulated_tile {
    int rows, row_bytes;
    uint32_t values[16][16];
};
/* Two units include this, and have the same tiles. */
#define SHARED __attribute__((weak))
SHARED _Thread_local struct emulated_tile emulated_tiles[8];
SHARED _Thread_local int emulated_is_configured;

/* What the tests ask for, and what they set: an emulation, or a hypervisor, that is wrong. */
enum { NO_MISTAKE, CUTS_OFF, LEAVES_OUT_ODD, FORGETS_THE_SUM };
SHARED int emulated_mistake;
SHARED int emulated_faults;
SHARED int emulated_tiles_in_use(void) { return emulated_is_configured; }

static void check(int holds) { emulated_faults += !holds; }

static void TILES_CONFIGURE(const struct tile_configuration *configuration) {
    memset(emulated_tiles, 0, sizeof emulated_tiles);
    emulated_is_configured = configuration->palette == 1;
    check(emulated_is_configured && configuration->start_row == 0 && sizeof *configuration == 64);
    for (int i = 0; i < 14; i++) check(configuration->reserved[i] == 0);
    for (int i = 0; i < 16; i++) {
        const int rows = configuration->rows[i], row_bytes = configuration->row_bytes[i];
        check(i < 8 ? (rows == 0) == (row_bytes == 0) : rows == 0 && row_bytes == 0);
        check(rows <= 16 && row_bytes <= 64);
        if (i < 8) emulated_tiles[i].rows = rows, emulated_tiles[i].row_bytes = row_bytes;
    }
}

static void TILES_RELEASE(void) {
    memset(emulated_tiles, 0, sizeof emulated_tiles);
    emulated_is_configured = 0;
}

static struct emulated_tile *tile_at(int tile) {
    check(emulated_is_configured && emulated_tiles[tile].rows > 0);
    return &emulated_tiles[tile];
}

static void TILE_ZERO(int tile) { memset(tile_at(tile)->values, 0, sizeof emulated_tiles[tile].values); }

/* Rows and bytes past the configured ones become zero. */
static void TILE_LOAD(int tile, const void *from, ptrdiff_t distance) {
    struct emulated_tile *t = tile_at(tile);
    memset(t->values, 0, sizeof t->values);
    for (int row = 0; row < t->rows; row++)
        memcpy(t->values[row], (const char *)from + row * distance, (size_t)t->row_bytes);
}

static void TILE_LOAD_ONCE(int tile, const void *from, ptrdiff_t distance) { TILE_LOAD(tile, from, distance); }

static void TILE_STORE(int tile, void *to, ptrdiff_t distance) {
    const struct emulated_tile *t = tile_at(tile);
    for (int row = 0; row < t->rows; row++)
        memcpy((char *)to + row * distance, t->values[row], (size_t)t->row_bytes);
}

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Denormals as zeros of their sign, on the way in and out. */
static float flushed(float value) {
    const uint32_t bits = bits_of(value);
    return bits & 0x7f800000u ? value : float_of(bits & 0x80000000u);
}

static float low(uint32_t pair) { return flushed(float_of(pair << 16)); }
static float high(uint32_t pair) { return flushed(float_of(pair & 0xffff0000u)); }

/* Two sums per output, of the even and of the odd numbers, from zero; their sum is added to c. */
static void TILE_MULTIPLY(int c, int a, int b) {
    struct emulated_tile *sums = tile_at(c);
    const struct emulated_tile *left = tile_at(a), *right = tile_at(b);
    check(c != a && c != b && a != b);
    check(left->rows == sums->rows && left->row_bytes == 4 * right->rows);
    check(right->row_bytes == sums->row_bytes);
    for (int row = 0; row < sums->rows; row++) {
        float even[16] = {0}, odd[16] = {0};
        for (int k = 0; k < right->rows; k++) {
            const uint32_t one = left->values[row][k];
            const float one_low = low(one), one_high = emulated_mistake == LEAVES_OUT_ODD ? 0 : high(one);
            for (int column = 0; column < 16; column++) { /* vectors of them: a test takes long enough */
                const uint32_t other = right->values[k][column];
                even[column] = flushed(fmaf(one_low, low(other), even[column]));
                odd[column] = flushed(fmaf(one_high, high(other), odd[column]));
            }
        }
        for (int column = 0; column < sums->row_bytes / 4; column++) {
            if (emulated_mistake == FORGETS_THE_SUM) sums->values[row][column] = 0;
            const float sum = flushed(even[column] + odd[column]);
            const float old = flushed(float_of(sums->values[row][column]));
            sums->values[row][column] = bits_of(flushed(old + sum));
        }
    }
}

/* VCVTNE2PS2BF16: to nearest, ties to even; a NaN stays one. */
static uint32_t upper_half(float value) {
    const uint32_t bits = bits_of(flushed(value));
    if (emulated_mistake == CUTS_OFF) return bits >> 16;
    return (value != value ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

static inline numbers numbers_of_bytes(const uint8_t *bytes) {
    numbers all;
    for (int i = 0; i < 16; i++) all[i] = bytes[i];
    return all;
}

static inline numbers numbers_of_first_bytes(const uint8_t *bytes, ptrdiff_t n) {
    numbers all = {0};
    for (int i = 0; i < n; i++) all[i] = bytes[i];
    return all;
}

static inline pairs least_lanes(pairs one, pairs two) {
    for (int i = 0; i < 16; i++) one[i] = one[i] < two[i] ? one[i] : two[i];
    return one;
}

static inline uint32_t least_lane(pairs all) {
    for (int i = 1; i < 16; i++) all[0] = all[i] < all[0] ? all[i] : all[0];
    return all[0];
}

static inline int any_lane(pairs all) {
    for (int i = 1; i < 16; i++) all[0] |= all[i];
    return all[0] != 0;
}

static inline pairs pairs_of_quarters(const uint32_t *first, const uint32_t *second, const uint32_t *third,
                                      const uint32_t *fourth) {
    pairs all;
    for (int i = 0; i < 4; i++) all[i] = first[i], all[4 + i] = second[i], all[8 + i] = third[i], all[12 + i] = fourth[i];
    return all;
}

static inline pairs pairs_of_columns(numbers first, numbers second) {
    pairs all;
    for (int i = 0; i < 8; i++) {
        all[i] = upper_half(first[2 * i]) | upper_half(first[2 * i + 1]) << 16;
        all[8 + i] = upper_half(second[2 * i]) | upper_half(second[2 * i + 1]) << 16;
    }
    return all;
}

static inline pairs pairs_of_rows(numbers above, numbers below) {
    pairs all;
    for (int i = 0; i < 16; i++) all[i] = upper_half(above[i]) | upper_half(below[i]) << 16;
    return all;
}

/* For the test of the checks. */
SHARED void emulated_product_without_tiles(void) { TILE_MULTIPLY(0, 1, 2); }
