package main

import "net/http"

// serveEmbed answers the script that other sites' pages load.
func (s *server) serveEmbed(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin")
	r.SetPathValue("file", "embed.js")
	return s.serveStatic(w, r)
}

// viewerAnswer says who is signed in.
type viewerAnswer struct {
	ID       int    `json:"id"` // 0: nobody
	Username string `json:"username"`
}

// showViewer answers who is signed in, with 200 for nobody too: a page that
// asks by itself should leave no error in the browser's console.
func (s *server) showViewer(w http.ResponseWriter, r *http.Request, v viewer) error {
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, http.StatusOK, viewerAnswer{v.ID, v.Username})
}
