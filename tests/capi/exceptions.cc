/* Callbacks of C++ that throw: the exception reaches whoever called, and nothing stays held or half done on its way. */
#include <pthread.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/listener.h>
#include <event2/thread.h>

#include "check.h"

static struct event_base *base;
static int calls, cleaned, fds[2];

static const struct timeval soon = { 0, 10000 };

struct thrown {
	int number;
};

/* Whether `work` throws that number. */
template <typename Work>
static int
throws(Work work, int number)
{
	try {
		work();
	} catch (const thrown &it) {
		return it.number == number;
	}
	return 0;
}

static void
silence(int severity, const char *message)
{
}

static void
begin(void)
{
	event_set_log_callback(silence);
	base = event_base_new();
	CHECK_INT(evutil_socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	CHECK_INT(write(fds[1], "x", 1), 1);
}

/* With locks, which libevent keeps for ever when something is thrown under them. */
static void
begin_with_threads(void)
{
	CHECK_INT(evthread_use_pthreads(), 0);
	begin();
}

static int
dispatch(void)
{
	return event_base_dispatch(base);
}

static void
throw_one(evutil_socket_t fd, short what, void *arg)
{
	calls++;
	throw thrown { 1 };
}

static void
count(evutil_socket_t fd, short what, void *arg)
{
	calls++;
}

/* Whatever an event waits for. The base goes on with what is left; with libevent it counts as running ever after. */
static void
an_event_may_throw(void)
{
	struct event reader, timer, other;
	begin();
	event_assign(&reader, base, fds[0], EV_READ, throw_one, NULL);
	event_assign(&timer, base, -1, 0, throw_one, NULL);
	event_assign(&other, base, -1, 0, count, NULL);
	event_add(&reader, NULL);
	CHECK(throws(dispatch, 1));
	CHECK_INT(calls, 1);
	CHECK_INT(event_pending(&reader, EV_READ, NULL), 0);
	if (is_zerovent()) {
		event_add(&timer, &soon);
		CHECK(throws(dispatch, 1));
		event_active(&timer, EV_READ, 1);
		event_active(&other, EV_READ, 1);
		CHECK(throws(dispatch, 1));
		CHECK_INT(event_base_once(base, -1, EV_TIMEOUT, throw_one, NULL, NULL), 0);
		CHECK(throws(dispatch, 1));
		CHECK_INT(calls, 5);
		CHECK_INT(event_base_dispatch(base), 1);
	}
	event_base_free(base);
}

/* A signal that came three times is called three times; what a throw leaves of it is not. */
static void
a_signal_may_throw(void)
{
	struct event ev;
	begin();
	event_assign(&ev, base, SIGUSR1, EV_SIGNAL | EV_PERSIST, throw_one, NULL);
	event_active(&ev, EV_SIGNAL, 3);
	CHECK(throws(dispatch, 1));
	CHECK_INT(calls, 1);
	if (is_zerovent())
		CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(calls, 1);
	event_base_free(base);
}

static void
throw_for_event(struct event *ev, void *arg)
{
	calls++;
	throw thrown { 2 };
}

static int
throw_for_each(const struct event_base *of, const struct event *ev, void *arg)
{
	throw thrown { 3 };
}

static void
finalizers_and_visitors_may_throw(void)
{
	struct event ev, other;
	begin();
	event_assign(&other, base, -1, 0, count, NULL);
	event_add(&other, &soon);
	CHECK(throws([] { event_base_foreach_event(base, throw_for_each, NULL); }, 3));
	event_assign(&ev, base, fds[0], EV_READ, count, NULL);
	event_finalize(0, &ev, throw_for_event);
	CHECK(throws(dispatch, 2));
	if (is_zerovent())
		CHECK_INT(event_base_dispatch(base), 1);
	else
		event_del(&other);
	event_base_free(base);
}

static void *
throw_in_thread(void *arg)
{
	CHECK(throws(dispatch, 1));
	return NULL;
}

static void *
lock_from_thread(void *arg)
{
	struct event *ev = (struct event *)arg;
	CHECK_INT(event_del(ev), 0);
	CHECK_INT(event_base_got_break(base), 0);
	return NULL;
}

/* Nobody waits for a callback that has thrown. */
static void
other_threads_go_on(void)
{
	pthread_t thread;
	struct event ev;
	if (!is_zerovent())
		return; /* waits for the callback to return */
	begin_with_threads();
	event_assign(&ev, base, fds[0], EV_READ | EV_PERSIST, throw_one, NULL);
	event_add(&ev, NULL);
	CHECK_INT(pthread_create(&thread, NULL, throw_in_thread, NULL), 0);
	CHECK_INT(pthread_join(thread, NULL), 0);
	CHECK_INT(pthread_create(&thread, NULL, lock_from_thread, &ev), 0);
	CHECK_INT(pthread_join(thread, NULL), 0);
	event_base_free(base);
}

static void
throw_data(struct bufferevent *bev, void *arg)
{
	calls++;
	throw thrown { 4 };
}

static void
throw_event(struct bufferevent *bev, short events, void *arg)
{
	calls++;
	throw thrown { 5 };
}

/* The read, the write and the event callback, called by the loop, with each way to call them. */
static void
throw_in_each_callback(int options)
{
	struct bufferevent *bev;
	begin_with_threads();
	bev = bufferevent_socket_new(base, fds[0], BEV_OPT_CLOSE_ON_FREE | options);
	bufferevent_setcb(bev, throw_data, NULL, throw_event, NULL);
	bufferevent_enable(bev, EV_READ);
	CHECK(throws(dispatch, 4));
	bufferevent_setcb(bev, NULL, throw_data, throw_event, NULL);
	CHECK_INT(bufferevent_write(bev, "abc", 3), 0);
	CHECK(throws(dispatch, 4));
	close(fds[1]);
	CHECK(throws(dispatch, 5));
	CHECK_INT(calls, 3);
	bufferevent_free(bev);
	CHECK_INT(fcntl(fds[0], F_GETFD), -1);
	event_base_free(base);
}

static void
bufferevents_may_throw(void)
{
	if (is_zerovent())
		throw_in_each_callback(0);
}

static void
locked_bufferevents_may_throw(void)
{
	if (is_zerovent())
		throw_in_each_callback(BEV_OPT_THREADSAFE);
}

static void
deferred_bufferevents_may_throw(void)
{
	if (is_zerovent())
		throw_in_each_callback(BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS | BEV_OPT_UNLOCK_CALLBACKS);
}

/* What libevent survives, too: the exception arrives, and the base can be freed. */
static void
an_exception_of_a_bufferevent_arrives(void)
{
	struct bufferevent *bev;
	begin();
	bev = bufferevent_socket_new(base, fds[0], 0);
	bufferevent_setcb(bev, throw_data, NULL, throw_event, NULL);
	bufferevent_enable(bev, EV_READ);
	CHECK(throws(dispatch, 4));
	CHECK_INT(evbuffer_get_length(bufferevent_get_input(bev)), 1);
	CHECK(throws([bev] { bufferevent_trigger(bev, EV_READ, 0); }, 4));
	CHECK_INT(calls, 2);
	bufferevent_free(bev);
	event_base_free(base);
}

static void
pairs_may_throw(void)
{
	struct bufferevent *pair[2];
	if (!is_zerovent())
		return; /* keeps a reference, and the lock of the pair */
	begin_with_threads();
	CHECK_INT(bufferevent_pair_new(base, BEV_OPT_THREADSAFE, pair), 0);
	bufferevent_setcb(pair[1], throw_data, NULL, throw_event, NULL);
	bufferevent_enable(pair[1], EV_READ);
	bufferevent_write(pair[0], "abc", 3);
	CHECK(throws(dispatch, 4));
	bufferevent_set_timeouts(pair[1], &soon, NULL);
	CHECK(throws(dispatch, 5));
	bufferevent_flush(pair[0], EV_WRITE, BEV_FINISHED);
	CHECK(throws(dispatch, 5));
	CHECK_INT(calls, 3);
	CHECK_INT(evbuffer_get_length(bufferevent_get_input(pair[1])), 3);
	bufferevent_free(pair[0]);
	bufferevent_free(pair[1]);
	event_base_free(base);
}

static enum bufferevent_filter_result
throw_of_filter(struct evbuffer *from, struct evbuffer *to, ev_ssize_t limit, enum bufferevent_flush_mode mode, void *arg)
{
	if (++calls % 2 == 1)
		throw thrown { 6 };
	evbuffer_remove_buffer(from, to, evbuffer_get_length(from));
	return BEV_OK;
}

static void
throw_of_context(void *arg)
{
	cleaned++;
	throw thrown { 7 };
}

/* Each direction of a filter can be used on when its function has thrown. With libevent it has stopped listening to its output. */
static void
filters_may_throw(void)
{
	struct bufferevent *bev, *filter;
	char received[8];
	begin();
	bev = bufferevent_socket_new(base, fds[0], BEV_OPT_CLOSE_ON_FREE);
	filter = bufferevent_filter_new(bev, throw_of_filter, throw_of_filter, BEV_OPT_CLOSE_ON_FREE, throw_of_context, NULL);
	bufferevent_enable(filter, EV_READ | EV_WRITE);
	CHECK(throws([filter] { bufferevent_write(filter, "one", 3); }, 6));
	CHECK_INT(calls, 1);
	if (!is_zerovent())
		return;
	CHECK_INT(bufferevent_write(filter, "two", 3), 0);
	CHECK_INT(calls, 2);
	CHECK(throws(dispatch, 6));
	bufferevent_setwatermark(filter, EV_READ, 0, 0);
	CHECK_INT(calls, 4);
	CHECK_INT(evbuffer_get_length(bufferevent_get_input(filter)), 1);
	event_base_loop(base, EVLOOP_NONBLOCK);
	CHECK_INT(read(fds[1], received, sizeof received), 6);
	CHECK(throws([filter] { bufferevent_free(filter); }, 7));
	CHECK_INT(cleaned, 1);
	CHECK_INT(fcntl(fds[0], F_GETFD), -1);
	event_base_free(base);
}

static void
throw_of_listener(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int len, void *arg)
{
	calls++;
	close(fd);
	throw thrown { 8 };
}

static void
listeners_may_throw(void)
{
	struct sockaddr_in address = {};
	socklen_t len = sizeof address;
	struct evconnlistener *listener;
	int clients[2], i, fd;
	begin();
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = evconnlistener_new_bind(base, throw_of_listener, NULL, LEV_OPT_CLOSE_ON_FREE, -1, (struct sockaddr *)&address, sizeof address);
	fd = evconnlistener_get_fd(listener);
	CHECK_INT(getsockname(fd, (struct sockaddr *)&address, &len), 0);
	for (i = 0; i < 2; i++) {
		clients[i] = socket(AF_INET, SOCK_STREAM, 0);
		CHECK_INT(connect(clients[i], (struct sockaddr *)&address, len), 0);
	}
	CHECK(throws(dispatch, 8));
	if (is_zerovent()) {
		CHECK(throws(dispatch, 8));
		CHECK_INT(calls, 2);
		evconnlistener_free(listener);
		CHECK_INT(fcntl(fd, F_GETFD), -1);
		CHECK_INT(event_base_dispatch(base), 1);
	}
	for (i = 0; i < 2; i++)
		close(clients[i]);
	event_base_free(base);
}

static void
throw_of_buffer(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	calls++;
	throw thrown { 9 };
}

/* What was done is done. */
static void
buffers_may_throw(void)
{
	struct evbuffer *buf = evbuffer_new(), *to = evbuffer_new();
	struct evbuffer_cb_entry *entry = evbuffer_add_cb(buf, throw_of_buffer, NULL);
	CHECK(throws([buf] { evbuffer_add(buf, "abc", 3); }, 9));
	CHECK(throws([buf] { evbuffer_add_printf(buf, "%d%s", 12, "3"); }, 9));
	CHECK_INT(evbuffer_get_length(buf), 6);
	CHECK(throws([buf] { evbuffer_drain(buf, 1); }, 9));
	CHECK(throws([buf, to] { evbuffer_add_buffer(to, buf); }, 9));
	CHECK_INT(evbuffer_get_length(to), 5);
	CHECK_INT(calls, 4);
	CHECK_INT(evbuffer_remove_cb_entry(buf, entry), 0);
	evbuffer_free(buf);
	evbuffer_free(to);
}

static void
locked_and_deferred_buffers_may_throw(void)
{
	struct evbuffer *buf = evbuffer_new();
	if (!is_zerovent())
		return; /* keeps the lock, and a reference */
	begin_with_threads();
	CHECK_INT(evbuffer_enable_locking(buf, NULL), 0);
	evbuffer_add_cb(buf, throw_of_buffer, NULL);
	CHECK(throws([buf] { evbuffer_add(buf, "abc", 3); }, 9));
	CHECK_INT(evbuffer_defer_callbacks(buf, base), 0);
	CHECK_INT(evbuffer_drain(buf, 1), 0);
	CHECK(throws(dispatch, 9));
	CHECK_INT(evbuffer_drain(buf, 1), 0);
	CHECK(throws(dispatch, 9));
	CHECK_INT(calls, 3);
	evbuffer_free(buf);
	event_base_free(base);
}

static void
throw_of_reference(const void *data, size_t len, void *arg)
{
	cleaned++;
	throw thrown { 10 };
}

static void
count_reference(const void *data, size_t len, void *arg)
{
	cleaned++;
}

static void
throw_of_segment(const struct evbuffer_file_segment *segment, int flags, void *arg)
{
	cleaned++;
	throw thrown { 11 };
}

/* Those that are still to be called are called by the next operation. libevent calls them in the middle of its work, and has lost its place then. */
static void
cleanups_may_throw(void)
{
	struct evbuffer *buf = evbuffer_new();
	struct evbuffer_file_segment *segment;
	char path[] = "/tmp/exceptionsXXXXXX";
	int file = mkstemp(path);
	if (!is_zerovent())
		return;
	CHECK_INT(unlink(path), 0);
	CHECK_INT(write(file, "file", 4), 4);
	evbuffer_add_reference(buf, "lent", 4, throw_of_reference, NULL);
	evbuffer_add_reference(buf, "more", 4, count_reference, NULL);
	CHECK(throws([buf] { evbuffer_drain(buf, 8); }, 10));
	CHECK_INT(evbuffer_get_length(buf), 0);
	CHECK_INT(evbuffer_add(buf, "", 0), 0);
	CHECK_INT(cleaned, 2);
	segment = evbuffer_file_segment_new(file, 0, 4, EVBUF_FS_CLOSE_ON_FREE);
	evbuffer_file_segment_add_cleanup_cb(segment, throw_of_segment, NULL);
	CHECK_INT(evbuffer_add_file_segment(buf, segment, 0, 4), 0);
	evbuffer_file_segment_free(segment);
	CHECK(throws([buf] { evbuffer_drain(buf, 4); }, 11));
	CHECK_INT(fcntl(file, F_GETFD), -1);
	evbuffer_add_reference(buf, "last", 4, throw_of_reference, NULL);
	CHECK(throws([buf] { evbuffer_free(buf); }, 10));
	CHECK_INT(cleaned, 4);
}

static void
throw_of_log(int severity, const char *message)
{
	throw thrown { 12 };
}

/* The lock is given back on the way: another thread has the base. */
static void
who_logs_may_throw(void)
{
	pthread_t thread;
	struct event ev;
	begin_with_threads();
	memset(&ev, 0, sizeof ev);
	event_set_log_callback(throw_of_log);
	CHECK(throws([&ev] { event_add(&ev, NULL); }, 12));
	CHECK(throws([&ev] { event_del(&ev); }, 12));
	CHECK(throws([&ev] { event_assign(&ev, base, 1, EV_SIGNAL | EV_READ, count, NULL); }, 12));
	event_set_log_callback(silence);
	event_assign(&ev, base, -1, 0, count, NULL);
	CHECK_INT(pthread_create(&thread, NULL, lock_from_thread, &ev), 0);
	CHECK_INT(pthread_join(thread, NULL), 0);
	event_base_free(base);
}

MAIN(CASE_ROW(an_event_may_throw), CASE_ROW(a_signal_may_throw), CASE_ROW(finalizers_and_visitors_may_throw),
    CASE_ROW(other_threads_go_on), CASE_ROW(bufferevents_may_throw), CASE_ROW(locked_bufferevents_may_throw),
    CASE_ROW(deferred_bufferevents_may_throw), CASE_ROW(an_exception_of_a_bufferevent_arrives), CASE_ROW(pairs_may_throw),
    CASE_ROW(filters_may_throw), CASE_ROW(listeners_may_throw), CASE_ROW(buffers_may_throw),
    CASE_ROW(locked_and_deferred_buffers_may_throw), CASE_ROW(cleanups_may_throw), CASE_ROW(who_logs_may_throw))
