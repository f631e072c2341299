// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writes the corpus of fuzz-wire: `seed-wire DIR` puts the small and the typical sample of
 * each message there. Run it when messages.def or the samples change:
 *
 *	cc -Iuserspace -o seed-wire tests/fuzz/seed-wire.c build/obj/libwire.a \
 *		build/obj/libbase.a -lxxhash && ./seed-wire tests/fuzz/corpus/wire
 */
#include <stdio.h>

#include "../unit/wire-kit.h"

static int write_seed(const char *dir, const struct drover_msg_info *info, enum kit_size size)
{
	uint8_t *buf = malloc(DROVER_FRAME_LEN + DROVER_BODY_MAX), *body;
	struct drover_frame f = { .version = DROVER_WIRE_VERSION, .type = info->nr };
	char path[4096];
	int n, r = -1;
	FILE *file;

	if (!buf)
		return -1;
	/* The body follows the header's first 36 bytes: the fuzzer makes the checksum. */
	body = buf + 36;
	n = kit_sample(info->nr, size, body, &f.payload_len);
	f.body_len = (uint32_t)n;
	if (n >= 0) {
		uint8_t head[DROVER_FRAME_LEN];

		drover_frame_encode(&f, head);
		head[20] = 1;
		memcpy(buf, head, 36);
		snprintf(path, sizeof(path), "%s/%02u-%s-%s", dir, info->nr, info->name,
			 size == KIT_SMALL ? "small" : "typical");
		file = fopen(path, "wb");
		if (file) {
			r = fwrite(buf, 36 + (size_t)n, 1, file) == 1 ? 0 : -1;
			r = fclose(file) ? -1 : r;
		}
	}
	free(buf);
	return r;
}

int main(int argc, char **argv)
{
	const struct drover_msg_info *table;
	size_t i, n;

	if (argc != 2) {
		fprintf(stderr, "usage: seed-wire DIR\n");
		return 2;
	}
	table = drover_msg_table(&n);
	for (i = 0; i < n; i++)
		if (write_seed(argv[1], &table[i], KIT_SMALL) ||
		    (table[i].max_body && write_seed(argv[1], &table[i], KIT_TYPICAL))) {
			perror(argv[1]);
			return 1;
		}
	return 0;
}
