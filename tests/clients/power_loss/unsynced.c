/* Keeps account of what a process has written below a folder and not yet synced, so that a test
 * can take it back after killing the process, as a loss of power would.
 *
 * Loaded with LD_PRELOAD. POWER_LOSS_ROOT names the folder that is watched, POWER_LOSS_JOURNAL an
 * empty folder outside it on the same file system, which gets
 *   journal   what happened, oldest first: `struct entry` and its contents (see power_cut.py)
 *   held/     a hard link, named by its inode number, to each file that was touched: what was
 *             unlinked or replaced can be had back, and no inode number comes to mean another file
 * With POWER_LOSS_IGNORE_SYNCS set, syncs happen but are not written down. POWER_LOSS_SYNC_MS is
 * what each takes longer, as on a disk that turns: a kill then seldom finds everything synced.
 *
 * An entry is in the journal before its change happens, under one lock for all changes, so that
 * of a killed process at most the last entry has not happened. Entries need no sync: the page
 * cache outlives the process.
 *
 * Not followed, as nothing durable is in it: files that end in `-shm` (SQLite's shared memory).
 * What this library cannot take back is entered as FOREIGN, and the test fails on it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

_Static_assert(sizeof(off_t) == 8, "the 64-bit names are the same functions");

enum kind {
    WRITE = 1,     /* inode, offset, size before; the old and the new bytes */
    RESIZE,        /* inode, offset = size after, size before; the bytes cut off */
    CREATE,        /* path */
    MAKE_FOLDER,   /* path */
    RENAME,        /* path, other path; offset = inode that was replaced, or 0 */
    UNLINK,        /* path, inode */
    REMOVE_FOLDER, /* path */
    SYNC,          /* inode; offset = entries before this number are on the disk */
    SYNC_FOLDER,   /* path; offset as above */
    RESULT,        /* offset = number of an entry that went otherwise; size = bytes that it did */
    FOREIGN,       /* path = what happened that is not followed */
};

struct entry {
    uint64_t kind, number, inode, offset, size, old_length, new_length, path_length, other_length;
};

#define REAL(name)                                                                               \
    static __typeof__(&name) real;                                                               \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define ALIAS(of) __attribute__((alias(#of)))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX], held[PATH_MAX];
static size_t root_length;
static dev_t device;
static int journal = -1;
static bool deaf;
static long delay_ms;
static uint64_t next_number = 1;

/* The files that were touched. `reader` is opened when it is needed and never closed: closing any
 * descriptor of a file would drop the POSIX locks that SQLite has on it. */
struct file {
    uint64_t inode;
    int reader;
};
static struct file *files;
static size_t file_count, file_room;

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "unsynced: %s: %s\n", what, strerror(errno));
    abort();
}

__attribute__((constructor)) static void begin(void)
{
    const char *watched = getenv("POWER_LOSS_ROOT"), *folder = getenv("POWER_LOSS_JOURNAL");
    if (!watched || !folder) return;
    char path[PATH_MAX];
    struct stat st;
    if (!realpath(watched, root) || stat(root, &st)) give_up(watched);
    root_length = strlen(root);
    device = st.st_dev;
    deaf = getenv("POWER_LOSS_IGNORE_SYNCS") != NULL;
    const char *delay = getenv("POWER_LOSS_SYNC_MS");
    delay_ms = delay ? atol(delay) : 0;
    snprintf(held, sizeof held, "%s/held", folder);
    if (mkdir(held, 0700)) give_up(held);
    snprintf(path, sizeof path, "%s/journal", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) give_up(path);
    /* A process that this one starts must not write into the same journal. */
    unsetenv("POWER_LOSS_ROOT");
    unsetenv("LD_PRELOAD");
    journal = fd;
}

/* The journal. All with the lock held. */

static void append(const void *bytes, size_t length)
{
    REAL(write);
    const char *at = bytes;
    while (length) {
        ssize_t done = real(journal, at, length);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) give_up("the journal");
        at += done;
        length -= (size_t)done;
    }
}

static uint64_t enter(struct entry entry, const char *path, const char *other, const void *old,
                      const struct iovec *new, int parts)
{
    entry.number = next_number++;
    entry.path_length = path ? strlen(path) : 0;
    entry.other_length = other ? strlen(other) : 0;
    for (int i = 0; i < parts; i++) entry.new_length += new[i].iov_len;
    append(&entry, sizeof entry);
    append(path, entry.path_length);
    append(other, entry.other_length);
    append(old, entry.old_length);
    for (int i = 0; i < parts; i++) append(new[i].iov_base, new[i].iov_len);
    return entry.number;
}

static uint64_t enter_name(enum kind kind, const char *path)
{
    return enter((struct entry){.kind = kind}, path, NULL, NULL, NULL, 0);
}

static void enter_result(uint64_t number, size_t done)
{
    int error = errno;
    struct entry entry = {.kind = RESULT, .offset = number, .size = done};
    enter(entry, NULL, NULL, NULL, NULL, 0);
    errno = error;
}

static void enter_foreign(const char *what)
{
    pthread_mutex_lock(&lock);
    enter_name(FOREIGN, what);
    pthread_mutex_unlock(&lock);
}

static struct file *find(uint64_t inode)
{
    for (size_t i = 0; i < file_count; i++)
        if (files[i].inode == inode) return &files[i];
    return NULL;
}

static void hold(const char *path, uint64_t inode)
{
    if (find(inode)) return;
    char link_path[PATH_MAX + 32];
    snprintf(link_path, sizeof link_path, "%s/%llu", held, (unsigned long long)inode);
    REAL(linkat);
    if (real(AT_FDCWD, path, AT_FDCWD, link_path, 0)) give_up(link_path);
    if (file_count == file_room) {
        file_room = file_room ? 2 * file_room : 256;
        files = realloc(files, file_room * sizeof *files);
        if (!files) give_up("no memory");
    }
    files[file_count++] = (struct file){.inode = inode, .reader = -1};
}

/* What is in a file from `offset` on. */
static void *read_old(int fd, uint64_t inode, uint64_t offset, size_t length)
{
    char *bytes = malloc(length ? length : 1);
    if (!bytes) give_up("no memory");
    for (size_t got = 0; got < length;) {
        ssize_t done = fd < 0 ? -1 : pread(fd, bytes + got, length - got, (off_t)(offset + got));
        if (done > 0) {
            got += (size_t)done;
        } else if (done < 0 && (fd < 0 || errno == EBADF)) {
            struct file *file = find(inode);
            if (file->reader < 0) {
                char path[PATH_MAX + 32];
                snprintf(path, sizeof path, "%s/%llu", held, (unsigned long long)inode);
                file->reader = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
                if (file->reader < 0) give_up(path);
            }
            fd = file->reader;
        } else if (!(done < 0 && errno == EINTR)) {
            give_up("what is overwritten cannot be read");
        }
    }
    return bytes;
}

/* Paths */

/* The absolute path of what is named, if it is below the folder and followed. */
static bool locate(int folder, const char *path, char out[PATH_MAX])
{
    if (journal < 0 || !path || !*path) return false;
    int error = errno;
    char whole[2 * PATH_MAX], parent[PATH_MAX], link[64];
    if (*path == '/') {
        snprintf(whole, sizeof whole, "%s", path);
    } else {
        char base[PATH_MAX];
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(folder == AT_FDCWD ? "/proc/self/cwd" : link, base, sizeof base - 1);
        if (length < 0) give_up(path);
        snprintf(whole, sizeof whole, "%.*s/%s", (int)length, base, path);
    }
    size_t length = strlen(whole);
    while (length > 1 && whole[length - 1] == '/') whole[--length] = 0;
    char *name = strrchr(whole, '/');
    *name++ = 0;
    bool below = realpath(*whole ? whole : "/", parent) && !strncmp(parent, root, root_length)
        && (parent[root_length] == '/' || !parent[root_length])
        && strlen(parent) + strlen(name) + 2 <= PATH_MAX;
    size_t ends = strlen(name);
    if (below && ends >= 4 && !strcmp(name + ends - 4, "-shm")) below = false;
    if (below) {
        strcpy(out, parent);
        strcat(out, "/");
        strcat(out, name);
    }
    errno = error;
    return below;
}

/* Within the folder, as the journal has it. */
static const char *inside(const char *path)
{
    return path[root_length] ? path + root_length + 1 : "";
}

/* Changes of contents */

static bool followed(int fd, struct stat *st)
{
    if (journal < 0 || fd == journal) return false;
    int error = errno;
    bool regular = !fstat(fd, st) && S_ISREG(st->st_mode) && st->st_dev == device;
    errno = error;
    if (!regular) return false;
    pthread_mutex_lock(&lock);
    bool found = find(st->st_ino) != NULL;
    pthread_mutex_unlock(&lock);
    return found;
}

/* Enters a write and keeps the lock for it; 0 for a file that is not followed. An offset below 0
 * is the descriptor's own. */
static uint64_t begin_write(int fd, const struct iovec *parts, int count, off_t offset, size_t *length)
{
    struct stat st;
    if (!followed(fd, &st)) return 0;
    int error = errno;
    pthread_mutex_lock(&lock);
    if (fstat(fd, &st)) give_up("fstat");
    if (fcntl(fd, F_GETFL) & O_APPEND) offset = st.st_size;
    else if (offset < 0) offset = lseek(fd, 0, SEEK_CUR);
    *length = 0;
    for (int i = 0; i < count; i++) *length += parts[i].iov_len;
    size_t old_length = 0;
    if (offset < st.st_size) {
        old_length = (size_t)(st.st_size - offset);
        if (old_length > *length) old_length = *length;
    }
    void *old = read_old(fd, st.st_ino, (uint64_t)offset, old_length);
    struct entry entry = {.kind = WRITE, .inode = st.st_ino, .offset = (uint64_t)offset,
                          .size = (uint64_t)st.st_size, .old_length = old_length};
    uint64_t number = enter(entry, NULL, NULL, old, parts, count);
    free(old);
    errno = error;
    return number;
}

static void end_write(uint64_t number, size_t length, ssize_t done)
{
    if (done < 0 || (size_t)done != length) enter_result(number, done < 0 ? 0 : (size_t)done);
    pthread_mutex_unlock(&lock);
}

#define WRITES(fd, parts, count, offset, call)                                                   \
    size_t length;                                                                               \
    uint64_t number = begin_write(fd, parts, count, offset, &length);                            \
    ssize_t done = call;                                                                         \
    if (number) end_write(number, length, done);                                                 \
    return done

ssize_t write(int fd, const void *bytes, size_t size)
{
    REAL(write);
    struct iovec part = {(void *)bytes, size};
    WRITES(fd, &part, 1, -1, real(fd, bytes, size));
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    REAL(pwrite);
    struct iovec part = {(void *)bytes, size};
    WRITES(fd, &part, 1, offset, real(fd, bytes, size, offset));
}
ssize_t pwrite64(int, const void *, size_t, off64_t) ALIAS(pwrite);

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(writev);
    WRITES(fd, parts, count, -1, real(fd, parts, count));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    REAL(pwritev);
    WRITES(fd, parts, count, offset, real(fd, parts, count, offset));
}
ssize_t pwritev64(int, const struct iovec *, int, off64_t) ALIAS(pwritev);

/* Enters a change of the size. With the lock held. */
static uint64_t enter_size(int fd, const struct stat *st, off_t size)
{
    size_t cut = size < st->st_size ? (size_t)(st->st_size - size) : 0;
    void *old = read_old(fd, st->st_ino, (uint64_t)size, cut);
    struct entry entry = {.kind = RESIZE, .inode = st->st_ino, .offset = (uint64_t)size,
                          .size = (uint64_t)st->st_size, .old_length = cut};
    uint64_t number = enter(entry, NULL, NULL, old, NULL, 0);
    free(old);
    return number;
}

int ftruncate(int fd, off_t size)
{
    REAL(ftruncate);
    struct stat st;
    if (!followed(fd, &st)) return real(fd, size);
    pthread_mutex_lock(&lock);
    if (fstat(fd, &st)) give_up("fstat");
    uint64_t number = enter_size(fd, &st, size);
    int result = real(fd, size);
    if (result) enter_result(number, 0);
    pthread_mutex_unlock(&lock);
    return result;
}
int ftruncate64(int, off64_t) ALIAS(ftruncate);

/* Syncs. Those that run do not hold up writes; what is written meanwhile does not count as synced. */

static int synced(int fd, int (*real)(int))
{
    struct stat st;
    bool folder = false, file = followed(fd, &st);
    char path[PATH_MAX], link[64];
    if (!file && journal >= 0 && !fstat(fd, &st) && S_ISDIR(st.st_mode)) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, path, sizeof path - 1);
        path[length < 0 ? 0 : length] = 0;
        folder = !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
    }
    pthread_mutex_lock(&lock);
    uint64_t before = next_number;
    pthread_mutex_unlock(&lock);
    struct timespec delay = {.tv_nsec = delay_ms * 1000000};
    if (file || folder) nanosleep(&delay, NULL);
    int result = real(fd);
    if (result || deaf || !(file || folder)) return result;
    pthread_mutex_lock(&lock);
    struct entry entry = {.kind = file ? SYNC : SYNC_FOLDER, .inode = st.st_ino, .offset = before};
    enter(entry, folder ? inside(path) : NULL, NULL, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd)
{
    REAL(fsync);
    return synced(fd, real);
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    return synced(fd, real);
}

/* Names */

static int open_at(int folder, const char *path, int flags, mode_t mode)
{
    REAL(openat);
    char whole[PATH_MAX];
    bool writes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
    if (!writes || !locate(folder, path, whole)) return real(folder, path, flags, mode);
    if (flags & O_DSYNC || (flags & O_TMPFILE) == O_TMPFILE) enter_foreign("open with O_SYNC or O_TMPFILE");
    pthread_mutex_lock(&lock);
    struct stat st;
    uint64_t number = 0;
    int error = errno;
    bool there = !lstat(whole, &st);
    if (!there && flags & O_CREAT) {
        number = enter_name(CREATE, inside(whole));
    } else if (there && S_ISREG(st.st_mode)) {
        hold(whole, st.st_ino);
        if (flags & O_TRUNC && st.st_size) number = enter_size(-1, &st, 0);
    } else if (there && S_ISLNK(st.st_mode)) {
        enter_name(FOREIGN, "open through a symbolic link");
    }
    errno = error;
    int fd = real(folder, path, flags, mode);
    if (fd < 0) {
        if (number) enter_result(number, 0);
    } else if (!there) {
        if (fstat(fd, &st)) give_up(whole);
        hold(whole, st.st_ino);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE(flags)                                                                              \
    mode_t mode = 0;                                                                             \
    if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) {                                   \
        va_list more;                                                                            \
        va_start(more, flags);                                                                   \
        mode = va_arg(more, mode_t);                                                             \
        va_end(more);                                                                            \
    }

int open(const char *path, int flags, ...)
{
    MODE(flags)
    return open_at(AT_FDCWD, path, flags, mode);
}
int open64(const char *, int, ...) ALIAS(open);

int openat(int folder, const char *path, int flags, ...)
{
    MODE(flags)
    return open_at(folder, path, flags, mode);
}
int openat64(int, const char *, int, ...) ALIAS(openat);

int creat(const char *path, mode_t mode)
{
    return open_at(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}
int creat64(const char *, mode_t) ALIAS(creat);

/* Makes a change of names that was entered. With the lock held, which is given back. */
static int end_name(uint64_t number, int result)
{
    if (result) enter_result(number, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    REAL(mkdir);
    char whole[PATH_MAX];
    if (!locate(AT_FDCWD, path, whole)) return real(path, mode);
    pthread_mutex_lock(&lock);
    uint64_t number = enter_name(MAKE_FOLDER, inside(whole));
    return end_name(number, real(path, mode));
}

int rmdir(const char *path)
{
    REAL(rmdir);
    char whole[PATH_MAX];
    if (!locate(AT_FDCWD, path, whole)) return real(path);
    pthread_mutex_lock(&lock);
    uint64_t number = enter_name(REMOVE_FOLDER, inside(whole));
    return end_name(number, real(path));
}

int unlink(const char *path)
{
    REAL(unlink);
    char whole[PATH_MAX];
    struct stat st;
    if (!locate(AT_FDCWD, path, whole) || lstat(whole, &st)) return real(path);
    pthread_mutex_lock(&lock);
    hold(whole, st.st_ino);
    struct entry entry = {.kind = UNLINK, .inode = st.st_ino};
    uint64_t number = enter(entry, inside(whole), NULL, NULL, NULL, 0);
    return end_name(number, real(path));
}

int rename(const char *from, const char *to)
{
    REAL(rename);
    char source[PATH_MAX], target[PATH_MAX];
    bool out = locate(AT_FDCWD, from, source), in = locate(AT_FDCWD, to, target);
    struct stat st, replaced;
    if ((!out && !in) || lstat(from, &st)) return real(from, to);
    if (out != in || !S_ISREG(st.st_mode)) {
        enter_foreign("rename of a folder, or into or out of the folder");
        return real(from, to);
    }
    pthread_mutex_lock(&lock);
    hold(source, st.st_ino);
    struct entry entry = {.kind = RENAME, .inode = st.st_ino};
    if (!lstat(target, &replaced)) {
        hold(target, replaced.st_ino);
        entry.offset = replaced.st_ino;
    }
    uint64_t number = enter(entry, inside(source), inside(target), NULL, NULL, 0);
    return end_name(number, real(from, to));
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    REAL(linkat);
    char source[PATH_MAX], target[PATH_MAX];
    if (!locate(to_folder, to, target)) return real(from_folder, from, to_folder, to, flags);
    struct stat st;
    pthread_mutex_lock(&lock);
    if (locate(from_folder, from, source) && !lstat(source, &st)) hold(source, st.st_ino);
    else enter_name(FOREIGN, "a link to a file outside");
    uint64_t number = enter_name(CREATE, inside(target));
    return end_name(number, real(from_folder, from, to_folder, to, flags));
}

int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* What cannot be taken back */

#define FOREIGN_FILE(name, fd)                                                                   \
    struct stat st;                                                                              \
    if (followed(fd, &st)) enter_foreign(name)
#define FOREIGN_PATH(name, folder, path)                                                         \
    char whole[PATH_MAX];                                                                        \
    if (locate(folder, path, whole)) enter_foreign(name)

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    REAL(fallocate);
    FOREIGN_FILE("fallocate", fd);
    return real(fd, mode, offset, length);
}
int fallocate64(int, int, off64_t, off64_t) ALIAS(fallocate);

int posix_fallocate(int fd, off_t offset, off_t length)
{
    REAL(posix_fallocate);
    FOREIGN_FILE("posix_fallocate", fd);
    return real(fd, offset, length);
}
int posix_fallocate64(int, off64_t, off64_t) ALIAS(posix_fallocate);

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    REAL(pwritev2);
    FOREIGN_FILE("pwritev2", fd);
    return real(fd, parts, count, offset, flags);
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t size, unsigned flags)
{
    REAL(copy_file_range);
    FOREIGN_FILE("copy_file_range", to);
    return real(from, from_at, to, to_at, size, flags);
}

ssize_t sendfile(int to, int from, off_t *offset, size_t size)
{
    REAL(sendfile);
    FOREIGN_FILE("sendfile", to);
    return real(to, from, offset, size);
}
ssize_t sendfile64(int, int, off64_t *, size_t) ALIAS(sendfile);

ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t size, unsigned flags)
{
    REAL(splice);
    FOREIGN_FILE("splice", to);
    return real(from, from_at, to, to_at, size, flags);
}

int truncate(const char *path, off_t size)
{
    REAL(truncate);
    FOREIGN_PATH("truncate", AT_FDCWD, path);
    return real(path, size);
}
int truncate64(const char *, off64_t) ALIAS(truncate);

int symlink(const char *to, const char *path)
{
    REAL(symlink);
    FOREIGN_PATH("symlink", AT_FDCWD, path);
    return real(to, path);
}

int mkdirat(int folder, const char *path, mode_t mode)
{
    REAL(mkdirat);
    FOREIGN_PATH("mkdirat", folder, path);
    return real(folder, path, mode);
}

int unlinkat(int folder, const char *path, int flags)
{
    REAL(unlinkat);
    FOREIGN_PATH("unlinkat", folder, path);
    return real(folder, path, flags);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    REAL(renameat);
    FOREIGN_PATH("renameat", to_folder, to);
    return real(from_folder, from, to_folder, to);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    REAL(renameat2);
    FOREIGN_PATH("renameat2", to_folder, to);
    return real(from_folder, from, to_folder, to, flags);
}

FILE *fopen(const char *path, const char *mode)
{
    REAL(fopen);
    if (strpbrk(mode, "wa+")) {
        FOREIGN_PATH("fopen", AT_FDCWD, path);
    }
    return real(path, mode);
}
FILE *fopen64(const char *, const char *) ALIAS(fopen);

/* Without dlsym, which may itself need memory from here. */
void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    if (fd >= 0 && (flags & MAP_TYPE) != MAP_PRIVATE && protection & PROT_WRITE) {
        FOREIGN_FILE("mmap", fd);
    }
    return (void *)syscall(SYS_mmap, at, length, protection, flags, fd, offset);
}
void *mmap64(void *, size_t, int, int, int, off64_t) ALIAS(mmap);
