/* Signals: delivered in the loop, as often as they came, to every base that waits for them. */
#include "events.h"

#include <errno.h>
#include <signal.h>

/* Long enough for a signal to be noticed. */
static void
run_for_a_while(void)
{
	static const struct timeval a_while = { 0, 50000 };
	event_base_loopexit(base, &a_while);
	event_base_dispatch(base);
}

static void
a_signal_is_told_in_the_loop(void)
{
	struct event ev;
	begin();
	evsignal_assign(&ev, base, SIGUSR1, count, NULL);
	CHECK_INT(evsignal_add(&ev, NULL), 0);
	CHECK_INT(evsignal_pending(&ev, NULL), EV_SIGNAL);
	raise(SIGUSR1);
	CHECK_INT(calls, 0);
	run_for_a_while();
	CHECK_INT(calls, 1);
	CHECK_INT(last_what, EV_SIGNAL);
	CHECK_INT(last_fd, SIGUSR1);
	event_del(&ev);
	event_base_free(base);
}

static void
it_is_called_as_often_as_the_signal_came(void)
{
	struct event ev, once;
	int others = 0;
	begin();
	evsignal_assign(&ev, base, SIGUSR1, count, NULL);
	event_assign(&once, base, SIGUSR2, EV_SIGNAL, count, &others);
	event_add(&ev, NULL);
	event_add(&once, NULL);
	for (int i = 0; i < 3; i++) {
		raise(SIGUSR1);
		raise(SIGUSR2);
	}
	run_for_a_while();
	CHECK_INT(calls, 6);
	CHECK_INT(event_pending(&once, EV_SIGNAL, NULL), 0);
	event_base_free(base);
}

static void
delete_at_the_second(evutil_socket_t fd, short what, void *arg)
{
	if (++calls == 2)
		event_del(arg);
}

static void
free_at_once(evutil_socket_t fd, short what, void *arg)
{
	calls++;
	event_free(arg);
}

static void
deleting_it_in_its_callback_ends_the_calls(void)
{
	struct event ev, *made;
	begin();
	evsignal_assign(&ev, base, SIGUSR1, delete_at_the_second, &ev);
	event_add(&ev, NULL);
	for (int i = 0; i < 4; i++)
		raise(SIGUSR1);
	run_for_a_while();
	CHECK_INT(calls, 2);
	made = evsignal_new(base, SIGUSR1, free_at_once, event_self_cbarg());
	event_add(made, NULL);
	for (int i = 0; i < 4; i++)
		raise(SIGUSR1);
	run_for_a_while();
	CHECK_INT(calls, 3);
	event_base_free(base);
}

static void
break_at_the_second(evutil_socket_t fd, short what, void *arg)
{
	if (++calls == 2)
		event_base_loopbreak(base);
}

static void
a_break_ends_the_calls(void)
{
	struct event ev;
	begin();
	evsignal_assign(&ev, base, SIGUSR1, break_at_the_second, &ev);
	event_add(&ev, NULL);
	for (int i = 0; i < 4; i++)
		raise(SIGUSR1);
	run_for_a_while();
	CHECK_INT(calls, 2);
	event_base_free(base);
}

static void
an_activated_signal_is_called_as_often_as_it_says(void)
{
	struct event ev;
	begin();
	evsignal_assign(&ev, base, SIGUSR1, count, NULL);
	event_active(&ev, EV_SIGNAL, 3);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(calls, 3);
	event_add(&ev, NULL);
	event_base_active_by_signal(base, SIGUSR1);
	event_base_active_by_signal(base, SIGUSR2);
	run_for_a_while();
	CHECK_INT(calls, 4);
	event_base_free(base);
}

static void
the_old_handler(int signal_number)
{
	calls += 100;
}

static void
what_a_signal_did_before_comes_back(void)
{
	struct event ev;
	struct sigaction now;
	begin();
	signal(SIGUSR1, the_old_handler);
	evsignal_assign(&ev, base, SIGUSR1, count, NULL);
	event_add(&ev, NULL);
	raise(SIGUSR1);
	run_for_a_while();
	CHECK_INT(calls, 1);
	event_del(&ev);
	raise(SIGUSR1);
	CHECK_INT(calls, 101);
	event_add(&ev, NULL);
	event_base_free(base);
	sigaction(SIGUSR1, NULL, &now);
	CHECK(now.sa_handler == the_old_handler);
}

static void
a_signal_can_have_a_timeout(void)
{
	struct event ev;
	begin();
	event_assign(&ev, base, SIGUSR1, EV_SIGNAL, count, NULL);
	event_add(&ev, &soon);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(calls, 1);
	CHECK_INT(last_what, EV_TIMEOUT);
	event_base_free(base);
}

static void
a_signal_that_cannot_be_caught_is_refused(void)
{
	struct event ev;
	begin();
	event_set_log_callback(NULL);
	event_assign(&ev, base, SIGKILL, EV_SIGNAL, count, NULL);
	CHECK_INT(event_add(&ev, NULL), -1);
	CHECK_INT(ev.ev_evcallback.evcb_flags, EVLIST_INIT);
	event_base_free(base);
}

static void
a_handler_leaves_errno_alone(void)
{
	struct event ev;
	begin();
	evsignal_assign(&ev, base, SIGUSR1, count, NULL);
	event_add(&ev, NULL);
	/* Nobody empties what the handler writes to, so that it will be full. */
	for (int i = 0; i < 100000; i++) {
		errno = EXDEV;
		raise(SIGUSR1);
		CHECK_INT(errno, EXDEV);
	}
	event_base_free(base);
}

static void
on_alarm(int signal_number)
{
}

/* A wait that is interrupted, with nothing to be called, is no reason for EVLOOP_ONCE to return. */
static void
once_does_not_return_for_an_interruption(void)
{
	struct event ev;
	struct itimerval interval = { { 0, 5000 }, { 0, 5000 } };
	const struct timeval long_enough = { 0, 100000 };
	struct sigaction action = { .sa_handler = on_alarm };
	begin();
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &interval, NULL);
	event_assign(&ev, base, -1, 0, count, NULL);
	event_add(&ev, &long_enough);
	CHECK_INT(event_base_loop(base, EVLOOP_ONCE), 0);
	CHECK_INT(calls, 1);
	event_base_free(base);
}

/* libevent tells the base that was added to last; with us any number may wait for one signal. */
static void
several_bases_wait_for_one_signal(void)
{
	struct event one, two;
	struct event_base *other = event_base_new();
	begin();
	event_set_log_callback(NULL);
	evsignal_assign(&one, base, SIGUSR1, count, NULL);
	evsignal_assign(&two, other, SIGUSR1, count, NULL);
	event_add(&two, NULL);
	event_add(&one, NULL);
	raise(SIGUSR1);
	event_base_loop(base, EVLOOP_ONCE);
	CHECK_INT(calls, 1);
	event_base_loop(other, EVLOOP_NONBLOCK);
	CHECK_INT(calls, is_zerovent() ? 2 : 1);
	event_base_free(base);
	event_base_free(other);
}

static void
a_child_that_ends_is_told(void)
{
	struct event ev;
	begin();
	evsignal_assign(&ev, base, SIGCHLD, count, NULL);
	event_add(&ev, NULL);
	pid_t child = fork();
	if (child == 0)
		_exit(3);
	CHECK_INT(event_base_loop(base, EVLOOP_ONCE), 0);
	CHECK_INT(calls, 1);
	int status;
	CHECK_INT(waitpid(child, &status, 0), child);
	CHECK_INT(WEXITSTATUS(status), 3);
	event_base_free(base);
}

MAIN(CASE_ROW(a_signal_is_told_in_the_loop), CASE_ROW(it_is_called_as_often_as_the_signal_came),
    CASE_ROW(deleting_it_in_its_callback_ends_the_calls), CASE_ROW(a_break_ends_the_calls),
    CASE_ROW(an_activated_signal_is_called_as_often_as_it_says), CASE_ROW(what_a_signal_did_before_comes_back),
    CASE_ROW(a_signal_can_have_a_timeout), CASE_ROW(a_signal_that_cannot_be_caught_is_refused),
    CASE_ROW(a_handler_leaves_errno_alone), CASE_ROW(once_does_not_return_for_an_interruption),
    CASE_ROW(several_bases_wait_for_one_signal), CASE_ROW(a_child_that_ends_is_told))
