// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The LINK of a simulated guest: "size=256M[,dirty=100M][,seed=1][,hot=16M][,zero=0]
 * [,prefault=on][,poison=on][,file=/dev/shm/ram]". One table of keys; every refusal quotes key and value.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "guest/sim/sim.h"

#define SIM_SIZE_MAX (1ull << 42)
#define SIM_DIRTY_MAX (1ull << 40)

enum key_type { KEY_SIZE, KEY_NUMBER, KEY_PERCENT, KEY_BOOL, KEY_PATH };

static const struct {
	const char *name;
	enum key_type type;
	size_t at;
} keys[] = {
	{ "size", KEY_SIZE, offsetof(struct sim_args, size) },
	{ "dirty", KEY_SIZE, offsetof(struct sim_args, dirty) },
	{ "seed", KEY_NUMBER, offsetof(struct sim_args, seed) },
	{ "hot", KEY_SIZE, offsetof(struct sim_args, hot) },
	{ "zero", KEY_PERCENT, offsetof(struct sim_args, zero) },
	{ "prefault", KEY_BOOL, offsetof(struct sim_args, prefault) },
	{ "poison", KEY_BOOL, offsetof(struct sim_args, poison) },
	{ "file", KEY_PATH, offsetof(struct sim_args, file) },
};

/* Decimal digits, with K, M or G (1024) behind them if @suffix. */
static bool parse_number(const char *text, bool suffix, uint64_t *ret)
{
	static const struct {
		char letter;
		unsigned int shift;
	} units[] = { { 'K', 10 }, { 'M', 20 }, { 'G', 30 } };
	unsigned int shift = 0, i;
	uint64_t v;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno)
		return false;
	for (i = 0; suffix && i < DROVER_ARRAY_SIZE(units); i++)
		if (*end == units[i].letter) {
			shift = units[i].shift;
			end++;
			break;
		}
	if (*end || v > UINT64_MAX >> shift)
		return false;
	*ret = v << shift;
	return true;
}

static bool parse_value(enum key_type type, const char *text, void *at)
{
	uint64_t v;

	switch (type) {
	case KEY_SIZE:
	case KEY_NUMBER:
		if (!parse_number(text, type == KEY_SIZE, &v))
			return false;
		memcpy(at, &v, sizeof(v));
		return true;
	case KEY_PERCENT:
		if (!parse_number(text, false, &v) || v > 100)
			return false;
		*(unsigned int *)at = (unsigned int)v;
		return true;
	case KEY_BOOL:
		if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
			return false;
		*(bool *)at = text[1] == 'n';
		return true;
	case KEY_PATH:
		if (*text != '/' || strlen(text) >= SIM_FILE_MAX)
			return false;
		memcpy(at, text, strlen(text) + 1);
		return true;
	}
	return false;
}

/* One "key=value". @seen: bits of the keys that came before */
static int parse_part(const char *part, struct sim_args *a, unsigned int *seen,
		      struct drover_error *e)
{
	static const char *const what[] = {
		[KEY_SIZE] = "a size such as 4096, 64K, 256M or 4G",
		[KEY_NUMBER] = "a number",
		[KEY_PERCENT] = "0 to 100",
		[KEY_BOOL] = "on or off",
		[KEY_PATH] = "an absolute path of at most 255 bytes",
	};
	const char *eq = strchr(part, '=');
	size_t i;

	for (i = 0; eq && i < DROVER_ARRAY_SIZE(keys); i++) {
		if (strlen(keys[i].name) != (size_t)(eq - part) ||
		    memcmp(part, keys[i].name, (size_t)(eq - part)) != 0)
			continue;
		if (*seen & 1u << i)
			return drover_err(e, -EINVAL, "guest sim: '%s' was given twice",
					  keys[i].name);
		*seen |= 1u << i;
		if (!parse_value(keys[i].type, eq + 1, (char *)a + keys[i].at))
			return drover_err(e, -EINVAL, "guest sim: %s: expected %s", part,
					  what[keys[i].type]);
		return 0;
	}
	return drover_err(e, -EINVAL, "guest sim: '%s': expected size=, dirty=, seed=, hot=, "
			  "zero=, prefault=, poison= or file=", part);
}

int sim_args_check(const struct sim_args *a, struct drover_error *e)
{
	static const char *const rule = "a multiple of 4096, at most";

	if (!a->size || a->size % DROVER_PAGE_SIZE || a->size > SIM_SIZE_MAX)
		return drover_err(e, -EINVAL, "guest sim: size=%llu: expected %s %llu",
				  (unsigned long long)a->size, rule, SIM_SIZE_MAX);
	if (!a->hot || a->hot % DROVER_PAGE_SIZE || a->hot > a->size)
		return drover_err(e, -EINVAL, "guest sim: hot=%llu: expected %s the size",
				  (unsigned long long)a->hot, rule);
	if (a->dirty > SIM_DIRTY_MAX)
		return drover_err(e, -EINVAL, "guest sim: dirty=%llu: expected at most %llu",
				  (unsigned long long)a->dirty, SIM_DIRTY_MAX);
	if (a->zero > 100)
		return drover_err(e, -EINVAL, "guest sim: zero=%u: expected 0 to 100", a->zero);
	return 0;
}

int sim_args_parse(const char *text, struct sim_args *ret, struct drover_error *e)
{
	_cleanup_free_ char *copy = strdup(text);
	struct sim_args a = { .seed = 1 };
	char *part, *rest = copy;
	unsigned int seen = 0;
	int r;

	if (!copy)
		return drover_err(e, -ENOMEM, "guest sim: out of memory");
	while (*rest) {
		part = rest;
		rest += strcspn(rest, ",");
		if (*rest)
			*rest++ = '\0';
		r = parse_part(part, &a, &seen, e);
		if (r < 0)
			return r;
	}
	if (!(seen & 1))
		return drover_err(e, -EINVAL, "guest sim: 'size' is missing");
	/* Only where the key is not there: hot=0 is a mistake, not the default. */
	if (!(seen & 1u << 3))
		a.hot = a.size;
	r = sim_args_check(&a, e);
	if (r < 0)
		return r;
	*ret = a;
	return 0;
}
