/* Helpers: addresses, text, sockets, clocks, chance. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <time.h>

#include <event2/event.h>
#include <event2/util.h>

#include "check.h"

static void
addresses_are_read_and_written(void)
{
	struct sockaddr_storage storage;
	struct sockaddr *address = (struct sockaddr *)&storage;
	int len = sizeof storage;
	unsigned scope = 77;
	struct in6_addr v6;
	struct in_addr v4;
	char text[64];
	CHECK_INT(evutil_parse_sockaddr_port("127.0.0.1:8080", address, &len), 0);
	CHECK_INT(len, sizeof(struct sockaddr_in));
	CHECK_INT(address->sa_family, AF_INET);
	CHECK_INT(ntohs(((struct sockaddr_in *)address)->sin_port), 8080);
	CHECK_INT(ntohl(((struct sockaddr_in *)address)->sin_addr.s_addr), 0x7f000001);
	len = sizeof storage;
	CHECK_INT(evutil_parse_sockaddr_port("[fe80::1%lo]:9", address, &len), 0);
	CHECK_INT(len, sizeof(struct sockaddr_in6));
	CHECK_INT(((struct sockaddr_in6 *)address)->sin6_scope_id, 1);
	len = sizeof(struct sockaddr_in) - 1;
	CHECK_INT(evutil_parse_sockaddr_port("1.2.3.4", address, &len), -1);
	CHECK_INT(evutil_inet_pton(AF_INET, "1.2.3.4", &v4), 1);
	CHECK_STR(evutil_inet_ntop(AF_INET, &v4, text, sizeof text), "1.2.3.4");
	CHECK(evutil_inet_ntop(AF_INET, &v4, text, 7) == NULL);
	CHECK_INT(evutil_inet_pton(AF_INET, "1.2.3.4.5", &v4), 0);
	CHECK_INT(evutil_inet_pton(AF_UNIX, "1.2.3.4", &v4), -1);
	CHECK_INT(evutil_inet_pton(AF_INET6, "2001:db8::1.2.3.4", &v6), 1);
	CHECK_STR(evutil_inet_ntop(AF_INET6, &v6, text, sizeof text), "2001:db8::102:304");
	CHECK(evutil_inet_ntop(AF_UNIX, &v6, text, sizeof text) == NULL);
	CHECK_INT(evutil_inet_pton_scope(AF_INET6, "fe80::1%lo", &v6, &scope), 1);
	CHECK_INT(scope, 1);
	CHECK_INT(evutil_inet_pton_scope(AF_INET6, "fe80::1%nope", &v6, &scope), 0);
	CHECK_INT(evutil_inet_pton_scope(AF_INET6, "fe80::1%12", &v6, &scope), 1);
	CHECK_INT(scope, 12);
	CHECK_INT(evutil_inet_pton_scope(AF_INET, "1.2.3.4", &v4, &scope), 1);
	CHECK_INT(scope, 0);
}

static int
format_list(char *target, size_t len, const char *format, ...)
{
	va_list list;
	int result;
	va_start(list, format);
	result = evutil_vsnprintf(target, len, format, list);
	va_end(list);
	return result;
}

static void
text_is_formatted_and_compared(void)
{
	char out[64], *end;
	memset(out, '!', sizeof out);
	CHECK_INT(evutil_snprintf(out, 6, "%d %s %.1f %c", 12, "three", 4.5, '6'), 14);
	CHECK_STR(out, "12 th");
	CHECK_INT(out[6], '!');
	CHECK_INT(evutil_snprintf(out, 0, "%s", "x"), 0);
	CHECK_INT(evutil_snprintf(out, sizeof out, "%d %d %d %d %d %d", 1, 2, 3, 4, 5, 6), 11);
	CHECK_STR(out, "1 2 3 4 5 6");
	CHECK_INT(format_list(out, sizeof out, "%.1f %d %.1f", 1.5, 2, 3.5), 9);
	CHECK_STR(out, "1.5 2 3.5");
	CHECK_INT(evutil_strtoll("-9223372036854775808x", &end, 10), -9223372036854775807LL - 1);
	CHECK_STR(end, "x");
	CHECK_INT(evutil_ascii_strcasecmp("Content-Type", "content-tYPE"), 0);
	CHECK_INT(evutil_ascii_strcasecmp("a", "b"), -1);
	CHECK_INT(evutil_ascii_strcasecmp("a", ""), 1);
	CHECK_INT(evutil_ascii_strcasecmp("\xe4", "a"), -1);
	CHECK_INT(evutil_ascii_strncasecmp("abcX", "ABCY", 3), 0);
	CHECK_INT(evutil_ascii_strncasecmp("abcX", "ABCY", 4), -1);
	CHECK_INT(evutil_ascii_strncasecmp("ab", "ab", 100), 0);
}

static void
sockets_are_prepared(void)
{
	evutil_socket_t pair[2], listener = socket(AF_INET6, SOCK_STREAM, 0);
	int value;
	socklen_t len = sizeof value;
	CHECK_INT(evutil_socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	CHECK_INT(evutil_make_socket_nonblocking(pair[0]), 0);
	CHECK_INT(evutil_make_socket_nonblocking(pair[0]), 0);
	CHECK(fcntl(pair[0], F_GETFL) & O_NONBLOCK);
	CHECK_INT(evutil_make_socket_closeonexec(pair[0]), 0);
	CHECK(fcntl(pair[0], F_GETFD) & FD_CLOEXEC);
	CHECK_INT(evutil_closesocket(pair[0]), 0);
	CHECK_INT(evutil_closesocket(pair[0]), -1);
	CHECK_INT(errno, EBADF);
	close(pair[1]);
	CHECK_INT(evutil_make_listen_socket_reuseable(listener), 0);
	CHECK_INT(evutil_make_listen_socket_reuseable_port(listener), 0);
	CHECK_INT(evutil_make_listen_socket_ipv6only(listener), 0);
	CHECK_INT(evutil_make_tcp_listen_socket_deferred(listener), 0);
	CHECK_INT(getsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &value, &len), 0);
	CHECK_INT(value, 1);
	CHECK_INT(getsockopt(listener, SOL_SOCKET, SO_REUSEPORT, &value, &len), 0);
	CHECK_INT(value, 1);
	CHECK_INT(getsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &value, &len), 0);
	CHECK(value > 0);
	close(listener);
}

static int logged;

static void
count_log(int severity, const char *message)
{
	CHECK_INT(severity, EVENT_LOG_WARN);
	CHECK(strstr(message, "fcntl(-1, F_GETF") != NULL);
	CHECK(strstr(message, "Bad file descriptor") != NULL);
	logged++;
}

static void
a_bad_descriptor_is_logged(void)
{
	event_set_log_callback(count_log);
	CHECK_INT(evutil_make_socket_nonblocking(-1), -1);
	CHECK_INT(errno, EBADF);
	CHECK_INT(evutil_make_socket_closeonexec(-1), -1);
	CHECK_INT(logged, 2);
}

static void
clocks_go_forward(void)
{
	struct evutil_monotonic_timer *timer = evutil_monotonic_timer_new();
	struct timeval before, after;
	int flags;
	CHECK(timer != NULL);
	for (flags = 0; flags < 4; flags++) {
		CHECK_INT(evutil_configure_monotonic_time(timer, flags), 0);
		CHECK_INT(evutil_gettime_monotonic(timer, &before), 0);
		CHECK_INT(evutil_gettime_monotonic(timer, &after), 0);
		CHECK(!evutil_timercmp(&after, &before, <));
		CHECK(after.tv_usec >= 0 && after.tv_usec < 1000000);
	}
	evutil_monotonic_timer_free(timer);
	evutil_monotonic_timer_free(NULL);
}

static void
dates_are_those_of_http(void)
{
	time_t then = 784111777;
	struct tm broken_down;
	char date[64];
	gmtime_r(&then, &broken_down);
	CHECK_INT(evutil_date_rfc1123(date, sizeof date, &broken_down), 29);
	CHECK_STR(date, "Sun, 06 Nov 1994 08:49:37 GMT");
	CHECK_INT(evutil_date_rfc1123(date, 10, &broken_down), 29);
	CHECK_STR(date, "Sun, 06 N");
	CHECK_INT(evutil_date_rfc1123(date, sizeof date, NULL), 29);
}

static void
hosts_are_resolved(void)
{
	struct evutil_addrinfo hints, *list = NULL;
	memset(&hints, 0, sizeof hints);
	hints.ai_family = AF_UNSPEC;
	hints.ai_socktype = SOCK_STREAM;
	hints.ai_flags = EVUTIL_AI_NUMERICHOST | EVUTIL_AI_NUMERICSERV | EVUTIL_AI_CANONNAME;
	CHECK_INT(evutil_getaddrinfo("127.0.0.1", "80", &hints, &list), 0);
	CHECK_INT(list->ai_family, AF_INET);
	CHECK_INT(list->ai_protocol, IPPROTO_TCP);
	CHECK_INT(ntohs(((struct sockaddr_in *)list->ai_addr)->sin_port), 80);
	CHECK(list->ai_next == NULL);
	CHECK_STR(list->ai_canonname, "127.0.0.1");
	evutil_freeaddrinfo(list);
	CHECK_INT(evutil_getaddrinfo("no.such.host", "80", &hints, &list), EVUTIL_EAI_NONAME);
	CHECK_INT(evutil_getaddrinfo("::1", "http!", &hints, &list), EVUTIL_EAI_NONAME);
	hints.ai_flags = EVUTIL_AI_PASSIVE | EVUTIL_AI_NUMERICSERV;
	CHECK_INT(evutil_getaddrinfo(NULL, "80", &hints, &list), 0);
	evutil_freeaddrinfo(list);
	hints.ai_flags = EVUTIL_AI_V4MAPPED | EVUTIL_AI_NUMERICHOST;
	hints.ai_family = AF_INET6;
	CHECK_INT(evutil_getaddrinfo("1.2.3.4", "80", &hints, &list), 0);
	CHECK_INT(list->ai_family, AF_INET6);
	evutil_freeaddrinfo(list);
	CHECK(strlen(evutil_gai_strerror(EVUTIL_EAI_NONAME)) > 0);
	CHECK_STR(evutil_gai_strerror(0), "No error");
	CHECK_STR(evutil_gai_strerror(EVUTIL_EAI_CANCEL), "Request canceled");
	CHECK(strlen(evutil_gai_strerror(12345)) > 0);
}

static void
chance_fills_what_it_is_given(void)
{
	unsigned char bytes[4096], other[4096];
	size_t i, same = 0;
	CHECK_INT(evutil_secure_rng_init(), 0);
	memset(bytes, 0, sizeof bytes);
	evutil_secure_rng_get_bytes(bytes, sizeof bytes - 1);
	CHECK_INT(bytes[sizeof bytes - 1], 0);
	evutil_secure_rng_get_bytes(other, sizeof other);
	for (i = 0; i < sizeof bytes; i++)
		same += bytes[i] == other[i];
	CHECK(same < 200);
	evutil_secure_rng_get_bytes(NULL, 0);
	if (is_zerovent())
		evutil_secure_rng_add_bytes("seed", 4);
}

MAIN(CASE_ROW(addresses_are_read_and_written), CASE_ROW(text_is_formatted_and_compared),
    CASE_ROW(sockets_are_prepared), CASE_ROW(a_bad_descriptor_is_logged), CASE_ROW(clocks_go_forward),
    CASE_ROW(dates_are_those_of_http), CASE_ROW(hosts_are_resolved), CASE_ROW(chance_fills_what_it_is_given))
