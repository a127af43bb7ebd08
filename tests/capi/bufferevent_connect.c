/* Connecting: by address, by name, with a socket of the program's, to nobody. */
#include "bufferevents.h"

#include <arpa/inet.h>
#include <event2/bufferevent_struct.h>
#include <event2/util.h>
#include <sys/un.h>

/* A socket that listens, and where. */
static int
server(struct sockaddr_in *address)
{
	socklen_t len = sizeof *address;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	memset(address, 0, len);
	address->sin_family = AF_INET;
	address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK_INT(bind(fd, (struct sockaddr *)address, len), 0);
	CHECK_INT(listen(fd, 5), 0);
	CHECK_INT(getsockname(fd, (struct sockaddr *)address, &len), 0);
	return fd;
}

/* Where nobody listens. */
static struct sockaddr_in
dead(void)
{
	struct sockaddr_in address;
	close(server(&address));
	return address;
}

/* What a case is about, which has a process of its own. */
static struct sockaddr_in address;
static struct record record;
static struct bufferevent *bev;
static int listening;

static void
make(int fd)
{
	bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
	CHECK(bev != NULL);
	bufferevent_setcb(bev, on_read, on_write, on_event, &record);
}

/* With a server, and without a socket. */
static void
begin_unconnected(void)
{
	begin();
	listening = server(&address);
	make(-1);
}

static int
connect_to(const struct sockaddr_in *where)
{
	return bufferevent_socket_connect(bev, (const struct sockaddr *)where, sizeof *where);
}

static void
end_connected(void)
{
	run_until(&record.events, 1);
	CHECK_INT(record.what, BEV_EVENT_CONNECTED);
	bufferevent_free(bev);
	end();
}

static void
a_connect_is_told_and_what_was_written_leaves(void)
{
	int fd;
	begin_unconnected();
	CHECK_INT(bufferevent_getfd(bev), -1);
	bufferevent_write(bev, "hello", 5);
	CHECK_INT(connect_to(&address), 0);
	CHECK(bufferevent_getfd(bev) >= 0);
	CHECK_INT(bev->ev_read.ev_fd, bufferevent_getfd(bev));
	bufferevent_enable(bev, EV_READ);
	CHECK_INT(record.events, 0);
	run_until(&record.writes, 1);
	CHECK_STR(record.order, "CW");
	CHECK_INT(record.what, BEV_EVENT_CONNECTED);
	fd = accept(listening, NULL, NULL);
	check_received(fd, "hello");
	send_text(fd, "welcome");
	run_until(&record.reads, 1);
	check_input(bev, "welcome");
	bufferevent_free(bev);
	end();
}

static void
a_refusal_is_told_with_its_number(void)
{
	struct sockaddr_in better;
	begin();
	address = dead();
	make(-1);
	CHECK_INT(connect_to(&address), 0);
	CHECK_INT(record.events, 0);
	run_until(&record.events, 1);
	CHECK_STR(record.order, "E");
	CHECK_INT(record.what, BEV_EVENT_ERROR);
	CHECK_INT(record.error, ECONNREFUSED);
	/* The socket is still there; with another one another try can be made. */
	CHECK(bufferevent_getfd(bev) >= 0);
	CHECK(is_open(bufferevent_getfd(bev)));
	close(bufferevent_getfd(bev));
	CHECK_INT(bufferevent_setfd(bev, -1), 0);
	turn();
	CHECK_INT(record.events, 1);
	server(&better);
	record.what = 0;
	CHECK_INT(connect_to(&better), 0);
	run_until(&record.events, 2);
	CHECK_INT(record.what, BEV_EVENT_CONNECTED);
	bufferevent_free(bev);
	end();
}

static void
a_program_connects_its_own_socket(void)
{
	int fd;
	begin();
	server(&address);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	CHECK(connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EINPROGRESS);
	make(fd);
	CHECK_INT(bufferevent_socket_connect(bev, NULL, 0), 0);
	CHECK_INT(bufferevent_getfd(bev), fd);
	end_connected();
}

static void
a_refused_socket_of_the_programs_is_not_closed(void)
{
	int fd;
	begin();
	address = dead();
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	bev = bufferevent_socket_new(base, fd, 0);
	bufferevent_setcb(bev, on_read, on_write, on_event, &record);
	CHECK_INT(connect_to(&address), 0);
	CHECK_INT(bufferevent_getfd(bev), fd);
	run_until(&record.events, 1);
	CHECK_INT(record.error, ECONNREFUSED);
	CHECK(is_open(fd));
	bufferevent_free(bev);
	turn();
	CHECK(is_open(fd));
	end();
}

static void
nothing_to_connect_to_is_an_error(void)
{
	struct sockaddr_un nowhere = { .sun_family = AF_UNIX, .sun_path = "/nowhere/at/all" };
	struct sockaddr unknown = { .sa_family = 250 };
	begin();
	make(-1);
	CHECK_INT(bufferevent_socket_connect(bev, NULL, 0), -1);
	CHECK_INT(bufferevent_socket_connect(bev, &unknown, sizeof unknown), -1);
	CHECK_INT(bufferevent_socket_connect(bev, (struct sockaddr *)&nowhere, sizeof nowhere), -1);
	CHECK_INT(bufferevent_getfd(bev), -1);
	turn();
	CHECK_STR(record.order, "");
	bufferevent_free(bev);
	end();
}

static void
disabling_does_not_end_a_connect(void)
{
	begin_unconnected();
	CHECK_INT(connect_to(&address), 0);
	bufferevent_disable(bev, EV_READ | EV_WRITE);
	end_connected();
}

#ifdef __SANITIZE_THREAD__
#define OWN_THREADS 2 /* the sanitizer has one */
#else
#define OWN_THREADS 1
#endif

/* Names are looked up beside the loop, by a thread that ends with its base. */
static void
wait_for_threads(void)
{
	int threads;
	do {
		char line[256];
		FILE *status = fopen("/proc/self/status", "r");
		CHECK(status != NULL);
		threads = 0;
		while (threads == 0 && fgets(line, sizeof line, status) != NULL)
			sscanf(line, "Threads: %d", &threads);
		fclose(status);
		usleep(1000);
	} while (threads > OWN_THREADS);
}

static void
a_host_is_found_by_name(void)
{
	begin_unconnected();
	bufferevent_write(bev, "x", 1);
	CHECK_INT(bufferevent_socket_connect_hostname(bev, NULL, AF_INET, "localhost", ntohs(address.sin_port)), 0);
	run_until(&record.events, 1);
	CHECK_INT(record.what, BEV_EVENT_CONNECTED);
	CHECK(bufferevent_getfd(bev) >= 0);
	CHECK_INT(bufferevent_socket_get_dns_error(bev), 0);
	bufferevent_free(bev);
	end();
	wait_for_threads();
}

static void
an_address_is_a_name_too(void)
{
	begin_unconnected();
	CHECK_INT(bufferevent_socket_connect_hostname(bev, NULL, AF_UNSPEC, "127.0.0.1", ntohs(address.sin_port)), 0);
	CHECK(bufferevent_getfd(bev) >= 0);
	end_connected();
}

static void
a_name_that_means_nothing_is_an_error(void)
{
	begin();
	make(-1);
	CHECK_INT(bufferevent_socket_connect_hostname(bev, NULL, AF_INET6, "127.0.0.1", 80), 0);
	while (record.events == 0)
		event_base_loop(base, EVLOOP_ONCE);
	CHECK_INT(record.what, BEV_EVENT_ERROR);
	CHECK(bufferevent_socket_get_dns_error(bev) != 0);
	CHECK_INT(bufferevent_socket_connect_hostname(bev, NULL, AF_UNIX, "localhost", 80), -1);
	CHECK_INT(bufferevent_socket_connect_hostname(bev, NULL, AF_INET, "localhost", 0), -1);
	CHECK_INT(bufferevent_socket_connect_hostname(bev, NULL, AF_INET, "localhost", 65536), -1);
	bufferevent_free(bev);
	end();
}

static void
freeing_ends_the_search_for_a_name(void)
{
	begin();
	make(-1);
	CHECK_INT(bufferevent_socket_connect_hostname(bev, NULL, AF_INET, "localhost", 9), 0);
	bufferevent_free(bev);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_STR(record.order, "");
	end();
	wait_for_threads();
}

MAIN(CASE_ROW(a_connect_is_told_and_what_was_written_leaves), CASE_ROW(a_refusal_is_told_with_its_number),
    CASE_ROW(a_program_connects_its_own_socket), CASE_ROW(a_refused_socket_of_the_programs_is_not_closed),
    CASE_ROW(nothing_to_connect_to_is_an_error), CASE_ROW(disabling_does_not_end_a_connect),
    CASE_ROW(a_host_is_found_by_name), CASE_ROW(an_address_is_a_name_too),
    CASE_ROW(a_name_that_means_nothing_is_an_error), CASE_ROW(freeing_ends_the_search_for_a_name))
