// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"horde/internal/api"
	"horde/internal/engine"
	"horde/internal/horde"
)

type stylesInput struct {
	Sort  string `query:"sort" default:"popular" doc:"popular, or age for the oldest first."`
	Page  *int   `query:"page" default:"1" doc:"Pages have 25 styles and are counted from 1."`
	Tag   string `query:"tag" doc:"Only styles with this tag."`
	Model string `query:"model" doc:"Only styles with this model."`
}

// styleKey is an optional key that the reference does not know.
type styleKey struct {
	APIKey string `header:"apikey" published:"-" doc:"A User API key. Owners see more of their styles."`
}

type styleInput struct {
	styleKey
	ID string `path:"style_id"`
}

type styleByNameInput struct {
	styleKey
	Name string `path:"style_name"`
}

type styleDeleteInput struct {
	api.Key
	ID string `path:"style_id"`
}

type imageStylePost struct {
	api.Key
	Body imageStyleInput
}

type imageStylePatchInput struct {
	api.Key
	ID   string `path:"style_id"`
	Body imageStylePatch
}

type textStylePost struct {
	api.Key
	Body textStyleInput
}

type textStylePatchInput struct {
	api.Key
	ID   string `path:"style_id"`
	Body textStylePatch
}

// styleDeclared is what a style of either kind may declare of the requests that are made with it.
type styleDeclared struct {
	Policy *horde.StylePolicy `json:"parameter_policy,omitempty" published:"-"`
	Fields []horde.StyleField `json:"template_fields,omitzero" published:"-" doc:"Further places of the prompt, written in braces, that a request fills."`
}

type imageStyleInput struct {
	Name      *string                   `json:"name" required:"true" minLength:"1" maxLength:"100"`
	Info      *string                   `json:"info" minLength:"10" maxLength:"1000"`
	Prompt    *string                   `json:"prompt" minLength:"7" default:"{p}{np}" doc:"Where {p} stands for the prompt of a request and {np} for its negative prompt."`
	Params    *horde.ImageStyleSettings `json:"params"`
	Public    *bool                     `json:"public" default:"true" doc:"Whether the style is listed. Everybody who knows its name or id can use it."`
	NSFW      *bool                     `json:"nsfw" default:"false"`
	Tags      []string                  `json:"tags" minLength:"1" maxLength:"25"`
	Models    []string                  `json:"models" minLength:"1"`
	SharedKey *string                   `json:"sharedkey" minLength:"36" maxLength:"36" doc:"A shared key of yours that pays for requests with the style. It is not shown."`
	styleDeclared
}

type imageStylePatch struct {
	Name      *string                   `json:"name" minLength:"1" maxLength:"100"`
	Info      *string                   `json:"info" minLength:"1" maxLength:"1000"`
	Prompt    *string                   `json:"prompt" minLength:"7"`
	Params    *horde.ImageStyleSettings `json:"params"`
	Public    *bool                     `json:"public" default:"true"`
	NSFW      *bool                     `json:"nsfw" default:"false"`
	Tags      []string                  `json:"tags" minLength:"1" maxLength:"25"`
	Models    []string                  `json:"models" minLength:"1"`
	SharedKey *string                   `json:"sharedkey" minLength:"36" maxLength:"36"`
	styleDeclared
}

type textStyleInput struct {
	Name      *string                  `json:"name" required:"true" minLength:"1" maxLength:"100"`
	Info      *string                  `json:"info" minLength:"10" maxLength:"1000"`
	Prompt    *string                  `json:"prompt" minLength:"3" default:"{p}" doc:"Where {p} stands for the prompt of a request."`
	Params    *horde.TextStyleSettings `json:"params"`
	Public    *bool                    `json:"public" default:"true" doc:"Whether the style is listed. Everybody who knows its name or id can use it."`
	NSFW      *bool                    `json:"nsfw" default:"false"`
	Tags      []string                 `json:"tags" minLength:"1" maxLength:"25"`
	Models    []string                 `json:"models" minLength:"1"`
	SharedKey *string                  `json:"sharedkey" minLength:"36" maxLength:"36" published:"-" doc:"A shared key of yours that pays for requests with the style. It is not shown."`
	styleDeclared
}

type textStylePatch struct {
	Name      *string                  `json:"name" minLength:"1" maxLength:"100"`
	Info      *string                  `json:"info" minLength:"1" maxLength:"1000"`
	Prompt    *string                  `json:"prompt" minLength:"3" published:"minLength=7"`
	Params    *horde.TextStyleSettings `json:"params"`
	Public    *bool                    `json:"public" default:"true"`
	NSFW      *bool                    `json:"nsfw" default:"false"`
	Tags      []string                 `json:"tags" minLength:"1" maxLength:"25"`
	Models    []string                 `json:"models" minLength:"1"`
	SharedKey *string                  `json:"sharedkey" minLength:"36" maxLength:"36" published:"-"`
	styleDeclared
}

// shownImageStyle is what a style has of what it was made of.
type shownImageStyle struct {
	Name      string                    `json:"name" required:"true" published:"minLength=1,maxLength=100"`
	Info      string                    `json:"info" published:"minLength=10,maxLength=1000"`
	Prompt    string                    `json:"prompt" default:"{p}{np}" published:"minLength=7" doc:"Where {p} stands for the prompt of a request and {np} for its negative prompt."`
	Params    *horde.ImageStyleSettings `json:"params,omitempty"`
	Public    bool                      `json:"public" default:"true" doc:"Whether the style is listed. Everybody who knows its name or id can use it."`
	NSFW      bool                      `json:"nsfw" default:"false"`
	Tags      []string                  `json:"tags" published:"minLength=1,maxLength=25"`
	Models    []string                  `json:"models" published:"minLength=1"`
	SharedKey *string                   `json:"sharedkey,omitempty" published:"minLength=36,maxLength=36" doc:"A shared key of yours that pays for requests with the style. It is not shown."`
	styleDeclared
}

type shownTextStyle struct {
	Name   string                  `json:"name" required:"true" published:"minLength=1,maxLength=100"`
	Info   string                  `json:"info" published:"minLength=10,maxLength=1000"`
	Prompt string                  `json:"prompt" default:"{p}" published:"minLength=3" doc:"Where {p} stands for the prompt of a request."`
	Params horde.TextStyleSettings `json:"params"`
	Public bool                    `json:"public" default:"true" doc:"Whether the style is listed. Everybody who knows its name or id can use it."`
	NSFW   bool                    `json:"nsfw" default:"false"`
	Tags   []string                `json:"tags" published:"minLength=1,maxLength=25"`
	Models []string                `json:"models" published:"minLength=1"`
	styleDeclared
}

// styleOwned is what owners see of their styles.
type styleOwned struct {
	Updated string `json:"updated,omitempty" published:"-" doc:"When the style was changed last. Shown to its owner."`
}

type styleStable struct {
	shownImageStyle
	ID        string            `json:"id" minLength:"36" maxLength:"36"`
	Creator   string            `json:"creator"`
	UseCount  int64             `json:"use_count"`
	Examples  []styleExample    `json:"examples"`
	SharedKey *sharedKeyDetails `json:"shared_key,omitempty"`
	styleOwned
}

type styleKobold struct {
	shownTextStyle
	ID       string `json:"id"`
	Creator  string `json:"creator"`
	UseCount int64  `json:"use_count"`
	// SharedKey is shown to the owner.
	SharedKey *sharedKeyDetails `json:"shared_key,omitempty" published:"-"`
	styleOwned
}

type inputStyleExamplePost struct {
	URL     *string `json:"url"`
	Primary *bool   `json:"primary"`
}

// newExample is inputStyleExamplePost where all is needed.
type newExample struct {
	URL     *string `json:"url" required:"true" published:"required=false"`
	Primary *bool   `json:"primary" required:"true" published:"required=false"`
}

type styleExample struct {
	inputStyleExamplePost
	ID string `json:"id"`
}

type examplePostInput struct {
	api.Key
	ID   string `path:"style_id"`
	Body newExample
}

type examplePatchInput struct {
	api.Key
	ID      string `path:"style_id"`
	Example string `path:"example_id"`
	Body    inputStyleExamplePost
}

type exampleDeleteInput struct {
	api.Key
	ID      string `path:"style_id"`
	Example string `path:"example_id"`
}

// styleModify answers what made or changed something.
type styleModify struct {
	ID       string           `json:"id"`
	Message  string           `json:"message"`
	Warnings *[]horde.Warning `json:"warnings,omitempty"`
}

func (a *API) styles(r *api.Router) {
	a.imageStyles(r)
	a.textStyles(r)
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/styles/image/{style_id}/example", Limits: LimitsStyles, ID: "post_image_style_example",
		Summary: "Show a picture that the style makes.", Example: `{"url":"https://example.org/lighthouse.webp","primary":true}`,
		Refuses: []int{400, 401}, Validates: true, Also: []int{403, 404},
	}, a.addExample)
	api.Handle(r, api.Operation{
		Method: http.MethodPatch, Path: prefix + "/styles/image/{style_id}/example/{example_id}", Limits: api.DefaultLimits,
		ID: "patch_single_image_style_example", Summary: "Change an example of a style.", Example: `{"primary":true}`,
		Refuses: []int{400, 401}, Validates: true, Also: []int{403, 404},
	}, a.changeExample)
	api.Handle(r, api.Operation{
		Method: http.MethodDelete, Path: prefix + "/styles/image/{style_id}/example/{example_id}", Limits: api.DefaultLimits,
		ID: "delete_single_image_style_example", Summary: "Remove an example of a style.",
		Refuses: []int{400, 401}, Validates: true, Also: []int{403, 404},
	}, a.deleteExample)
}

func (a *API) imageStyles(r *api.Router) {
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/styles/image", Limits: LimitsStyles, ID: "get_image_style",
		Summary: "The styles for images that are listed.", Also: []int{400},
	}, func(ctx context.Context, c *api.Call[stylesInput]) (int, []styleStable, error) {
		return listStyles(ctx, a, horde.Image, c.In, imageStyleOf)
	})
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/styles/image", Limits: LimitsStyles, ID: "post_image_style",
		Summary: "Make a style for images.",
		Example: `{"name":"Storm","info":"Rough seas, oil on canvas","prompt":"{p}, oil on canvas, storm###calm, {np}","params":{"steps":20,"width":768,"height":512},"tags":["oil"],"models":["stable_diffusion"]}`,
		Links: []api.Link{
			{To: "get_single_image_style", Argument: "style_id", Member: "id"}, {To: "patch_single_image_style", Argument: "style_id", Member: "id"},
			{To: "delete_single_image_style", Argument: "style_id", Member: "id"},
		},
		Refuses: []int{400, 401}, Validates: true, Also: []int{403},
	}, a.createImageStyle)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/styles/image/{style_id}", Limits: LimitsStyles, ID: "get_single_image_style",
		Summary: "One style for images.", Also: []int{400, 404},
	}, func(ctx context.Context, c *api.Call[styleInput]) (int, *styleStable, error) {
		v, err := a.engine.Style(ctx, c.In.APIKey, horde.Image, c.In.ID)
		return shown(v, err, imageStyleOf)
	})
	api.Handle(r, api.Operation{
		Method: http.MethodPatch, Path: prefix + "/styles/image/{style_id}", Limits: LimitsStyleWrites, ID: "patch_single_image_style",
		Summary: "Change a style of yours. What is not given stays.", Example: `{"info":"Rough seas and lighthouses"}`,
		Refuses: []int{400, 401}, Validates: true, Also: []int{403, 404},
	}, a.changeImageStyle)
	api.Handle(r, api.Operation{
		Method: http.MethodDelete, Path: prefix + "/styles/image/{style_id}", Limits: LimitsStyleWrites, ID: "delete_single_image_style",
		Summary: "Remove a style of yours.", Refuses: []int{400, 401}, Validates: true, Also: []int{403, 404},
	}, func(ctx context.Context, c *api.Call[styleDeleteInput]) (int, *done, error) {
		return removed(a.engine.DeleteStyle(ctx, c.In.APIKey, horde.Image, c.In.ID))
	})
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/styles/image_by_name/{style_name}", Limits: api.DefaultLimits,
		ID: "get_single_image_style_by_name", Summary: "The style for images that a name means.", Also: []int{400, 404},
	}, func(ctx context.Context, c *api.Call[styleByNameInput]) (int, *styleStable, error) {
		v, err := a.engine.StyleByName(ctx, c.In.APIKey, horde.Image, c.In.Name)
		return shown(v, err, imageStyleOf)
	})
}

func (a *API) textStyles(r *api.Router) {
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/styles/text", Limits: LimitsStyles, ID: "get_text_style",
		Summary: "The styles for texts that are listed.", Also: []int{400},
	}, func(ctx context.Context, c *api.Call[stylesInput]) (int, []styleKobold, error) {
		return listStyles(ctx, a, horde.Text, c.In, textStyleOf)
	})
	api.Handle(r, api.Operation{
		Method: http.MethodPost, Path: prefix + "/styles/text", Limits: LimitsStyleWrites, ID: "post_text_style",
		Summary: "Make a style for texts.",
		Example: `{"name":"Logbook","info":"As a keeper of a lighthouse writes","prompt":"Logbook of a lighthouse.\n{p}","params":{"temperature":0.7},"models":["koboldcpp/tiny"]}`,
		Links: []api.Link{
			{To: "get_single_text_style", Argument: "style_id", Member: "id"}, {To: "patch_single_text_style", Argument: "style_id", Member: "id"},
			{To: "delete_single_text_style", Argument: "style_id", Member: "id"},
		},
		Refuses: []int{400, 401}, Validates: true, Also: []int{403},
	}, a.createTextStyle)
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/styles/text/{style_id}", Limits: LimitsStyles, ID: "get_single_text_style",
		Summary: "One style for texts.", Also: []int{400, 404},
	}, func(ctx context.Context, c *api.Call[styleInput]) (int, *styleKobold, error) {
		v, err := a.engine.Style(ctx, c.In.APIKey, horde.Text, c.In.ID)
		return shown(v, err, textStyleOf)
	})
	api.Handle(r, api.Operation{
		Method: http.MethodPatch, Path: prefix + "/styles/text/{style_id}", Limits: LimitsStyles, ID: "patch_single_text_style",
		Summary: "Change a style of yours. What is not given stays.", Example: `{"info":"As two keepers write"}`,
		Refuses: []int{400, 401}, Validates: true, Also: []int{403, 404},
	}, a.changeTextStyle)
	api.Handle(r, api.Operation{
		Method: http.MethodDelete, Path: prefix + "/styles/text/{style_id}", Limits: LimitsStyles, ID: "delete_single_text_style",
		Summary: "Remove a style of yours.", Refuses: []int{400, 401}, Validates: true, Also: []int{403, 404},
	}, func(ctx context.Context, c *api.Call[styleDeleteInput]) (int, *done, error) {
		return removed(a.engine.DeleteStyle(ctx, c.In.APIKey, horde.Text, c.In.ID))
	})
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/styles/text_by_name/{style_name}", Limits: api.DefaultLimits,
		ID: "get_single_text_style_by_name", Summary: "The style for texts that a name means.", Also: []int{400, 404},
		Published: api.Published{ID: "get_single_image_style_by_name"},
	}, func(ctx context.Context, c *api.Call[styleByNameInput]) (int, *styleKobold, error) {
		v, err := a.engine.StyleByName(ctx, c.In.APIKey, horde.Text, c.In.Name)
		return shown(v, err, textStyleOf)
	})
}

// removed answers what removed something.
func removed(err error) (int, *done, error) {
	if err != nil {
		return 0, nil, err
	}
	return http.StatusOK, &done{"OK"}, nil
}

func listStyles[T any](ctx context.Context, a *API, kind horde.Kind, in stylesInput, show func(engine.StyleView) T) (int, []T, error) {
	sort, page := sorted(in.Sort, in.Page)
	views, err := a.engine.Styles(ctx, engine.StyleFilter{Kind: kind, Sort: sort, Page: page, Tag: in.Tag, Model: in.Model})
	if err != nil {
		return 0, nil, err
	}
	out := make([]T, len(views))
	for i, v := range views {
		out[i] = show(v)
	}
	return http.StatusOK, out, nil
}

// sorted fills in what a list is asked for by those who do not say.
func sorted(by string, page *int) (string, int) {
	if by == "" {
		by = "popular"
	}
	if page == nil {
		return by, 1
	}
	return by, *page
}

func shown[T any](v engine.StyleView, err error, show func(engine.StyleView) T) (int, *T, error) {
	if err != nil {
		return 0, nil, err
	}
	out := show(v)
	return http.StatusOK, &out, nil
}

func ownedOf(v engine.StyleView) styleOwned {
	if !v.Own {
		return styleOwned{}
	}
	return styleOwned{v.Updated.UTC().Format(time.RFC3339)}
}

// imageStyleOf shows a style. What a request would take for an absent member of a LoRA or a textual inversion is filled in.
func imageStyleOf(v engine.StyleView) styleStable {
	out := styleStable{
		shownImageStyle: shownImageStyle{
			Name: v.Name, Info: v.Info, Prompt: v.Prompt, Public: v.Public, NSFW: v.NSFW, Tags: v.Tags, Models: v.Models,
			styleDeclared: styleDeclared{v.Policy, v.Fields},
		},
		ID: v.ID.String(), Creator: v.Creator, UseCount: v.Uses, Examples: make([]styleExample, len(v.Examples)), styleOwned: ownedOf(v),
	}
	for i, x := range v.Examples {
		out.Examples[i] = styleExample{inputStyleExamplePost{&x.URL, &x.Primary}, x.ID.String()}
	}
	if v.Key != nil {
		key := detailedSharedKey(*v.Key)
		out.SharedKey = &key
	}
	params := &horde.ImageStyleSettings{}
	_ = json.Unmarshal(v.Params, params) // it was decoded when it was stored; none stays empty
	for i := range params.Loras {
		l := &params.Loras[i]
		l.Model, l.Clip, l.IsVersion = orElse(l.Model, 1), orElse(l.Clip, 1), orElse(l.IsVersion, false)
	}
	for i := range params.TIs {
		params.TIs[i].Strength = orElse(params.TIs[i].Strength, 1)
	}
	if text, err := json.Marshal(params); err == nil && string(text) != "{}" {
		out.Params = params
	}
	return out
}

func textStyleOf(v engine.StyleView) styleKobold {
	out := styleKobold{
		shownTextStyle: shownTextStyle{
			Name: v.Name, Info: v.Info, Prompt: v.Prompt, Public: v.Public, NSFW: v.NSFW, Tags: v.Tags, Models: v.Models,
			styleDeclared: styleDeclared{v.Policy, v.Fields},
		},
		ID: v.ID.String(), Creator: v.Creator, UseCount: v.Uses, styleOwned: ownedOf(v),
	}
	if v.Key != nil {
		key := detailedSharedKey(*v.Key)
		out.SharedKey = &key
	}
	p := &out.Params
	_ = json.Unmarshal(v.Params, p) // as above
	p.MinP, p.SmoothingFactor, p.DynatempRange, p.DynatempExponent = orElse(p.MinP, 0), orElse(p.SmoothingFactor, 0),
		orElse(p.DynatempRange, 0), orElse(p.DynatempExponent, 1)
	return out
}

func orElse[T any](p *T, absent T) *T {
	if p == nil {
		return &absent
	}
	return p
}

// whole is the text of parameters, nil where none were sent.
func wholeImage(p *horde.ImageStyleSettings) json.RawMessage {
	if p == nil {
		return nil
	}
	return p.Text
}

func wholeText(p *horde.TextStyleSettings) json.RawMessage {
	if p == nil {
		return nil
	}
	return p.Text
}

func modified(c engine.StyleChanged, err error) (int, *styleModify, error) {
	if err != nil {
		return 0, nil, err
	}
	out := &styleModify{ID: c.ID, Message: "OK"}
	if c.Warnings != nil {
		out.Warnings = &c.Warnings
	}
	return http.StatusOK, out, nil
}

// modifiedText leaves out the warnings, which texts never have.
func modifiedText(c engine.StyleChanged, err error) (int, *styleModify, error) {
	c.Warnings = nil
	return modified(c, err)
}

func (a *API) createImageStyle(ctx context.Context, c *api.Call[imageStylePost]) (int, *styleModify, error) {
	if c.NUL {
		return 0, nil, horde.ErrNulByte
	}
	in := &c.In.Body
	return modified(a.engine.CreateStyle(ctx, c.In.APIKey, horde.Image, &horde.StyleChange{
		Name: in.Name, Info: in.Info, Prompt: in.Prompt, Params: wholeImage(in.Params), Public: in.Public, NSFW: in.NSFW, Tags: in.Tags,
		Models: in.Models, SharedKey: in.SharedKey, Policy: in.Policy, Fields: in.Fields,
	}))
}

func (a *API) changeImageStyle(ctx context.Context, c *api.Call[imageStylePatchInput]) (int, *styleModify, error) {
	if c.NUL {
		return 0, nil, horde.ErrNulByte
	}
	in := &c.In.Body
	return modified(a.engine.ChangeStyle(ctx, c.In.APIKey, horde.Image, c.In.ID, &horde.StyleChange{
		Name: in.Name, Info: in.Info, Prompt: in.Prompt, Params: wholeImage(in.Params), Public: in.Public, NSFW: in.NSFW, Tags: in.Tags,
		Models: in.Models, SharedKey: in.SharedKey, Policy: in.Policy, Fields: in.Fields,
	}))
}

func (a *API) createTextStyle(ctx context.Context, c *api.Call[textStylePost]) (int, *styleModify, error) {
	if c.NUL {
		return 0, nil, horde.ErrNulByte
	}
	in := &c.In.Body
	return modifiedText(a.engine.CreateStyle(ctx, c.In.APIKey, horde.Text, &horde.StyleChange{
		Name: in.Name, Info: in.Info, Prompt: in.Prompt, Params: wholeText(in.Params), Public: in.Public, NSFW: in.NSFW, Tags: in.Tags,
		Models: in.Models, SharedKey: in.SharedKey, Policy: in.Policy, Fields: in.Fields,
	}))
}

func (a *API) changeTextStyle(ctx context.Context, c *api.Call[textStylePatchInput]) (int, *styleModify, error) {
	if c.NUL {
		return 0, nil, horde.ErrNulByte
	}
	in := &c.In.Body
	return modifiedText(a.engine.ChangeStyle(ctx, c.In.APIKey, horde.Text, c.In.ID, &horde.StyleChange{
		Name: in.Name, Info: in.Info, Prompt: in.Prompt, Params: wholeText(in.Params), Public: in.Public, NSFW: in.NSFW, Tags: in.Tags,
		Models: in.Models, SharedKey: in.SharedKey, Policy: in.Policy, Fields: in.Fields,
	}))
}

func (a *API) addExample(ctx context.Context, c *api.Call[examplePostInput]) (int, *styleModify, error) {
	if c.NUL {
		return 0, nil, horde.ErrNulByte
	}
	in := &c.In.Body
	id, err := a.engine.AddExample(ctx, c.In.APIKey, c.In.ID, *in.URL, *in.Primary)
	return modified(engine.StyleChanged{ID: id, Warnings: []horde.Warning{}}, err)
}

func (a *API) changeExample(ctx context.Context, c *api.Call[examplePatchInput]) (int, *styleModify, error) {
	if c.NUL {
		return 0, nil, horde.ErrNulByte
	}
	err := a.engine.ChangeExample(ctx, c.In.APIKey, c.In.ID, c.In.Example, c.In.Body.URL, c.In.Body.Primary)
	return modified(engine.StyleChanged{ID: c.In.Example, Warnings: []horde.Warning{}}, err)
}

func (a *API) deleteExample(ctx context.Context, c *api.Call[exampleDeleteInput]) (int, *done, error) {
	return removed(a.engine.DeleteExample(ctx, c.In.APIKey, c.In.ID, c.In.Example))
}
