/* What the C tests share: cases with names, and checks that say where they failed. A program of cases is run once for
 * each case, on Debian's library and on ours; see tests/capi.rs. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Longest that a case may take; all of them are far quicker, but a machine may be busy, or valgrind may watch. */
#define PATIENCE_SECONDS 120

#define CHECK(condition)                                                                                              \
	do {                                                                                                          \
		if (!(condition)) {                                                                                   \
			fprintf(stderr, "%s:%d: %s: not so: %s\n", __FILE__, __LINE__, __func__, #condition);         \
			_exit(1);                                                                                     \
		}                                                                                                     \
	} while (0)

#define CHECK_INT(actual, expected)                                                                                   \
	do {                                                                                                          \
		long long actual_ = (long long)(actual), expected_ = (long long)(expected);                           \
		if (actual_ != expected_) {                                                                           \
			fprintf(stderr, "%s:%d: %s: %s is %lld, not %lld\n", __FILE__, __LINE__, __func__, #actual,   \
			    actual_, expected_);                                                                      \
			_exit(1);                                                                                     \
		}                                                                                                     \
	} while (0)

#define CHECK_STR(actual, expected)                                                                                   \
	do {                                                                                                          \
		const char *actual_ = (actual), *expected_ = (expected);                                              \
		if (actual_ == NULL || strcmp(actual_, expected_) != 0) {                                             \
			fprintf(stderr, "%s:%d: %s: %s is \"%s\", not \"%s\"\n", __FILE__, __LINE__, __func__,        \
			    #actual, actual_ ? actual_ : "(null)", expected_);                                        \
			_exit(1);                                                                                     \
		}                                                                                                     \
	} while (0)

struct test_case {
	const char *name;
	void (*run)(void);
};

/* A program ends with CASES(one, two, three): functions of those names. */
#define CASE_ROW(name) { #name, name }
#define CASES_END { NULL, NULL }

/* Whether the library under test is zerovent. Where it differs from libevent on purpose, the case says why. */
static inline int
is_zerovent(void)
{
	const char *name = getenv("LIBRARY_UNDER_TEST");
	return name != NULL && strcmp(name, "zerovent") == 0;
}

/* No test means anything unless it ran on the library that it was meant for, and on that alone. */
static inline void
check_library(void)
{
	char line[4096];
	int ours = 0, theirs = 0;
	FILE *maps = fopen("/proc/self/maps", "r");
	CHECK(maps != NULL);
	while (fgets(line, sizeof line, maps) != NULL) {
		ours |= strstr(line, "libzerovent") != NULL;
		theirs |= strstr(line, "/libevent") != NULL;
	}
	fclose(maps);
	CHECK_INT(ours, is_zerovent());
	CHECK_INT(theirs, !is_zerovent());
}

/* Two sockets that are connected and do not block. */
static inline void
make_pair(int pair[2])
{
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
}

static inline int
run_one(const struct test_case *one)
{
	alarm(PATIENCE_SECONDS);
	check_library();
	one->run();
	return 0;
}

/* All of them, each in a child: for valgrind, which takes long to start. */
static inline int
run_all(const struct test_case *cases)
{
	int failed = 0;
	for (; cases->name != NULL; cases++) {
		int status = 0;
		fflush(NULL);
		pid_t child = fork();
		if (child == 0)
			exit(run_one(cases));
		if (waitpid(child, &status, 0) != child || status != 0) {
			fprintf(stderr, "%s failed: %x\n", cases->name, status);
			failed = 1;
		}
	}
	return failed;
}

static inline int
run_case(const struct test_case *cases, int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "all") == 0)
		return run_all(cases);
	for (; cases->name != NULL; cases++) {
		if (argc == 1)
			puts(cases->name);
		else if (strcmp(cases->name, argv[1]) == 0)
			return run_one(cases);
	}
	return argc == 1 ? 0 : 2;
}

#define MAIN(...)                                                                                                     \
	int main(int argc, char **argv)                                                                               \
	{                                                                                                             \
		static const struct test_case cases[] = { __VA_ARGS__, CASES_END };                                   \
		return run_case(cases, argc, argv);                                                                   \
	}

#endif
