// SPDX-License-Identifier: AGPL-3.0-or-later

package worker

import (
	"context"
	"errors"
	"time"

	"horde/client"
)

// offer hands in one result until the server takes it, refuses it for good, or time is up. submit does one call; faulted
// asks it to hand in a fault instead. The outcome tells whether the result came late or the account was refused.
func (l *loop) offer(job *popped, id string, submit func(ctx context.Context, faulted bool) (float64, error), isFault bool) outcome {
	name := l.kind.label()
	limit := job.deadline().Add(submitGrace)
	faulted := isFault
	var err error
	for try := 1; ; try++ {
		ctx, cancel := context.WithTimeout(l.p.last, submitTimeout)
		var kudos float64
		kudos, err = submit(ctx, faulted)
		cancel()
		switch v := judgeSubmit(err); v {
		case accepted, duplicate:
			l.p.board.change(name, func(k *KindStatus) {
				if faulted {
					k.Faulted++
				} else {
					k.Submitted++
					k.Earned += kudos
				}
			})
			if !faulted {
				l.log.Info("submitted", "id", id, "kudos", kudos, "after", time.Since(job.at).Round(100*time.Millisecond))
			}
			// Past four fifths of its time a result counts as nearly late.
			return outcome{late: !faulted && time.Since(job.at) > job.ttl*4/5}
		case tooSlow:
			l.p.board.change(name, func(k *KindStatus) { k.Slow++ })
			l.log.Warn("too late", "id", id, "after", time.Since(job.at).Round(time.Second), "limit", job.ttl)
			return outcome{late: true}
		case dropped:
			l.p.board.change(name, func(k *KindStatus) { k.Lost++ })
			l.log.Info("the horde does not want this job any more", "id", id)
			return outcome{}
		case refused:
			return outcome{fatal: exitf(ExitAccount, "%s: the horde refuses results: %w", name, err)}
		case invalid:
			if faulted {
				l.log.Error("submit refused", "id", id, "error", err)
				return outcome{}
			}
			// The result cannot be delivered; the requester at least gets another worker.
			l.log.Error("result refused; handing the job back", "id", id, "error", err)
			faulted = true
			continue
		}
		pause := backoff(try)
		var e *client.Error
		if errors.As(err, &e) {
			pause = max(pause, e.RetryAfter)
		}
		if try >= submitTries || time.Now().Add(pause).After(limit) {
			l.p.board.change(name, func(k *KindStatus) { k.Lost++ })
			l.log.Error("giving a result up: the horde cannot be reached", "id", id, "tries", try, "error", err)
			return outcome{late: true}
		}
		if try == 1 {
			l.log.Warn("submit failed; trying again", "id", id, "error", err)
		}
		if !wait(l.p.last, pause, nil) {
			l.log.Error("giving a result up: told to stop", "id", id, "error", err)
			return outcome{}
		}
	}
}

const (
	uploadTries = 10
	// largeUpload is where the time limit of one try grows from shortUpload to longUpload.
	largeUpload = 5 << 20
	shortUpload = 10 * time.Second
	longUpload  = 60 * time.Second
)

// uploadPause is the pause before try n+1: none, 1, 2 and then 5 seconds.
func uploadPause(n int) time.Duration {
	return [...]time.Duration{0, 1, 2, 5}[min(n-1, 3)] * time.Second
}

// upload puts a picture where the job says. The error is that of the last try.
func (l *loop) upload(job *popped, id, target string, data []byte) error {
	limit := shortUpload
	if len(data) > largeUpload {
		limit = longUpload
	}
	var err error
	for try := 1; try <= uploadTries; try++ {
		ctx, cancel := context.WithTimeout(l.p.last, limit)
		err = l.p.horde.Upload(ctx, target, data)
		cancel()
		if err == nil {
			return nil
		}
		if try == 1 {
			l.log.Warn("upload failed; trying again", "id", id, "error", err)
		}
		if time.Now().After(job.deadline()) || !wait(l.p.last, uploadPause(try), nil) {
			return err
		}
	}
	return err
}

// merge joins the outcomes of the results of one job.
func (o outcome) merge(other outcome) outcome {
	if other.failed {
		o.failed, o.err = true, other.err
	}
	o.late = o.late || other.late
	if o.fatal == nil {
		o.fatal = other.fatal
	}
	return o
}
