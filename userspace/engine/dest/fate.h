/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_DEST_FATE_H
#define DROVER_ENGINE_DEST_FATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct session;

/**
 * enum commit_step - how far a session's COMMIT is
 * @COMMIT_NONE: it has not come, or not been acted on
 * @COMMIT_FENCED: it will be refused: the source was told that this side does not own the
 *	guest, or the VMM would not record that it does
 * @COMMIT_ACTING: it is being acted on; whoever asks who owns the guest waits for the outcome
 * @COMMIT_DONE: the VMM's record says that the guest is owned here
 */
enum commit_step { COMMIT_NONE, COMMIT_FENCED, COMMIT_ACTING, COMMIT_DONE };

/**
 * struct fate - whether a session lives, and who owns its guest; written by fate.c alone
 * @lock: guards all of it; @commit may be read without
 * @cond: signalled when COMMIT_ACTING ends
 * @dead: the session must end; @error says why
 * @commit: enum commit_step
 * @until: when COMMIT expires, on the boot clock; main's thread alone
 */
struct fate {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool dead;
	struct drover_error error;
	_Atomic int commit;
	uint64_t until;
};

void fate_init(struct fate *f);
void fate_deinit(struct fate *f);
static inline bool fate_committed(const struct fate *f)
{
	return atomic_load(&f->commit) == COMMIT_DONE;
}

/* The copy is good, as far as it is to be proved; the VMM knows, and COMMIT may come. */
int session_proved(struct session *x, struct drover_error *e);
/* Acting on COMMIT begins; -ECANCELED when the session is fenced, dead or cancelled. */
int fate_begin_commit(struct session *x, struct drover_error *e);
/* It has ended: @owned tells whether the VMM has the record. If not the session is over. */
void fate_end_commit(struct fate *f, bool owned);
/* The session was committed before this one, which resumes it. */
void fate_set_committed(struct fate *f);
/* Waits while COMMIT is acted on. true: from here on it is refused; false: it was done */
bool fate_fence(struct fate *f);

/*
 * It must end: all its channels but main fail, and whoever waits in it looks up. After COMMIT
 * a session is killed only where a postcopy still needs it. Any thread.
 */
void session_kill(struct session *x, const struct drover_error *e);
/* 0, or -ECONNABORTED and why it must end. */
int session_alive(struct session *x, struct drover_error *e);

#endif
