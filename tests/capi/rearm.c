/* Events that are not persistent and are added again, mostly by their own callbacks; what the kernel is told of that is counted. */
#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "check.h"

static struct event_base *base;
static struct event_base *freed;
static struct event one;
static int ends[2], calls, told, left;
static jmp_buf back;

static const struct timeval soon = { 0, 10000 };
static const struct timeval later = { 100, 0 };

/* Stands before the C library's: either library calls this one. */
int
epoll_ctl(int set, int operation, int fd, struct epoll_event *event)
{
	told += fd == ends[0];
	return (int)syscall(SYS_epoll_ctl, set, operation, fd, event);
}

static void
begin(event_callback_fn callback)
{
	base = event_base_new();
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	event_assign(&one, base, ends[0], EV_READ, callback, &one);
	CHECK_INT(write(ends[1], "x", 1), 1);
	CHECK_INT(event_add(&one, NULL), 0);
}

static void
finish(void)
{
	CHECK_INT(event_base_dispatch(base), 1);
	event_base_free(base);
}

static void
add_again(evutil_socket_t fd, short what, void *arg)
{
	calls++;
	CHECK_INT(event_pending(arg, EV_READ, NULL), 0);
	if (--left > 0)
		CHECK_INT(event_add(arg, NULL), 0);
}

static void
adding_an_event_again_while_it_is_called_tells_the_kernel_once(void)
{
	begin(add_again);
	told = 0;
	left = 50;
	finish();
	CHECK_INT(calls, 50);
	/* libevent takes it out and puts it in each time; ours asks once whether its number is still that file's. */
	if (is_zerovent())
		CHECK(told <= 51);
	else
		CHECK(told >= 99);
}

static void
add_with_a_timeout(evutil_socket_t fd, short what, void *arg)
{
	char byte;
	calls++;
	if (what == EV_READ) {
		CHECK_INT(read(fd, &byte, 1), 1);
		CHECK_INT(event_add(arg, &soon), 0);
	} else {
		CHECK_INT(what, EV_TIMEOUT);
	}
}

static void
what_is_added_again_may_have_a_timeout(void)
{
	begin(add_with_a_timeout);
	finish();
	CHECK_INT(calls, 2);
}

static void
count_last(evutil_socket_t fd, short what, void *arg)
{
	calls += 10;
}

/* The old file goes, and another one, which can be read, gets its number. */
static void
exchange_file(int fd)
{
	int fresh[2];
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fresh), 0);
	CHECK_INT(close(fd), 0);
	CHECK_INT(dup2(fresh[0], fd), fd);
	CHECK_INT(close(fresh[0]), 0);
	CHECK_INT(write(fresh[1], "x", 1), 1);
}

static void
exchange(evutil_socket_t fd, short what, void *arg)
{
	calls++;
	exchange_file(fd);
	CHECK_INT(event_assign(arg, base, fd, EV_READ, count_last, NULL), 0);
	CHECK_INT(event_add(arg, NULL), 0);
}

static void
an_event_that_is_assigned_anew_means_the_file_of_today(void)
{
	begin(exchange);
	finish();
	CHECK_INT(calls, 11);
}

static void
exchange_and_add(evutil_socket_t fd, short what, void *arg)
{
	if (++calls > 1)
		return;
	exchange_file(fd);
	CHECK_INT(event_add(arg, NULL), 0);
}

static void
an_event_that_is_added_again_means_the_file_of_today(void)
{
	begin(exchange_and_add);
	finish();
	CHECK_INT(calls, 2);
}

static struct event_base *elsewhere;

/* It has a slot of another base for a while, and comes back with another descriptor. */
static void
move_and_come_back(evutil_socket_t fd, short what, void *arg)
{
	int fresh[2];
	if (++calls > 1) {
		CHECK(fd != ends[0]);
		return;
	}
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fresh), 0);
	CHECK_INT(write(fresh[1], "x", 1), 1);
	CHECK_INT(event_assign(arg, elsewhere, fresh[0], EV_READ, move_and_come_back, arg), 0);
	CHECK_INT(event_add(arg, NULL), 0);
	CHECK_INT(event_del(arg), 0);
	CHECK_INT(event_base_set(base, arg), 0);
	CHECK_INT(event_add(arg, NULL), 0);
	CHECK_INT(event_get_fd(arg), fresh[0]);
}

static void
an_event_that_has_been_another_bases_is_made_anew(void)
{
	char byte;
	elsewhere = event_base_new();
	begin(move_and_come_back);
	CHECK_INT(event_base_loop(base, EVLOOP_ONCE), 0);
	/* The old descriptor is silent from here on. */
	CHECK_INT(read(ends[0], &byte, 1), 1);
	finish();
	CHECK_INT(calls, 2);
	event_base_free(elsewhere);
}

static void
write_next(evutil_socket_t fd, short what, void *arg)
{
	calls++;
	if (what != EV_READ)
		return;
	/* As it was made, except for what it waits for. */
	one.ev_events = EV_WRITE;
	CHECK_INT(event_add(&one, NULL), 0);
	CHECK_INT(event_pending(&one, EV_READ | EV_WRITE, NULL), EV_WRITE);
}

static void
what_it_waits_for_is_read_anew(void)
{
	begin(write_next);
	finish();
	CHECK_INT(calls, 2);
}

static void
less_important(evutil_socket_t fd, short what, void *arg)
{
	calls++;
	if (calls > 1)
		return;
	CHECK_INT(event_priority_set(&one, 1), 0);
	CHECK_INT(event_add(&one, NULL), 0);
	CHECK_INT(event_get_priority(&one), 1);
}

static void
its_priority_is_read_anew(void)
{
	begin(less_important);
	event_del(&one);
	CHECK_INT(event_base_priority_init(base, 2), 0);
	CHECK_INT(event_priority_set(&one, 0), 0);
	CHECK_INT(event_add(&one, NULL), 0);
	finish();
	CHECK_INT(calls, 2);
}

static void
fewer_priorities(evutil_socket_t fd, short what, void *arg)
{
	calls++;
	CHECK_INT(event_base_priority_init(base, 1), 0);
	/* With libevent a priority that is gone ends the process; ours takes the least that there is. */
	if (!is_zerovent())
		CHECK_INT(event_priority_set(&one, 0), 0);
	if (--left > 0)
		CHECK_INT(event_add(&one, NULL), 0);
}

static void
its_priority_may_go_while_it_is_called(void)
{
	begin(fewer_priorities);
	event_del(&one);
	CHECK_INT(event_base_priority_init(base, 3), 0);
	CHECK_INT(event_priority_set(&one, 2), 0);
	CHECK_INT(event_add(&one, NULL), 0);
	left = 2;
	finish();
	CHECK_INT(calls, 2);
}

static void
activate_again(evutil_socket_t fd, short what, void *arg)
{
	calls++;
	if (calls == 1)
		event_active(arg, EV_WRITE, 1);
	else
		CHECK_INT(what, EV_WRITE);
}

static void
it_may_activate_itself(void)
{
	begin(activate_again);
	finish();
	CHECK_INT(calls, 2);
}

static int
see(const struct event_base *looked_at, const struct event *ev, void *arg)
{
	CHECK(event_get_fd(ev) != ends[0]);
	++*(int *)arg;
	return 0;
}

static void
free_and_look(evutil_socket_t fd, short what, void *arg)
{
	int seen = 0;
	calls++;
	event_free(arg);
	CHECK_INT(event_base_foreach_event(base, see, &seen), 0);
	CHECK_INT(seen, 1);
	event_base_active_by_fd(base, fd, EV_READ);
	event_base_loopbreak(base);
}

static void
one_that_is_freed_in_its_callback_is_seen_no_more(void)
{
	struct event *ev, timer;
	begin(count_last);
	event_del(&one);
	ev = event_new(base, ends[0], EV_READ, free_and_look, event_self_cbarg());
	event_add(ev, NULL);
	event_assign(&timer, base, -1, 0, count_last, NULL);
	event_add(&timer, &later);
	CHECK_INT(event_base_dispatch(base), 0);
	event_base_free(base);
	CHECK_INT(calls, 1);
}

static void
jump(evutil_socket_t fd, short what, void *arg)
{
	calls++;
	event_free(arg);
	longjmp(back, 1);
}

static void
one_that_is_freed_by_a_callback_that_jumps_is_forgotten(void)
{
	struct event *ev;
	begin(count_last);
	event_del(&one);
	ev = event_new(base, ends[0], EV_READ, jump, event_self_cbarg());
	event_add(ev, NULL);
	freed = base;
	if (setjmp(back) == 0) {
		event_base_dispatch(base);
		CHECK(!"it has jumped");
	}
	CHECK_INT(calls, 1);
	event_base_free(freed);
}

static void
wait_longer(evutil_socket_t fd, short what, void *arg)
{
	struct timeval due, now;
	calls++;
	CHECK_INT(what, EV_READ);
	/* Twice as much the first time, the same again the second, and then less. */
	const struct timeval timeouts[] = { { 200, 0 }, { 200, 0 }, { 50, 0 } };
	const struct timeval *timeout = &timeouts[calls - 1];
	evutil_gettimeofday(&now, NULL);
	CHECK_INT(event_add(arg, timeout), 0);
	CHECK_INT(event_pending(arg, EV_READ | EV_TIMEOUT, &due), EV_READ | EV_TIMEOUT);
	CHECK(due.tv_sec >= now.tv_sec + timeout->tv_sec - 1);
	CHECK(due.tv_sec <= now.tv_sec + timeout->tv_sec + 30);
	if (calls == 3)
		event_del(arg);
}

static void
a_persistent_event_may_put_off_its_timeout(void)
{
	begin(count_last);
	event_del(&one);
	event_assign(&one, base, ends[0], EV_READ | EV_PERSIST, wait_longer, &one);
	CHECK_INT(event_add(&one, &later), 0);
	finish();
	CHECK_INT(calls, 3);
}

MAIN(CASE_ROW(adding_an_event_again_while_it_is_called_tells_the_kernel_once), CASE_ROW(what_is_added_again_may_have_a_timeout),
    CASE_ROW(an_event_that_is_assigned_anew_means_the_file_of_today),
    CASE_ROW(an_event_that_is_added_again_means_the_file_of_today), CASE_ROW(an_event_that_has_been_another_bases_is_made_anew), CASE_ROW(what_it_waits_for_is_read_anew),
    CASE_ROW(its_priority_is_read_anew), CASE_ROW(its_priority_may_go_while_it_is_called), CASE_ROW(it_may_activate_itself), CASE_ROW(one_that_is_freed_in_its_callback_is_seen_no_more),
    CASE_ROW(one_that_is_freed_by_a_callback_that_jumps_is_forgotten), CASE_ROW(a_persistent_event_may_put_off_its_timeout))
