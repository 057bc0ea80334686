/* The instruction sets, weakest first: one row each, read by setup.py, by dispatch.c and by the tests.
 *
 *   ISA(name, family, vector bytes, "flags of GCC and Clang", "flags of MSVC", test at run time)
 *
 * The product and element-wise units are compiled once per row with these flags. `family` is "any"
 * (built everywhere) or "x86". To add one, add a row here and its test to cpu.h.
 */
#define FOREACH_ISA_ANY(ISA) \
    ISA(baseline, any, 16, "", "", 1)

#if defined(FASTMLP_X86) /* setup.py defines it where it compiles these rows */
#define FOREACH_ISA_X86(ISA) \
    ISA(avx2, x86, 32, "-mavx2 -mfma", "/arch:AVX2", cpu_has_avx2()) \
    ISA(avx512, x86, 64, "-mavx2 -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512", "/arch:AVX512", cpu_has_avx512())
#else
#define FOREACH_ISA_X86(ISA)
#endif

#define FOREACH_ISA(ISA) FOREACH_ISA_ANY(ISA) FOREACH_ISA_X86(ISA)

/* Instructions that multiply int8, slowest first: where GCC or Clang knows them, setup.py compiles
 * int8_unit.c once per row and defines FASTMLP_ and the name. The others have int16 multiplied, by the
 * ISA's own row. One that needs another layout (AMX-INT8) gets a row here and a unit of its own that
 * fills a struct int8_kernels.
 *
 *   INT8(name, needs, vector bytes, "flags of GCC and Clang", test at run time)
 */
#if defined(FASTMLP_X86)
#define FOREACH_INT8(INT8) \
    INT8(avx512_vnni, avx512, 64, "-mavx2 -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mprefer-vector-width=512", cpu_has_avx512_vnni())
#else
#define FOREACH_INT8(INT8)
#endif

/* Instructions that multiply bfloat16, slowest first: where GCC or Clang knows them, setup.py compiles
 * product_bfloat16_unit.c once per row and defines FASTMLP_ and the name. Everything else of that table
 * comes from the ISA that a row `needs`, whose vectors are as wide.
 *
 *   BFLOAT16(name, needs, vector bytes, "flags of GCC and Clang", test at run time)
 */
#if defined(FASTMLP_X86)
#define FOREACH_BFLOAT16(BFLOAT16) \
    BFLOAT16(avx512_bf16, avx512, 64, "-mavx2 -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mprefer-vector-width=512", cpu_gains_by_avx512_bf16())
#else
#define FOREACH_BFLOAT16(BFLOAT16)
#endif

/* Tiles that multiply bfloat16: where GCC or Clang knows them, setup.py compiles the product_amx units
 * once and defines FASTMLP_AMX. They are tried when they are first asked for, and not before: the system
 * must allow them, which makes the frames of signals larger.
 *
 *   AMX(name, needs, vector bytes, "flags of GCC and Clang", test at run time)
 */
#if defined(FASTMLP_X86)
#define FOREACH_AMX(AMX) \
    AMX(amx, avx512, 64, "-mavx2 -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mamx-tile -mamx-bf16 -mprefer-vector-width=512", cpu_has_amx())
#else
#define FOREACH_AMX(AMX)
#endif
