/* The buffers of bufferevents as buffers: every pair of homes, callbacks that hear of what the loop does, and memory that stays in place. */
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "check.h"

/* A bufferevent over one end of a socket pair, and the other end. */
struct half {
	struct bufferevent *bev;
	struct evbuffer *in, *out;
	int peer;
};

static struct half
new_half(struct event_base *base)
{
	struct half half;
	int pair[2];
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	evutil_make_socket_nonblocking(pair[0]);
	evutil_make_socket_nonblocking(pair[1]);
	half.bev = bufferevent_socket_new(base, pair[0], BEV_OPT_CLOSE_ON_FREE);
	CHECK(half.bev != NULL);
	half.in = bufferevent_get_input(half.bev);
	half.out = bufferevent_get_output(half.bev);
	half.peer = pair[1];
	CHECK(half.in != NULL && half.out != NULL && half.in != half.out);
	return half;
}

/* Has the loop read `text` into the input. */
static void
receive(struct event_base *base, struct half *half, const char *text)
{
	size_t wanted = evbuffer_get_length(half->in) + strlen(text);
	bufferevent_enable(half->bev, EV_READ);
	CHECK_INT(write(half->peer, text, strlen(text)), strlen(text));
	while (evbuffer_get_length(half->in) < wanted)
		CHECK(event_base_loop(base, EVLOOP_ONCE) >= 0);
}

/* Has the loop write all of the output, which is `text`. */
static void
check_sent(struct event_base *base, struct half *half, const char *text)
{
	char got[4096];
	size_t done = 0, len = strlen(text);
	int turns;
	for (turns = 0; turns < 1000 && done < len; turns++) {
		ssize_t count;
		CHECK(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
		count = read(half->peer, got + done, sizeof got - done);
		done += count > 0 ? (size_t)count : 0;
	}
	CHECK_INT(done, len);
	CHECK(memcmp(got, text, len) == 0);
	CHECK_INT(evbuffer_get_length(half->out), 0);
}

static void
free_half(struct half *half)
{
	bufferevent_free(half->bev);
	close(half->peer);
}

static void
bytes_move_between_all_homes(void)
{
	struct event_base *base = event_base_new(), *second = event_base_new();
	struct half a = new_half(base), b = new_half(base), c = new_half(second);
	struct evbuffer *own = evbuffer_new();
	receive(base, &a, "0123456789abcdefghij");
	/* A bufferevent's and one that is alone. */
	CHECK_INT(evbuffer_remove_buffer(a.in, own, 5), 5);
	CHECK_INT(evbuffer_add_buffer(a.out, own), 0);
	check_sent(base, &a, "01234");
	CHECK_INT(evbuffer_get_length(own), 0);
	/* Both buffers of one bufferevent. */
	CHECK_INT(evbuffer_remove_buffer(a.in, a.out, 5), 5);
	check_sent(base, &a, "56789");
	/* Two bufferevents of one base. */
	CHECK_INT(evbuffer_remove_buffer(a.in, b.out, 5), 5);
	check_sent(base, &b, "abcde");
	/* Two bases. */
	CHECK_INT(evbuffer_add_buffer_reference(own, a.in), 0);
	CHECK_INT(evbuffer_add_buffer(c.out, a.in), 0);
	check_sent(second, &c, "fghij");
	CHECK_INT(evbuffer_get_length(a.in), 0);
	CHECK_INT(evbuffer_prepend_buffer(a.out, own), -1);
	CHECK_INT(evbuffer_add_buffer(b.out, own), 0);
	check_sent(base, &b, "fghij");
	/* Onto itself. */
	receive(base, &a, "x");
	CHECK_INT(evbuffer_add_buffer(a.in, a.in), 0);
	CHECK_INT(evbuffer_add_buffer_reference(a.in, a.in), -1);
	CHECK_INT(evbuffer_remove_buffer(a.in, a.in, 1), 0);
	/* The ends that belong to the bufferevent are frozen. */
	CHECK_INT(evbuffer_add(a.in, "y", 1), -1);
	CHECK_INT(evbuffer_add_buffer(a.in, b.in), 0);
	CHECK_INT(evbuffer_add(a.out, "y", 1), 0);
	CHECK_INT(evbuffer_drain(a.out, 1), -1);
	CHECK_INT(evbuffer_add_buffer(own, a.out), -1);
	CHECK_INT(evbuffer_enable_locking(own, NULL), -1);
	free_half(&a);
	free_half(&b);
	free_half(&c);
	evbuffer_free(own);
	event_base_free(base);
	event_base_free(second);
}

static char told[1000];

static void
note(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	size_t len = strlen(told);
	CHECK_INT(evbuffer_get_length(buf), info->orig_size + info->n_added - info->n_deleted);
	snprintf(told + len, sizeof told - len, "%s%zu+%zu-%zu ", (char *)arg, info->orig_size, info->n_added,
	    info->n_deleted);
}

static void
callbacks_hear_of_the_loop(void)
{
	struct event_base *base = event_base_new();
	struct half a = new_half(base);
	struct evbuffer_cb_entry *in = evbuffer_add_cb(a.in, note, "in:"), *out = evbuffer_add_cb(a.out, note, "out:");
	receive(base, &a, "12345");
	CHECK_STR(told, "in:0+5-0 ");
	told[0] = 0;
	CHECK_INT(evbuffer_drain(a.in, 2), 0);
	CHECK_STR(told, "in:5+0-2 ");
	told[0] = 0;
	CHECK_INT(bufferevent_write(a.bev, "abc", 3), 0);
	CHECK_STR(told, "out:0+3-0 ");
	told[0] = 0;
	check_sent(base, &a, "abc");
	CHECK_STR(told, "out:3+0-3 ");
	told[0] = 0;
	CHECK_INT(evbuffer_remove_cb_entry(a.out, out), 0);
	bufferevent_write(a.bev, "d", 1);
	check_sent(base, &a, "d");
	CHECK_STR(told, "");
	CHECK_INT(evbuffer_cb_clear_flags(a.in, in, EVBUFFER_CB_ENABLED), 0);
	receive(base, &a, "6");
	CHECK_STR(told, "");
	free_half(&a);
	CHECK_STR(told, "");
	event_base_free(base);
}

static int returned;

static void
note_return(const void *data, size_t len, void *arg)
{
	(void)data;
	/* Whoever is told that memory is free may send more; libevent is in the middle of removing it then. */
	if (returned++ == 0 && is_zerovent())
		evbuffer_add_reference(arg, "second", 6, note_return, arg);
	CHECK_INT(len, returned == 1 ? 5 : 6);
}

static void
references_are_given_back_by_the_loop(void)
{
	struct event_base *base = event_base_new();
	struct half a = new_half(base);
	char got[32];
	int turns, expected = is_zerovent() ? 2 : 1;
	CHECK_INT(evbuffer_add_reference(a.out, "first", 5, note_return, a.out), 0);
	for (turns = 0; turns < 1000 && returned < expected; turns++)
		CHECK(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
	CHECK_INT(returned, expected);
	CHECK_INT(read(a.peer, got, sizeof got), is_zerovent() ? 11 : 5);
	CHECK(memcmp(got, "firstsecond", is_zerovent() ? 11 : 5) == 0);
	free_half(&a);
	event_base_free(base);
}

static void
what_is_pulled_up_stays_where_it_is(void)
{
	struct event_base *base = event_base_new();
	struct half a = new_half(base);
	struct evbuffer_iovec vec[4];
	unsigned char *bytes;
	int i, n;
	receive(base, &a, "a message that is much shorter than the chunk that it was read into");
	bufferevent_disable(a.bev, EV_READ);
	bytes = evbuffer_pullup(a.in, -1);
	n = evbuffer_peek(a.in, -1, NULL, vec, 4);
	CHECK_INT(n, 1);
	CHECK(vec[0].iov_base == bytes);
	bytes[0] = 'A';
	for (i = 0; i < 5; i++) {
		/* A look has the bufferevent settled before the loop waits, and must not move what it holds. */
		CHECK(evbuffer_get_length(a.in) > 0);
		event_base_loop(base, EVLOOP_NONBLOCK);
		CHECK(evbuffer_pullup(a.in, -1) == bytes);
	}
	CHECK(memcmp(bytes, "A message", 9) == 0);
	n = evbuffer_reserve_space(a.out, 3000, vec, 2);
	CHECK(n >= 1);
	memcpy(vec[0].iov_base, "reserved", 8);
	vec[0].iov_len = 8;
	CHECK_INT(evbuffer_commit_space(a.out, vec, 1), 0);
	CHECK_INT(evbuffer_add_printf(a.out, " and %s", "printed"), 12);
	check_sent(base, &a, "reserved and printed");
	free_half(&a);
	event_base_free(base);
}

static void
free_the_bufferevent(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	(void)buf;
	(void)info;
	told[0]++;
	bufferevent_free(arg);
}

static void
a_callback_may_free_the_bufferevent(void)
{
	struct event_base *base = event_base_new();
	struct half a = new_half(base);
	evbuffer_add_cb(a.in, free_the_bufferevent, a.bev);
	bufferevent_enable(a.bev, EV_READ);
	CHECK_INT(write(a.peer, "x", 1), 1);
	while (told[0] == 0)
		CHECK(event_base_loop(base, EVLOOP_ONCE) >= 0);
	CHECK_INT(told[0], 1);
	CHECK_INT(event_base_loop(base, EVLOOP_NONBLOCK) < 0, 0);
	close(a.peer);
	event_base_free(base);
}

static void
deferred_callbacks_of_a_bufferevent(void)
{
	struct event_base *base = event_base_new();
	struct half a = new_half(base);
	evbuffer_add_cb(a.in, note, "in:");
	CHECK_INT(evbuffer_defer_callbacks(a.in, base), 0);
	receive(base, &a, "12345");
	evbuffer_drain(a.in, 1);
	event_base_loop(base, EVLOOP_NONBLOCK);
	CHECK(strstr(told, "in:0+5-") == told);
	free_half(&a);
	event_base_free(base);
}

MAIN(CASE_ROW(bytes_move_between_all_homes), CASE_ROW(callbacks_hear_of_the_loop),
    CASE_ROW(references_are_given_back_by_the_loop), CASE_ROW(what_is_pulled_up_stays_where_it_is),
    CASE_ROW(a_callback_may_free_the_bufferevent), CASE_ROW(deferred_callbacks_of_a_bufferevent))
