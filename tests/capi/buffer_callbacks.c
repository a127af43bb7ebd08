/* Callbacks of buffers: when they are called, in which order, with what, and what they may do. */
#include <setjmp.h>

#include <event2/buffer.h>
#include <event2/buffer_compat.h>
#include <event2/event.h>

#include "check.h"

/* What callbacks wrote down, one word each. */
static char told[1024];

static void
note(const char *name, const struct evbuffer_cb_info *info)
{
	size_t len = strlen(told);
	snprintf(told + len, sizeof told - len, "%s%zu+%zu-%zu ", name, info->orig_size, info->n_added, info->n_deleted);
}

#define CHECK_TOLD(expected)                                                                                          \
	do {                                                                                                          \
		CHECK_STR(told, expected);                                                                            \
		told[0] = 0;                                                                                          \
	} while (0)

static void
one(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	(void)buf;
	note(arg != NULL ? arg : "one:", info);
}

static void
old(struct evbuffer *buf, size_t before, size_t after, void *arg)
{
	struct evbuffer_cb_info info = { before, after, 0 };
	CHECK_INT(evbuffer_get_length(buf), after);
	note(arg, &info);
}

static void
the_newest_is_called_first(void)
{
	struct evbuffer *buf = evbuffer_new();
	struct evbuffer_cb_entry *a = evbuffer_add_cb(buf, one, "a:"), *b = evbuffer_add_cb(buf, one, "b:");
	CHECK(a != NULL && b != NULL);
	evbuffer_add(buf, "12345", 5);
	CHECK_TOLD("b:0+5-0 a:0+5-0 ");
	evbuffer_prepend(buf, "0", 1);
	CHECK_TOLD("b:5+1-0 a:5+1-0 ");
	evbuffer_drain(buf, 2);
	CHECK_TOLD("b:6+0-2 a:6+0-2 ");
	CHECK_INT(evbuffer_cb_clear_flags(buf, b, EVBUFFER_CB_ENABLED), 0);
	evbuffer_drain(buf, 1);
	CHECK_TOLD("a:4+0-1 ");
	CHECK_INT(evbuffer_cb_set_flags(buf, b, EVBUFFER_CB_ENABLED), 0);
	/* What it missed it is not told later. */
	evbuffer_drain(buf, 1);
	CHECK_TOLD("b:3+0-1 a:3+0-1 ");
	CHECK_INT(evbuffer_remove_cb(buf, one, "c:"), -1);
	CHECK_INT(evbuffer_remove_cb_entry(buf, b), 0);
	evbuffer_add_printf(buf, "%d", 10);
	CHECK_TOLD("a:2+2-0 ");
	/* Nothing has changed. */
	evbuffer_expand(buf, 1000);
	evbuffer_pullup(buf, -1);
	evbuffer_add(buf, "", 0);
	CHECK_TOLD("");
	evbuffer_free(buf);
	CHECK_TOLD("");
}

static void
the_old_kind_is_the_only_one(void)
{
	struct evbuffer *buf = evbuffer_new();
	evbuffer_add_cb(buf, one, NULL);
	CHECK_INT(evbuffer_setcb(buf, old, "old:"), 0);
	evbuffer_add(buf, "123", 3);
	CHECK_TOLD("old:0+3-0 ");
	CHECK_INT(evbuffer_setcb(buf, NULL, NULL), 0);
	evbuffer_add(buf, "4", 1);
	CHECK_TOLD("");
	evbuffer_free(buf);
}

static void
both_buffers_hear_of_a_move(void)
{
	struct evbuffer *from = evbuffer_new(), *to = evbuffer_new();
	char *line;
	evbuffer_add(from, "0123456789", 10);
	evbuffer_add(to, "ab", 2);
	evbuffer_add_cb(from, one, "from:");
	evbuffer_add_cb(to, one, "to:");
	evbuffer_remove_buffer(from, to, 4);
	CHECK_TOLD("to:2+4-0 from:10+0-4 ");
	evbuffer_remove_buffer(from, to, 100);
	CHECK_TOLD("from:6+0-6 to:6+6-0 ");
	evbuffer_add_buffer(from, to);
	CHECK_TOLD("to:12+0-12 from:0+12-0 ");
	evbuffer_prepend_buffer(to, from);
	CHECK_TOLD("from:12+0-12 to:0+12-0 ");
	evbuffer_add_buffer_reference(from, to);
	CHECK_TOLD("from:0+12-0 ");
	evbuffer_drain(from, 12);
	told[0] = 0;
	/* A line and its end are two changes. */
	evbuffer_add(from, "x\r\n", 3);
	line = evbuffer_readln(from, NULL, EVBUFFER_EOL_CRLF);
	CHECK_TOLD("from:0+3-0 from:3+0-1 from:2+0-2 ");
	free(line);
	evbuffer_free(from);
	evbuffer_free(to);
}

static struct evbuffer_cb_entry *entry;

static void
remove_itself(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	one(buf, info, arg);
	CHECK_INT(evbuffer_remove_cb_entry(buf, entry), 0);
}

static void
a_callback_may_remove_itself(void)
{
	struct evbuffer *buf = evbuffer_new();
	evbuffer_add_cb(buf, one, "a:");
	entry = evbuffer_add_cb(buf, remove_itself, "self:");
	evbuffer_add_cb(buf, one, "b:");
	evbuffer_add(buf, "1", 1);
	CHECK_TOLD("b:0+1-0 self:0+1-0 a:0+1-0 ");
	evbuffer_add(buf, "2", 1);
	CHECK_TOLD("b:1+1-0 a:1+1-0 ");
	evbuffer_free(buf);
}

static void
drain_one(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	one(buf, info, arg);
	evbuffer_drain(buf, 1);
}

static void
add_a_callback(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	one(buf, info, arg);
	if (evbuffer_get_length(buf) == 1)
		evbuffer_add_cb(buf, one, "new:");
}

/* What a callback changes is told at once, from inside it. */
static void
a_callback_may_change_the_buffer(void)
{
	struct evbuffer *buf = evbuffer_new();
	evbuffer_add_cb(buf, drain_one, "drain:");
	evbuffer_add_cb(buf, one, "see:");
	evbuffer_add(buf, "123", 3);
	CHECK_TOLD("see:0+3-0 drain:0+3-0 see:3+0-1 drain:3+0-1 see:2+0-1 drain:2+0-1 see:1+0-1 drain:1+0-1 ");
	CHECK_INT(evbuffer_get_length(buf), 0);
	evbuffer_setcb(buf, NULL, NULL);
	evbuffer_add_cb(buf, add_a_callback, "add:");
	evbuffer_add(buf, "1", 1);
	CHECK_TOLD("add:0+1-0 ");
	evbuffer_add(buf, "2", 1);
	CHECK_TOLD("new:1+1-0 add:1+1-0 ");
	evbuffer_free(buf);
}

static int returned;

static void
note_return(const void *data, size_t len, void *arg)
{
	(void)data;
	(void)len;
	(void)arg;
	returned++;
}

static void
free_the_buffer(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	one(buf, info, arg);
	evbuffer_free(buf);
	CHECK_INT(returned, 1);
}

/* libevent touches the buffer after its callbacks. */
static void
a_callback_may_free_the_buffer(void)
{
	struct evbuffer *buf;
	if (!is_zerovent())
		return;
	buf = evbuffer_new();
	evbuffer_add_reference(buf, "memory", 6, note_return, NULL);
	evbuffer_add_cb(buf, one, "never:");
	evbuffer_add_cb(buf, free_the_buffer, "free:");
	CHECK_INT(evbuffer_add(buf, "1", 1), 0);
	CHECK_TOLD("free:6+1-0 ");
}

static void
deferred_callbacks_hear_a_summary(void)
{
	struct event_base *base = event_base_new();
	struct evbuffer *buf = evbuffer_new();
	struct evbuffer_cb_entry *at_once;
	evbuffer_add_cb(buf, one, "a:");
	at_once = evbuffer_add_cb(buf, one, "now:");
	/* EVBUFFER_CB_NODEFER, which only libevent's own source names. */
	evbuffer_cb_set_flags(buf, at_once, 2);
	CHECK_INT(evbuffer_defer_callbacks(buf, base), 0);
	evbuffer_add(buf, "12345", 5);
	/* As libevent has it: what was told at once is told again until the others have heard it. */
	CHECK_TOLD("now:0+5-0 ");
	evbuffer_drain(buf, 2);
	CHECK_TOLD("now:0+5-2 ");
	CHECK_INT(event_base_loop(base, EVLOOP_NONBLOCK) < 0, 0);
	CHECK_TOLD("a:0+5-2 ");
	CHECK_INT(event_base_loop(base, EVLOOP_NONBLOCK) < 0, 0);
	CHECK_TOLD("");
	evbuffer_drain(buf, 1);
	told[0] = 0;
	event_base_loop(base, EVLOOP_NONBLOCK);
	CHECK_TOLD("a:3+0-1 ");
	evbuffer_free(buf);
	event_base_free(base);
}

static void
a_freed_buffer_tells_what_was_deferred(void)
{
	struct event_base *base = event_base_new();
	struct evbuffer *buf = evbuffer_new();
	evbuffer_add_cb(buf, one, "a:");
	evbuffer_defer_callbacks(buf, base);
	evbuffer_add_reference(buf, "12345", 5, note_return, NULL);
	evbuffer_free(buf);
	CHECK_INT(returned, 0);
	event_base_loop(base, EVLOOP_NONBLOCK);
	CHECK_TOLD("a:0+5-0 ");
	CHECK_INT(returned, 1);
	event_base_free(base);
}

static jmp_buf away;
/* What the frames that were jumped over kept is not given back; it is not lost while this says where it is. */
static struct evbuffer *jumped_over;

static void
jump(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg)
{
	one(buf, info, arg);
	longjmp(away, 1);
}

static void
a_callback_may_jump_away(void)
{
	struct evbuffer *buf = jumped_over = evbuffer_new();
	entry = evbuffer_add_cb(buf, jump, "jump:");
	if (setjmp(away) == 0) {
		evbuffer_add(buf, "12", 2);
		CHECK(0);
	}
	CHECK_TOLD("jump:0+2-0 ");
	CHECK_INT(evbuffer_remove_cb_entry(buf, entry), 0);
	CHECK_INT(evbuffer_add(buf, "3", 1), 0);
	CHECK_INT(evbuffer_get_length(buf), 3);
	CHECK(memcmp(evbuffer_pullup(buf, -1), "123", 3) == 0);
	evbuffer_free(buf);
}

/* The base gives back what was left to it, so nothing is lost (valgrind says so). libevent loses the buffer. */
static void
a_deferred_buffer_goes_with_its_base(void)
{
	struct event_base *base = event_base_new();
	struct evbuffer *buf = evbuffer_new();
	evbuffer_add_cb(buf, one, "never:");
	CHECK_INT(evbuffer_defer_callbacks(buf, base), 0);
	evbuffer_add_reference(buf, "12345", 5, note_return, NULL);
	evbuffer_free(buf);
	CHECK_INT(returned, 0);
	event_base_free(base);
	if (is_zerovent())
		CHECK_INT(returned, 1);
	CHECK_TOLD("");
}

static struct evbuffer *others[2];

static void
free_the_other(const void *data, size_t len, void *arg)
{
	(void)data, (void)len;
	returned++;
	if (others[1] != NULL)
		evbuffer_free(others[1]);
	others[1] = NULL;
}

static void
listen_to_the_other(const void *data, size_t len, void *arg)
{
	(void)data, (void)len;
	returned++;
	/* Another clean-up is due; this must not be where it is made, for it frees what this is about. */
	CHECK(evbuffer_add_cb(others[1], one, "never:") != NULL);
	CHECK_INT(evbuffer_get_length(others[1]), 1);
}

static void
a_clean_up_is_made_in_nobody_elses_look(void)
{
	if (!is_zerovent())
		return; /* makes them in the middle of its work */
	others[0] = evbuffer_new();
	others[1] = evbuffer_new();
	evbuffer_add(others[1], "x", 1);
	evbuffer_add_reference(others[0], "a", 1, listen_to_the_other, NULL);
	evbuffer_add_reference(others[0], "b", 1, free_the_other, NULL);
	CHECK_INT(evbuffer_drain(others[0], 2), 0);
	CHECK_INT(returned, 2);
	CHECK(others[1] == NULL);
	evbuffer_free(others[0]);
}

MAIN(CASE_ROW(the_newest_is_called_first), CASE_ROW(a_deferred_buffer_goes_with_its_base),
    CASE_ROW(a_clean_up_is_made_in_nobody_elses_look), CASE_ROW(the_old_kind_is_the_only_one),
    CASE_ROW(both_buffers_hear_of_a_move), CASE_ROW(a_callback_may_remove_itself),
    CASE_ROW(a_callback_may_change_the_buffer), CASE_ROW(a_callback_may_free_the_buffer),
    CASE_ROW(deferred_callbacks_hear_a_summary), CASE_ROW(a_freed_buffer_tells_what_was_deferred),
    CASE_ROW(a_callback_may_jump_away))
