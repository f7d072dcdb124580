/* A thread that is not the first syncs files two seconds late, as on a machine without a free core
 * or with a slow disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

int fdatasync(int file) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (gettid() != getpid()) sleep(2);
    return real(file);
}
