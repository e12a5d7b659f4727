// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/moderation"
)

// The review of accounts and workers, evidence, and reports: operations that the reference does not have (newer chapter, 1.4 to
// 1.7).

type overviewInput struct {
	api.Key
	Limit       *int   `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"How many accounts or workers a section shows."`
	WorkerType  string `query:"worker_type" doc:"Only workers for image, text or interrogation; may be repeated."`
	SuspicionID string `query:"suspicion_id" doc:"Only workers with this suspicion; may be repeated."`
	Online      *bool  `query:"online" doc:"Only workers that are online, or that are not."`
	Sort        string `query:"sort" enum:"suspicion,last_check_in,name,owner" default:"suspicion" doc:"The order of the workers: suspicion, last_check_in, name or owner."`
	Suspicious  *bool  `query:"suspicious" doc:"Also show all accounts and workers that collected suspicions."`
}

type promptEventsInput struct {
	api.Key
	Limit   *int   `query:"limit" minimum:"1" maximum:"100" default:"50"`
	Before  *int64 `query:"before_id" doc:"Only events before this one."`
	Event   *int64 `query:"event_id"`
	User    *int64 `query:"user_id"`
	Proxied string `query:"proxied_account"`
	Address string `query:"ipaddr" doc:"Events of this address, also those that no longer tell it. Of IPv6 its /64 counts."`
	Subject string `query:"ip_subject_key"`
	Worker  string `query:"worker_id"`
	Reason  string `query:"reason" doc:"filter_rejection, model_rejection or worker_csam; may be repeated."`
	Since   string `query:"since" doc:"A date and time of ISO 8601; included."`
	Until   string `query:"until" doc:"A date and time of ISO 8601; not included."`
}

type promptNoteInput struct {
	api.Key
	Event string `path:"event_id"`
	Body  promptNoteBody
}

type promptNoteBody struct {
	Note *string `json:"note" required:"true" minLength:"1" maxLength:"2000"`
}

type suspicionEventsInput struct {
	api.Key
	Limit  *int   `query:"limit" minimum:"1" maximum:"500" default:"100"`
	Before *int64 `query:"before_id" doc:"Only events before this one."`
	Worker string `query:"worker_id"`
	User   *int64 `query:"user_id"`
}

func (a *API) moderation(r *api.Router) {
	ours := api.Published{Ours: true}
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/operations/moderation", Limits: api.DefaultLimits, ID: "get_operations_moderation",
		Summary: "Accounts and workers that wait for a moderator.", Refuses: []int{400, 401, 403}, Published: ours,
	}, a.overview)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/operations/moderation/prompts", Limits: api.DefaultLimits, ID: "get_operations_moderation_prompts",
		Summary: "Prompts that were refused or reported, for moderators.", Refuses: []int{400, 401, 403}, Published: ours,
	}, a.promptEvents)
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/operations/moderation/prompts/{event_id}/notes", Limits: api.DefaultLimits,
		ID: "post_operations_moderation_prompt_notes", Summary: "Write a note on such a prompt; it is kept from then on.",
		Example: `{"note":"Seen, and the account spoken to."}`, Success: []int{http.StatusCreated}, Refuses: []int{400, 401, 403, 404}, Published: ours,
	}, a.notePrompt)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/operations/moderation/worker_suspicion_events", Limits: api.DefaultLimits,
		ID: "get_operations_moderation_worker_suspicion_events", Summary: "Reports against workers, for moderators.",
		Refuses: []int{400, 401, 403}, Published: ours,
	}, a.suspicionEvents)
}

type moderationOverview struct {
	PromotionThreshold       *float64         `json:"promotion_threshold" doc:"Evaluating kudos above which an account is trusted by itself; null for never."`
	SuspicionThreshold       int              `json:"suspicion_threshold"`
	WorkerSuspicionThreshold int              `json:"worker_suspicion_threshold"`
	Blocked                  []reviewedUser   `json:"promotion_blocked_users"`
	Eligible                 []reviewedUser   `json:"promotion_eligible_users"`
	Suspicious               *[]reviewedUser  `json:"suspicious_users,omitempty"`
	PausedWorkers            []reviewedWorker `json:"paused_workers"`
	PausedWorkersTotal       int              `json:"paused_workers_total"`
}

type reviewedUser struct {
	ID                horde.UserID      `json:"id"`
	Username          string            `json:"username"`
	LastActive        string            `json:"last_active" published:"format=date-time"`
	AccountAge        int64             `json:"account_age"`
	Kudos             float64           `json:"kudos"`
	EvaluatingKudos   float64           `json:"evaluating_kudos"`
	WorkerKudos       float64           `json:"worker_kudos"`
	Suspicious        int               `json:"suspicious"`
	WorkerCount       int               `json:"worker_count"`
	PausedWorkerCount int               `json:"paused_worker_count"`
	WorkerFulfilments int64             `json:"worker_fulfilments"`
	SuspicionReasons  []suspicionReason `json:"suspicion_reasons"`
	Flagged           bool              `json:"flagged"`
	Deleted           bool              `json:"deleted"`
	VPN               bool              `json:"vpn"`
	Contact           *string           `json:"contact"`
	AdminComment      *string           `json:"admin_comment"`
}

type reviewedWorker struct {
	Type              string            `json:"type" enum:"image,text,interrogation"`
	Name              string            `json:"name"`
	ID                string            `json:"id"`
	Owner             string            `json:"owner"`
	OwnerID           horde.UserID      `json:"owner_id"`
	BridgeAgent       string            `json:"bridge_agent"`
	MaintenanceMsg    *string           `json:"maintenance_msg"`
	Contact           *string           `json:"contact"`
	Suspicious        int               `json:"suspicious"`
	OwnerSuspicion    int               `json:"owner_suspicion"`
	RequestsFulfilled int64             `json:"requests_fulfilled"`
	AbortedJobs       int               `json:"aborted_jobs"`
	Online            bool              `json:"online"`
	MaintenanceMode   bool              `json:"maintenance_mode"`
	Paused            bool              `json:"paused"`
	OwnerTrusted      bool              `json:"owner_trusted"`
	OwnerFlagged      bool              `json:"owner_flagged"`
	LastCheckIn       string            `json:"last_check_in" published:"format=date-time"`
	Models            []string          `json:"models"`
	SuspicionReasons  []suspicionReason `json:"suspicion_reasons"`
}

type suspicionReason struct {
	ID          int    `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
	Count       int    `json:"count"`
}

func reasons(counts []engine.SuspicionCount) []suspicionReason {
	out := make([]suspicionReason, len(counts))
	for i, c := range counts {
		out[i] = suspicionReason{int(c.Suspicion), c.Suspicion.Name(), c.Suspicion.Description(), c.Count}
	}
	return out
}

func reviewedUsers(list []engine.ReviewedUser) []reviewedUser {
	out := make([]reviewedUser, len(list))
	for i := range list {
		u := &list[i]
		out[i] = reviewedUser{
			ID: u.ID, Username: u.Alias(), LastActive: utc(u.LastActive), AccountAge: int64(u.Age.Seconds()), Kudos: u.Kudos.Float(),
			EvaluatingKudos: u.Escrow.Float(), WorkerKudos: u.WorkerKudos.Float(), Suspicious: len(u.Suspicions), WorkerCount: u.Workers,
			PausedWorkerCount: u.PausedWorkers, WorkerFulfilments: u.WorkerFulfilled, SuspicionReasons: reasons(u.SuspicionsByKind),
			Flagged: u.Has(horde.Flagged), Deleted: u.Has(horde.Deleted), VPN: u.Has(horde.VPN), Contact: present(u.Contact),
			AdminComment: present(u.AdminComment),
		}
	}
	return out
}

func reviewedWorkers(list []engine.ReviewedWorker) []reviewedWorker {
	out := make([]reviewedWorker, len(list))
	for i := range list {
		w := &list[i]
		out[i] = reviewedWorker{
			Type: w.Kind.String(), Name: w.Name, ID: w.ID.String(), Owner: w.OwnerAlias, OwnerID: w.Owner, BridgeAgent: w.Agent,
			Contact: present(w.OwnerContact), Suspicious: len(w.Suspicions), OwnerSuspicion: w.OwnerSuspicions,
			RequestsFulfilled: w.Fulfilled, AbortedJobs: w.Uncompleted, Online: w.Online, MaintenanceMode: w.Maintenance, Paused: w.Paused,
			OwnerTrusted: w.OwnerTrusted, OwnerFlagged: w.OwnerFlagged, LastCheckIn: utc(w.LastCheckIn),
			Models: append([]string{}, w.Models...), SuspicionReasons: reasons(w.SuspicionsByKind),
		}
		if w.Maintenance {
			out[i].MaintenanceMsg = present(w.MaintenanceMessage)
		}
	}
	return out
}

// utc is a time as this part of the API writes it: whole seconds, with an offset in place of a letter.
func utc(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05-07:00") }

// invalid refuses an argument.
func invalid(argument, why string) error { return horde.Invalid(map[string]string{argument: why}) }

func (a *API) overview(ctx context.Context, c *api.Call[overviewInput]) (int, *moderationOverview, error) {
	s := engine.ReviewSearch{Limit: 100, Online: c.In.Online, SortBy: c.In.Sort}
	if c.In.Limit != nil {
		s.Limit = *c.In.Limit
	}
	if c.In.Suspicious != nil && *c.In.Suspicious {
		s.AllAccounts, s.AllWorkers = true, true
	}
	if !slices.Contains([]string{"", "suspicion", "last_check_in", "name", "owner"}, c.In.Sort) {
		return 0, nil, invalid("sort", "it is suspicion, last_check_in, name or owner")
	}
	query := c.Request.URL.Query()
	for _, name := range query["worker_type"] {
		i := slices.IndexFunc(horde.Kinds, func(k horde.Kind) bool { return k.String() == name })
		if i < 0 {
			return 0, nil, invalid("worker_type", "it is image, text or interrogation")
		}
		s.Kinds = append(s.Kinds, horde.Kinds[i])
	}
	for _, text := range query["suspicion_id"] {
		id, err := strconv.ParseUint(text, 10, 8)
		if err != nil {
			return 0, nil, invalid("suspicion_id", "it is a small number")
		}
		s.Suspicions = append(s.Suspicions, horde.Suspicion(id))
	}
	v, err := a.engine.Review(ctx, c.In.APIKey, s)
	if err != nil {
		return 0, nil, err
	}
	out := &moderationOverview{
		SuspicionThreshold: horde.SuspicionLimit, WorkerSuspicionThreshold: horde.SuspicionLimit,
		Blocked: reviewedUsers(v.Blocked), Eligible: reviewedUsers(v.Eligible), PausedWorkers: reviewedWorkers(v.Workers),
		PausedWorkersTotal: v.Total,
	}
	if v.Threshold > 0 {
		threshold := v.Threshold.Float()
		out.PromotionThreshold = &threshold
	}
	if s.AllAccounts {
		suspicious := reviewedUsers(v.Suspicious)
		out.Suspicious = &suspicious
	}
	return http.StatusOK, out, nil
}

type promptEvents struct {
	Events     []promptEvent   `json:"events"`
	NextCursor *int64          `json:"next_cursor"`
	Retention  promptRetention `json:"retention"`
}

type promptRetention struct {
	TextDays    int `json:"text_days"`
	AddressDays int `json:"ipaddr_days"`
	CeilingDays int `json:"ceiling_days"`
}

type promptEvent struct {
	ID               int64         `json:"id"`
	Created          string        `json:"created" published:"format=date-time"`
	UserID           *horde.UserID `json:"user_id"`
	ProxiedAccount   *string       `json:"proxied_account"`
	RequestID        *string       `json:"request_id"`
	WorkerID         *string       `json:"worker_id"`
	Address          *string       `json:"ipaddr"`
	SubjectKey       *string       `json:"ip_subject_key"`
	OriginText       *string       `json:"origin_text"`
	Models           []string      `json:"models"`
	Reason           string        `json:"reason"`
	Outcome          string        `json:"outcome"`
	SubmittedPrompt  *string       `json:"submitted_prompt"`
	ModerationPrompt *string       `json:"moderation_prompt"`
	EffectivePrompt  *string       `json:"effective_prompt"`
	TextState        string        `json:"text_state" enum:"pending,stored,none"`
	TextURL          *string       `json:"text_url"`
	TextSHA256       *string       `json:"text_sha256"`
	TextChars        *int          `json:"text_chars"`
	TextTruncated    bool          `json:"text_truncated"`
	TextRedacted     bool          `json:"text_redacted"`
	AddressRedacted  bool          `json:"ipaddr_redacted"`
	Anonymized       bool          `json:"anonymized"`
	HoldSource       *string       `json:"hold_source"`
	Notes            []promptNote  `json:"notes"`
}

type promptNote struct {
	ID       int64        `json:"id"`
	AuthorID horde.UserID `json:"author_id"`
	Note     string       `json:"note"`
	Created  string       `json:"created" published:"format=date-time"`
}

func notedPrompt(n moderation.Note) promptNote {
	return promptNote{n.ID, n.Author, n.Text, utc(n.Created)}
}

func detailedPrompt(v *engine.EvidenceView) promptEvent {
	p := promptEvent{
		ID: v.ID, Created: utc(v.Created), UserID: v.User, ProxiedAccount: present(v.ProxiedAccount), RequestID: present(v.Request),
		WorkerID: present(v.Worker), Address: present(v.Address), SubjectKey: present(v.Subject), Models: append([]string{}, v.Models...),
		Reason: v.Reason, Outcome: v.Outcome, SubmittedPrompt: present(v.Submitted), ModerationPrompt: present(v.Judged),
		EffectivePrompt: present(v.Effective), TextState: "none", TextTruncated: v.Truncated, TextRedacted: v.TextRedacted,
		AddressRedacted: v.AddressRedacted, Anonymized: v.Anonymized, HoldSource: present(v.HeldBy), Notes: make([]promptNote, len(v.Notes)),
	}
	if v.HasText() {
		p.TextState = "pending"
	}
	for i, n := range v.Notes {
		p.Notes[i] = notedPrompt(n)
	}
	return p
}

// moment reads a date and time; empty is none.
func moment(argument, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	// A plus sign that was not encoded arrives as a space.
	text = strings.ReplaceAll(text, " ", "+")
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04:05.999999", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, invalid(argument, "it is no date and time of ISO 8601")
}

// userNumber is the id that a query names; one that no user has finds nothing.
func userNumber(id *int64) *horde.UserID {
	if id == nil {
		return nil
	}
	u := horde.UserID(-1)
	if *id >= 0 && *id <= 1<<31-1 {
		u = horde.UserID(*id)
	}
	return &u
}

func (a *API) promptEvents(ctx context.Context, c *api.Call[promptEventsInput]) (int, *promptEvents, error) {
	in := &c.In
	s := moderation.Search{
		Limit: 50, User: userNumber(in.User), Proxied: in.Proxied, Subject: in.Subject, Worker: in.Worker, Reasons: c.Request.URL.Query()["reason"],
	}
	if in.Limit != nil {
		s.Limit = *in.Limit
	}
	for _, id := range []struct {
		from *int64
		to   *int64
	}{{in.Before, &s.Before}, {in.Event, &s.ID}} {
		if id.from != nil {
			if *id.to = *id.from; *id.to <= 0 {
				*id.to = -1 // finds nothing, as it should
			}
		}
	}
	for _, reason := range s.Reasons {
		if !slices.Contains(moderation.Reasons, reason) {
			return 0, nil, invalid("reason", "it is one of "+strings.Join(moderation.Reasons, ", "))
		}
	}
	var err error
	if s.From, err = moment("since", in.Since); err != nil {
		return 0, nil, err
	}
	if s.To, err = moment("until", in.Until); err != nil {
		return 0, nil, err
	}
	page, err := a.engine.Evidence(ctx, in.APIKey, s, in.Address)
	if err != nil {
		return 0, nil, err
	}
	out := &promptEvents{
		Events:    make([]promptEvent, len(page.Events)),
		Retention: promptRetention{moderation.TextDays, moderation.AddressDays, moderation.CeilingDays},
	}
	for i := range page.Events {
		out.Events[i] = detailedPrompt(&page.Events[i])
	}
	if page.Next != 0 {
		out.NextCursor = &page.Next
	}
	return http.StatusOK, out, nil
}

func (a *API) notePrompt(ctx context.Context, c *api.Call[promptNoteInput]) (int, *promptNote, error) {
	id, err := strconv.ParseUint(c.In.Event, 10, 63)
	if err != nil {
		id = 0 // there is none, but the key comes first
	}
	text := *c.In.Body.Note
	switch {
	case c.NUL:
		return 0, nil, horde.ErrNulByte
	case utf8.RuneCountInString(text) > moderation.MaxNote:
		return 0, nil, invalid("note", "it is too long")
	}
	n, err := a.engine.NoteEvidence(ctx, c.In.APIKey, int64(id), text)
	if err != nil {
		return 0, nil, err
	}
	out := notedPrompt(n)
	return http.StatusCreated, &out, nil
}

type suspicionEvents struct {
	Events     []suspicionEvent `json:"events"`
	NextCursor *int64           `json:"next_cursor"`
}

type suspicionEvent struct {
	ID          int64        `json:"id"`
	Created     string       `json:"created" published:"format=date-time"`
	WorkerID    string       `json:"worker_id"`
	WorkerName  string       `json:"worker_name"`
	UserID      horde.UserID `json:"user_id"`
	SuspicionID int          `json:"suspicion_id"`
	Reason      string       `json:"reason"`
	Detail      *string      `json:"detail"`
}

func (a *API) suspicionEvents(ctx context.Context, c *api.Call[suspicionEventsInput]) (int, *suspicionEvents, error) {
	s := engine.SuspicionSearch{Limit: 100, Worker: c.In.Worker, User: userNumber(c.In.User)}
	if c.In.Limit != nil {
		s.Limit = *c.In.Limit
	}
	if c.In.Before != nil {
		if s.Before = *c.In.Before; s.Before <= 0 {
			s.Before = -1
		}
	}
	events, next, err := a.engine.SuspicionEvents(ctx, c.In.APIKey, s)
	if err != nil {
		return 0, nil, err
	}
	out := &suspicionEvents{Events: make([]suspicionEvent, len(events))}
	for i, v := range events {
		out.Events[i] = suspicionEvent{v.ID, utc(v.Created), v.Worker.String(), v.WorkerName, v.User, int(v.Suspicion), v.Suspicion.Name(), present(v.Detail)}
	}
	if next != 0 {
		out.NextCursor = &next
	}
	return http.StatusOK, out, nil
}
