/* Functions with `...`: what is passed arrives, whatever its kind and number, and the unwinder finds its way through. */
#include <execinfo.h>
#include <pthread.h>
#include <stdint.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/util.h>

#include "check.h"

static void *frames[64];
static int frame_count;

static void
take_frames(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	(void)buf;
	(void)info;
	(void)arg;
	frame_count = backtrace(frames, 64);
}

__attribute__((noinline)) static int
print_something(struct evbuffer *buf)
{
	int result = evbuffer_add_printf(buf, "%d %.2f", 1, 2.0);
	__asm__ volatile("" ::: "memory");
	return result + 1;
}

static void
the_caller_is_in_the_backtrace(void)
{
	struct evbuffer *buf = evbuffer_new();
	uintptr_t caller = (uintptr_t)print_something;
	int i, found = 0;
	evbuffer_add_cb(buf, take_frames, NULL);
	CHECK_INT(print_something(buf), 7);
	for (i = 0; i < frame_count; i++)
		found |= (uintptr_t)frames[i] > caller && (uintptr_t)frames[i] < caller + 200;
	CHECK(found);
	evbuffer_free(buf);
}

static int cleaned_up;

static void
clean_up(void *arg)
{
	cleaned_up += *(int *)arg;
}

static void
leave(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	(void)buf;
	(void)info;
	pthread_exit(arg);
}

static void *
print_and_leave(void *arg)
{
	int one = 1;
	pthread_cleanup_push(clean_up, &one);
	evbuffer_add_printf(arg, "%s", "text");
	pthread_cleanup_pop(0);
	return NULL;
}

/* A thread that ends in a callback unwinds through us. */
static void
a_thread_may_end_in_a_callback(void)
{
	struct evbuffer *buf = evbuffer_new();
	struct evbuffer_cb_entry *entry = evbuffer_add_cb(buf, leave, "left");
	pthread_t thread;
	void *result;
	CHECK_INT(pthread_create(&thread, NULL, print_and_leave, buf), 0);
	CHECK_INT(pthread_join(thread, &result), 0);
	CHECK_STR(result, "left");
	CHECK_INT(cleaned_up, 1);
	evbuffer_remove_cb_entry(buf, entry);
	CHECK_INT(evbuffer_get_length(buf), 4);
	evbuffer_free(buf);
}

#define MANY_INTS 1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12
#define MANY_DOUBLES 1.5, -2.5, 3.5, -4.5, 5.5, -6.5, 7.5, -8.5, 9.5, -10.5, 11.5, -12.5

static void
arguments_of_every_kind_arrive(void)
{
	static const char *formats[] = { "%d %d %d %d %d %d %d %d %d %d %d %d",
		"%.1f %.1f %.1f %.1f %.1f %.1f %.1f %.1f %.1f %.1f %.1f %.1f" };
	char ours[400], theirs[400];
	struct evbuffer *buf = evbuffer_new();
	snprintf(theirs, sizeof theirs, formats[0], MANY_INTS);
	evutil_snprintf(ours, sizeof ours, formats[0], MANY_INTS);
	CHECK_STR(ours, theirs);
	snprintf(theirs, sizeof theirs, formats[1], MANY_DOUBLES);
	evutil_snprintf(ours, sizeof ours, formats[1], MANY_DOUBLES);
	CHECK_STR(ours, theirs);
	snprintf(theirs, sizeof theirs, "%Lf %s %zu %p %c %hhd %lld %*d %-5s|%n", 1.25L, "s", (size_t)7, NULL, 'c', 300,
	    1LL << 40, 6, 7, "ab", &(int) { 0 });
	evutil_snprintf(ours, sizeof ours, "%Lf %s %zu %p %c %hhd %lld %*d %-5s|%n", 1.25L, "s", (size_t)7, NULL, 'c',
	    300, 1LL << 40, 6, 7, "ab", &(int) { 0 });
	CHECK_STR(ours, theirs);
	/* No vector register is in use: the trampoline must not look at them, nor need it. */
	CHECK_INT(evbuffer_add_printf(buf, "nothing"), 7);
	CHECK_INT(evbuffer_add_printf(buf, "%s%s%s%s%s%s%s%s", "a", "b", "c", "d", "e", "f", "g", "h"), 8);
	CHECK(memcmp(evbuffer_pullup(buf, -1), "nothingabcdefgh", 15) == 0);
	evbuffer_free(buf);
}

MAIN(CASE_ROW(the_caller_is_in_the_backtrace), CASE_ROW(a_thread_may_end_in_a_callback),
    CASE_ROW(arguments_of_every_kind_arrive))
