/* Pairs and filters: bufferevents whose transport is another bufferevent, or functions of the program's. */
#include "bufferevents.h"

static struct bufferevent *pair[2];
static struct record records[2];

static void
begin_pair(int options)
{
	int i;
	begin();
	CHECK_INT(bufferevent_pair_new(base, options, pair), 0);
	for (i = 0; i < 2; i++)
		bufferevent_setcb(pair[i], on_read, on_write, on_event, &records[i]);
}

static void
end_pair(void)
{
	int i;
	for (i = 0; i < 2; i++)
		if (pair[i] != NULL)
			bufferevent_free(pair[i]);
	turn();
	end();
}

static void
bytes_cross_at_once_when_both_want_them_to(void)
{
	begin_pair(0);
	CHECK_INT(bufferevent_get_enabled(pair[0]), EV_WRITE);
	CHECK(bufferevent_pair_get_partner(pair[0]) == pair[1]);
	CHECK(bufferevent_pair_get_partner(pair[1]) == pair[0]);
	CHECK_INT(bufferevent_getfd(pair[0]), -1);
	CHECK_INT(bufferevent_setfd(pair[0], 0), -1);
	CHECK_INT(bufferevent_priority_set(pair[0], 0), -1);
	bufferevent_write(pair[0], "wait", 4);
	CHECK_INT(evbuffer_get_length(bufferevent_get_input(pair[1])), 0);
	bufferevent_enable(pair[1], EV_READ);
	CHECK_INT(evbuffer_get_length(bufferevent_get_input(pair[1])), 4);
	CHECK_STR(records[1].order, "");
	turn();
	CHECK_STR(records[1].order, "R");
	CHECK_STR(records[0].order, "W");
	check_input(pair[1], "wait");
	bufferevent_write(pair[0], "now", 3);
	check_input(pair[1], "now");
	bufferevent_disable(pair[0], EV_WRITE);
	bufferevent_write(pair[0], "later", 5);
	CHECK_INT(evbuffer_get_length(bufferevent_get_input(pair[1])), 0);
	bufferevent_enable(pair[0], EV_WRITE);
	check_input(pair[1], "later");
	end_pair();
}

static void
a_mark_holds_bytes_back_until_there_is_room(void)
{
	begin_pair(0);
	bufferevent_setwatermark(pair[1], EV_READ, 0, 5);
	bufferevent_setcb(pair[1], NULL, NULL, NULL, NULL);
	bufferevent_enable(pair[1], EV_READ);
	bufferevent_write(pair[0], "0123456789ab", 12);
	CHECK_INT(evbuffer_get_length(bufferevent_get_input(pair[1])), 5);
	check_input(pair[1], "01234");
	CHECK_INT(evbuffer_get_length(bufferevent_get_input(pair[1])), 5);
	bufferevent_setwatermark(pair[1], EV_READ, 0, 0);
	check_input(pair[1], "56789ab");
	CHECK(evbuffer_add(bufferevent_get_input(pair[1]), "x", 1) == -1);
	CHECK(evbuffer_drain(bufferevent_get_output(pair[1]), 1) == 0);
	end_pair();
}

static void
flushing_forces_bytes_across_and_tells_the_end(void)
{
	begin_pair(0);
	bufferevent_write(pair[0], "forced", 6);
	CHECK_INT(bufferevent_flush(pair[0], EV_WRITE, BEV_NORMAL), 0);
	CHECK_INT(evbuffer_get_length(bufferevent_get_input(pair[1])), 0);
	CHECK_INT(bufferevent_flush(pair[0], EV_WRITE, BEV_FLUSH), 0);
	check_input(pair[1], "forced");
	bufferevent_write(pair[0], "last", 4);
	CHECK_INT(bufferevent_flush(pair[0], EV_WRITE, BEV_FINISHED), 0);
	CHECK_INT(records[1].events, 0);
	turn();
	CHECK_INT(records[1].what, BEV_EVENT_EOF | BEV_EVENT_READING);
	check_input(pair[1], "last");
	CHECK_INT(records[0].events, 0);
	end_pair();
}

static void
a_half_that_goes_leaves_the_other_in_silence(void)
{
	begin_pair(0);
	bufferevent_enable(pair[1], EV_READ);
	bufferevent_free(pair[0]);
	pair[0] = NULL;
	CHECK(bufferevent_pair_get_partner(pair[1]) == NULL);
	CHECK_INT(bufferevent_write(pair[1], "to nobody", 9), 0);
	CHECK_INT(bufferevent_flush(pair[1], EV_WRITE, BEV_FLUSH), -1);
	turn();
	CHECK_STR(records[1].order, "");
	end_pair();
}

static void
a_pair_has_timeouts(void)
{
	struct timeval brief = { 0, 10000 };
	begin_pair(0);
	bufferevent_set_timeouts(pair[1], &brief, NULL);
	bufferevent_enable(pair[1], EV_READ);
	run_until(&records[1].events, 1);
	CHECK_INT(records[1].what, BEV_EVENT_TIMEOUT | BEV_EVENT_READING);
	CHECK_INT(bufferevent_get_enabled(pair[1]), EV_WRITE);
	end_pair();
}

static void
free_both(struct bufferevent *bev, void *arg)
{
	bufferevent_free(pair[0]);
	bufferevent_free(pair[1]);
	pair[0] = pair[1] = NULL;
	(void)bev;
	(void)arg;
}

static void
both_may_be_freed_by_a_callback_of_one(void)
{
	begin_pair(0);
	bufferevent_setcb(pair[1], free_both, NULL, NULL, NULL);
	bufferevent_enable(pair[1], EV_READ);
	bufferevent_write(pair[0], "x", 1);
	turn();
	CHECK(pair[0] == NULL);
	CHECK_STR(records[0].order, "");
	end_pair();
}

/* ---- filters ---- */

static int contexts_freed;

static void
free_context(void *context)
{
	CHECK(context == &contexts_freed);
	contexts_freed++;
}

static enum bufferevent_filter_result
rotate(struct evbuffer *from, struct evbuffer *to, ev_ssize_t limit, enum bufferevent_flush_mode mode, void *context)
{
	char bytes[16];
	int i, count = evbuffer_remove(from, bytes, limit >= 0 && limit < 16 ? (size_t)limit : 16);
	(void)mode;
	(void)context;
	if (count <= 0)
		return BEV_NEED_MORE;
	for (i = 0; i < count; i++)
		if (bytes[i] >= 'a' && bytes[i] <= 'z')
			bytes[i] = 'a' + (bytes[i] - 'a' + 13) % 26;
	CHECK_INT(evbuffer_add(to, bytes, count), 0);
	return BEV_OK;
}

static struct bufferevent *
rotating(struct bufferevent *underlying, int options, struct record *record)
{
	struct bufferevent *filter =
	    bufferevent_filter_new(underlying, rotate, rotate, options, free_context, &contexts_freed);
	CHECK(filter != NULL);
	bufferevent_setcb(filter, on_read, on_write, on_event, record);
	return filter;
}

static void
a_filter_transforms_both_ways(void)
{
	int peer;
	struct record record = { 0 };
	struct bufferevent *below, *filter;
	begin();
	below = half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL);
	filter = rotating(below, BEV_OPT_CLOSE_ON_FREE, &record);
	CHECK(bufferevent_get_underlying(filter) == below);
	CHECK_INT(bufferevent_getfd(filter), bufferevent_getfd(below));
	CHECK_INT(bufferevent_priority_set(filter, 0), -1);
	send_text(peer, "uryyb");
	turn();
	CHECK_STR(record.order, "");
	bufferevent_enable(filter, EV_READ);
	turn();
	CHECK_STR(record.order, "R");
	check_input(filter, "hello");
	bufferevent_write(filter, "hello, and more than sixteen bytes", 34);
	CHECK_STR(record.order, "RW");
	turn();
	check_received(peer, "uryyb, naq zber guna fvkgrra olgrf");
	bufferevent_free(filter);
	turn();
	CHECK_INT(contexts_freed, 1);
	CHECK_INT(read(peer, &peer, 1), 0);
	end();
}

static void
filters_can_be_stacked(void)
{
	int peer;
	struct record record = { 0 };
	struct bufferevent *below, *middle, *filter;
	begin();
	below = half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL);
	middle = rotating(below, BEV_OPT_CLOSE_ON_FREE, &record);
	filter = rotating(middle, BEV_OPT_CLOSE_ON_FREE, &record);
	bufferevent_enable(filter, EV_READ);
	CHECK_INT(bufferevent_getfd(filter), bufferevent_getfd(below));
	send_text(peer, "twice is never");
	turn();
	check_input(filter, "twice is never");
	bufferevent_write(filter, "and back", 8);
	turn();
	check_received(peer, "and back");
	bufferevent_free(filter);
	turn();
	CHECK_INT(contexts_freed, 2);
	end();
}

static void
a_filter_without_functions_passes_everything(void)
{
	int peer;
	struct bufferevent *below, *filter;
	begin();
	below = half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL);
	filter = bufferevent_filter_new(below, NULL, NULL, 0, NULL, NULL);
	bufferevent_enable(filter, EV_READ);
	send_text(peer, "as it is");
	bufferevent_write(filter, "likewise", 8);
	turn();
	check_input(filter, "as it is");
	check_received(peer, "likewise");
	bufferevent_free(filter);
	turn();
	/* What it lay on is the program's again. */
	CHECK(is_open(bufferevent_getfd(below)));
	bufferevent_free(below);
	turn();
	end();
}

static void
the_end_and_errors_come_up_through_a_filter(void)
{
	int peer;
	struct record record = { 0 };
	struct bufferevent *filter;
	begin();
	filter = rotating(half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL), BEV_OPT_CLOSE_ON_FREE, &record);
	bufferevent_enable(filter, EV_READ);
	send_text(peer, "ynfg jbeqf");
	close(peer);
	turn();
	CHECK_STR(record.order, "RE");
	CHECK_INT(record.what, BEV_EVENT_EOF | BEV_EVENT_READING);
	check_input(filter, "last words");
	bufferevent_free(filter);
	turn();
	end();
}

static enum bufferevent_filter_result
refuse(struct evbuffer *from, struct evbuffer *to, ev_ssize_t limit, enum bufferevent_flush_mode mode, void *context)
{
	(void)from, (void)to, (void)limit, (void)mode, (void)context;
	return BEV_ERROR;
}

static void
a_filter_that_fails_is_heard_of(void)
{
	int peer;
	struct record record = { 0 };
	struct bufferevent *filter;
	begin();
	filter = bufferevent_filter_new(half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL), refuse, refuse, BEV_OPT_CLOSE_ON_FREE,
	    NULL, NULL);
	bufferevent_setcb(filter, on_read, on_write, on_event, &record);
	bufferevent_enable(filter, EV_READ);
	send_text(peer, "x");
	turn();
	/* Libevent drops what the functions answer. */
	CHECK_INT(record.what, is_zerovent() ? BEV_EVENT_ERROR | BEV_EVENT_READING : 0);
	record.what = 0;
	bufferevent_write(filter, "x", 1);
	turn();
	CHECK_INT(record.what, is_zerovent() ? BEV_EVENT_ERROR | BEV_EVENT_WRITING : 0);
	bufferevent_free(filter);
	turn();
	end();
}

static void
nothing_stays_behind_a_mark_or_a_pause(void)
{
	int peer;
	struct bufferevent *filter;
	struct record record = { 0 };
	begin();
	filter = rotating(half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL), BEV_OPT_CLOSE_ON_FREE, &record);
	bufferevent_setcb(filter, NULL, NULL, NULL, NULL);
	bufferevent_setwatermark(filter, EV_READ, 0, 4);
	bufferevent_enable(filter, EV_READ);
	send_text(peer, "abcdefghijkl");
	turn();
	check_input(filter, "nopq");
	turn();
	check_input(filter, "rstu");
	bufferevent_disable(filter, EV_READ | EV_WRITE);
	turn();
	bufferevent_write(filter, "nop", 3);
	turn();
	bufferevent_setwatermark(filter, EV_READ, 0, 0);
	bufferevent_enable(filter, EV_READ | EV_WRITE);
	turn();
	/* In libevent bytes stay where they are until something else moves. */
	if (is_zerovent()) {
		CHECK_INT(evbuffer_get_length(bufferevent_get_output(filter)), 0);
		check_received(peer, "abc");
		check_input(filter, "vwxy");
	}
	bufferevent_free(filter);
	turn();
	end();
}

static enum bufferevent_filter_result
hold(struct evbuffer *from, struct evbuffer *to, ev_ssize_t limit, enum bufferevent_flush_mode mode, void *context)
{
	(void)context;
	if (mode == BEV_NORMAL)
		return BEV_NEED_MORE;
	CHECK_INT(limit, -1);
	if (mode == BEV_FINISHED)
		evbuffer_add(to, "<end>", 5);
	return evbuffer_remove_buffer(from, to, 100) >= 0 ? BEV_OK : BEV_ERROR;
}

static void
flushing_tells_the_functions_how_hard_to_try(void)
{
	int peer;
	struct record record = { 0 };
	struct bufferevent *filter;
	begin();
	filter = bufferevent_filter_new(half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL), hold, hold, BEV_OPT_CLOSE_ON_FREE, NULL,
	    NULL);
	bufferevent_setcb(filter, on_read, on_write, on_event, &record);
	bufferevent_write(filter, "held", 4);
	turn();
	CHECK_INT(evbuffer_get_length(bufferevent_get_output(filter)), 4);
	CHECK_INT(bufferevent_flush(filter, EV_WRITE, BEV_FLUSH), 1);
	turn();
	check_received(peer, "held");
	CHECK_INT(bufferevent_flush(filter, EV_WRITE, BEV_NORMAL), 0);
	CHECK_INT(bufferevent_flush(filter, EV_WRITE, BEV_FINISHED), 1);
	turn();
	check_received(peer, "<end>");
	bufferevent_free(filter);
	turn();
	end();
}

static enum bufferevent_filter_result
idle(struct evbuffer *from, struct evbuffer *to, ev_ssize_t limit, enum bufferevent_flush_mode mode, void *context)
{
	(void)from, (void)to, (void)limit, (void)mode;
	++*(int *)context;
	return BEV_OK;
}

static void
a_filter_that_does_nothing_is_not_asked_for_ever(void)
{
	int peer, calls = 0;
	struct bufferevent *filter;
	/* Libevent never returns. */
	if (!is_zerovent())
		return;
	begin();
	filter = bufferevent_filter_new(half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL), idle, idle, BEV_OPT_CLOSE_ON_FREE, NULL,
	    &calls);
	bufferevent_write(filter, "x", 1);
	turn();
	CHECK(calls > 0 && calls < 5);
	bufferevent_free(filter);
	end();
}

static void
free_filter(struct bufferevent *bev, void *arg)
{
	++*(int *)arg;
	bufferevent_free(bev);
}

static void
free_filter_for_event(struct bufferevent *bev, short what, void *arg)
{
	free_filter(bev, arg);
	(void)what;
}

static void
a_filter_may_be_freed_by_each_callback(void)
{
	int peer, options, calls = 0;
	struct bufferevent *filter;
	begin();
	for (options = BEV_OPT_CLOSE_ON_FREE; options < 8; options += BEV_OPT_DEFER_CALLBACKS) {
		calls = contexts_freed = 0;
		filter = rotating(half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL), options, NULL);
		bufferevent_setcb(filter, free_filter, NULL, NULL, &calls);
		bufferevent_enable(filter, EV_READ);
		send_text(peer, "x");
		turn();
		CHECK_INT(calls, 1);
		close(peer);
		filter = rotating(half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL), options, NULL);
		bufferevent_setcb(filter, NULL, free_filter, NULL, &calls);
		bufferevent_write(filter, "x", 1);
		turn();
		CHECK_INT(calls, 2);
		close(peer);
		filter = rotating(half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL), options, NULL);
		bufferevent_setcb(filter, NULL, NULL, free_filter_for_event, &calls);
		bufferevent_enable(filter, EV_READ);
		close(peer);
		turn();
		CHECK_INT(calls, 3);
		CHECK_INT(contexts_freed, 3);
	}
	end();
}

static void
a_filter_lies_on_a_pair_too(void)
{
	struct record record = { 0 };
	struct bufferevent *filter;
	begin_pair(0);
	filter = rotating(pair[0], 0, &record);
	bufferevent_enable(filter, EV_READ);
	bufferevent_enable(pair[1], EV_READ);
	bufferevent_write(filter, "hello", 5);
	turn();
	check_input(pair[1], "uryyb");
	bufferevent_write(pair[1], "uryyb", 5);
	turn();
	check_input(filter, "hello");
	CHECK_INT(bufferevent_getfd(filter), -1);
	CHECK_INT(bufferevent_setfd(filter, 0), -1);
	bufferevent_free(filter);
	end_pair();
}

MAIN(CASE_ROW(bytes_cross_at_once_when_both_want_them_to), CASE_ROW(a_mark_holds_bytes_back_until_there_is_room),
    CASE_ROW(flushing_forces_bytes_across_and_tells_the_end), CASE_ROW(a_half_that_goes_leaves_the_other_in_silence),
    CASE_ROW(a_pair_has_timeouts), CASE_ROW(both_may_be_freed_by_a_callback_of_one), CASE_ROW(a_filter_transforms_both_ways),
    CASE_ROW(filters_can_be_stacked), CASE_ROW(a_filter_without_functions_passes_everything),
    CASE_ROW(the_end_and_errors_come_up_through_a_filter), CASE_ROW(a_filter_that_fails_is_heard_of),
    CASE_ROW(nothing_stays_behind_a_mark_or_a_pause), CASE_ROW(flushing_tells_the_functions_how_hard_to_try),
    CASE_ROW(a_filter_that_does_nothing_is_not_asked_for_ever), CASE_ROW(a_filter_may_be_freed_by_each_callback),
    CASE_ROW(a_filter_lies_on_a_pair_too))
