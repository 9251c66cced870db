/*
 * What a power loss takes away. Loaded by LD_PRELOAD, this keeps in POWER_SHADOW what a disk would hold of the folder
 * POWER_ROOT if the power went now: the bytes of a file as of its last fsync, the names in a folder as of the folder's
 * own. The test then ends the processes and puts that back. The kernel's page cache survives SIGKILL, so without this
 * a program that never calls fsync would look durable.
 *
 * Files are kept by inode, so that a rename moves names and nothing else. The folder must lie on a tmpfs, which gives no
 * inode number twice: a new file does not inherit the bytes of one that is gone. One lock around each copy keeps the order:
 * a copy that began before another process wrote must not replace the copy that has what was written.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char buffer[1 << 20];

static void fail(const char *what) {
  perror(what);
  abort();
}

static int create(const char *shadow, char *path) {
  snprintf(path, PATH_MAX, "%s/part", shadow);
  int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (out < 0) fail(path);
  return out;
}

static void finish(int out, const char *part, const char *final) {
  if (close(out) != 0 || rename(part, final) != 0) fail(final);
}

static void keep_bytes(int fd, ino_t inode, const char *shadow) {
  char part[PATH_MAX], final[PATH_MAX], self[64];
  int out = create(shadow, part), in = fd;
  /* Never opened a second time if it can be read: closing any descriptor of a file drops SQLite's POSIX locks on it. */
  if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY) {
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if ((in = open(self, O_RDONLY | O_CLOEXEC)) < 0) fail(self);
  }
  ssize_t got;
  for (off_t at = 0; (got = pread(in, buffer, sizeof buffer, at)) > 0; at += got)
    if (write(out, buffer, (size_t)got) != got) fail(part);
  if (got < 0) fail("pread");
  if (in != fd) close(in);
  snprintf(final, sizeof final, "%s/bytes-%lu", shadow, (unsigned long)inode);
  finish(out, part, final);
}

static void keep_names(const char *path, ino_t inode, const char *shadow) {
  char part[PATH_MAX], final[PATH_MAX];
  int out = create(shadow, part);
  DIR *folder = opendir(path);
  if (folder == NULL) fail(path);
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      dprintf(out, "%lu %s\n", (unsigned long)entry->d_ino, entry->d_name);
  closedir(folder);
  snprintf(final, sizeof final, "%s/names-%lu", shadow, (unsigned long)inode);
  finish(out, part, final);
}

static int keep(int fd, long call) {
  const char *root = getenv("POWER_ROOT"), *shadow = getenv("POWER_SHADOW");
  char self[64], path[PATH_MAX], lock[PATH_MAX];
  if (root == NULL || shadow == NULL) fail("POWER_ROOT and POWER_SHADOW");
  snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(self, path, sizeof path - 1);
  if (length < 0 || strncmp(path, root, strlen(root)) != 0) return (int)syscall(call, fd);
  path[length] = '\0';
  snprintf(lock, sizeof lock, "%s/lock", shadow);
  int held = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  struct stat about;
  if (held < 0 || flock(held, LOCK_EX) != 0 || fstat(fd, &about) != 0) fail(lock);
  if (S_ISDIR(about.st_mode)) keep_names(path, about.st_ino, shadow);
  else keep_bytes(fd, about.st_ino, shadow);
  close(held);
  return 0;
}

int fsync(int fd) { return keep(fd, SYS_fsync); }
int fdatasync(int fd) { return keep(fd, SYS_fdatasync); }
