/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_BASE_CLOCK_H
#define DROVER_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define DROVER_NS_PER_MS 1000000ull
#define DROVER_NS_PER_S 1000000000ull

/* CLOCK_MONOTONIC in ns. Deadlines are absolute times of this clock; a deadline of 0 is none. */
static inline uint64_t drover_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * DROVER_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* The ownership record's clock: it goes on while the host sleeps. */
static inline uint64_t drover_boot_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * DROVER_NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Microseconds since the epoch, for the timestamps of QMP events. */
static inline uint64_t drover_realtime_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* The deadline that is @ms from now; 0 ms gives 0, no deadline. */
static inline uint64_t drover_deadline_ms(uint64_t ms)
{
	return ms ? drover_now_ns() + ms * DROVER_NS_PER_MS : 0;
}

/* The time left, as a timeout for poll(2): -1 without a deadline, 0 when it has passed. */
static inline int drover_deadline_left_ms(uint64_t deadline)
{
	uint64_t now = drover_now_ns(), left;

	if (!deadline)
		return -1;
	if (now >= deadline)
		return 0;
	left = (deadline - now + DROVER_NS_PER_MS - 1) / DROVER_NS_PER_MS;
	return left > 0x7fffffff ? 0x7fffffff : (int)left;
}

#endif
