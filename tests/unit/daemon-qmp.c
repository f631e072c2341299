// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The QMP server alone, with a command table of the test's own: who may connect, the
 * socket's mode and life, negotiation, argument checks, out-of-band, clients that do
 * not read or talk too much.
 */
#define _GNU_SOURCE
#include "daemon/qmp.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "tap.h"

#define TURN_MS 30

struct test {
	struct loop loop;
	struct loop_timer timer;
	struct qmp_server server;
	char dir[64], path[96], address[112];
	unsigned int calls;
};

static int cmd_negotiate(struct qmp_call *call, struct drover_error *e)
{
	(void)e;
	qmp_session_negotiate(call->session, qmp_arg_get(call, "enable") != NULL);
	return 0;
}

static int cmd_echo(struct qmp_call *call, struct drover_error *e)
{
	struct test *t = call->opaque;

	t->calls++;
	if (qmp_arg_bool(call, "fail", false))
		return drover_err(e, -EINVAL, "asked to fail");
	call->ret = json_object_get(call->args);
	return 0;
}

static int cmd_big(struct qmp_call *call, struct drover_error *e)
{
	char text[32768];

	(void)e;
	memset(text, 'x', sizeof(text));
	call->ret = json_object_new_string_len(text, sizeof(text));
	return 0;
}

static const struct qmp_command table[] = {
	{ "qmp_capabilities", cmd_negotiate, { { "enable", QMP_ARRAY, true, "" } }, 0, "" },
	{ "echo", cmd_echo,
	  { { "text", QMP_STR, false, "" }, { "fail", QMP_BOOL, true, "" } }, QMP_OOB, "" },
	{ "big", cmd_big, { { 0 } }, 0, "" },
};

static void stop(void *opaque)
{
	loop_stop(opaque);
}

/* Let the server do what there is to do, however long that takes. */
static void turn(struct test *t)
{
	struct pollfd p = { .fd = t->loop.epfd, .events = POLLIN };

	do {
		t->loop.stop = false;
		loop_timer_arm(&t->timer, TURN_MS);
		loop_run(&t->loop, NULL);
	} while (poll(&p, 1, 0) > 0);
}

static bool setup(struct test *t)
{
	memset(t, 0, sizeof(*t));
	strcpy(t->dir, "/tmp/drover-test-XXXXXX");
	if (!mkdtemp(t->dir))
		return false;
	snprintf(t->path, sizeof(t->path), "%s/qmp", t->dir);
	snprintf(t->address, sizeof(t->address), "unix:%s", t->path);
	t->server.loop = &t->loop;
	t->server.commands = table;
	t->server.ncommands = DROVER_ARRAY_SIZE(table);
	t->server.opaque = t;
	return loop_init(&t->loop, NULL) == 0 &&
	       loop_timer_init(&t->loop, &t->timer, stop, &t->loop, NULL) == 0 &&
	       qmp_server_open(&t->server, t->address, NULL) == 0;
}

static int dial(struct test *t)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(sun.sun_path, t->path);
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) < 0)
		return -1;
	turn(t);
	return fd;
}

/* Send @text and return what comes back, in a static buffer of one test at a time. */
static const char *talk(struct test *t, int fd, const char *text, char *buf, size_t size)
{
	ssize_t n;

	if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		return "(gone)";
	turn(t);
	n = recv(fd, buf, size - 1, MSG_DONTWAIT);
	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

static void test_socket(struct test *t)
{
	struct qmp_server second = { .loop = &t->loop };
	struct drover_error e = DROVER_ERROR_INIT;
	struct stat st;

	tap_ok(stat(t->path, &st) == 0 && S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0600,
	       "the socket has mode 0600");
	tap_ok(qmp_server_open(&second, t->address, &e) == -EADDRINUSE,
	       "a socket somebody listens on is not taken over");
	tap_ok(qmp_server_open(&second, "tcp:1", NULL) == -EINVAL, "only unix:PATH is accepted");
}

static void test_negotiation(struct test *t)
{
	char buf[8192];
	int fd = dial(t);
	ssize_t n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);

	buf[n > 0 ? n : 0] = '\0';
	tap_ok(strstr(buf, "\"QMP\"") && strstr(buf, "\"major\":11") && strstr(buf, "drover-"),
	       "a client is greeted");
	talk(t, fd, "{\"execute\":\"echo\",\"arguments\":{\"text\":\"a\"}}", buf, sizeof(buf));
	tap_ok(strstr(buf, "CommandNotFound") && strstr(buf, "Expecting capabilities negotiation") &&
	       t->calls == 0, "no command before qmp_capabilities");
	talk(t, fd, "{\"exec-oob\":\"echo\"}", buf, sizeof(buf));
	tap_ok(strstr(buf, "'exec-oob' is unexpected") != NULL, "no exec-oob before it is enabled");
	talk(t, fd, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}", buf,
	     sizeof(buf));
	tap_ok(strcmp(buf, "{\"return\":{}}\r\n") == 0, "qmp_capabilities answers {}");
	talk(t, fd, "{\"exec-oob\":\"echo\",\"arguments\":{\"text\":\"b\"},\"id\":7}", buf,
	     sizeof(buf));
	tap_ok(strstr(buf, "\"text\":\"b\"") && strstr(buf, "\"id\":7"), "exec-oob works then");
	talk(t, fd, "{\"exec-oob\":\"big\"}", buf, sizeof(buf));
	tap_ok(strstr(buf, "The command big does not support OOB") != NULL,
	       "... for commands that allow it");
	close(fd);
	turn(t);
	tap_ok(t->server.nsessions == 0, "a closed connection is forgotten");
}

static const struct {
	const char *send, *expect, *what;
} requests[] = {
	{ "{\"execute\":\"echo\"}", "Parameter 'text' is missing", "missing argument" },
	{ "{\"execute\":\"echo\",\"arguments\":{\"text\":1}}",
	  "Invalid parameter type for 'text', expected: string", "wrong type" },
	{ "{\"execute\":\"echo\",\"arguments\":{\"text\":null}}",
	  "Invalid parameter type for 'text', expected: string", "null is a wrong type" },
	{ "{\"execute\":\"echo\",\"arguments\":{\"text\":\"a\",\"z\":1}}",
	  "Parameter 'z' is unexpected", "unknown argument" },
	{ "{\"execute\":\"nope\",\"id\":{\"a\":[1]}}",
	  "\"desc\":\"The command nope has not been found\"},\"id\":{\"a\":[1]}",
	  "unknown command, with a structured id" },
	{ "{\"execute\":\"echo\",\"arguments\":{\"text\":\"a\",\"fail\":true},\"id\":null}",
	  "\"class\":\"GenericError\",\"desc\":\"asked to fail\"},\"id\":null",
	  "a command's own failure, id null" },
	{ "[1]", "QMP input must be a JSON object", "not an object" },
	{ "{\"id\":1}", "QMP input lacks member 'execute'", "no execute" },
	{ "{\"execute\":1}", "QMP input member 'execute' must be a string", "execute 1" },
	{ "{\"execute\":\"echo\",\"arguments\":[]}",
	  "QMP input member 'arguments' must be an object", "arguments []" },
	{ "{\"execute\":\"echo\",\"x\":1}", "QMP input member 'x' is unexpected", "extra member" },
	{ "{\"execute\":\"echo\",}", "JSON parse error", "bad JSON" },
	{ "{\"execute\":\"echo\",\"arguments\":{\"text\":\"ok\"}}", "{\"return\":{\"text\":\"ok\"}}",
	  "and after all that, a good request" },
};

static void test_requests(struct test *t)
{
	char buf[8192];
	int fd = dial(t);
	size_t i;

	talk(t, fd, "{\"execute\":\"qmp_capabilities\"}", buf, sizeof(buf));
	for (i = 0; i < DROVER_ARRAY_SIZE(requests); i++)
		if (!tap_ok(strstr(talk(t, fd, requests[i].send, buf, sizeof(buf)),
				   requests[i].expect) != NULL, "%s", requests[i].what))
			tap_diag("got: %s", buf);
	close(fd);
	turn(t);
}

static void big_event(struct test *t)
{
	struct json_object *data = json_object_new_object();
	char text[1024];

	memset(text, 'e', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	json_object_object_add(data, "text", json_object_new_string(text));
	qmp_server_event(&t->server, "THING", data, 0);
	json_object_put(data);
}

static void test_limits(struct test *t)
{
	char buf[8192];
	int slow = dial(t), good = dial(t), i;

	talk(t, good, "{\"execute\":\"qmp_capabilities\"}", buf, sizeof(buf));
	talk(t, slow, "{\"execute\":\"qmp_capabilities\"}", buf, sizeof(buf));
	tap_ok(t->server.nsessions == 2, "two clients");
	for (i = 0; i < 400 && t->server.nsessions == 2; i++) {
		if (send(slow, "{\"execute\":\"big\"}", 17, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
		if (i % 20 == 19)
			turn(t);
	}
	turn(t);
	tap_ok(t->server.nsessions == 2, "a client that does not read is not served on");
	talk(t, good, "{\"execute\":\"echo\",\"arguments\":{\"text\":\"here\"}}", buf, sizeof(buf));
	tap_ok(strstr(buf, "here") != NULL, "the other one is served");
	close(good);
	turn(t);
	for (i = 0; i < 8192 && t->server.nsessions == 1; i++)
		big_event(t);
	turn(t);
	tap_ok(i > 1024 && i < 8192 && !t->server.nsessions,
	       "and dropped when it lets 4 MiB of events wait");
	close(slow);
}

/* More than a message may be, without an end, then a good one. */
static void test_flood(struct test *t)
{
	char chunk[8192], buf[8192], last[8192] = "";
	int fd = dial(t), i;

	talk(t, fd, "{\"execute\":\"qmp_capabilities\"}", buf, sizeof(buf));
	talk(t, fd, "{\"execute\":\"", buf, sizeof(buf));
	memset(chunk, 'a', sizeof(chunk) - 1);
	chunk[sizeof(chunk) - 1] = '\0';
	for (i = 0; i < 160; i++) {
		/* The server shares this thread: a send that waits would wait for ever. */
		while (send(fd, chunk, sizeof(chunk) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
		       errno == EAGAIN)
			turn(t);
	}
	turn(t);
	talk(t, fd, "\"}", last, sizeof(last));
	if (!tap_ok(strstr(last, "error") != NULL, "an endless request is refused"))
		tap_diag("got: %.100s", last);
	talk(t, fd, "{\"execute\":\"echo\",\"arguments\":{\"text\":\"on\"}}", buf, sizeof(buf));
	tap_ok(strstr(buf, "\"on\"") != NULL, "and the next one served");
	close(fd);
	turn(t);
}

static void test_events(struct test *t)
{
	struct json_object *data = json_object_new_object();
	char a[8192] = "", b[8192] = "";
	int in = dial(t), out = dial(t);
	ssize_t n;

	talk(t, in, "{\"execute\":\"qmp_capabilities\"}", a, sizeof(a));
	json_object_object_add(data, "n", json_object_new_int(1));
	qmp_server_event(&t->server, "THING", data, 1700000000000123);
	json_object_put(data);
	n = recv(in, a, sizeof(a) - 1, MSG_DONTWAIT);
	a[n > 0 ? n : 0] = '\0';
	tap_ok(strstr(a, "\"timestamp\":{\"seconds\":1700000000,\"microseconds\":123}") &&
	       strstr(a, "\"event\":\"THING\",\"data\":{\"n\":1}"), "an event, with its time");
	n = recv(out, b, sizeof(b) - 1, MSG_DONTWAIT);
	b[n > 0 ? n : 0] = '\0';
	tap_ok(n > 0 && !strstr(b, "THING"), "none before negotiation");
	close(in);
	close(out);
	turn(t);
}

/* `echo ... | socat`: the client closes its direction and then reads. */
static void test_half_close(struct test *t)
{
	static const char both[] = "{\"execute\":\"qmp_capabilities\"}{\"execute\":\"big\"}";
	char buf[8192] = "";
	int fd = dial(t);
	ssize_t n;

	send(fd, both, strlen(both), MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	turn(t);
	n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);
	tap_ok(n > 0 && strstr(buf, "xxxx"), "answers reach a client that has closed its side");
	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		turn(t);
	tap_ok(t->server.nsessions == 0, "and then the connection is closed");
	close(fd);
}

int main(void)
{
	struct stat st;
	struct test t;

	if (!tap_ok(setup(&t), "the server opens"))
		return tap_done();
	test_socket(&t);
	test_negotiation(&t);
	test_requests(&t);
	test_limits(&t);
	test_flood(&t);
	test_events(&t);
	test_half_close(&t);
	qmp_server_close(&t.server);
	tap_ok(stat(t.path, &st) < 0, "the socket is removed");
	loop_timer_deinit(&t.timer);
	loop_deinit(&t.loop);
	rmdir(t.dir);
	return tap_done();
}
