/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_DAEMON_DAEMON_H
#define DROVER_DAEMON_DAEMON_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "config/config.h"
#include "daemon/announce.h"
#include "daemon/event-queue.h"
#include "daemon/fds.h"
#include "daemon/job-status.h"
#include "daemon/qmp.h"
#include "engine/migration.h"
#include "owner/owner.h"
#include "qmp/loop.h"

/**
 * struct droverd_opts - the command line; borrowed strings
 * @qmp: "unix:PATH"
 * @guest: LINK
 * @config: file of a JSON object applied to the stored settings, or NULL
 * @host_limit: file of the rate that the host's migrations share; need not exist
 * @announce_if: --announce-if, @nannounce_if of them
 * @verbose: log debug messages, too
 */
struct droverd_opts {
	const char *qmp;
	const char *guest;
	const char *config;
	const char *host_limit;
	const char *announce_if[ANNOUNCE_IFS_MAX];
	unsigned int nannounce_if;
	bool verbose;
};

struct droverd;

/**
 * struct job - the present migration, or the last one
 * @m: the handle; alive until the next job replaces it, so that its numbers stay and
 *	an ended destination still answers OWNER_QUERY
 * @id: counts the jobs of this daemon, from 1
 * @settle: it settles a record and moves nothing
 * @events: the migration's `events` option; its threads read it
 * @given: the options that its command gave
 * @exit_on_error: migrate-incoming was asked to end the process with a failure
 * @dismissed: query-jobs shows it no more
 * @told: what JOB_STATUS_CHANGE told last
 * @d: for the event callback, which runs in the migration's threads and touches
 *	nothing of it but the queue
 */
struct job {
	struct droverd *d;
	struct drover_migration *m;
	uint64_t id;
	enum drover_side side;
	bool settle;
	_Atomic bool events;
	struct drover_presence given;
	bool exit_on_error;
	bool dismissed;
	enum job_status told;
};

/**
 * struct reattach - a VMM whose link has ended is waited for; see reattach.c
 * @runs: the thread is to be joined
 * @fresh: what it has attached to, once @done
 */
struct reattach {
	const char *link;
	const struct drover_log *log;
	pthread_t thread;
	bool runs;
	atomic_bool stop, done;
	struct drover_guest *fresh;
};

/**
 * struct will - the user's last stop or cont, on its way to the VMM; see cmd-run.c
 * @runs: the thread is to be joined; @done: it is about to end
 */
struct will {
	struct drover_guest *guest;
	const struct drover_log *log;
	struct event_queue *events;
	enum owner_event ev;
	pthread_t thread;
	bool runs;
	atomic_bool done;
};

/**
 * struct droverd - everything of a daemon
 * @loop: main thread
 * @server: QMP
 * @settings: the stored config (migrate without `config` takes a copy)
 * @fds: descriptors inherited at start-up
 * @events: from migration threads to the main thread
 * @announcer: tells the network where the guest is
 * @guest_src: the guest link's watch_fd
 * @job: NULL before the first migration
 * @jobs: how many there were
 * @last: query-migrate of a job that is gone and was not replaced, or NULL
 * @released: the guest was handed over to another host
 * @checking: the guest has moved here and its verdict is not final yet
 * @check_poll: armed while it is asked for
 * @settle_retry: armed while the recorded address could not be listened on
 * @end: frees a migration that was replaced by none; to be joined when @ending
 * @reattach: its VMM is waited for; @reattach_look: armed while that is so
 * @will: stop and cont
 * @quit_poll: armed while quit waits for an audit
 * @quit_deadline: absolute; 0: no quit asked for
 * @exit_status: of the process
 *
 * Only the main thread touches it, @events and @log excepted.
 */
struct droverd {
	struct droverd_opts opts;
	struct drover_log log;
	struct loop loop;
	struct qmp_server server;
	struct drover_guest *guest;
	struct drover_config settings;
	bool has_settings;
	struct fd_table fds;
	struct event_queue events;
	struct announcer announcer;
	struct loop_source events_src, guest_src, signal_src;
	int signal_fd;
	struct job *job;
	uint64_t jobs;
	struct json_object *last;
	pthread_t end;
	bool ending;
	bool released;
	bool checking;
	struct loop_timer settle_retry, quit_poll, check_poll, reattach_look;
	struct reattach reattach;
	struct will will;
	uint64_t quit_deadline;
	int exit_status;
};

/* daemon.c: life of the process. The caller has opened fds before anything else. */
int droverd_init(struct droverd *d, const struct droverd_opts *opts, struct drover_error *e);
int droverd_run(struct droverd *d, struct drover_error *e);
void droverd_deinit(struct droverd *d);
/* End as soon as no audit is running any more; returns at once. */
void droverd_quit(struct droverd *d);

/* The guest's news come to the main loop. */
int droverd_watch_guest(struct droverd *d);

/* reattach.c: the link to the VMM has ended. */
void reattach_begin(struct droverd *d);
void reattach_look(void *opaque);
void reattach_end(struct droverd *d);

/* cmd-run.c: the thread of stop and cont is joined; it may wait for the VMM. */
void will_end(struct droverd *d);

/* commands.c: the table. */
extern const struct qmp_command droverd_commands[];
extern const size_t droverd_ncommands;

/* cmd-*.c: cmd_NAME(), one function a command. */
#define COMMAND(function, name, flags, doc, ...) \
	int cmd_##function(struct qmp_call *call, struct drover_error *e);
#include "daemon/commands.def"

/* job.c: one migration at a time. */
/* A job moves or may still move the guest; a listening or settling one included. */
bool job_running(const struct job *j);
/* Source side, COMMIT sent and not answered: nobody knows who owns the guest. */
bool job_in_doubt(const struct job *j);
#define JOB_DOUBT_TEXT \
	"guest: its ownership is in doubt until the destination answers or migrate-settle decides"
/* Its guest was handed over, and not all of its RAM: it can't be cancelled, only completed. */
bool job_postcopy(const struct job *j);
/**
 * job_start() - start a migration in place of the last one
 * @p: all but event, opaque, guest and log, which are the daemon's
 * @exit_on_error: see struct job
 *
 * The last job's listeners are closed first (they may hold the address), and its handle is
 * freed by the new migration's thread, so that nothing here waits for a VMM. When the new one
 * can't start, what the old one reported is kept for query-migrate, and a guest whose
 * record another host may ask about is answered for again.
 */
int job_start(struct droverd *d, const struct drover_migration_params *p, bool exit_on_error,
	      struct drover_error *e);
void job_free(struct droverd *d);
/* The job that has ended goes, and with it the guest link that it used. */
void job_leave_guest(struct droverd *d);

/* cmd-jobs.c: JOB_STATUS_CHANGE, if this event changes it */
void job_tell_state(struct droverd *d, const struct queued_event *qe);
/* Clients see it no more. */
void job_dismiss(struct job *j);

/* owner.c: what the guest's record asks for at start-up (and after a failed start). */
void owner_attach(struct droverd *d);
/* An in-doubt session that another daemon left: what it turned out to be may go on. */
void owner_settled(struct droverd *d, const struct queued_event *qe);
/*
 * The operator's word about a guest whose record no job of this daemon settles: in doubt
 * after a stream, handed over by hand or to a stream, or a kept copy. -ENOENT: nothing of
 * that kind, nothing has happened.
 */
int owner_settle(struct droverd *d, bool own, struct drover_error *e);
/*
 * Take up a postcopy whose daemon has died: @list is where to connect to, at once, or where
 * to listen. -ENOENT: the guest's VMM knows of none, nothing has happened.
 */
int owner_take_up(struct droverd *d, enum drover_side side,
		  const struct drover_channel_list *list, struct drover_error *e);

/* cmd-migrate.c: the arguments `uri` or `channels`; the caller frees the list. */
int channels_of_call(const struct qmp_call *call, bool incoming,
		     struct drover_channel_list **ret, struct drover_error *e);
/* cmd-postcopy.c: `migrate` with `resume` */
int postcopy_resume(struct droverd *d, const struct drover_channel_list *list,
		    struct drover_error *e);

/* guest-check.c: DROVER_CHECK, once the guest's verdict on its move is final. */
void guest_check_begin(struct droverd *d);
void guest_check_look(void *opaque);
void guest_check_end(struct droverd *d);

/* info.c: query-migrate */
struct json_object *info_build(struct droverd *d);
/* run-state.c: query-status and what others ask about it */
const char *run_state_name(const struct droverd *d);
bool run_state_incoming(const struct droverd *d);
/* Handed over to another host; may become a destination, but not run. */
bool run_state_postmigrate(const struct droverd *d);

/* events.c: from struct drover_event to clients */
void events_ready(void *opaque, uint32_t events);
/* The callback of struct drover_migration_params; @opaque is a struct job. */
void events_post(void *opaque, const struct drover_event *ev);

#endif
