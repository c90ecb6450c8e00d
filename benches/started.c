// The program that the benchmark has started: it writes down when, and does nothing else.
//
// BENCH_RECORD names a file; each record is 40 bytes: nanoseconds (CLOCK_MONOTONIC), pid, kind, name.
// Kind S: started; R: told to reload (byte 1). It is loyal at once, and leaves when it is told to stop.
// With a socket as standard input (on demand) it takes one connection and leaves with status 0.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct record {
	uint64_t ns;
	uint32_t pid;
	uint32_t kind;
	char name[24];
};

static int out;

static void note(const char *name, char kind, struct timespec now) {
	struct record r = { (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec, (uint32_t)getpid(), (uint32_t)kind, { 0 } };
	strncpy(r.name, name, sizeof r.name - 1);
	if (write(out, &r, sizeof r) != sizeof r) _exit(3);
}

int main(int argc, char **argv) {
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	const char *path = getenv("BENCH_RECORD"), *pipe = getenv("UWSGI_EMPEROR_FD");
	if (!path || !pipe) return 2;
	out = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	const char *name = argc > 2 ? argv[2] : "?";
	note(name, 'S', now);
	int fd = atoi(pipe);
	if (write(fd, "\1\5\21", 3) != 3) return 4;
	struct stat st;
	if (!fstat(0, &st) && S_ISSOCK(st.st_mode)) {
		int client = accept(0, 0, 0);
		return client < 0 ? 5 : 0;
	}
	for (;;) {
		char byte;
		ssize_t n = read(fd, &byte, 1);
		if (n == 1 && byte == 1) {
			clock_gettime(CLOCK_MONOTONIC, &now);
			note(name, 'R', now);
		} else if (n <= 0 || byte == 0 || byte == 2) {
			return 0;
		}
	}
}
