/* Listeners: who is told of a connection, with what, and what becomes of the socket. */
#include "bufferevents.h"

#include <arpa/inet.h>
#include <event2/listener.h>
#include <sys/resource.h>
#include <sys/un.h>

static int accepted, last_fd, errors, last_error, last_len;
static struct sockaddr_storage last_peer;
static struct evconnlistener *listener;

static void
on_accept(struct evconnlistener *from, evutil_socket_t fd, struct sockaddr *peer, int len, void *arg)
{
	CHECK(from == listener && arg == &accepted);
	accepted++;
	last_fd = fd;
	last_len = len;
	memcpy(&last_peer, peer, len);
}

static void
on_error(struct evconnlistener *from, void *arg)
{
	last_error = EVUTIL_SOCKET_ERROR();
	errors++;
	CHECK(from == listener && arg == &accepted);
}

static struct sockaddr_in
any_port(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	return address;
}

static struct evconnlistener *
listening(unsigned flags)
{
	struct sockaddr_in address = any_port();
	listener = evconnlistener_new_bind(base, on_accept, &accepted, flags, -1, (struct sockaddr *)&address, sizeof address);
	CHECK(listener != NULL);
	return listener;
}

static int
connect_to(struct evconnlistener *to)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof address;
	int fd;
	CHECK_INT(getsockname(evconnlistener_get_fd(to), (struct sockaddr *)&address, &len), 0);
	fd = socket(address.ss_family, SOCK_STREAM, 0);
	CHECK(fd >= 0);
	CHECK_INT(connect(fd, (struct sockaddr *)&address, len), 0);
	return fd;
}

static void
a_connection_is_told_with_its_peer(void)
{
	int fd;
	struct sockaddr_in own;
	socklen_t len = sizeof own;
	begin();
	listening(LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE);
	CHECK(evconnlistener_get_base(listener) == base);
	fd = connect_to(listener);
	run_until(&accepted, 1);
	CHECK_INT(getsockname(fd, (struct sockaddr *)&own, &len), 0);
	CHECK_INT(last_len, sizeof own);
	CHECK(memcmp(&own, &last_peer, 8) == 0);
	CHECK(fcntl(last_fd, F_GETFL) & O_NONBLOCK);
	CHECK_INT(fcntl(last_fd, F_GETFD) & FD_CLOEXEC, 0);
	evconnlistener_free(listener);
	end();
}

static void
flags_decide_about_the_sockets(void)
{
	begin();
	listening(LEV_OPT_CLOSE_ON_FREE | LEV_OPT_LEAVE_SOCKETS_BLOCKING | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_DEFERRED_ACCEPT |
	    LEV_OPT_REUSEABLE_PORT | LEV_OPT_THREADSAFE);
	CHECK(fcntl(evconnlistener_get_fd(listener), F_GETFD) & FD_CLOEXEC);
	send_text(connect_to(listener), "x");
	run_until(&accepted, 1);
	CHECK_INT(fcntl(last_fd, F_GETFL) & O_NONBLOCK, 0);
	CHECK(fcntl(last_fd, F_GETFD) & FD_CLOEXEC);
	evconnlistener_free(listener);
	end();
}

static void
a_backlog_of_none_is_a_socket_that_listens(void)
{
	struct sockaddr_in address = any_port();
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	begin();
	CHECK(evconnlistener_new_bind(base, on_accept, &accepted, 0, 0, (struct sockaddr *)&address, sizeof address) == NULL);
	CHECK_INT(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	CHECK_INT(listen(fd, 5), 0);
	listener = evconnlistener_new(base, on_accept, &accepted, 0, 0, fd);
	CHECK(listener != NULL);
	CHECK_INT(evconnlistener_get_fd(listener), fd);
	connect_to(listener);
	run_until(&accepted, 1);
	evconnlistener_free(listener);
	CHECK(is_open(fd));
	close(fd);
	/* One that is bound only is made to listen. */
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	CHECK_INT(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	listener = evconnlistener_new(base, on_accept, &accepted, LEV_OPT_CLOSE_ON_FREE, -1, fd);
	CHECK(listener != NULL);
	connect_to(listener);
	run_until(&accepted, 2);
	evconnlistener_free(listener);
	CHECK(!is_open(fd));
	end();
}

static void
without_a_callback_connections_wait(void)
{
	struct sockaddr_in address = any_port();
	begin();
	listener = evconnlistener_new_bind(base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE, -1, (struct sockaddr *)&address,
	    sizeof address);
	CHECK(listener != NULL);
	connect_to(listener);
	turn();
	CHECK_INT(accepted, 0);
	evconnlistener_set_cb(listener, on_accept, &accepted);
	run_until(&accepted, 1);
	evconnlistener_free(listener);
	end();
}

static void
it_can_be_disabled_and_enabled(void)
{
	begin();
	listening(LEV_OPT_CLOSE_ON_FREE | LEV_OPT_DISABLED);
	connect_to(listener);
	turn();
	CHECK_INT(accepted, 0);
	CHECK_INT(evconnlistener_enable(listener), 0);
	run_until(&accepted, 1);
	CHECK_INT(evconnlistener_disable(listener), 0);
	CHECK_INT(evconnlistener_disable(listener), 0);
	connect_to(listener);
	turn();
	CHECK_INT(accepted, 1);
	CHECK_INT(evconnlistener_enable(listener), 0);
	run_until(&accepted, 2);
	evconnlistener_free(listener);
	end();
}

static void
accept_once(struct evconnlistener *from, evutil_socket_t fd, struct sockaddr *peer, int len, void *arg)
{
	on_accept(from, fd, peer, len, arg);
	evconnlistener_disable(from);
}

static void
disabling_inside_the_callback_stops_at_once(void)
{
	begin();
	listening(LEV_OPT_CLOSE_ON_FREE);
	evconnlistener_set_cb(listener, accept_once, &accepted);
	connect_to(listener);
	connect_to(listener);
	connect_to(listener);
	run_until(&accepted, 1);
	turn();
	CHECK_INT(accepted, 1);
	CHECK_INT(evconnlistener_enable(listener), 0);
	run_until(&accepted, 2);
	turn();
	CHECK_INT(accepted, 2);
	evconnlistener_free(listener);
	end();
}

static void
accept_and_free(struct evconnlistener *from, evutil_socket_t fd, struct sockaddr *peer, int len, void *arg)
{
	on_accept(from, fd, peer, len, arg);
	evconnlistener_free(from);
}

static void
it_may_be_freed_by_its_callback(void)
{
	int fd;
	begin();
	listening(LEV_OPT_CLOSE_ON_FREE);
	fd = evconnlistener_get_fd(listener);
	evconnlistener_set_cb(listener, accept_and_free, &accepted);
	connect_to(listener);
	connect_to(listener);
	run_until(&accepted, 1);
	turn();
	CHECK_INT(accepted, 1);
	CHECK(!is_open(fd));
	end();
}

static void
many_connections_are_all_accepted(void)
{
	int i;
	begin();
	listening(LEV_OPT_CLOSE_ON_FREE);
	for (i = 0; i < 100; i++)
		connect_to(listener);
	run_until(&accepted, 100);
	evconnlistener_free(listener);
	end();
}

static void
running_out_of_descriptors_is_told(void)
{
	struct rlimit limit;
	struct timeval soon = { 0, 100000 };
	int fds[2] = { -1, -1 }, spare;
	begin();
	listening(LEV_OPT_CLOSE_ON_FREE);
	evconnlistener_set_error_cb(listener, on_error);
	fds[0] = connect_to(listener);
	CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), 0);
	spare = dup(0);
	close(spare);
	limit.rlim_cur = spare;
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
	event_base_loopexit(base, &soon);
	event_base_dispatch(base);
	CHECK_INT(last_error, EMFILE);
	/* Libevent calls as fast as it can for as long as it lasts; ours says it once and tries again by itself. */
	CHECK(is_zerovent() ? errors == 1 : errors > 10);
	limit.rlim_cur = spare + 10;
	CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
	/* Under valgrind, which enforces the limit itself, the first connection is lost. */
	fds[1] = connect_to(listener);
	run_until(&accepted, 1);
	evconnlistener_free(listener);
	close(fds[0]);
	close(fds[1]);
	end();
}

static void
unix_sockets_are_accepted_too(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	begin();
	snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "zerovent-capi-%d", (int)getpid());
	listener = evconnlistener_new_bind(base, on_accept, &accepted, LEV_OPT_CLOSE_ON_FREE, -1, (struct sockaddr *)&address,
	    sizeof address);
	CHECK(listener != NULL);
	connect_to(listener);
	run_until(&accepted, 1);
	CHECK_INT(last_len, 2);
	CHECK_INT(last_peer.ss_family, AF_UNIX);
	evconnlistener_free(listener);
	end();
}

static void
an_address_in_use_is_refused(void)
{
	struct sockaddr_in address;
	socklen_t len = sizeof address;
	begin();
	listening(LEV_OPT_CLOSE_ON_FREE);
	CHECK_INT(getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&address, &len), 0);
	CHECK(evconnlistener_new_bind(base, on_accept, NULL, 0, -1, (struct sockaddr *)&address, sizeof address) == NULL);
	CHECK_INT(errno, EADDRINUSE);
	evconnlistener_free(listener);
	end();
}

MAIN(CASE_ROW(a_connection_is_told_with_its_peer), CASE_ROW(flags_decide_about_the_sockets),
    CASE_ROW(a_backlog_of_none_is_a_socket_that_listens), CASE_ROW(without_a_callback_connections_wait),
    CASE_ROW(it_can_be_disabled_and_enabled), CASE_ROW(disabling_inside_the_callback_stops_at_once),
    CASE_ROW(it_may_be_freed_by_its_callback), CASE_ROW(many_connections_are_all_accepted),
    CASE_ROW(running_out_of_descriptors_is_told), CASE_ROW(unix_sockets_are_accepted_too),
    CASE_ROW(an_address_in_use_is_refused))
