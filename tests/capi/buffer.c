/* Buffers: what goes in and comes out, in what shape, and what is refused. */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>

#include <event2/buffer.h>
#include <event2/buffer_compat.h>

#include "check.h"

/* The content is exactly this text. */
static void
check_content(struct evbuffer *buf, const char *text)
{
	size_t len = strlen(text);
	char copy[4096];
	CHECK_INT(evbuffer_get_length(buf), len);
	CHECK_INT(evbuffer_copyout(buf, copy, sizeof copy), len);
	CHECK(memcmp(copy, text, len) == 0);
}

static struct evbuffer *
buffer_of(const char *text)
{
	struct evbuffer *buf = evbuffer_new();
	CHECK(buf != NULL);
	CHECK_INT(evbuffer_add(buf, text, strlen(text)), 0);
	return buf;
}

static void
bytes_come_out_in_order(void)
{
	struct evbuffer *buf = buffer_of("middle");
	char out[8];
	CHECK_INT(evbuffer_prepend(buf, "front ", 6), 0);
	CHECK_INT(evbuffer_add(buf, " end", 4), 0);
	CHECK_INT(evbuffer_add(buf, NULL, 0), 0);
	check_content(buf, "front middle end");
	CHECK_INT(evbuffer_drain(buf, 6), 0);
	CHECK_INT(evbuffer_remove(buf, out, 6), 6);
	CHECK(memcmp(out, "middle", 6) == 0);
	CHECK_INT(evbuffer_remove(buf, out, sizeof out), 4);
	CHECK_INT(evbuffer_remove(buf, out, sizeof out), 0);
	CHECK_INT(evbuffer_get_length(buf), 0);
	CHECK_INT(evbuffer_drain(buf, 100), 0);
	CHECK_INT(evbuffer_add(buf, "x", SIZE_MAX), -1);
	evbuffer_free(buf);
}

static void
large_content_is_kept_whole(void)
{
	enum { LEN = 3 << 20 };
	unsigned char *data = malloc(LEN), *seen;
	struct evbuffer *buf = evbuffer_new();
	size_t i;
	for (i = 0; i < LEN; i++)
		data[i] = (unsigned char)(i * 7 + i / 251);
	for (i = 0; i < LEN; i += 1000)
		CHECK_INT(evbuffer_add(buf, data + i, LEN - i < 1000 ? LEN - i : 1000), 0);
	CHECK_INT(evbuffer_get_length(buf), LEN);
	seen = evbuffer_pullup(buf, -1);
	CHECK(seen != NULL && memcmp(seen, data, LEN) == 0);
	CHECK_INT(evbuffer_get_contiguous_space(buf), LEN);
	/* Once it is contiguous it stays where it is. */
	CHECK(evbuffer_pullup(buf, -1) == seen);
	CHECK(evbuffer_pullup(buf, LEN + 1) == NULL);
	CHECK(evbuffer_pullup(buf, 0) == NULL);
	evbuffer_free(buf);
	free(data);
}

static void
what_is_pulled_up_can_be_written(void)
{
	struct evbuffer *buf = buffer_of("shout");
	unsigned char *bytes = evbuffer_pullup(buf, -1);
	bytes[0] = 'S';
	check_content(buf, "Shout");
	evbuffer_free(buf);
}

static void
a_frozen_end_refuses(void)
{
	struct evbuffer *buf = buffer_of("text"), *other = buffer_of("more"), *empty = evbuffer_new();
	struct evbuffer_iovec vec[2] = { { "ab", 2 }, { "cd", 2 } };
	struct evbuffer_ptr end;
	char out[8];
	size_t len = 9;
	CHECK_INT(evbuffer_freeze(buf, 0), 0);
	CHECK_INT(evbuffer_freeze(buf, 0), 0);
	CHECK_INT(evbuffer_add(buf, "x", 1), -1);
	CHECK_INT(evbuffer_add(buf, "x", 0), -1);
	CHECK_INT(evbuffer_add_printf(buf, "%d", 1), -1);
	CHECK_INT(evbuffer_add_buffer(buf, other), -1);
	CHECK_INT(evbuffer_add_buffer(buf, empty), 0);
	CHECK_INT(evbuffer_remove_buffer(empty, buf, 1), -1);
	CHECK_INT(evbuffer_add_iovec(buf, vec, 2), 0);
	CHECK_INT(evbuffer_reserve_space(buf, 1, vec, 1), -1);
	CHECK_INT(evbuffer_commit_space(buf, vec, 0), -1);
	CHECK_INT(evbuffer_add_reference(buf, "x", 1, NULL, NULL), -1);
	CHECK_INT(evbuffer_read(buf, 0, 1), -1);
	CHECK_INT(evbuffer_expand(buf, 100), 0);
	CHECK_INT(evbuffer_prepend(buf, "", 0), 0);
	check_content(buf, "text");
	CHECK_INT(evbuffer_unfreeze(buf, 0), 0);
	CHECK_INT(evbuffer_freeze(buf, 1), 0);
	CHECK_INT(evbuffer_drain(buf, 0), -1);
	CHECK_INT(evbuffer_drain(buf, 1), -1);
	CHECK_INT(evbuffer_remove(buf, out, 1), -1);
	CHECK_INT(evbuffer_remove(buf, out, 0), 0);
	CHECK_INT(evbuffer_copyout(buf, out, 1), -1);
	CHECK_INT(evbuffer_copyout(buf, out, 0), 0);
	evbuffer_ptr_set(buf, &end, 4, EVBUFFER_PTR_SET);
	CHECK_INT(evbuffer_copyout_from(buf, &end, out, 4), 0);
	CHECK_INT(evbuffer_prepend(buf, "x", 1), -1);
	CHECK_INT(evbuffer_prepend(buf, "x", 0), 0);
	CHECK_INT(evbuffer_prepend_buffer(buf, other), -1);
	CHECK_INT(evbuffer_add_buffer(other, buf), -1);
	CHECK_INT(evbuffer_remove_buffer(buf, other, 2), -1);
	CHECK_INT(evbuffer_remove_buffer(buf, other, 0), 0);
	CHECK_INT(evbuffer_write(buf, 1), -1);
	CHECK(evbuffer_readln(buf, &len, EVBUFFER_EOL_LF) == NULL);
	CHECK_INT(len, 0);
	CHECK(evbuffer_pullup(buf, -1) != NULL);
	CHECK_INT(evbuffer_unfreeze(buf, 1), 0);
	check_content(buf, "text");
	check_content(other, "more");
	evbuffer_freeze(empty, 1);
	CHECK_INT(evbuffer_drain(empty, 1), 0);
	evbuffer_free(buf);
	evbuffer_free(other);
	evbuffer_free(empty);
}

static void
lines_end_as_told(void)
{
	struct evbuffer *buf = buffer_of("one\r\ntwo\nthree\r\n\r\nfour\r\n\nfive");
	size_t len;
	char *line = evbuffer_readln(buf, &len, EVBUFFER_EOL_CRLF);
	CHECK_STR(line, "one");
	CHECK_INT(len, 3);
	free(line);
	line = evbuffer_readln(buf, &len, EVBUFFER_EOL_CRLF_STRICT);
	CHECK_STR(line, "two\nthree");
	free(line);
	line = evbuffer_readln(buf, NULL, EVBUFFER_EOL_LF);
	CHECK_STR(line, "\r");
	free(line);
	line = evbuffer_readline(buf);
	CHECK_STR(line, "four");
	free(line);
	check_content(buf, "five");
	CHECK(evbuffer_readln(buf, &len, EVBUFFER_EOL_ANY) == NULL);
	CHECK_INT(len, 0);
	CHECK_INT(evbuffer_add(buf, "\0six", 5), 0);
	line = evbuffer_readln(buf, &len, EVBUFFER_EOL_NUL);
	CHECK_STR(line, "five");
	free(line);
	line = evbuffer_readln(buf, &len, EVBUFFER_EOL_NUL);
	CHECK_STR(line, "six");
	free(line);
	CHECK(evbuffer_readln(buf, &len, (enum evbuffer_eol_style)77) == NULL);
	evbuffer_free(buf);
}

static int
add_list(struct evbuffer *buf, const char *format, ...)
{
	va_list list;
	int result;
	va_start(list, format);
	result = evbuffer_add_vprintf(buf, format, list);
	va_end(list);
	return result;
}

static void
text_is_formatted(void)
{
	struct evbuffer *buf = evbuffer_new();
	char expected[9000], wide[8001];
	/* More than the registers hold, of both kinds. */
	static const char *format = "%d %s %.2f %ld %c %.1f %u %llx %.3f %s %d %.1f %.1f %.1f %.1f %.1f %.1Lf %d";
#define ARGUMENTS \
	-1, "two", 3.25, 4L, '5', 6.5, 7u, 0x8888888888888888ULL, 9.125, "ten", 11, 12.5, 13.5, 14.5, 15.5, 16.5, \
	    17.5L, INT_MIN
	int len = snprintf(expected, sizeof expected, format, ARGUMENTS);
	CHECK_INT(evbuffer_add_printf(buf, format, ARGUMENTS), len);
	check_content(buf, expected);
	CHECK_INT(evbuffer_drain(buf, len), 0);
	CHECK_INT(add_list(buf, format, ARGUMENTS), len);
	check_content(buf, expected);
	CHECK_INT(evbuffer_drain(buf, len), 0);
	/* A text that has to be formatted a second time, with the arguments of the first. */
	memset(wide, 'w', 8000);
	wide[8000] = 0;
	CHECK_INT(evbuffer_add_printf(buf, "%d %s %s %d", 1, wide, "x", 2), 8006);
	CHECK_INT(evbuffer_get_length(buf), 8006);
	len = snprintf(expected, sizeof expected, "%d %s %s %d", 1, wide, "x", 2);
	CHECK(memcmp(evbuffer_pullup(buf, -1), expected, len) == 0);
	CHECK_INT(evbuffer_add_printf(buf, "%s", ""), 0);
	CHECK_INT(evbuffer_drain(buf, SIZE_MAX), 0);
	/* Every length around the space that is tried first. */
	for (len = 0; len < 2100; len++) {
		CHECK_INT(evbuffer_add_printf(buf, "%.*s", len, wide), len);
		CHECK_INT(evbuffer_get_length(buf), len);
		evbuffer_drain(buf, len);
	}
	evbuffer_free(buf);
}

static void
buffers_move_into_each_other(void)
{
	struct evbuffer *one = buffer_of("one "), *two = buffer_of("two ");
	CHECK_INT(evbuffer_add_buffer(one, two), 0);
	CHECK_INT(evbuffer_get_length(two), 0);
	check_content(one, "one two ");
	CHECK_INT(evbuffer_add_buffer(one, one), 0);
	CHECK_INT(evbuffer_prepend_buffer(one, one), 0);
	CHECK_INT(evbuffer_remove_buffer(one, one, 3), 0);
	CHECK_INT(evbuffer_add_buffer_reference(one, one), -1);
	CHECK_INT(evbuffer_add_buffer_reference(two, two), 0);
	check_content(one, "one two ");
	CHECK_INT(evbuffer_remove_buffer(one, two, 4), 4);
	check_content(two, "one ");
	CHECK_INT(evbuffer_prepend_buffer(one, two), 0);
	check_content(one, "one two ");
	CHECK_INT(evbuffer_remove_buffer(one, two, 100), 8);
	CHECK_INT(evbuffer_remove_buffer(one, two, 100), 0);
	CHECK_INT(evbuffer_add_buffer_reference(one, two), 0);
	CHECK_INT(evbuffer_drain(two, 4), 0);
	check_content(one, "one two ");
	check_content(two, "two ");
	evbuffer_free(two);
	check_content(one, "one two ");
	evbuffer_free(one);
}

struct returned {
	int calls;
	const void *data;
	size_t len;
};

static void
note_return(const void *data, size_t len, void *arg)
{
	struct returned *returned = arg;
	returned->calls++;
	returned->data = data;
	returned->len = len;
}

static void
referenced_memory_is_given_back_once(void)
{
	static const char memory[] = "referenced";
	struct returned returned = { 0, NULL, 0 };
	struct evbuffer *buf = evbuffer_new(), *other = evbuffer_new();
	CHECK_INT(evbuffer_freeze(buf, 0), 0);
	CHECK_INT(evbuffer_add_reference(buf, memory, 10, note_return, &returned), -1);
	CHECK_INT(returned.calls, 0);
	CHECK_INT(evbuffer_unfreeze(buf, 0), 0);
	CHECK_INT(evbuffer_add_reference(buf, memory, 10, note_return, &returned), 0);
	/* It is looked at where it is. */
	CHECK(evbuffer_pullup(buf, -1) == (const unsigned char *)memory);
	CHECK_INT(evbuffer_drain(buf, 4), 0);
	CHECK_INT(evbuffer_add_buffer_reference(other, buf), 0);
	CHECK_INT(evbuffer_drain(buf, 6), 0);
	evbuffer_free(buf);
	CHECK_INT(returned.calls, 0);
	check_content(other, "renced");
	CHECK_INT(evbuffer_drain(other, 6), 0);
	CHECK_INT(returned.calls, 1);
	CHECK(returned.data == memory);
	CHECK_INT(returned.len, 10);
	CHECK_INT(evbuffer_add_reference(other, memory, 3, note_return, &returned), 0);
	evbuffer_free(other);
	CHECK_INT(returned.calls, 2);
	CHECK_INT(returned.len, 3);
}

static struct evbuffer *refilled;

static void
refill(const void *data, size_t len, void *arg)
{
	(void)data;
	(void)len;
	(void)arg;
	CHECK_INT(evbuffer_add(refilled, "again", 5), 0);
}

/* A clean-up may use the buffer that has just let go of the memory. libevent calls it in the middle of the operation. */
static void
a_cleanup_may_use_the_buffer(void)
{
	if (!is_zerovent())
		return;
	struct evbuffer *buf = refilled = buffer_of("front");
	CHECK_INT(evbuffer_add_reference(buf, "memory", 6, refill, NULL), 0);
	CHECK_INT(evbuffer_add(buf, "end", 3), 0);
	CHECK_INT(evbuffer_drain(buf, 11), 0);
	check_content(buf, "endagain");
	evbuffer_free(buf);
}

static void
positions_and_searches(void)
{
	struct evbuffer *buf = buffer_of("needle in a hay");
	struct evbuffer_ptr at, start, end;
	size_t len;
	evbuffer_add_reference(buf, "stack with needles\r\n", 20, NULL, NULL);
	at = evbuffer_search(buf, "needle", 6, NULL);
	CHECK_INT(at.pos, 0);
	start = at;
	CHECK_INT(evbuffer_ptr_set(buf, &start, 1, EVBUFFER_PTR_ADD), 0);
	at = evbuffer_search(buf, "needle", 6, &start);
	CHECK_INT(at.pos, 26);
	at = evbuffer_search(buf, "haystack", 8, NULL);
	CHECK_INT(at.pos, 12);
	CHECK_INT(evbuffer_ptr_set(buf, &end, 19, EVBUFFER_PTR_SET), 0);
	CHECK_INT(evbuffer_search_range(buf, "haystack", 8, NULL, &end).pos, -1);
	CHECK_INT(evbuffer_ptr_set(buf, &end, 20, EVBUFFER_PTR_SET), 0);
	CHECK_INT(evbuffer_search_range(buf, "haystack", 8, NULL, &end).pos, 12);
	CHECK_INT(evbuffer_search(buf, "absent", 6, NULL).pos, -1);
	CHECK_INT(evbuffer_search(buf, "", 0, &start).pos, 1);
	CHECK_INT(evbuffer_search_range(buf, "", 0, &end, &start).pos, 20);
	CHECK_INT(evbuffer_ptr_set(buf, &at, 35, EVBUFFER_PTR_SET), 0);
	CHECK_INT(at.pos, 35);
	CHECK_INT(evbuffer_search(buf, "n", 1, &at).pos, -1);
	CHECK_INT(evbuffer_search_eol(buf, &at, &len, EVBUFFER_EOL_ANY).pos, -1);
	CHECK_INT(len, 0);
	CHECK_INT(evbuffer_ptr_set(buf, &at, 1, EVBUFFER_PTR_ADD), -1);
	CHECK_INT(at.pos, -1);
	CHECK_INT(evbuffer_ptr_set(buf, &at, 1, EVBUFFER_PTR_ADD), -1);
	CHECK_INT(evbuffer_ptr_set(buf, &at, 36, EVBUFFER_PTR_SET), -1);
	CHECK_INT(evbuffer_search_eol(buf, NULL, &len, EVBUFFER_EOL_CRLF).pos, 33);
	CHECK_INT(len, 2);
	CHECK_INT(evbuffer_search_eol(buf, NULL, &len, EVBUFFER_EOL_LF).pos, 34);
	CHECK_INT(len, 1);
	CHECK_INT(evbuffer_search_eol(buf, NULL, &len, EVBUFFER_EOL_NUL).pos, -1);
	CHECK_INT(len, 0);
	CHECK(memcmp(evbuffer_find(buf, (const unsigned char *)"haystack", 8), "haystack", 8) == 0);
	CHECK(evbuffer_find(buf, (const unsigned char *)"absent", 6) == NULL);
	evbuffer_free(buf);
}

static void
peeking_lends_what_is_there(void)
{
	struct evbuffer *buf = buffer_of("head");
	struct evbuffer_iovec vec[4];
	struct evbuffer_ptr at;
	evbuffer_add_reference(buf, "body", 4, NULL, NULL);
	evbuffer_add_reference(buf, "tail", 4, NULL, NULL);
	CHECK_INT(evbuffer_peek(buf, -1, NULL, NULL, 0), 3);
	CHECK_INT(evbuffer_peek(buf, 5, NULL, NULL, 0), 2);
	CHECK_INT(evbuffer_peek(buf, -1, NULL, vec, 1), 1);
	CHECK_INT(vec[0].iov_len, 4);
	CHECK(memcmp(vec[0].iov_base, "head", 4) == 0);
	/* The last one is not cut off. */
	CHECK_INT(evbuffer_peek(buf, 6, NULL, vec, 4), 2);
	CHECK_INT(vec[1].iov_len, 4);
	CHECK_INT(evbuffer_peek(buf, 12, NULL, vec, 1), 3);
	CHECK_INT(evbuffer_ptr_set(buf, &at, 6, EVBUFFER_PTR_SET), 0);
	CHECK_INT(evbuffer_peek(buf, -1, &at, vec, 4), 2);
	CHECK_INT(vec[0].iov_len, 2);
	CHECK(memcmp(vec[0].iov_base, "dy", 2) == 0);
	CHECK_INT(evbuffer_peek(buf, 0, &at, vec, 4), 1);
	CHECK_INT(evbuffer_peek(buf, 0, NULL, vec, 4), 0);
	CHECK_INT(evbuffer_peek(buf, -1, &at, NULL, 0), 2);
	CHECK_INT(evbuffer_ptr_set(buf, &at, 12, EVBUFFER_PTR_SET), 0);
	CHECK_INT(evbuffer_peek(buf, -1, &at, vec, 4), 0);
	evbuffer_free(buf);
}

static void
reserved_space_is_committed(void)
{
	struct evbuffer *buf = buffer_of("text");
	struct evbuffer_iovec vec[3], wrong;
	size_t total = 0;
	int n, i;
	CHECK_INT(evbuffer_reserve_space(buf, 100, vec, 0), -1);
	CHECK_INT(evbuffer_reserve_space(buf, 100, vec, 1), 1);
	CHECK(vec[0].iov_len >= 100);
	memcpy(vec[0].iov_base, " and more", 9);
	wrong = vec[0];
	wrong.iov_base = (char *)wrong.iov_base + 1;
	wrong.iov_len = 8;
	CHECK_INT(evbuffer_commit_space(buf, &wrong, 1), -1);
	wrong = vec[0];
	wrong.iov_len++;
	CHECK_INT(evbuffer_commit_space(buf, &wrong, 1), -1);
	vec[0].iov_len = 9;
	CHECK_INT(evbuffer_commit_space(buf, vec, 1), 0);
	check_content(buf, "text and more");
	/* The space is gone: its place has moved on. */
	CHECK_INT(evbuffer_commit_space(buf, vec, 1), -1);
	CHECK_INT(evbuffer_commit_space(buf, vec, 0), 0);
	n = evbuffer_reserve_space(buf, 100000, vec, 3);
	CHECK(n >= 1 && n <= 3);
	for (i = 0; i < n; i++) {
		total += vec[i].iov_len;
		memset(vec[i].iov_base, 'a' + i, vec[i].iov_len);
	}
	CHECK(total >= 100000);
	wrong = vec[0];
	CHECK_INT(evbuffer_reserve_space(buf, 100000, vec, 3), n);
	CHECK(vec[0].iov_base == wrong.iov_base);
	CHECK_INT(evbuffer_commit_space(buf, vec, n), 0);
	CHECK_INT(evbuffer_get_length(buf), 13 + total);
	evbuffer_drain(buf, 13 + total);
	n = evbuffer_reserve_space(buf, 10, vec, 2);
	memcpy(vec[0].iov_base, "0123456789", 10);
	vec[0].iov_len = 10;
	CHECK_INT(evbuffer_commit_space(buf, vec, 1), 0);
	check_content(buf, "0123456789");
	evbuffer_free(buf);
}

static void
vectors_are_added_in_order(void)
{
	struct evbuffer *buf = evbuffer_new();
	struct evbuffer_iovec vec[3] = { { "one ", 4 }, { NULL, 0 }, { "two", 3 } };
	CHECK_INT(evbuffer_add_iovec(buf, vec, 3), 7);
	CHECK_INT(evbuffer_add_iovec(buf, vec, 0), 0);
	check_content(buf, "one two");
	CHECK_INT(evbuffer_set_flags(buf, EVBUFFER_FLAG_DRAINS_TO_FD), 0);
	CHECK_INT(evbuffer_clear_flags(buf, EVBUFFER_FLAG_DRAINS_TO_FD), 0);
	evbuffer_free(buf);
}

MAIN(CASE_ROW(bytes_come_out_in_order), CASE_ROW(large_content_is_kept_whole),
    CASE_ROW(what_is_pulled_up_can_be_written), CASE_ROW(a_frozen_end_refuses), CASE_ROW(lines_end_as_told),
    CASE_ROW(text_is_formatted), CASE_ROW(buffers_move_into_each_other),
    CASE_ROW(referenced_memory_is_given_back_once), CASE_ROW(a_cleanup_may_use_the_buffer),
    CASE_ROW(positions_and_searches), CASE_ROW(peeking_lends_what_is_there), CASE_ROW(reserved_space_is_committed),
    CASE_ROW(vectors_are_added_in_order))
