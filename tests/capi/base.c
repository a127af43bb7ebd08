/* Bases: making them, asking them, running them empty. */
#include <event2/event.h>

#include "check.h"

static void
an_empty_base_has_nothing_to_do(void)
{
	struct event_base *base = event_base_new();
	CHECK(base != NULL);
	CHECK_INT(event_base_dispatch(base), 1);
	event_base_free(base);
}

MAIN(CASE_ROW(an_empty_base_has_nothing_to_do))
