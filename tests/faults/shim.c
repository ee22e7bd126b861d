/* Preloaded into an engine under test: fails, cuts short, kills at, or records what it does to files.

   GODARK_SHIM_DIR   only files under this directory count (an absolute path); unset: nothing does
   GODARK_SHIM_AT    the operation, counted from 1, at which to act; 0 or unset: none
   GODARK_SHIM_DO    error:NUMBER[:COUNT] fail with that errno, this one and the COUNT - 1 that follow
                     short      write half of what was asked for
                     before     end the process before the operation, as kill -9 does
                     after      the same after it
   GODARK_SHIM_ONLY  count only operations of this name (write, sync, rename, truncate, create, mkdir, unlink)
   GODARK_SHIM_LOG   append a record of every operation, and of what was sent to sockets, to this file

   `shim_arm` reads these; it is called when the library is loaded, and again by whoever forks. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, SYNC, RENAME, TRUNCATE, CREATE, MKDIR, UNLINK, SENT };
static const char *const names[] = {"", "write", "sync", "rename", "truncate", "create", "mkdir", "unlink", "sent"};
enum { NOTHING, ERROR, SHORT, BEFORE, AFTER };

static char dir[2048];
static size_t dir_length;
static long at, done, count, number;
static int act, log_fd = -1, only;

struct record {
    int32_t kind, path_bytes, path2_bytes, data_bytes;
    int64_t offset, result;
};

void shim_arm(void) {
    const char *where = getenv("GODARK_SHIM_DIR"), *when = getenv("GODARK_SHIM_AT"), *what = getenv("GODARK_SHIM_DO");
    const char *log = getenv("GODARK_SHIM_LOG"), *kind = getenv("GODARK_SHIM_ONLY");
    dir_length = 0;
    at = done = only = 0;
    act = NOTHING;
    if (where == NULL || strlen(where) >= sizeof dir) return;
    strcpy(dir, where);
    dir_length = strlen(dir);
    if (when) at = atol(when);
    for (int k = 1; kind && k <= UNLINK; k++)
        if (strcmp(kind, names[k]) == 0) only = k;
    if (what && sscanf(what, "error:%ld:%ld", &number, &count) >= 1) {
        act = ERROR;
        if (strchr(strchr(what, ':') + 1, ':') == NULL) count = 1;
    } else if (what && strcmp(what, "short") == 0) act = SHORT;
    else if (what && strcmp(what, "before") == 0) act = BEFORE;
    else if (what && strcmp(what, "after") == 0) act = AFTER;
    if (log_fd >= 0) syscall(SYS_close, log_fd);
    log_fd = log ? (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
}

__attribute__((constructor)) static void loaded(void) { shim_arm(); }

static int under(const char *path) {
    return dir_length && strncmp(path, dir, dir_length) == 0 && (path[dir_length] == '/' || path[dir_length] == 0);
}

/* The path of a descriptor, or of a name that may be relative; 1 if it counts. */
static int path_of(int fd, char *out) {
    char link[40];
    if (!dir_length) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, out, 4095);
    if (n < 0) n = 0;
    out[n] = 0;
    return under(out);
}

static int full(const char *path, char *out) {
    if (!dir_length || path == NULL) return 0;
    if (path[0] == '/') snprintf(out, 4096, "%s", path);
    else {
        if (syscall(SYS_getcwd, out, 2048) < 0) return 0;
        size_t n = strlen(out);
        snprintf(out + n, 4096 - n, "/%s", path);
    }
    return under(out);
}

static void note(int kind, const char *path, const char *path2, const void *data, int64_t bytes, int64_t offset, int64_t result) {
    if (log_fd < 0) return;
    struct record r = {kind, (int32_t)strlen(path), path2 ? (int32_t)strlen(path2) : 0, data ? (int32_t)bytes : 0, offset, result};
    struct iovec parts[4] = {{&r, sizeof r}, {(void *)path, r.path_bytes}, {(void *)path2, r.path2_bytes}, {(void *)data, r.data_bytes}};
    syscall(SYS_writev, log_fd, parts, 4);
}

static void end(void) { syscall(SYS_kill, syscall(SYS_getpid), SIGKILL); }

/* What to do now: NOTHING, ERROR (errno is set), SHORT or AFTER. BEFORE does not return. */
static int turn(int kind) {
    if (at == 0 || (only && kind != only)) return NOTHING;
    long n = ++done;
    if (act == ERROR && n >= at && n < at + count) {
        errno = (int)number;
        return ERROR;
    }
    if (n != at) return NOTHING;
    if (act == BEFORE) end();
    return act;
}

static ssize_t put(int fd, const void *data, size_t bytes, off_t offset, int positioned) {
    char path[4096];
    int counts = path_of(fd, path), what = NOTHING;
    if (counts) {
        what = turn(WRITE);
        if (what == ERROR) return -1;
        if (what == SHORT && bytes > 1) bytes /= 2;
        if (!positioned && log_fd >= 0) offset = (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR);
    } else if (log_fd >= 0 && strncmp(path, "socket:", 7) == 0)
        note(SENT, path, NULL, data, (int64_t)bytes, 0, 0);
    ssize_t n = positioned ? syscall(SYS_pwrite64, fd, data, bytes, offset) : syscall(SYS_write, fd, data, bytes);
    if (counts && n > 0) {
        int saved = errno;
        note(WRITE, path, NULL, data, n, offset, n);
        errno = saved;
    }
    if (what == AFTER) end();
    return n;
}

ssize_t write(int fd, const void *data, size_t bytes) { return put(fd, data, bytes, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) { return put(fd, data, bytes, offset, 1); }
ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t offset) { return put(fd, data, bytes, offset, 1); }

static void note_sent(int fd, const struct iovec *parts, size_t many) {
    char path[4096];
    if (log_fd < 0) return;
    path_of(fd, path);
    if (strncmp(path, "socket:", 7) != 0) return;
    for (size_t k = 0; k < many; k++) note(SENT, path, NULL, parts[k].iov_base, (int64_t)parts[k].iov_len, 0, 0);
}

ssize_t writev(int fd, const struct iovec *parts, int many) {
    note_sent(fd, parts, (size_t)many);
    return syscall(SYS_writev, fd, parts, many);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    note_sent(fd, message->msg_iov, message->msg_iovlen);
    return syscall(SYS_sendmsg, fd, message, flags);
}

ssize_t send(int fd, const void *data, size_t bytes, int flags) {
    struct iovec part = {(void *)data, bytes};
    note_sent(fd, &part, 1);
    return syscall(SYS_sendto, fd, data, bytes, flags, NULL, 0);
}

static int sync_with(int fd, long call) {
    char path[4096];
    int counts = path_of(fd, path), what = counts ? turn(SYNC) : NOTHING;
    if (what == ERROR) return -1;
    int n = (int)syscall(call, fd);
    if (counts) note(SYNC, path, NULL, NULL, 0, 0, n);
    if (what == AFTER) end();
    return n;
}

int fsync(int fd) { return sync_with(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_with(fd, SYS_fdatasync); }

static int rename_at(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char path[4096], path2[4096];
    int counts = full(from, path) && full(to, path2), what = counts ? turn(RENAME) : NOTHING;
    if (what == ERROR) return -1;
    int n = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    if (counts) note(RENAME, path, path2, NULL, 0, 0, n);
    if (what == AFTER) end();
    return n;
}

int rename(const char *from, const char *to) { return rename_at(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return rename_at(a, from, b, to, 0); }

static int truncate_fd(int fd, off_t size) {
    char path[4096];
    int counts = path_of(fd, path), what = counts ? turn(TRUNCATE) : NOTHING;
    if (what == ERROR) return -1;
    int n = (int)syscall(SYS_ftruncate, fd, size);
    if (counts) note(TRUNCATE, path, NULL, NULL, 0, size, n);
    if (what == AFTER) end();
    return n;
}

int ftruncate(int fd, off_t size) { return truncate_fd(fd, size); }
int ftruncate64(int fd, off_t size) { return truncate_fd(fd, size); }

static int open_with(int at_dir, const char *name, int flags, mode_t mode) {
    char path[4096];
    int makes = (flags & (O_CREAT | O_TRUNC)) && full(name, path), what = makes ? turn(CREATE) : NOTHING;
    if (what == ERROR) return -1;
    int fd = (int)syscall(SYS_openat, at_dir, name, flags, mode);
    if (makes) note(CREATE, path, NULL, NULL, 0, (flags & O_TRUNC) != 0, fd < 0 ? fd : 0);
    if (what == AFTER) end();
    return fd;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return open_with(AT_FDCWD, path, flags, mode); \
    }
#define OPENAT(name) \
    int name(int where, const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return open_with(where, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int mkdir(const char *name, mode_t mode) {
    char path[4096];
    int counts = full(name, path), what = counts ? turn(MKDIR) : NOTHING;
    if (what == ERROR) return -1;
    int n = (int)syscall(SYS_mkdirat, AT_FDCWD, name, mode);
    if (counts) note(MKDIR, path, NULL, NULL, 0, 0, n);
    if (what == AFTER) end();
    return n;
}

int unlink(const char *name) {
    char path[4096];
    int counts = full(name, path), what = counts ? turn(UNLINK) : NOTHING;
    if (what == ERROR) return -1;
    int n = (int)syscall(SYS_unlinkat, AT_FDCWD, name, 0);
    if (counts) note(UNLINK, path, NULL, NULL, 0, 0, n);
    if (what == AFTER) end();
    return n;
}
