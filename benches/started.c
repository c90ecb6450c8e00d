// The program that the benchmark has started: it writes down when, and does nothing else.
//
// Compiled twice: program A is linked with the C library statically; program B (-DBARE, x86-64 only) has no C
// library, so that nothing of its start is anything but the kernel's work and ours.
//
// BENCH_RECORD names a file; each record is 40 bytes: nanoseconds (CLOCK_MONOTONIC), pid, kind, name.
// Kind S: started; R: told to reload (byte 1). The name is the second argument, or the last part of the working
// directory. It is loyal at once, and leaves when it is told to stop. With a socket as standard input (on
// demand) it takes one connection and leaves with status 0.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifdef BARE
static long bare(long number, long a, long b, long c) {
	register long fourth __asm__("r10") = 0;
	__asm__ volatile("syscall" : "+a"(number) : "D"(a), "S"(b), "d"(c), "r"(fourth) : "rcx", "r11", "memory");
	return number;
}
#define CALL(number, a, b, c) bare(number, (long)(a), (long)(b), (long)(c))
#else
#define CALL(number, a, b, c) syscall(number, a, b, c, 0L)
#endif

struct record {
	uint64_t ns;
	uint32_t pid;
	uint32_t kind;
	char name[24];
};

static int out;

static void note(const char *name, uint32_t kind, struct timespec now) {
	struct record r = { .ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, .kind = kind };
	r.pid = (uint32_t)CALL(SYS_getpid, 0, 0, 0);
	for (unsigned i = 0; name[i] && i < sizeof r.name - 1; i++) r.name[i] = name[i];
	CALL(SYS_write, out, &r, sizeof r);
}

static const char *variable(char **environment, const char *name) {
	for (; *environment; environment++) {
		unsigned i = 0;
		while (name[i] && (*environment)[i] == name[i]) i++;
		if (!name[i] && (*environment)[i] == '=') return *environment + i + 1;
	}
	return 0;
}

static const char *base(char *path) {
	const char *last = path;
	for (; *path; path++)
		if (*path == '/') last = path + 1;
	return last;
}

static int run(int argc, char **argv, char **environment) {
	struct timespec now;
	static char directory[4096];
	CALL(SYS_clock_gettime, CLOCK_MONOTONIC, &now, 0);
	const char *path = variable(environment, "BENCH_RECORD"), *pipe = variable(environment, "UWSGI_EMPEROR_FD");
	if (!path) return 2;
	out = (int)CALL(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CLOEXEC);
	if (argc < 3) CALL(SYS_getcwd, directory, sizeof directory, 0);
	const char *name = argc < 3 ? base(directory) : argv[2];
	note(name, 'S', now);
	// Not under an Emperor: there is nobody to talk to.
	if (!pipe)
		for (;;) CALL(SYS_ppoll, 0, 0, 0);
	int fd = 0;
	for (; *pipe; pipe++) fd = fd * 10 + (*pipe - '0');
	if (CALL(SYS_write, fd, "\1\5\21", 3) != 3) return 4;
	struct stat st;
	if (!CALL(SYS_fstat, 0, &st, 0) && S_ISSOCK(st.st_mode)) return CALL(SYS_accept, 0, 0, 0) < 0 ? 5 : 0;
	for (;;) {
		char byte;
		long n = CALL(SYS_read, fd, &byte, 1);
		if (n == 1 && byte == 1) {
			CALL(SYS_clock_gettime, CLOCK_MONOTONIC, &now, 0);
			note(name, 'R', now);
		} else if (n <= 0 || byte == 0 || byte == 2) {
			return 0;
		}
	}
}

#ifdef BARE
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");

void begin(long *stack) {
	int argc = (int)stack[0];
	char **argv = (char **)(stack + 1);
	CALL(SYS_exit_group, run(argc, argv, argv + argc + 1), 0, 0);
}
#else
int main(int argc, char **argv, char **environment) {
	return run(argc, argv, environment);
}
#endif
