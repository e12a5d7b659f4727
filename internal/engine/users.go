// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"cmp"
	"context"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"horde/internal/horde"
	"horde/internal/kudos"
)

// UserView is an account as a caller may see it. Fields that the caller may not see are zero; Own and All tell which.
type UserView struct {
	User    horde.User
	Balance kudos.Balance
	// Age is how old the account is.
	Age time.Duration
	// WorkerCount counts all workers of the account, online or not.
	WorkerCount int
	// Workers lists them where the caller may know; nil where not.
	Workers []horde.WorkerID
	// Active are the requests of the account that are alive, by kind.
	Active map[horde.Kind][]horde.RequestID
	// Styles are those of the account that the caller may know.
	Styles []StyleName
	// SharedKeys are those of the account, the oldest first, where the caller may know.
	SharedKeys []horde.SharedKeyID
	// Title is how the account is called where a shared key stands for it, else empty.
	Title string
	// Monthly is what the account gets each month, for whatever reasons.
	Monthly horde.Kudos
	// Own tells that the caller sees what the account itself sees, All what moderators see.
	Own, All bool
}

// FindUser looks up the account that a key opens. A shared key shows what everybody sees of its owner.
func (e *Engine) FindUser(ctx context.Context, key string) (UserView, error) {
	if key == "" {
		return UserView{}, horde.ErrInvalidAPIKey
	}
	var title string
	v, err := e.read(ctx, func() (*user, privilege, *horde.Error) {
		if through := e.sharedKeyOf(key); through != nil {
			title = through.Title(e.users[through.Owner].Alias())
			return e.users[through.Owner], seesPublic, nil
		}
		u, err := e.userOf(key)
		if err != nil {
			return nil, 0, horde.ErrUserNotFound
		}
		return u, seesOwn, nil
	})
	v.Title = title
	return v, err
}

// User shows an account to the owner of key, which may be empty.
func (e *Engine) User(ctx context.Context, key string, id horde.UserID) (UserView, error) {
	return e.read(ctx, func() (*user, privilege, *horde.Error) {
		u := e.alive(id)
		sees, err := e.privilegeOf(key, u)
		if err == nil && u == nil {
			err = horde.ErrUserNotFound
		}
		return u, sees, err
	})
}

// read shows the account that find chooses, once all of it is in the record.
func (e *Engine) read(ctx context.Context, find func() (*user, privilege, *horde.Error)) (UserView, error) {
	var (
		v       UserView
		wait    *batch
		refusal *horde.Error
	)
	if err := e.do(func() {
		var u *user
		var sees privilege
		if u, sees, refusal = find(); refusal == nil {
			v, wait = e.view(u, sees), e.pending(&u.changed)
		}
	}); err != nil {
		return UserView{}, err
	}
	if refusal != nil {
		return UserView{}, refusal
	}
	return v, e.durable(ctx, wait)
}

// alive finds an account that was not wiped.
func (e *Engine) alive(id horde.UserID) *user {
	u := e.users[id]
	if u == nil || !u.WipedAt.IsZero() || id == horde.Anonymous && e.NoAnonymous {
		return nil
	}
	return u
}

// UsersPage is how many accounts a page of the list has; beyond UsersPages there is nothing.
const (
	UsersPage  = 25
	UsersPages = 10_000
)

// Users lists accounts as everybody may see them, 25 a page from page 1: richest first or, byAge, oldest first.
func (e *Engine) Users(ctx context.Context, page int, byAge bool) ([]UserView, error) {
	page = max(page, 1)
	if page > UsersPages {
		return nil, nil
	}
	return e.list(ctx, seesPublic, func() []*user {
		all := e.ranked(byAge, time.Now())
		first := min((page-1)*UsersPage, len(all))
		return all[first:min(first+UsersPage, len(all))]
	})
}

// ranking is a sorted list of the accounts, kept for a while where sorting takes long.
type ranking struct {
	users []*user
	until time.Time
}

const (
	rankingFor  = 10 * time.Second
	rankingFrom = 1000 // fewer accounts are sorted each time
)

// ranked lists the accounts that are alive in the order of the public list.
func (e *Engine) ranked(byAge bool, now time.Time) []*user {
	if r := e.rankings[byAge]; now.Before(r.until) {
		return r.users
	}
	all := e.allUsers()
	slices.SortFunc(all, func(a, b *user) int {
		if byAge {
			return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
		}
		return cmp.Or(cmp.Compare(e.book.Balance(b.ID).Spendable, e.book.Balance(a.ID).Spendable), cmp.Compare(a.ID, b.ID))
	})
	if len(all) >= rankingFrom {
		e.rankings[byAge] = ranking{all, now.Add(rankingFor)}
	}
	return all
}

func (e *Engine) allUsers() []*user {
	all := make([]*user, 0, len(e.users))
	for id, u := range e.users {
		if e.alive(id) != nil {
			all = append(all, u)
		}
	}
	return all
}

// list shows the accounts that choose names, once all of them are in the record.
func (e *Engine) list(ctx context.Context, sees privilege, choose func() []*user) ([]UserView, error) {
	views, waits := []UserView{}, []*batch{}
	if err := e.do(func() {
		for _, u := range choose() {
			if e.alive(u.ID) == nil {
				continue // wiped since the list was sorted
			}
			views, waits = append(views, e.view(u, sees)), append(waits, e.pending(&u.changed))
		}
	}); err != nil {
		return nil, err
	}
	return views, e.durable(ctx, waits...)
}

func (e *Engine) view(u *user, sees privilege) UserView {
	v := UserView{
		User: u.User, Balance: *e.book.Balance(u.ID), Age: time.Since(u.Created), WorkerCount: len(u.workers),
		Own: sees >= seesOwn, All: sees >= seesAll, Styles: e.namesOfStyles(u, sees >= seesOwn),
		Monthly: e.entitlement(u),
	}
	if v.Own || u.PublicWorkers {
		v.Workers = make([]horde.WorkerID, 0, len(u.workers))
		for id := range u.workers {
			v.Workers = append(v.Workers, id)
		}
		slices.SortFunc(v.Workers, func(a, b horde.WorkerID) int { return strings.Compare(a.String(), b.String()) })
	}
	if v.Own {
		for _, k := range u.sharedKeys {
			v.SharedKeys = append(v.SharedKeys, k.ID)
		}
	}
	if v.Own && u.ID != horde.Anonymous {
		v.Active = map[horde.Kind][]horde.RequestID{}
		for r := range u.requests {
			if !r.Done() {
				v.Active[r.Order.Kind()] = append(v.Active[r.Order.Kind()], r.ID)
			}
		}
	}
	return v
}

// minAdminComment is how many characters a comment must have, white space around it not counted.
const minAdminComment = 5

// MaxUserName is how many characters a name may have.
const MaxUserName = 30

// NewUser is what an account is made of.
type NewUser struct {
	Name string
	// OAuthID is empty for accounts without a login.
	OAuthID string
	// Kudos is the balance to start with; a floor may raise it.
	Kudos horde.Kudos
	// Concurrency is zero for the default.
	Concurrency int
	Roles       horde.Roles
}

// Register makes an account and returns it with its key, which nobody can read again.
func (e *Engine) Register(ctx context.Context, n NewUser) (UserView, string, error) {
	name, refused := e.userName(n.Name)
	if refused != nil {
		return UserView{}, "", refused
	}
	if n.OAuthID == "" {
		n.OAuthID = uuid.NewString()
	}
	key := horde.NewKey()
	v, err := e.read(ctx, func() (*user, privilege, *horde.Error) {
		if e.byOAuth[n.OAuthID] != nil {
			return nil, 0, errLoginTaken
		}
		n.Name = name
		return e.register(n, key, time.Now().UTC()), seesAll, nil
	})
	if err != nil {
		return UserView{}, "", err
	}
	return v, key, nil
}

// userName is a name as it is kept, or why it will not do.
func (e *Engine) userName(given string) (string, *horde.Error) {
	name := horde.Sanitize(given)
	switch {
	case horde.Blank(name) || len([]rune(name)) > MaxUserName || len([]rune(given)) > 4*MaxUserName:
		return "", horde.ErrTooLongUserName.Withf("A user name has 1 to %d characters.", MaxUserName)
	case e.Profane(name):
		return "", horde.ErrProfaneUserName
	}
	return name, nil
}

var errLoginTaken = &horde.Error{RC: "BadRequest", Status: http.StatusBadRequest, Message: "An account with this login exists already."}

func (e *Engine) register(n NewUser, key string, now time.Time) *user {
	u := &user{User: horde.User{
		ID: e.settings.NextUser, Name: n.Name, OAuthID: n.OAuthID, KeyHash: horde.HashKey(e.settings.KeySalt, key),
		Created: now, LastActive: now, Concurrency: cmp.Or(n.Concurrency, horde.DefaultConcurrency),
	}}
	u.SetRole(n.Roles, n.Roles != 0)
	if u.Has(horde.Education) && n.Concurrency == 0 {
		u.Concurrency = horde.EducationConcurrency
	}
	e.settings.NextUser++
	e.open.settings = true
	e.addUser(u)
	e.book.Open(u.ID, u.Floor())
	e.open.user(u)
	e.open.balances[u.ID] = true
	if n.Kudos != 0 {
		e.event(e.book.Grant(now, kudos.Admin, "admin:"+uuid.NewString(), u.ID, n.Kudos))
	}
	return u
}

// NewKeyFor gives an account another key; the old one is dead at once.
func (e *Engine) NewKeyFor(ctx context.Context, id horde.UserID) (string, error) {
	key := horde.NewKey()
	_, err := e.read(ctx, func() (*user, privilege, *horde.Error) {
		u := e.alive(id)
		if u == nil || id == horde.Anonymous {
			return nil, 0, horde.ErrUserNotFound
		}
		e.rekey(u, key)
		e.open.user(u)
		return u, seesAll, nil
	})
	return key, err
}

// rekey gives an account another key. Who holds the old one, or a session, may no longer be who they were.
func (e *Engine) rekey(u *user, key string) {
	u.SessionsFrom = time.Now().UTC()
	delete(e.byKey, u.KeyHash)
	u.KeyHash = horde.HashKey(e.settings.KeySalt, key)
	e.byKey[u.KeyHash] = u
}

// UserChanged are the new values of what a change to a user set. A nil field was not changed.
type UserChanged struct {
	Kudos, MonthlyKudos                                   *float64
	UsageMultiplier                                       *float64
	Concurrency, WorkersInvited, Suspicions               *int
	Moderator, Trusted, Flagged, Customizer, VPN, Service *bool
	Education, Special, PublicWorkers, Undeleted          *bool
	AdminComment, Username, Contact, ProxyPasskey         *string
}

// Authority is who makes a change: the owner of a key, somebody with a session, or the operator at the machine, who may do
// everything.
type Authority struct {
	Key string
	// SignedIn stands in place of a key where it names somebody.
	SignedIn SignedIn
	Operator bool
}

// ChangeUser changes an account. All fields are checked before any is set, and the first failure in the order of the
// accounts chapter, 3.5, is the answer.
func (e *Engine) ChangeUser(ctx context.Context, by Authority, id horde.UserID, c *horde.UserChange) (UserChanged, error) {
	return change(ctx, e, func() (UserChanged, *batch, *horde.Error) { return e.changeUser(by, id, c) })
}

// change runs a use case that changes something, and returns when that is in the record.
func change[T any](ctx context.Context, e *Engine, f func() (T, *batch, *horde.Error)) (T, error) {
	var (
		out, none T
		wait      *batch
		refusal   *horde.Error
	)
	if err := e.do(func() { out, wait, refusal = f() }); err != nil {
		return none, err
	}
	if refusal != nil {
		return none, refusal
	}
	if err := e.durable(ctx, wait); err != nil {
		return none, unavailable(err)
	}
	return out, nil
}

// right is who may set a field.
type right int

const (
	rightAdmin right = iota
	rightModerator
	rightOwner
	rightNamed // as rightOwner, but never the anonymous account
)

func (e *Engine) changeUser(by Authority, id horde.UserID, c *horde.UserChange) (UserChanged, *batch, *horde.Error) {
	u := e.alive(id)
	if u == nil {
		return UserChanged{}, nil, horde.ErrUserNotFound
	}
	var caller *user
	if !by.Operator {
		var err *horde.Error
		if caller, err = e.callerBy(by); err != nil {
			return UserChanged{}, nil, err
		}
	}
	may := func(r right) *horde.Error {
		switch {
		case by.Operator:
			return nil
		case r == rightAdmin && !e.isAdmin(caller):
			return horde.ErrNotAdmin
		case r == rightAdmin:
			return nil
		case !caller.Has(horde.Moderator) && (r == rightModerator || caller != u):
			return horde.ErrNotModerator
		case r == rightNamed && caller.ID == horde.Anonymous:
			return horde.ErrAnonUserMod
		}
		return nil
	}
	now := time.Now().UTC()
	var out UserChanged
	var set []func()
	field := func(given bool, r right, check *horde.Error, do func()) *horde.Error {
		if !given {
			return nil
		}
		if err := may(r); err != nil {
			return err
		}
		set = append(set, do)
		return check
	}
	role := func(p *bool, r right, what horde.Roles, result **bool) *horde.Error {
		return field(p != nil, r, nil, func() {
			u.SetRole(what, *p)
			has := u.Has(what)
			*result = &has
		})
	}
	name, contact, comment := horde.Sanitize(str(c.Username)), horde.Sanitize(str(c.Contact)), horde.Sanitize(str(c.AdminComment))
	granted, fits := wholeKudos(c.Kudos)
	monthly, monthlyFits := wholeKudos(c.MonthlyKudos)
	fits = fits && e.mayHold(u, granted)
	monthlyFits = monthlyFits && e.mayHold(u, granted+max(0, monthly)) && u.MonthlyKudos+monthly <= maxBalance
	for _, err := range []*horde.Error{
		field(c.Kudos != nil, rightAdmin, refuseIf(!fits, tooLarge("kudos")), func() {
			amount := granted
			e.event(e.book.Grant(now, kudos.Admin, "admin:"+uuid.NewString(), u.ID, amount))
			balance := float64(e.book.Balance(u.ID).Spendable.Whole())
			out.Kudos = &balance
		}),
		field(c.MonthlyKudos != nil, rightAdmin, refuseIf(!monthlyFits, tooLarge("monthly_kudos")), func() {
			amount := monthly
			if amount > 0 {
				e.resumeMonthly(u, now, true)
				e.event(e.book.GrantMonthly(now, "user-monthly:"+uuid.NewString(), u.ID, amount))
				if u.MonthlyReceived.IsZero() {
					u.MonthlyReceived = now
				}
			}
			u.MonthlyKudos = max(0, u.MonthlyKudos+amount)
			monthly := u.MonthlyKudos.Float()
			out.MonthlyKudos = &monthly
		}),
		field(c.UsageMultiplier != nil, rightAdmin, nil, func() {
			u.UsageMultiplier = *c.UsageMultiplier
			out.UsageMultiplier = c.UsageMultiplier
		}),
		field(is(c.Moderator), rightAdmin, nil, func() { e.resumeMonthly(u, now, false) }),
		role(c.Moderator, rightAdmin, horde.Moderator, &out.Moderator),
		field(c.Concurrency != nil, rightModerator, nil, func() {
			u.Concurrency = *c.Concurrency
			out.Concurrency = c.Concurrency
		}),
		field(c.WorkerInvited != nil, rightModerator, nil, func() {
			u.WorkersInvited = *c.WorkerInvited
			out.WorkersInvited = c.WorkerInvited
		}),
		role(c.Trusted, rightModerator, horde.Trusted, &out.Trusted),
		role(c.Flagged, rightModerator, horde.Flagged, &out.Flagged),
		role(c.Customizer, rightModerator, horde.Customizer, &out.Customizer),
		role(c.VPN, rightModerator, horde.VPN, &out.VPN),
		role(c.Service, rightModerator, horde.Service, &out.Service),
		role(c.Education, rightModerator, horde.Education, &out.Education),
		role(c.Special, rightModerator, horde.Special, &out.Special),
		field(is(c.ResetSuspicion), rightModerator, nil, func() {
			u.Suspicions = nil
			for _, w := range u.workers {
				w.Suspicions = nil
				e.open.worker(w)
			}
			none := 0
			out.Suspicions = &none
		}),
		field(c.AdminComment != nil, rightModerator, cmp.Or(
			refuseIf(horde.Blank(comment) || len([]rune(comment)) < minAdminComment, blankName("admin_comment")),
			refuseIf(e.Profane(comment), horde.ErrProfaneComment),
		), func() {
			u.AdminComment = comment
			out.AdminComment = &comment
		}),
		field(c.PublicWorkers != nil, rightNamed, nil, func() {
			u.PublicWorkers = *c.PublicWorkers
			out.PublicWorkers = c.PublicWorkers
		}),
		field(c.Username != nil, rightNamed, cmp.Or(
			refuseIf(horde.Blank(name), blankName("username")),
			refuseIf(e.Profane(name), horde.ErrProfaneUserName),
			refuseIf(len([]rune(name)) > MaxUserName, horde.ErrTooLongUserName),
			refuseIf(strings.Contains(str(c.Username), "\x00"), horde.ErrNulByte),
		), func() {
			u.Name = name
			out.Username = &name
		}),
		field(c.Contact != nil, rightNamed, refuseIf(e.Profane(contact), horde.ErrProfaneContact), func() {
			u.Contact = contact
			out.Contact = &contact
		}),
		field(is(c.GenerateProxyPasskey), rightOwner, refuseIf(!u.Has(horde.Service), horde.ErrNonService), func() {
			passkey := horde.NewKey()
			delete(e.services, u.PasskeyHash)
			u.PasskeyHash, u.PasskeyHint = horde.HashKey(e.settings.KeySalt, passkey), passkey[:4]
			e.services[u.PasskeyHash] = u
			out.ProxyPasskey = &passkey
		}),
		field(is(c.Undelete), rightOwner, refuseIf(!u.Has(horde.Deleted), horde.ErrUserNotDeleted), func() {
			u.SetRole(horde.Deleted, false)
			yes := true
			out.Undeleted = &yes
		}),
	} {
		if err != nil {
			return UserChanged{}, nil, err
		}
	}
	if len(set) == 0 {
		return UserChanged{}, nil, horde.ErrNoUserModSelected
	}
	for _, do := range set {
		do()
	}
	e.afterRoles(u, c, &out, now)
	e.open.user(u)
	e.open.balances[u.ID] = true
	return out, e.open, nil
}

// afterRoles does what a new role brings with it.
func (e *Engine) afterRoles(u *user, c *horde.UserChange, out *UserChanged, now time.Time) {
	if c.Education != nil && c.Concurrency == nil && u.ID != horde.Anonymous {
		before := u.Concurrency
		switch {
		case *c.Education && u.Concurrency < horde.EducationConcurrency:
			u.Concurrency = horde.EducationConcurrency
		case !*c.Education && u.Concurrency == horde.EducationConcurrency:
			u.Concurrency = horde.DefaultConcurrency
		}
		if u.Concurrency != before {
			changed := u.Concurrency // read after the lock is gone
			out.Concurrency = &changed
		}
	}
	if u.Has(horde.Trusted) {
		e.unpause(u)
	}
	e.promote(u, now)
	for _, p := range e.pulse {
		p.there = nil
	}
}

// maxBalance is how far a balance goes either way, in hundredths: ten million millions of kudos. Integers end at 9.2e18, and
// the sums over all accounts have to stay below that too.
const maxBalance horde.Kudos = 1e15

// wholeKudos cuts what an admin gives to whole kudos; nil is nothing. It says no to what no balance can hold.
func wholeKudos[T int64 | float64](n *T) (horde.Kudos, bool) {
	if n == nil {
		return 0, true
	}
	if f := float64(*n); f > float64(maxBalance)/100 || f < -float64(maxBalance)/100 {
		return 0, false
	}
	return horde.Kudos(math.Trunc(float64(*n))) * 100, true
}

// mayHold tells whether a balance can be moved by an amount, which is at most a few times [maxBalance].
func (e *Engine) mayHold(u *user, amount horde.Kudos) bool {
	b := e.book.Balance(u.ID)
	after := b.Spendable + b.Escrow + amount
	return -maxBalance <= after && after <= maxBalance
}

// blankName refuses a text of which nothing, or too little, can be seen.
func blankName(field string) *horde.Error {
	return horde.Invalid(map[string]string{field: "has too little that can be seen"})
}

func tooLarge(field string) *horde.Error {
	return horde.Invalid(map[string]string{field: "more than any account can have"})
}

func refuseIf(when bool, err *horde.Error) *horde.Error {
	if when {
		return err
	}
	return nil
}

// WipeAfter is how long an account must have been inactive to be erased.
const WipeAfter = 30 * 24 * time.Hour

// DeleteUser marks an account for deletion or, the second time and after a month without activity, wipes it.
func (e *Engine) DeleteUser(ctx context.Context, by Authority, id horde.UserID) error {
	_, err := change(ctx, e, func() (struct{}, *batch, *horde.Error) {
		wait, err := e.deleteUser(by, id)
		return struct{}{}, wait, err
	})
	return err
}

func (e *Engine) deleteUser(by Authority, id horde.UserID) (*batch, *horde.Error) {
	var caller *user
	if !by.Operator {
		var err *horde.Error
		if caller, err = e.callerBy(by); err != nil {
			return nil, err
		}
	}
	u := e.alive(id)
	switch {
	case u == nil:
		return nil, horde.ErrUserNotFound
	case caller != nil && caller.ID == horde.Anonymous || u.ID == horde.Anonymous:
		return nil, horde.ErrAnonForbiddenUser
	case u.Has(horde.Moderator):
		return nil, horde.ErrCannotDeleteMod
	case caller != nil && !caller.Has(horde.Moderator) && caller != u:
		return nil, horde.ErrNotUserOrMod
	case !u.Has(horde.Deleted):
		u.SetRole(horde.Deleted, true)
	case time.Since(u.LastActive) < WipeAfter:
		return nil, horde.ErrWipeActiveUser
	default:
		e.wipe(u, time.Now().UTC())
	}
	e.open.user(u)
	return e.open, nil
}

// wipe erases an account for good. Its balance and its records stay, under no name.
func (e *Engine) wipe(u *user, now time.Time) {
	e.forgetSubject(u)
	for r := range u.requests {
		if !r.Cancelled {
			e.cancel(r)
		}
	}
	for i := range u.interrogations {
		e.cancelForms(i)
	}
	for _, w := range u.workers {
		e.removeWorker(w, now)
	}
	e.dropStylesOf(u.ID)
	e.dropMessagesOf(u.ID)
	for _, k := range slices.Clone(u.sharedKeys) {
		e.dropSharedKey(k)
	}
	delete(e.byKey, u.KeyHash)
	delete(e.byOAuth, u.OAuthID)
	delete(e.services, u.PasskeyHash)
	login := "<wiped>:" + u.ID.String()
	if u.Class() == horde.ClassPseudonymous {
		login = uuid.NewString() // the class decides on the floor of the balance, which stays
	}
	u.Name, u.OAuthID = "<wiped>", login
	u.KeyHash, u.PasskeyHash, u.PasskeyHint, u.Contact, u.AdminComment, u.Suspicions = "", "", "", "", "", nil
	u.WipedAt = now
}

// ShowUser shows an account to the operator.
func (e *Engine) ShowUser(ctx context.Context, id horde.UserID) (UserView, error) {
	return e.read(ctx, func() (*user, privilege, *horde.Error) {
		u := e.alive(id)
		return u, seesAll, refuseIf(u == nil, horde.ErrUserNotFound)
	})
}

// AllUsers shows all accounts to the operator, by id.
func (e *Engine) AllUsers(ctx context.Context) ([]UserView, error) {
	return e.list(ctx, seesAll, func() []*user {
		all := e.allUsers()
		slices.SortFunc(all, func(a, b *user) int { return cmp.Compare(a.ID, b.ID) })
		return all
	})
}

// OperatorLogin is a login for an account that an operator makes. It belongs to no login service, and makes the account
// count as registered.
func OperatorLogin() string { return "op_" + strings.ReplaceAll(uuid.NewString(), "-", "") }
