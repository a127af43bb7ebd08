/* Bufferevents that several threads use. */
#define _GNU_SOURCE /* pthread_tryjoin_np */
#include "bufferevents.h"

#include <errno.h>

#include <event2/thread.h>
#include <pthread.h>

#define WRITERS 4
#define LINES 2000

static struct bufferevent *shared;

static void
begin_threaded(void)
{
	CHECK_INT(evthread_use_pthreads(), 0);
	begin();
}

static void *
write_lines(void *arg)
{
	char line[16];
	int i, writer = *(int *)arg;
	for (i = 0; i < LINES; i++) {
		snprintf(line, sizeof line, "%d:%07d\n", writer, i);
		CHECK_INT(bufferevent_write(shared, line, 10), 0);
	}
	return NULL;
}

/* Each writer's lines arrive whole, and in their order. */
static void *
read_lines(void *arg)
{
	int next[WRITERS] = { 0 }, total = 0, writer, number;
	char line[16];
	FILE *stream = fdopen(*(int *)arg, "r");
	CHECK(stream != NULL);
	while (total < WRITERS * LINES && fgets(line, sizeof line, stream) != NULL) {
		CHECK_INT(sscanf(line, "%d:%d", &writer, &number), 2);
		CHECK_INT(number, next[writer]++);
		total++;
	}
	CHECK_INT(total, WRITERS * LINES);
	event_base_loopbreak(base);
	return NULL;
}

/* Several threads write to the one that is shared, and one reads what arrives at its peer. */
static void
pass_lines(int peer)
{
	pthread_t threads[WRITERS], reader;
	int i, numbers[WRITERS];
	fcntl(peer, F_SETFL, 0);
	bufferevent_enable(shared, EV_READ);
	CHECK_INT(pthread_create(&reader, NULL, read_lines, &peer), 0);
	for (i = 0; i < WRITERS; i++) {
		numbers[i] = i;
		CHECK_INT(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
	}
	event_base_dispatch(base);
	for (i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	pthread_join(reader, NULL);
	bufferevent_free(shared);
	turn();
	end();
}

static void
write_from_threads(int options)
{
	int peer;
	begin_threaded();
	shared = half(&peer, options | BEV_OPT_CLOSE_ON_FREE | BEV_OPT_THREADSAFE, NULL);
	pass_lines(peer);
}

static void
threads_write_while_the_loop_runs(void)
{
	write_from_threads(0);
}

static void
threads_write_while_callbacks_are_deferred_and_unlocked(void)
{
	write_from_threads(BEV_OPT_DEFER_CALLBACKS | BEV_OPT_UNLOCK_CALLBACKS);
}

static int counter, in_callback, overlaps;

static void
count_slowly(struct bufferevent *bev, void *arg)
{
	in_callback = 1;
	usleep(200);
	counter++;
	in_callback = 0;
	(void)bev;
	(void)arg;
}

static void *
poke(void *arg)
{
	int i;
	for (i = 0; i < 200; i++) {
		bufferevent_lock(shared);
		overlaps += in_callback;
		bufferevent_trigger(shared, EV_READ, BEV_TRIG_DEFER_CALLBACKS);
		bufferevent_unlock(shared);
		usleep(100);
	}
	event_base_loopbreak(base);
	(void)arg;
	return NULL;
}

/* Who holds the lock does not meet a callback, unless the callbacks are unlocked. */
static void
the_lock_keeps_callbacks_away(void)
{
	int peer;
	pthread_t thread;
	begin_threaded();
	shared = half(&peer, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_THREADSAFE, NULL);
	bufferevent_setcb(shared, count_slowly, NULL, NULL, NULL);
	bufferevent_enable(shared, EV_READ);
	CHECK_INT(pthread_create(&thread, NULL, poke, NULL), 0);
	event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY);
	pthread_join(thread, NULL);
	CHECK_INT(overlaps, 0);
	CHECK(counter > 0);
	bufferevent_free(shared);
	turn();
	end();
}

static enum bufferevent_filter_result
pass(struct evbuffer *from, struct evbuffer *to, ev_ssize_t limit, enum bufferevent_flush_mode mode, void *context)
{
	(void)limit, (void)mode, (void)context;
	return evbuffer_add_buffer(to, from) == 0 ? BEV_OK : BEV_ERROR;
}

static void
threads_write_through_a_filter(void)
{
	int peer;
	struct bufferevent *below;
	/* With libevent the last lines may stay in the filter. */
	if (!is_zerovent())
		return;
	begin_threaded();
	below = half(&peer, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_THREADSAFE, NULL);
	shared = bufferevent_filter_new(below, pass, pass, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_THREADSAFE, NULL, NULL);
	CHECK(shared != NULL);
	pass_lines(peer);
}

static void *
write_and_free(void *arg)
{
	struct bufferevent *bev = arg;
	bufferevent_write(bev, "bye", 3);
	bufferevent_free(bev);
	return NULL;
}

static void
stop(evutil_socket_t fd, short what, void *arg)
{
	event_base_loopbreak(base);
	(void)fd, (void)what, (void)arg;
}

static void
another_thread_may_free_it(void)
{
	int i, peer;
	pthread_t threads[50];
	struct timeval soon = { 0, 100000 };
	struct bufferevent *bev;
	begin_threaded();
	for (i = 0; i < 50; i++) {
		bev = half(&peer, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_THREADSAFE, NULL);
		bufferevent_enable(bev, EV_READ);
		send_text(peer, "x");
		CHECK_INT(pthread_create(&threads[i], NULL, write_and_free, bev), 0);
	}
	event_base_once(base, -1, EV_TIMEOUT, stop, NULL, &soon);
	event_base_dispatch(base);
	for (i = 0; i < 50; i++)
		pthread_join(threads[i], NULL);
	turn();
	end();
}

static void *
write_and_let_go(void *arg)
{
	int i;
	for (i = 0; i < 20; i++)
		bufferevent_write(arg, "x", 1);
	bufferevent_free(arg);
	return NULL;
}

/* One half writes to the other while that goes. */
static void
halves_of_a_pair_may_go_at_the_same_time(void)
{
	int i;
	pthread_t thread;
	struct bufferevent *pair[2];
	begin_threaded();
	for (i = 0; i < 300; i++) {
		CHECK_INT(bufferevent_pair_new(base, BEV_OPT_THREADSAFE, pair), 0);
		bufferevent_enable(pair[1], EV_READ);
		CHECK_INT(pthread_create(&thread, NULL, write_and_let_go, pair[0]), 0);
		bufferevent_free(pair[1]);
		pthread_join(thread, NULL);
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
	end();
}

static void
nothing_happens(evutil_socket_t fd, short what, void *arg)
{
}

static void
ignore_event(struct bufferevent *bev, short events, void *arg)
{
}

/* A time passes on the loop's thread while another one frees the half: it is freed once, whoever comes last. */
static void *
free_as_times_pass(void *arg)
{
	static const struct timeval soon_over = { 0, 300 };
	struct bufferevent *pair[2];
	int i, options = BEV_OPT_THREADSAFE | *(int *)arg;
	for (i = 0; i < 400; i++) {
		CHECK_INT(bufferevent_pair_new(base, options, pair), 0);
		bufferevent_setcb(pair[0], NULL, NULL, ignore_event, NULL);
		bufferevent_set_timeouts(pair[0], &soon_over, &soon_over);
		bufferevent_enable(pair[0], EV_READ | EV_WRITE);
		bufferevent_write(pair[0], "x", 1);
		usleep(i % 5 * 100);
		bufferevent_free(pair[i % 2]);
		bufferevent_free(pair[1 - i % 2]);
	}
	return NULL;
}

static void
free_while_times_pass(int options)
{
	pthread_t threads[2];
	struct event *keep;
	int i, status = 0;
	struct timeval tick = { 0, 1000 };
	CHECK_INT(evthread_use_pthreads(), 0);
	begin();
	keep = event_new(base, -1, EV_PERSIST, nothing_happens, NULL);
	event_add(keep, &tick);
	for (i = 0; i < 2; i++)
		CHECK_INT(pthread_create(&threads[i], NULL, free_as_times_pass, &options), 0);
	for (i = 0; i < 2; i++)
		while ((status = pthread_tryjoin_np(threads[i], NULL)) == EBUSY)
			event_base_loop(base, EVLOOP_ONCE);
	CHECK_INT(status, 0);
	event_free(keep);
	event_base_loop(base, EVLOOP_NONBLOCK);
	end();
}

static void
a_pair_may_go_while_its_times_pass(void)
{
	free_while_times_pass(0);
}

static void
a_pair_may_go_while_its_unlocked_times_pass(void)
{
	free_while_times_pass(BEV_OPT_UNLOCK_CALLBACKS | BEV_OPT_DEFER_CALLBACKS);
}

/* What a callback is given, while nobody has taken it back. */
struct token {
	int is_valid;
};

static int tokens_seen, is_exchanging = 1;

static void
look_at_token(struct bufferevent *bev, void *arg)
{
	struct token *token = arg;
	CHECK(token->is_valid);
	tokens_seen++;
	evbuffer_drain(bufferevent_get_input(bev), 1000);
}

static void *
exchange_tokens(void *arg)
{
	struct bufferevent *bev = arg;
	struct token *old = NULL, *new;
	while (__atomic_load_n(&is_exchanging, __ATOMIC_RELAXED)) {
		new = malloc(sizeof *new);
		new->is_valid = 1;
		bufferevent_lock(bev);
		bufferevent_setcb(bev, look_at_token, NULL, NULL, new);
		if (old != NULL)
			old->is_valid = 0;
		free(old);
		bufferevent_unlock(bev);
		old = new;
	}
	bufferevent_lock(bev);
	bufferevent_setcb(bev, NULL, NULL, NULL, NULL);
	bufferevent_unlock(bev);
	free(old);
	return NULL;
}

/* Whoever holds the lock may free what the callback was given. */
static void
a_callback_never_gets_what_was_taken_back(void)
{
	int i, peer;
	pthread_t thread;
	struct bufferevent *bev;
	begin_threaded();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_THREADSAFE, NULL);
	bufferevent_setcb(bev, NULL, NULL, NULL, NULL);
	bufferevent_enable(bev, EV_READ);
	CHECK_INT(pthread_create(&thread, NULL, exchange_tokens, bev), 0);
	for (i = 0; i < 3000 || tokens_seen == 0; i++) {
		send_text(peer, "x");
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
	__atomic_store_n(&is_exchanging, 0, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	bufferevent_free(bev);
	end();
}

MAIN(CASE_ROW(threads_write_while_the_loop_runs), CASE_ROW(threads_write_while_callbacks_are_deferred_and_unlocked),
    CASE_ROW(the_lock_keeps_callbacks_away), CASE_ROW(threads_write_through_a_filter), CASE_ROW(another_thread_may_free_it),
    CASE_ROW(halves_of_a_pair_may_go_at_the_same_time),
    CASE_ROW(a_pair_may_go_while_its_times_pass), CASE_ROW(a_pair_may_go_while_its_unlocked_times_pass), CASE_ROW(a_callback_never_gets_what_was_taken_back))
