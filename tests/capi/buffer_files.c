/* Buffers and descriptors: reading, writing, and files as content. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/thread.h>

#include "check.h"

enum { FILE_LEN = 100000 };

static char
byte_at(size_t index)
{
	return (char)(index * 31 + index / 251);
}

/* A file of FILE_LEN bytes that is already gone from its directory. */
static int
new_file(void)
{
	char name[] = "/tmp/capi-buffer-XXXXXX", data[FILE_LEN];
	int fd = mkstemp(name);
	size_t i;
	CHECK(fd >= 0);
	unlink(name);
	for (i = 0; i < FILE_LEN; i++)
		data[i] = byte_at(i);
	CHECK_INT(write(fd, data, FILE_LEN), FILE_LEN);
	return fd;
}

static int
is_open(int fd)
{
	return fcntl(fd, F_GETFD) != -1;
}

/* The content is the file's bytes from `first` on. */
static void
check_bytes(struct evbuffer *buf, size_t first, size_t len)
{
	char *copy = malloc(len + 1);
	size_t i;
	CHECK_INT(evbuffer_get_length(buf), len);
	CHECK_INT(evbuffer_copyout(buf, copy, len + 1), len);
	for (i = 0; i < len; i++)
		CHECK_INT(copy[i], byte_at(first + i));
	free(copy);
}

static int cleaned_up, cleaned_flags;
static const struct evbuffer_file_segment *cleaned;

static void
note_cleanup(const struct evbuffer_file_segment *segment, int flags, void *arg)
{
	cleaned = segment;
	cleaned_flags = flags;
	cleaned_up += *(int *)arg;
}

/* Every combination of the flags: the bytes are there, the descriptor is closed if that was asked for, and the clean-up is called once. */
static void
segments_of_every_kind(void)
{
	unsigned flags;
	int one = 1;
	for (flags = 0; flags < 16; flags++) {
		int fd = new_file();
		struct evbuffer *buf = evbuffer_new(), *other = evbuffer_new();
		struct evbuffer_file_segment *segment = evbuffer_file_segment_new(fd, 1000, 60000, flags);
		CHECK(segment != NULL);
		cleaned_up = 0;
		cleaned = NULL;
		evbuffer_file_segment_add_cleanup_cb(segment, note_cleanup, &one);
		CHECK_INT(evbuffer_add_file_segment(buf, segment, 10, 50000), 0);
		CHECK_INT(evbuffer_add_file_segment(other, segment, 59990, -1), 0);
		CHECK_INT(evbuffer_add_file_segment(other, segment, 0, 20), 0);
		evbuffer_file_segment_free(segment);
		CHECK_INT(cleaned_up, 0);
		check_bytes(buf, 1010, 50000);
		CHECK_INT(evbuffer_get_length(other), 30);
		CHECK_INT(((char *)evbuffer_pullup(other, -1))[0], byte_at(60990));
		CHECK_INT(((char *)evbuffer_pullup(other, -1))[10], byte_at(1000));
		CHECK_INT(is_open(fd), 1);
		CHECK_INT(evbuffer_drain(buf, 50000), 0);
		evbuffer_free(other);
		CHECK_INT(cleaned_up, 1);
		CHECK(cleaned == segment);
		CHECK_INT(cleaned_flags, (int)flags);
		CHECK_INT(is_open(fd), (flags & EVBUF_FS_CLOSE_ON_FREE) == 0);
		if (is_open(fd))
			close(fd);
		evbuffer_free(buf);
	}
}

static void
files_are_added_and_closed(void)
{
	int fd = new_file(), pair[2];
	struct evbuffer *buf = evbuffer_new();
	char out[100];
	size_t done = 0;
	CHECK_INT(evbuffer_add(buf, "head", 4), 0);
	CHECK_INT(evbuffer_add_file(buf, fd, 500, 90000), 0);
	CHECK_INT(evbuffer_add(buf, "tail", 4), 0);
	CHECK_INT(evbuffer_get_length(buf), 90008);
	CHECK_INT(is_open(fd), 1);
	CHECK_INT(evbuffer_set_flags(buf, EVBUFFER_FLAG_DRAINS_TO_FD), 0);
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fcntl(pair[0], F_SETFL, O_NONBLOCK);
	while (done < 90008) {
		ssize_t count, i;
		int written = evbuffer_write(buf, pair[0]);
		if (written < 0)
			CHECK(errno == EAGAIN || evbuffer_get_length(buf) == 0);
		count = recv(pair[1], out, sizeof out, MSG_DONTWAIT);
		if (count < 0)
			continue;
		for (i = 0; i < count; i++, done++) {
			char expected = done < 4 ? "head"[done]
			    : done < 90004   ? byte_at(500 + done - 4)
					     : "tail"[done - 90004];
			CHECK_INT(out[i], expected);
		}
	}
	CHECK_INT(evbuffer_get_length(buf), 0);
	CHECK_INT(is_open(fd), 0);
	evbuffer_free(buf);
}

/* libevent counts from the front of the file. */
static void
a_file_to_its_end_starts_at_the_offset(void)
{
	struct evbuffer *buf = evbuffer_new();
	if (!is_zerovent())
		return;
	CHECK_INT(evbuffer_add_file(buf, new_file(), 60000, -1), 0);
	check_bytes(buf, 60000, FILE_LEN - 60000);
	evbuffer_free(buf);
}

static void
what_cannot_be_added_is_refused(void)
{
	int fd = new_file(), one = 1;
	struct evbuffer *buf = evbuffer_new();
	struct evbuffer_file_segment *segment;
	CHECK(evbuffer_file_segment_new(-1, 0, -1, 0) == NULL);
	CHECK(evbuffer_file_segment_new(fd, -5, 10, EVBUF_FS_CLOSE_ON_FREE) == NULL);
	CHECK(evbuffer_file_segment_new(fd, 0, -2, EVBUF_FS_CLOSE_ON_FREE) == NULL);
	/* A descriptor that could not be used stays open. */
	CHECK_INT(is_open(fd), 1);
	segment = evbuffer_file_segment_new(fd, 0, -1, EVBUF_FS_CLOSE_ON_FREE);
	CHECK(segment != NULL);
	cleaned_up = 0;
	evbuffer_file_segment_add_cleanup_cb(segment, note_cleanup, &one);
	CHECK_INT(evbuffer_add_file_segment(buf, segment, FILE_LEN - 5, 5), 0);
	/* A failure takes the caller's share of the segment. */
	CHECK_INT(evbuffer_add_file_segment(buf, segment, FILE_LEN - 5, 6), -1);
	CHECK_INT(cleaned_up, 0);
	evbuffer_free(buf);
	CHECK_INT(cleaned_up, 1);
	CHECK_INT(is_open(fd), 0);
	fd = new_file();
	buf = evbuffer_new();
	evbuffer_freeze(buf, 0);
	CHECK_INT(evbuffer_add_file(buf, fd, 0, -1), -1);
	CHECK_INT(is_open(fd), 0);
	evbuffer_free(buf);
}

static void
descriptors_are_read_and_written(void)
{
	int pair[2];
	struct evbuffer *buf = evbuffer_new(), *in = evbuffer_new();
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	errno = 0;
	CHECK_INT(evbuffer_write(buf, pair[0]), -1);
	CHECK_INT(errno, 0);
	evbuffer_add(buf, "0123456789", 10);
	CHECK_INT(evbuffer_write_atmost(buf, pair[0], 0), -1);
	CHECK_INT(evbuffer_write_atmost(buf, pair[0], 4), 4);
	CHECK_INT(evbuffer_get_length(buf), 6);
	CHECK_INT(evbuffer_read(in, pair[1], 3), 3);
	CHECK_INT(evbuffer_write(buf, pair[0]), 6);
	CHECK_INT(evbuffer_read(in, pair[1], -1), 7);
	CHECK(memcmp(evbuffer_pullup(in, -1), "0123456789", 10) == 0);
	CHECK_INT(evbuffer_read(in, pair[1], -1), -1);
	CHECK_INT(errno, EAGAIN);
	CHECK_INT(evbuffer_read(in, pair[1], 0), 0);
	CHECK_INT(evbuffer_read(in, -1, 10), -1);
	CHECK_INT(errno, EBADF);
	CHECK_INT(evbuffer_write(in, -1), -1);
	CHECK_INT(errno, EBADF);
	close(pair[0]);
	CHECK_INT(evbuffer_read(in, pair[1], -1), 0);
	CHECK_INT(evbuffer_get_length(in), 10);
	evbuffer_free(buf);
	evbuffer_free(in);
}

/* libevent raises SIGPIPE. */
static void
nobody_dies_of_a_closed_peer(void)
{
	int pair[2];
	struct evbuffer *buf = evbuffer_new();
	if (!is_zerovent())
		return;
	CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	close(pair[1]);
	evbuffer_add(buf, "text", 4);
	CHECK_INT(evbuffer_write(buf, pair[0]), -1);
	CHECK_INT(errno, EPIPE);
	CHECK_INT(evbuffer_add_file(buf, new_file(), 0, FILE_LEN), 0);
	evbuffer_drain(buf, 4);
	CHECK_INT(evbuffer_write(buf, pair[0]), -1);
	CHECK_INT(errno, EPIPE);
	evbuffer_free(buf);
}

enum { MOVES = 20000 };

static struct evbuffer *left, *right;

static void *
move_left(void *arg)
{
	int i;
	(void)arg;
	for (i = 0; i < MOVES; i++) {
		CHECK(evbuffer_remove_buffer(right, left, 7) >= 0);
		evbuffer_lock(left);
		evbuffer_lock(left);
		CHECK(evbuffer_get_length(left) <= 1000);
		evbuffer_unlock(left);
		evbuffer_unlock(left);
	}
	return NULL;
}

/* Two threads move bytes between two buffers in opposite directions. */
static void
locked_buffers_are_shared_between_threads(void)
{
	pthread_t thread;
	char text[1000];
	int i;
	memset(text, 'x', sizeof text);
	left = evbuffer_new();
	CHECK_INT(evbuffer_enable_locking(left, NULL), -1);
	CHECK_INT(evthread_use_pthreads(), 0);
	right = evbuffer_new();
	CHECK_INT(evbuffer_enable_locking(left, NULL), 0);
	CHECK_INT(evbuffer_enable_locking(left, NULL), -1);
	CHECK_INT(evbuffer_enable_locking(right, NULL), 0);
	evbuffer_add(left, text, sizeof text);
	CHECK_INT(pthread_create(&thread, NULL, move_left, NULL), 0);
	for (i = 0; i < MOVES; i++) {
		CHECK(evbuffer_add_buffer(right, left) == 0);
		CHECK(evbuffer_remove_buffer(left, right, 5) >= 0);
	}
	pthread_join(thread, NULL);
	CHECK_INT(evbuffer_get_length(left) + evbuffer_get_length(right), sizeof text);
	evbuffer_free(left);
	evbuffer_free(right);
}

static void
a_lock_may_be_lent(void)
{
	pthread_mutexattr_t kind;
	pthread_mutex_t mutex;
	struct evbuffer *one = evbuffer_new(), *other = evbuffer_new();
	CHECK_INT(evthread_use_pthreads(), 0);
	pthread_mutexattr_init(&kind);
	pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&mutex, &kind);
	CHECK_INT(evbuffer_enable_locking(one, &mutex), 0);
	CHECK_INT(evbuffer_enable_locking(other, &mutex), 0);
	evbuffer_add(one, "text", 4);
	CHECK_INT(evbuffer_add_buffer(other, one), 0);
	evbuffer_lock(one);
	evbuffer_unlock(one);
	evbuffer_free(one);
	CHECK_INT(evbuffer_get_length(other), 4);
	evbuffer_free(other);
	/* It is the caller's, and free. */
	CHECK_INT(pthread_mutex_trylock(&mutex), 0);
	CHECK_INT(pthread_mutex_unlock(&mutex), 0);
	CHECK_INT(pthread_mutex_destroy(&mutex), 0);
}

MAIN(CASE_ROW(segments_of_every_kind), CASE_ROW(files_are_added_and_closed),
    CASE_ROW(a_file_to_its_end_starts_at_the_offset), CASE_ROW(what_cannot_be_added_is_refused),
    CASE_ROW(descriptors_are_read_and_written), CASE_ROW(nobody_dies_of_a_closed_peer),
    CASE_ROW(locked_buffers_are_shared_between_threads), CASE_ROW(a_lock_may_be_lent))
