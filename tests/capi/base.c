/* Bases: how they are made, what they say of themselves, the old functions that name none, and what programs print. */
#include <sys/socket.h>

#include <event2/event.h>
#include <event2/event_compat.h>
#include <event2/event_struct.h>

#include "check.h"

static int calls;
static char said[4096];

static void
count(evutil_socket_t fd, short what, void *arg)
{
	calls++;
}

static void
listen_to(int severity, const char *message)
{
	char line[1024];
	snprintf(line, sizeof line, "%d:%s\n", severity, message);
	strncat(said, line, sizeof said - strlen(said) - 1);
}

static const struct timeval soon = { 0, 10000 };

static void
an_empty_base_has_nothing_to_do(void)
{
	struct event_base *base = event_base_new();
	CHECK(base != NULL);
	CHECK_INT(event_base_dispatch(base), 1);
	event_base_free(base);
}

static void
the_version_is_the_one_programs_were_built_for(void)
{
	CHECK_STR(event_get_version(), "2.1.12-stable");
	CHECK_STR(event_get_version(), LIBEVENT_VERSION);
	CHECK_INT(event_get_version_number(), LIBEVENT_VERSION_NUMBER);
}

static void
methods_are_named(void)
{
	const char **methods = event_get_supported_methods();
	struct event_base *base = event_base_new();
	CHECK_STR(methods[0], "epoll");
	CHECK_STR(methods[1], "poll");
	CHECK_STR(methods[2], "select");
	CHECK(methods[3] == NULL);
	CHECK_STR(event_base_get_method(base), "epoll");
	CHECK_INT(event_base_get_features(base), EV_FEATURE_ET | EV_FEATURE_O1 | EV_FEATURE_EARLY_CLOSE);
	event_base_free(base);
}

static const char *
method_without(const char *one, const char *other)
{
	struct event_config *config = event_config_new();
	CHECK_INT(event_config_avoid_method(config, one), 0);
	CHECK_INT(event_config_avoid_method(config, other), 0);
	struct event_base *base = event_base_new_with_config(config);
	event_config_free(config);
	if (base == NULL)
		return "none";
	/* The name outlives its base. */
	const char *name = event_base_get_method(base);
	event_base_free(base);
	return name;
}

static void
methods_can_be_avoided(void)
{
	CHECK_STR(method_without("epoll", "nonsense"), "poll");
	CHECK_STR(method_without("epoll", "poll"), "select");
	CHECK_STR(method_without("EPOLL", "select"), "epoll");
	setenv("EVENT_NOSELECT", "1", 1);
	event_set_log_callback(listen_to);
	CHECK_STR(method_without("epoll", "poll"), "none");
	CHECK_STR(said, "2:event_base_new_with_config: no event mechanism available\n");
}

static void
the_environment_is_heeded_unless_it_is_to_be_ignored(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base;
	/* As tmux does it, because epoll refuses /dev/null. */
	setenv("EVENT_NOEPOLL", "1", 1);
	base = event_init();
	unsetenv("EVENT_NOEPOLL");
	CHECK_STR(event_base_get_method(base), "poll");
	CHECK_STR(event_get_method(), "poll");
	CHECK_INT(event_base_get_features(base) & (EV_FEATURE_FDS | EV_FEATURE_ET), EV_FEATURE_FDS);
	event_base_free(base);
	setenv("EVENT_NOEPOLL", "", 1);
	CHECK_INT(event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV), 0);
	base = event_base_new_with_config(config);
	CHECK_STR(event_base_get_method(base), "epoll");
	event_base_free(base);
	event_config_free(config);
	unsetenv("EVENT_NOEPOLL");
	setenv("EVENT_EPOLL_USE_CHANGELIST", "1", 1);
	base = event_base_new();
	CHECK_STR(event_base_get_method(base), "epoll (with changelist)");
	event_base_free(base);
}

static struct event_base *
base_with(int features)
{
	struct event_config *config = event_config_new();
	CHECK_INT(event_config_require_features(config, EV_FEATURE_ET), 0);
	CHECK_INT(event_config_require_features(config, features), 0);
	struct event_base *base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

static void
features_can_be_required(void)
{
	struct event_base *base = base_with(EV_FEATURE_FDS);
	event_set_log_callback(listen_to);
	CHECK_STR(event_base_get_method(base), "poll");
	event_base_free(base);
	base = base_with(EV_FEATURE_ET);
	CHECK_STR(event_base_get_method(base), "epoll");
	event_base_free(base);
	CHECK(base_with(EV_FEATURE_FDS | EV_FEATURE_O1) == NULL);
	CHECK_INT(event_config_require_features(NULL, 0), -1);
	CHECK_INT(event_config_set_flag(NULL, 0), -1);
	CHECK_INT(event_config_set_num_cpus_hint(NULL, 1), -1);
}

static void
the_method_is_shown_to_who_asks(void)
{
	event_set_log_callback(listen_to);
	setenv("EVENT_SHOW_METHOD", "1", 1);
	event_base_free(event_base_new());
	CHECK_STR(said, "1:libevent using: epoll\n");
}

static void
a_poll_base_takes_dev_null(void)
{
	struct event ev;
	FILE *null = fopen("/dev/null", "r");
	struct event_base *base;
	setenv("EVENT_NOEPOLL", "1", 1);
	base = event_base_new();
	event_assign(&ev, base, fileno(null), EV_READ, count, NULL);
	CHECK_INT(event_add(&ev, NULL), 0);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(calls, 1);
	event_base_free(base);
}

static void
old_functions_mean_the_base_that_was_made_last(void)
{
	struct event ev;
	struct event_base *base = event_init();
	CHECK(base != NULL);
	event_set(&ev, -1, 0, count, NULL);
	CHECK(event_get_base(&ev) == base);
	event_add(&ev, &soon);
	CHECK_INT(event_priority_init(2), 0);
	CHECK_INT(event_base_get_npriorities(NULL), 2);
	CHECK_INT(event_once(-1, EV_TIMEOUT, count, NULL, NULL), 0);
	CHECK_INT(event_dispatch(), 1);
	CHECK_INT(calls, 2);
	CHECK_INT(event_loopexit(&soon), 0);
	CHECK_INT(event_loop(0), 0);
	CHECK_INT(event_loopbreak(), 0);
	CHECK_INT(event_loop(EVLOOP_NONBLOCK), 1);
	/* Without a name it is the one that is freed. */
	event_base_free(NULL);
	event_set_log_callback(listen_to);
	event_base_free(NULL);
	CHECK_STR(said, "2:event_base_free_: no base to free\n");
	libevent_global_shutdown();
}

/* An event that was set while there was no base works once it has been given one. */
static void
a_base_can_be_named_later(void)
{
	struct event ev;
	struct event_base *base;
	event_set(&ev, -1, 0, count, NULL);
	event_set_log_callback(listen_to);
	CHECK_INT(event_add(&ev, &soon), -1);
	CHECK(strncmp(said, "2:event_add: ", 13) == 0);
	base = event_base_new();
	CHECK_INT(event_base_set(base, &ev), 0);
	CHECK_INT(event_add(&ev, &soon), 0);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(calls, 1);
	event_base_free(base);
}

static void
fatal(int code)
{
	printf("fatal %x\n", code);
	_exit(code == 1 ? 0 : 7);
}

static void
what_cannot_go_on_is_told_before_the_end(void)
{
	event_set_log_callback(listen_to);
	event_set_fatal_callback(fatal);
	event_base_free(event_base_new());
	/* It comes too late. */
	event_enable_debug_mode();
	CHECK(!"this is not reached");
}

static int allocated, freed;

static void *
own_malloc(size_t size)
{
	allocated++;
	return malloc(size);
}

static void *
own_realloc(void *memory, size_t size)
{
	return realloc(memory, size);
}

static void
own_free(void *memory)
{
	freed += memory != NULL;
	free(memory);
}

static void
events_lie_in_the_programs_own_memory(void)
{
	struct event_base *base;
	event_set_mem_functions(own_malloc, own_realloc, own_free);
	base = event_base_new();
	int before = allocated;
	struct event *ev = event_new(base, -1, 0, count, NULL);
	CHECK_INT(allocated, before + 1);
	before = freed;
	event_free(ev);
	CHECK_INT(freed, before + 1);
	event_base_free(base);
}

MAIN(CASE_ROW(an_empty_base_has_nothing_to_do), CASE_ROW(the_version_is_the_one_programs_were_built_for),
    CASE_ROW(methods_are_named), CASE_ROW(methods_can_be_avoided),
    CASE_ROW(the_environment_is_heeded_unless_it_is_to_be_ignored), CASE_ROW(features_can_be_required),
    CASE_ROW(the_method_is_shown_to_who_asks), CASE_ROW(a_poll_base_takes_dev_null),
    CASE_ROW(old_functions_mean_the_base_that_was_made_last), CASE_ROW(a_base_can_be_named_later),
    CASE_ROW(what_cannot_go_on_is_told_before_the_end), CASE_ROW(events_lie_in_the_programs_own_memory))
