/* Makes system calls fail as the disks of laboratories do. Preloaded; SHIM names what fails:
 * noflock, nofcntl (locks of both kinds: ENOLCK), nosys (both: ENOSYS), nolink (EPERM),
 * nosuplink (ENOTSUP), xdev (EXDEV), nofsync (EINVAL). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int on(const char *word) {
    const char *chosen = getenv("SHIM");
    return chosen && strstr(chosen, word);
}

static int fail(int number) {
    errno = number;
    return -1;
}

int flock(int fd, int operation) {
    if (on("noflock")) return fail(ENOLCK);
    if (on("nosys")) return fail(ENOSYS);
    return syscall(SYS_flock, fd, operation);
}

static int control(int fd, int command, void *argument) {
    int locks = command == F_SETLK || command == F_SETLKW || command == F_GETLK;
#ifdef F_OFD_SETLK
    locks |= command == F_OFD_SETLK || command == F_OFD_SETLKW || command == F_OFD_GETLK;
#endif
    if (locks && on("nofcntl")) return fail(ENOLCK);
    if (locks && on("nosys")) return fail(ENOSYS);
    return syscall(SYS_fcntl, fd, command, argument);
}

int fcntl(int fd, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return control(fd, command, argument);
}

int fcntl64(int fd, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return control(fd, command, argument);
}

static int linked(void) {
    return on("nolink") ? EPERM : on("nosuplink") ? ENOTSUP : on("xdev") ? EXDEV : 0;
}

int link(const char *from, const char *to) {
    if (linked()) return fail(linked());
    return syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    if (linked()) return fail(linked());
    return syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

int fsync(int fd) {
    if (on("nofsync")) return fail(EINVAL);
    return syscall(SYS_fsync, fd);
}
