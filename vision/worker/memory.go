package main

/*
#include <malloc.h>

// glibc gives large blocks back to the system when they are freed, until the
// first one: from then on it keeps blocks of that size, up to 32 MiB, for
// itself, in each arena, and nearly each thread has one. A camera is read by
// whichever thread comes, so each of them ended up with pictures that nobody
// used. A fixed threshold ends that; few arenas bound what is left, for blocks
// below it. This has to come before the first thread: arenas that are there
// stay. mallopt(3)
__attribute__((constructor)) static void give_memory_back(void)
{
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, 256 << 10); // bytes; a picture of 640×480 has 900 KiB
	mallopt(M_ARENA_MAX, 2);
#endif
}

static void trim(void)
{
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}

static size_t in_use(void)
{
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
	struct mallinfo2 m = mallinfo2();
	return m.uordblks + m.hblkhd;
#else
	return 0;
#endif
}
*/
import "C"

// giveBack gives what smaller blocks have left free between others back to the
// system, as malloc_trim(3) can and free does not.
func giveBack() { C.trim() }

// inUse is how many bytes C and C++ have allocated and not freed, for tests; 0
// where that cannot be told. mallinfo2(3)
func inUse() int { return int(C.in_use()) }
