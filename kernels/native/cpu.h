/* What the CPU and the operating system can do, asked once at import. */
#ifndef FASTMLP_CPU_H
#define FASTMLP_CPU_H

#if defined(__x86_64__) || defined(_M_X64)
#include <stdint.h>

#if defined(_MSC_VER)
#include <intrin.h>
#include <immintrin.h>
static inline void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t registers[4]) {
    __cpuidex((int *)registers, (int)leaf, (int)subleaf);
}
static inline uint64_t enabled_state(void) { return _xgetbv(0); }
#else
#include <cpuid.h>
static inline void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t registers[4]) {
    __cpuid_count(leaf, subleaf, registers[0], registers[1], registers[2], registers[3]);
}
static inline uint64_t enabled_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return ((uint64_t)high << 32) | low;
}
#endif

/* True if the bits of `needed` are set in CPUID(7).EBX and the system saves the registers in `state`. */
static inline int cpu_supports(uint32_t needed_in_leaf7_ebx, uint64_t state) {
    uint32_t r[4];
    cpuid(0, 0, r);
    if (r[0] < 7) return 0;
    cpuid(1, 0, r);
    const uint32_t fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28;
    if ((r[2] & (fma | osxsave | avx)) != (fma | osxsave | avx)) return 0;
    if ((enabled_state() & state) != state) return 0;
    cpuid(7, 0, r);
    return (r[1] & needed_in_leaf7_ebx) == needed_in_leaf7_ebx;
}

static inline int cpu_has_avx2(void) { return cpu_supports(1u << 5, 0x6); }

/* F, DQ, BW, VL and AVX2; the system saves the mask and the upper vector registers. */
static inline int cpu_has_avx512(void) {
    return cpu_supports(1u << 5 | 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31, 0xe6);
}

/* AVX512_VNNI: leaf 7, subleaf 0, ECX bit 11. */
static inline int cpu_has_avx512_vnni(void) {
    uint32_t r[4];
    if (!cpu_has_avx512()) return 0;
    cpuid(7, 0, r);
    return (r[2] & 1u << 11) != 0;
}

/* AVX512_BF16: leaf 7, subleaf 1, EAX bit 5. */
static inline int cpu_has_avx512_bf16(void) {
    uint32_t r[4];
    if (!cpu_has_avx512()) return 0;
    cpuid(7, 0, r);
    if (r[0] < 1) return 0; /* no subleaf 1 */
    cpuid(7, 1, r);
    return (r[0] & 1u << 5) != 0;
}

/* Whether that multiplies faster than the multiply-add of float32 does rounded numbers: AMD's is up to twice as
 * fast, Intel's takes 1.1 to 1.3 times as long (measured on Zen 4 and 5 and on a Sapphire Rapids). */
static inline int cpu_gains_by_avx512_bf16(void) {
    uint32_t r[4];
    if (!cpu_has_avx512_bf16()) return 0;
    cpuid(0, 0, r);
    return r[1] == 0x68747541 && r[3] == 0x69746e65 && r[2] == 0x444d4163; /* "AuthenticAMD" */
}

/* AMX_TILE and AMX_BF16: leaf 7, EDX bits 24 and 22. Whether the system lets this process use the tiles
 * is another matter: see amx_check.h. */
static inline int cpu_has_amx(void) {
    const uint32_t needed = 1u << 24 | 1u << 22;
    uint32_t r[4];
    if (!cpu_has_avx512_bf16()) return 0;
    cpuid(7, 0, r);
    return (r[3] & needed) == needed;
}
#endif
#endif
