/* Counts, fails, records or dies at the file operations of one process, below one folder, whichever library asks for
 * them: loaded before libc by LD_PRELOAD, so that native code is seen as well as Python's own. Operations are taken one
 * at a time over all threads; strace counts them thread by thread, and serves to check that none is missed here. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NAMES = 1, SYNCS = 2, WRITES = 4 };
enum { OFF, COUNT, KILL, FAIL_ONCE, FAIL_ON };

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static char folder[4096];
static size_t folder_length;
static int mode = OFF, classes, error_number, record = -1;
static long at, counted;

#define REAL(name) ((typeof(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

void shim_arm(const char *below, int how, int which, long number, int error, const char *log) {
    snprintf(folder, sizeof folder, "%s", below);
    folder_length = strlen(folder);
    classes = which, at = number, error_number = error, counted = 0;
    record = log ? REAL(open)(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    mode = how;
}

long shim_disarm(void) { mode = OFF; return counted; }

static int below(const char *path) {
    return mode != OFF && path && !strncmp(path, folder, folder_length)
        && (path[folder_length] == '/' || !path[folder_length]);
}

static int named(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, 4095);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

static const char *resolved(int fd, const char *path, char *whole) {
    if (path[0] == '/' || fd == AT_FDCWD) return path;
    char place[4096];
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, place, sizeof place - 1);
    if (length < 0) return path;
    place[length] = 0;
    snprintf(whole, 8192, "%s/%s", place, path);
    return whole;
}

/* Before an operation: 1 when it is to fail. The turn is held until after it. */
static int before(int which) {
    pthread_mutex_lock(&turn);
    if (!(which & classes)) return 0;
    counted++;
    if (mode == KILL && counted == at) { kill(getpid(), SIGKILL); for (;;) pause(); }
    return (mode == FAIL_ONCE && counted == at) || (mode == FAIL_ON && counted >= at);
}

static void log_(const char *what, const char *one, const char *two, long offset, const void *data, long length) {
    if (record < 0) return;
    char head[9000];
    int size = snprintf(head, sizeof head, "%s\t%s\t%s\t%ld\t%ld\n", what, one, two, offset, length);
    ssize_t done = REAL(write)(record, head, size);
    if (length > 0) done = REAL(write)(record, data, length);
    (void)done;
}

static long after(long result) { int saved = errno; pthread_mutex_unlock(&turn); errno = saved; return result; }
static long failed(void) { pthread_mutex_unlock(&turn); errno = error_number; return -1; }

#define ON_NAMES(call, what, one, two)                          \
    do {                                                        \
        if (before(NAMES)) return failed();                     \
        long result = (call);                                   \
        if (!result) log_(what, one, two, 0, NULL, 0);          \
        return after(result);                                   \
    } while (0)

int rename(const char *a, const char *b) {
    if (!below(b)) return REAL(rename)(a, b);
    ON_NAMES(REAL(rename)(a, b), "rename", a, b);
}
int renameat(int x, const char *a, int y, const char *b) {
    char u[8192], v[8192];
    if (!below(resolved(y, b, v))) return REAL(renameat)(x, a, y, b);
    ON_NAMES(REAL(renameat)(x, a, y, b), "rename", resolved(x, a, u), resolved(y, b, v));
}
int renameat2(int x, const char *a, int y, const char *b, unsigned flags) {
    char u[8192], v[8192];
    if (!below(resolved(y, b, v))) return REAL(renameat2)(x, a, y, b, flags);
    ON_NAMES(REAL(renameat2)(x, a, y, b, flags), "rename", resolved(x, a, u), resolved(y, b, v));
}
int link(const char *a, const char *b) {
    if (!below(b)) return REAL(link)(a, b);
    ON_NAMES(REAL(link)(a, b), "link", a, b);
}
int linkat(int x, const char *a, int y, const char *b, int flags) {
    char u[8192], v[8192];
    if (!below(resolved(y, b, v))) return REAL(linkat)(x, a, y, b, flags);
    ON_NAMES(REAL(linkat)(x, a, y, b, flags), "link", resolved(x, a, u), resolved(y, b, v));
}
int unlink(const char *a) {
    if (!below(a)) return REAL(unlink)(a);
    ON_NAMES(REAL(unlink)(a), "unlink", a, "");
}
int unlinkat(int x, const char *a, int flags) {
    char u[8192];
    if (!below(resolved(x, a, u))) return REAL(unlinkat)(x, a, flags);
    ON_NAMES(REAL(unlinkat)(x, a, flags), flags & AT_REMOVEDIR ? "rmdir" : "unlink", resolved(x, a, u), "");
}
int rmdir(const char *a) {
    if (!below(a)) return REAL(rmdir)(a);
    ON_NAMES(REAL(rmdir)(a), "rmdir", a, "");
}
int mkdir(const char *a, mode_t m) {
    if (!below(a)) return REAL(mkdir)(a, m);
    ON_NAMES(REAL(mkdir)(a, m), "mkdir", a, "");
}
int mkdirat(int x, const char *a, mode_t m) {
    char u[8192];
    if (!below(resolved(x, a, u))) return REAL(mkdirat)(x, a, m);
    ON_NAMES(REAL(mkdirat)(x, a, m), "mkdir", resolved(x, a, u), "");
}

#define ON_SYNC(call)                                           \
    char path[4096];                                            \
    if (!named(fd, path)) return (call);                        \
    if (before(SYNCS)) return failed();                         \
    int result = (call);                                        \
    if (!result) log_("sync", path, "", 0, NULL, 0);            \
    return after(result)

int fsync(int fd) { ON_SYNC(REAL(fsync)(fd)); }
int fdatasync(int fd) { ON_SYNC(REAL(fdatasync)(fd)); }

static off_t place(int fd) {
    struct stat now;
    if (fcntl(fd, F_GETFL) & O_APPEND) return fstat(fd, &now) ? 0 : now.st_size;
    return lseek(fd, 0, SEEK_CUR);
}

ssize_t write(int fd, const void *data, size_t length) {
    char path[4096];
    if (mode == OFF || !named(fd, path)) return REAL(write)(fd, data, length);
    if (before(WRITES)) return failed();
    off_t offset = place(fd);
    ssize_t result = REAL(write)(fd, data, length);
    if (result > 0) log_("write", path, "", offset, data, result);
    return after(result);
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    char path[4096];
    if (mode == OFF || !named(fd, path)) return REAL(writev)(fd, parts, count);
    return write(fd, parts[0].iov_base, parts[0].iov_len); /* a short write is allowed */
}
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    char path[4096];
    if (mode == OFF || !named(fd, path)) return REAL(pwrite64)(fd, data, length, offset);
    if (before(WRITES)) return failed();
    ssize_t result = REAL(pwrite64)(fd, data, length, offset);
    if (result > 0) log_("write", path, "", offset, data, result);
    return after(result);
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }
int ftruncate64(int fd, off64_t length) {
    char path[4096];
    if (mode == OFF || !named(fd, path)) return REAL(ftruncate64)(fd, length);
    if (before(WRITES)) return failed();
    int result = REAL(ftruncate64)(fd, length);
    if (!result) log_("truncate", path, "", length, NULL, 0);
    return after(result);
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int opened(int x, const char *path, int flags, mode_t m) {
    char whole[8192];
    const char *name = resolved(x, path, whole);
    if (!(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE || !below(name))
        return REAL(openat64)(x, path, flags, m);
    if (before(WRITES)) return failed();
    struct stat was;
    int there = !stat(name, &was);
    int fd = REAL(openat64)(x, path, flags, m);
    if (fd >= 0 && !there) log_("create", name, "", 0, NULL, 0);
    if (fd >= 0 && there && flags & O_TRUNC) log_("truncate", name, "", 0, NULL, 0);
    return after(fd);
}
#define MODE(flags) mode_t m = 0; if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) { va_list more; va_start(more, flags); m = va_arg(more, mode_t); va_end(more); }
int open(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, m); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, m); }
int openat(int x, const char *path, int flags, ...) { MODE(flags) return opened(x, path, flags, m); }
int openat64(int x, const char *path, int flags, ...) { MODE(flags) return opened(x, path, flags, m); }
