/* The loop: when it ends, what it answers, what it calls before it does, and the time it shows. */
#include "events.h"

static const struct timeval at_once = { 0, 0 };

static void
exit_now(evutil_socket_t fd, short what, void *arg)
{
	calls++;
	CHECK_INT(event_base_loopexit(base, NULL), 0);
}

static void
break_now(evutil_socket_t fd, short what, void *arg)
{
	calls++;
	CHECK_INT(event_base_loopbreak(base), 0);
}

static void
three_active(struct event *ev, event_callback_fn first)
{
	for (int i = 0; i < 3; i++) {
		event_assign(&ev[i], base, -1, 0, i == 0 ? first : count, NULL);
		event_active(&ev[i], EV_TIMEOUT, 1);
	}
}

static void
an_exit_lets_what_is_active_be_called(void)
{
	struct event ev[3];
	begin();
	three_active(ev, exit_now);
	CHECK_INT(event_base_dispatch(base), 0);
	CHECK_INT(calls, 3);
	CHECK_INT(event_base_got_exit(base), 1);
	CHECK_INT(event_base_got_break(base), 0);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(event_base_got_exit(base), 0);
	event_base_free(base);
}

static void
a_break_leaves_what_is_active(void)
{
	struct event ev[3];
	begin();
	three_active(ev, break_now);
	CHECK_INT(event_base_dispatch(base), 0);
	CHECK_INT(calls, 1);
	CHECK_INT(event_base_got_break(base), 1);
	CHECK_INT(event_base_got_exit(base), 0);
	CHECK_INT(event_pending(&ev[1], EV_TIMEOUT, NULL), EV_TIMEOUT);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(calls, 3);
	CHECK_INT(event_base_got_break(base), 0);
	event_base_free(base);
}

static void
a_break_outside_the_loop_does_nothing(void)
{
	struct event ev[3];
	begin();
	three_active(ev, count);
	CHECK_INT(event_base_loopbreak(base), 0);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(calls, 3);
	CHECK_INT(event_base_loopbreak(NULL), -1);
	event_base_free(base);
}

static void
an_exit_outside_the_loop_ends_the_next_run(void)
{
	struct event ev;
	begin();
	event_assign(&ev, base, -1, 0, count, NULL);
	event_add(&ev, &later);
	CHECK_INT(event_base_loopexit(base, NULL), 0);
	CHECK_INT(event_base_dispatch(base), 0);
	CHECK_INT(event_base_got_exit(base), 1);
	CHECK_INT(event_base_loopexit(base, &soon), 0);
	CHECK_INT(event_base_dispatch(base), 0);
	CHECK_INT(calls, 0);
	event_del(&ev);
	/* An exit that is to come keeps the loop. */
	CHECK_INT(event_base_loopexit(base, &soon), 0);
	CHECK_INT(event_base_dispatch(base), 0);
	event_base_free(base);
}

static void
run_again(evutil_socket_t fd, short what, void *arg)
{
	calls++;
	CHECK_INT(event_base_loop(base, EVLOOP_NONBLOCK), -1);
	CHECK_INT(event_base_dispatch(base), -1);
}

static void
silence(int severity, const char *message)
{
}

static void
a_loop_does_not_run_in_itself(void)
{
	struct event ev;
	begin();
	event_set_log_callback(silence);
	event_assign(&ev, base, -1, 0, run_again, NULL);
	event_active(&ev, EV_READ, 1);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(calls, 1);
	event_base_free(base);
}

static void
once_returns_when_something_was_called(void)
{
	struct event one, two;
	begin();
	event_assign(&one, base, -1, 0, count, NULL);
	event_assign(&two, base, -1, 0, count, NULL);
	event_add(&one, &soon);
	event_add(&two, &later);
	CHECK_INT(event_base_loop(base, EVLOOP_ONCE), 0);
	CHECK_INT(calls, 1);
	CHECK_INT(event_base_loop(base, EVLOOP_NONBLOCK), 0);
	CHECK_INT(event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK), 0);
	CHECK_INT(calls, 1);
	event_base_free(base);
}

static void
activate_twice(evutil_socket_t fd, short what, void *arg)
{
	struct event *ev = arg;
	if (++calls < 3)
		event_active(ev, EV_READ, 1);
}

static void
a_run_that_does_not_wait_goes_on_until_nothing_is_active(void)
{
	struct event ev, keep;
	begin();
	event_assign(&keep, base, -1, 0, count, NULL);
	event_add(&keep, &later);
	event_assign(&ev, base, -1, 0, activate_twice, &ev);
	event_active(&ev, EV_READ, 1);
	CHECK_INT(event_base_loop(base, EVLOOP_NONBLOCK), 0);
	CHECK_INT(calls, 3);
	event_base_free(base);
}

static void
an_empty_base_can_be_waited_on(void)
{
	begin();
	CHECK_INT(event_base_loop(base, EVLOOP_ONCE), 1);
	CHECK_INT(event_base_loop(base, EVLOOP_NONBLOCK), 1);
	CHECK_INT(event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_NO_EXIT_ON_EMPTY), 0);
	event_base_loopexit(base, &soon);
	CHECK_INT(event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY), 0);
	event_base_free(base);
}

static char order[64];

static void
note(evutil_socket_t fd, short what, void *arg)
{
	strcat(order, arg);
}

static struct event important;

static void
note_and_activate(evutil_socket_t fd, short what, void *arg)
{
	strcat(order, arg);
	if (strcmp(arg, "a") == 0)
		event_active(&important, EV_READ, 1);
}

static void
something_more_important_comes_before_the_rest(void)
{
	struct event a, b;
	begin();
	event_base_priority_init(base, 2);
	event_assign(&important, base, -1, 0, note, "!");
	event_priority_set(&important, 0);
	event_assign(&a, base, -1, 0, note_and_activate, "a");
	event_assign(&b, base, -1, 0, note_and_activate, "b");
	event_active(&a, EV_READ, 1);
	event_active(&b, EV_READ, 1);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_STR(order, "a!b");
	event_base_free(base);
}

static struct event_base *
base_with_limit(const struct timeval *interval, int most, int from)
{
	struct event_config *config = event_config_new();
	CHECK_INT(event_config_set_max_dispatch_interval(config, interval, most, from), 0);
	struct event_base *made = event_base_new_with_config(config);
	event_config_free(config);
	CHECK(made != NULL);
	return made;
}

static struct event low[4];

static void
rise(evutil_socket_t fd, short what, void *arg)
{
	strcat(order, arg);
	if (strlen(order) < 4)
		event_active(&important, EV_READ, 1);
}

static void
a_turn_can_be_limited(void)
{
	base = base_with_limit(NULL, 1, 1);
	event_base_priority_init(base, 2);
	event_assign(&important, base, -1, 0, note, "!");
	event_priority_set(&important, 0);
	for (int i = 0; i < 4; i++) {
		event_assign(&low[i], base, -1, 0, rise, "l");
		event_active(&low[i], EV_READ, 1);
	}
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_STR(order, "l!l!ll");
	event_base_free(base);
}

static void
callbacks_agree_on_the_time(evutil_socket_t fd, short what, void *arg)
{
	struct timeval first, second, wall;
	calls++;
	CHECK_INT(event_base_gettimeofday_cached(base, &first), 0);
	usleep(30000);
	CHECK_INT(event_base_gettimeofday_cached(base, &second), 0);
	CHECK(evutil_timercmp(&first, &second, ==));
	CHECK_INT(event_base_update_cache_time(base), 0);
	event_base_gettimeofday_cached(base, &second);
	evutil_timersub(&second, &first, &wall);
	CHECK(wall.tv_sec > 0 || wall.tv_usec >= 25000);
}

static void
the_time_stands_still_while_callbacks_run(void)
{
	struct event ev;
	struct timeval cached, wall, difference, mono, next;
	begin();
	event_assign(&ev, base, -1, 0, callbacks_agree_on_the_time, NULL);
	event_add(&ev, &at_once);
	event_base_dispatch(base);
	CHECK_INT(calls, 1);
	gettimeofday(&wall, NULL);
	CHECK_INT(event_base_gettimeofday_cached(base, &cached), 0);
	evutil_timersub(&cached, &wall, &difference);
	CHECK(difference.tv_sec == 0 || difference.tv_sec == -1);
	CHECK_INT(event_gettime_monotonic(base, &mono), 0);
	usleep(20000);
	event_gettime_monotonic(base, &next);
	CHECK(evutil_timercmp(&mono, &next, <));
	CHECK_INT(event_gettime_monotonic(NULL, &mono), -1);
	CHECK_INT(event_gettime_monotonic(base, NULL), -1);
	event_base_free(base);
}

static void
a_call_for_once(void)
{
	int pair[2];
	begin();
	make_pair(pair);
	CHECK_INT(event_base_once(base, -1, EV_TIMEOUT, note, "1", NULL), 0);
	CHECK_INT(event_base_once(base, -1, EV_TIMEOUT, note, "2", &at_once), 0);
	CHECK_INT(event_base_once(base, -1, EV_TIMEOUT, note, "4", &soon), 0);
	CHECK_INT(event_base_once(base, pair[0], EV_WRITE, note, "3", NULL), 0);
	CHECK_INT(event_base_once(base, 15, EV_SIGNAL, note, "x", NULL), -1);
	CHECK_INT(event_base_once(base, pair[0], EV_READ | EV_PERSIST, note, "x", NULL), -1);
	CHECK_INT(event_base_once(base, pair[0], 0, note, "x", NULL), -1);
	CHECK_INT(event_base_once(NULL, -1, EV_TIMEOUT, note, "x", NULL), -1);
	CHECK_INT(event_base_dispatch(base), 1);
	/* What is due at once keeps its order; the descriptor's turn depends on the library. */
	CHECK(strchr(order, '1') < strchr(order, '2') && strchr(order, '3') != NULL);
	CHECK_INT(strlen(order), 4);
	event_base_free(base);
}

static int
count_events(const struct event_base *of, const struct event *ev, void *arg)
{
	CHECK(of == base);
	++*(int *)arg;
	return ev->ev_fd == 7 ? 42 : 0;
}

static void
all_events_of_a_base_can_be_seen(void)
{
	struct event timer, reader, active;
	int pair[2], seen = 0;
	char text[4096] = "";
	FILE *file;
	begin();
	make_pair(pair);
	event_assign(&timer, base, -1, EV_PERSIST, count, NULL);
	event_assign(&reader, base, pair[0], EV_READ | EV_PERSIST, count, NULL);
	event_assign(&active, base, -1, 0, count, NULL);
	event_add(&timer, &later);
	event_add(&reader, &later);
	event_active(&active, EV_WRITE, 1);
	CHECK_INT(event_base_foreach_event(base, count_events, &seen), 0);
	CHECK_INT(seen, 3);
	CHECK_INT(event_base_foreach_event(base, NULL, &seen), -1);
	CHECK_INT(event_base_foreach_event(NULL, count_events, &seen), -1);
	event_del(&timer);
	timer.ev_fd = 7;
	event_add(&timer, &later);
	CHECK_INT(event_base_foreach_event(base, count_events, &seen), 42);

	file = fmemopen(text, sizeof text, "w");
	event_base_dump_events(base, file);
	fclose(file);
	CHECK(strncmp(text, "Inserted events:\n", 17) == 0);
	CHECK(strstr(text, "Active events:\n") != NULL);
	CHECK(strstr(text, " Read Persist Timeout=") != NULL);
	CHECK(strstr(text, "priority=0] Write active\n") != NULL);
	event_base_free(base);
}

static void
events_are_counted(void)
{
	struct event timer, reader, active;
	int pair[2];
	begin();
	make_pair(pair);
	event_assign(&timer, base, -1, 0, count, NULL);
	event_assign(&reader, base, pair[0], EV_READ | EV_PERSIST, count, NULL);
	event_assign(&active, base, -1, 0, count, NULL);
	event_add(&timer, &later);
	event_add(&reader, &later);
	event_active(&active, EV_WRITE, 1);
	CHECK_INT(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 4);
	CHECK_INT(event_base_get_num_events(base, EVENT_BASE_COUNT_ACTIVE), 1);
	CHECK_INT(event_base_get_num_events(base, EVENT_BASE_COUNT_ACTIVE | EVENT_BASE_COUNT_ADDED), 5);
	CHECK_INT(event_base_get_num_events(base, EVENT_BASE_COUNT_VIRTUAL), 0);
	event_del(&timer);
	CHECK_INT(event_base_get_num_events(base, EVENT_BASE_COUNT_ADDED), 3);
	CHECK_INT(event_base_get_max_events(base, EVENT_BASE_COUNT_ADDED, 1), 4);
	CHECK_INT(event_base_get_max_events(base, EVENT_BASE_COUNT_ADDED, 0), 0);
	event_base_free(base);
}

static void
events_of_a_descriptor_can_be_activated_together(void)
{
	struct event reader, writer, timer;
	int pair[2];
	begin();
	make_pair(pair);
	event_assign(&reader, base, pair[0], EV_READ, note, "r");
	event_assign(&writer, base, pair[0], EV_READ | EV_WRITE, note, "w");
	event_assign(&timer, base, pair[0], EV_READ, note, "t");
	event_add(&reader, NULL);
	event_add(&timer, &later);
	event_base_active_by_fd(base, pair[0], EV_READ);
	CHECK_INT(event_pending(&writer, EV_READ, NULL), 0);
	event_base_loop(base, EVLOOP_NONBLOCK);
	CHECK_INT(strlen(order), 2);
	event_add(&timer, &later);
	event_base_active_by_fd(base, pair[0], EV_TIMEOUT);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(strlen(order), 3);
	event_base_active_by_fd(base, 1000, EV_READ);
	event_base_free(base);
}

static void
the_running_event_is_known(evutil_socket_t fd, short what, void *arg)
{
	calls++;
	CHECK(event_base_get_running_event(base) == arg);
}

static void
a_callback_can_ask_whose_it_is(void)
{
	struct event ev;
	begin();
	event_assign(&ev, base, -1, 0, the_running_event_is_known, event_self_cbarg());
	event_active(&ev, EV_READ, 1);
	event_base_dispatch(base);
	CHECK_INT(calls, 1);
	event_base_free(base);
}

static int finalized;

static void
finalizer(struct event *ev, void *arg)
{
	finalized++;
	CHECK(arg == &finalized);
}

static void
events_are_finalized(void)
{
	struct event ev, *made;
	begin();
	event_assign(&ev, base, -1, EV_FINALIZE, count, &finalized);
	event_add(&ev, &later);
	CHECK_INT(event_finalize(0, &ev, finalizer), 0);
	CHECK_INT(event_add(&ev, &later), -1);
	CHECK_INT(event_del(&ev), 0);
	event_active(&ev, EV_READ, 1);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(finalized, 1);
	CHECK_INT(calls, 0);
	made = event_new(base, -1, 0, count, &finalized);
	event_free_finalize(0, made, finalizer);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(finalized, 2);
	made = event_new(base, -1, 0, count, &finalized);
	event_free_finalize(0, made, finalizer);
	event_base_free(base);
	CHECK_INT(finalized, 3);
	begin();
	event_assign(&ev, base, -1, EV_FINALIZE, count, &finalized);
	event_finalize(0, &ev, finalizer);
	event_base_free_nofinalize(base);
	CHECK_INT(finalized, 3);
}

static int pipe_of[2];

static void
write_and_continue(evutil_socket_t fd, short what, void *arg)
{
	strcat(order, "c");
	CHECK_INT(write(pipe_of[1], "x", 1), 1);
	CHECK_INT(event_base_loopcontinue(base), 0);
}

/* What has become ready meanwhile, and is more important, comes before the rest of the turn. */
static void
a_turn_can_be_given_up(void)
{
	struct event first, rest, reader;
	begin();
	CHECK_INT(pipe(pipe_of), 0);
	event_base_priority_init(base, 2);
	event_assign(&first, base, -1, 0, write_and_continue, NULL);
	event_assign(&rest, base, -1, 0, note, "r");
	event_assign(&reader, base, pipe_of[0], EV_READ, note, "!");
	event_priority_set(&reader, 0);
	event_add(&reader, NULL);
	event_active(&first, EV_READ, 1);
	event_active(&rest, EV_READ, 1);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_STR(order, "c!r");
	event_base_free(base);
}

MAIN(CASE_ROW(an_exit_lets_what_is_active_be_called), CASE_ROW(a_break_leaves_what_is_active),
    CASE_ROW(a_break_outside_the_loop_does_nothing), CASE_ROW(an_exit_outside_the_loop_ends_the_next_run),
    CASE_ROW(a_loop_does_not_run_in_itself), CASE_ROW(once_returns_when_something_was_called),
    CASE_ROW(a_run_that_does_not_wait_goes_on_until_nothing_is_active), CASE_ROW(an_empty_base_can_be_waited_on),
    CASE_ROW(something_more_important_comes_before_the_rest), CASE_ROW(a_turn_can_be_limited),
    CASE_ROW(the_time_stands_still_while_callbacks_run), CASE_ROW(a_call_for_once),
    CASE_ROW(all_events_of_a_base_can_be_seen), CASE_ROW(events_are_counted),
    CASE_ROW(events_of_a_descriptor_can_be_activated_together), CASE_ROW(a_callback_can_ask_whose_it_is),
    CASE_ROW(events_are_finalized), CASE_ROW(a_turn_can_be_given_up))
