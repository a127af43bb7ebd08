/* What zerovent does not have exists, fails as documented, and says so once. */
#include <event2/bufferevent.h>
#include <event2/dns.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/rpc.h>

#include "check.h"

static char logged[1000];

static void
note_log(int severity, const char *message)
{
	CHECK_INT(severity, EVENT_LOG_WARN);
	strcat(logged, message);
	strcat(logged, "|");
}

static int resolved;

static void
note_resolved(int error, struct evutil_addrinfo *list, void *arg)
{
	CHECK_INT(error, EVUTIL_EAI_FAIL);
	CHECK(list == NULL);
	CHECK(arg == &resolved);
	resolved++;
}

static void
absent_names_fail_and_say_so_once(void)
{
	struct event_base *base = event_base_new();
	if (!is_zerovent())
		return;
	event_set_log_callback(note_log);
	CHECK(evhttp_new(base) == NULL);
	CHECK(evhttp_new(base) == NULL);
	CHECK(evdns_base_new(base, 1) == NULL);
	CHECK_INT(evdns_base_count_nameservers(NULL), 0);
	CHECK(evdns_base_resolve_ipv4(NULL, "localhost", 0, NULL, NULL) == NULL);
	CHECK_INT(evhttp_bind_socket(NULL, "127.0.0.1", 0), -1);
	CHECK(evhttp_encode_uri("a b") == NULL);
	CHECK(evrpc_init(NULL) == NULL);
	CHECK(evdns_getaddrinfo(NULL, "localhost", "80", NULL, note_resolved, &resolved) == NULL);
	CHECK_INT(resolved, 1);
	CHECK(strlen(evdns_err_to_string(3)) > 0);
	evhttp_free(NULL);
	CHECK_STR(logged,
	    "evhttp_new: zerovent has no evhttp|evdns_base_new: zerovent has no evdns|"
	    "evdns_base_count_nameservers: zerovent has no evdns|evdns_base_resolve_ipv4: zerovent has no evdns|"
	    "evhttp_bind_socket: zerovent has no evhttp|evhttp_encode_uri: zerovent has no evhttp|"
	    "evrpc_init: zerovent has no evrpc|evdns_getaddrinfo: zerovent has no evdns|"
	    "evhttp_free: zerovent has no evhttp|");
	event_base_free(base);
}

MAIN(CASE_ROW(absent_names_fail_and_say_so_once))
