/* An echo server on bufferevents, as a C program writes it, for the comparison of the two libraries. Says where it listens, runs on
 * the processor's core that its argument names, and ends by SIGTERM. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

static void
on_read(struct bufferevent *bev, void *arg)
{
	evbuffer_add_buffer(bufferevent_get_output(bev), bufferevent_get_input(bev));
	(void)arg;
}

static void
on_event(struct bufferevent *bev, short what, void *arg)
{
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
		bufferevent_free(bev);
	(void)arg;
}

static void
on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *peer, int len, void *arg)
{
	struct bufferevent *bev = bufferevent_socket_new(arg, fd, BEV_OPT_CLOSE_ON_FREE);
	if (bev == NULL) {
		close(fd);
		return;
	}
	bufferevent_setcb(bev, on_read, NULL, on_event, NULL);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
	(void)listener;
	(void)peer;
	(void)len;
}

static void
on_term(evutil_socket_t signal, short what, void *arg)
{
	event_base_loopbreak(arg);
	(void)signal;
	(void)what;
}

static void
run_on(int core)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(core, &set);
	if (sched_setaffinity(0, sizeof set, &set) != 0)
		perror("sched_setaffinity");
}

int
main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof address;
	struct event_base *base = event_base_new();
	struct evconnlistener *listener;
	struct event *term;
	if (argc > 1)
		run_on(atoi(argv[1]));
	signal(SIGPIPE, SIG_IGN);
	if (base == NULL)
		return 1;
	listener = evconnlistener_new_bind(base, on_accept, base, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, -1,
	    (struct sockaddr *)&address, len);
	term = evsignal_new(base, SIGTERM, on_term, base);
	if (listener == NULL || term == NULL || event_add(term, NULL) != 0)
		return 1;
	if (getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&address, &len) != 0)
		return 1;
	printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
	fflush(stdout);
	event_base_dispatch(base);
	event_free(term);
	evconnlistener_free(listener);
	event_base_free(base);
	return 0;
}
