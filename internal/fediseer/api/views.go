// SPDX-License-Identifier: AGPL-3.0-or-later

package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"horde/internal/fediseer"
	"horde/internal/fediseer/message"
	"horde/internal/fediseer/trust"
)

// The JSON forms of answers. Nulls inside of items are part of the contract, so nothing there is omitted.

// InstanceDetails is an instance as every list shows it.
type InstanceDetails struct {
	ID                int64    `json:"id"`
	Domain            string   `json:"domain"`
	Software          string   `json:"software"`
	Version           string   `json:"version"`
	Claimed           int      `json:"claimed"`
	OpenRegistrations *bool    `json:"open_registrations"`
	EmailVerify       *bool    `json:"email_verify"`
	ApprovalRequired  *bool    `json:"approval_required"`
	HasCaptcha        *bool    `json:"has_captcha"`
	Approvals         int      `json:"approvals"`
	Endorsements      int      `json:"endorsements"`
	Guarantor         *string  `json:"guarantor"`
	CensureReasons    []string `json:"censure_reasons"`
	Sysadmins         *int     `json:"sysadmins"`
	Moderators        *int     `json:"moderators"`
	State             string   `json:"state"`
	Tags              []string `json:"tags"`
}

// FlagDetails is a flag of an instance.
type FlagDetails struct {
	Flag    string  `json:"flag"`
	Comment *string `json:"comment"`
}

// InstanceVisibilityDetails adds what an instance shows of its lists. All four are null where a list does not tell.
type InstanceVisibilityDetails struct {
	InstanceDetails
	VisibilityEndorsements *string       `json:"visibility_endorsements"`
	VisibilityCensures     *string       `json:"visibility_censures"`
	VisibilityHesitations  *string       `json:"visibility_hesitations"`
	Flags                  []FlagDetails `json:"flags"`
}

// ClaimAnswer adds how the key went out.
type ClaimAnswer struct {
	InstanceVisibilityDetails
	Delivered bool   `json:"delivered"`
	Delivery  string `json:"delivery,omitempty"`
	NewKey    string `json:"new_key,omitempty"`
}

// CensuredInstance, EndorsedInstance and DubiousInstance are lines of lists of judgements.
type CensuredInstance struct {
	InstanceDetails
	CensureEvidence []string `json:"censure_evidence"`
	Rebuttal        []string `json:"rebuttal"`
	CensureCount    *int     `json:"censure_count"`
}

type EndorsedInstance struct {
	InstanceDetails
	EndorsementReasons []string `json:"endorsement_reasons"`
}

type DubiousInstance struct {
	InstanceDetails
	HesitationReasons  []string `json:"hesitation_reasons"`
	HesitationEvidence []string `json:"hesitation_evidence"`
	Rebuttal           []string `json:"rebuttal"`
	HesitationCount    *int     `json:"hesitation_count"`
}

// SolicitedInstance asks for a guarantee.
type SolicitedInstance struct {
	InstanceDetails
	Comment *string `json:"comment"`
}

// SuspiciousInstance is a suspicion with the numbers that it comes from.
type SuspiciousInstance struct {
	fediseer.Node
	ActivitySuspicion    float64 `json:"activity_suspicion"`
	ActiveUsersSuspicion float64 `json:"active_users_suspicion"`
}

// List is a list in one of three forms: instances, domains or csv. Total is absent where it is nil.
type List[T any] struct {
	Instances []T      `json:"instances,omitzero"`
	Domains   []string `json:"domains,omitzero"`
	CSV       *string  `json:"csv,omitempty"`
	Total     *int     `json:"total,omitempty"`
}

// Simple is the answer of writes.
type Simple struct {
	Message   string `json:"message"`
	NewKey    string `json:"new_key,omitempty"`
	Delivered *bool  `json:"delivered,omitempty"`
}

// ReportDetails is a line of the public log.
type ReportDetails struct {
	SourceDomain   string `json:"source_domain"`
	TargetDomain   string `json:"target_domain"`
	ReportType     string `json:"report_type"`
	ReportActivity string `json:"report_activity"`
	Created        string `json:"created"`
}

func details(d *fediseer.Details) InstanceDetails {
	v := InstanceDetails{ID: d.ID, Domain: string(d.Domain), Software: d.Software, Version: d.Version, Claimed: d.Claimed,
		OpenRegistrations: d.OpenRegistrations, ApprovalRequired: d.ApprovalRequired, HasCaptcha: d.HasCaptcha, Approvals: d.Approvals,
		Endorsements: d.Endorsements, Sysadmins: d.Sysadmins, Moderators: d.Moderators, State: string(fediseer.StateOf(d.PollFailures)),
		Tags: d.Tags}
	if d.Software == fediseer.SoftwareLemmy {
		v.EmailVerify = d.EmailVerify
	}
	if d.Guarantor != "" {
		g := string(d.Guarantor)
		v.Guarantor = &g
	}
	if v.Tags == nil {
		v.Tags = []string{}
	}
	return v
}

func visibilityDetails(d *fediseer.Details) InstanceVisibilityDetails {
	v := InstanceVisibilityDetails{InstanceDetails: details(d), Flags: []FlagDetails{}}
	for k, to := range map[fediseer.Kind]**string{fediseer.Endorsement: &v.VisibilityEndorsements,
		fediseer.Censure: &v.VisibilityCensures, fediseer.Hesitation: &v.VisibilityHesitations} {
		s := string(d.VisibilityOf[k])
		*to = &s
	}
	for _, f := range d.Flags {
		v.Flags = append(v.Flags, FlagDetails{Flag: string(f.Flag), Comment: f.Comment})
	}
	return v
}

func claimAnswer(c *trust.Claimed) ClaimAnswer {
	return ClaimAnswer{InstanceVisibilityDetails: visibilityDetails(c.Details), Delivered: c.Delivery != "", Delivery: string(c.Delivery), NewKey: c.NewKey}
}

func deliveredVia(d message.Delivery) *bool {
	if d == "" {
		return nil
	}
	yes := true
	return &yes
}

// form brings a list into the form that the query asks for: csv wins over domains.
func form[T any](q *request, names []string, items func() []T, total *int) List[T] {
	l := List[T]{Total: total}
	switch {
	case q.flag("csv"):
		s := strings.Join(names, ",")
		l.CSV = &s
	case q.flag("domains"):
		l.Domains = append([]string{}, names...)
	default:
		l.Instances = items()
	}
	return l
}

// formOf is form for a list of instances without anything more.
func formOf[T any](q *request, list []*fediseer.Details, item func(*fediseer.Details) T, total *int) List[T] {
	names := make([]string, len(list))
	for i, d := range list {
		names[i] = string(d.Domain)
	}
	return form(q, names, func() []T {
		items := make([]T, len(list))
		for i, d := range list {
			items[i] = item(d)
		}
		return items
	}, total)
}

func namesOnly(q *request) bool { return q.flag("csv") || q.flag("domains") }

// judged brings a list of judgements into its kind's form.
func judged(q *request, k fediseer.Kind, l trust.JudgedList) any {
	switch k {
	case fediseer.Censure:
		return form(q, l.Names, func() []CensuredInstance {
			return mapped(l.Items, func(j trust.Judged) CensuredInstance {
				v := CensuredInstance{InstanceDetails: details(j.Details), CensureEvidence: j.Evidence, Rebuttal: j.Rebuttal, CensureCount: j.Count}
				v.CensureReasons = j.Reasons
				return v
			})
		}, &l.Total)
	case fediseer.Hesitation:
		return form(q, l.Names, func() []DubiousInstance {
			return mapped(l.Items, func(j trust.Judged) DubiousInstance {
				return DubiousInstance{InstanceDetails: details(j.Details), HesitationReasons: j.Reasons, HesitationEvidence: j.Evidence,
					Rebuttal: j.Rebuttal, HesitationCount: j.Count}
			})
		}, &l.Total)
	}
	return form(q, l.Names, func() []EndorsedInstance {
		return mapped(l.Items, func(j trust.Judged) EndorsedInstance {
			return EndorsedInstance{InstanceDetails: details(j.Details), EndorsementReasons: j.Reasons}
		})
	}, &l.Total)
}

func mapped[A, B any](in []A, f func(A) B) []B {
	out := make([]B, len(in))
	for i, a := range in {
		out[i] = f(a)
	}
	return out
}

// withoutNulls drops the null properties of an object.
func withoutNulls(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil, err
	}
	for name, x := range m {
		if x == nil {
			delete(m, name)
		}
	}
	return m, nil
}

// isoTime writes a time as old clients parse it: microseconds only if there are some.
func isoTime(t time.Time) string {
	t = t.UTC()
	if t.Nanosecond()/1000 == 0 {
		return t.Format("2006-01-02T15:04:05+00:00")
	}
	return t.Format("2006-01-02T15:04:05.000000+00:00")
}

// writeAll writes the list of all instances a few at a time.
func (a *API) writeAll(r *http.Request, w io.Writer) error {
	if _, err := io.WriteString(w, `{"instances":[`); err != nil {
		return fmt.Errorf("write the file of all instances: %w", err)
	}
	n := 0
	err := a.trust.All(r.Context(), func(list []*fediseer.Details) error {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		for _, d := range list {
			if n > 0 {
				b.WriteByte(',')
			}
			n++
			if err := enc.Encode(visibilityDetails(d)); err != nil {
				return err
			}
			b.Truncate(b.Len() - 1) // the line end
		}
		_, err := w.Write(b.Bytes())
		return err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "],\"total\":%d}\n", n)
	return err
}

func newTee(a, b io.Writer) io.Writer { return io.MultiWriter(a, b) }
