package main

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"testing"
)

func TestEmbed(t *testing.T) {
	t.Parallel()
	st := newSite(t)
	a := st.visitor().get("/embed.js").want(http.StatusOK)
	same(t, "type", strings.HasPrefix(a.header.Get("Content-Type"), "text/javascript"), true)
	same(t, "not for ever", a.header.Get("Cache-Control"), "public, max-age=3600")
	st.visitor().do(http.MethodGet, "/embed.js", nil, "If-None-Match", a.header.Get("ETag")).want(http.StatusNotModified)
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(a.body)
	z.Close()
	if packed.Len() > 12<<10 {
		t.Errorf("embed.js has %d bytes on the wire", packed.Len())
	}
	// What a strict Content-Security-Policy or Trusted Types would stop.
	a.hides("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", ".style.", "<style", "cssText")
}
