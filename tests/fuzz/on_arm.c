/* What newlib needs of a system, for a program of a Cortex-M4 that qemu-arm runs as one of Linux. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void _exit(int);

enum { EXIT = 1, READ = 3, WRITE = 4, OPEN = 5, CLOSE = 6, LSEEK = 19, ROOM = 64 << 20 };

static long call(long number, long a, long b, long c) {
    register long r7 __asm__("r7") = number;
    register long r0 __asm__("r0") = a;
    register long r1 __asm__("r1") = b;
    register long r2 __asm__("r2") = c;
    __asm__ volatile("svc 0" : "+r"(r0) : "r"(r1), "r"(r2), "r"(r7) : "memory");
    return r0;
}

static long told(long found) {
    if (found >= 0 || found < -4095) return found;
    errno = (int)-found;
    return -1;
}

int _read(int file, char *into, int bytes) { return (int)told(call(READ, file, (long)into, bytes)); }
int _write(int file, const char *from, int bytes) { return (int)told(call(WRITE, file, (long)from, bytes)); }
int _open(const char *path, int flags, int mode) { return (int)told(call(OPEN, (long)path, flags & 3, mode)); } /* as Linux has them */
int _close(int file) { return (int)told(call(CLOSE, file, 0, 0)); }
int _lseek(int file, int offset, int whence) { return (int)told(call(LSEEK, file, offset, whence)); }
int _isatty(int file) { return file < 3; }
int _getpid(void) { return 1; }
int _kill(int process, int signal) { return process == signal ? 0 : -1; }

int _fstat(int file, struct stat *found) {
    memset(found, 0, sizeof *found);
    found->st_mode = file < 3 ? S_IFCHR : S_IFREG;
    return 0;
}

void _exit(int code) {
    for (;;) call(EXIT, code, 0, 0);
}

void *_sbrk(int bytes) {
    static char room[ROOM];
    static int used;
    if (bytes > ROOM - used) {
        errno = ENOMEM;
        return (void *)-1;
    }
    used += bytes;
    return room + used - bytes;
}

int main(int, char **);
void begin(long *stack);

void begin(long *stack) {
    int code = main((int)stack[0], (char **)(stack + 1));
    fflush(NULL);
    _exit(code);
}

__attribute__((naked)) void _start(void) { __asm__ volatile("mov r0, sp\n b begin"); }
