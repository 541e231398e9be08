package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// What links to a project unfold to, however odd its texts are.
func TestProjectsDescribeThemselves(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, nobody := st.member("alice"), st.visitor()
	const odd = `</script><script>alert(1)</script> "quoted" & <b>`
	id := alice.fullProject(odd, map[string]any{"license": "MIT"})
	path := fmt.Sprintf("/api/projects/%d", id)
	alice.post(path+"/bom", map[string]any{"item_name": odd, "quantity": 3, "price_cents": 450}).want(http.StatusCreated)
	image := alice.post(path+"/images", form("caption", odd).file("image", "wide.png", picture(t, "png", 1600, 900))).want(http.StatusCreated).id()
	alice.put(fmt.Sprintf("%s/images/%d/primary", path, image), nil).want(http.StatusOK)
	page := fmt.Sprintf("/p/alice/%d-script-script-alert-1-script-quoted-b", id)
	alice.page(page).want(http.StatusOK).hides("ld+json")
	alice.post(path+"/publish", nil).want(http.StatusOK)
	body := nobody.page(page).want(http.StatusOK).hides("<script>alert", "<b>").shows(
		`<link rel="canonical" href="`+st.cfg.publicURL+page+`">`, `property="og:image:width" content="1280"`, `property="og:image:height" content="720"`,
		`property="og:image:type" content="image/`, `property="article:published_time"`)
	m := regexp.MustCompile(`<meta property="og:image" content="([^"]+)">`).FindStringSubmatch(string(body.body))
	same(t, "absolute", strings.HasPrefix(m[1], st.cfg.publicURL+"/api/projects/"), true)
	nobody.get(strings.TrimPrefix(m[1], st.cfg.publicURL)).want(http.StatusOK)

	m = regexp.MustCompile(`(?s)<script type="application/ld\+json">(.*?)</script>`).FindStringSubmatch(string(body.body))
	var h struct {
		Context       string `json:"@context"`
		Type          string `json:"@type"`
		Name          string
		URL           string
		License       string
		TotalTime     string
		EstimatedCost string
		Image         []string
		Author        struct{ Name string }
		Supply        []struct {
			Type             string `json:"@type"`
			Name             string
			RequiredQuantity int
		}
		Tool []struct {
			Type string `json:"@type"`
			Name string
		}
		Step []struct {
			Type  string `json:"@type"`
			Name  string
			Text  string
			URL   string
			Image []string
		}
	}
	if err := json.Unmarshal([]byte(m[1]), &h); err != nil {
		t.Fatal(err)
	}
	same(t, "how-to", fmt.Sprint(h.Context, h.Type, h.Author.Name, h.TotalTime, h.EstimatedCost, len(h.Image)), "https://schema.orgHowToalicePT2H13.504")
	same(t, "name", h.Name, odd)
	same(t, "license", h.License, "https://opensource.org/license/mit")
	same(t, "supplies", h.Supply[1].Name == odd && h.Supply[1].RequiredQuantity == 3 && h.Supply[1].Type == "HowToSupply", true)
	same(t, "tools", h.Tool[0].Name+h.Tool[0].Type, "IronHowToTool")
	same(t, "steps", h.Step[1].Name == "Look" && h.Step[1].URL == st.cfg.publicURL+page+"#step-2" && len(h.Step[1].Image) == 1 && h.Step[0].Type == "HowToStep", true)
}

func TestISODuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2 hours": "PT2H", "90 min": "PT1H30M", "1.5 h": "PT1H30M", "1,5 Hours": "PT1H30M", "2h 30m": "PT2H30M", "45 minutes": "PT45M", "1-2 hours": "PT2H",
		"about 3 days": "PT72H", "1 week": "PT168H", "a weekend": "", "1 weekend": "", "": "", "soon": "", "0 h": "", "99999999999999999999 weeks": "", "5": "",
	} {
		same(t, text, isoDuration(text), want)
	}
}

// Older titles and authors lead to the address that a project has now.
func TestOlderAddressesLeadOn(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice, nobody := st.member("alice"), st.visitor()
	id := alice.draft("Robot")
	path := fmt.Sprintf("/api/projects/%d", id)
	alice.post(path+"/publish", nil).want(http.StatusOK)
	first := fmt.Sprintf("/p/alice/%d-robot", id)
	nobody.page(first).want(http.StatusOK)
	for _, title := range []string{"Walker", "日本 ロボット", "Robot"} {
		alice.put(path, map[string]any{"title": title}).want(http.StatusOK)
		for _, old := range []string{first, fmt.Sprintf("/p/alice/%d", id), fmt.Sprintf("/p/bob/%d-walker", id)} {
			a := nobody.page(old)
			if a.status == http.StatusMovedPermanently {
				same(t, "not for good", a.header.Get("Cache-Control"), "no-cache")
				a = nobody.page(a.header.Get("Location"))
			}
			a.want(http.StatusOK).shows("<h1>" + title + "</h1>")
		}
	}
	for _, wrong := range []string{"/p/alice/robot", "/p/alice/999-robot", "/p/alice/-"} {
		nobody.page(wrong).want(http.StatusNotFound)
	}
}

// A draft says what it lacks, and each thing that is done is no longer said.
func TestAdvice(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	alice := st.member("alice")
	id := alice.draft("Robot")
	path := fmt.Sprintf("/api/projects/%d", id)
	advice := func() (texts string) {
		var d struct {
			Advice []struct{ Text, Section string }
		}
		alice.get(path).want(http.StatusOK).into(&d)
		for _, a := range d.Advice {
			texts += a.Section + ": " + a.Text + "\n"
		}
		return texts
	}
	step := func(what, text string) {
		t.Helper()
		if strings.Contains(advice(), text) {
			t.Fatalf("%s: still advises %q", what, text)
		}
	}
	for _, text := range []string{"images: Add a picture", "steps: Write the steps", "bom: List the parts", "basics: Choose a licence", "basics: Add a few tags", "basics: Describe in", "basics: Say how difficult"} {
		same(t, text, strings.Contains(advice(), text), true)
	}
	first := alice.post(path+"/steps", map[string]any{"title": "Glue", "content": "TODO"}).want(http.StatusCreated).id()
	same(t, "empty step", strings.Contains(advice(), "steps: Step 1, “Glue”, does not say yet what to do."), true)
	alice.put(fmt.Sprintf("%s/steps/%d", path, first), map[string]any{"content": "Glue it."}).want(http.StatusOK)
	step("step", "steps:")
	item := alice.post(path+"/bom", partKinds["bom"]).want(http.StatusCreated).id()
	st.exec(`update bill_of_material set quantity = 0`) // as the older service let it be
	same(t, "no quantity", strings.Contains(advice(), "bom: Say how many of “Motor” one needs."), true)
	alice.put(fmt.Sprintf("%s/bom/%d", path, item), map[string]any{"quantity": 2}).want(http.StatusOK)
	step("quantity", "bom:")
	alice.post(path+"/images", form().file("image", "a.png", picture(t, "png", 4, 4))).want(http.StatusCreated)
	same(t, "no caption", strings.Contains(advice(), "images: Say what your pictures show: 1 of 1"), true)
	alice.put(path, map[string]any{"license": "MIT", "tags": []string{"a"}, "description": strings.Repeat("word ", 20), "difficulty_level": "Beginner", "estimated_time": "1 h"}).want(http.StatusOK)
	step("basics", "basics:")
	st.exec(`update project_image set caption = 'Front'`)
	same(t, "nothing is missing", advice(), "")
	alice.get(path).shows(`"advice":[]`)
	alice.post(path+"/publish", nil).want(http.StatusOK)
	alice.get(path).hides(`"advice"`)
	st.visitor().get(path).hides(`"advice"`)
}
