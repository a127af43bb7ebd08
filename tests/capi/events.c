/* Events: what they wait for, what their flags say, and what the loop calls when. */
#include "events.h"

#include <errno.h>
#include <fcntl.h>

/* As libevent's own sources, and old programs, call them. */
#define ev_flags ev_evcallback.evcb_flags
#define ev_arg ev_evcallback.evcb_arg

static void
add_to(evutil_socket_t fd, short what, void *arg)
{
	++*(int *)arg;
	(void)fd;
	(void)what;
}

static void
drain(evutil_socket_t fd, short what, void *arg)
{
	char bytes[64];
	ssize_t n = read(fd, bytes, sizeof bytes);
	CHECK(n >= 0);
	count(fd, what, arg);
}

static void
a_descriptor_that_can_be_read_is_told_once(void)
{
	int pair[2];
	struct event ev;
	begin();
	make_pair(pair);
	CHECK_INT(event_assign(&ev, base, pair[0], EV_READ, drain, NULL), 0);
	CHECK_INT(ev.ev_flags, EVLIST_INIT);
	CHECK_INT(event_add(&ev, NULL), 0);
	CHECK_INT(ev.ev_flags, EVLIST_INIT | EVLIST_INSERTED);
	CHECK_INT(write(pair[1], "x", 1), 1);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(calls, 1);
	CHECK_INT(last_what, EV_READ);
	CHECK_INT(last_fd, pair[0]);
	CHECK_INT(ev.ev_flags, EVLIST_INIT);
	event_base_free(base);
}

static void
a_persistent_event_goes_on_until_it_is_deleted(void)
{
	int pair[2];
	struct event ev;
	begin();
	make_pair(pair);
	event_assign(&ev, base, pair[0], EV_READ | EV_PERSIST, drain, NULL);
	event_add(&ev, NULL);
	for (int i = 0; i < 3; i++) {
		CHECK_INT(write(pair[1], "x", 1), 1);
		CHECK_INT(event_base_loop(base, EVLOOP_ONCE), 0);
		CHECK_INT(calls, i + 1);
		CHECK_INT(ev.ev_flags, EVLIST_INIT | EVLIST_INSERTED);
	}
	CHECK_INT(event_del(&ev), 0);
	CHECK_INT(event_del(&ev), 0);
	CHECK_INT(ev.ev_flags, EVLIST_INIT);
	CHECK_INT(event_base_dispatch(base), 1);
	event_base_free(base);
}

static struct event *victim;

static void
delete_the_other(evutil_socket_t fd, short what, void *arg)
{
	count(fd, what, arg);
	CHECK(event_pending(victim, EV_READ | EV_TIMEOUT, NULL) != 0);
	CHECK(victim->ev_flags & EVLIST_ACTIVE);
	CHECK_INT(event_del(victim), 0);
	CHECK_INT(victim->ev_flags, EVLIST_INIT);
}

/* Real programs rarely notice when this is wrong, and then badly. */
static void
deleting_an_active_event_takes_it_out_of_the_queue(void)
{
	int pair[2];
	struct event one, two;
	begin();
	make_pair(pair);
	event_assign(&one, base, pair[0], EV_READ, delete_the_other, NULL);
	event_assign(&two, base, pair[1], EV_READ, delete_the_other, NULL);
	CHECK_INT(write(pair[0], "x", 1), 1);
	CHECK_INT(write(pair[1], "x", 1), 1);
	event_add(&one, NULL);
	event_add(&two, NULL);
	victim = &two;
	/* Whichever comes first deletes the other. */
	one.ev_arg = &two;
	two.ev_arg = &one;
	struct event high;
	event_assign(&high, base, -1, 0, delete_the_other, NULL);
	event_del(&one);
	event_active(&high, EV_TIMEOUT, 1);
	event_active(&two, EV_READ, 1);
	CHECK_INT(event_base_loop(base, EVLOOP_NONBLOCK), 1);
	CHECK_INT(calls, 1);
	event_base_free(base);
}

static void
zeroed_memory_is_no_event(void)
{
	struct event ev;
	begin();
	memset(&ev, 0, sizeof ev);
	CHECK_INT(event_initialized(&ev), 0);
	CHECK_INT(event_del(&ev), -1);
	CHECK_INT(event_add(&ev, NULL), -1);
	CHECK_INT(event_pending(&ev, EV_READ, NULL), 0);
	CHECK_INT(event_base_set(base, &ev), -1);
	CHECK_INT(event_assign(&ev, base, -1, 0, count, NULL), 0);
	CHECK_INT(event_initialized(&ev), 1);
	event_base_free(base);
}

/* Memory that has been anything may be assigned, also what was an event that waited when it was copied. */
static void
assigning_never_reads_what_was_there(void)
{
	struct event ev, copy;
	begin();
	event_assign(&ev, base, -1, 0, count, NULL);
	event_add(&ev, &later);
	memcpy(&copy, &ev, sizeof ev);
	CHECK_INT(event_assign(&copy, base, -1, 0, count, NULL), 0);
	CHECK_INT(copy.ev_flags, EVLIST_INIT);
	memset(&copy, 0xaa, sizeof copy);
	CHECK_INT(event_assign(&copy, base, -1, EV_PERSIST, count, &copy), 0);
	CHECK_INT(event_pending(&ev, EV_TIMEOUT, NULL), EV_TIMEOUT);
	event_del(&ev);
	event_base_free(base);
}

static void
a_base_can_be_exchanged_only_while_nothing_waits(void)
{
	struct event ev;
	struct event_base *other = event_base_new();
	begin();
	event_assign(&ev, base, -1, 0, count, NULL);
	CHECK_INT(event_base_set(other, &ev), 0);
	CHECK(event_get_base(&ev) == other);
	event_add(&ev, &later);
	CHECK_INT(event_base_set(base, &ev), -1);
	event_del(&ev);
	event_active(&ev, EV_TIMEOUT, 1);
	CHECK_INT(event_base_set(base, &ev), -1);
	event_base_free(other);
	CHECK_INT(ev.ev_flags, EVLIST_INIT);
	event_base_free(base);
}

static void
what_an_event_waits_for_is_read_when_it_is_added(void)
{
	int pair[2];
	struct event ev;
	begin();
	make_pair(pair);
	event_assign(&ev, base, pair[0], EV_READ | EV_PERSIST, count, NULL);
	event_add(&ev, NULL);
	event_del(&ev);
	ev.ev_events = EV_WRITE;
	ev.ev_fd = pair[1];
	CHECK_INT(event_add(&ev, NULL), 0);
	CHECK_INT(event_base_loop(base, EVLOOP_ONCE), 0);
	CHECK_INT(last_what, EV_WRITE);
	CHECK_INT(last_fd, pair[1]);
	event_base_free(base);
}

static void
timeouts_pass(void)
{
	struct event ev;
	struct timeval until, wall;
	begin();
	event_assign(&ev, base, -1, 0, count, NULL);
	event_add(&ev, &later);
	CHECK_INT(event_pending(&ev, EV_TIMEOUT | EV_READ, &until), EV_TIMEOUT);
	gettimeofday(&wall, NULL);
	CHECK(until.tv_sec - wall.tv_sec >= 98 && until.tv_sec - wall.tv_sec <= 101);
	CHECK_INT(event_add(&ev, &soon), 0);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(calls, 1);
	CHECK_INT(last_what, EV_TIMEOUT);
	CHECK_INT(event_pending(&ev, EV_TIMEOUT, NULL), 0);
	event_base_free(base);
}

static void
adding_again_without_a_timeout_leaves_the_one_there_is(void)
{
	struct event ev;
	int pair[2];
	begin();
	make_pair(pair);
	event_assign(&ev, base, pair[0], EV_READ, count, NULL);
	event_add(&ev, &soon);
	event_add(&ev, NULL);
	CHECK_INT(event_pending(&ev, EV_TIMEOUT, NULL), EV_TIMEOUT);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(last_what, EV_TIMEOUT);
	event_base_free(base);
}

static void
removing_a_timer_leaves_the_rest(void)
{
	struct event ev;
	int pair[2];
	begin();
	make_pair(pair);
	event_assign(&ev, base, pair[0], EV_READ, count, NULL);
	CHECK_INT(event_remove_timer(&ev), 0);
	event_add(&ev, &later);
	CHECK_INT(event_remove_timer(&ev), 0);
	CHECK_INT(event_pending(&ev, EV_TIMEOUT | EV_READ, NULL), EV_READ);
	event_del(&ev);
	event_assign(&ev, base, -1, 0, count, NULL);
	event_add(&ev, &later);
	CHECK_INT(event_remove_timer(&ev), 0);
	CHECK_INT(ev.ev_flags, EVLIST_INIT);
	CHECK_INT(event_base_dispatch(base), 1);
	event_base_free(base);
}

static void
stop_after(evutil_socket_t fd, short what, void *arg)
{
	count(fd, what, arg);
	if (calls == 3)
		event_base_loopbreak(base);
}

static void
a_persistent_timeout_comes_again(void)
{
	struct event ev;
	begin();
	event_assign(&ev, base, -1, EV_PERSIST, stop_after, NULL);
	event_add(&ev, &soon);
	CHECK_INT(event_base_dispatch(base), 0);
	CHECK_INT(event_base_got_break(base), 1);
	CHECK_INT(calls, 3);
	CHECK_INT(event_pending(&ev, EV_TIMEOUT, NULL), EV_TIMEOUT);
	event_base_free(base);
}

static void
a_persistent_event_times_out_when_its_descriptor_is_silent(void)
{
	struct event ev;
	int pair[2];
	begin();
	make_pair(pair);
	event_assign(&ev, base, pair[0], EV_READ | EV_PERSIST, stop_after, NULL);
	event_add(&ev, &soon);
	CHECK_INT(event_base_dispatch(base), 0);
	CHECK_INT(last_what, EV_TIMEOUT);
	CHECK_INT(event_pending(&ev, EV_TIMEOUT | EV_READ, NULL), EV_TIMEOUT | EV_READ);
	event_del(&ev);
	event_base_free(base);
}

static void
an_event_can_be_activated_by_hand(void)
{
	struct event ev;
	begin();
	event_assign(&ev, base, -1, 0, count, NULL);
	event_active(&ev, EV_READ, 1);
	event_active(&ev, EV_WRITE, 1);
	CHECK_INT(event_pending(&ev, EV_READ | EV_WRITE | EV_TIMEOUT, NULL), EV_READ | EV_WRITE);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(calls, 1);
	CHECK_INT(last_what, EV_READ | EV_WRITE);
	event_active(&ev, 0, 0);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(last_what, 0);
	event_active(&ev, 0x100 | EV_READ, 0);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(last_what, 0x100 | EV_READ);
	event_base_free(base);
}

static void
several_events_of_one_descriptor_are_all_called(void)
{
	struct event reader, writer, other;
	int pair[2], reads = 0, writes = 0, others = 0;
	begin();
	make_pair(pair);
	CHECK_INT(write(pair[1], "x", 1), 1);
	event_assign(&reader, base, pair[0], EV_READ, add_to, &reads);
	event_assign(&writer, base, pair[0], EV_WRITE, add_to, &writes);
	event_assign(&other, base, pair[0], EV_READ | EV_WRITE, add_to, &others);
	event_add(&reader, NULL);
	event_add(&writer, NULL);
	event_add(&other, NULL);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(reads, 1);
	CHECK_INT(writes, 1);
	CHECK_INT(others, 1);
	event_base_free(base);
}

static void
edges_are_told_once_and_named(void)
{
	struct event ev;
	int pair[2];
	begin();
	make_pair(pair);
	CHECK_INT(write(pair[1], "x", 1), 1);
	event_assign(&ev, base, pair[0], EV_READ | EV_ET | EV_PERSIST, count, NULL);
	event_add(&ev, NULL);
	event_base_loop(base, EVLOOP_NONBLOCK);
	event_base_loop(base, EVLOOP_NONBLOCK);
	CHECK_INT(calls, 1);
	CHECK_INT(last_what, EV_READ | EV_ET);
	event_base_free(base);
}

/* The header demands that all agree, which libevent checks in its debug mode only. With ours each hears what it asks for. */
static void
edges_and_states_are_told_apart(void)
{
	struct event edge, state;
	int pair[2], edges = 0, states = 0, i;
	begin();
	make_pair(pair);
	event_assign(&edge, base, pair[0], EV_READ | EV_ET | EV_PERSIST, add_to, &edges);
	event_assign(&state, base, pair[0], EV_READ | EV_PERSIST, add_to, &states);
	CHECK_INT(event_add(&edge, NULL), 0);
	CHECK_INT(event_add(&state, NULL), 0);
	CHECK_INT(write(pair[1], "x", 1), 1);
	for (i = 0; i < 3; i++)
		event_base_loop(base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	if (is_zerovent()) {
		CHECK_INT(edges, 1);
		CHECK_INT(states, 3);
	}
	CHECK_INT(event_del(&edge), 0);
	CHECK_INT(event_del(&state), 0);
	event_base_free(base);
}

static void
a_peer_that_closes_can_be_waited_for(void)
{
	struct event ev;
	int pair[2];
	begin();
	make_pair(pair);
	event_assign(&ev, base, pair[0], EV_CLOSED, count, NULL);
	event_add(&ev, NULL);
	CHECK_INT(event_base_loop(base, EVLOOP_NONBLOCK), 0);
	CHECK_INT(calls, 0);
	close(pair[1]);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(last_what, EV_CLOSED);
	event_base_free(base);
}

/* libevent does not make an event pending that is about to be called. */
static void
an_active_event_can_be_added(void)
{
	struct event ev;
	int pair[2];
	begin();
	make_pair(pair);
	event_assign(&ev, base, pair[0], EV_READ | EV_PERSIST, count, NULL);
	event_active(&ev, EV_WRITE, 1);
	CHECK_INT(event_add(&ev, NULL), 0);
	event_base_loop(base, EVLOOP_NONBLOCK);
	CHECK_INT(calls, 1);
	CHECK_INT(event_pending(&ev, EV_READ, NULL), is_zerovent() ? EV_READ : 0);
	event_base_free(base);
}

static void
epoll_takes_no_files(void)
{
	struct event ev;
	int file = open("/proc/self/exe", O_RDONLY | O_NONBLOCK);
	begin();
	event_assign(&ev, base, file, EV_READ, count, NULL);
	errno = 0;
	CHECK_INT(event_add(&ev, NULL), -1);
	CHECK_INT(errno, EPERM);
	CHECK_INT(ev.ev_flags, EVLIST_INIT);
	close(file);
	event_assign(&ev, base, file, EV_READ, count, NULL);
	CHECK_INT(event_add(&ev, &soon), -1);
	CHECK_INT(errno, EBADF);
	CHECK_INT(event_base_dispatch(base), 1);
	event_base_free(base);
}

static void
a_descriptor_that_is_not_there_keeps_the_loop(void)
{
	struct event ev;
	begin();
	event_assign(&ev, base, -1, EV_READ, count, NULL);
	CHECK_INT(event_add(&ev, NULL), 0);
	CHECK_INT(event_pending(&ev, EV_READ, NULL), EV_READ);
	CHECK_INT(event_base_loop(base, EVLOOP_NONBLOCK), 0);
	CHECK_INT(event_del(&ev), 0);
	CHECK_INT(event_base_dispatch(base), 1);
	event_base_free(base);
}

static void
the_argument_may_be_the_event_itself(void)
{
	struct event *ev;
	begin();
	ev = event_new(base, -1, 0, count, event_self_cbarg());
	CHECK(event_get_callback_arg(ev) == ev);
	event_free(ev);
	event_base_free(base);
}

static void
impossible_events_are_refused(void)
{
	struct event ev;
	begin();
	CHECK(event_new(base, 15, EV_SIGNAL | EV_READ, count, NULL) == NULL);
	CHECK_INT(event_assign(&ev, base, 15, EV_SIGNAL | EV_WRITE, count, NULL), -1);
	event_base_free(base);
}

static void
an_event_says_how_it_was_made(void)
{
	struct event ev;
	struct event_base *base_out;
	evutil_socket_t fd;
	short events;
	event_callback_fn callback;
	void *arg;
	begin();
	event_assign(&ev, base, 5, EV_READ | EV_PERSIST, count, &ev);
	event_get_assignment(&ev, &base_out, &fd, &events, &callback, &arg);
	CHECK(base_out == base && fd == 5 && events == (EV_READ | EV_PERSIST) && callback == count && arg == &ev);
	event_get_assignment(&ev, NULL, NULL, NULL, NULL, NULL);
	CHECK_INT(event_get_fd(&ev), 5);
	CHECK_INT(event_get_events(&ev), EV_READ | EV_PERSIST);
	CHECK(event_get_callback(&ev) == count);
	CHECK(event_get_callback_arg(&ev) == &ev);
	CHECK_INT(event_get_struct_event_size(), sizeof ev);
	event_base_free(base);
}

static char order[32];

static void
note_order(evutil_socket_t fd, short what, void *arg)
{
	strcat(order, arg);
	(void)fd;
	(void)what;
}

static void
more_important_events_come_first(void)
{
	struct event a, b, c;
	begin();
	CHECK_INT(event_base_get_npriorities(base), 1);
	CHECK_INT(event_base_priority_init(base, 3), 0);
	CHECK_INT(event_base_priority_init(base, 0), -1);
	CHECK_INT(event_base_priority_init(base, 256), -1);
	CHECK_INT(event_base_get_npriorities(base), 3);
	event_assign(&a, base, -1, 0, note_order, "a");
	event_assign(&b, base, -1, 0, note_order, "b");
	event_assign(&c, base, -1, 0, note_order, "c");
	CHECK_INT(event_get_priority(&a), 1);
	CHECK_INT(event_priority_set(&a, 2), 0);
	CHECK_INT(event_priority_set(&c, 0), 0);
	CHECK_INT(event_priority_set(&c, 3), -1);
	CHECK_INT(event_priority_set(&c, -1), -1);
	event_active(&a, EV_READ, 1);
	event_active(&b, EV_READ, 1);
	event_active(&c, EV_READ, 1);
	CHECK_INT(event_priority_set(&c, 1), -1);
	CHECK_INT(event_base_priority_init(base, 4), -1);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_STR(order, "cba");
	event_base_free(base);
}

static void
freeing_a_base_ends_the_waiting_of_its_events(void)
{
	struct event reader, timer, active;
	int pair[2];
	begin();
	make_pair(pair);
	event_assign(&reader, base, pair[0], EV_READ, count, NULL);
	event_assign(&timer, base, -1, 0, count, NULL);
	event_assign(&active, base, -1, 0, count, NULL);
	event_add(&reader, NULL);
	event_add(&timer, &later);
	event_active(&active, EV_READ, 1);
	CHECK_INT(event_base_once(base, -1, EV_TIMEOUT, count, NULL, &later), 0);
	event_base_free(base);
	CHECK_INT(reader.ev_flags, EVLIST_INIT);
	CHECK_INT(timer.ev_flags, EVLIST_INIT);
	CHECK_INT(active.ev_flags, EVLIST_INIT);
	CHECK_INT(calls, 0);
}

/* A mistake that programs of one thread get away with. With libevent it is luck. */
static void
events_may_be_freed_after_their_base(void)
{
	struct event *ev, *idle;
	begin();
	if (!is_zerovent())
		return;
	ev = event_new(base, -1, 0, count, NULL);
	idle = event_new(base, 5, EV_READ, count, NULL);
	event_add(ev, &later);
	event_base_free(base);
	CHECK_INT(event_del(idle), 0);
	event_free(ev);
	event_free(idle);
}

static void
free_itself(evutil_socket_t fd, short what, void *arg)
{
	count(fd, what, arg);
	event_free(arg);
}

static void
an_event_may_free_itself(void)
{
	struct event *ev;
	begin();
	ev = event_new(base, -1, EV_PERSIST, free_itself, event_self_cbarg());
	event_add(ev, &soon);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(calls, 1);
	event_base_free(base);
}

static void
common_timeouts_carry_a_mark(void)
{
	struct event ev[3];
	struct timeval half = { 0, 500000 }, odd = { 0, 1500000 }, short_one = { 0, 5000 };
	const struct timeval *common, *again;
	begin();
	common = event_base_init_common_timeout(base, &half);
	CHECK(common != NULL);
	CHECK_INT(common->tv_sec, 0);
	CHECK_INT(common->tv_usec, 0x5007a120);
	CHECK(event_base_init_common_timeout(base, &half) == common);
	CHECK(event_base_init_common_timeout(base, common) == common);
	again = event_base_init_common_timeout(base, &odd);
	CHECK_INT(again->tv_sec, 1);
	CHECK_INT(again->tv_usec, 0x5017a120);
	common = event_base_init_common_timeout(base, &short_one);
	for (int i = 0; i < 3; i++) {
		event_assign(&ev[i], base, -1, 0, count, NULL);
		CHECK_INT(event_add(&ev[i], common), 0);
	}
	event_del(&ev[1]);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(calls, 2);
	event_base_free(base);
}

MAIN(CASE_ROW(a_descriptor_that_can_be_read_is_told_once), CASE_ROW(a_persistent_event_goes_on_until_it_is_deleted),
    CASE_ROW(deleting_an_active_event_takes_it_out_of_the_queue), CASE_ROW(zeroed_memory_is_no_event),
    CASE_ROW(assigning_never_reads_what_was_there), CASE_ROW(a_base_can_be_exchanged_only_while_nothing_waits),
    CASE_ROW(what_an_event_waits_for_is_read_when_it_is_added), CASE_ROW(timeouts_pass),
    CASE_ROW(adding_again_without_a_timeout_leaves_the_one_there_is), CASE_ROW(removing_a_timer_leaves_the_rest),
    CASE_ROW(a_persistent_timeout_comes_again), CASE_ROW(a_persistent_event_times_out_when_its_descriptor_is_silent),
    CASE_ROW(an_event_can_be_activated_by_hand), CASE_ROW(several_events_of_one_descriptor_are_all_called),
    CASE_ROW(edges_are_told_once_and_named), CASE_ROW(edges_and_states_are_told_apart),
    CASE_ROW(a_peer_that_closes_can_be_waited_for),
    CASE_ROW(an_active_event_can_be_added), CASE_ROW(epoll_takes_no_files), CASE_ROW(a_descriptor_that_is_not_there_keeps_the_loop),
    CASE_ROW(the_argument_may_be_the_event_itself), CASE_ROW(impossible_events_are_refused),
    CASE_ROW(an_event_says_how_it_was_made), CASE_ROW(more_important_events_come_first),
    CASE_ROW(freeing_a_base_ends_the_waiting_of_its_events), CASE_ROW(events_may_be_freed_after_their_base), CASE_ROW(an_event_may_free_itself),
    CASE_ROW(common_timeouts_carry_a_mark))
