/* The probe of the tile unit, AMX: eight registers of 16 rows of 64 bytes, and products of them.
 *
 * Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18 ("Programming
 * with Intel AMX"); the permission is described in Linux's Documentation/arch/x86/xstate.rst.
 */
#if defined(__linux__)
#define _GNU_SOURCE /* syscall */
#endif
#include "probe.h"

#include "cpu.h"

#if defined(__clang__)
#define KNOWS_TILES (__clang_major__ >= 12)
#elif defined(__GNUC__)
#define KNOWS_TILES (__GNUC__ >= 11)
#else
#define KNOWS_TILES 0
#endif

#if KNOWS_TILES && defined(__x86_64__) && defined(__linux__)
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The layout of the tiles as LDTILECFG takes it: 64 bytes. */
struct tile_layout {
    uint8_t palette, first_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

static enum probe_matrix_state ask(void) {
    const uint32_t amx_bf16 = 1u << 22, amx_tile = 1u << 24, osxsave = 1u << 27; /* EDX, EDX, ECX */
    const uint64_t tile_state = 3u << 17;                                        /* XCR0 */
    /* ARCH_REQ_XCOMP_PERM and XFEATURE_XTILEDATA */
    const long request_permission = 0x1023, tile_data = 18;
    uint32_t r[4];
    cpuid(0, 0, r);
    if (r[0] < 7) return MATRIX_NOT_IN_CPU;
    cpuid(7, 0, r);
    if ((r[3] & (amx_bf16 | amx_tile)) != (amx_bf16 | amx_tile)) return MATRIX_NOT_IN_CPU;
    cpuid(1, 0, r);
    if (!(r[2] & osxsave)) return MATRIX_NOT_ALLOWED;
    if ((enabled_state() & tile_state) != tile_state) return MATRIX_NOT_ALLOWED;
    if (syscall(SYS_arch_prctl, request_permission, tile_data)) return MATRIX_NOT_ALLOWED;
    return MATRIX_READY;
}

/* Tiles 0 to 3 accumulate, 4 and 5 are left factors (16 rows of 32 bfloat16), 6 and 7 right ones
 * (32 rows in pairs); every product has a target of its own, as in a 32 x 32 block of a product. */
__attribute__((target("amx-tile,amx-bf16"))) double fastmlp_probe_matrix(int64_t steps) {
    struct tile_layout layout;
    memset(&layout, 0, sizeof(layout));
    layout.palette = 1;
    for (int tile = 0; tile < 8; tile++) {
        layout.row_bytes[tile] = 64;
        layout.rows[tile] = 16;
    }
    uint16_t ones[16 * 32];
    for (int i = 0; i < 16 * 32; i++) ones[i] = 0x3f80; /* 1.0 in bfloat16 */
    /* The intrinsics do not all tell the compiler what they read and write. */
    __asm__ volatile("" : : "r"(&layout), "r"(ones) : "memory");
    _tile_loadconfig(&layout);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, ones, 64);
    _tile_loadd(5, ones, 64);
    _tile_loadd(6, ones, 64);
    _tile_loadd(7, ones, 64);
    for (int64_t step = 0; step < steps; step++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    float sums[PROBE_TILES][16 * 16];
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    _tile_stored(2, sums[2], 64);
    _tile_stored(3, sums[3], 64);
    _tile_release();
    __asm__ volatile("" : : "r"(sums) : "memory");
    double total = 0;
    for (int tile = 0; tile < PROBE_TILES; tile++)
        for (int i = 0; i < 16 * 16; i++) total += (double)sums[tile][i];
    return total;
}
#else
static enum probe_matrix_state ask(void) { return MATRIX_NOT_BUILT; }

double fastmlp_probe_matrix(int64_t steps) {
    (void)steps;
    return 0;
}
#endif

enum probe_matrix_state fastmlp_probe_matrix_state(void) {
    static int asked;
    static enum probe_matrix_state state;
    if (!asked) {
        state = ask();
        asked = 1;
    }
    return state;
}
