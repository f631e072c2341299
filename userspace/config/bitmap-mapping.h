/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_CONFIG_BITMAP_MAPPING_H
#define DROVER_CONFIG_BITMAP_MAPPING_H

struct drover_error;
struct json_object;

/**
 * drover_bitmap_mapping_check() - is this a list of BitmapMigrationNodeAlias?
 * @name: name of the option, for error messages
 *
 * [{"node-name", "alias", "bitmaps": [{"name", "alias", "transform"?: {"persistent"?}}]}]:
 * no other members, names and aliases unique, none longer than 255 bytes.
 *
 * Return: 0, or -EINVAL/-ENOMEM with a message that names the wrong part of the list.
 */
int drover_bitmap_mapping_check(const char *name, struct json_object *list,
				struct drover_error *e);

#endif
