// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Whose the guest is, and when it is to be stopped: the source's decisions after a round, the
 * VMM's record, and what is undone when a migration fails.
 */
#include "source-kit.h"

static const uint64_t sizes[] = { 25600 };

/* A round of all pages in a second: 100 MB/s; then @dirty pages are left after @ms. */
static struct kit *after_round(uint64_t dirty, uint64_t ms)
{
	struct kit *k = kit_new(sizes, 1);
	uint64_t now = drover_now_ns(), rate;

	k->m.live.downtime_limit = 300;
	source_look_at_guest(&k->s);
	inbox_init(&k->s.inbox, false);
	inbox_next_round(&k->s.inbox);
	meter_rtt(&k->s.meter, 100);
	meter_harvest(&k->s.meter, now - ms * DROVER_NS_PER_MS, now, 25600);
	meter_drained(&k->s.meter, DROVER_NS_PER_S, 25600 * DROVER_PAGE_SIZE);
	meter_harvest(&k->s.meter, now, now, dirty);
	meter_dirty_rate(&k->s.meter, now - ms * DROVER_NS_PER_MS, &rate);
	return k;
}

static void test_decide(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct kit *k = after_round(10, 1000);

	tap_ok(source_decide(&k->s, &e) == DECIDE_STOP, "little is left: stop the guest");
	tap_ok(drover_stat_get(&k->m.stats.expected_downtime_us) == k->s.meter.expected_us &&
	       k->s.meter.expected_us < 300000, "and the expected downtime is told");
	kit_free(k);

	k = after_round(20000, 1000);
	tap_ok(source_decide(&k->s, &e) == DECIDE_ROUND, "much is left: another round");
	tap_ok(k->s.converge.lowest == 20000 * DROVER_PAGE_SIZE && k->s.converge.lowest_round == 1,
	       "the least that remained is remembered");
	inbox_next_round(&k->s.inbox);
	k->s.meter.dirty_pages = 21000;
	source_decide(&k->s, &e);
	tap_ok(k->s.converge.lowest_round == 1, "and when");
	kit_free(k);

	k = after_round(25600, 100);
	k->config.postcopy_ram = true;
	atomic_store(&k->m.orders.postcopy_asked, true);
	tap_ok(source_decide(&k->s, &e) == DECIDE_STOP_POSTCOPY && !source_postcopying(&k->s),
	       "postcopy was asked for: stop the guest, and not yet postcopy");
	tap_ok(!drover_stat_get(&k->m.stats.expected_pages), "whose pages it does not wait for");
	kit_free(k);

	k = after_round(25600, 100);
	k->m.live.max_rounds = 1;
	k->m.live.on_no_converge = DROVER_ON_NO_CONVERGE_CANCEL;
	tap_ok(source_decide(&k->s, &e) == -ETIME && e.code == -ETIME, "it gives up: %s", e.msg);
	kit_free(k);
}

static void test_throttle(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct kit *k = after_round(25600, 100);
	unsigned int i;

	k->config.auto_converge = true;
	k->guest.traits.can_throttle = true;
	for (i = 0; i < 5 && !k->guest.throttle; i++) {
		inbox_next_round(&k->s.inbox);
		source_decide(&k->s, &e);
	}
	tap_ok(k->guest.throttle && k->guest.throttle == k->s.converge.throttle,
	       "a guest that writes too fast is throttled: %u %%", k->guest.throttle);
	source_unthrottle(&k->s);
	tap_ok(!k->guest.throttle && !k->s.converge.throttle, "and runs at full speed at the end");
	kit_free(k);
}

static struct kit *paused_kit(bool ran)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct kit *k = kit_new(sizes, 1);

	owner_record_init(&k->guest.record, false, ran);
	k->s.peer.token[0] = 9;
	snprintf(k->s.peer.address, sizeof(k->s.peer.address), "somewhere");
	source_look_at_guest(&k->s);
	tap_ok(source_pause_guest(&k->s, &e) == 0 && k->guest.record.state == OWNER_FINAL &&
	       k->guest.record.token.byte[0] == 9 && !strcmp(k->guest.record.peer, "somewhere"),
	       "the final pause of a guest that %s", ran ? "runs" : "is stopped");
	return k;
}

static void test_pause(void)
{
	struct kit *k = paused_kit(true);

	tap_ok(k->guest.pauses == 1 && k->s.handover.stop_ns && k->s.handover.will,
	       "it is paused");
	source_resume_guest(&k->s);
	tap_ok(k->guest.resumes == 1 && k->guest.record.state == OWNER_OWNED,
	       "when that fails it is its VMM's, and runs again");
	k->guest.fails = -EIO;
	source_resume_guest(&k->s);
	tap_ok(strstr(k->m.view.error.msg, "stays paused here"), "or stays: %s", k->m.view.error.msg);
	kit_free(k);

	k = paused_kit(false);
	source_resume_guest(&k->s);
	tap_ok(!k->guest.pauses && !k->guest.resumes && k->guest.record.state == OWNER_OWNED &&
	       !k->s.handover.will, "a guest that its user had stopped stays so");
	kit_free(k);

	k = paused_kit(true);
	k->guest.fails = -ETIMEDOUT;
	source_resume_guest(&k->s);
	tap_ok(k->s.handover.unknown && strstr(k->m.view.error.msg, "goes by its record"),
	       "a VMM that does not answer: %s", k->m.view.error.msg);
	kit_free(k);
}

/* Whatever a stream's end was, its guest does not come back by itself. */
static void test_hold(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct kit *k = kit_new(sizes, 1);

	source_enter(&k->s, SOURCE_ONE_WAY);
	k->s.peer.token[0] = 9;
	source_look_at_guest(&k->s);
	source_pause_guest(&k->s, &e);
	tap_ok(k->guest.record.kind == OWNER_KIND_ONE_WAY &&
	       !source_request(&k->s, OWNER_EV_DOUBT, &e), "one-way, in doubt %s", e.msg);
	source_hold(&k->s);
	source_resume_guest(&k->s);
	tap_ok(k->guest.record.state == OWNER_IN_DOUBT && !k->guest.resumes,
	       "what ends it badly leaves it there");
	tap_ok(!source_give(&k->s, OWNER_BY_STREAM, &e) &&
	       k->guest.record.by == OWNER_BY_STREAM, "its good end hands it over");
	kit_free(k);
}

static void test_record(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct kit *k = kit_new(sizes, 1);
	struct owner_record *rec = &k->guest.record;

	*rec = (struct owner_record){ .state = OWNER_SERVING, .token = { { 9, 8, 7 } } };
	snprintf(rec->peer, sizeof(rec->peer), "somewhere");
	tap_ok(source_adopt_record(&k->s, &e) == 0 && k->s.peer.token[0] == 9 &&
	       !strcmp(k->s.peer.address, "somewhere"), "another droverd's session is adopted");
	source_session_text(&k->s);
	tap_ok(!strcmp(k->m.view.info.session, "09080700"), "and named by its first bytes");
	snprintf(k->s.peer.address, sizeof(k->s.peer.address), "elsewhere");
	tap_ok(source_request(&k->s, OWNER_EV_MOVE, &e) == 0 && rec->token.byte[2] == 7 &&
	       !strcmp(rec->peer, "elsewhere"), "where it is now is noted");
	tap_ok(source_request(&k->s, OWNER_EV_BACK, &e) == -EPERM &&
	       strstr(e.msg, "ownership record: BACK: the record is serving"), "%s", e.msg);
	drover_err_clear(&e);
	k->guest.fails = -EIO;
	tap_ok(source_give(&k->s, OWNER_BY_ANSWER, &e) == -EIO && strstr(e.msg, "ownership record"),
	       "a VMM that fails: %s", e.msg);
	kit_free(k);
}

static void test_phases(void)
{
	struct kit *k = kit_new(sizes, 1);
	struct drover_stats *st = &k->m.stats;
	struct drover_error e = DROVER_ERROR_INIT;

	source_look_at_guest(&k->s);
	source_ping(&k->s, &e);
	source_tick(&k->s);
	tap_ok(drover_stat_get(&st->precopy_bytes) == peer_traffic(&k->s.peer, NULL) &&
	       drover_stat_get(&st->precopy_bytes), "bytes of precopy");
	source_pause_guest(&k->s, &e);
	k->s.inbox.ping_ns = 0;
	source_ping(&k->s, &e);
	source_tick(&k->s);
	tap_ok(drover_stat_get(&st->downtime_bytes) == drover_stat_get(&st->precopy_bytes),
	       "of the downtime");
	source_handed_over(&k->s);
	source_enter(&k->s, SOURCE_POSTCOPY);
	memory_forget(&k->s.mem);
	work_count_left(&k->s.work);
	source_tick(&k->s);
	tap_ok(drover_stat_get(&st->remaining) == 25600 * DROVER_PAGE_SIZE, "of postcopy");
	source_lap(&k->s, &st->dt_pause);
	source_account_downtime(&k->s);
	tap_ok(k->s.handover.lap_ns >= k->s.handover.stop_ns, "the downtime is accounted");
	kit_free(k);
}

int main(void)
{
	test_decide();
	test_throttle();
	test_pause();
	test_hold();
	test_record();
	test_phases();
	return tap_done();
}
