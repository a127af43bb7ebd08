/* What a library that rustc has built for its thread sanitizer asks of the runtime, and the runtime of older gccs does not have. It is
 * compiled into each program when ZEROVENT_SANITIZER is `thread`, and the runtime sees these calls as it sees any. */
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

void *
__tsan_memcpy(void *target, const void *source, size_t len)
{
	return memcpy(target, source, len);
}

void *
__tsan_memmove(void *target, const void *source, size_t len)
{
	return memmove(target, source, len);
}

void *
__tsan_memset(void *target, int byte, size_t len)
{
	return memset(target, byte, len);
}

#ifdef __cplusplus
}
#endif
