// SPDX-License-Identifier: AGPL-3.0-or-later

package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"horde/internal/engine"
	"horde/internal/horde"
)

// The administration of a running horde goes through a socket in its data directory: who may write there may do everything.
// When no node runs, Administer opens the record itself, so the same commands work either way and there are never two
// writers.

const adminSocket = "admin.sock"

// helloWithin is how long a process that has its socket open may take to say that it is there. One that is being started,
// or is stopped, may have the socket and not answer.
const helloWithin = 10 * time.Second

// commander carries out a command of an administrator.
type commander func(ctx context.Context, name string, body []byte) ([]byte, error)

// adminServer answers on the socket.
type adminServer struct {
	listener net.Listener
	server   *http.Server
}

// listenAdmin opens the socket in a data directory. The caller has made sure that no other process uses the directory.
func listenAdmin(data string, do commander) (*adminServer, error) {
	path := filepath.Join(data, adminSocket)
	_ = os.Remove(path) // a leftover
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("open the administration socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	mux := http.NewServeMux()
	profiles(mux)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("POST /{command}", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxCommand))
		if err != nil {
			return
		}
		answer, err := do(r.Context(), r.PathValue("command"), body)
		answerCommand(w, answer, err)
	})
	return &adminServer{l, &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}}, nil
}

// serve answers until ctx is done or the server is closed.
func (a *adminServer) serve(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { _ = a.server.Close() })()
	_ = a.server.Serve(a.listener)
}

// maxCommand bounds a command in bytes.
const maxCommand = 1 << 20

// answerCommand tells an administrator what became of a command.
func answerCommand(w http.ResponseWriter, answer []byte, err error) {
	var refusal *horde.Error
	switch {
	case errors.As(err, &refusal):
		w.WriteHeader(max(refusal.Status, http.StatusBadRequest))
		answer, _ = json.Marshal(refusal)
	case err != nil:
		w.WriteHeader(http.StatusInternalServerError)
		answer, _ = json.Marshal(&horde.Error{Status: http.StatusInternalServerError, Message: err.Error()})
	}
	_, _ = w.Write(answer)
}

func (a *adminServer) close() {
	if a != nil {
		_ = a.server.Close()
		_ = a.listener.Close()
	}
}

// command carries out one command of an administrator on an engine.
func command(ctx context.Context, e *engine.Engine, name string, body []byte) ([]byte, error) {
	switch name {
	case "create":
		var n engine.NewUser
		if err := json.Unmarshal(body, &n); err != nil {
			return nil, err
		}
		view, key, err := e.Register(ctx, n)
		if err != nil {
			return nil, err
		}
		return json.Marshal(Account{UserView: view, Key: key})
	case "list":
		views, err := e.AllUsers(ctx)
		if err != nil {
			return nil, err
		}
		return json.Marshal(views)
	case "show":
		var id horde.UserID
		if err := json.Unmarshal(body, &id); err != nil {
			return nil, err
		}
		view, err := e.ShowUser(ctx, id)
		if err != nil {
			return nil, err
		}
		return json.Marshal(Account{UserView: view})
	case "set":
		var s Setting
		if err := json.Unmarshal(body, &s); err != nil {
			return nil, err
		}
		return set(ctx, e, s)
	case "pay":
		var p Payment
		if err := json.Unmarshal(body, &p); err != nil {
			return nil, err
		}
		if _, err := e.PayMonthly(ctx, p.User, p.KeepDate); err != nil {
			return nil, err
		}
		view, err := e.ShowUser(ctx, p.User)
		if err != nil {
			return nil, err
		}
		return json.Marshal(Account{UserView: view})
	}
	if name == "audit" {
		report, err := auditRunning(ctx, e)
		if err != nil {
			return nil, err
		}
		return json.Marshal(report)
	}
	return nil, fmt.Errorf("unknown command %q", name)
}

// Account is a user as an administrator sees it. Key is set when it was just made.
type Account struct {
	engine.UserView
	Key string
}

// Setting is a change that an administrator makes.
type Setting struct {
	User   horde.UserID
	Change horde.UserChange
	// NewKey makes another API key; the old one is dead at once.
	NewKey bool
}

// Payment is that an administrator gives an account its monthly kudos out of turn.
type Payment struct {
	User horde.UserID
	// KeepDate gives them on top of those that come by the clock, in place of the next ones.
	KeepDate bool
}

func set(ctx context.Context, e *engine.Engine, s Setting) ([]byte, error) {
	if s.Change != (horde.UserChange{}) {
		if _, err := e.ChangeUser(ctx, engine.Authority{Operator: true}, s.User, &s.Change); err != nil {
			return nil, err
		}
	}
	key := ""
	if s.NewKey {
		var err error
		if key, err = e.NewKeyFor(ctx, s.User); err != nil {
			return nil, err
		}
	}
	view, err := e.ShowUser(ctx, s.User)
	if err != nil {
		return nil, err
	}
	return json.Marshal(Account{UserView: view, Key: key})
}

// Administer carries out a command on a horde, whether a node serves it or not. The answer is decoded into out.
func Administer(ctx context.Context, cfg Config, name string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	answer, err := ask(ctx, filepath.Join(cfg.Data, adminSocket), name, body)
	switch {
	case errors.Is(err, errNoNode) && cfg.Database != "":
		answer, err = administerShared(ctx, cfg, name, body)
	case errors.Is(err, errNoNode):
		var n *Node
		if n, err = Open(ctx, cfg); err != nil {
			return err
		}
		answer, err = command(ctx, n.Engine, name, body)
		err = errors.Join(err, n.Close())
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, out)
}

// Running tells whether a node that keeps its things in dir answers, wherever its record is.
func Running(dir string) bool {
	c, err := net.DialTimeout("unix", filepath.Join(dir, adminSocket), time.Second)
	if err != nil {
		return false
	}
	return c.Close() == nil
}

// errNoNode says that nobody answers on the socket.
var errNoNode = errors.New("no node is running")

func ask(ctx context.Context, socket, name string, body []byte) ([]byte, error) {
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, "unix", socket)
			if err != nil {
				return nil, errNoNode
			}
			return c, nil
		},
		DisableKeepAlives: true,
	}}
	// The command itself may take any time: an audit reads the whole ledger.
	hello, cancel := context.WithTimeout(ctx, helloWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(hello, http.MethodGet, "http://admin/", nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	switch {
	case err == nil:
		res.Body.Close()
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return nil, fmt.Errorf("the server that has %s does not answer: it is just starting, or hangs", socket)
	default:
		return nil, err
	}
	if req, err = http.NewRequestWithContext(ctx, http.MethodPost, "http://admin/"+name, bytes.NewReader(body)); err != nil {
		return nil, err
	}
	if res, err = client.Do(req); err != nil {
		return nil, err
	}
	return answered(res)
}

// answered reads what became of a command.
func answered(res *http.Response) ([]byte, error) {
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		refusal := &horde.Error{}
		if json.Unmarshal(answer, refusal) != nil {
			return nil, fmt.Errorf("the node answered %s", res.Status)
		}
		return nil, refusal
	}
	return answer, nil
}
