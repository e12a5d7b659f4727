// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"horde/internal/horde"
)

// Every operation that the server publishes is called in ways that nobody means well: what the path, the query, the headers
// and the method may be made of, and the body as a whole. Each call starts from one that works, of the role matrix, and is
// wrong in one place. None may fail (5xx); each is either answered as documented or refused in the documented shape, shortly
// and without the key. In the end the books are audited, and the node starts again from what was kept.

// target is a call that works.
type target struct {
	*server
	pattern      string // as published
	method, path string // path with <objects>
	body         string // JSON, or empty
	operation    document
	sc           *scene
	as           account
}

// objectsInPath are the objects of the path, in their order.
func (x *target) objectsInPath() []string {
	path, _, _ := strings.Cut(x.path, "?")
	return inAngles.FindAllString(path, -1)
}

// where is the path, with one object replaced by a text that is escaped already; an empty object replaces none.
func (x *target) where(object, by string) string {
	path := x.path
	if object != "" {
		path = strings.Replace(path, object, by, 1)
	}
	return wholePath(x.sc.fill(path, true))
}

func (x *target) request(path string, body any, headers ...header) *http.Request {
	return x.server.request(x.method, path, x.as, body, headers...)
}

func (x *target) valid() any {
	if x.body == "" {
		return nil
	}
	return x.sc.fill(x.body, false)
}

// renew makes the objects of the call anew: the last call may have consumed them.
func (x *target) renew(row *roleRow, admin account) {
	if strings.HasSuffix(x.pattern, "/status/modes") {
		x.want(x.call("PUT", "/status/modes", admin, fields{"maintenance_mode": false, "invite_only_mode": false, "raid_mode": false}), http.StatusOK)
	}
	x.sc = x.scene(row.objects())
	for _, kind := range row.objects() {
		x.sc.object(kind)
	}
	ok := func(caller string) bool { return row.outcomes[caller].status < 300 && row.tried(caller) }
	switch {
	case ok("owner"):
		x.as = x.sc.owner
	case ok("moderator"):
		x.as = x.user(1000, horde.Moderator)
	case ok("admin"):
		x.as = admin
	case ok("none"):
		x.as = account{}
	default:
		x.as = x.user(1000, 0)
	}
}

// survive checks what holds for the answer to anything.
func (x *target) survive(why string, req *http.Request) answer {
	x.t.Helper()
	a := x.bare(req)
	if a.header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(strings.NewReader(a.text))
		if err != nil {
			x.t.Fatal(err)
		}
		plain, err := io.ReadAll(z)
		if err != nil {
			x.t.Fatal(err)
		}
		a.text, a.value = string(plain), nil
		_ = json.Unmarshal(plain, &a.value)
	}
	at := fmt.Sprintf("%s %s, %s", x.method, x.pattern, why)
	switch {
	case a.status >= 500:
		x.t.Errorf("%s: %d %.300s", at, a.status, a.text)
		return a
	case !utf8.ValidString(a.text):
		x.t.Errorf("%s: the answer is no UTF-8: %d %.300q", at, a.status, a.text)
	case a.status >= 400:
		if _, ok := a.value.(map[string]any); !ok {
			x.t.Errorf("%s: no error document: %d %.300s", at, a.status, a.text)
			return a
		}
		x.isRefusal(a)
		if len(a.text) > 16<<10 {
			x.t.Errorf("%s: the refusal has %d bytes: %.200s", at, len(a.text), a.text)
		}
	case a.text != "" && strings.HasPrefix(a.header.Get("Content-Type"), "application/json") && !json.Valid([]byte(a.text)):
		x.t.Errorf("%s: no JSON: %d %.300s", at, a.status, a.text)
	}
	if len(x.as.key) > 10 && strings.Contains(a.text, x.as.key) {
		x.t.Errorf("%s: the key is repeated: %d %.300s", at, a.status, a.text)
	}
	if req.Method == x.method {
		x.asDocumented(req, a)
	}
	return a
}

// hostileSegments are what stands for an object in a path, escaped.
var hostileSegments = []string{
	"%00", "a%00b", "%ff", "%ff%fe", "%c0%af", "%ed%a0%80", "%2e%2e", "..%2f..", "%2f", "%2F%2F", "a%2fb", "%5c", "%25", "%2500", "%252e%252e%252f", "%0d%0aX-Injected:%201",
	"%20", "%09", "%7f", "%e2%80%ae", "%f0%9f%a6%84", "%ef%bb%bf", "-1", "-0", "+1", "0x1", "1e3", "1.5", "NaN", "Infinity", "2147483648", "9223372036854775808",
	"99999999999999999999999999999999999999", "%d9%a1%d9%a2", "null", "undefined", "true", "%7B%7D", "%5B%5D", "*", "'%20OR%201=1--", "%3Cscript%3E", "$(id)", "${jndi:x}", "%25s%25n",
	"00000000-0000-0000-0000-000000000000", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "%7B00000000-0000-4000-8000-000000000000%7D", "urn:uuid:00000000-0000-4000-8000-000000000000",
	"00000000000040008000000000000000", "00000000-0000-4000-8000-00000000000g", "10.0.0.0%2F99", "10.0.0.5%2F8", "::1", "::ffff:1.2.3.4%25eth0", "256.1.1.1", "::%2F0", "a%23b", "%23", "x%230", "a::style::b", "::::::::",
	strings.Repeat("a", 10_000), strings.Repeat("9", 10_000), strings.Repeat("%00", 3000), strings.Repeat("%f0%9f%a6%84", 2000), strings.Repeat("%2f", 2000),
}

// hostileValues are what stands for an argument in the query or a header.
var hostileValues = []string{
	"", "\x00", "a\x00b", "\xff", "\xed\xa0\x80", " ", "\t", "\ufeff1", "-1", "0", "+1", "1.5", "1e3", "1e400", "NaN", "-Infinity", "0x10", "١٢", "2147483648", "-2147483649", "9223372036854775808",
	"99999999999999999999999999", "null", "true", "[]", "{}", "nonsense", "'", "%", "*", "image,text", "../..", "<script>", "\u202e", "🦄",
	"00000000-0000-4000-8000-000000000000", "2026-01-01", "2026-13-45T99:99:99Z", "0000-00-00T00:00:00Z", "::1", "10.0.0.0/99",
	strings.Repeat("a", 70_000), strings.Repeat("9", 10_000), strings.Repeat("ß", 5000), strings.Repeat("(", 5000), strings.Repeat("a,", 5000),
}

// hostileHeaders are headers that any call may come with.
func hostileHeaders() []http.Header {
	long := strings.Repeat("a", 70_000)
	one := func(name string, values ...string) http.Header { return http.Header{name: values} }
	list := []http.Header{
		one("Apikey", ""), one("Apikey", " "), one("Apikey", "\x00"), one("Apikey", "\xff"), one("Apikey", long), one("Apikey", "0000000000", "1111111111"), one("Apikey", "0000000000 "),
		one("Apikey", "00000000-0000-4000-8000-000000000000"), one("Apikey", "{\"a\":1}"), one("Apikey", "' OR 1=1--"), one("Apikey", "🦄"),
		one("Authorization", "Bearer x"), one("Authorization", "Basic \xff"), one("Cookie", "session="+long), one("Cookie", "apikey=0000000000"),
		one("Client-Agent", long), one("Client-Agent", "\x00:\xff:"), one("Client-Agent", "::::"), one("Client-Agent", "a:b"), one("Client_agent", "\xff"),
		one("X-Fields", "{"), one("X-Fields", "}"), one("X-Fields", strings.Repeat("{", 20_000)), one("X-Fields", strings.Repeat("a{", 2000)), one("X-Fields", "a,,b"), one("X-Fields", "*"), one("X-Fields", "\x00"),
		one("X-Fields", "{a}}"), one("X-Fields", long), one("X-Fields", "nothing_that_is_there"), one("X-Fields", "a b"), one("X-Fields", "🦄"), one("X-Fields", "id", "kudos"), one("X-Fields", ""),
		one("X-Forwarded-For", "nonsense"), one("X-Forwarded-For", strings.Repeat("1.2.3.4, ", 5000)), one("X-Forwarded-For", "1.2.3.4", "5.6.7.8"), one("X-Forwarded-For", "fe80::1%eth0"), one("X-Forwarded-For", ",,,"),
		one("X-Forwarded-For", "[::1]:80"), one("X-Forwarded-For", "999.1.1.1"), one("X-Forwarded-Host", "evil.example"), one("X-Forwarded-Proto", "gopher"), one("Forwarded", "for=\"_x\""), one("X-Real-Ip", "127.0.0.1"),
		{"Proxy-Authorization": {long}, "Proxied-For": {"nonsense"}}, {"Proxy-Authorization": {"\xff"}, "Proxied-For": {"1.2.3.4, 5.6.7.8"}}, {"Proxy-Authorization": {"a", "b"}, "Proxied-For": {"::", "::1"}},
		one("Accept", "text/html;q=\xff"), one("Accept", "image/png"), one("Accept", long), one("Accept", "*/*;q=0"), one("Accept-Encoding", "gzip;q=NaN, *;q=0"), one("Accept-Encoding", long), one("Accept-Encoding", "gzip, gzip, gzip"), one("Accept-Language", long),
		one("If-None-Match", "*"), one("If-None-Match", "\"x\""), one("If-None-Match", long), one("If-Match", "\"nothing\""), one("If-Match", "*"), one("If-Modified-Since", "Fri, 31 Dec 9999 23:59:59 GMT"), one("If-Modified-Since", "yesterday"),
		one("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"), one("Range", "bytes=0-0"), one("Range", "bytes=-1,0-,5-2"), one("If-Range", "\"x\""), one("Expect", "nonsense"), one("Te", "trailers"), one("Upgrade", "websocket"),
		one("X-Http-Method-Override", "DELETE"), one("X-Http-Method", "DELETE"), one("X-Method-Override", "PUT"), one("X-Request-Id", long), one("X-Request-Id", "\x00\xff\r\n"), one("Traceparent", "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-ff"), one("Traceparent", "\xff"),
		one("Tracestate", long), one("Origin", "null"), one("Origin", "https://evil.example"), one("Access-Control-Request-Method", "DELETE"), one("Last-Event-Id", long), one("Last-Event-Id", "\x00"), one("Content-Encoding", "identity"), one("Content-Language", "\xff"),
	}
	many := http.Header{}
	for i := range 2000 {
		many.Set(fmt.Sprint("X-Header-", i), "a")
	}
	return append(list, many)
}

var hostileContentTypes = []string{
	"", "nonsense", "text/plain", "text/json", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=" + strings.Repeat("x", 5000), "application/octet-stream",
	"application/jsonp", "application/json2", ";", "application/", "/json", "application/json, text/plain", "\x00", "\xff", strings.Repeat("a/", 20_000),
}

// hostileBodies are bodies made of one that is valid. ignored tells those that may be taken for it.
func hostileBodies(valid string) (bodies map[string]string, ignored map[string]bool) {
	var o map[string]json.RawMessage
	_ = json.Unmarshal([]byte(valid), &o)
	inside := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(valid), "{"), "}")
	comma := ","
	if inside == "" {
		comma = ""
	}
	with := func(more string) string { return "{" + inside + comma + more + "}" }
	bodies = map[string]string{
		"nothing": "", "a blank": " ", "null": "null", "true": "true", "a number": "1e999999", "a string": `"a"`, "an array": "[" + valid + "]", "an empty array": "[]", "two values": valid + valid, "text behind": valid + "x",
		"truncated": strings.TrimRight(valid, "} \n"), "half a string": `{"a`, "half an escape": `{"a":"\u12`, "a bad escape": `{"a":"\x41"}`, "single quotes": `{'a':'b'}`, "a comma too many": "{" + inside + ",}", "comments": "/* */" + valid, "a byte order mark": "\ufeff" + valid,
		"UTF-16": "\xff\xfe{\x00}\x00", "not UTF-8": "\xff" + valid, "a NUL first": "\x00" + valid, "a NUL behind": valid + "\x00", "NaN": with(`"unknown":NaN`), "Infinity": with(`"unknown":-Infinity`), "leading zeros": with(`"unknown":0012`), "hexadecimal": with(`"unknown":0x10`),
		"a plus": with(`"unknown":+1`), "a control character": with("\"unknown\":\"\x01\""), "deep arrays": strings.Repeat("[", 100_000), "deep objects": strings.Repeat(`{"a":`, 50_000),
		"deep inside of what is unknown": with(`"unknown":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)), "33 deep": with(`"unknown":` + strings.Repeat("[", 40) + strings.Repeat("]", 40)),
		"half a surrogate as a key": with(`"\ud800":1`), "a NUL as a key": with(`"\u0000":1`), "not UTF-8 as a key": with("\"\xff\":1"), "an endless key": with(`"` + strings.Repeat("k", 200_000) + `":1`), "an empty key": with(`"":1`), "a prototype": with(`"__proto__":{"a":1},"constructor":1`),
		"a hundred thousand keys": with(strings.TrimPrefix(manyKeys(30_000), `{"name":5,`)[:200_000] + `":1`), "a number of a hundred thousand digits": with(`"unknown":` + strings.Repeat("9", 100_000)), "a huge exponent": with(`"unknown":1e999999999999`), "the unknown twice": with(`"unknown":1,"unknown":2`),
	}
	ignored = map[string]bool{}
	for name := range bodies {
		switch name {
		case "half a surrogate as a key", "a huge exponent", "33 deep", "a NUL as a key", "an endless key", "an empty key", "a prototype", "a hundred thousand keys", "a number of a hundred thousand digits", "the unknown twice":
			ignored[name] = true
		}
	}
	for key, value := range o {
		bodies["twice "+key] = "{" + inside + fmt.Sprintf(",%q:%s}", key, value)
		bodies["twice, once escaped, "+key] = "{" + inside + fmt.Sprintf(`,"\u%04x%s":%s}`, key[0], key[1:], value)
	}
	return bodies, ignored
}

func TestHostileCallsOfEveryOperation(t *testing.T) {
	t.Parallel()
	inBubble(t, hostileCalls)
}

func hostileCalls(t *testing.T, s *server) {
	served := s.servedOperations()
	admin := s.user(1000, horde.Moderator)
	s.Engine.Admins = []horde.UserID{admin.id}
	rows := map[string]*roleRow{}
	for _, r := range readRoles(t) {
		if op := r.operation(); rows[op] == nil || rows[op].outcomes["moderator"].status >= 300 {
			rows[op] = r
		}
	}
	calls, tried := 0, 0
	for i, op := range slices.Sorted(maps.Keys(served)) {
		row := rows[op]
		if row == nil {
			continue // TestRoleMatrix says so
		}
		if raced && i%5 != 0 {
			continue // a few are enough: what is wrong with input is no matter of races
		}
		tried++
		x := &target{server: s, pattern: served[op], method: row.method, path: row.path, body: row.bodies[0]}
		x.operation = openapi.document["paths"].(document)[x.pattern].(document)[strings.ToLower(x.method)].(document)
		x.renew(row, admin)
		try := func(why string, req *http.Request) answer {
			t.Helper()
			calls++
			a := x.survive(why, req)
			if x.method != http.MethodGet && (a.status < 300 || a.status == http.StatusForbidden || a.status == http.StatusTooManyRequests) {
				x.renew(row, admin)
			}
			return a
		}
		for _, object := range x.objectsInPath() {
			for _, segment := range hostileSegments {
				a := try(fmt.Sprintf("%.40s for %s", segment, object), x.request(x.where(object, segment), x.valid()))
				if a.header.Get("X-Injected") != "" {
					t.Errorf("%s: a header was injected by %s", x.pattern, segment)
				}
			}
		}
		x.renew(row, admin)
		x.tryQueries(try)
		x.renew(row, admin)
		x.tryHeaders(try)
		x.renew(row, admin)
		x.tryMethods(try, served)
		x.trySpellings(try, func() { x.renew(row, admin) })
		if x.body != "" {
			x.renew(row, admin)
			x.tryBodies(try)
			x.renew(row, admin)
			x.tryMembers(try)
		} else {
			for _, body := range []string{"{", "null", `{"a":1}`, strings.Repeat("[", 10_000), "\xff"} {
				x.renew(row, admin)
				try("a body that nobody asked for", x.request(x.where("", ""), body))
			}
		}
		if a := s.bare(s.request("GET", "/api/v2/status/heartbeat", account{}, nil)); a.status != http.StatusOK || a.at("message") != "OK" {
			t.Fatalf("after %s the node is not well: %d %s", op, a.status, a.text)
		}
	}
	t.Logf("%d hostile calls of %d operations", calls, tried)
	if calls < 100*tried {
		t.Error("too few calls were made")
	}
	s.away(time.Minute)
}

func (x *target) tryQueries(try func(string, *http.Request) answer) {
	x.t.Helper()
	plain := func() *http.Request { return x.request(x.where("", ""), x.valid()) }
	for _, q := range []string{
		"unknown=1", "=", "&&&", "a=1;b=2", "%", "%zz=1", "a=%zz", "%ff=%ff", "%00=%00", "a[]=1&a[b]=2", "apikey=0000000000", "X-Fields=id", "_method=DELETE", strings.Repeat("a=1&", 20_000), strings.Repeat("a", 100_000), strings.Repeat("%25", 10_000),
	} {
		req := plain()
		req.URL.RawQuery = strings.TrimPrefix(req.URL.RawQuery+"&"+q, "&")
		try(fmt.Sprintf("the query %.40s", q), req)
	}
	parameters, _ := x.operation["parameters"].([]any)
	for _, p := range parameters {
		p := p.(document)
		if p["in"] != "query" {
			continue
		}
		name := p["name"].(string)
		for _, v := range hostileValues {
			for how, raw := range map[string]string{"": name + "=" + escapeAll(v), "twice ": name + "=" + escapeAll(v) + "&" + name + "=" + escapeAll(v), "in capitals ": strings.ToUpper(name) + "=" + escapeAll(v)} {
				req := plain()
				req.URL.RawQuery = raw
				try(fmt.Sprintf("%s%s=%.40q", how, name, v), req)
			}
		}
		req := plain()
		req.URL.RawQuery = strings.Repeat(name+"=1&", 10_000)
		try("ten thousand times "+name, req)
	}
}

// escapeAll escapes every byte.
func escapeAll(v string) string {
	var b strings.Builder
	for i := range len(v) {
		fmt.Fprintf(&b, "%%%02x", v[i])
	}
	return b.String()
}

func (x *target) tryHeaders(try func(string, *http.Request) answer) {
	x.t.Helper()
	plain := func() *http.Request { return x.request(x.where("", ""), x.valid()) }
	for _, h := range hostileHeaders() {
		req := plain()
		maps.Copy(req.Header, h)
		try(fmt.Sprintf("headers %.60q", fmt.Sprint(h)), req)
	}
	parameters, _ := x.operation["parameters"].([]any)
	for _, p := range parameters {
		if p := p.(document); p["in"] == "header" {
			for _, v := range hostileValues {
				req := plain()
				req.Header[http.CanonicalHeaderKey(p["name"].(string))] = []string{v}
				try(fmt.Sprintf("%s: %.40q", p["name"], v), req)
				req = plain()
				req.Header[http.CanonicalHeaderKey(p["name"].(string))] = []string{v, v, "other"}
				try(fmt.Sprintf("%s thrice: %.40q", p["name"], v), req)
			}
		}
	}
	if x.body == "" {
		return
	}
	for _, ct := range hostileContentTypes {
		req := plain()
		req.Header["Content-Type"] = []string{ct}
		if a := try(fmt.Sprintf("content type %.40q", ct), req); a.status != http.StatusBadRequest && a.status != http.StatusUnsupportedMediaType {
			x.t.Errorf("%s %s, content type %.40q: %d %.200s", x.method, x.pattern, ct, a.status, a.text)
		}
	}
	for _, encoding := range []string{"gzip", "br", "zstd, gzip", "nonsense", "\xff"} {
		req := plain()
		req.Header["Content-Encoding"] = []string{encoding}
		if a := try(fmt.Sprintf("content encoding %q", encoding), req); a.status != http.StatusBadRequest && a.status != http.StatusUnsupportedMediaType {
			x.t.Errorf("%s %s, content encoding %q: %d %.200s", x.method, x.pattern, encoding, a.status, a.text)
		}
	}
	for _, length := range []int64{-1, 0, 1, 1 << 40} {
		req := plain()
		req.ContentLength = length
		try(fmt.Sprint("a length of ", length), req)
	}
}

func (x *target) tryMethods(try func(string, *http.Request) answer, served map[string]string) {
	x.t.Helper()
	var allowed []string
	for op, pattern := range served {
		if pattern == x.pattern {
			method, _, _ := strings.Cut(op, ":")
			allowed = append(allowed, method)
		}
	}
	if slices.Contains(allowed, http.MethodGet) {
		allowed = append(allowed, http.MethodHead)
	}
	allowed = append(allowed, http.MethodOptions)
	slices.Sort(allowed)
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "LINK", "get", "GETT", "OPTIONS"} {
		if slices.Contains(allowed, method) && method != "OPTIONS" {
			continue
		}
		for _, body := range []any{nil, "{}", "{"} {
			req := x.server.request(method, x.where("", ""), x.as, body)
			a := try("the method "+method, req)
			want := http.StatusMethodNotAllowed
			if method == "OPTIONS" {
				want = http.StatusOK
			}
			if got := a.header.Get("Allow"); a.status != want || got != strings.Join(allowed, ", ") {
				x.t.Errorf("%s %s: got %d with Allow %q, want %d with %q", method, x.pattern, a.status, got, want, strings.Join(allowed, ", "))
			}
		}
	}
	if x.method == http.MethodGet && !strings.Contains(x.pattern, "/events/") {
		get := try("as it is", x.request(x.where("", ""), nil))
		req := x.request(x.where("", ""), nil)
		req.Method = http.MethodHead
		if head := x.bare(req); head.status != get.status || head.header.Get("Content-Type") != get.header.Get("Content-Type") {
			x.t.Errorf("HEAD %s: %d %s, and GET %d %s", x.pattern, head.status, head.header.Get("Content-Type"), get.status, get.header.Get("Content-Type"))
		}
	}
}

// trySpellings spells the path in other ways: each is the same path, or none.
func (x *target) trySpellings(try func(string, *http.Request) answer, renew func()) {
	x.t.Helper()
	for why, spell := range map[string]func(string) string{
		"a slash behind": func(p string) string { return p + "/" }, "slashes": func(p string) string { return strings.ReplaceAll(p, "/v2/", "//v2///") }, "dots": func(p string) string { return strings.Replace(p, "/v2/", "/v2/./x/../", 1) },
		"above the root": func(p string) string { return "/../../.." + p }, "escaped letters": func(p string) string { return strings.Replace(p, "/v2/", "/%76%32/", 1) }, "an escaped slash": func(p string) string { return strings.Replace(p, "/v2/", "%2fv2%2f", 1) },
		"capitals": func(p string) string { return strings.Replace(p, "/api/v2/", "/API/V2/", 1) }, "a parameter of the path": func(p string) string { return p + ";a=b" }, "a file": func(p string) string { return p + ".json" }, "a blank behind": func(p string) string { return p + "%20" },
		"a NUL behind": func(p string) string { return p + "%00" }, "backslashes": func(p string) string { return strings.ReplaceAll(p, "/v2/", "%5cv2%5c") }, "something behind": func(p string) string { return p + "/more" }, "escaped dots": func(p string) string { return strings.Replace(p, "/v2/", "/v2/x/%2e%2e/", 1) },
	} {
		renew()
		path, query, _ := strings.Cut(x.where("", ""), "?")
		req := httptest.NewRequest(x.method, "/", nil)
		sent := x.request("/", x.valid())
		u, err := req.URL.Parse(spell(path))
		if err != nil {
			x.t.Fatal(err)
		}
		u.RawQuery = query
		sent.URL = u
		try("spelt with "+why, sent)
	}
}

func (x *target) tryBodies(try func(string, *http.Request) answer) {
	x.t.Helper()
	bodies, ignored := hostileBodies(x.valid().(string))
	if asked, ok := x.operation["requestBody"].(document); ok && asked["required"] != true {
		ignored["nothing"], ignored["a blank"] = true, true // no body is no field
	}
	for _, why := range slices.Sorted(maps.Keys(bodies)) {
		a := try("the body is "+why, x.request(x.where("", ""), bodies[why]))
		if !ignored[why] && a.status != http.StatusBadRequest && a.status != http.StatusRequestEntityTooLarge {
			x.t.Errorf("%s %s, the body is %s: got %d %.300s, want 400", x.method, x.pattern, why, a.status, a.text)
		}
	}
}

// leaf is a place in a body: what may stand there, and the body around it.
type leaf struct {
	path, kind string
	around     func(any) any
}

// leaves are all places of a schema, those inside of arrays and objects too.
func leaves(schema document, path string, around func(any) any) []leaf {
	schema = resolved(schema)
	list := []leaf{{path, kindOf(schema), around}}
	switch kindOf(schema) {
	case "array":
		list = append(list, leaves(schema["items"].(document), path+".0", func(v any) any { return around([]any{v}) })...)
	case "object":
		base, _ := sample(schema).(document)
		properties, _ := schema["properties"].(document)
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			list = append(list, leaves(properties[name].(document), path+"."+name, func(v any) any {
				o := maps.Clone(base)
				o[name] = v
				return around(o)
			})...)
		}
	}
	return list
}

// hostileJSON are raw values for places of a kind; the strings have ten harmless characters first, for those that must be long.
func hostileJSON(kind string) []string {
	list := []string{`null`, `true`, `"a"`, `[]`, `{}`, `[[[[[[]]]]]]`, `{"a":{"a":{"a":1}}}`, `-1`, `0`, `1e400`, `-1e400`}
	switch kind {
	case "string":
		for _, text := range []string{
			`\u0000`, `\ud800`, `\udc00\ud800`, "\xff", "\xed\xa0\x80", "\x01", "\n", `\u202e\u0007\u001b[31m`, `\uffff\ufffe`, `\ufeff`, `%s%n%x`, `{{7*7}}${7*7}<%= 7*7 %>`, `<script>alert(1)</script>`, `' OR 1=1; DROP TABLE users;--`, `../../../../etc/passwd`,
			`::style::a::b`, `#0`, `#99999999999999999999`, `###`, `{p}{np}{p}`, `{x}{{`, `(((((((((((((((((((((((((`, `\\`, `\u0301\u0301\u0301\u0301`, `🦄🦄🦄🦄🦄🦄🦄🦄🦄🦄`,
		} {
			list = append(list, `"aaaaaaaaaa`+text+`"`)
		}
		list = append(list, `""`, `"          "`, `"https://127.0.0.1/"`, `"https://[::1]:22/"`, `"http://169.254.169.254/latest/meta-data"`, `"file:///etc/passwd"`, `"https://user:pass@example.org/"`, `"data:image/png;base64,AAAA"`, `"0000000000"`, `"00000000-0000-4000-8000-000000000000"`,
			`"`+strings.Repeat("a", 900_000)+`"`, `"`+strings.Repeat(`\u0000`, 1000)+`"`, `"`+strings.Repeat("(a|b)*", 2000)+`"`, `"`+strings.Repeat("a:1.1),", 5000)+`"`)
	case "integer", "number":
		list = append(list, `1.5`, `1.0`, `1e3`, `-0`, `-0.0`, `1e-400`, `5e-324`, `1.7976931348623157e308`, `9007199254740993`, `2147483647`, `2147483648`, `-2147483649`, `9223372036854775807`, `9223372036854775808`, `-9223372036854775809`, `"1"`, `"NaN"`, `0.1e1`, strings.Repeat("9", 400), `0.`+strings.Repeat("0", 400)+`1`)
	case "boolean":
		list = append(list, `1`, `"true"`, `"false"`)
	case "array":
		list = append(list, `[`+strings.Repeat(`"a",`, 50_000)+`"a"]`, `[`+strings.Repeat(`{},`, 50_000)+`{}]`, `[`+strings.Repeat(`1,`, 50_000)+`1]`, `["a","a"]`, `[null]`, `[[]]`)
	case "object":
		list = append(list, manyKeys(5000), `{"":1}`, `{"a\u0000":1}`, `{"\ud800":1}`, `{"__proto__":{}}`, `{"a":1e400}`, `{"a":"\u0000"}`, `{"a":"\ud800"}`, `{"a":`+strings.Repeat("9", 400)+`}`)
	}
	return list
}

// tryMembers puts what nobody means well into every member of the body, at any depth.
func (x *target) tryMembers(try func(string, *http.Request) answer) {
	x.t.Helper()
	schema := x.operation["requestBody"].(document)["content"].(document)["application/json"].(document)["schema"].(document)
	var valid document
	if err := json.Unmarshal([]byte(x.valid().(string)), &valid); err != nil {
		x.t.Fatal(err)
	}
	const here = "<HERE>"
	for _, l := range leaves(schema, "", func(v any) any { return v }) {
		if l.path == "" {
			continue
		}
		for _, raw := range hostileJSON(l.kind) {
			if err := json.Unmarshal([]byte(x.valid().(string)), &valid); err != nil {
				x.t.Fatal(err)
			}
			// The member goes into the body that works.
			top, _, _ := strings.Cut(strings.TrimPrefix(l.path, "."), ".")
			valid[top] = l.around(here).(document)[top]
			var b strings.Builder
			encoder := json.NewEncoder(&b)
			encoder.SetEscapeHTML(false)
			if err := encoder.Encode(valid); err != nil {
				x.t.Fatal(err)
			}
			body := strings.Replace(b.String(), `"`+here+`"`, raw, 1)
			why := fmt.Sprintf("%s = %.60s", strings.TrimPrefix(l.path, "."), raw)
			if a := try(why, x.request(x.where("", ""), body)); a.status < 300 && (strings.Contains(a.text, `\u0000`) || strings.Contains(a.text, "\x00")) {
				x.t.Errorf("%s %s, %s: a NUL was kept: %.300q", x.method, x.pattern, why, a.text)
			}
		}
	}
}

// The filters do not look at a prompt that is too long for any model.
func TestPromptsThatAreTooLongAreRefusedUnseen(t *testing.T) {
	t.Parallel()
	s := open(t)
	mod, u := s.user(0, horde.Moderator), s.user(1000, 0)
	s.exampleFilters(mod)
	long := "zebracorn vermillex " + strings.Repeat("a", horde.LongestPrompt(horde.Image))
	s.refused(s.call("POST", "/generate/async", u, fields{"prompt": long, "replacement_filter": false}), http.StatusBadRequest, "InvalidPromptSize")
	if a := s.want(s.get(u.path(), mod), http.StatusOK); a.number("suspicious") != 0 {
		t.Error("the filters have seen it")
	}
	s.refused(s.call("POST", "/generate/text/async", u, fields{"prompt": strings.Repeat("a", horde.LongestPrompt(horde.Text)+1)}), http.StatusBadRequest, "InvalidPromptSize")
	s.refused(s.call("POST", "/generate/async", account{0, "bogus"}, fields{"prompt": long}), http.StatusUnauthorized, "InvalidAPIKey")
}
