/* A disk that is full as long as a file says so: nothing more can be written to any file of it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

ssize_t write(int file, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    struct stat about;
    if (!real) real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    const char *full = getenv("DISK_IS_FULL");
    if (full && access(full, F_OK) == 0 && fstat(file, &about) == 0 && S_ISREG(about.st_mode)) {
        errno = ENOSPC;
        return -1;
    }
    return real(file, bytes, count);
}
