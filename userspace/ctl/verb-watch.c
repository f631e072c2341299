// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The verb `watch` and --wait: following a migration. On a terminal each frame is redrawn in place
 * by one write, and a line is erased only behind its new text, so that nothing flickers. Otherwise
 * a line is printed when the status changes, and once a second.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "ctl/ctl.h"
#include "ctl/progress.h"
#include "ctl/screen.h"
#include "qmp/client.h"

#define FRAME_MS 200
#define PLAIN_MS 1000
#define LINE_MAX_CHARS 512
#define FRAME_SIZE 8192

/**
 * struct view - what is on the screen
 * @tty: stdout is a terminal
 * @lines: number of lines of the last frame; the cursor is in the last of them
 * @screen: what the next frame needs to know of the earlier ones
 * @status: the status that was printed last
 * @printed_ns: when the last plain line was printed
 */
struct view {
	bool tty;
	unsigned int lines;
	char status[32];
	uint64_t printed_ns;
	struct screen screen;
};

static unsigned int term_width(void)
{
	struct winsize ws;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) < 0 || ws.ws_col < 20)
		return 80;
	/* One less than the width: some terminals wrap when the last column is used. */
	return ws.ws_col - 1u;
}

static void erase(struct view *v)
{
	if (v->lines > 1)
		printf("\033[%uA", v->lines - 1);
	if (v->lines)
		printf("\r\033[J");
	v->lines = 0;
}

static void draw_frame(struct view *v, const struct progress *p, struct json_object *info)
{
	char text[FRAME_SIZE], frame[2 * FRAME_SIZE], *line, *rest = text;
	unsigned int lines;
	size_t used = 0;

	screen_sample(&v->screen, p, info, drover_now_ns());
	lines = screen_frame(&v->screen, p, info, term_width(), text, sizeof(text));
	if (v->lines > 1)
		used = (size_t)snprintf(frame, sizeof(frame), "\033[%uA", v->lines - 1);
	while ((line = strsep(&rest, "\n")))
		used += (size_t)snprintf(frame + used, sizeof(frame) - used, "\r%s\033[K%s", line,
					 rest ? "\n" : "\033[J");
	v->lines = lines;
	fputs(frame, stdout);
	fflush(stdout);
}

static void print_plain(struct view *v, const struct progress *p)
{
	uint64_t now = drover_now_ns();
	char line[LINE_MAX_CHARS], hint[LINE_MAX_CHARS];

	if (strcmp(v->status, p->status) == 0 &&
	    now - v->printed_ns < PLAIN_MS * DROVER_NS_PER_MS)
		return;
	snprintf(v->status, sizeof(v->status), "%s", p->status);
	v->printed_ns = now;
	progress_line(p, LINE_MAX_CHARS, false, line, sizeof(line));
	progress_hint(p, hint, sizeof(hint));
	printf("%s%s%s\n", line, *hint ? "  -- " : "", hint);
	fflush(stdout);
}

static void show(struct ctl *c, struct view *v, const struct progress *p, struct json_object *info)
{
	if (c->json)
		puts(json_object_to_json_string_ext(info, JSON_C_TO_STRING_PLAIN |
						    JSON_C_TO_STRING_NOSLASHESCAPE));
	else if (v->tty)
		draw_frame(v, p, info);
	else
		print_plain(v, p);
	fflush(stdout);
}

static int finish(struct ctl *c, struct view *v, const struct progress *p,
		  struct json_object *info, bool quiet)
{
	bool good = strcmp(p->status, "completed") == 0 && !p->differences;
	char line[LINE_MAX_CHARS + DROVER_ERR_MAX];

	erase(v);
	if (c->json && quiet)
		ctl_print_json(info);
	if (!c->json) {
		progress_verdict(p, line, sizeof(line));
		fflush(stdout);
		fprintf(good ? stdout : stderr, "%s\n", line);
	}
	return good ? CTL_DONE : CTL_FAILED;
}

/* Sleep until the next frame is due, or until an event comes. */
static int pause_for_event(struct ctl *c, struct view *v)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct json_object *ev = NULL;
	int r = qmp_client_event(c->client, FRAME_MS, &ev, &e);

	while (r > 0) {
		json_object_put(ev);
		r = qmp_client_event(c->client, 0, &ev, &e);
	}
	if (r >= 0)
		return CTL_DONE;
	erase(v);
	return ctl_fail(c, &e);
}

int ctl_follow(struct ctl *c, bool quiet)
{
	struct view v = { .tty = !c->json && isatty(STDOUT_FILENO) };

	screen_init(&v.screen);
	quiet = quiet && !v.tty;
	for (;;) {
		_cleanup_json_ struct json_object *info = NULL, *config = NULL;
		struct progress p;
		int status = ctl_call(c, "query-migrate", NULL, &info);

		if (status == CTL_DONE)
			status = ctl_call(c, "query-migrate-config", NULL, &config);
		if (status != CTL_DONE)
			return status;
		progress_read(info, config, &p);
		if (!*p.status) {
			struct drover_error e = DROVER_ERROR_INIT;

			drover_err(&e, -ENOENT, "no migration has been started");
			return ctl_fail(c, &e);
		}
		/* Without --json the end is not shown as a frame, since the verdict follows. */
		if (!quiet && (c->json || !progress_ended(&p)))
			show(c, &v, &p, info);
		if (progress_ended(&p))
			return finish(c, &v, &p, info, quiet);
		status = pause_for_event(c, &v);
		if (status != CTL_DONE)
			return status;
	}
}

int verb_watch(struct ctl *c)
{
	return ctl_follow(c, false);
}

int verb_events(struct ctl *c)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int status = ctl_connect(c), r;

	if (status != CTL_DONE)
		return status;
	for (;;) {
		_cleanup_json_ struct json_object *ev = NULL;

		r = qmp_client_event(c->client, UINT32_MAX, &ev, &e);
		if (r < 0)
			return ctl_fail(c, &e);
		puts(json_object_to_json_string_ext(ev, JSON_C_TO_STRING_PLAIN |
						    JSON_C_TO_STRING_NOSLASHESCAPE));
		if (fflush(stdout) != 0)
			return CTL_FAILED;
	}
}
