/* The loops of the probe, compiled once per ISA, with contraction to fused multiply-add. */
#include <string.h>

#include "probe.h"
#include "unit.h"

/* The compiler must believe that a value may have changed, or it would compute a product once. */
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
#define PRETEND_TO_CHANGE(v) __asm__ volatile("" : "+v"(v))
#elif defined(__GNUC__) && defined(__aarch64__)
#define PRETEND_TO_CHANGE(v) __asm__ volatile("" : "+w"(v))
#endif

#define REAL float
#define PRECISION float32
#include "probe_real.h"
#undef REAL
#undef PRECISION

#define REAL double
#define PRECISION float64
#include "probe_real.h"
#undef REAL
#undef PRECISION

/* Reading: eight vectors (or words) are under way at once, each added to a sum of its own. */
#define SUMS 8
#if defined(__GNUC__)
typedef uint64_t words __attribute__((vector_size(FASTMLP_VECTOR_BYTES)));
typedef uint64_t stored_words
    __attribute__((vector_size(FASTMLP_VECTOR_BYTES), aligned(8), may_alias));
#define MEMORY_MAY_CHANGE __asm__ volatile("" : : : "memory")
#else
typedef uint64_t words;
typedef volatile uint64_t stored_words;
#define MEMORY_MAY_CHANGE
#endif
enum { GROUP = SUMS * (int)sizeof(words) };

static uint64_t read_loop(const void *data, ptrdiff_t blocks, int64_t passes) {
    words sum[SUMS];
    UNROLL
    for (int i = 0; i < SUMS; i++) sum[i] = (words){0};
    /* One loop over all passes: the end of a loop per pass would be predicted wrongly, which shows
     * in the smallest working sets. */
    const ptrdiff_t groups = blocks * (PROBE_BLOCK_BYTES / GROUP);
    const stored_words *from = data, *const end = from + groups * SUMS;
    for (int64_t left = groups * passes; left > 0; left--) {
        UNROLL
        for (int i = 0; i < SUMS; i++) sum[i] += from[i];
        from += SUMS;
        from = from == end ? (const stored_words *)data : from;
        MEMORY_MAY_CHANGE; /* else a pass might be taken for the one before */
    }
    uint64_t lanes[sizeof(words) / sizeof(uint64_t)], total = 0;
    UNROLL
    for (int i = 1; i < SUMS; i++) sum[0] += sum[i];
    words all = sum[0]; /* a copy: only what has no address stays in registers */
    memcpy(lanes, &all, sizeof(lanes));
    for (size_t lane = 0; lane < sizeof(lanes) / sizeof(*lanes); lane++) total += lanes[lane];
    return total;
}

const probe_read JOIN(fastmlp_probe_read, FASTMLP_ISA) = read_loop;
