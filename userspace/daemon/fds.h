/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_DAEMON_FDS_H
#define DROVER_DAEMON_FDS_H

#include <stdint.h>

struct drover_error;

#define FDS_INHERITED_MAX 1024
#define FDS_NAMED_MAX 64
#define FDS_NAME_MAX 63

/**
 * struct fd_table - descriptors that a migration may be given
 * @open: bit n: number n was inherited, is of a usable kind and was not handed out yet
 * @used: bit n: it was, and has been handed out
 * @named: from getfd; the name is empty where there is none
 */
struct fd_table {
	uint64_t open[FDS_INHERITED_MAX / 64];
	uint64_t used[FDS_INHERITED_MAX / 64];
	struct {
		char name[FDS_NAME_MAX + 1];
		int fd;
	} named[FDS_NAMED_MAX];
};

/*
 * Take stock: sockets, pipes and regular files numbered 3 and up. Called first thing in
 * main(), so that nothing of our own is mistaken for one. They become close-on-exec.
 */
void fd_table_init(struct fd_table *t);
/**
 * fd_table_find() - the descriptor `fd:NAME` means
 * @name: a decimal number, or a name from getfd
 *
 * Return: the number (still the table's: fd_table_take() once it is somebody else's),
 * or -EINVAL/-EBADF/-ENOENT with a message that quotes @name.
 */
int fd_table_find(const struct fd_table *t, const char *name, struct drover_error *e);
void fd_table_take(struct fd_table *t, int fd);
/**
 * fd_table_add() - name a descriptor; one that has the name is closed
 * @fd: taken over on success
 *
 * Return: 0, or -EINVAL (the name), -ENOSPC.
 */
int fd_table_add(struct fd_table *t, const char *name, int fd, struct drover_error *e);
/* Close a named descriptor. -ENOENT */
int fd_table_close(struct fd_table *t, const char *name, struct drover_error *e);

#endif
