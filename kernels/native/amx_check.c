/* See amx_check.h. No instruction of AMX is in here: any CPU may run it. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* for syscall */
#endif
#include "amx_check.h"

#include <stdio.h>
#include <string.h>

#include "bfloat16.h"
#include "cpu.h"

#if defined(__linux__) && defined(__x86_64__)
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux gives the 8 KB of tiles to a process that asks: they go into the frame of every signal then, for
 * which their stacks must have room. It refuses where one of those is too small, and where a container
 * forbids the call. */
const char *amx_refusal(void) {
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    const uint64_t tile_state = 1u << 17 | 1u << 18; /* their configuration, their data */
    static char reason[160];
    if ((enabled_state() & tile_state) != tile_state)
        return "the system does not save AMX's registers (Linux does from 5.16 on)";
    if (syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0) return NULL;
    const int error = errno;
    snprintf(reason, sizeof reason, "the system does not give AMX's registers: %s",
             error == ENOSPC ? "a stack for signals is too small" : strerror(error));
    return reason;
}
#else
const char *amx_refusal(void) { return NULL; } /* where nobody must be asked */
#endif

/* One more than a tile holds each, and of the depth than two tiles in a row hold numbers. */
enum { ROWS = 17, INPUTS = 34, OUTPUTS = 18, WIDTH = 16, PANEL = INPUTS * WIDTH };

/* In [1, 2) or (-2, -1], with two bits more than bfloat16 keeps, so that there is rounding down and up, and
 * ties. Their products have 18 bits of fraction, or less if they were rounded, and sums of so few of them,
 * whose signs differ, are below 2^6: exact in float32, so that the order of a sum does not matter. */
static float number(int row, int column) {
    const float value = 1.0f + (float)((row * 37 + column * 101 + row * column) % 512) / 512.0f;
    return (row + 2 * column) % 7 < 3 ? value : -value;
}

/* As many bits as a float has, for three pieces. Of such there is no exact sum: each is the whole sum. */
static float many_bits(int row, int column) {
    const unsigned fraction = (unsigned)(row * 37 + column * 101 + 1) * 2654435761u >> 9;
    return 1.0f + (float)fraction / 8388608.0f;
}
static float identity(int row, int column) { return (float)(row == column); }

static float as_it_is(float value) { return value; }

typedef float (*numbers)(int row, int column);

/* Where row and column lie in panels of PANEL numbers. */
static int place(int row, int column) { return column / WIDTH * PANEL + row * WIDTH + column % WIDTH; }

static void fill(float *panels, int rows, int columns, numbers number_of, int salt) {
    memset(panels, 0, 3 * PANEL * sizeof *panels);
    for (int row = 0; row < rows; row++)
        for (int column = 0; column < columns; column++)
            panels[place(row, column)] = number_of(row + salt, column);
}

/* Of the operands that `left` and `right` make, as `taken` takes them; b may be NULL. */
static const char *fault_with(const struct three_products *products, numbers left, numbers right,
                              const float *b, float (*taken)(float)) {
    float a[3 * PANEL], w[3 * PANEL], dz[3 * PANEL], found[3 * PANEL];
    const int salt = left == right; /* else one of them is the identity */
    fill(a, ROWS, INPUTS, left, salt);
    fill(w, INPUTS, OUTPUTS, right, 2 * salt);
    products->weighted_sum(a, PANEL, NULL, w, PANEL, WIDTH, b, found, PANEL, ROWS, INPUTS, 0, 2);
    for (int row = 0; row < ROWS; row++)
        for (int column = 0; column < OUTPUTS; column++) {
            float sum = b ? b[column] : 0;
            for (int i = 0; i < INPUTS; i++)
                sum += taken(a[place(row, i)]) * taken(w[place(i, column)]);
            if (found[place(row, column)] != sum) return "a weighted sum";
        }

    fill(dz, ROWS, OUTPUTS, right, 4 * salt);
    products->weight_gradient(a, PANEL, NULL, dz, PANEL, found, PANEL, NULL, ROWS, 0, INPUTS, 0, 2);
    for (int input = 0; input < INPUTS; input++)
        for (int column = 0; column < OUTPUTS; column++) {
            float sum = 0;
            for (int i = 0; i < ROWS; i++)
                sum += taken(a[place(i, input)]) * taken(dz[place(i, column)]);
            if (found[place(input, column)] != sum) return "a weight gradient";
        }

    fill(dz, ROWS, OUTPUTS, left, 4 * salt);
    products->input_gradient(dz, PANEL, w, PANEL, found, PANEL, ROWS, INPUTS, OUTPUTS, 0, 3);
    for (int row = 0; row < ROWS; row++)
        for (int input = 0; input < INPUTS; input++) {
            float sum = 0;
            for (int i = 0; i < OUTPUTS; i++)
                sum += taken(dz[place(row, i)]) * taken(w[place(input, i)]);
            if (found[place(row, input)] != sum) return "an input gradient";
        }
    return NULL;
}

const char *products_fault(const struct three_products *products, int rounds) {
    float b[3 * PANEL];
    fill(b, 1, OUTPUTS, number, 3); /* its second panel lies too far off: */
    memmove(b + WIDTH, b + PANEL, WIDTH * sizeof *b);
    const char *fault = fault_with(products, number, number, b, rounds ? rounded : as_it_is);
    if (!fault && !rounds) fault = fault_with(products, identity, many_bits, NULL, as_it_is);
    if (!fault && !rounds) fault = fault_with(products, many_bits, identity, NULL, as_it_is);
    return fault;
}
