/* See pool.h. POSIX threads, or Win32; the waiting is the same for both. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* for the CPU that a thread is on */
#endif
#include "pool.h"

#include <stddef.h>
#include <stdint.h>

#define MAX_THREADS 256
/* 5 to 15 microseconds, as long as `pause` lasts on the CPU: longer than a step of a small batch. A *
 * thread that yields comes back at once if nobody else wants the CPU. */
#define SPINS 300

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
typedef SRWLOCK mutex;
typedef CONDITION_VARIABLE condition;
#define MUTEX_INIT SRWLOCK_INIT
#define CONDITION_INIT CONDITION_VARIABLE_INIT
static void lock(mutex *m) { AcquireSRWLockExclusive(m); }
static int try_lock(mutex *m) { return TryAcquireSRWLockExclusive(m); }
static void unlock(mutex *m) { ReleaseSRWLockExclusive(m); }
static void wait_on(condition *c, mutex *m) { SleepConditionVariableSRW(c, m, INFINITE, 0); }
static void wake_all(condition *c) { WakeAllConditionVariable(c); }
static void yield_cpu(void) { SwitchToThread(); }
static long add_one(volatile long *p) { return InterlockedIncrement(p); }
static long read_shared(volatile long *p) { return InterlockedCompareExchange(p, 0, 0); }
static void write_shared(volatile long *p, long value) { InterlockedExchange(p, value); }
#else
#include <pthread.h>
#include <sched.h>
/* Products have up to 400 KB of blocks there; what a system gives without being asked may be 128 KB. */
#define STACK_BYTES ((size_t)2 << 20)
typedef pthread_mutex_t mutex;
typedef pthread_cond_t condition;
#define MUTEX_INIT PTHREAD_MUTEX_INITIALIZER
#define CONDITION_INIT PTHREAD_COND_INITIALIZER
static void lock(mutex *m) { pthread_mutex_lock(m); }
static int try_lock(mutex *m) { return pthread_mutex_trylock(m) == 0; }
static void unlock(mutex *m) { pthread_mutex_unlock(m); }
static void wait_on(condition *c, mutex *m) { pthread_cond_wait(c, m); }
static void wake_all(condition *c) { pthread_cond_broadcast(c); }
static void yield_cpu(void) { sched_yield(); }
static long add_one(volatile long *p) { return __atomic_add_fetch(p, 1, __ATOMIC_ACQ_REL); }
static long read_shared(volatile long *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static void write_shared(volatile long *p, long value) { __atomic_store_n(p, value, __ATOMIC_RELEASE); }
#endif

#if defined(__linux__)
static int present_cpu(void) { return sched_getcpu(); }
/* A thread that wakes up is often put where the thread is that woke it, and left there for a while: two
 * threads that wait for each other would take turns on one CPU. Goes elsewhere, if it may. */
static void leave_cpu(int cpu) {
    cpu_set_t allowed, others;
    if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getcpu() != cpu) return;
    if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
    others = allowed;
    CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others)) return;
    sched_setaffinity(0, sizeof allowed, &allowed);
}
#else
static int present_cpu(void) { return -1; }
static void leave_cpu(int cpu) { (void)cpu; }
#endif

static void pause_cpu(void) {
#if defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
    YieldProcessor();
#elif defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
    __asm__ volatile("yield");
#endif
}

/* Spin for a while, then give the CPU away, until *p >= wanted. */
static void wait_for(volatile long *p, long wanted) {
    for (int spin = 0; read_shared(p) < wanted; spin++) {
        if (spin < SPINS) pause_cpu();
        else yield_cpu();
    }
}

static mutex in_use = MUTEX_INIT;    /* held while a call runs */
static mutex sleep_lock = MUTEX_INIT; /* guards what a call is */
static condition wake_up = CONDITION_INIT;
static volatile long generation; /* counts calls */
static struct team team;
static team_function team_work;
static void *team_context;
static int team_cpu;  /* the caller's */
static int is_over;   /* whoever wakes up now is too late for the present call */
static int n_started; /* workers that take part in it */
static volatile long n_done; /* workers that have finished the present call */
static int n_workers;        /* threads started, besides the caller */

static void worker_loop(int thread, long seen) {
    for (;;) {
        /* The next call may come at once, as in a loop of predictions. */
        for (int spin = 0; spin < SPINS && read_shared(&generation) == seen; spin++) pause_cpu();
        lock(&sleep_lock);
        while (generation == seen) wait_on(&wake_up, &sleep_lock);
        seen = generation;
        /* Read under the lock: a worker that is not in this call may be late, and must not take
         * the next call's size for this one's. */
        const int takes_part = thread < team.n_threads && !is_over;
        n_started += takes_part;
        const team_function function = team_work;
        void *context = team_context;
        const int cpu = team_cpu;
        unlock(&sleep_lock);
        if (takes_part) {
            leave_cpu(cpu);
            function(context, &team, thread);
            add_one(&n_done);
        }
    }
}

struct start {
    int thread;
    long seen;
};
static struct start starts[MAX_THREADS];

#if defined(_WIN32)
static DWORD WINAPI worker(LPVOID argument) {
    const struct start *start = argument;
    worker_loop(start->thread, start->seen);
    return 0;
}
static int start_thread(struct start *start) {
    HANDLE handle = CreateThread(NULL, 0, worker, start, 0, NULL);
    if (!handle) return 0;
    CloseHandle(handle);
    return 1;
}
#else
static void *worker(void *argument) {
    const struct start *start = argument;
    worker_loop(start->thread, start->seen);
    return NULL;
}
/* A child of fork has the memory but not the threads. */
static void after_fork_in_child(void) {
    static const mutex fresh_mutex = MUTEX_INIT;
    static const condition fresh_condition = CONDITION_INIT;
    in_use = fresh_mutex;
    sleep_lock = fresh_mutex;
    wake_up = fresh_condition;
    n_workers = 0;
}
static int start_thread(struct start *start) {
    static int registered;
    pthread_t id;
    pthread_attr_t attributes;
    if (!registered) {
        registered = 1;
        pthread_atfork(NULL, NULL, after_fork_in_child);
    }
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    const int failed = pthread_create(&id, &attributes, worker, start);
    pthread_attr_destroy(&attributes);
    return !failed;
}
#endif

int team_limit(void) { return MAX_THREADS; }

void team_barrier(struct team *present) {
    if (present->n_threads == 1) return;
    const long n = present->n_threads;
    const long arrived = add_one(&present->arrived);
    wait_for(&present->arrived, (arrived + n - 1) / n * n);
}

long team_take(struct team *present) { return add_one(&present->taken) - 1; }

static void run(int n_threads, team_function function, void *context, int waits_for_all) {
    if (n_threads > MAX_THREADS) n_threads = MAX_THREADS;
    if (n_threads <= 1 || !try_lock(&in_use)) {
        struct team alone = {.n_threads = 1};
        function(context, &alone, 0);
        return;
    }
    while (n_workers < n_threads - 1) {
        struct start *start = &starts[n_workers];
        start->thread = n_workers + 1;
        start->seen = generation;
        if (!start_thread(start)) break; /* the system gives no more: run with fewer */
        n_workers++;
    }
    lock(&sleep_lock);
    team.n_threads = n_workers + 1 < n_threads ? n_workers + 1 : n_threads;
    team_work = function;
    team_context = context;
    team_cpu = present_cpu();
    is_over = n_started = 0;
    write_shared(&team.arrived, 0);
    write_shared(&team.taken, 0);
    write_shared(&n_done, 0);
    write_shared(&generation, generation + 1);
    wake_all(&wake_up);
    unlock(&sleep_lock);
    function(context, &team, 0);
    int n_awaited = team.n_threads - 1;
    if (!waits_for_all) {
        lock(&sleep_lock);
        is_over = 1;
        n_awaited = n_started;
        unlock(&sleep_lock);
    }
    wait_for(&n_done, n_awaited);
    unlock(&in_use);
}

void team_run(int n_threads, team_function function, void *context) { run(n_threads, function, context, 1); }

void team_share(int n_threads, team_function function, void *context) { run(n_threads, function, context, 0); }
