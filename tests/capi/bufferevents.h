/* What the tests of bufferevents share: a base that gives up in time, a pair of sockets, and a record of what was called. */
#ifndef BUFFEREVENTS_H
#define BUFFEREVENTS_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "check.h"

static struct event_base *base;

/* What callbacks were made, in their order: C connected, R read, W write, E others. */
struct record {
	char order[64];
	int reads, writes, events;
	short what;
	int error;
};

static void
note(struct record *record, char call)
{
	size_t len = strlen(record->order);
	if (len + 1 < sizeof record->order)
		record->order[len] = call;
}

static inline void
on_read(struct bufferevent *bev, void *arg)
{
	struct record *record = arg;
	record->reads++;
	note(record, 'R');
	(void)bev;
}

static inline void
on_write(struct bufferevent *bev, void *arg)
{
	struct record *record = arg;
	record->writes++;
	note(record, 'W');
	(void)bev;
}

static inline void
on_event(struct bufferevent *bev, short what, void *arg)
{
	struct record *record = arg;
	record->error = EVUTIL_SOCKET_ERROR();
	record->events++;
	record->what |= what;
	note(record, what & BEV_EVENT_CONNECTED ? 'C' : 'E');
	(void)bev;
}

/* Libevent writes to sockets in a way that raises SIGPIPE; ours never does, which `sigpipe` in bufferevent.c shows. */
static inline void
begin(void)
{
	if (!is_zerovent())
		signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
	CHECK(base != NULL);
}

static inline void
end(void)
{
	event_base_free(base);
}

/* One end of a pair of sockets as a bufferevent; the other end is `*peer`, and does not block. */
static inline struct bufferevent *
half(int *peer, int options, struct record *record)
{
	int pair[2];
	struct bufferevent *bev;
	make_pair(pair);
	*peer = pair[1];
	bev = bufferevent_socket_new(base, pair[0], options);
	CHECK(bev != NULL);
	if (record != NULL)
		bufferevent_setcb(bev, on_read, on_write, on_event, record);
	return bev;
}

/* Runs the loop until nothing happens any more at once. */
static inline void
turn(void)
{
	int i;
	for (i = 0; i < 4; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

/* Runs the loop until `*count` has reached `least`; the alarm ends what never happens. */
static inline void
run_until(const int *count, int least)
{
	while (*count < least)
		CHECK_INT(event_base_loop(base, EVLOOP_ONCE), 0);
}

static inline void
send_text(int fd, const char *text)
{
	CHECK_INT(write(fd, text, strlen(text)), strlen(text));
}

static inline void
check_input(struct bufferevent *bev, const char *text)
{
	char bytes[256] = "";
	CHECK_INT(bufferevent_read(bev, bytes, sizeof bytes - 1), strlen(text));
	CHECK_STR(bytes, text);
}

static inline void
check_received(int fd, const char *text)
{
	char bytes[256] = "";
	CHECK_INT(read(fd, bytes, sizeof bytes - 1), strlen(text));
	CHECK_STR(bytes, text);
}

static inline int
is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

#endif
