/* Rate limits, of one bufferevent and of groups, and what a turn may move. */
#include "bufferevents.h"

#include <limits.h>

static struct ev_token_bucket_cfg *
rates(size_t rate, size_t burst, long tick_us)
{
	struct timeval tick = { tick_us / 1000000, tick_us % 1000000 };
	return ev_token_bucket_cfg_new(rate, burst, rate, burst, &tick);
}

static void
rates_that_make_no_sense_make_none(void)
{
	struct ev_token_bucket_cfg *whole;
	CHECK(rates(10, 9, 1000) == NULL);
	CHECK(rates(0, 9, 1000) == NULL);
	CHECK(rates(1, (size_t)EV_RATE_LIMIT_MAX + 1, 1000) == NULL);
	/* Libevent takes it, and divides by zero later. */
	if (is_zerovent())
		CHECK(rates(1, 1, 999) == NULL);
	whole = ev_token_bucket_cfg_new(1, 1, 1, 1, NULL);
	CHECK(whole != NULL);
	ev_token_bucket_cfg_free(whole);
}

static void
a_bucket_begins_with_one_tick_and_can_be_changed(void)
{
	int peer;
	struct bufferevent *bev;
	struct ev_token_bucket_cfg *cfg = rates(100, 1000, 10000000);
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL);
	CHECK_INT(bufferevent_get_read_limit(bev), EV_SSIZE_MAX);
	CHECK_INT(bufferevent_get_max_to_read(bev), 16384);
	CHECK(bufferevent_get_token_bucket_cfg(bev) == NULL);
	CHECK_INT(bufferevent_set_rate_limit(bev, cfg), 0);
	CHECK(bufferevent_get_token_bucket_cfg(bev) == cfg);
	CHECK_INT(bufferevent_get_read_limit(bev), 100);
	CHECK_INT(bufferevent_get_write_limit(bev), 100);
	CHECK_INT(bufferevent_get_max_to_write(bev), 100);
	CHECK_INT(bufferevent_decrement_write_limit(bev, 150), 0);
	CHECK_INT(bufferevent_get_write_limit(bev), -50);
	CHECK_INT(bufferevent_get_max_to_write(bev), 0);
	CHECK_INT(bufferevent_decrement_read_limit(bev, -1000000), 0);
	CHECK_INT(bufferevent_get_max_to_read(bev), 1000100);
	CHECK_INT(bufferevent_set_rate_limit(bev, NULL), 0);
	CHECK_INT(bufferevent_get_write_limit(bev), EV_SSIZE_MAX);
	/* Libevent crashes. */
	if (is_zerovent())
		CHECK_INT(bufferevent_decrement_read_limit(bev, 1), -1);
	bufferevent_free(bev);
	ev_token_bucket_cfg_free(cfg);
	end();
}

static void
a_limit_holds_bytes_back(void)
{
	int peer;
	static char bytes[1000];
	struct bufferevent *bev;
	struct ev_token_bucket_cfg *cfg = rates(100, 100, 50000);
	struct timeval start, now;
	ssize_t count = 0, more;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, NULL);
	bufferevent_set_rate_limit(bev, cfg);
	bufferevent_write(bev, bytes, sizeof bytes);
	gettimeofday(&start, NULL);
	while (count < 500) {
		event_base_loop(base, EVLOOP_ONCE);
		while ((more = read(peer, bytes, sizeof bytes)) > 0)
			count += more;
	}
	gettimeofday(&now, NULL);
	/* Five hundred bytes are the first tick's and those of four more, of which the first may have begun. */
	CHECK((now.tv_sec - start.tv_sec) * 1000000 + now.tv_usec - start.tv_usec >= 149000);
	bufferevent_free(bev);
	ev_token_bucket_cfg_free(cfg);
	end();
}

static void
what_a_turn_may_move_can_be_set(void)
{
	int peer;
	struct record record = { 0 };
	struct bufferevent *bev;
	begin();
	bev = half(&peer, BEV_OPT_CLOSE_ON_FREE, &record);
	CHECK_INT(bufferevent_get_max_single_read(bev), 16384);
	CHECK_INT(bufferevent_get_max_single_write(bev), 16384);
	CHECK_INT(bufferevent_set_max_single_read(bev, 3), 0);
	CHECK_INT(bufferevent_set_max_single_write(bev, 5), 0);
	CHECK_INT(bufferevent_get_max_single_read(bev), 3);
	CHECK_INT(bufferevent_get_max_to_read(bev), 3);
	CHECK_INT(bufferevent_get_max_single_write(bev), 5);
	bufferevent_enable(bev, EV_READ);
	send_text(peer, "123456789");
	turn();
	CHECK_INT(record.reads, 3);
	CHECK_INT(bufferevent_set_max_single_read(bev, 0), 0);
	CHECK_INT(bufferevent_get_max_single_read(bev), 16384);
	CHECK_INT(bufferevent_set_max_single_read(bev, SIZE_MAX), 0);
	CHECK_INT(bufferevent_get_max_single_read(bev), 16384);
	bufferevent_free(bev);
	end();
}

static void
a_group_counts_and_shares(void)
{
	int peers[2], i;
	char bytes[4096];
	ev_uint64_t read_total = 1, written_total = 1;
	struct bufferevent *bevs[2];
	struct ev_token_bucket_cfg *cfg = rates(1000, 1000, 10000000), *other = rates(50, 50, 10000000);
	struct bufferevent_rate_limit_group *group;
	begin();
	group = bufferevent_rate_limit_group_new(base, cfg);
	CHECK(group != NULL);
	for (i = 0; i < 2; i++) {
		bevs[i] = half(&peers[i], BEV_OPT_CLOSE_ON_FREE, NULL);
		CHECK_INT(bufferevent_remove_from_rate_limit_group(bevs[i]), 0);
		CHECK_INT(bufferevent_add_to_rate_limit_group(bevs[i], group), 0);
		CHECK_INT(bufferevent_add_to_rate_limit_group(bevs[i], group), 0);
	}
	CHECK_INT(bufferevent_rate_limit_group_get_read_limit(group), 1000);
	CHECK_INT(bufferevent_rate_limit_group_get_write_limit(group), 1000);
	CHECK_INT(bufferevent_rate_limit_group_set_min_share(group, 10), 0);
	CHECK_INT(bufferevent_rate_limit_group_set_min_share(group, (size_t)EV_SSIZE_MAX + 1), -1);
	memset(bytes, 'x', sizeof bytes);
	for (i = 0; i < 2; i++)
		bufferevent_write(bevs[i], bytes, 2000);
	turn();
	bufferevent_rate_limit_group_get_totals(group, &read_total, &written_total);
	CHECK_INT(read_total, 0);
	/* Libevent lets the last one take its minimum share whether it is there or not. */
	CHECK(written_total >= 1000 && written_total <= (is_zerovent() ? 1000 : 1010));
	CHECK_INT(bufferevent_rate_limit_group_get_write_limit(group), 1000 - (ev_int64_t)written_total);
	CHECK_INT(read(peers[0], bytes, sizeof bytes) + read(peers[1], bytes, sizeof bytes), written_total);
	CHECK_INT(bufferevent_rate_limit_group_decrement_write(group, 1000 - (ev_int64_t)written_total), 0);
	bufferevent_rate_limit_group_reset_totals(group);
	bufferevent_rate_limit_group_get_totals(group, NULL, &written_total);
	CHECK_INT(written_total, 0);
	CHECK_INT(bufferevent_rate_limit_group_decrement_read(group, 1500), 0);
	CHECK_INT(bufferevent_rate_limit_group_get_read_limit(group), -500);
	CHECK_INT(bufferevent_rate_limit_group_decrement_write(group, -100), 0);
	CHECK_INT(bufferevent_rate_limit_group_get_write_limit(group), 100);
	CHECK_INT(bufferevent_rate_limit_group_set_cfg(group, other), 0);
	CHECK_INT(bufferevent_rate_limit_group_get_write_limit(group), 50);
	/* The header says that no group is a way to leave; libevent crashes. */
	if (is_zerovent())
		CHECK_INT(bufferevent_add_to_rate_limit_group(bevs[0], NULL), 0);
	bufferevent_free(bevs[0]);
	/* Libevent aborts if a group is freed that has members. */
	if (!is_zerovent()) {
		turn();
		bufferevent_remove_from_rate_limit_group(bevs[1]);
	}
	bufferevent_rate_limit_group_free(group);
	turn();
	bufferevent_free(bevs[1]);
	turn();
	ev_token_bucket_cfg_free(cfg);
	ev_token_bucket_cfg_free(other);
	end();
}

MAIN(CASE_ROW(rates_that_make_no_sense_make_none), CASE_ROW(a_bucket_begins_with_one_tick_and_can_be_changed),
    CASE_ROW(a_limit_holds_bytes_back), CASE_ROW(what_a_turn_may_move_can_be_set), CASE_ROW(a_group_counts_and_shares))
