package main

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"time"
)

//go:embed demo
var demoFiles embed.FS

// demoPassword is the password of everybody in the demo.
const demoPassword = "Workshop-2026"

// demoSite is demo/site.json.
type demoSite struct {
	People []struct {
		Username, Firstname, Lastname, Email string
	}
	Pages []struct {
		URL      string
		Views    int
		Likes    []string
		Comments []demoComment
	}
	Projects []struct {
		Author     string
		Publish    bool
		Fields     struct{ Title string }
		Steps      []json.RawMessage
		BOM        []json.RawMessage
		Components []map[string]any
		Links      []json.RawMessage
		Tools      []json.RawMessage
		Files      []struct{ Name, Title, Description string }
		Images     []struct{ Name, Caption string }
		Likes      []string
		Comments   []demoComment
	}
}

type demoComment struct {
	By, Text string
	Replies  []demoComment
}

// demo fills a server over HTTP as its people would.
type demo struct {
	ctx      context.Context
	base     string
	operator string // token that the rate limits leave alone
	tokens   map[string]string
}

// fillDemo registers the people of demo/site.json on the server at base and
// lets them write its pages and projects through the API. What is there already
// is left as it is, so that it can run again after it was cut off.
func fillDemo(ctx context.Context, base, operator string, out io.Writer) error {
	text, err := demoFiles.ReadFile("demo/site.json")
	if err != nil {
		return err
	}
	var site demoSite
	if err := json.Unmarshal(text, &site); err != nil {
		return fmt.Errorf("demo/site.json: %w", err)
	}
	var raw struct {
		Projects []struct{ Fields json.RawMessage }
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return fmt.Errorf("demo/site.json: %w", err)
	}
	d := &demo{ctx, strings.TrimRight(base, "/"), operator, map[string]string{}}
	for _, p := range site.People {
		err := d.call(http.MethodPost, "/accounts/register", "", map[string]any{
			"username": p.Username, "firstname": p.Firstname, "lastname": p.Lastname, "email": p.Email, "password": demoPassword}, nil)
		if hasStatus(err, http.StatusTooManyRequests) {
			return fmt.Errorf("the server does not know this command as its operator's; run it with the server's SECRET_KEY or DATA_DIR: %w", err)
		}
		if err != nil && !hasStatus(err, http.StatusBadRequest) { // 400: there already
			return err
		}
		var signedIn struct {
			AccessToken string `json:"access_token"`
		}
		if err := d.call(http.MethodPost, "/api/login", "", url.Values{"username": {p.Username}, "password": {demoPassword}}, &signedIn); err != nil {
			return fmt.Errorf("signing in as %s: %w", p.Username, err)
		}
		d.tokens[p.Username] = signedIn.AccessToken
	}
	fmt.Fprintf(out, "%d people are registered\n", len(site.People))

	for _, page := range site.Pages {
		var thread []json.RawMessage
		if err := d.call(http.MethodGet, "/interact/comments/"+url.PathEscape(page.URL), "", nil, &thread); err != nil {
			return err
		}
		if len(thread) > 0 {
			continue
		}
		target := map[string]any{"url": page.URL}
		for range page.Views {
			if err := d.call(http.MethodPost, "/analytics/page-view", "", target, nil); err != nil {
				return err
			}
		}
		if err := d.likes("/api/likes", target, page.Likes); err != nil {
			return err
		}
		if err := d.comments("/interact/comment", target, 0, page.Comments); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%d pages have comments, likes and views\n", len(site.Pages))

	for i, p := range site.Projects {
		made, err := d.project(p.Author, p.Fields.Title, raw.Projects[i].Fields)
		if err != nil {
			return err
		}
		if made == "" {
			continue
		}
		parts := map[string][]json.RawMessage{"steps": p.Steps, "bom": p.BOM, "links": p.Links, "tools": p.Tools}
		for kind, list := range parts {
			for _, part := range list {
				if err := d.call(http.MethodPost, made+"/"+kind, p.Author, part, nil); err != nil {
					return err
				}
			}
		}
		for _, c := range p.Components {
			if err := d.component(made, p.Author, c); err != nil {
				return err
			}
		}
		for _, f := range p.Files {
			if err := d.upload(made+"/files", p.Author, "file", "files/"+f.Name, map[string]string{"title": f.Title, "description": f.Description}); err != nil {
				return err
			}
		}
		for _, image := range p.Images {
			if err := d.upload(made+"/images", p.Author, "image", "images/"+image.Name, map[string]string{"caption": image.Caption}); err != nil {
				return err
			}
		}
		if !p.Publish {
			continue
		}
		if err := d.call(http.MethodPost, made+"/publish", p.Author, nil, nil); err != nil {
			return err
		}
		entity := map[string]any{"entity_type": "project", "entity_id": strings.TrimPrefix(made, "/api/projects/")}
		if err := d.likes("/api/likes/entity", entity, p.Likes); err != nil {
			return err
		}
		if err := d.comments("/interact/entity/comment", entity, 0, p.Comments); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%d projects have steps, parts, files and pictures\n\nSee them at %s\nSign in as %s (or any of the others) with the password %s\n",
		len(site.Projects), d.base, site.People[0].Username, demoPassword)
	return nil
}

// project makes a draft and returns its path, or "" when its author has one of
// that title.
func (d *demo) project(author, title string, fields json.RawMessage) (path string, err error) {
	var me struct{ ID int }
	if err := d.call(http.MethodGet, "/accounts/me", author, nil, &me); err != nil {
		return "", err
	}
	var list struct{ Projects []struct{ Title string } }
	if err := d.call(http.MethodGet, fmt.Sprintf("/api/projects?per_page=100&author_id=%d", me.ID), author, nil, &list); err != nil {
		return "", err
	}
	for _, have := range list.Projects {
		if have.Title == title {
			return "", nil
		}
	}
	var made struct{ ID int }
	err = d.call(http.MethodPost, "/api/projects", author, fields, &made)
	return fmt.Sprintf("/api/projects/%d", made.ID), err
}

// component gives a project a component, making it first where nobody has.
func (d *demo) component(project, author string, c map[string]any) error {
	var part struct{ ID int }
	err := d.call(http.MethodPost, "/api/components", author, c, &part)
	if hasStatus(err, http.StatusBadRequest) {
		var found []struct{ ID int }
		err = d.call(http.MethodGet, "/api/components/search?limit=1&q="+url.QueryEscape(fmt.Sprint(c["name"])), "", nil, &found)
		if err == nil && len(found) > 0 {
			part.ID = found[0].ID
		}
	}
	if err != nil {
		return err
	}
	return d.call(http.MethodPost, project+"/components", author, map[string]any{"component_id": part.ID, "quantity": c["quantity"], "notes": c["notes"]}, nil)
}

func (d *demo) likes(path string, target map[string]any, people []string) error {
	for _, name := range people {
		if err := d.call(http.MethodPost, path, name, target, nil); err != nil && !hasStatus(err, http.StatusConflict) {
			return err
		}
	}
	return nil
}

func (d *demo) comments(path string, target map[string]any, parent int, list []demoComment) error {
	for _, c := range list {
		body := map[string]any{"content": c.Text, "parent_comment_id": nil}
		if parent != 0 {
			body["parent_comment_id"] = parent
		}
		for name, value := range target {
			body[name] = value
		}
		var made struct{ ID int }
		if err := d.call(http.MethodPost, path, c.By, body, &made); err != nil {
			return err
		}
		if err := d.comments(path, target, made.ID, c.Replies); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) upload(path, author, field, name string, texts map[string]string) error {
	content, err := demoFiles.ReadFile("demo/" + name)
	if err != nil {
		return err
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for key, text := range texts {
		err = errors.Join(err, form.WriteField(key, text))
	}
	part, partErr := form.CreateFormFile(field, name[strings.LastIndex(name, "/")+1:])
	if err = errors.Join(err, partErr); err != nil {
		return err
	}
	if _, err := part.Write(content); err != nil {
		return err
	}
	if err := form.Close(); err != nil {
		return err
	}
	return d.send(http.MethodPost, path, author, form.FormDataContentType(), &body, nil)
}

// statusError is an answer that is not a success.
type statusError struct {
	status  int
	message string
}

func (e *statusError) Error() string { return e.message }

func hasStatus(err error, status int) bool {
	var e *statusError
	return errors.As(err, &e) && e.status == status
}

// call sends a form or JSON as somebody, or as nobody, and decodes the answer
// into the value that into points to.
func (d *demo) call(method, path, as string, body, into any) error {
	if form, is := body.(url.Values); is {
		return d.send(method, path, as, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()), into)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return d.send(method, path, as, "application/json", bytes.NewReader(text), into)
}

func (d *demo) send(method, path, as, kind string, body io.Reader, into any) error {
	ctx, cancel := context.WithTimeout(d.ctx, time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, d.base+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", kind)
	r.Header.Set("User-Agent", "chatter demo")
	r.Header.Set(operatorHeader, d.operator)
	if as != "" {
		r.Header.Set("Authorization", "Bearer "+d.tokens[as])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("the server at %s does not answer; start it first: %w", d.base, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		var problem struct{ Detail string }
		_ = json.Unmarshal(text, &problem) // not every server answers in JSON
		return &statusError{response.StatusCode, fmt.Sprintf("%s %s: %s: %s", method, path, response.Status, cmp.Or(problem.Detail, "no reason given"))}
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}
