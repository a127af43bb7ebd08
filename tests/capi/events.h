/* What the tests of events share: a base, what was called and how often, and moments that are near and far. */
#ifndef EVENTS_H
#define EVENTS_H

#include <sys/time.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "check.h"

static struct event_base *base;
static int calls;
static short last_what;
/* A descriptor or a signal. */
static int last_fd;

static const struct timeval soon = { 0, 10000 };
static const struct timeval later = { 100, 0 };

static inline void
begin(void)
{
	base = event_base_new();
	CHECK(base != NULL);
	calls = 0;
}

static inline void
count(evutil_socket_t fd, short what, void *arg)
{
	calls++;
	last_what = what;
	last_fd = fd;
}

#endif
