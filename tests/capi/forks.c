/* A child of a fork: with event_reinit it goes on by itself, without it it leaves its parent alone. */
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/thread.h>

#include "check.h"

static struct event_base *base;
static int calls;

static const struct timeval patience = { 10, 0 };

static void
drain(evutil_socket_t fd, short what, void *arg)
{
	char byte;
	CHECK_INT(read(fd, &byte, 1), 1);
	calls++;
}

static void
count(evutil_socket_t fd, short what, void *arg)
{
	calls++;
}

static void
give_up(evutil_socket_t fd, short what, void *arg)
{
	CHECK(!"nothing came");
}

static void
check_child(pid_t child)
{
	int status;
	CHECK_INT(waitpid(child, &status, 0), child);
	CHECK_INT(status, 0);
}

static void
a_child_that_says_so_goes_on_by_itself(void)
{
	struct event reader, usr;
	int pair[2];
	base = event_base_new();
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	event_assign(&reader, base, pair[0], EV_READ, drain, NULL);
	event_add(&reader, NULL);
	evsignal_assign(&usr, base, SIGUSR1, count, NULL);
	event_add(&usr, NULL);
	pid_t child = fork();
	if (child == 0) {
		CHECK_INT(event_reinit(base), 0);
		CHECK_INT(write(pair[1], "x", 1), 1);
		CHECK_INT(event_base_loop(base, EVLOOP_ONCE), 0);
		CHECK_INT(calls, 1);
		raise(SIGUSR1);
		CHECK_INT(event_base_loop(base, EVLOOP_ONCE), 0);
		CHECK_INT(calls, 2);
		event_base_free(base);
		_exit(0);
	}
	check_child(child);
	/* The child's byte is gone, and so is its signal; here nothing has changed. */
	CHECK_INT(event_base_loop(base, EVLOOP_NONBLOCK), 0);
	CHECK_INT(calls, 0);
	CHECK_INT(write(pair[1], "x", 1), 1);
	raise(SIGUSR1);
	while (calls < 2)
		CHECK_INT(event_base_loop(base, EVLOOP_ONCE), 0);
	event_base_free(base);
}

/* As inetd does it: the child deletes nothing, or everything, and goes its own way. libevent's child takes the
 * descriptor out of its parent's set, too, so there only the signal is deleted. */
static void
a_child_that_does_not_leaves_its_parent_alone(void)
{
	struct event reader, usr, patient;
	int pair[2];
	base = event_base_new();
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	event_assign(&reader, base, pair[0], EV_READ, drain, NULL);
	event_add(&reader, NULL);
	evsignal_assign(&usr, base, SIGUSR1, count, NULL);
	event_add(&usr, NULL);
	CHECK_INT(event_base_loop(base, EVLOOP_NONBLOCK), 0);
	pid_t child = fork();
	if (child == 0) {
		event_del(&usr);
		if (is_zerovent()) {
			event_del(&reader);
			event_base_free(base);
		}
		_exit(0);
	}
	check_child(child);
	event_assign(&patient, base, -1, 0, give_up, NULL);
	event_add(&patient, &patience);
	CHECK_INT(write(pair[1], "x", 1), 1);
	CHECK_INT(event_base_loop(base, EVLOOP_ONCE), 0);
	CHECK_INT(calls, 1);
	event_base_free(base);
}

static void
fork_and_go_on(evutil_socket_t fd, short what, void *arg)
{
	pid_t child = fork();
	if (child == 0) {
		CHECK_INT(event_reinit(base), 0);
		calls = 10;
		return;
	}
	check_child(child);
	calls++;
}

/* A callback forks, and both go on in the loop. */
static void
a_callback_may_fork(void)
{
	struct event forker, after;
	const struct timeval soon = { 0, 20000 };
	base = event_base_new();
	event_assign(&forker, base, -1, 0, fork_and_go_on, NULL);
	event_assign(&after, base, -1, 0, count, NULL);
	event_add(&after, &soon);
	event_active(&forker, EV_READ, 1);
	CHECK_INT(event_base_dispatch(base), 1);
	if (calls == 11)
		_exit(0);
	CHECK_INT(calls, 2);
	event_base_free(base);
}

static void
a_base_with_locks_survives_too(void)
{
	struct event ev;
	CHECK_INT(evthread_use_pthreads(), 0);
	base = event_base_new();
	event_assign(&ev, base, -1, 0, count, NULL);
	pid_t child = fork();
	if (child == 0) {
		CHECK_INT(event_reinit(base), 0);
		event_active(&ev, EV_READ, 1);
		CHECK_INT(event_base_dispatch(base), 1);
		CHECK_INT(calls, 1);
		event_base_free(base);
		_exit(0);
	}
	check_child(child);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(calls, 0);
	event_base_free(base);
}

MAIN(CASE_ROW(a_child_that_says_so_goes_on_by_itself), CASE_ROW(a_child_that_does_not_leaves_its_parent_alone),
    CASE_ROW(a_callback_may_fork), CASE_ROW(a_base_with_locks_survives_too))
