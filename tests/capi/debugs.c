/* Debug mode: what libevent would find wrong with a program, we do too. */
#include <sys/socket.h>
#include <sys/wait.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/thread.h>

#include "check.h"

static const struct timeval later = { 100, 0 };

static void
nothing(evutil_socket_t fd, short what, void *arg)
{
}

/* Libevent ends by telling the callback what for: a broken promise. */
static void
fatal(int code)
{
	_exit(code == (int)0xdeaddead ? 42 : 43);
}

static void
silence(int severity, const char *message)
{
}

/* What is done in a process of its own must end it. */
static void
is_found(void (*wrong)(struct event_base *, struct event *))
{
	int status;
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		struct event ev;
		event_set_log_callback(silence);
		event_set_fatal_callback(fatal);
		event_enable_debug_mode();
		struct event_base *base = event_base_new();
		event_assign(&ev, base, -1, 0, nothing, NULL);
		wrong(base, &ev);
		_exit(0);
	}
	CHECK_INT(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	CHECK_INT(WEXITSTATUS(status), 42);
}

static void
assign_twice(struct event_base *base, struct event *ev)
{
	event_add(ev, &later);
	event_assign(ev, base, -1, 0, nothing, NULL);
}

static void
add_the_unassigned(struct event_base *base, struct event *ev)
{
	struct event copy = *ev;
	event_add(&copy, &later);
}

static void
add_what_is_no_event_any_more(struct event_base *base, struct event *ev)
{
	event_debug_unassign(ev);
	event_add(ev, &later);
}

static void
unassign_what_waits(struct event_base *base, struct event *ev)
{
	event_add(ev, &later);
	event_debug_unassign(ev);
}

static void
wait_for_what_blocks(struct event_base *base, struct event *ev)
{
	int pair[2];
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	event_assign(ev, base, pair[0], EV_READ, nothing, NULL);
}

static void
mistakes_are_found(void)
{
	is_found(assign_twice);
	is_found(add_the_unassigned);
	is_found(add_what_is_no_event_any_more);
	is_found(unassign_what_waits);
	is_found(wait_for_what_blocks);
}

static void
what_is_right_is_left_alone(void)
{
	struct event ev;
	event_enable_debug_mode();
	struct event_base *base = event_base_new();
	event_assign(&ev, base, -1, 0, nothing, NULL);
	event_add(&ev, &later);
	event_del(&ev);
	event_assign(&ev, base, -1, EV_PERSIST, nothing, NULL);
	event_debug_unassign(&ev);
	CHECK_INT(event_initialized(&ev), 0);
	event_free(event_new(base, -1, 0, nothing, NULL));
	event_base_free(base);
	libevent_global_shutdown();
}

static char said[8192];

static void
listen_to(int severity, const char *message)
{
	if (severity == EVENT_LOG_DEBUG)
		strncat(said, message, sizeof said - strlen(said) - 1);
}

static void
what_is_done_is_told_to_who_asks(void)
{
	struct event ev;
	event_set_log_callback(listen_to);
	event_enable_debug_logging(EVENT_DBG_ALL);
	struct event_base *base = event_base_new();
	event_assign(&ev, base, -1, 0, nothing, NULL);
	event_add(&ev, &later);
	CHECK(strstr(said, "event_add: event: ") != NULL);
	event_del(&ev);
	CHECK(strstr(said, "event_del: ") != NULL);
	event_enable_debug_logging(EVENT_DBG_NONE);
	said[0] = '\0';
	event_add(&ev, &later);
	CHECK_STR(said, "");
	event_base_free(base);
}

MAIN(CASE_ROW(mistakes_are_found), CASE_ROW(what_is_right_is_left_alone), CASE_ROW(what_is_done_is_told_to_who_asks))
