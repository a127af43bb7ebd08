/* Socket bufferevents: what is called when, what is remembered, who closes what, and what programs find in the structure. */
#define _GNU_SOURCE
#include "bufferevents.h"

#include <arpa/inet.h>
#include <event2/bufferevent_compat.h>
#include <event2/bufferevent_struct.h>
#include <event2/event_compat.h>
#include <sys/un.h>

static void
echo(struct bufferevent *bev, void *arg)
{
	CHECK_INT(bufferevent_write_buffer(bev, bufferevent_get_input(bev)), 0);
	(void)arg;
}

static void
bytes_are_echoed(void)
{
	int peer, i;
	struct bufferevent *bev;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL);
	bufferevent_setcb(bev, echo, NULL, NULL, NULL);
	CHECK_INT(bufferevent_enable(bev, EV_READ), 0);
	for (i = 0; i < 100; i++) {
		send_text(peer, "hello");
		turn();
		check_received(peer, "hello");
	}
	bufferevent_free(bev);
	end();
}

static void
a_new_one_writes_and_does_not_read(void)
{
	int peer;
	struct record record = { 0 };
	struct bufferevent *bev;
	begin();
	bev = half(&peer, 0, &record);
	CHECK_INT(bufferevent_get_enabled(bev), EV_WRITE);
	CHECK(bufferevent_get_base(bev) == base);
	CHECK(bufferevent_get_underlying(bev) == NULL);
	CHECK(bufferevent_pair_get_partner(bev) == NULL);
	CHECK_INT(bufferevent_get_priority(bev), 0);
	send_text(peer, "unheard");
	turn();
	CHECK_STR(record.order, "");
	bufferevent_enable(bev, EV_READ);
	CHECK_INT(bufferevent_get_enabled(bev), EV_READ | EV_WRITE);
	turn();
	CHECK_STR(record.order, "R");
	check_input(bev, "unheard");
	bufferevent_disable(bev, EV_READ | EV_WRITE);
	CHECK_INT(bufferevent_get_enabled(bev), 0);
	bufferevent_write(bev, "kept", 4);
	send_text(peer, "kept back");
	turn();
	CHECK_STR(record.order, "R");
	bufferevent_enable(bev, EV_WRITE);
	turn();
	CHECK_STR(record.order, "RW");
	check_received(peer, "kept");
	close(bufferevent_getfd(bev));
	bufferevent_free(bev);
	end();
}

static void
enabling_writing_with_nothing_to_write_asks_once(void)
{
	int peer;
	struct record record = { 0 };
	struct bufferevent *bev;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, &record);
	turn();
	CHECK_INT(record.writes, 0);
	bufferevent_enable(bev, EV_WRITE);
	turn();
	CHECK_INT(record.writes, 1);
	turn();
	CHECK_INT(record.writes, 1);
	bufferevent_enable(bev, EV_WRITE);
	turn();
	CHECK_INT(record.writes, 2);
	bufferevent_write(bev, "x", 1);
	turn();
	CHECK_INT(record.writes, 3);
	bufferevent_free(bev);
	end();
}

static void
contradicting_options_make_none(void)
{
	begin();
	CHECK(bufferevent_socket_new(base, -1, BEV_OPT_UNLOCK_CALLBACKS) == NULL);
	end();
}

static void
buffers_are_closed_at_the_transports_end(void)
{
	int peer;
	struct bufferevent *bev;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL);
	CHECK_INT(evbuffer_add(bufferevent_get_input(bev), "x", 1), -1);
	bufferevent_write(bev, "x", 1);
	CHECK_INT(evbuffer_drain(bufferevent_get_output(bev), 1), -1);
	CHECK_INT(evbuffer_prepend(bufferevent_get_output(bev), "x", 1), -1);
	bufferevent_free(bev);
	end();
}

static void
callbacks_can_be_asked_for(void)
{
	struct record record = { 0 };
	int peer;
	bufferevent_data_cb read, write;
	bufferevent_event_cb event;
	void *arg;
	struct bufferevent *bev;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, &record);
	bufferevent_getcb(bev, &read, &write, &event, &arg);
	CHECK(read == on_read && write == on_write && event == on_event && arg == &record);
	bufferevent_getcb(bev, NULL, NULL, NULL, NULL);
	bufferevent_free(bev);
	end();
}

static void
the_read_mark_delays_the_callback_and_stops_reading(void)
{
	int peer;
	size_t low = 1, high = 1;
	struct record record = { 0 };
	struct bufferevent *bev;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, &record);
	bufferevent_setwatermark(bev, EV_READ, 5, 10);
	CHECK_INT(bufferevent_getwatermark(bev, EV_READ, &low, &high), 0);
	CHECK(low == 5 && high == 10);
	CHECK_INT(bufferevent_getwatermark(bev, EV_WRITE, &low, NULL), 0);
	CHECK(low == 0);
	CHECK_INT(bufferevent_getwatermark(bev, EV_READ | EV_WRITE, &low, &high), -1);
	bufferevent_enable(bev, EV_READ);
	send_text(peer, "four");
	turn();
	CHECK_INT(record.reads, 0);
	CHECK_INT(evbuffer_get_length(bufferevent_get_input(bev)), 4);
	send_text(peer, "teen");
	turn();
	CHECK_INT(record.reads, 1);
	/* Nobody is called from here on, for libevent would call without end as long as the input is full. */
	bufferevent_setcb(bev, NULL, NULL, NULL, NULL);
	send_text(peer, ", and more than that");
	turn();
	CHECK_INT(evbuffer_get_length(bufferevent_get_input(bev)), 10);
	evbuffer_drain(bufferevent_get_input(bev), 10);
	turn();
	CHECK_INT(evbuffer_get_length(bufferevent_get_input(bev)), 10);
	bufferevent_setwatermark(bev, EV_READ, 0, 0);
	turn();
	CHECK_INT(evbuffer_get_length(bufferevent_get_input(bev)), 18);
	bufferevent_free(bev);
	end();
}

static void
an_input_that_stays_full_costs_no_calls(void)
{
	int peer;
	struct record record = { 0 };
	struct bufferevent *bev;
	struct timeval soon = { 0, 30000 };
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, &record);
	bufferevent_setwatermark(bev, EV_READ, 0, 4);
	bufferevent_enable(bev, EV_READ);
	send_text(peer, "full and more");
	event_base_loopexit(base, &soon);
	event_base_dispatch(base);
	/* Libevent calls the callback as fast as it can for as long as the input is full. */
	if (is_zerovent())
		CHECK_INT(record.reads, 1);
	else
		CHECK(record.reads > 10);
	bufferevent_free(bev);
	end();
}

static void
the_write_mark_says_when_little_is_left(void)
{
	int peer;
	static char bytes[1 << 20];
	struct record record = { 0 };
	struct bufferevent *bev;
	size_t len;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, &record);
	bufferevent_setwatermark(bev, EV_WRITE, 300000, 0);
	bufferevent_write(bev, bytes, sizeof bytes);
	turn();
	CHECK(evbuffer_get_length(bufferevent_get_output(bev)) > 300000);
	CHECK_INT(record.writes, 0);
	while (record.writes == 0) {
		while (read(peer, bytes, sizeof bytes) > 0)
			;
		turn();
	}
	len = evbuffer_get_length(bufferevent_get_output(bev));
	CHECK(len <= 300000);
	bufferevent_free(bev);
	end();
}

static void
count_call(evutil_socket_t fd, short what, void *arg)
{
	++*(int *)arg;
	(void)fd, (void)what;
}

/* A bufferevent's socket is the program's, too. */
static void
an_event_of_the_programs_may_wait_for_the_socket(void)
{
	int peer, fd;
	char byte;
	struct record record = { 0 };
	int reads = 0, writes = 0;
	struct event reader, writer;
	struct bufferevent *bev;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, &record);
	fd = bufferevent_getfd(bev);
	turn();
	event_assign(&reader, base, fd, EV_READ | EV_PERSIST, count_call, &reads);
	event_assign(&writer, base, fd, EV_WRITE, count_call, &writes);
	CHECK_INT(event_add(&reader, NULL), 0);
	CHECK_INT(event_add(&writer, NULL), 0);
	turn();
	CHECK_INT(reads, 0);
	CHECK_INT(writes, 1);
	/* The bufferevent does not read yet: it is told again and again. */
	send_text(peer, "x");
	event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	CHECK_INT(reads, 2);
	CHECK_INT(recv(fd, &byte, 1, MSG_PEEK), 1);
	bufferevent_enable(bev, EV_READ);
	turn();
	CHECK_INT(record.reads, 1);
	check_input(bev, "x");
	reads = 0;
	turn();
	CHECK_INT(reads, 0);
	/* Both are told of the next bytes, which the bufferevent reads. */
	send_text(peer, "yz");
	turn();
	CHECK_INT(reads, 1);
	CHECK_INT(record.reads, 2);
	check_input(bev, "yz");
	/* The bufferevent still hears of it when the socket takes more, and so does an event that is added again. */
	bufferevent_write(bev, "answer", 6);
	CHECK_INT(event_add(&writer, NULL), 0);
	turn();
	CHECK_INT(writes, 2);
	check_received(peer, "answer");
	CHECK_INT(event_del(&reader), 0);
	send_text(peer, "left alone");
	turn();
	CHECK_INT(reads, 1);
	check_input(bev, "left alone");
	CHECK_INT(event_add(&reader, NULL), 0);
	CHECK_INT(event_add(&writer, NULL), 0);
	CHECK_INT(event_del(&reader), 0);
	CHECK_INT(event_del(&writer), 0);
	bufferevent_free(bev);
	turn();
	end();
}

static void
the_end_is_told_once_and_reading_stops(void)
{
	int peer;
	struct record record = { 0 };
	struct bufferevent *bev;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, &record);
	bufferevent_enable(bev, EV_READ);
	send_text(peer, "last words");
	close(peer);
	turn();
	CHECK_STR(record.order, "RE");
	CHECK_INT(record.what, BEV_EVENT_EOF | BEV_EVENT_READING);
	CHECK_INT(bufferevent_get_enabled(bev), EV_WRITE);
	check_input(bev, "last words");
	turn();
	CHECK_INT(record.events, 1);
	/* Who enables it again is told again. */
	bufferevent_enable(bev, EV_READ);
	turn();
	CHECK_INT(record.events, 2);
	bufferevent_free(bev);
	end();
}

static void
an_error_is_told_with_its_number(void)
{
	int peer;
	struct record record = { 0 };
	struct bufferevent *bev;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, &record);
	close(peer);
	bufferevent_write(bev, "nobody reads this", 17);
	turn();
	CHECK_STR(record.order, "E");
	CHECK_INT(record.what, BEV_EVENT_ERROR | BEV_EVENT_WRITING);
	CHECK_INT(record.error, EPIPE);
	CHECK_INT(bufferevent_get_enabled(bev), 0);
	bufferevent_free(bev);
	end();
}

static void
an_error_is_told_with_its_number_later_too(void)
{
	int peer;
	struct record record = { 0 };
	struct bufferevent *bev;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS, &record);
	close(peer);
	bufferevent_write(bev, "nobody reads this", 17);
	turn();
	CHECK_INT(record.what, BEV_EVENT_ERROR | BEV_EVENT_WRITING);
	CHECK_INT(record.error, EPIPE);
	bufferevent_free(bev);
	end();
}

static void
silence_is_a_timeout_of_each_direction(void)
{
	int peer;
	static char bytes[1 << 20];
	struct timeval brief = { 0, 500000 }, briefer = { 0, 10000 };
	struct record record = { 0 };
	struct bufferevent *bev;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, &record);
	CHECK_INT(bufferevent_set_timeouts(bev, &brief, &briefer), 0);
	bufferevent_write(bev, bytes, sizeof bytes);
	bufferevent_enable(bev, EV_READ);
	run_until(&record.events, 1);
	CHECK_INT(record.what, BEV_EVENT_TIMEOUT | BEV_EVENT_WRITING);
	CHECK_INT(bufferevent_get_enabled(bev), EV_READ);
	record.what = 0;
	run_until(&record.events, 2);
	CHECK_INT(record.what, BEV_EVENT_TIMEOUT | BEV_EVENT_READING);
	CHECK_INT(bufferevent_get_enabled(bev), 0);
	/* A timeout of zero is none. */
	bufferevent_set_timeouts(bev, NULL, NULL);
	bufferevent_enable(bev, EV_READ);
	turn();
	CHECK_INT(record.events, 2);
	bufferevent_free(bev);
	end();
}

static void
deferred_callbacks_come_in_their_order(void)
{
	int peer;
	struct record record = { 0 };
	struct bufferevent *bev;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS, &record);
	bufferevent_trigger_event(bev, BEV_EVENT_EOF | BEV_EVENT_READING, 0);
	bufferevent_trigger(bev, EV_WRITE, 0);
	bufferevent_trigger(bev, EV_READ, 0);
	bufferevent_trigger_event(bev, BEV_EVENT_CONNECTED, 0);
	CHECK_STR(record.order, "");
	turn();
	CHECK_STR(record.order, "CRWE");
	CHECK_INT(record.what, BEV_EVENT_CONNECTED | BEV_EVENT_EOF | BEV_EVENT_READING);
	bufferevent_free(bev);
	end();
}

static void
triggers_call_at_once_and_respect_marks(void)
{
	int peer;
	struct record record = { 0 };
	struct bufferevent *bev;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, &record);
	bufferevent_setwatermark(bev, EV_READ, 10, 0);
	bufferevent_trigger(bev, EV_READ | EV_WRITE, 0);
	CHECK_STR(record.order, "W");
	bufferevent_trigger(bev, EV_READ | EV_WRITE, BEV_TRIG_IGNORE_WATERMARKS);
	CHECK_STR(record.order, "WRW");
	bufferevent_trigger_event(bev, BEV_EVENT_TIMEOUT, 0);
	CHECK_STR(record.order, "WRWE");
	bufferevent_trigger(bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
	bufferevent_trigger_event(bev, BEV_EVENT_EOF, BEV_TRIG_DEFER_CALLBACKS);
	CHECK_STR(record.order, "WRWE");
	turn();
	CHECK_STR(record.order, "WRWERE");
	bufferevent_free(bev);
	end();
}

static void
a_descriptor_is_closed_only_if_asked(void)
{
	int peer, fd;
	struct bufferevent *bev;
	begin();
	bev = half(&peer, 0, NULL);
	fd = bufferevent_getfd(bev);
	bufferevent_enable(bev, EV_READ);
	turn();
	bufferevent_free(bev);
	turn();
	CHECK(is_open(fd));
	close(fd);
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL);
	fd = bufferevent_getfd(bev);
	bufferevent_free(bev);
	turn();
	CHECK(!is_open(fd));
	end();
}

static void
what_is_unsent_goes_with_it(void)
{
	int peer;
	char byte;
	struct bufferevent *bev;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL);
	bufferevent_write(bev, "never sent", 10);
	bufferevent_free(bev);
	turn();
	CHECK_INT(read(peer, &byte, 1), 0);
	end();
}

static void
a_descriptor_can_be_exchanged(void)
{
	int peer, other[2], fd;
	struct record record = { 0 };
	struct bufferevent *bev;
	begin();
	make_pair(other);
	bev = half(&peer, 0, &record);
	fd = bufferevent_getfd(bev);
	bufferevent_enable(bev, EV_READ);
	CHECK_INT(bufferevent_setfd(bev, other[0]), 0);
	CHECK_INT(bufferevent_getfd(bev), other[0]);
	CHECK(is_open(fd));
	send_text(other[1], "new");
	turn();
	check_input(bev, "new");
	CHECK_INT(bufferevent_setfd(bev, -1), 0);
	CHECK_INT(bufferevent_getfd(bev), -1);
	send_text(other[1], "unheard");
	turn();
	CHECK_INT(record.reads, 1);
	CHECK_INT(bufferevent_setfd(bev, fd), 0);
	send_text(peer, "old");
	turn();
	check_input(bev, "old");
	bufferevent_free(bev);
	end();
}

static void
references_keep_it(void)
{
	int peer, fd;
	struct record record = { 0 };
	struct bufferevent *bev;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, &record);
	fd = bufferevent_getfd(bev);
	bufferevent_enable(bev, EV_READ);
	bufferevent_incref(bev);
	bufferevent_lock(bev);
	bufferevent_free(bev);
	send_text(peer, "arrives");
	turn();
	CHECK(is_open(fd));
	CHECK_STR(record.order, "");
	bufferevent_unlock(bev);
	CHECK(is_open(fd));
	CHECK_INT(bufferevent_decref(bev), 1);
	turn();
	CHECK(!is_open(fd));
	end();
}

static void
free_it(struct bufferevent *bev, void *arg)
{
	++*(int *)arg;
	bufferevent_free(bev);
}

static void
free_it_for_event(struct bufferevent *bev, short what, void *arg)
{
	free_it(bev, arg);
	(void)what;
}

static void
it_may_be_freed_by_each_callback(void)
{
	int peer, options, calls = 0;
	struct bufferevent *bev;
	begin();
	for (options = BEV_OPT_CLOSE_ON_FREE; options < 8; options += BEV_OPT_DEFER_CALLBACKS) {
		calls = 0;
		bev = half(&peer, options, NULL);
		bufferevent_setcb(bev, free_it, NULL, free_it_for_event, &calls);
		bufferevent_enable(bev, EV_READ);
		send_text(peer, "x");
		close(peer);
		turn();
		CHECK_INT(calls, 1);
		bev = half(&peer, options, NULL);
		bufferevent_setcb(bev, NULL, free_it, free_it_for_event, &calls);
		bufferevent_write(bev, "x", 1);
		turn();
		CHECK_INT(calls, 2);
		close(peer);
		bev = half(&peer, options, NULL);
		bufferevent_setcb(bev, free_it, free_it, free_it_for_event, &calls);
		bufferevent_enable(bev, EV_READ);
		close(peer);
		turn();
		CHECK_INT(calls, 3);
		bev = half(&peer, options, NULL);
		bufferevent_setcb(bev, free_it, free_it, free_it_for_event, &calls);
		bufferevent_trigger(bev, EV_READ | EV_WRITE, 0);
		turn();
		CHECK_INT(calls, 4);
		close(peer);
	}
	end();
}

/* What old programs do: they look into the structure, and write into it. */
static void
the_structure_is_true_and_can_be_written(void)
{
	int peer;
	struct record record = { 0 };
	struct timeval time = { 5, 0 };
	struct bufferevent *bev;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL);
	CHECK(bev->ev_base == base && bev->be_ops != NULL);
	CHECK(bev->input == bufferevent_get_input(bev) && bev->output == bufferevent_get_output(bev));
	CHECK_INT(bev->enabled, EV_WRITE);
	CHECK_INT(event_get_fd(&bev->ev_read), bufferevent_getfd(bev));
	CHECK_INT(event_get_fd(&bev->ev_write), bufferevent_getfd(bev));
	CHECK(event_initialized(&bev->ev_read) && event_initialized(&bev->ev_write));
	CHECK_INT(event_pending(&bev->ev_read, EV_READ, NULL), 0);
	CHECK(event_get_base(&bev->ev_read) == base);
	CHECK_INT(event_get_events(&bev->ev_read) & (EV_READ | EV_PERSIST), EV_READ | EV_PERSIST);
	bev->readcb = on_read;
	bev->writecb = on_write;
	bev->errorcb = on_event;
	bev->cbarg = &record;
	bufferevent_enable(bev, EV_READ);
	CHECK_INT(bev->enabled, EV_READ | EV_WRITE);
	CHECK_INT(event_pending(&bev->ev_read, EV_READ, NULL), EV_READ);
	send_text(peer, "direct");
	turn();
	CHECK_STR(record.order, "R");
	check_input(bev, "direct");
	evbuffer_add(bev->output, "x", 1);
	turn();
	CHECK_STR(record.order, "RW");
	bev->writecb = NULL;
	evbuffer_add(bev->output, "y", 1);
	turn();
	CHECK_STR(record.order, "RW");
	bufferevent_setwatermark(bev, EV_READ, 1, 100);
	CHECK(bev->wm_read.low == 1 && bev->wm_read.high == 100);
	bev->wm_read.low = 4;
	send_text(peer, "abc");
	turn();
	CHECK_STR(record.order, "RW");
	send_text(peer, "d");
	turn();
	CHECK_STR(record.order, "RWR");
	bufferevent_set_timeouts(bev, &time, NULL);
	CHECK_INT(bev->timeout_read.tv_sec, 5);
	CHECK_INT(bev->timeout_write.tv_sec, 0);
	close(peer);
	turn();
	CHECK_STR(record.order, "RWRE");
	CHECK_INT(bev->enabled, EV_WRITE);
	CHECK_INT(event_pending(&bev->ev_read, EV_READ, NULL), 0);
	bufferevent_free(bev);
	end();
}

static void
the_obsolete_functions_work(void)
{
	int pair[2];
	struct record record = { 0 };
	struct bufferevent *bev;
	struct event_base *other;
	base = event_init();
	CHECK(base != NULL);
	make_pair(pair);
	bev = bufferevent_new(pair[0], on_read, on_write, on_event, &record);
	CHECK(bev != NULL);
	bufferevent_settimeout(bev, 7, 0);
	CHECK_INT(bev->timeout_read.tv_sec, 7);
	other = event_base_new();
	CHECK_INT(bufferevent_base_set(other, bev), 0);
	CHECK(bufferevent_get_base(bev) == other);
	CHECK_INT(bufferevent_enable(bev, EV_READ), 0);
	send_text(pair[1], "to the other base");
	event_base_loop(other, EVLOOP_ONCE);
	CHECK_INT(record.reads, 1);
	check_input(bev, "to the other base");
	bufferevent_free(bev);
	CHECK(is_open(pair[0]));
	event_base_free(other);
	event_base_free(base);
}

static void
priorities_belong_to_sockets(void)
{
	int peer;
	struct bufferevent *bev;
	begin();
	CHECK_INT(event_base_priority_init(base, 5), 0);
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL);
	CHECK_INT(bufferevent_get_priority(bev), 2);
	CHECK_INT(bufferevent_priority_set(bev, 4), 0);
	CHECK_INT(bufferevent_get_priority(bev), 4);
	CHECK_INT(bufferevent_priority_set(bev, 5), -1);
	CHECK_INT(bufferevent_get_priority(bev), 4);
	bufferevent_free(bev);
	end();
}

static void
a_socket_has_nothing_to_flush(void)
{
	int peer;
	struct bufferevent *bev;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL);
	CHECK_INT(bufferevent_flush(bev, EV_READ | EV_WRITE, BEV_FINISHED), 0);
	bufferevent_free(bev);
	end();
}

static void
a_terminal_gives_all_its_lines(void)
{
	int master, slave;
	struct record record = { 0 };
	struct bufferevent *bev;
	begin();
	master = posix_openpt(O_RDWR | O_NOCTTY);
	CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_NONBLOCK);
	CHECK(slave >= 0);
	send_text(master, "one\ntwo\nthree\n");
	bev = bufferevent_socket_new(base, slave, BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(bev, on_read, NULL, on_event, &record);
	bufferevent_enable(bev, EV_READ);
	turn();
	turn();
	check_input(bev, "one\ntwo\nthree\n");
	CHECK_INT(record.events, 0);
	bufferevent_write(bev, "answer", 6);
	turn();
	bufferevent_free(bev);
	close(master);
	end();
}

static void
it_can_be_freed_after_its_base(void)
{
	int peer, fd;
	struct bufferevent *bev;
	/* Libevent uses the base. */
	if (!is_zerovent())
		return;
	begin();
	bev = half(&peer, 0, NULL);
	fd = bufferevent_getfd(bev);
	end();
	CHECK(is_open(fd));
	CHECK_INT(bufferevent_getfd(bev), fd);
	CHECK_INT(evbuffer_get_length(bufferevent_get_input(bev)), 0);
	CHECK_INT(bufferevent_enable(bev, EV_READ), -1);
	bufferevent_free(bev);
	CHECK(is_open(fd));
}

static void
no_signal_is_raised_by_writing(void)
{
	int peer;
	struct record record = { 0 };
	struct bufferevent *bev;
	/* Libevent leaves it to the program to ignore SIGPIPE. */
	if (!is_zerovent())
		return;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, &record);
	close(peer);
	bufferevent_write(bev, "nobody reads this", 17);
	turn();
	CHECK_INT(record.error, EPIPE);
	bufferevent_free(bev);
	end();
}

static void
null_is_refused_everywhere(void)
{
	/* Libevent crashes. */
	if (!is_zerovent())
		return;
	CHECK_INT(bufferevent_enable(NULL, EV_READ), -1);
	CHECK_INT(bufferevent_disable(NULL, EV_READ), -1);
	CHECK_INT(bufferevent_write(NULL, "x", 1), -1);
	CHECK_INT(bufferevent_getfd(NULL), -1);
	CHECK_INT(bufferevent_setfd(NULL, 0), -1);
	CHECK_INT(bufferevent_socket_connect(NULL, NULL, 0), -1);
	CHECK(bufferevent_get_input(NULL) == NULL);
	CHECK(bufferevent_filter_new(NULL, NULL, NULL, 0, NULL, NULL) == NULL);
	bufferevent_free(NULL);
	bufferevent_setcb(NULL, NULL, NULL, NULL, NULL);
}

MAIN(CASE_ROW(bytes_are_echoed), CASE_ROW(a_new_one_writes_and_does_not_read),
    CASE_ROW(enabling_writing_with_nothing_to_write_asks_once), CASE_ROW(contradicting_options_make_none),
    CASE_ROW(buffers_are_closed_at_the_transports_end), CASE_ROW(callbacks_can_be_asked_for),
    CASE_ROW(the_read_mark_delays_the_callback_and_stops_reading), CASE_ROW(an_input_that_stays_full_costs_no_calls),
    CASE_ROW(the_write_mark_says_when_little_is_left), CASE_ROW(the_end_is_told_once_and_reading_stops),
    CASE_ROW(an_event_of_the_programs_may_wait_for_the_socket),
    CASE_ROW(an_error_is_told_with_its_number), CASE_ROW(an_error_is_told_with_its_number_later_too),
    CASE_ROW(silence_is_a_timeout_of_each_direction), CASE_ROW(deferred_callbacks_come_in_their_order),
    CASE_ROW(triggers_call_at_once_and_respect_marks), CASE_ROW(a_descriptor_is_closed_only_if_asked),
    CASE_ROW(what_is_unsent_goes_with_it), CASE_ROW(a_descriptor_can_be_exchanged), CASE_ROW(references_keep_it),
    CASE_ROW(it_may_be_freed_by_each_callback), CASE_ROW(the_structure_is_true_and_can_be_written),
    CASE_ROW(the_obsolete_functions_work), CASE_ROW(priorities_belong_to_sockets), CASE_ROW(a_socket_has_nothing_to_flush),
    CASE_ROW(a_terminal_gives_all_its_lines), CASE_ROW(it_can_be_freed_after_its_base),
    CASE_ROW(no_signal_is_raised_by_writing), CASE_ROW(null_is_refused_everywhere))
