/* Operations of buffers of a program's own, for the comparison of the two libraries: does the one that its first argument names as often
 * as the second says, and prints how many nanoseconds of the processor's that took. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/buffer.h>

static struct evbuffer *buf, *other;
static char data[4096];

static void
add_drain(void)
{
	evbuffer_add(buf, data, 64);
	evbuffer_drain(buf, 64);
}

static void
add_ten(void)
{
	int i;
	for (i = 0; i < 10; i++)
		evbuffer_add(buf, data, 100);
	evbuffer_drain(buf, 1000);
}

static void
add_remove(void)
{
	char target[1024];
	evbuffer_add(buf, data, sizeof(target));
	evbuffer_remove(buf, target, sizeof(target));
}

static void
reserve_one(void)
{
	struct evbuffer_iovec space;
	evbuffer_reserve_space(buf, 1024, &space, 1);
	space.iov_len = 1024;
	evbuffer_commit_space(buf, &space, 1);
	evbuffer_drain(buf, 1024);
}

static void
reserve_two(void)
{
	struct evbuffer_iovec space[2];
	size_t left = 4096;
	int i, count = evbuffer_reserve_space(buf, 4096, space, 2);
	for (i = 0; i < count; i++) {
		if (space[i].iov_len > left)
			space[i].iov_len = left;
		left -= space[i].iov_len;
	}
	evbuffer_commit_space(buf, space, count);
	evbuffer_drain(buf, 4096);
}

static void
ignore(const void *memory, size_t len, void *arg)
{
	(void)memory, (void)len, (void)arg;
}

static void
add_reference(void)
{
	evbuffer_add_reference(buf, data, 1024, ignore, NULL);
	evbuffer_drain(buf, 1024);
}

static void
add_constant(void)
{
	evbuffer_add_reference(buf, data, 1024, NULL, NULL);
	evbuffer_drain(buf, 1024);
}

static void
new_free(void)
{
	evbuffer_free(evbuffer_new());
}

static void
new_add_free(void)
{
	struct evbuffer *fresh = evbuffer_new();
	evbuffer_add(fresh, data, 100);
	evbuffer_free(fresh);
}

static void
pullup(void)
{
	evbuffer_add(buf, data, 100);
	evbuffer_get_length(buf);
	evbuffer_pullup(buf, -1);
	evbuffer_drain(buf, 100);
}

static void
peek(void)
{
	struct evbuffer_iovec runs[4];
	evbuffer_add(buf, data, 100);
	evbuffer_peek(buf, -1, NULL, runs, 4);
	evbuffer_drain(buf, 100);
}

static void
read_line(void)
{
	evbuffer_add(buf, "GET / HTTP/1.1\r\n", 16);
	free(evbuffer_readln(buf, NULL, EVBUFFER_EOL_CRLF));
}

static void
print(void)
{
	evbuffer_add_printf(buf, "%d: %s\r\n", 200, "OK");
	evbuffer_drain(buf, 9);
}

static void
move(void)
{
	evbuffer_add(buf, data, 1024);
	evbuffer_add_buffer(other, buf);
	evbuffer_drain(other, 1024);
}

static const struct {
	const char *name;
	void (*stroke)(void);
} strokes[] = {
	{"add_drain", add_drain}, {"add_ten", add_ten}, {"add_remove", add_remove}, {"reserve_one", reserve_one},
	{"reserve_two", reserve_two}, {"add_reference", add_reference}, {"add_constant", add_constant},
	{"new_free", new_free}, {"new_add_free", new_add_free}, {"pullup", pullup}, {"peek", peek},
	{"read_line", read_line}, {"print", print}, {"move", move},
};

int
main(int argc, char **argv)
{
	size_t i;
	if (argc != 3)
		return 2;
	buf = evbuffer_new();
	other = evbuffer_new();
	for (i = 0; i < sizeof(strokes) / sizeof(strokes[0]); i++) {
		if (strcmp(argv[1], strokes[i].name) == 0) {
			unsigned long left = strtoul(argv[2], NULL, 10);
			struct timespec from, to;
			clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
			while (left-- > 0)
				strokes[i].stroke();
			clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
			printf("%lld\n", (to.tv_sec - from.tv_sec) * 1000000000LL + to.tv_nsec - from.tv_nsec);
			return 0;
		}
	}
	return 2;
}
