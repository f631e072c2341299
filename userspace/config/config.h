/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_CONFIG_CONFIG_H
#define DROVER_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct drover_error;
struct json_object;

/*
 * MigrationConfig: total, and immutable once a migration has it. options.def is the
 * table; struct drover_config has one member an option, '-' written as '_'.
 */
#include "config/options.h"

/**
 * struct drover_presence - which members a request gave
 */
struct drover_presence {
	uint64_t bits[2];
};

static inline bool drover_present(const struct drover_presence *p, enum drover_option_id id)
{
	return p->bits[id / 64] >> (id % 64) & 1;
}

/** drover_config_init() - all defaults. Strings are heap-owned, "" when unset. -ENOMEM */
int drover_config_init(struct drover_config *c);
void drover_config_deinit(struct drover_config *c);
/* Deep copy into an uninitialised @ret. */
int drover_config_copy(const struct drover_config *src, struct drover_config *ret);

/**
 * drover_config_set_json() - copy, apply, check the result as a whole, commit all or nothing
 * @c: changed on success only
 * @o: a parsed object (base/json.h has refused duplicate keys already)
 * @ret_present: members that @o gave; may be NULL
 *
 * Return: 0, or -EINVAL/-EOPNOTSUPP/-ENOMEM with a message that names the member.
 */
int drover_config_set_json(struct drover_config *c, struct json_object *o,
			   struct drover_presence *ret_present, struct drover_error *e);
/* Every member, in table order, exact integers. */
struct json_object *drover_config_to_json(const struct drover_config *c);
/* The cross-option rules (rules.def) on a total config. */
int drover_config_check(const struct drover_config *c, struct drover_error *e);

/**
 * drover_config_runtime_only() - do two configs differ in options flagged RUNTIME only?
 * Return: 0, or -EBUSY naming the first other option that differs.
 */
int drover_config_runtime_only(const struct drover_config *running,
			       const struct drover_config *wanted, struct drover_error *e);

/**
 * struct drover_have - what this build, host, guest link and transport can do
 * Each feature an option may need; rules of need are a table (needs.def) too.
 */
struct drover_have {
	bool postcopy, tls, zlib, zstd, xbzrle, rdma, throttle, dirty_limit, colo, cpr,
		background_snapshot, mapped_ram, direct_io, block_devices, announce, release_ram,
		kmod, affinity;
};
/*
 * Every option set to other than its default that needs what is missing: an error that
 * names the first such option and what it lacks. @source: whose side.
 */
int drover_config_feasible(const struct drover_config *c, const struct drover_have *have,
			   bool source, struct drover_error *e);

/**
 * drover_config_negotiate() - the incoming side's answer to a HELLO
 * @mine: the incoming side's config
 * @given: members its request gave
 * @theirs: JSON object of the source's config
 * @ret: accepted config, initialised on success
 * @ret_refusals: new JSON array of {"option","desc"} when refused, else NULL
 *
 * Return: 0 accepted, 1 refused (@ret_refusals names every option), -EBADMSG or -ENOMEM.
 */
int drover_config_negotiate(const struct drover_config *mine, const struct drover_presence *given,
			    struct json_object *theirs, const struct drover_have *have,
			    struct drover_config *ret, struct json_object **ret_refusals,
			    struct drover_error *e);
/* Members of @c that differ from the default (what counts as given without `config`). */
void drover_config_differs(const struct drover_config *c, struct drover_presence *ret);

#endif
