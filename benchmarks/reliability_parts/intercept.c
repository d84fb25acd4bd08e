/* Stands between a process and the C library: counts the calls that change files beneath a folder, and at a chosen one
 * kills the process, in the middle of what it writes, or has the call fail. For LD_PRELOAD; does nothing until watched. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { KILL = -1 };

/* Shared with the parent; the same as processes.Watch. */
struct watch {
  long pid;    /* whose calls count */
  long count;  /* of them until now */
  long at;     /* the one that is hit, from 1; 0 is none */
  long error;  /* what it fails with; KILL */
  long lasts;  /* whether whatever needs room fails from then on */
  long used;   /* bytes of the log */
  char folder[512];
  char log[1 << 20]; /* a line for each call that counted: its name and the path */
};

static struct watch *watching;

void watch(struct watch *given) { watching = given; }

enum need { ROOM, FOLDER, CHANGE, REMOVAL };

/* What a call is to fail with, 0 for nothing. */
static int hit(const char *call, enum need need, int folder, const char *path, int fd) {
  struct watch *w = watching;
  if (!w || w->pid != getpid()) return 0;
  char place[PATH_MAX + 512] = "", link[64];
  ssize_t n = 0;
  if (path && path[0] == '/') {
    snprintf(place, sizeof place, "%s", path);
  } else {
    if (!path) snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    else if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    n = readlink(link, place, PATH_MAX);
    if (n < 0) return 0;
    place[n] = 0;
    if (path) snprintf(place + n, sizeof place - n, "/%s", path);
  }
  size_t length = strlen(w->folder);
  if (strncmp(place, w->folder, length) || (place[length] && place[length] != '/')) return 0;
  if (need == FOLDER && !access(place, F_OK)) return 0; /* fails by itself */
  if (need == REMOVAL && w->error != KILL) return 0; /* a full disk can be cleared */
  long now = __sync_add_and_fetch(&w->count, 1);
  char line[PATH_MAX + 600];
  long size = snprintf(line, sizeof line, "%s %s\n", call, place), from = __sync_fetch_and_add(&w->used, size);
  if (from + size < (long)sizeof w->log) memcpy(w->log + from, line, size);
  if (!w->at || now < w->at || (now > w->at && !(w->lasts && need <= FOLDER))) return 0;
  return (int)w->error;
}

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

#define NEXT(name) static __typeof__(name) *next; if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define FAIL_IF(found) do { int e = (found); if (e == KILL) die(); if (e) { errno = e; return -1; } } while (0)

/* Calls that write are killed when half is written. */
#define WRITES(result, name, parameters, arguments, half)                    \
  result name parameters {                                                   \
    NEXT(name);                                                              \
    int e = hit("write", ROOM, 0, NULL, fd);                                 \
    if (e == KILL) { if (n > 1) (void)!next half; die(); }                   \
    if (e) { errno = e; return -1; }                                         \
    return next arguments;                                                   \
  }
WRITES(ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n), (fd, b, n / 2))
WRITES(ssize_t, pwrite, (int fd, const void *b, size_t n, off_t o), (fd, b, n, o), (fd, b, n / 2, o))
WRITES(ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t o), (fd, b, n, o), (fd, b, n / 2, o))
WRITES(ssize_t, writev, (int fd, const struct iovec *b, int n), (fd, b, n), (fd, b, n / 2))
WRITES(ssize_t, sendfile, (int fd, int from, off_t *o, size_t n), (fd, from, o, n), (fd, from, o, n / 2))
WRITES(ssize_t, sendfile64, (int fd, int from, off64_t *o, size_t n), (fd, from, o, n), (fd, from, o, n / 2))
WRITES(ssize_t, copy_file_range, (int from, off64_t *o, int fd, off64_t *p, size_t n, unsigned f),
       (from, o, fd, p, n, f), (from, o, fd, p, n / 2, f))

#define CALL(name, need, parameters, arguments, folder, path, fd)            \
  int name parameters {                                                      \
    NEXT(name);                                                              \
    FAIL_IF(hit(#name, need, folder, path, fd));                             \
    return next arguments;                                                   \
  }
CALL(fsync, CHANGE, (int fd), (fd), 0, NULL, fd)
CALL(fdatasync, CHANGE, (int fd), (fd), 0, NULL, fd)
CALL(ftruncate, CHANGE, (int fd, off_t n), (fd, n), 0, NULL, fd)
CALL(ftruncate64, CHANGE, (int fd, off64_t n), (fd, n), 0, NULL, fd)
CALL(rename, CHANGE, (const char *a, const char *b), (a, b), AT_FDCWD, b, 0)
CALL(renameat, CHANGE, (int d, const char *a, int f, const char *b), (d, a, f, b), f, b, 0)
CALL(renameat2, CHANGE, (int d, const char *a, int f, const char *b, unsigned g), (d, a, f, b, g), f, b, 0)
CALL(link, ROOM, (const char *a, const char *b), (a, b), AT_FDCWD, b, 0)
CALL(linkat, ROOM, (int d, const char *a, int f, const char *b, int g), (d, a, f, b, g), f, b, 0)
CALL(symlink, ROOM, (const char *a, const char *b), (a, b), AT_FDCWD, b, 0)
CALL(mkdir, FOLDER, (const char *a, mode_t m), (a, m), AT_FDCWD, a, 0)
CALL(mkdirat, FOLDER, (int d, const char *a, mode_t m), (d, a, m), d, a, 0)
CALL(unlink, REMOVAL, (const char *a), (a), AT_FDCWD, a, 0)
CALL(unlinkat, REMOVAL, (int d, const char *a, int g), (d, a, g), d, a, 0)
CALL(rmdir, REMOVAL, (const char *a), (a), AT_FDCWD, a, 0)

/* Opening counts where it makes a file. */
static int makes(int folder, const char *path, int flags) {
  return (flags & O_CREAT) && (flags & O_ACCMODE) != O_RDONLY && faccessat(folder, path, F_OK, 0);
}
#define OPENS(name, parameters, arguments, folder)                           \
  int name parameters {                                                      \
    NEXT(name);                                                              \
    mode_t mode = 0;                                                         \
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) { va_list v; va_start(v, flags); mode = va_arg(v, mode_t); va_end(v); } \
    if (watching && makes(folder, path, flags)) FAIL_IF(hit("open", ROOM, folder, path, 0)); \
    return next arguments;                                                   \
  }
OPENS(open, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPENS(open64, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPENS(openat, (int d, const char *path, int flags, ...), (d, path, flags, mode), d)
OPENS(openat64, (int d, const char *path, int flags, ...), (d, path, flags, mode), d)
