/* Shifts the wall clock of the process that preloads it by the microseconds in the file that
 * CLOCK_OFFSET names; the monotonic clock goes on as it does in reality. libfaketime cannot be
 * used: it recurses in the store's allocator. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile const long long *offset_us;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    real = dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("CLOCK_OFFSET");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file >= 0) {
        void *page = mmap(0, sizeof *offset_us, PROT_READ, MAP_SHARED, file, 0);
        if (page != MAP_FAILED) offset_us = page;
    }
}

static long long shifted_ns(void) {
    struct timespec now;
    if (!real) begin();
    real(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec + (offset_us ? *offset_us * 1000LL : 0);
}

int clock_gettime(clockid_t id, struct timespec *when) {
    if (!real) begin();
    if (id != CLOCK_REALTIME) return real(id, when);
    long long ns = shifted_ns();
    when->tv_sec = ns / 1000000000LL;
    when->tv_nsec = ns % 1000000000LL;
    return 0;
}

int gettimeofday(struct timeval *restrict when, void *restrict zone) {
    (void)zone;
    long long ns = shifted_ns();
    when->tv_sec = ns / 1000000000LL;
    when->tv_usec = ns % 1000000000LL / 1000;
    return 0;
}

time_t time(time_t *when) {
    time_t now = shifted_ns() / 1000000000LL;
    if (when) *when = now;
    return now;
}
