// The limit: the least that a supervisor of this kind can do, against which liege is measured in the same run.
//
// limit DIR PROGRAM: one process for each file NAME.ini of DIR, started by vfork and exec with a socket pair;
// started again when it ends; byte 1 when its file is touched, byte 0 when it is removed or at SIGTERM; a file
// NAME.ini.socket holds the path of a unix socket whose first connection starts it. No error is handled.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 8192

static struct vassal {
	char name[32];
	int pid, pidfd, pipe, listener, gone;
} v[MOST];
static int count;
static const char *dir, *program;
static char **environment;
static sigset_t none;
static int waiting;

// What is waited for: the number of a vassal, or one of these.
enum { SIGNALS = MOST, WATCH };

static void wait_for(int fd, int what) {
	struct epoll_event e = { EPOLLIN, { .u32 = (unsigned)what } };
	epoll_ctl(waiting, EPOLL_CTL_ADD, fd, &e);
}

static void start(struct vassal *it) {
	int pair[2];
	socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
	char *argv[] = { (char *)program, "--ini", it->name, 0 };
	int pid = vfork();
	if (pid == 0) {
		if (it->listener >= 0) dup2(it->listener, 0);
		dup2(pair[1], 3);
		sigprocmask(SIG_SETMASK, &none, 0);
		execve(program, argv, environment);
		_exit(127);
	}
	close(pair[1]);
	it->pipe = pair[0];
	it->pid = pid;
	it->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	wait_for(it->pidfd, (int)(it - v));
}

static void add(const char *name) {
	struct vassal *it = &v[count++];
	snprintf(it->name, sizeof it->name, "%s", name);
	it->listener = it->pipe = it->pidfd = -1;
	char path[512];
	snprintf(path, sizeof path, "%s/%s.socket", dir, name);
	FILE *f = fopen(path, "r");
	if (f) {
		struct sockaddr_un a = { .sun_family = AF_UNIX };
		if (fscanf(f, "%100s", a.sun_path) != 1) exit(2);
		fclose(f);
		it->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		bind(it->listener, (struct sockaddr *)&a, sizeof a);
		listen(it->listener, 100);
		wait_for(it->listener, count - 1);
	} else {
		start(it);
	}
}

static int is_vassal(const char *name) {
	size_t n = strlen(name);
	return n > 4 && !strcmp(name + n - 4, ".ini");
}

static struct vassal *find(const char *name) {
	for (int i = 0; i < count; i++)
		if (!v[i].gone && !strcmp(v[i].name, name)) return &v[i];
	return 0;
}

static void event(struct inotify_event *e) {
	struct vassal *it = find(e->name);
	if (!is_vassal(e->name)) return;
	if (e->mask & IN_MOVED_TO && !it) add(e->name);
	if (e->mask & IN_ATTRIB && it) (void)!write(it->pipe, "\1", 1);
	if (e->mask & IN_DELETE && it) {
		it->gone = 1;
		(void)!write(it->pipe, "", 1);
	}
}

static void changes(int watch) {
	char buffer[65536] __attribute__((aligned(8)));
	ssize_t n = read(watch, buffer, sizeof buffer);
	for (char *at = buffer; at < buffer + n; at += sizeof(struct inotify_event) + ((struct inotify_event *)at)->len)
		event((struct inotify_event *)at);
}

// Its process has ended, or there is a connection for it.
static void happened(struct vassal *it) {
	if (it->pidfd < 0) {
		epoll_ctl(waiting, EPOLL_CTL_DEL, it->listener, 0);
		start(it);
		return;
	}
	waitpid(it->pid, 0, 0);
	close(it->pidfd);
	close(it->pipe);
	it->pidfd = -1;
	if (it->listener >= 0) wait_for(it->listener, (int)(it - v));
	else if (!it->gone) start(it);
}

int main(int argc, char **argv) {
	if (argc < 3) return 2;
	dir = argv[1];
	program = argv[2];
	char record[512];
	snprintf(record, sizeof record, "BENCH_RECORD=%s", getenv("BENCH_RECORD"));
	char *e[] = { record, "UWSGI_EMPEROR_FD=3", 0 };
	environment = e;
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	// Number 3 is the vassal's end of the pair; nothing of ours may be there.
	open("/dev/null", O_RDONLY);
	sigset_t set;
	sigemptyset(&none);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, 0);
	waiting = epoll_create1(EPOLL_CLOEXEC);
	int signals = signalfd(-1, &set, SFD_CLOEXEC), watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	inotify_add_watch(watch, dir, IN_MOVED_TO | IN_ATTRIB | IN_DELETE);
	DIR *d = opendir(dir);
	for (struct dirent *f; (f = readdir(d));)
		if (is_vassal(f->d_name)) add(f->d_name);
	closedir(d);

	wait_for(signals, SIGNALS);
	wait_for(watch, WATCH);
	for (int stop = 0; !stop;) {
		struct epoll_event ready[64];
		int n = epoll_wait(waiting, ready, 64, -1);
		for (int i = 0; i < n; i++) {
			unsigned what = ready[i].data.u32;
			if (what == SIGNALS) stop = 1;
			else if (what == WATCH) changes(watch);
			else happened(&v[what]);
		}
	}
	for (int i = 0; i < count; i++)
		if (v[i].pidfd >= 0) (void)!write(v[i].pipe, "", 1);
	for (int i = 0; i < count; i++)
		if (v[i].pidfd >= 0) waitpid(v[i].pid, 0, 0);
	return 0;
}
