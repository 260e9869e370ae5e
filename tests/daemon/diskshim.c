/* What a process does to the files of one folder, in order, and faults at will. For LD_PRELOAD.
 *
 * DISKSHIM_ROOT    the folder; other files are left alone
 * DISKSHIM_LOG     one record for each write, truncation, sync, unlink and rename:
 *                  "W path offset length\n" and the bytes, "T path size\n", "S path\n", "U path\n", "R path path\n"
 * DISKSHIM_FAIL    "sync N": the Nth sync of a write-ahead log fails with EIO; "write N": the Nth write to one
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -2;
static const char *root;
static size_t root_length;
static long syncs, writes, fail_at;
static char fail[16];

static void begin(void) {
  if (log_fd != -2) return;
  const char *name = getenv("DISKSHIM_LOG");
  const char *how = getenv("DISKSHIM_FAIL");
  root = getenv("DISKSHIM_ROOT");
  root_length = root ? strlen(root) : 0;
  if (how) sscanf(how, "%15s %ld", fail, &fail_at);
  log_fd = name ? open(name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
}

/* The file's name below the folder, or NULL. */
static const char *below(int fd, char *path) {
  char link[40];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, PATH_MAX - 1);
  if (n <= 0 || !root) return NULL;
  path[n] = 0;
  if (strncmp(path, root, root_length) != 0) return NULL;
  return path[root_length] == '/' ? path + root_length + 1 : path[root_length] ? NULL : ".";
}

static const char *named_below(const char *path) {
  if (!root || strncmp(path, root, root_length) != 0 || path[root_length] != '/') return NULL;
  return path + root_length + 1;
}

static int is_log_of_database(const char *name) { return strstr(name, ".sqlite-wal") != NULL; }

static ssize_t (*real_write)(int, const void *, size_t);

static void note(const char *head, const void *bytes, size_t length) {
  if (log_fd < 0) return;
  if (real_write(log_fd, head, strlen(head)) < 0) _exit(99);
  for (const char *at = bytes; length > 0;) {
    ssize_t n = real_write(log_fd, at, length);
    if (n < 0) _exit(99);
    at += n;
    length -= (size_t)n;
  }
}

#define REAL(name) \
  static __typeof__(name) *real; \
  if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name); \
  if (!real_write) real_write = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write"); \
  begin();

static int refused(const char *name, const char *kind, long *count) {
  if (!fail[0] || !is_log_of_database(name)) return 0;
  *count += 1;
  if (strcmp(fail, kind) == 0 && *count == fail_at) { errno = EIO; return 1; }
  return 0;
}

static void note_write(const char *name, long long at, const void *bytes, size_t length) {
  char head[PATH_MAX + 64];
  snprintf(head, sizeof head, "W %s %lld %zu\n", name, at, length);
  note(head, bytes, length);
}

#define WRITING(call, at_begin) \
  char path[PATH_MAX]; \
  const char *name = below(fd, path); \
  if (!name || fd == log_fd) return call; \
  pthread_mutex_lock(&lock); \
  ssize_t n = -1; \
  if (!refused(name, "write", &writes)) { \
    n = call; \
    if (n > 0) note_write(name, at_begin, bytes, (size_t)n); \
  } \
  int error = errno; \
  pthread_mutex_unlock(&lock); \
  errno = error; \
  return n;

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
  REAL(pwrite64)
  WRITING(real(fd, bytes, length, at), (long long)at)
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
  REAL(pwrite)
  WRITING(real(fd, bytes, length, at), (long long)at)
}

ssize_t write(int fd, const void *bytes, size_t length) {
  REAL(write)
  WRITING(real(fd, bytes, length), (long long)lseek(fd, 0, SEEK_CUR) - n)
}

static int note_size(int fd, long long size, int result) {
  char path[PATH_MAX], head[PATH_MAX + 64];
  const char *name = result == 0 ? below(fd, path) : NULL;
  if (name) {
    pthread_mutex_lock(&lock);
    snprintf(head, sizeof head, "T %s %lld\n", name, size);
    note(head, NULL, 0);
    pthread_mutex_unlock(&lock);
  }
  return result;
}

int ftruncate64(int fd, off64_t size) {
  REAL(ftruncate64)
  return note_size(fd, size, real(fd, size));
}

int ftruncate(int fd, off_t size) {
  REAL(ftruncate)
  return note_size(fd, size, real(fd, size));
}

#define SYNCING(call) \
  char path[PATH_MAX], head[PATH_MAX + 64]; \
  const char *name = below(fd, path); \
  if (!name) return call; \
  pthread_mutex_lock(&lock); \
  int result = refused(name, "sync", &syncs) ? -1 : call; \
  int error = errno; \
  if (result == 0) { \
    snprintf(head, sizeof head, "S %s\n", name); \
    note(head, NULL, 0); \
  } \
  pthread_mutex_unlock(&lock); \
  errno = error; \
  return result;

int fsync(int fd) {
  REAL(fsync)
  SYNCING(real(fd))
}

int fdatasync(int fd) {
  REAL(fdatasync)
  SYNCING(real(fd))
}

int unlink(const char *path) {
  REAL(unlink)
  int result = real(path);
  const char *name = result == 0 ? named_below(path) : NULL;
  if (name) {
    char head[PATH_MAX + 64];
    pthread_mutex_lock(&lock);
    snprintf(head, sizeof head, "U %s\n", name);
    note(head, NULL, 0);
    pthread_mutex_unlock(&lock);
  }
  return result;
}

int rename(const char *from, const char *to) {
  REAL(rename)
  int result = real(from, to);
  const char *old = result == 0 ? named_below(from) : NULL, *new = result == 0 ? named_below(to) : NULL;
  if (old && new) {
    char head[2 * PATH_MAX + 64];
    pthread_mutex_lock(&lock);
    snprintf(head, sizeof head, "R %s %s\n", old, new);
    note(head, NULL, 0);
    pthread_mutex_unlock(&lock);
  }
  return result;
}
