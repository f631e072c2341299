/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_CONFIG_CONFIG_H
#define DROVER_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct drover_error;
struct json_object;

/*
 * MigrationConfig: it always has all members, and a migration never changes the config that it
 * was given. options.def is the table of options; struct drover_config has one member for each,
 * with '_' for '-'.
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

/** drover_config_init() - set all members to their defaults. Returns 0 or -ENOMEM */
int drover_config_init(struct drover_config *c);
void drover_config_deinit(struct drover_config *c);
/* Deep copy into an uninitialised @ret. */
int drover_config_copy(const struct drover_config *src, struct drover_config *ret);

/**
 * drover_config_set_json() - apply all members of an object to a config, or none
 * @c: changed on success only
 * @o: a parsed object (base/json.h has refused duplicate keys already)
 * @ret_present: members that @o gave; may be NULL
 *
 * The members are applied to a copy, the result is checked as a whole, and then it replaces @c.
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
 * Stricter than a change of the stored settings, which clients may make in several steps: here
 * tls-hostname or tls-authz without tls-creds is an error.
 */
int drover_config_from_request(struct json_object *o, struct drover_config *ret,
			       struct drover_presence *ret_present, struct drover_error *e);
/* Move @src to @dst, whose old content is released; @src is uninitialised afterwards. */
void drover_config_replace(struct drover_config *dst, struct drover_config *src);
/*
 * All members in the order of the table, with exact integers; an unset block-bitmap-mapping is
 * absent. Returns a new reference, or NULL when out of memory.
 */
struct json_object *drover_config_to_json(const struct drover_config *c);
/* One member as JSON; NULL when out of memory, and for an unset block-bitmap-mapping. */
struct json_object *drover_config_get_json(const struct drover_config *c, enum drover_option_id id);
/* Check the rules between options (rules.def, phase SET). */
int drover_config_check(const struct drover_config *c, struct drover_error *e);

/**
 * drover_config_listening_only() - may a destination that still waits for its source change
 * its config in this way?
 * @given: members that its migrate-incoming gave
 *
 * RUNTIME options may change, and also those that the destination will take from the source or
 * never looks at. Return: 0, or -EBUSY naming the first other option that differs.
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
 *
 * One member for each feature that an option may need. needs.def says which option needs which.
 */
struct drover_have {
	bool postcopy, tls, zlib, zstd, xbzrle, rdma, throttle, dirty_limit, colo, cpr,
		background_snapshot, mapped_ram, direct_io, block_devices, announce, release_ram,
		kmod, affinity, qatzip, fault_kmod, fault_userfaultfd;
};
/*
 * Can a migration with this config start here? First come the rules that QEMU checks only at
 * migrate (rules.def, phase START): -EINVAL. Then the first option that is not at its default and
 * needs a feature that is missing: -EOPNOTSUPP, with the option's name and what it lacks.
 * @source: this side is the source.
 */
int drover_config_feasible(const struct drover_config *c, const struct drover_have *have,
			   bool source, struct drover_error *e);

/*
 * The part of a config that goes into HELLO: the MUST-AGREE members that are not at their
 * default. A peer of another version thus never sees an option that is not used and that it may
 * not know. Returns a new reference, or NULL when out of memory.
 */
struct json_object *drover_config_offer(const struct drover_config *c);

/**
 * drover_config_negotiate() - the destination's answer to the config in a HELLO
 * @mine: the destination's config
 * @given: members that the destination's migrate-incoming gave
 * @theirs: JSON object with the source's config
 * @ret: the accepted config, initialised when 0 is returned
 * @ret_refusals: new JSON array of {"option","desc"}, written when 1 is returned
 *
 * A MUST-AGREE member that the destination was given must have the same value at the source; one
 * that it was not given is taken from the source. All other members keep the destination's value.
 * A member of the source's that this build does not know, or whose value it can't take, is
 * refused, too.
 *
 * Return: 0 accepted, 1 refused (@ret_refusals names every option), -EBADMSG or -ENOMEM.
 */
int drover_config_negotiate(const struct drover_config *mine, const struct drover_presence *given,
			    struct json_object *theirs, const struct drover_have *have,
			    struct drover_config *ret, struct json_object **ret_refusals,
			    struct drover_error *e);
/* Write a list of refusals as "option: desc; option: desc", as much of it as fits. */
void drover_config_refusals_text(struct json_object *refusals, char *buf, size_t size);
/*
 * Copy the RUNTIME options from @src to @dst, since they may have changed after @dst was made.
 * Returns 0; or -ENOMEM, and then @dst is half changed.
 */
int drover_config_take_runtime(const struct drover_config *src, struct drover_config *dst);
/*
 * The members of @c that differ from their default. They count as given when migrate-incoming
 * has no `config` argument.
 */
void drover_config_differs(const struct drover_config *c, struct drover_presence *ret);

#endif
