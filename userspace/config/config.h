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
/**
 * drover_config_from_request() - the config of a `config` argument: the defaults plus @o
 * @ret: initialised on success
 * @ret_present: members that @o gave; may be NULL
 *
 * Stricter than a set of the stored settings, which may be half-way: tls-hostname or
 * tls-authz without tls-creds is an error.
 */
int drover_config_from_request(struct json_object *o, struct drover_config *ret,
			       struct drover_presence *ret_present, struct drover_error *e);
/* @dst becomes @src, which is left uninitialised: the commit of a set on a copy. */
void drover_config_replace(struct drover_config *dst, struct drover_config *src);
/*
 * Every member, in table order, exact integers; block-bitmap-mapping is absent when unset.
 * New reference; NULL when out of memory.
 */
struct json_object *drover_config_to_json(const struct drover_config *c);
/* One member; NULL when out of memory, and for an unset block-bitmap-mapping. */
struct json_object *drover_config_get_json(const struct drover_config *c, enum drover_option_id id);
/* The cross-option rules (rules.def, phase SET) on a total config. */
int drover_config_check(const struct drover_config *c, struct drover_error *e);

/**
 * drover_config_listening_only() - may a destination to which nobody has come change so?
 * @given: what its migrate-incoming gave
 *
 * RUNTIME options may, and those that it will take from the source or never looks at.
 * Return: 0, or -EBUSY naming the first other option that differs.
 */
int drover_config_listening_only(const struct drover_config *running,
				 const struct drover_config *wanted,
				 const struct drover_presence *given, struct drover_error *e);

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
		kmod, affinity, qatzip, fault_kmod, fault_userfaultfd;
};
/*
 * First the rules that QEMU checks at migrate only (rules.def, phase START): -EINVAL. Then
 * every option set to other than its default that needs what is missing: -EOPNOTSUPP, with
 * the name of the first such option and what it lacks. @source: whose side.
 */
int drover_config_feasible(const struct drover_config *c, const struct drover_have *have,
			   bool source, struct drover_error *e);

/*
 * What HELLO says of a config: the MUST-AGREE members that are not the default. A peer that
 * does not know an option yet, or cares for it no more, is not troubled by one that nobody
 * uses. New reference; NULL when out of memory.
 */
struct json_object *drover_config_offer(const struct drover_config *c);

/**
 * drover_config_negotiate() - the incoming side's answer to a HELLO
 * @mine: the incoming side's config
 * @given: members its request gave
 * @theirs: JSON object of the source's config
 * @ret: accepted config, initialised on success
 * @ret_refusals: new JSON array of {"option","desc"} when refused, else NULL
 *
 * MUST-AGREE members: one that was given must be met, one that was not is taken from the
 * source. All others stay this side's. A member of theirs that this build does not know,
 * or whose value it can't take, is a refusal too. @ret and @ret_refusals are written for 0
 * and 1 respectively.
 *
 * Return: 0 accepted, 1 refused (@ret_refusals names every option), -EBADMSG or -ENOMEM.
 */
int drover_config_negotiate(const struct drover_config *mine, const struct drover_presence *given,
			    struct json_object *theirs, const struct drover_have *have,
			    struct drover_config *ret, struct json_object **ret_refusals,
			    struct drover_error *e);
/* "option: desc; option: desc" from a list of refusals, as much of it as fits. */
void drover_config_refusals_text(struct json_object *refusals, char *buf, size_t size);
/*
 * @dst takes @src's values of RUNTIME options: what was changed since @dst was made. -ENOMEM
 * leaves @dst half changed.
 */
int drover_config_take_runtime(const struct drover_config *src, struct drover_config *dst);
/* Members of @c that differ from the default (what counts as given without `config`). */
void drover_config_differs(const struct drover_config *c, struct drover_presence *ret);

#endif
