/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_DAEMON_FDS_H
#define DROVER_DAEMON_FDS_H

#include <stdint.h>

struct drover_error;

#define FDS_INHERITED_MAX 1024

/**
 * struct fd_table - descriptors that were open when the process began
 * @open: bit n: number n was inherited, is of a usable kind and was not handed out yet
 * @used: bit n: it was, and has been handed out
 */
struct fd_table {
	uint64_t open[FDS_INHERITED_MAX / 64];
	uint64_t used[FDS_INHERITED_MAX / 64];
};

/*
 * Take stock: sockets, pipes and regular files numbered 3 and up. Called first thing in
 * main(), so that nothing of our own is mistaken for one. They become close-on-exec.
 */
void fd_table_init(struct fd_table *t);
/**
 * fd_table_find() - the descriptor `fd:NAME` means
 * @name: a decimal number
 *
 * Return: the number (still the table's: fd_table_take() once it is somebody else's),
 * or -EINVAL/-EBADF with a message that quotes @name.
 */
int fd_table_find(const struct fd_table *t, const char *name, struct drover_error *e);
void fd_table_take(struct fd_table *t, int fd);

#endif
