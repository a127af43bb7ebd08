/* Tagged data, and the loggers that libevent's libraries share. */
#include <errno.h>
#include <stdint.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/tag.h>

#include "check.h"

/* Exported, and in no header. */
int evtag_encode_tag(struct evbuffer *, ev_uint32_t);
int evtag_decode_tag(ev_uint32_t *, struct evbuffer *);
int evtag_decode_int(ev_uint32_t *, struct evbuffer *);
int evtag_decode_int64(ev_uint64_t *, struct evbuffer *);
void event_warn(const char *, ...);
void event_warnx(const char *, ...);
void event_msgx(const char *, ...);
void event_err(int, const char *, ...);
void event_errx(int, const char *, ...);
void event_sock_warn(evutil_socket_t, const char *, ...);
void event_sock_err(int, evutil_socket_t, const char *, ...);

static void
check_hex(struct evbuffer *buf, const char *hex)
{
	size_t i, len = evbuffer_get_length(buf);
	unsigned char *bytes = evbuffer_pullup(buf, -1);
	char text[200];
	for (i = 0; i < len; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
	CHECK_STR(text, hex);
	evbuffer_drain(buf, len);
}

static void
the_format_is_libevents(void)
{
	struct evbuffer *buf = evbuffer_new(), *data = evbuffer_new();
	struct timeval time = { 0x12345, 999999 };
	evtag_init();
	evtag_encode_int(buf, 0);
	check_hex(buf, "00");
	evtag_encode_int(buf, 0xabc);
	check_hex(buf, "2cba");
	evtag_encode_int(buf, 0xffffffff);
	check_hex(buf, "7ffffffff0");
	evtag_encode_int64(buf, 0x123456789abcdef0ULL);
	check_hex(buf, "f0fedcba9876543210");
	CHECK_INT(evtag_encode_tag(NULL, 0x166), 2);
	CHECK_INT(evtag_encode_tag(buf, 0x166), 2);
	check_hex(buf, "e602");
	evtag_marshal(buf, 5, "abc", 3);
	check_hex(buf, "0503616263");
	evtag_marshal_int(buf, 5, 0x1234);
	check_hex(buf, "0503343210");
	evtag_marshal_int64(buf, 300, 7);
	check_hex(buf, "ac020107");
	evtag_marshal_string(buf, 1, "text");
	check_hex(buf, "010474657874");
	evtag_marshal_timeval(buf, 2, &time);
	check_hex(buf, "02064543214f324f");
	evbuffer_add(data, "xyz", 3);
	evtag_marshal_buffer(buf, 9, data);
	check_hex(buf, "090378797a");
	CHECK_INT(evbuffer_get_length(data), 0);
	evbuffer_free(buf);
	evbuffer_free(data);
}

static void
what_was_marshalled_comes_back(void)
{
	struct evbuffer *buf = evbuffer_new(), *data = evbuffer_new();
	struct timeval time = { 0x12345, 999999 }, other;
	ev_uint32_t number, tag, i;
	ev_uint64_t large;
	char fixed[3], *string;
	for (i = 0; i < 32; i++) {
		ev_uint32_t value = 0xdeadbeefU >> i;
		ev_uint64_t wide = 0xdeadbeefcafef00dULL >> (2 * i);
		evtag_marshal_int(buf, value, value);
		evtag_marshal_int64(buf, i, wide);
		evtag_encode_int(buf, value);
		evtag_encode_int64(buf, wide);
		evtag_encode_tag(buf, value);
		CHECK(evtag_unmarshal_int(buf, value, &number) > 0);
		CHECK_INT(number, value);
		CHECK(evtag_unmarshal_int64(buf, i, &large) > 0);
		CHECK(large == wide);
		CHECK_INT(evtag_decode_int(&number, buf), 0);
		CHECK_INT(number, value);
		CHECK_INT(evtag_decode_int64(&large, buf), 0);
		CHECK(large == wide);
		CHECK(evtag_decode_tag(&tag, buf) > 0);
		CHECK_INT(tag, value);
		CHECK_INT(evbuffer_get_length(buf), 0);
	}
	evtag_marshal(buf, 0x1000, "abc", 3);
	CHECK_INT(evtag_peek(buf, &tag), 2);
	CHECK_INT(tag, 0x1000);
	CHECK_INT(evtag_peek_length(buf, &number), 0);
	CHECK_INT(number, 6);
	CHECK_INT(evtag_payload_length(buf, &number), 0);
	CHECK_INT(number, 3);
	CHECK_INT(evtag_unmarshal(buf, &tag, data), 3);
	CHECK_INT(evbuffer_get_length(data), 3);
	evtag_marshal(buf, 1, "abc", 3);
	CHECK_INT(evtag_unmarshal_fixed(buf, 1, fixed, 3), 0);
	CHECK(memcmp(fixed, "abc", 3) == 0);
	evtag_marshal_string(buf, 2, "text");
	CHECK_INT(evtag_unmarshal_string(buf, 2, &string), 0);
	CHECK_STR(string, "text");
	free(string);
	evtag_marshal_timeval(buf, 3, &time);
	CHECK_INT(evtag_unmarshal_timeval(buf, 3, &other), 0);
	CHECK_INT(other.tv_sec, time.tv_sec);
	CHECK_INT(other.tv_usec, time.tv_usec);
	evtag_marshal_string(buf, 4, "skipped");
	CHECK_INT(evtag_consume(buf), 0);
	CHECK_INT(evbuffer_get_length(buf), 0);
	evbuffer_free(buf);
	evbuffer_free(data);
}

static void
what_is_cut_off_is_refused(void)
{
	struct evbuffer *buf = evbuffer_new();
	ev_uint32_t number;
	char *string;
	CHECK_INT(evtag_peek(buf, &number), -1);
	CHECK_INT(evtag_decode_int(&number, buf), -1);
	evbuffer_add(buf, "\xff\xff\xff\xff\x1f", 5);
	CHECK_INT(evtag_decode_tag(&number, buf), -1);
	CHECK_INT(evbuffer_get_length(buf), 5);
	evbuffer_drain(buf, 5);
	evbuffer_add(buf, "\x70\x12", 2);
	CHECK_INT(evtag_decode_int(&number, buf), -1);
	evbuffer_drain(buf, 2);
	evbuffer_add(buf, "\x90\x12\x34\x56\x78\x9a", 6);
	CHECK_INT(evtag_decode_int(&number, buf), -1);
	evbuffer_drain(buf, 6);
	evbuffer_add(buf, "\x01\x05" "abc", 5);
	CHECK_INT(evtag_unmarshal_string(buf, 1, &string), -1);
	CHECK_INT(evbuffer_get_length(buf), 3);
	evbuffer_drain(buf, 3);
	evtag_marshal_int(buf, 1, 5);
	CHECK_INT(evtag_unmarshal_int(buf, 2, &number), -1);
	evbuffer_free(buf);
}

static char logged[2000];
static int severities;

static void
note_log(int severity, const char *message)
{
	severities = severities * 10 + severity;
	strcat(logged, message);
	strcat(logged, "|");
}

static void
note_end(int code)
{
	CHECK_INT(code, 42);
	CHECK_STR(logged, "one 1 2.5|two|three x: No such file or directory|four: Bad file descriptor|last 9|");
	CHECK_INT(severities, 21223);
	_exit(0);
}

static void
loggers_log(void)
{
	event_set_log_callback(note_log);
	event_set_fatal_callback(note_end);
	event_warnx("one %d %.1f", 1, 2.5);
	event_msgx("two");
	errno = ENOENT;
	event_warn("three %s", "x");
	errno = EBADF;
	event_sock_warn(-1, "four");
	event_errx(42, "last %d", 9);
	CHECK(0);
}

MAIN(CASE_ROW(the_format_is_libevents), CASE_ROW(what_was_marshalled_comes_back),
    CASE_ROW(what_is_cut_off_is_refused), CASE_ROW(loggers_log))
