/* Callbacks that do not return: the library keeps nothing that would have to be put right. */
#include <pthread.h>
#include <setjmp.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/thread.h>

#include "check.h"

static struct event_base *base;
static struct event leaver, other;
static int calls;
static jmp_buf back;

static const struct timeval soon = { 0, 10000 };

static void
count(evutil_socket_t fd, short what, void *arg)
{
	calls++;
}

static void
silence(int severity, const char *message)
{
}

static void
jump(evutil_socket_t fd, short what, void *arg)
{
	calls++;
	longjmp(back, 1);
}

/* The base counts as running ever after, and can be freed. */
static void
a_callback_may_jump_out_of_the_loop(void)
{
	event_set_log_callback(silence);
	CHECK_INT(evthread_use_pthreads(), 0);
	base = event_base_new();
	event_assign(&leaver, base, -1, EV_PERSIST, jump, NULL);
	event_assign(&other, base, -1, 0, count, NULL);
	event_add(&leaver, &soon);
	event_add(&other, &soon);
	if (setjmp(back) == 0) {
		event_base_dispatch(base);
		CHECK(!"it has jumped");
	}
	CHECK_INT(calls, 1);
	CHECK_INT(event_base_dispatch(base), -1);
	CHECK_INT(event_pending(&leaver, EV_TIMEOUT, NULL), EV_TIMEOUT);
	CHECK_INT(event_del(&leaver), 0);
	CHECK_INT(event_del(&other), 0);
	event_base_free(base);
}

static void
end_thread(evutil_socket_t fd, short what, void *arg)
{
	calls++;
	pthread_exit(&calls);
}

static void *
run_loop(void *arg)
{
	event_base_dispatch(base);
	CHECK(!"the thread has ended");
	return NULL;
}

/* Ending a thread unwinds its stack, as an exception of C++ does. We put the base right on the way; libevent does not, and
 * would wait for ever for the callback to return. */
static void
a_callback_may_unwind(void)
{
	pthread_t thread;
	void *result;
	if (!is_zerovent())
		return;
	event_set_log_callback(silence);
	CHECK_INT(evthread_use_pthreads(), 0);
	base = event_base_new();
	event_assign(&leaver, base, -1, 0, end_thread, NULL);
	event_assign(&other, base, -1, 0, count, NULL);
	event_active(&leaver, EV_READ, 1);
	event_active(&other, EV_READ, 1);
	CHECK_INT(pthread_create(&thread, NULL, run_loop, NULL), 0);
	CHECK_INT(pthread_join(thread, &result), 0);
	CHECK(result == &calls);
	CHECK_INT(event_del(&leaver), 0);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(calls, 2);
	event_base_free(base);
}

MAIN(CASE_ROW(a_callback_may_jump_out_of_the_loop), CASE_ROW(a_callback_may_unwind))
