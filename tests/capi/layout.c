/* Prints where C's headers put what programs and we both touch: a line for each size and offset, in our words. */
#include <stddef.h>
#include <stdio.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_struct.h>
#include <event2/event_struct.h>
#include <event2/thread.h>

#define SIZE(type) printf("%s %zu\n", #type, sizeof(struct type))
#define OFFSET(type, ours, field) printf("%s.%s %zu\n", #type, #ours, offsetof(struct type, field))

int
main(void)
{
	SIZE(event);
	OFFSET(event, flags, ev_evcallback.evcb_flags);
	OFFSET(event, priority, ev_evcallback.evcb_pri);
	OFFSET(event, closure, ev_evcallback.evcb_closure);
	OFFSET(event, callback, ev_evcallback.evcb_cb_union);
	OFFSET(event, arg, ev_evcallback.evcb_arg);
	OFFSET(event, timeout_position, ev_timeout_pos);
	OFFSET(event, fd, ev_fd);
	OFFSET(event, base, ev_base);
	OFFSET(event, io_or_signal, ev_);
	OFFSET(event, calls, ev_.ev_signal.ev_ncalls);
	OFFSET(event, calls_pointer, ev_.ev_signal.ev_pncalls);
	OFFSET(event, events, ev_events);
	OFFSET(event, result, ev_res);
	OFFSET(event, timeout, ev_timeout);
	SIZE(bufferevent);
	OFFSET(bufferevent, ops, be_ops);
	OFFSET(bufferevent, ev_read, ev_read);
	OFFSET(bufferevent, ev_write, ev_write);
	OFFSET(bufferevent, input, input);
	OFFSET(bufferevent, output, output);
	OFFSET(bufferevent, wm_read, wm_read);
	OFFSET(bufferevent, wm_write, wm_write);
	OFFSET(bufferevent, readcb, readcb);
	OFFSET(bufferevent, writecb, writecb);
	OFFSET(bufferevent, errorcb, errorcb);
	OFFSET(bufferevent, cbarg, cbarg);
	OFFSET(bufferevent, timeout_read, timeout_read);
	OFFSET(bufferevent, timeout_write, timeout_write);
	OFFSET(bufferevent, enabled, enabled);
	SIZE(evbuffer_ptr);
	SIZE(evbuffer_cb_info);
	SIZE(evthread_lock_callbacks);
	SIZE(evthread_condition_callbacks);
	return 0;
}
