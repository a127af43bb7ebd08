/* Ends: what is freed after its base, what is left over when a thread or a base goes, and what is asked for at the wrong moment. */
#include <pthread.h>

#include "bufferevents.h"

#include <event2/buffer_compat.h>
#include <event2/bufferevent_struct.h>
#include <event2/listener.h>
#include <event2/thread.h>

static void
nothing(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
}

static void
count(const void *data, size_t len, void *arg)
{
	++*(int *)arg;
	(void)data, (void)len;
}

static void
changed(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	++*(int *)arg;
	(void)buf, (void)info;
}

static void
heard(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int len, void *arg)
{
	close(fd);
	(void)listener, (void)address, (void)len, (void)arg;
}

static void
free_events_after_the_base(void)
{
	struct event_base *gone = event_base_new();
	struct timeval later = { 1000, 0 };
	struct event *signal = evsignal_new(gone, SIGUSR1, nothing, NULL);
	struct event *timer = evtimer_new(gone, nothing, NULL), *idle = evtimer_new(gone, nothing, NULL);
	event_add(signal, NULL);
	event_add(timer, &later);
	event_base_free(gone);
	CHECK_INT(event_del(signal), 0);
	event_free(signal);
	event_free(timer);
	event_free(idle);
}

/* libevent looks into the base that has gone, and mostly gets away with it. */
static void
events_may_outlive_their_base(void)
{
	if (!is_zerovent())
		return;
	free_events_after_the_base();
}

static void
events_may_outlive_a_base_with_a_lock(void)
{
	if (!is_zerovent())
		return;
	CHECK_INT(evthread_use_pthreads(), 0);
	free_events_after_the_base();
}

static void
free_bufferevents_after_the_base(int options)
{
	int fds[2];
	struct record record = { .reads = 0 };
	struct event_base *gone = event_base_new();
	struct bufferevent *pair[2], *more[2], *filter, *over_pair, *bottom;
	struct ev_token_bucket_cfg *rates = ev_token_bucket_cfg_new(1, 1, 1, 1, NULL);
	struct bufferevent_rate_limit_group *group = bufferevent_rate_limit_group_new(gone, rates);
	struct timeval later = { 1000, 0 };
	CHECK_INT(evutil_socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	bottom = bufferevent_socket_new(gone, fds[0], options | BEV_OPT_CLOSE_ON_FREE);
	bufferevent_add_to_rate_limit_group(bottom, group);
	filter = bufferevent_filter_new(bottom, NULL, NULL, options | BEV_OPT_CLOSE_ON_FREE, NULL, NULL);
	CHECK_INT(bufferevent_pair_new(gone, options, pair), 0);
	CHECK_INT(bufferevent_pair_new(gone, options, more), 0);
	over_pair = bufferevent_filter_new(more[0], NULL, NULL, options, NULL, NULL);
	bufferevent_setcb(pair[0], on_read, on_write, on_event, &record);
	bufferevent_setcb(pair[1], on_read, on_write, on_event, &record);
	bufferevent_set_timeouts(pair[0], &later, &later);
	bufferevent_set_timeouts(over_pair, &later, &later);
	bufferevent_enable(pair[0], EV_READ | EV_WRITE);
	bufferevent_enable(pair[1], EV_READ | EV_WRITE);
	bufferevent_enable(over_pair, EV_READ | EV_WRITE);
	bufferevent_write(pair[0], "x", 1);
	bufferevent_write(over_pair, "x", 1);
	event_base_free(gone);
	bufferevent_free(over_pair);
	bufferevent_free(more[0]);
	bufferevent_free(more[1]);
	bufferevent_free(pair[0]);
	bufferevent_free(pair[1]);
	bufferevent_free(filter);
	bufferevent_rate_limit_group_free(group);
	ev_token_bucket_cfg_free(rates);
	CHECK_INT(fcntl(fds[0], F_GETFD), -1);
	close(fds[1]);
	CHECK_STR(record.order, "");
}

static void
bufferevents_may_outlive_their_base(void)
{
	if (!is_zerovent())
		return;
	free_bufferevents_after_the_base(0);
}

static void
bufferevents_may_outlive_a_base_with_a_lock(void)
{
	if (!is_zerovent())
		return;
	CHECK_INT(evthread_use_pthreads(), 0);
	free_bufferevents_after_the_base(BEV_OPT_THREADSAFE);
}

static void
deferred_callbacks_may_outlive_their_base(void)
{
	int calls = 0;
	struct event_base *gone;
	struct evbuffer *buf = evbuffer_new(), *unused = evbuffer_new();
	if (!is_zerovent())
		return;
	gone = event_base_new();
	evbuffer_add_cb(buf, changed, &calls);
	CHECK_INT(evbuffer_defer_callbacks(buf, gone), 0);
	CHECK_INT(evbuffer_defer_callbacks(unused, gone), 0);
	evbuffer_add(buf, "x", 1);
	event_base_free(gone);
	evbuffer_add(buf, "y", 1);
	CHECK(calls <= 1);
	evbuffer_free(buf);
	evbuffer_free(unused);
}

static void
a_listener_that_outlives_its_base_closes_its_socket(void)
{
	struct event_base *gone = event_base_new();
	struct sockaddr_in address = { .sin_family = AF_INET };
	struct evconnlistener *listener;
	int fd;
	if (!is_zerovent()) {
		event_base_free(gone);
		return;
	}
	listener = evconnlistener_new_bind(gone, heard, NULL, LEV_OPT_CLOSE_ON_FREE, -1, (struct sockaddr *)&address, sizeof address);
	CHECK(listener != NULL);
	fd = evconnlistener_get_fd(listener);
	event_base_free(gone);
	CHECK(fcntl(fd, F_GETFD) >= 0);
	evconnlistener_free(listener);
	CHECK_INT(fcntl(fd, F_GETFD), -1);
}

/* Whether there is a listener or none, nothing of it is left in the base. */
static void
a_listener_for_what_cannot_be_watched_leaves_nothing_behind(void)
{
	FILE *file = tmpfile();
	int i, fds[2] = { dup(fileno(file)), 999 };
	for (i = 0; i < 2; i++) {
		struct event_base *made = event_base_new();
		struct evconnlistener *listener = evconnlistener_new(made, heard, NULL, 0, 0, fds[i]);
		event_base_loop(made, EVLOOP_NONBLOCK);
		if (listener != NULL)
			evconnlistener_free(listener);
		event_base_free(made);
	}
	CHECK(fcntl(fds[0], F_GETFD) >= 0);
	close(fds[0]);
	fclose(file);
}

/* What a bufferevent holds when its base goes is given back then; libevent gives it back with the bufferevent. */
static void
a_base_gives_back_what_its_bufferevents_hold(void)
{
	int fds[2], cleaned = 0;
	struct event_base *gone = event_base_new();
	struct bufferevent *bev;
	if (!is_zerovent()) {
		event_base_free(gone);
		return;
	}
	CHECK_INT(evutil_socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	bev = bufferevent_socket_new(gone, fds[0], BEV_OPT_CLOSE_ON_FREE);
	evbuffer_add_reference(bufferevent_get_output(bev), "lent", 4, count, &cleaned);
	event_base_free(gone);
	CHECK_INT(cleaned, 1);
	bufferevent_free(bev);
	CHECK_INT(cleaned, 1);
	close(fds[1]);
}

static pthread_key_t key;
static int cleaned_in_destructor, told_in_destructor;

static void
free_in_destructor(void *buf)
{
	evbuffer_drain(buf, 1);
	evbuffer_free(buf);
}

static void *
end_with_a_buffer(void *arg)
{
	struct evbuffer *buf = evbuffer_new();
	/* Whatever a thread keeps for this is in use, and goes before the destructors of the program run. */
	evbuffer_add(buf, "x", 1);
	evbuffer_drain(buf, 1);
	evbuffer_add_reference(buf, "a", 1, count, arg);
	evbuffer_drain(buf, 1);
	evbuffer_add(buf, "x", 1);
	evbuffer_add_reference(buf, "b", 1, count, arg);
	evbuffer_add_cb(buf, changed, &told_in_destructor);
	pthread_setspecific(key, buf);
	return NULL;
}

static void
a_thread_may_free_buffers_when_it_ends(void)
{
	pthread_t thread;
	CHECK_INT(pthread_key_create(&key, free_in_destructor), 0);
	CHECK_INT(pthread_create(&thread, NULL, end_with_a_buffer, &cleaned_in_destructor), 0);
	pthread_join(thread, NULL);
	CHECK_INT(cleaned_in_destructor, 2);
	CHECK_INT(told_in_destructor, 1);
}

static struct event_base *looked_at;
static struct bufferevent *left_behind;
static int looks, changes_heard;

static void
look_at_the_base(const void *data, size_t len, void *arg)
{
	looks++;
	CHECK(event_base_get_num_events(looked_at, EVENT_BASE_COUNT_ADDED) >= 0);
}

static void
hear_of_change(struct evbuffer *buf, const struct evbuffer_cb_info *change, void *arg)
{
	changes_heard++;
}

static void
write_and_free_in_destructor(void *arg)
{
	CHECK_INT(bufferevent_write(left_behind, "b", 1), 0);
	bufferevent_free(left_behind);
}

static void *
end_with_a_bufferevent(void *arg)
{
	struct evbuffer *buf = evbuffer_new();
	pthread_setspecific(key, arg);
	/* As above: all that a thread keeps for clean-ups and callbacks is in use. */
	evbuffer_add_reference(buf, "a", 1, count, arg);
	evbuffer_add_reference(buf, "b", 1, count, arg);
	evbuffer_free(buf);
	CHECK_INT(bufferevent_write(left_behind, "a", 1), 0);
	return NULL;
}

static void
a_thread_may_free_a_bufferevent_when_it_ends(void)
{
	pthread_t thread;
	int fds[2], cleaned = 0;
	CHECK_INT(evthread_use_pthreads(), 0);
	looked_at = event_base_new();
	CHECK_INT(evutil_socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	left_behind = bufferevent_socket_new(looked_at, fds[0], BEV_OPT_CLOSE_ON_FREE | BEV_OPT_THREADSAFE);
	evbuffer_add_reference(bufferevent_get_output(left_behind), "abc", 3, look_at_the_base, NULL);
	evbuffer_add_reference(bufferevent_get_output(left_behind), "abc", 3, look_at_the_base, NULL);
	evbuffer_add_reference(bufferevent_get_output(left_behind), "abc", 3, look_at_the_base, NULL);
	evbuffer_add_cb(bufferevent_get_output(left_behind), hear_of_change, NULL);
	CHECK_INT(pthread_key_create(&key, write_and_free_in_destructor), 0);
	CHECK_INT(pthread_create(&thread, NULL, end_with_a_bufferevent, &cleaned), 0);
	pthread_join(thread, NULL);
	/* libevent ends the bufferevent in the loop. */
	CHECK(event_base_loop(looked_at, EVLOOP_NONBLOCK) >= 0);
	CHECK_INT(looks, 3);
	CHECK(changes_heard >= 2);
	CHECK_INT(cleaned, 2);
	event_base_free(looked_at);
	close(fds[1]);
}

static int finalized;

static void
finalize(struct event *event, void *arg)
{
	finalized++;
	(void)event, (void)arg;
}

static void
what_is_finalized_twice_is_finalized_once(void)
{
	struct event_base *made = event_base_new();
	struct event *event = evtimer_new(made, nothing, NULL);
	CHECK_INT(event_free_finalize(0, event, finalize), 0);
	CHECK_INT(event_free_finalize(0, event, finalize), 0);
	event_base_loop(made, EVLOOP_NONBLOCK);
	CHECK_INT(finalized, 1);
	event_base_free(made);
}

static int reads_left;

static void
write_from_the_other_side(struct bufferevent *bev, void *other)
{
	char byte;
	bufferevent_read(bev, &byte, 1);
	if (--reads_left > 0)
		bufferevent_write(other, "x", 1);
}

static void
ignore(struct bufferevent *bev, void *arg)
{
	(void)bev, (void)arg;
}

/* A read callback makes the same callback due once more, while the write callback is still to be made. */
static void
a_half_that_is_written_to_in_its_callback_is_called_again(void)
{
	struct bufferevent *pair[2];
	struct event_base *made = event_base_new();
	int turn;
	CHECK_INT(bufferevent_pair_new(made, 0, pair), 0);
	bufferevent_setcb(pair[0], write_from_the_other_side, ignore, NULL, pair[1]);
	bufferevent_enable(pair[0], EV_READ | EV_WRITE);
	bufferevent_enable(pair[1], EV_READ | EV_WRITE);
	reads_left = 5;
	bufferevent_write(pair[1], "x", 1);
	bufferevent_write(pair[0], "y", 1);
	for (turn = 0; turn < 20; turn++)
		event_base_loop(made, EVLOOP_NONBLOCK);
	CHECK_INT(reads_left, 0);
	bufferevent_free(pair[0]);
	bufferevent_free(pair[1]);
	event_base_loop(made, EVLOOP_NONBLOCK);
	event_base_free(made);
}

/* Old programs use the two events of a bufferevent as if they were their own; with it they leave the loop. */
static void
the_events_of_a_bufferevent_go_with_it(void)
{
	int fds[2];
	struct event_base *made = event_base_new();
	struct bufferevent *bev;
	CHECK_INT(evutil_socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	bev = bufferevent_socket_new(made, fds[0], BEV_OPT_CLOSE_ON_FREE);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
	CHECK_INT(event_del(&bev->ev_read), 0);
	CHECK(event_base_get_num_events(made, EVENT_BASE_COUNT_ADDED) >= 0);
	CHECK_INT(event_add(&bev->ev_read, NULL), 0);
	event_active(&bev->ev_write, EV_WRITE, 1);
	bufferevent_free(bev);
	CHECK(event_base_loop(made, EVLOOP_NONBLOCK) >= 0);
	CHECK_INT(event_base_get_num_events(made, EVENT_BASE_COUNT_ADDED), 0);
	event_base_free(made);
	close(fds[1]);
}

/* A time beyond all times is one that never comes. */
static void
times_may_be_as_long_as_they_can_be(void)
{
	struct event_base *made = event_base_new();
	struct timeval ages = { INT64_MAX / 4, 999999 }, past = { INT64_MIN / 4, 0 }, when = { 0, 0 };
	struct event *event = evtimer_new(made, nothing, NULL);
	if (is_zerovent()) {
		CHECK_INT(event_add(event, &ages), 0);
		event_base_loop(made, EVLOOP_NONBLOCK);
		CHECK_INT(event_pending(event, EV_TIMEOUT, &when), EV_TIMEOUT);
		CHECK(when.tv_sec > 0);
		CHECK_INT(event_del(event), 0);
		CHECK_INT(event_base_loopexit(made, &ages), 0);
		CHECK(event_base_init_common_timeout(made, &ages) != NULL);
		CHECK_INT(event_add(event, event_base_init_common_timeout(made, &ages)), 0);
	}
	CHECK_INT(event_add(event, &past), 0);
	event_base_loop(made, EVLOOP_NONBLOCK);
	CHECK_INT(event_pending(event, EV_TIMEOUT, NULL), 0);
	event_free(event);
	event_base_free(made);
}

/* libevent reads through the pointers. */
static void
data_that_is_nowhere_is_refused(void)
{
	struct evbuffer *buf = evbuffer_new();
	struct evbuffer_iovec far = { .iov_base = "x", .iov_len = SIZE_MAX };
	char *nowhere = NULL;
	if (!is_zerovent()) {
		evbuffer_free(buf);
		return;
	}
	CHECK_INT(evbuffer_add(buf, nowhere, 3), -1);
	CHECK_INT(evbuffer_prepend(buf, nowhere, 3), -1);
	CHECK_INT(evbuffer_add(buf, nowhere, 0), 0);
	CHECK_INT(evbuffer_add_iovec(buf, &far, 1), 0);
	CHECK_INT(evbuffer_add(buf, "abc", 3), 0);
	CHECK_INT(evbuffer_remove(buf, nowhere, 3), -1);
	CHECK_INT(evbuffer_search(buf, nowhere, 1, NULL).pos, -1);
	CHECK_INT(evbuffer_search(buf, "abc", SIZE_MAX, NULL).pos, -1);
	CHECK(evbuffer_find(buf, (const unsigned char *)"abc", SIZE_MAX) == NULL);
	CHECK_INT(evbuffer_get_length(buf), 3);
	evbuffer_free(buf);
}

MAIN(CASE_ROW(events_may_outlive_their_base), CASE_ROW(events_may_outlive_a_base_with_a_lock),
    CASE_ROW(bufferevents_may_outlive_their_base), CASE_ROW(bufferevents_may_outlive_a_base_with_a_lock),
    CASE_ROW(deferred_callbacks_may_outlive_their_base), CASE_ROW(a_listener_that_outlives_its_base_closes_its_socket),
    CASE_ROW(a_listener_for_what_cannot_be_watched_leaves_nothing_behind),
    CASE_ROW(a_base_gives_back_what_its_bufferevents_hold), CASE_ROW(a_thread_may_free_buffers_when_it_ends),
    CASE_ROW(a_thread_may_free_a_bufferevent_when_it_ends),
    CASE_ROW(what_is_finalized_twice_is_finalized_once), CASE_ROW(a_half_that_is_written_to_in_its_callback_is_called_again),
    CASE_ROW(the_events_of_a_bufferevent_go_with_it),
    CASE_ROW(times_may_be_as_long_as_they_can_be), CASE_ROW(data_that_is_nowhere_is_refused))
