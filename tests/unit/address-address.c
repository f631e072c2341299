// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Addresses and channel lists: every transport as URI and as JSON, what is refused and in
 * which words, and that URI -> address -> JSON -> address loses nothing.
 */
#include "address/address.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"

#include "tap.h"

/* A good URI, and its address as JSON. */
static const struct {
	const char *uri, *json;
} good[] = {
	{ "tcp:127.0.0.1:4444", "{\"transport\":\"socket\",\"type\":\"inet\","
		"\"host\":\"127.0.0.1\",\"port\":\"4444\"}" },
	{ "tcp:[::1]:0", "{\"transport\":\"socket\",\"type\":\"inet\",\"host\":\"::1\","
		"\"port\":\"0\"}" },
	{ "tcp::65535", "{\"transport\":\"socket\",\"type\":\"inet\",\"host\":\"\","
		"\"port\":\"65535\"}" },
	{ "tcp:a.example:https,ipv4=on,ipv6=off,keep-alive=on,keep-alive-count=3,"
	  "keep-alive-idle=10,keep-alive-interval=4294967295,mptcp=on",
	  "{\"transport\":\"socket\",\"type\":\"inet\",\"host\":\"a.example\",\"port\":\"https\","
	  "\"ipv4\":true,\"ipv6\":false,\"keep-alive\":true,\"keep-alive-count\":3,"
	  "\"keep-alive-idle\":10,\"keep-alive-interval\":4294967295,\"mptcp\":true}" },
	{ "tcp:h:1,numeric=off,to=65535", "{\"transport\":\"socket\",\"type\":\"inet\","
		"\"host\":\"h\",\"port\":\"1\",\"numeric\":false,\"to\":65535}" },
	{ "unix:/run/a,b:c.sock", "{\"transport\":\"socket\",\"type\":\"unix\","
		"\"path\":\"\\/run\\/a,b:c.sock\"}" },
	{ "vsock:3:4294967295", "{\"transport\":\"socket\",\"type\":\"vsock\",\"cid\":\"3\","
		"\"port\":\"4294967295\"}" },
	{ "fd:mig-fd", "{\"transport\":\"socket\",\"type\":\"fd\",\"str\":\"mig-fd\"}" },
	{ "fd:7", "{\"transport\":\"socket\",\"type\":\"fd\",\"str\":\"7\"}" },
	{ "exec:gzip -c > 'x y'", "{\"transport\":\"exec\",\"args\":[\"\\/bin\\/sh\",\"-c\","
		"\"gzip -c > 'x y'\"]}" },
	{ "rdma:[fe80::1%eth0]:4444", "{\"transport\":\"rdma\",\"host\":\"fe80::1%eth0\","
		"\"port\":\"4444\"}" },
	{ "file:/tmp/a", "{\"transport\":\"file\",\"filename\":\"\\/tmp\\/a\",\"offset\":0}" },
	{ "file:a,offset=9223372036854775807", "{\"transport\":\"file\",\"filename\":\"a\","
		"\"offset\":9223372036854775807}" },
};

/* URIs that mean the same as a canonical one. */
static const struct {
	const char *uri, *same;
} alike[] = {
	{ "tcp:h:1,ipv6", "tcp:h:1,ipv6=on" },
	{ "tcp:h:1,ipv6,ipv4=off", "tcp:h:1,ipv4=off,ipv6=on" },
	{ "file:a,offset=0x1f", "file:a,offset=31" },
	{ "file:a,offset=0", "file:a" },
	{ "file:a,offset=1M", "file:a,offset=1048576" },
	{ "file:a,offset=4k", "file:a,offset=4096" },
	{ "file:a,offset=12B", "file:a,offset=12" },
	{ "file:a,offset=7E", "file:a,offset=8070450532247928832" },
};

static const struct {
	const char *uri, *text;
} bad_uri[] = {
	{ "", "unknown migration protocol: " },
	{ "tcp", "unknown migration protocol: tcp" },
	{ "defer", "unknown migration protocol: defer" },
	{ "http://x", "unknown migration protocol: http://x" },
	{ "TCP:h:1", "unknown migration protocol" },
	{ "tcp:", "error parsing address ''" },
	{ "tcp:host", "error parsing address 'host'" },
	{ "tcp:,a:b", "error parsing address" },
	{ "tcp:host:", "error parsing port in address 'host:'" },
	{ "tcp:::1:4444", "error parsing port in address" },
	{ "tcp:[::1]4444", "error parsing IPv6 address" },
	{ "tcp:[::1:4444", "error parsing IPv6 address" },
	{ "tcp:[]:4444", "error parsing IPv6 address" },
	{ "tcp:[127.0.0.1]:4444", "error parsing IPv6 address" },
	{ "tcp:h:65536", "port '65536' is out of range" },
	{ "tcp:h:99999999999999999999999", "is out of range" },
	{ "tcp:h:1,to=0x10", "Parameter 'to' expects an integer in the range of 0..65535" },
	{ "tcp:h:1,to=65536", "Parameter 'to' expects an integer" },
	{ "tcp:h:1,to=-1", "Parameter 'to' expects an integer" },
	{ "tcp:h:1,to=", "Parameter 'to' expects an integer" },
	{ "tcp:h:1,to", "Parameter 'to' needs a value" },
	{ "tcp:h:10,to=9", "'to' (9) is below the port (10)" },
	{ "tcp:h:http,to=90", "can't convert to a number: http" },
	{ "tcp:h:1,ipv4=yes", "Parameter 'ipv4' expects 'on' or 'off', not 'yes'" },
	{ "tcp:h:1,ipv4=off,ipv6=off", "Cannot disable IPv4 and IPv6 at same time" },
	{ "tcp:h:1,ipv4=on,ipv4=on", "Parameter 'ipv4' is given twice" },
	{ "tcp:h:1,host=x", "Parameter 'host' is unexpected" },
	{ "tcp:h:1,nodelay", "Parameter 'nodelay' is unexpected" },
	{ "tcp:h:1,", "Parameter '' is unexpected" },
	{ "unix:", "invalid Unix socket address" },
	{ "unix:/1234567890123456789012345678901234567890123456789012345678901234567890"
	  "12345678901234567890123456789012345678", "too long" },
	{ "vsock:3", "error parsing address '3'" },
	{ "vsock::1", "error parsing address" },
	{ "vsock:3:", "error parsing address" },
	{ "vsock:x:1", "Failed to parse cid 'x'" },
	{ "vsock:4294967296:1", "Failed to parse cid" },
	{ "vsock:3:1:2", "Failed to parse port '1:2'" },
	{ "fd:", "invalid file descriptor address" },
	{ "exec:", "exec: no command" },
	{ "rdma:x", "error parsing address" },
	{ "file:", "no file name" },
	{ "file:,offset=1", "no file name" },
	{ "file:a,offset=", "file URI has bad offset " },
	{ "file:a,offset=-1", "file URI has bad offset -1" },
	{ "file:a,offset=0x", "file URI has bad offset" },
	{ "file:a,offset=0x-1", "file URI has bad offset" },
	{ "file:a,offset=1MB", "file URI has bad offset" },
	{ "file:a,offset=16E", "file URI has bad offset" },
	{ "file:a,offset=18446744073709551616", "file URI has bad offset" },
	{ "file:a,offset=8E", "is too large" },
};

static const struct {
	const char *json, *text;
} bad_json[] = {
	{ "null", "Invalid parameter type for 'addr', expected: object" },
	{ "[]", "Invalid parameter type for 'addr', expected: object" },
	{ "{}", "Parameter 'addr.transport' is missing" },
	{ "{'transport':1}", "Invalid parameter type for 'addr.transport', expected: string" },
	{ "{'transport':'tcp'}", "Parameter 'addr.transport' does not accept value 'tcp'" },
	{ "{'transport':'socket'}", "Parameter 'addr.type' is missing" },
	{ "{'transport':'socket','type':'ipx'}",
	  "Parameter 'addr.type' does not accept value 'ipx'" },
	{ "{'transport':'socket','type':'inet','host':'h'}", "Parameter 'addr.port' is missing" },
	{ "{'transport':'socket','type':'inet','host':'h','port':4444}",
	  "Invalid parameter type for 'addr.port', expected: string" },
	{ "{'transport':'socket','type':'inet','host':'h','port':'1','to':65536}",
	  "'addr.to'" },
	{ "{'transport':'socket','type':'inet','host':'h','port':'1','to':-1}", "'addr.to'" },
	{ "{'transport':'socket','type':'inet','host':'h','port':'1','ipv4':'on'}",
	  "Invalid parameter type for 'addr.ipv4', expected: boolean" },
	{ "{'transport':'socket','type':'inet','host':'h','port':''}", "port not specified" },
	{ "{'transport':'socket','type':'inet','host':'h','port':'1','path':'x'}",
	  "Parameter 'addr.path' is unexpected" },
	{ "{'transport':'socket','type':'inet','data':{'host':'h','port':'1'}}",
	  "Parameter 'addr.host' is missing" },
	{ "{'transport':'socket','type':'unix','path':''}", "path is empty" },
	{ "{'transport':'socket','type':'unix','path':null}",
	  "Invalid parameter type for 'addr.path', expected: string" },
	{ "{'transport':'socket','type':'vsock','cid':'-1','port':'1'}", "Failed to parse cid" },
	{ "{'transport':'socket','type':'fd','str':''}", "invalid file descriptor address" },
	{ "{'transport':'exec','args':[]}", "'addr.args' expects a list of 1 to" },
	{ "{'transport':'exec','args':'ls'}",
	  "Invalid parameter type for 'addr.args', expected: array" },
	{ "{'transport':'exec','args':['ls',1]}",
	  "Invalid parameter type for 'addr.args[1]', expected: string" },
	{ "{'transport':'exec','args':['']}", "exec: no command" },
	{ "{'transport':'exec','args':['ls'],'type':'inet'}",
	  "Parameter 'addr.type' is unexpected" },
	{ "{'transport':'rdma','type':'inet','host':'h','port':'1'}",
	  "Parameter 'addr.type' is unexpected" },
	{ "{'transport':'file','filename':'x'}", "Parameter 'addr.offset' is missing" },
	{ "{'transport':'file','filename':'x','offset':'0'}",
	  "Invalid parameter type for 'addr.offset'" },
	{ "{'transport':'file','filename':'x','offset':1.0}",
	  "Invalid parameter type for 'addr.offset'" },
	{ "{'transport':'file','filename':'x','offset':9223372036854775808}", "is too large" },
};

static struct json_object *parse(const char *text)
{
	char buf[2048];
	struct json_object *o = NULL;
	struct drover_error e = DROVER_ERROR_INIT;
	size_t i;

	for (i = 0; text[i] && i < sizeof(buf) - 1; i++)
		buf[i] = text[i] == '\'' && strchr(text, '"') == NULL ? '"' : text[i];
	buf[i] = '\0';
	if (drover_json_parse(buf, i, sizeof(buf), &o, &e) < 0)
		tap_diag("test bug: %s: %s", e.msg, text);
	return o;
}

static bool same_json(const struct drover_address *a, const char *text)
{
	_cleanup_json_ struct json_object *o = drover_address_to_json(a);
	_cleanup_json_ struct json_object *want = parse(text);

	if (json_object_equal(o, want))
		return true;
	tap_diag("got %s", json_object_to_json_string(o));
	return false;
}

static void test_good(void)
{
	struct drover_error e;
	unsigned int i;

	for (i = 0; i < DROVER_ARRAY_SIZE(good); i++) {
		struct drover_address a = { 0 }, b = { 0 }, c = { 0 };
		_cleanup_json_ struct json_object *o = NULL;
		_cleanup_free_ char *text = NULL, *copied = NULL;

		drover_err_clear(&e);
		tap_ok(!drover_address_from_uri(good[i].uri, &a, &e) &&
		       same_json(&a, good[i].json), "%s", good[i].uri);
		o = drover_address_to_json(&a);
		tap_ok(!drover_address_from_json(o, &b, &e) && same_json(&b, good[i].json),
		       "... through JSON");
		text = drover_address_to_string(&b);
		tap_ok(text && !strcmp(text, good[i].uri), "... and back: %s", text ? text : "nothing");
		tap_ok(!drover_address_copy(&b, &c), "... copied");
		drover_address_deinit(&b);
		copied = drover_address_to_string(&c);
		tap_ok(copied && !strcmp(copied, good[i].uri), "... the copy stands alone");
		drover_address_deinit(&a);
		drover_address_deinit(&c);
	}
	for (i = 0; i < DROVER_ARRAY_SIZE(alike); i++) {
		struct drover_address a = { 0 };
		_cleanup_free_ char *text = NULL;

		drover_err_clear(&e);
		if (!drover_address_from_uri(alike[i].uri, &a, &e))
			text = drover_address_to_string(&a);
		tap_ok(text && !strcmp(text, alike[i].same), "%s is %s", alike[i].uri,
		       alike[i].same);
		drover_address_deinit(&a);
	}
}

static void test_bad(void)
{
	struct drover_error e;
	unsigned int i;

	for (i = 0; i < DROVER_ARRAY_SIZE(bad_uri); i++) {
		struct drover_address a = { .transport = DROVER_TRANSPORT_FILE };
		int r;

		drover_err_clear(&e);
		r = drover_address_from_uri(bad_uri[i].uri, &a, &e);
		tap_ok(r == -EINVAL && strstr(e.msg, bad_uri[i].text) &&
		       a.transport == DROVER_TRANSPORT_FILE, "refused: %.60s: %.100s",
		       bad_uri[i].uri, e.msg);
	}
	for (i = 0; i < DROVER_ARRAY_SIZE(bad_json); i++) {
		_cleanup_json_ struct json_object *o = parse(bad_json[i].json);
		struct drover_address a = { .transport = DROVER_TRANSPORT_FILE };
		int r;

		drover_err_clear(&e);
		r = drover_address_from_json(o, &a, &e);
		tap_ok(r == -EINVAL && strstr(e.msg, bad_json[i].text) &&
		       a.transport == DROVER_TRANSPORT_FILE, "refused: %s: %s",
		       bad_json[i].json, e.msg);
	}
}

static void test_json_only(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_address a = { 0 };
	_cleanup_json_ struct json_object *o =
		parse("{'transport':'socket','type':'unix','path':'x','abstract':true}");
	_cleanup_json_ struct json_object *x = parse("{'transport':'exec','args':['a b']}");
	_cleanup_free_ char *text = NULL, *cmd = NULL;

	tap_ok(!drover_address_from_json(o, &a, &e) && a.u.unix_.abstract == DROVER_ON &&
	       a.u.unix_.tight == DROVER_UNSET, "abstract name");
	text = drover_address_to_string(&a);
	tap_ok(text && !strcmp(text, "unix:@x"), "shown as %s", text);
	drover_address_deinit(&a);
	tap_ok(!drover_address_from_json(x, &a, &e), "argv without a shell");
	cmd = drover_address_to_string(&a);
	tap_ok(cmd && !strcmp(cmd, "exec:'a b'"), "shown as %s", cmd);
	drover_address_deinit(&a);
}

static void test_offers(void)
{
	static const struct {
		const char *uri;
		unsigned int offers, lacks;
	} row[] = {
		{ "tcp:h:1", DROVER_TRANSPORT_MULTI | DROVER_TRANSPORT_ZEROCOPY |
			DROVER_TRANSPORT_TWOWAY | DROVER_TRANSPORT_RECONNECT,
		  DROVER_TRANSPORT_SEEK | DROVER_TRANSPORT_FDPASS },
		{ "unix:x", DROVER_TRANSPORT_MULTI | DROVER_TRANSPORT_FDPASS,
		  DROVER_TRANSPORT_SEEK | DROVER_TRANSPORT_ZEROCOPY },
		{ "exec:x", DROVER_TRANSPORT_TWOWAY,
		  DROVER_TRANSPORT_MULTI | DROVER_TRANSPORT_RECONNECT },
		{ "fd:1", DROVER_TRANSPORT_TWOWAY, DROVER_TRANSPORT_MULTI },
		{ "file:x", DROVER_TRANSPORT_SEEK,
		  DROVER_TRANSPORT_TWOWAY | DROVER_TRANSPORT_MULTI },
	};
	unsigned int i;

	for (i = 0; i < DROVER_ARRAY_SIZE(row); i++) {
		struct drover_address a = { 0 };
		unsigned int o;

		if (drover_address_from_uri(row[i].uri, &a, NULL) < 0)
			continue;
		o = drover_address_offers(&a);
		tap_ok((o & row[i].offers) == row[i].offers && !(o & row[i].lacks),
		       "what %s offers", row[i].uri);
		drover_address_deinit(&a);
	}
}

#define MAIN "{'channel-type':'main','addr':{'transport':'socket','type':'inet'," \
	     "'host':'h','port':'1'}}"
#define CPR "{'channel-type':'cpr','addr':{'transport':'socket','type':'unix','path':'c'}}"
#define DATA(h) "{'channel-type':'data','addr':{'transport':'socket','type':'inet'," \
		"'host':'" h "','port':'2'}}"
#define POST "{'channel-type':'postcopy','addr':{'transport':'socket','type':'unix','path':'p'}}"

static const struct {
	const char *json;
	bool incoming;
	int r;
	const char *text;
} lists[] = {
	{ "[" MAIN "]", false, 0, "" },
	{ "[" MAIN "]", true, 0, "" },
	{ "[" DATA("a") "," MAIN "," DATA("b") "," POST "]", false, 0, "" },
	{ "[" MAIN "," DATA("a") "," POST "]", true, 0, "" },
	{ "[" MAIN "," POST "," POST "]", false, 0, "" },
	{ "[]", false, -EINVAL, "need either 'uri' or 'channels' argument" },
	{ "{}", false, -EINVAL, "Invalid parameter type for 'channels', expected: array" },
	{ "null", false, -EINVAL, "Invalid parameter type for 'channels', expected: array" },
	{ "[1]", false, -EINVAL, "Invalid parameter type for 'channels[0]', expected: object" },
	{ "[" CPR "]", false, -EINVAL, "Channel list has no main entry" },
	{ "[" DATA("a") "]", true, -EINVAL, "Channel list has no main entry" },
	{ "[" MAIN "," MAIN "]", false, -EINVAL, "Channel list has more than one main entry" },
	{ "[" MAIN "," CPR "," CPR "]", false, -EINVAL, "more than one cpr entry" },
	{ "[" MAIN "," CPR "]", false, -EOPNOTSUPP, "'cpr'" },
	{ "[" MAIN "," CPR "]", true, -EINVAL, "must have only one entry" },
	{ "[{'channel-type':'disk','addr':{}}]", false, -EINVAL,
	  "Parameter 'channels[0].channel-type' does not accept value 'disk'" },
	{ "[{'addr':{}}]", false, -EINVAL, "Parameter 'channels[0].channel-type' is missing" },
	{ "[{'channel-type':'main'}]", false, -EINVAL, "Parameter 'channels[0].addr' is missing" },
	{ "[" MAIN ",{'channel-type':'data','addr':{'transport':'socket','type':'inet',"
	  "'host':'h','port':9}}]", false, -EINVAL, "'channels[1].addr.port'" },
	{ "[{'channel-type':'main','addr':{'transport':'exec','args':['x']},'uri':'y'}]", false,
	  -EINVAL, "Parameter 'channels[0].uri' is unexpected" },
	{ "[" MAIN ",{'channel-type':'data','addr':{'transport':'exec','args':['x']}}]", false,
	  -EINVAL, "many connections" },
};

#define TWO_POST 4u

static void test_lists(void)
{
	static struct drover_channel_list l, copy;
	struct drover_error e;
	unsigned int i;

	for (i = 0; i < DROVER_ARRAY_SIZE(lists); i++) {
		_cleanup_json_ struct json_object *o = parse(lists[i].json);
		int r;

		drover_err_clear(&e);
		l.n = 0;
		r = drover_channel_list_from_json(o, lists[i].incoming, &l, &e);
		tap_ok(r == lists[i].r && strstr(e.msg, lists[i].text), "list %u: %s", i,
		       r ? e.msg : "accepted");
		if (i == 2) {
			tap_ok(drover_channel_list_main(&l) == &l.entry[1].addr &&
			       drover_channel_list_data(&l, 0) == &l.entry[0].addr &&
			       drover_channel_list_data(&l, 1) == &l.entry[2].addr &&
			       drover_channel_list_data(&l, 2) == &l.entry[0].addr &&
			       drover_channel_list_postcopy(&l, 5) == &l.entry[3].addr,
			       "data channels go round robin over their entries");
			tap_ok(!drover_channel_list_copy(&l, &copy) && copy.n == 4 &&
			       !strcmp(copy.entry[2].addr.u.inet.host, "b"), "a list is copied");
			drover_channel_list_deinit(&copy);
		}
		if (i == TWO_POST)
			tap_ok(drover_channel_list_postcopy(&l, 0) == &l.entry[1].addr &&
			       drover_channel_list_postcopy(&l, 3) == &l.entry[2].addr &&
			       drover_channel_list_data(&l, 1) == &l.entry[0].addr,
			       "and so do those of postcopy");
		if (!r)
			drover_channel_list_deinit(&l);
	}
	tap_ok(!drover_channel_list_from_uri("unix:x", &l, &e) && l.n == 1 &&
	       drover_channel_list_data(&l, 7) == drover_channel_list_main(&l) &&
	       drover_channel_list_postcopy(&l, 1) == drover_channel_list_main(&l),
	       "without data entries main's address serves all");
	drover_channel_list_deinit(&l);
	drover_err_clear(&e);
	tap_ok(drover_channel_list_from_uri("nope:", &l, &e) == -EINVAL, "a bad URI: %s", e.msg);
}

int main(void)
{
	test_good();
	test_bad();
	test_json_only();
	test_offers();
	test_lists();
	return tap_done();
}
