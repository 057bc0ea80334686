/* Large memory on huge pages, where the system offers them on request: panels are far apart, and each
 * would need an entry of its own in the TLB. */
#ifndef FASTMLP_PAGES_H
#define FASTMLP_PAGES_H

#include <stddef.h>

#if defined(__linux__)
#include <sys/mman.h>
static inline void advise_huge_pages(void *start, size_t n_bytes) {
#ifdef MADV_HUGEPAGE
    madvise(start, n_bytes, MADV_HUGEPAGE); /* only advice: a failure changes nothing */
#else
    (void)start, (void)n_bytes;
#endif
}
#else
static inline void advise_huge_pages(void *start, size_t n_bytes) { (void)start, (void)n_bytes; }
#endif

#endif
