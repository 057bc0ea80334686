/* What both units that are compiled once per ISA need: inlining, and names that carry the ISA. */
#ifndef FASTMLP_UNIT_H
#define FASTMLP_UNIT_H

#include "kernels.h"

#if defined(__GNUC__)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NEVER_INLINE __attribute__((noinline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#define INDEPENDENT _Pragma("GCC ivdep")
#endif
#define PREFETCH(p) __builtin_prefetch(p, 0, 2)
#elif defined(_MSC_VER)
#define ALWAYS_INLINE __forceinline
#define NEVER_INLINE __declspec(noinline)
#define UNROLL
#define INDEPENDENT __pragma(loop(ivdep))
#define PREFETCH(p) ((void)(p))
#else
#define ALWAYS_INLINE inline
#define NEVER_INLINE
#define UNROLL
#define INDEPENDENT
#define PREFETCH(p) ((void)(p))
#endif

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
/* The units include their loops twice, with REAL and PRECISION defined: NAME(tile) is tile_float32. */
#define NAME(name) JOIN(name, PRECISION)
/* fastmlp_product_avx2_float32 and so on: the tables that dispatch.c collects. */
#define TABLE(kind) JOIN(JOIN(fastmlp_##kind, FASTMLP_ISA), PRECISION)

#endif
