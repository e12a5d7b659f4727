// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"time"

	"horde/internal/api"
)

// The rate limits of the API, as the errors chapter has them in section 8.2. Operations that are not named here have
// [api.DefaultLimits], 90 a minute; a heartbeat has none, and neither has anything that is not an operation.
//
// Two limits are raised above the reference, because programs that poll as they were told to ran into them: text status from
// 60 to 120 a minute, image status from 10 to 12. The limits of 20 an hour are for writing only.
var (
	// LimitsSubmit are for POST /generate/async and /generate/text/async.
	LimitsSubmit = api.Limits{
		{By: api.ByPath, Amount: 2, Per: time.Second, Relaxed: 10},
		{By: api.ByKey, Amount: 2, Per: time.Second, Relaxed: 60, Anonymous: 60},
		{By: api.ByPath, Amount: 90, Per: time.Minute, Relaxed: 300},
	}
	// LimitsImageStatus are for GET and DELETE /generate/status/{id}.
	LimitsImageStatus = api.Limits{{By: api.ByPath, Amount: 12, Per: time.Minute}}
	// LimitsTextStatus are for GET and DELETE /generate/text/status/{id}.
	LimitsTextStatus = api.Limits{{By: api.ByPath, Amount: 120, Per: time.Minute}}
	// LimitsCheck are for GET /generate/check/{id} and for GET and DELETE /interrogate/status/{id}.
	LimitsCheck = api.Limits{{By: api.ByPath, Amount: 10, Per: time.Second}}
	// LimitsRate are for POST /generate/rate/{id} and PUT /sharedkeys.
	LimitsRate = api.Limits{{By: api.ByPath, Amount: 5, Per: time.Minute}}
	// LimitsWorker are for every pop and submit.
	LimitsWorker = api.Limits{{By: api.ByAddress, Amount: 60, Per: time.Second}}
	// LimitsCommunity are for /workers/{id}, /teams and /teams/{id}.
	LimitsCommunity = api.Limits{{By: api.ByPath, Amount: 30, Per: time.Minute}}
	// LimitsUser are for /users/{id}.
	LimitsUser = api.Limits{{By: api.ByPath, Amount: 60, Per: time.Minute}}
	// LimitsModes are for /status/modes, both methods together.
	LimitsModes = api.Limits{{By: api.ByAddress, Amount: 30, Per: time.Minute}}
	// LimitsKudosTransfer are for POST /kudos/transfer.
	LimitsKudosTransfer = api.Limits{
		{By: api.ByKey, Amount: 1, Per: time.Second},
		{By: api.ByKey, Amount: 90, Per: time.Hour, Relaxed: 600},
	}
	// LimitsStyles are for /styles/image, /styles/image/{id}/example, /styles/text/{id}, /collections and
	// /collections/{id}, and for reading /styles/image/{id} and /styles/text.
	LimitsStyles = api.Limits{
		{By: api.ByPath, Amount: 2, Per: time.Second, Relaxed: 10},
		{By: api.ByPath, Amount: 90, Per: time.Minute, Relaxed: 300},
	}
	// LimitsStyleWrites are for PATCH and DELETE /styles/image/{id} and for POST /styles/text.
	LimitsStyleWrites = api.Limits{
		{By: api.ByPath, Amount: 2, Per: time.Second, Relaxed: 10},
		{By: api.ByPath, Amount: 20, Per: time.Hour},
	}
)
