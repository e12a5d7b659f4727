// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"errors"
	"net/http"
	"time"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
	"horde/internal/kudos"
)

type findUserInput struct{ api.OptionalKey }

type usersInput struct {
	Page *int   `query:"page" default:"1" doc:"Pages have 25 accounts and are counted from 1."`
	Sort string `query:"sort" default:"kudos" doc:"kudos, or age for the oldest first."`
}

type userInput struct {
	api.OptionalKey
	ID string `path:"user_id"`
}

type userChangeInput struct {
	ID   string `path:"user_id"`
	Body horde.UserChange
	// The key is looked at after the user was found, so its absence is told by the handler.
	api.LateKey
}

type userDeleteInput struct {
	ID string `path:"user_id"`
	api.LateKey
}

func (a *API) users(r *api.Router) {
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/find_user", Limits: api.DefaultLimits, ID: "get_find_user",
		Summary: "The account that your key opens.", Links: []api.Link{{To: "get_user_single", Argument: "user_id", Member: "id"}}, Refuses: []int{400, 404}, Also: []int{401},
	}, a.findUser)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/users", Limits: api.DefaultLimits, ID: "get_users",
		Summary: "All accounts, 25 a page.", Published: api.Published{Answer: userDetails{}},
	}, a.listUsers)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/users/{user_id}", Limits: LimitsUser, ID: "get_user_single",
		Summary: "One account.", Refuses: []int{401, 404},
	}, a.user)
	api.Handle(r, api.Operation{
		Method: http.MethodPut, Path: prefix + "/users/{user_id}", Limits: LimitsUser, ID: "put_user_single",
		Summary: "Change an account.", Example: `{"public_workers":true,"contact":"me@example.org"}`, Refuses: []int{400, 401, 403, 404},
	}, a.changeUser)
	api.Handle(r, api.Operation{
		Method: http.MethodDelete, Path: prefix + "/users/{user_id}", Limits: LimitsUser, ID: "delete_user_single",
		Summary: "Delete an account.", Refuses: []int{401, 403, 404},
	}, a.deleteUser)
}

// userPublic is what everybody sees of an account.
type userPublic struct {
	Username      string        `json:"username"`
	ID            horde.UserID  `json:"id"`
	Kudos         int64         `json:"kudos" published:"type=number"`
	KudosDetails  kudosDetails  `json:"kudos_details"`
	Usage         usage         `json:"usage"`
	Contributions contributions `json:"contributions"`
	Records       records       `json:"records"`
	Concurrency   int           `json:"concurrency"`
	WorkerInvited int           `json:"worker_invited"`
	WorkerCount   int           `json:"worker_count"`
	Moderator     bool          `json:"moderator"`
	Trusted       bool          `json:"trusted"`
	Flagged       bool          `json:"flagged"`
	Pseudonymous  bool          `json:"pseudonymous"`
	Service       bool          `json:"service"`
	Deleted       bool          `json:"deleted"`
	Education     bool          `json:"education"`
	Customizer    bool          `json:"customizer"`
	AccountAge    int64         `json:"account_age"`
	Styles        []userStyle   `json:"styles"`
}

// styleShort names a style.
type styleShort struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

type userStyle struct {
	styleShort
	Type string `json:"type" enum:"image,text"`
}

type kudosDetails struct {
	Accumulated int64 `json:"accumulated" published:"type=number" default:"0"`
	Gifted      int64 `json:"gifted" published:"type=number" default:"0"`
	Donated     int64 `json:"donated" published:"type=number" default:"0"`
	Admin       int64 `json:"admin" published:"type=number" default:"0"`
	Received    int64 `json:"received" published:"type=number" default:"0"`
	Recurring   int64 `json:"recurring" published:"type=number" default:"0"`
	Awarded     int64 `json:"awarded" published:"type=number" default:"0"`
	Styled      int64 `json:"styled" published:"type=number" default:"0"`
}

// usage and contributions are obsolete and always empty, but some programs look for them.
type usage struct {
	Megapixelsteps *float64 `json:"megapixelsteps"`
	Requests       *int     `json:"requests"`
}

type contributions struct {
	Megapixelsteps *float64 `json:"megapixelsteps"`
	Fulfillments   *int     `json:"fulfillments"`
}

type records struct {
	Usage        thingRecords  `json:"usage"`
	Contribution thingRecords  `json:"contribution"`
	Fulfillment  amountRecords `json:"fulfillment"`
	Request      amountRecords `json:"request"`
	Style        amountRecords `json:"style"`
}

type thingRecords struct {
	Megapixelsteps float64 `json:"megapixelsteps" default:"0"`
	Tokens         int64   `json:"tokens" default:"0"`
}

type amountRecords struct {
	Image         int64 `json:"image" default:"0"`
	Text          int64 `json:"text" default:"0"`
	Interrogation int64 `json:"interrogation" default:"0"`
}

// userDetails leaves out what the caller may not see.
type userDetails struct {
	userPublic
	WorkerIDs         *[]string          `json:"worker_ids,omitempty" minLength:"36" maxLength:"36"`
	SharedKeyIDs      *[]string          `json:"sharedkey_ids,omitempty"`
	Contact           *string            `json:"contact,omitempty"`
	VPN               *bool              `json:"vpn,omitempty"`
	Special           *bool              `json:"special,omitempty"`
	ActiveGenerations *activeGenerations `json:"active_generations,omitempty"`
	EvaluatingKudos   *int64             `json:"evaluating_kudos,omitempty" published:"type=number"`
	MonthlyKudos      *monthlyKudos      `json:"monthly_kudos,omitempty"`
	Suspicious        *int               `json:"suspicious,omitempty"`
	AdminComment      *string            `json:"admin_comment,omitempty"`
	ProxyPasskey      *string            `json:"proxy_passkey,omitempty"`
}

// userListed is a row of the list of users, where what the caller may not see is null in place of absent.
type userListed struct {
	userPublic
	WorkerIDs         *[]string `json:"worker_ids"`
	SharedKeyIDs      *[]string `json:"sharedkey_ids"`
	Contact           *string   `json:"contact"`
	VPN               *bool     `json:"vpn"`
	Special           *bool     `json:"special"`
	ActiveGenerations nothing   `json:"active_generations"`
	EvaluatingKudos   *int64    `json:"evaluating_kudos"`
	MonthlyKudos      nothing   `json:"monthly_kudos"`
	Suspicious        *int      `json:"suspicious"`
	AdminComment      *string   `json:"admin_comment"`
	ProxyPasskey      *string   `json:"proxy_passkey"`
}

type activeGenerations struct {
	Image   []string `json:"image,omitempty"`
	Text    []string `json:"text,omitempty"`
	Alchemy []string `json:"alchemy,omitempty"`
}

type monthlyKudos struct {
	Amount       int64  `json:"amount"`
	LastReceived string `json:"last_received,omitempty" published:"format=date-time"`
}

// date writes a time as the API does: RFC 822 with a literal offset.
func date(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0000") }

func publicUser(v engine.UserView) userPublic {
	u, b := v.User, v.Balance
	things := func(t kudos.Tally) thingRecords {
		return thingRecords{Megapixelsteps: float64(t.Image) / 100, Tokens: t.Text / 100}
	}
	amounts := func(t kudos.Tally) amountRecords {
		return amountRecords{Image: t.Image, Text: t.Text, Interrogation: t.Alchemy}
	}
	return userPublic{
		Username: u.Alias(), ID: u.ID, Kudos: b.Spendable.Whole(),
		KudosDetails: kudosDetails{
			Accumulated: b.Details.Accumulated.Whole(), Gifted: b.Details.Gifted.Whole(), Donated: b.Details.Donated.Whole(),
			Admin: b.Details.Admin.Whole(), Received: b.Details.Received.Whole(), Recurring: b.Details.Recurring.Whole(),
			Awarded: b.Details.Awarded.Whole(), Styled: b.Details.Styled.Whole(),
		},
		Records: records{
			Usage: things(b.Records.Usage), Contribution: things(b.Records.Contribution),
			Fulfillment: amounts(b.Records.Fulfilments), Request: amounts(b.Records.Requests), Style: amounts(b.Records.Styles),
		},
		Concurrency: u.Concurrency, WorkerInvited: u.WorkersInvited, WorkerCount: v.WorkerCount,
		Moderator: u.Has(horde.Moderator), Trusted: u.Has(horde.Trusted), Flagged: u.Has(horde.Flagged),
		Pseudonymous: u.Class() == horde.ClassPseudonymous, Service: u.Has(horde.Service), Deleted: u.Has(horde.Deleted),
		Education: u.Has(horde.Education), Customizer: u.Has(horde.Customizer), AccountAge: int64(v.Age.Seconds()), Styles: userStyles(v),
	}
}

func userStyles(v engine.UserView) []userStyle {
	list := make([]userStyle, len(v.Styles))
	for i, s := range v.Styles {
		list[i] = userStyle{styleShort{s.Name, s.ID.String()}, s.Kind.String()}
	}
	return list
}

func detailedUser(v engine.UserView) userDetails {
	u := v.User
	d := userDetails{userPublic: publicUser(v), WorkerIDs: workerIDs(v)}
	if v.Own {
		vpn, special := u.Has(horde.VPN), u.Has(horde.Special)
		d.SharedKeyIDs, d.Contact, d.VPN, d.Special = sharedKeyIDs(v), present(u.Contact), &vpn, &special
		active := activeGenerations{Image: requestIDs(v.Active[horde.Image]), Text: requestIDs(v.Active[horde.Text])}
		if len(active.Image)+len(active.Text) > 0 {
			d.ActiveGenerations = &active
		}
	}
	if v.All {
		escrow, suspicions := v.Balance.Escrow.Whole(), len(u.Suspicions)
		d.EvaluatingKudos, d.Suspicious, d.AdminComment = &escrow, &suspicions, present(u.AdminComment)
		d.MonthlyKudos = &monthlyKudos{Amount: v.Monthly.Whole()}
		if !u.MonthlyReceived.IsZero() {
			d.MonthlyKudos.LastReceived = date(u.MonthlyReceived)
		}
		if u.PasskeyHint != "" {
			hint := u.PasskeyHint + "..."
			d.ProxyPasskey = &hint
		}
	}
	return d
}

func sharedKeyIDs(v engine.UserView) *[]string {
	ids := make([]string, len(v.SharedKeys))
	for i, id := range v.SharedKeys {
		ids[i] = id.String()
	}
	return &ids
}

func workerIDs(v engine.UserView) *[]string {
	if v.Workers == nil {
		return nil
	}
	ids := make([]string, len(v.Workers))
	for i, id := range v.Workers {
		ids[i] = id.String()
	}
	return &ids
}

func requestIDs(ids []horde.RequestID) []string {
	var out []string
	for _, id := range ids {
		out = append(out, id.String())
	}
	return out
}

func (a *API) findUser(ctx context.Context, c *api.Call[findUserInput]) (int, *userDetails, error) {
	v, err := a.engine.FindUser(ctx, c.In.APIKey)
	if errors.Is(err, horde.ErrUserNotFound) {
		a.engine.KeyMissed(c.Addr)
	}
	if err != nil {
		return 0, nil, err
	}
	out := detailedUser(v)
	if v.Title != "" {
		out.Username = v.Title
	}
	return http.StatusOK, &out, nil
}

func (a *API) listUsers(ctx context.Context, c *api.Call[usersInput]) (int, []userListed, error) {
	page := 1
	if c.In.Page != nil {
		page = *c.In.Page
	}
	views, err := a.engine.Users(ctx, page, c.In.Sort == "age")
	if err != nil {
		return 0, nil, err
	}
	out := make([]userListed, len(views))
	for i, v := range views {
		out[i] = userListed{userPublic: publicUser(v), WorkerIDs: workerIDs(v)}
	}
	return http.StatusOK, out, nil
}

func (a *API) user(ctx context.Context, c *api.Call[userInput]) (int, *userDetails, error) {
	id, ok := horde.ParseUserID(c.In.ID)
	if !ok {
		return 0, nil, horde.ErrUserNotFound
	}
	v, err := a.engine.User(ctx, c.In.APIKey, id)
	if err != nil {
		return 0, nil, err
	}
	out := detailedUser(v)
	return http.StatusOK, &out, nil
}

// userChanged holds what a change has set.
type userChanged struct {
	NewKudos        *float64 `json:"new_kudos,omitempty"`
	MonthlyKudos    *float64 `json:"monthly_kudos,omitempty" published:"type=integer"`
	UsageMultiplier *float64 `json:"usage_multiplier,omitempty"`
	Moderator       *bool    `json:"moderator,omitempty"`
	Concurrency     *int     `json:"concurrency,omitempty"`
	WorkerInvited   *int     `json:"worker_invited,omitempty"`
	Trusted         *bool    `json:"trusted,omitempty"`
	Flagged         *bool    `json:"flagged,omitempty"`
	Customizer      *bool    `json:"customizer,omitempty"`
	VPN             *bool    `json:"vpn,omitempty"`
	Service         *bool    `json:"service,omitempty"`
	Education       *bool    `json:"education,omitempty"`
	Special         *bool    `json:"special,omitempty"`
	NewSuspicion    *int     `json:"new_suspicion,omitempty"`
	AdminComment    *string  `json:"admin_comment,omitempty" minLength:"5" maxLength:"500"`
	PublicWorkers   *bool    `json:"public_workers,omitempty"`
	Username        *string  `json:"username,omitempty"`
	Contact         *string  `json:"contact,omitempty"`
	ProxyPasskey    *string  `json:"proxy_passkey,omitempty" published:"minLength=16,maxLength=16"`
	Undeleted       *bool    `json:"undeleted,omitempty"`
}

func (a *API) changeUser(ctx context.Context, c *api.Call[userChangeInput]) (int, *userChanged, error) {
	id, ok := horde.ParseUserID(c.In.ID)
	if !ok {
		return 0, nil, horde.ErrUserNotFound
	}
	if c.In.APIKey == "" {
		if _, err := a.engine.User(ctx, "", id); err != nil {
			return 0, nil, err
		}
		return 0, nil, errNoKey
	}
	ch, err := a.engine.ChangeUser(ctx, engine.Authority{Key: c.In.APIKey}, id, &c.In.Body)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, &userChanged{
		NewKudos: ch.Kudos, MonthlyKudos: ch.MonthlyKudos, UsageMultiplier: ch.UsageMultiplier, Moderator: ch.Moderator,
		Concurrency: ch.Concurrency, WorkerInvited: ch.WorkersInvited, Trusted: ch.Trusted, Flagged: ch.Flagged,
		Customizer: ch.Customizer, VPN: ch.VPN, Service: ch.Service, Education: ch.Education, Special: ch.Special,
		NewSuspicion: ch.Suspicions, AdminComment: ch.AdminComment, PublicWorkers: ch.PublicWorkers, Username: ch.Username,
		Contact: ch.Contact, ProxyPasskey: ch.ProxyPasskey, Undeleted: ch.Undeleted,
	}, nil
}

// errNoKey refuses a call without a key where that is looked at late.
var errNoKey = horde.Invalid(map[string]string{"apikey": "Missing required parameter in the HTTP headers"})

func (a *API) deleteUser(ctx context.Context, c *api.Call[userDeleteInput]) (int, *done, error) {
	id, ok := horde.ParseUserID(c.In.ID)
	if !ok {
		return 0, nil, horde.ErrUserNotFound
	}
	err := a.engine.DeleteUser(ctx, engine.Authority{Key: c.In.APIKey}, id)
	return http.StatusOK, &done{"OK"}, err
}

type done struct {
	Message string `json:"message" required:"true" default:"OK"`
}
