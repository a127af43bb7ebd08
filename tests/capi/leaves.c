/* Callbacks that do not return: the library keeps nothing that would have to be put right. */
#include <pthread.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <setjmp.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>
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

static int fds[2], cleaned;

static void
begin(void)
{
	event_set_log_callback(silence);
	CHECK_INT(evthread_use_pthreads(), 0);
	base = event_base_new();
	CHECK_INT(evutil_socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	CHECK_INT(write(fds[1], "x", 1), 1);
}

static void
end_thread_of_bufferevent(struct bufferevent *bev, void *arg)
{
	calls++;
	pthread_exit(&calls);
}

static void
end_thread_of_listener(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int len, void *arg)
{
	calls++;
	close(fd);
	pthread_exit(&calls);
}

/* Nothing stays held: whoever frees it closes its descriptor. libevent keeps the lock and a reference. */
static void
what_unwinds_can_be_freed(void)
{
	pthread_t thread;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof address;
	struct bufferevent *bev;
	struct evconnlistener *listener;
	int client, socket_fd;
	if (!is_zerovent())
		return;
	begin();
	bev = bufferevent_socket_new(base, fds[0], BEV_OPT_CLOSE_ON_FREE | BEV_OPT_THREADSAFE);
	bufferevent_setcb(bev, end_thread_of_bufferevent, NULL, NULL, NULL);
	bufferevent_enable(bev, EV_READ);
	CHECK_INT(pthread_create(&thread, NULL, run_loop, NULL), 0);
	CHECK_INT(pthread_join(thread, NULL), 0);
	bufferevent_free(bev);
	CHECK_INT(fcntl(fds[0], F_GETFD), -1);
	listener = evconnlistener_new_bind(base, end_thread_of_listener, NULL, LEV_OPT_CLOSE_ON_FREE, -1, (void *)&address, sizeof address);
	socket_fd = evconnlistener_get_fd(listener);
	CHECK_INT(getsockname(socket_fd, (void *)&address, &len), 0);
	client = socket(AF_INET, SOCK_STREAM, 0);
	CHECK_INT(connect(client, (void *)&address, len), 0);
	CHECK_INT(pthread_create(&thread, NULL, run_loop, NULL), 0);
	CHECK_INT(pthread_join(thread, NULL), 0);
	evconnlistener_free(listener);
	CHECK_INT(fcntl(socket_fd, F_GETFD), -1);
	CHECK_INT(calls, 2);
	close(client);
	close(fds[1]);
	event_base_free(base);
}

static void
jump_of_bufferevent(struct bufferevent *bev, void *arg)
{
	longjmp(back, 1);
}

static void
jump_of_buffer(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	calls++;
	longjmp(back, 1);
}

static void
jump_of_reference(const void *data, size_t len, void *arg)
{
	cleaned++;
	longjmp(back, 1);
}

static enum bufferevent_filter_result
jump_of_filter(struct evbuffer *from, struct evbuffer *to, ev_ssize_t limit, enum bufferevent_flush_mode mode, void *arg)
{
	calls++;
	longjmp(back, 1);
}

static void
count_reference(const void *data, size_t len, void *arg)
{
	cleaned++;
}

/* Buffers can be used on, and freed. */
static void
callbacks_of_buffers_may_jump(void)
{
	/* What is lost of a handle stays in sight. */
	static struct evbuffer *buf, *to;
	static struct evbuffer_cb_entry *entry;
	buf = evbuffer_new();
	to = evbuffer_new();
	entry = evbuffer_add_cb(buf, jump_of_buffer, NULL);
	if (setjmp(back) == 0)
		evbuffer_add(buf, "abc", 3);
	if (setjmp(back) == 0)
		evbuffer_add_buffer(to, buf);
	if (setjmp(back) == 0)
		evbuffer_add_buffer(buf, to);
	evbuffer_remove_cb_entry(buf, entry);
	CHECK_INT(calls, 3);
	CHECK_INT(evbuffer_get_length(buf), 3);
	CHECK_INT(evbuffer_drain(buf, 3), 0);
	if (is_zerovent()) {
		/* libevent calls them in the middle of its work. */
		evbuffer_add_reference(buf, "lent", 4, jump_of_reference, NULL);
		evbuffer_add_reference(buf, "more", 4, count_reference, NULL);
		if (setjmp(back) == 0)
			evbuffer_drain(buf, 8);
		CHECK_INT(evbuffer_get_length(buf), 0);
		evbuffer_add_reference(buf, "lent", 4, jump_of_reference, NULL);
		if (setjmp(back) == 0)
			evbuffer_free(buf);
		CHECK_INT(cleaned, 3);
	} else
		evbuffer_free(buf);
	evbuffer_free(to);
}

/* It is as with libevent: the base counts as running, and a reference of the loop's is lost, but nothing breaks. */
static void
callbacks_of_bufferevents_may_jump(void)
{
	static struct bufferevent *bev, *filter, *pair[2];
	begin();
	bev = bufferevent_socket_new(base, fds[0], 0);
	bufferevent_setcb(bev, jump_of_bufferevent, NULL, NULL, NULL);
	bufferevent_enable(bev, EV_READ);
	CHECK_INT(bufferevent_pair_new(base, 0, pair), 0);
	filter = bufferevent_filter_new(pair[0], NULL, jump_of_filter, 0, NULL, NULL);
	bufferevent_enable(filter, EV_WRITE);
	if (setjmp(back) == 0)
		bufferevent_write(filter, "x", 1);
	CHECK_INT(calls, 1);
	if (setjmp(back) == 0) {
		event_base_dispatch(base);
		CHECK(!"it has jumped");
	}
	bufferevent_setcb(bev, NULL, NULL, NULL, NULL);
	CHECK_INT(bufferevent_write(bev, "y", 1), 0);
	CHECK_INT(evbuffer_get_length(bufferevent_get_input(bev)), 1);
	CHECK_INT(event_base_dispatch(base), -1);
}

/* A frame that was jumped over gives back what it kept of a buffer as soon as the thread comes by: nothing is lost, however often. */
static void
jumping_costs_no_memory(void)
{
	static struct evbuffer *buf;
	static volatile int i;
	static volatile size_t before;
	size_t after;
	if (!is_zerovent())
		return;
	for (i = 0; i < 2000; i++) {
		if (i == 100)
			before = mallinfo2().uordblks;
		buf = evbuffer_new();
		evbuffer_add_cb(buf, jump_of_buffer, NULL);
		if (setjmp(back) == 0)
			evbuffer_add(buf, "abc", 3);
		evbuffer_free(buf);
	}
	after = mallinfo2().uordblks;
	CHECK_INT(calls, 2000);
	CHECK(after < before + 50000);
}

static int jumps_left;

static enum bufferevent_filter_result
jump_or_pass(struct evbuffer *from, struct evbuffer *to, ev_ssize_t limit, enum bufferevent_flush_mode mode, void *arg)
{
	calls++;
	if (jumps_left-- > 0)
		longjmp(back, 1);
	evbuffer_remove_buffer(from, to, 1000);
	return BEV_OK;
}

/* It is not taken to be at work ever after, as it is with libevent, which has stopped listening to its output. */
static void
a_filter_works_on_after_a_jump(void)
{
	static struct bufferevent *pair[2], *filter;
	if (!is_zerovent())
		return;
	begin();
	CHECK_INT(bufferevent_pair_new(base, 0, pair), 0);
	bufferevent_enable(pair[1], EV_READ | EV_WRITE);
	filter = bufferevent_filter_new(pair[0], jump_or_pass, jump_or_pass, 0, NULL, NULL);
	bufferevent_enable(filter, EV_READ | EV_WRITE);
	jumps_left = 1;
	if (setjmp(back) == 0) {
		bufferevent_write(filter, "one", 3);
		CHECK(!"it has jumped");
	}
	CHECK_INT(bufferevent_write(filter, "two", 3), 0);
	CHECK_INT(calls, 2);
	CHECK_INT(evbuffer_get_length(bufferevent_get_input(pair[1])), 6);
	bufferevent_write(pair[1], "back", 4);
	jumps_left = 1;
	if (setjmp(back) == 0) {
		bufferevent_flush(filter, EV_READ, BEV_FLUSH);
		CHECK(!"it has jumped");
	}
	bufferevent_flush(filter, EV_READ, BEV_FLUSH);
	CHECK_INT(evbuffer_get_length(bufferevent_get_input(filter)), 4);
	event_base_free(base);
}

MAIN(CASE_ROW(what_unwinds_can_be_freed), CASE_ROW(jumping_costs_no_memory), CASE_ROW(a_filter_works_on_after_a_jump), CASE_ROW(callbacks_of_buffers_may_jump),
    CASE_ROW(callbacks_of_bufferevents_may_jump), CASE_ROW(a_callback_may_jump_out_of_the_loop), CASE_ROW(a_callback_may_unwind))
