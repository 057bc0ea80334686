/* A team of threads that runs one function together, and a barrier for it.
 *
 * The workers sleep between calls and cost nothing then. Within a call they wait for each other by
 * spinning for a bounded time, then by yielding, so that more threads than CPUs still get on.
 * There is one team per process: a second caller (another Python thread, a signal handler) finds it
 * taken and runs its function alone; the results are the same, since no sum depends on the number of
 * threads. After fork the child starts a team of its own when it needs one.
 */
#ifndef FASTMLP_POOL_H
#define FASTMLP_POOL_H

struct team {
    int n_threads;
    char before[64]; /* the counter has a cache line to itself */
    volatile long arrived;
    char between[64];
    volatile long taken;
    char after[64];
};

typedef void (*team_function)(void *context, struct team *team, int thread);

/* Run function(context, team, 0 .. n - 1), n <= n_threads, and return when all are done. */
void team_run(int n_threads, team_function function, void *context);
/* The same for a function that has its work from team_take alone and meets nobody: a thread that wakes up
 * when all is done is not waited for, and does not call it. */
void team_share(int n_threads, team_function function, void *context);
/* Wait until all threads of the team have come here; what they wrote before is then visible. */
void team_barrier(struct team *team);
/* The next of 0, 1, 2, ... that no thread has taken in this call. */
long team_take(struct team *team);
/* The most threads that team_run would use on this system. */
int team_limit(void);

#endif
