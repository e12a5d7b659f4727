// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"horde/client"
)

// popAnswer is what to do after a failed pop.
type popAnswer struct {
	// pause before the next pop; 0 means: back off exponentially.
	pause time.Duration
	// state is shown to the operator.
	state string
	// stop ends the kind with this exit code; account ends all kinds.
	stop    int
	account bool
	// maintenance: the worker is in maintenance, where its owner's own jobs still come.
	maintenance bool
	// invalid: the request itself was refused; ten in a row end the kind.
	invalid bool
	// priority: the priority list is what was refused.
	priority bool
}

// Pauses after refusals that time alone mends.
const (
	maintenancePause = 15 * time.Second
	modePause        = 60 * time.Second
	longPause        = 300 * time.Second
	limitPause       = 2 * time.Second
	// maxInvalid is how many refused pops in a row end a kind.
	maxInvalid = 10
)

// judgePop maps the answer to a pop to what the workers chapter, section 4.6, asks for. Only status and code count;
// texts differ between servers.
func judgePop(err error) popAnswer {
	var e *client.Error
	if !errors.As(err, &e) {
		return popAnswer{state: "no connection to the horde: " + err.Error()}
	}
	switch e.RC {
	case "InvalidPriorityUsername":
		return popAnswer{pause: limitPause, state: e.Message, invalid: true, priority: true}
	case "PolymorphicNameConflict", "ProfaneWorkerName", "ProfaneBridgeAgent":
		return popAnswer{stop: ExitConfig, state: e.Message}
	case "MaintenanceMode":
		return popAnswer{pause: modePause, state: "horde in maintenance: " + e.Message}
	case "InvalidAPIKey", "AnonForbiddenWorker", "DeletedUser":
		return popAnswer{stop: ExitAccount, account: true, state: e.Message}
	case "WrongCredentials", "WorkerInviteOnly", "TooManyWorkers", "TooManyWorkersTrusted", "TooManySameIPs":
		return popAnswer{stop: ExitAccount, state: e.Message}
	case "WorkerMaintenance":
		return popAnswer{pause: maintenancePause, maintenance: true, state: "maintenance: " + e.Message}
	case "WorkerFlaggedMaintenance", "TimeoutIP", "TooManyNewIPs", "UnsafeIP":
		return popAnswer{pause: longPause, state: e.Message}
	}
	switch {
	case e.Status == http.StatusTooManyRequests:
		return popAnswer{pause: max(limitPause, e.RetryAfter) + time.Duration(rand.Int64N(int64(time.Second))), state: "rate limit"}
	case e.Status == http.StatusUnauthorized:
		return popAnswer{stop: ExitAccount, account: true, state: e.Message}
	case e.Status == http.StatusForbidden:
		return popAnswer{pause: longPause, state: e.Message}
	case e.Status >= 500:
		return popAnswer{pause: e.RetryAfter, state: "horde: " + e.Message}
	case e.Status == http.StatusBadRequest:
		return popAnswer{pause: modePause, state: "pop refused: " + e.Error(), invalid: true}
	}
	return popAnswer{pause: modePause, state: "pop refused: " + e.Error(), invalid: true}
}

// verdict is what became of a submit.
type verdict int

const (
	accepted  verdict = iota
	duplicate         // an earlier try got through
	tooSlow           // the horde gave the job up before
	dropped           // the job does not exist any more, or was refused
	tryAgain
	refused // the account or the key is refused
	invalid // the body did not validate
)

// judgeSubmit maps the answer to a submit.
func judgeSubmit(err error) verdict {
	if err == nil {
		return accepted
	}
	var e *client.Error
	if !errors.As(err, &e) {
		return tryAgain
	}
	switch {
	case e.RC == "DuplicateGen":
		return duplicate
	case e.RC == "AbortedGen":
		return tooSlow
	case e.RC == "InvalidJobID" || e.Status == http.StatusNotFound:
		return dropped
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
		return refused
	case e.Status == http.StatusTooManyRequests || e.Status >= 500:
		return tryAgain
	}
	return invalid
}

const (
	// submitTries and submitGrace bound how long a result is offered: ten times, and a minute beyond its time limit.
	submitTries = 10
	submitGrace = 60 * time.Second
	// submitTimeout bounds one call.
	submitTimeout = 60 * time.Second
	// popTimeout bounds a pop, beside what the horde is asked to wait for a job.
	popTimeout = 40 * time.Second
	// popGrace is how long a pop goes on when the worker is to stop: a horde that does not wait has answered by then.
	popGrace = 2 * time.Second
)

// backoff is 2, 4, 8 up to 60 seconds, a fifth more or less.
func backoff(failures int) time.Duration {
	d := min(2*time.Second<<min(max(failures-1, 0), 10), 60*time.Second)
	return d + time.Duration((rand.Float64()-0.5)*0.4*float64(d))
}

// wait sleeps; it returns false when ctx or stop ended first.
func wait(ctx context.Context, d time.Duration, stop <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-stop:
	}
	return false
}
