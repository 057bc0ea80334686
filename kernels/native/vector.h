/* One vector of LANES values of type REAL, in the width of the ISA that is compiled for.
 *
 * GCC and Clang have vector types; elsewhere a vector is an array that the compiler may vectorize.
 * Included once per precision, with REAL and NAME(...) defined.
 */
#undef LANES
#define LANES (FASTMLP_VECTOR_BYTES / (int)sizeof(REAL))

#if defined(__GNUC__)
typedef REAL NAME(vector) __attribute__((vector_size(FASTMLP_VECTOR_BYTES)));
typedef REAL NAME(unaligned_vector)
    __attribute__((vector_size(FASTMLP_VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));

static ALWAYS_INLINE NAME(vector) NAME(load)(const REAL *p) { return *(const NAME(unaligned_vector) *)p; }
static ALWAYS_INLINE void NAME(store)(REAL *p, NAME(vector) v) { *(NAME(unaligned_vector) *)p = v; }
static ALWAYS_INLINE NAME(vector) NAME(zero)(void) { return (NAME(vector)){0}; }
/* sum + s * v; fused into one rounding where the ISA can (this unit allows contraction). */
static ALWAYS_INLINE NAME(vector) NAME(multiply_add)(NAME(vector) sum, REAL s, NAME(vector) v) {
    return sum + s * v;
}
static ALWAYS_INLINE NAME(vector) NAME(add)(NAME(vector) x, NAME(vector) y) { return x + y; }
#else
typedef struct { REAL lane[LANES]; } NAME(vector);

static ALWAYS_INLINE NAME(vector) NAME(load)(const REAL *p) {
    NAME(vector) v;
    for (int i = 0; i < LANES; i++) v.lane[i] = p[i];
    return v;
}
static ALWAYS_INLINE void NAME(store)(REAL *p, NAME(vector) v) {
    for (int i = 0; i < LANES; i++) p[i] = v.lane[i];
}
static ALWAYS_INLINE NAME(vector) NAME(zero)(void) {
    NAME(vector) v = {{0}};
    return v;
}
static ALWAYS_INLINE NAME(vector) NAME(multiply_add)(NAME(vector) sum, REAL s, NAME(vector) v) {
    for (int i = 0; i < LANES; i++) sum.lane[i] += s * v.lane[i];
    return sum;
}
static ALWAYS_INLINE NAME(vector) NAME(add)(NAME(vector) x, NAME(vector) y) {
    for (int i = 0; i < LANES; i++) x.lane[i] += y.lane[i];
    return x;
}
#endif
