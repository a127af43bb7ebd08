/* Threads: a base that another thread changes, wakes, or waits for. */
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/thread.h>

#include "check.h"

static struct event_base *base;
static struct event event;
static volatile int calls, inside, left;
static pthread_t loop_thread;

static const struct timeval later = { 100, 0 };
static const struct timeval soon = { 0, 10000 };

static void
count(evutil_socket_t fd, short what, void *arg)
{
	__atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
}

static void *
run_loop(void *arg)
{
	return (void *)(long)event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY);
}

static void *
run_until_empty(void *arg)
{
	return (void *)(long)event_base_dispatch(base);
}

/* A base with locks, whose loop runs on a thread of its own and waits. */
static void
begin(void)
{
	CHECK_INT(evthread_use_pthreads(), 0);
	base = event_base_new();
	CHECK(base != NULL);
	CHECK_INT(pthread_create(&loop_thread, NULL, run_loop, NULL), 0);
	usleep(20000);
}

static void
end(void)
{
	void *result;
	CHECK_INT(pthread_join(loop_thread, &result), 0);
	CHECK_INT((long)result, 0);
	event_base_free(base);
}

static void
wait_for(volatile int *variable, int value)
{
	while (__atomic_load_n(variable, __ATOMIC_ACQUIRE) != value)
		usleep(1000);
}

static void
a_break_wakes_the_loop(void)
{
	begin();
	CHECK_INT(event_base_loopbreak(base), 0);
	end();
}

static void
an_exit_wakes_the_loop(void)
{
	begin();
	CHECK_INT(event_base_loopexit(base, NULL), 0);
	end();
}

static void
an_event_that_is_activated_is_called(void)
{
	begin();
	event_assign(&event, base, -1, 0, count, NULL);
	event_active(&event, EV_READ, 1);
	wait_for(&calls, 1);
	event_base_loopbreak(base);
	end();
}

static void
an_event_that_is_added_is_waited_for(void)
{
	struct event timer;
	int pair[2];
	begin();
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	event_assign(&event, base, pair[0], EV_READ, count, NULL);
	CHECK_INT(event_add(&event, NULL), 0);
	CHECK_INT(write(pair[1], "x", 1), 1);
	wait_for(&calls, 1);
	event_assign(&timer, base, -1, 0, count, NULL);
	CHECK_INT(event_add(&timer, &soon), 0);
	wait_for(&calls, 2);
	event_base_loopbreak(base);
	end();
}

static void
take_time(evutil_socket_t fd, short what, void *arg)
{
	__atomic_store_n(&inside, 1, __ATOMIC_RELEASE);
	usleep(100000);
	__atomic_store_n(&left, 1, __ATOMIC_RELEASE);
}

static void
start_taking_time(short events)
{
	begin();
	event_assign(&event, base, -1, events, take_time, NULL);
	event_add(&event, &soon);
	wait_for(&inside, 1);
}

static void
deleting_waits_for_a_callback_that_runs(void)
{
	start_taking_time(EV_PERSIST);
	CHECK_INT(event_del(&event), 0);
	CHECK_INT(__atomic_load_n(&left, __ATOMIC_ACQUIRE), 1);
	/* Nobody calls it any more, so all of it may go. */
	memset(&event, 0xaa, sizeof event);
	event_base_loopbreak(base);
	end();
}

static void
deleting_does_not_wait_if_it_must_not(void)
{
	start_taking_time(EV_PERSIST);
	CHECK_INT(event_del_noblock(&event), 0);
	CHECK_INT(__atomic_load_n(&left, __ATOMIC_ACQUIRE), 0);
	CHECK_INT(event_del_block(&event), 0);
	CHECK_INT(__atomic_load_n(&left, __ATOMIC_ACQUIRE), 1);
	event_base_loopbreak(base);
	end();
}

static void
what_is_to_be_finalized_is_not_waited_for(void)
{
	start_taking_time(EV_PERSIST | EV_FINALIZE);
	CHECK_INT(event_del(&event), 0);
	CHECK_INT(__atomic_load_n(&left, __ATOMIC_ACQUIRE), 0);
	event_base_loopbreak(base);
	end();
}

static void
delete_itself(evutil_socket_t fd, short what, void *arg)
{
	__atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
	CHECK_INT(event_del(arg), 0);
	CHECK_INT(event_del_block(arg), 0);
	event_base_loopbreak(base);
}

static void
a_callback_does_not_wait_for_itself(void)
{
	begin();
	event_assign(&event, base, -1, EV_PERSIST, delete_itself, &event);
	event_add(&event, &soon);
	end();
	CHECK_INT(calls, 1);
}

static void
the_last_event_gone_ends_the_loop(void)
{
	int pair[2];
	CHECK_INT(evthread_use_pthreads(), 0);
	base = event_base_new();
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	event_assign(&event, base, pair[0], EV_READ, count, NULL);
	event_add(&event, NULL);
	CHECK_INT(pthread_create(&loop_thread, NULL, run_until_empty, NULL), 0);
	usleep(20000);
	event_del(&event);
	void *result;
	CHECK_INT(pthread_join(loop_thread, &result), 0);
	CHECK_INT((int)(long)result, 1);
	event_base_free(base);
}

/* Many threads at one base, which has to survive. */
#define THREADS 4
#define ROUNDS 3000

static void *
play(void *arg)
{
	struct event own, reader;
	int pair[2];
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	for (int i = 0; i < ROUNDS; i++) {
		const struct timeval some = { 0, i % 7 * 100 };
		event_assign(&own, base, -1, i % 2 ? EV_PERSIST : 0, count, NULL);
		event_assign(&reader, base, pair[0], EV_WRITE | (i % 3 ? EV_PERSIST : 0), count, NULL);
		CHECK_INT(event_add(&own, &some), 0);
		CHECK_INT(event_add(&reader, i % 5 ? NULL : &some), 0);
		if (i % 4 == 0)
			event_active(&own, EV_WRITE, 1);
		event_pending(&own, EV_TIMEOUT, NULL);
		if (i % 16 == 0)
			usleep(50);
		CHECK_INT(event_del(&own), 0);
		CHECK_INT(event_del(&reader), 0);
	}
	close(pair[0]);
	close(pair[1]);
	return NULL;
}

static void
many_threads_change_one_base(void)
{
	pthread_t players[THREADS];
	begin();
	for (int i = 0; i < THREADS; i++)
		CHECK_INT(pthread_create(&players[i], NULL, play, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		CHECK_INT(pthread_join(players[i], NULL), 0);
	CHECK_INT(event_base_loopbreak(base), 0);
	end();
}

/* Locks of the program's own. */
static int held, made, conditions;

static void *
make_lock(unsigned type)
{
	pthread_mutex_t *lock = malloc(sizeof *lock);
	pthread_mutexattr_t attributes;
	CHECK(type == 0 || type == EVTHREAD_LOCKTYPE_RECURSIVE);
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(lock, &attributes);
	made++;
	return lock;
}

static void
free_lock(void *lock, unsigned type)
{
	pthread_mutex_destroy(lock);
	free(lock);
	made--;
}

static int
take_lock(unsigned mode, void *lock)
{
	int result = pthread_mutex_lock(lock);
	held++;
	return result;
}

static int
give_lock(unsigned mode, void *lock)
{
	held--;
	return pthread_mutex_unlock(lock);
}

static unsigned long
own_id(void)
{
	return (unsigned long)pthread_self();
}

static void *
make_condition(unsigned type)
{
	pthread_cond_t *condition = malloc(sizeof *condition);
	pthread_cond_init(condition, NULL);
	conditions++;
	return condition;
}

static void
free_condition(void *condition)
{
	pthread_cond_destroy(condition);
	free(condition);
	conditions--;
}

static int
signal_condition(void *condition, int broadcast)
{
	return broadcast ? pthread_cond_broadcast(condition) : pthread_cond_signal(condition);
}

static int
wait_condition(void *condition, void *lock, const struct timeval *timeout)
{
	CHECK(timeout == NULL);
	return pthread_cond_wait(condition, lock);
}

static void
a_program_may_bring_its_own_locks(void)
{
	struct evthread_lock_callbacks locks = { EVTHREAD_LOCK_API_VERSION, EVTHREAD_LOCKTYPE_RECURSIVE, make_lock,
		free_lock, take_lock, give_lock };
	struct evthread_condition_callbacks conditions_of = { EVTHREAD_CONDITION_API_VERSION, make_condition,
		free_condition, signal_condition, wait_condition };
	struct evthread_lock_callbacks incomplete = locks;
	incomplete.unlock = NULL;
	CHECK_INT(evthread_set_lock_callbacks(&incomplete), -1);
	CHECK_INT(evthread_set_lock_callbacks(&locks), 0);
	CHECK_INT(evthread_set_lock_callbacks(&locks), 0);
	locks.alloc = make_condition;
	event_set_log_callback(NULL);
	CHECK_INT(evthread_set_lock_callbacks(&locks), -1);
	CHECK_INT(evthread_set_condition_callbacks(&conditions_of), 0);
	evthread_set_id_callback(own_id);
	base = event_base_new();
	CHECK(made > 0 && conditions > 0);
	CHECK_INT(evthread_make_base_notifiable(base), 0);
	CHECK_INT(evthread_make_base_notifiable(NULL), -1);
	CHECK_INT(pthread_create(&loop_thread, NULL, run_loop, NULL), 0);
	event_assign(&event, base, -1, EV_PERSIST, take_time, NULL);
	event_add(&event, &soon);
	wait_for(&inside, 1);
	CHECK_INT(event_del(&event), 0);
	CHECK_INT(left, 1);
	CHECK_INT(event_base_loopbreak(base), 0);
	end();
	CHECK_INT(held, 0);
	CHECK_INT(conditions, 0);
}

static void
a_base_may_do_without_locks(void)
{
	struct event_config *config = event_config_new();
	CHECK_INT(evthread_use_pthreads(), 0);
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	base = event_base_new_with_config(config);
	event_config_free(config);
	event_assign(&event, base, -1, 0, count, NULL);
	event_add(&event, &soon);
	CHECK_INT(event_base_dispatch(base), 1);
	CHECK_INT(calls, 1);
	event_base_free(base);
}

static void
locks_can_be_watched(void)
{
	evthread_enable_lock_debugging();
	evthread_enable_lock_debuging();
	begin();
	event_assign(&event, base, -1, 0, count, NULL);
	event_add(&event, &soon);
	wait_for(&calls, 1);
	event_base_loopbreak(base);
	end();
}

static int
look(const struct event_base *of, const struct event *ev, void *arg)
{
	__atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
	return 0;
}

static void *
look_at_all(void *arg)
{
	for (int i = 0; i < 1000; i++)
		CHECK_INT(event_base_foreach_event(base, look, NULL), 0);
	return NULL;
}

static void
all_events_can_be_seen_from_another_thread(void)
{
	pthread_t looker;
	begin();
	CHECK_INT(pthread_create(&looker, NULL, look_at_all, NULL), 0);
	for (int i = 0; i < 1000; i++) {
		struct event *ev = event_new(base, -1, 0, count, NULL);
		event_add(ev, &later);
		event_free(ev);
	}
	CHECK_INT(pthread_join(looker, NULL), 0);
	event_base_loopbreak(base);
	end();
}

MAIN(CASE_ROW(a_break_wakes_the_loop), CASE_ROW(an_exit_wakes_the_loop),
    CASE_ROW(an_event_that_is_activated_is_called), CASE_ROW(an_event_that_is_added_is_waited_for),
    CASE_ROW(deleting_waits_for_a_callback_that_runs), CASE_ROW(deleting_does_not_wait_if_it_must_not),
    CASE_ROW(what_is_to_be_finalized_is_not_waited_for), CASE_ROW(a_callback_does_not_wait_for_itself),
    CASE_ROW(the_last_event_gone_ends_the_loop), CASE_ROW(many_threads_change_one_base),
    CASE_ROW(a_program_may_bring_its_own_locks), CASE_ROW(a_base_may_do_without_locks),
    CASE_ROW(locks_can_be_watched), CASE_ROW(all_events_can_be_seen_from_another_thread))
