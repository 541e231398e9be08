package main

import (
	"fmt"
	"math"
	"net/http"
)

// Fields that several operations have in common.
var (
	pageParam     = param{name: "url", kind: "string", required: true, max: maxURL, example: "blog/engine.html", about: "the page's URL"}
	entityParams  = []param{choiceParam("entity_type", "project").needed(), numberParam("entity_id", 0, math.MaxInt32, 1).needed()}
	contentParam  = textParam("content", 1, 5000, "It works!").saying("plain text; HTML tags are taken out")
	parentParam   = numberParam("parent_comment_id", 0, math.MaxInt32, 0).saying("the comment that this one answers").like(nil)
	limitParam    = numberParam("limit", 1, 100, 10).usually(10)
	offsetParam   = numberParam("offset", 0, math.MaxInt32, 0).usually(0)
	threadParams  = []param{choiceParam("sort", "recent", "popular").usually("recent"), flagParam("flat").saying("one flat list instead of nested replies").usually(false)}
	passwordParam = textParam("new_password", 8, maxPassword, "Analytical-2").in("password").saying("at least 8 characters with an upper-case letter, a lower-case letter and a digit; neither common nor made of one's own name")
	secretParams  = []param{textParam("password", 1, maxPassword, "Analytical-1").in("password"), textParam("code", 1, 40, "123456").saying("of the app, or a backup code")}
	reasonParam   = optionalParam("reason", 500, "Off topic")
	uploadIDParam = optionalParam("upload_id", 100, "").saying("what the client calls the upload: sent twice, it is there once").like(nil)

	registerParams = []param{
		textParam("username", 3, 30, "ada").saying("letters, digits and underscores; never changed, and never given out again"),
		textParam("firstname", 1, 100, "Ada"), param{name: "lastname", kind: "string", max: 100, required: true, example: "Lovelace"},
		textParam("email", 3, 254, "ada@example.com").in("email"),
		optionalParam("date_of_birth", 40, "1815-12-10").saying("a day, as YYYY-MM-DD or as a timestamp").like("1990-12-10"),
		textParam("password", 8, maxPassword, "Analytical-1").in("password").saying("at least 8 characters with an upper-case letter, a lower-case letter and a digit; neither common nor made of one's own name"),
		flagParam("accept_terms").saying("notes which version of the terms was agreed to"),
	}
	loginParams = []param{
		textParam("username", 1, 254, "ada").saying("the name or the e-mail address"), textParam("password", 1, maxPassword, "Analytical-1").in("password"),
		optionalParam("totp", 40, "").saying("the code of the second factor, or a backup code, where the account has one").like(nil),
	}
	projectParams = []param{
		textParam("title", 1, 255, "Weather station"), textParam("description", 1, maxContent, "Temperature and rain, by radio.").saying("Markdown"),
		param{name: "tags", kind: "array", max: maxTags, example: []string{"radio", "weather"}, about: "at most 100 characters each; in lower case, each once"},
		optionalParam("background", maxContent, "Why I built it").saying("Markdown"), linkParam("code_link", 500, "https://example.com/code"),
		optionalParam("difficulty_level", 50, "Beginner"), optionalParam("estimated_time", 50, "3 hours"),
		optionalParam("license", 100, "CC-BY-4.0").saying("one of the ids of GET /api/licenses"),
	}
	stepParams = []param{textParam("title", 1, 255, "Solder the headers"), textParam("content", 1, maxContent, "Begin with the *shortest* one.").saying("Markdown"),
		param{name: "image_ids", kind: "array", format: "integer", example: []int{}, about: "pictures of the project that the step shows"}}
	bomParams = []param{
		textParam("item_name", 1, 255, "BME280"), optionalParam("description", 5000, "Sensor on a board"), numberParam("quantity", 1, maxQuantity, 2).usually(1),
		numberParam("price_cents", 0, math.MaxInt32, 350).saying("of one piece, in hundredths"), numberParam("item_order", 0, math.MaxInt32, 0).usually(0), linkParam("link", 500, "https://example.com/bme280"),
	}
	linkParams = []param{linkParam("url", 500, "https://example.com/video").needed(), textParam("title", 1, 255, "How it is built"), choiceParam("link_type", linkTypes...).needed(), optionalParam("description", 5000, "Ten minutes")}
	toolParams = []param{textParam("name", 1, 255, "Soldering iron"), choiceParam("tool_type", "tool", "material").needed(), optionalParam("notes", 5000, "Any will do")}
)

// operations is the API for those who call it, an entry a route: who adds one to
// the table of routes describes it here. Methods, paths, who may use a route and
// what follows from that are taken from there; the types of answers, from the
// values in out.
func operations() []operation {
	return []operation{
		{pattern: "POST /accounts/register", tag: "Accounts", summary: "Make an account", body: registerParams, status: http.StatusCreated, out: userRead{},
			about: "Sends an e-mail that confirms the address. Input that is refused does not count for the limit.",
			also:  map[int]string{400: "The name or the address is taken."}},
		{pattern: "POST /api/register", tag: "Accounts", summary: "Make an account (old path)", body: registerParams, out: userRead{}, deprecated: "use POST /accounts/register",
			also: map[int]string{400: "The name or the address is taken."}},
		{pattern: "POST /api/login", tag: "Accounts", summary: "Sign in", body: loginParams, form: true, out: signInAnswer{},
			about: "Sets the cookies access_token and username. The token lives for 30 minutes; the cookie is renewed as long as its session lives.",
			also: map[int]string{401: "Name or password is wrong, or a code is needed: code is then totp_required or totp_invalid.",
				403: "The password has to be changed first; code is password_reset_required.", 429: "Too many failures lock for a while; code is locked."}},
		{pattern: "POST /auth/login", tag: "Accounts", summary: "Sign in (old path)", body: loginParams, form: true, out: signInAnswer{},
			also: map[int]string{401: "Name or password is wrong, or a code is needed."}},
		{pattern: "GET /logout", tag: "Accounts", summary: "Sign out", about: "Ends the session and removes the cookies.", out: message{},
			query: []param{flagParam("redirect").usually(true).like(false).saying("false answers with JSON")}, also: map[int]string{303: "To /login."}},
		{pattern: "GET /api/me", tag: "Accounts", summary: "Who is signed in, with profile", out: meAnswer{}},
		{pattern: "GET /api/auth/me", tag: "Accounts", summary: "Who is signed in (old path)", out: meAnswer{}},
		{pattern: "GET /api/viewer", tag: "Accounts", summary: "Who is signed in, for pages that ask by themselves", about: "Nobody is 200 too, with the id 0.", out: viewerAnswer{}},
		{pattern: "GET /me", tag: "Accounts", summary: "One's own name", out: usernameAnswer{}},
		{pattern: "GET /protected", tag: "Accounts", summary: "Whether a token is good", out: message{}},
		{pattern: "GET /accounts/me", tag: "Accounts", summary: "One's own account", out: userRead{}},
		{pattern: "PATCH /accounts/me", tag: "Accounts", summary: "Change one's own account", body: partly(registerParams[1:5]), out: userRead{}, about: "What is left out stays.",
			also: map[int]string{400: "The address is somebody else's."}},
		{pattern: "PATCH /api/me/email", tag: "Accounts", summary: "Change one's own address", body: []param{textParam("email", 3, 254, "countess@example.com").in("email")}, out: emailChange{},
			about: "Where addresses are confirmed, a new one counts once its link was opened.", also: map[int]string{400: "The address is somebody else's."}},
		{pattern: "POST /api/me/password", tag: "Accounts", summary: "Change one's own password", body: []param{textParam("current_password", 1, maxPassword, "Analytical-1").in("password"), passwordParam}, out: message{},
			about: "All other devices are signed out.", also: map[int]string{400: "The current password is wrong."}},
		{pattern: "PATCH /api/me/password", tag: "Accounts", summary: "The same", body: []param{textParam("current_password", 1, maxPassword, "Analytical-1").in("password"), passwordParam}, out: message{},
			also: map[int]string{400: "The current password is wrong."}},
		{pattern: "POST /accounts/reset-password", tag: "Accounts", summary: "Change one's own password (old path)", body: []param{textParam("old_password", 1, maxPassword, "Analytical-1").in("password"), passwordParam}, out: message{},
			also: map[int]string{400: "The old password is wrong."}},
		{pattern: "GET /api/me/activity", tag: "Accounts", summary: "How much one has written and liked", out: activity{}},
		{pattern: "GET /api/me/export", tag: "Accounts", summary: "All one's own data", media: "application/zip"},
		{pattern: "DELETE /api/me", tag: "Accounts", summary: "Delete one's own account", maybe: true, out: message{},
			body:  []param{optionalParam("password", maxPassword, "Analytical-1").in("password").saying("may be left out within 15 minutes of signing in")},
			about: "Comments stay without their author; projects go.", also: map[int]string{400: "This is the last admin.", 403: "The password is wrong or missing."}},
		{pattern: "DELETE /accounts/me", tag: "Accounts", summary: "The same", maybe: true, out: message{},
			body: []param{optionalParam("password", maxPassword, "Analytical-1").in("password")}, also: map[int]string{400: "This is the last admin.", 403: "The password is wrong or missing."}},

		{pattern: "GET /api/me/sessions", tag: "Sessions and two factors", summary: "Where one is signed in", out: []session{}},
		{pattern: "DELETE /api/me/sessions", tag: "Sessions and two factors", summary: "Sign out everywhere else", status: http.StatusNoContent},
		{pattern: "DELETE /api/me/sessions/{id}", tag: "Sessions and two factors", summary: "Sign out there", status: http.StatusNoContent},
		{pattern: "POST /api/me/totp", tag: "Sessions and two factors", summary: "Begin to set up a second factor", out: enrolment{}, about: "It counts once a code was confirmed (RFC 6238).", also: map[int]string{400: "There is one already."}},
		{pattern: "POST /api/me/totp/confirm", tag: "Sessions and two factors", summary: "Switch the second factor on", body: []param{textParam("code", 1, 40, "123456")}, out: backupCodesAnswer{},
			also: map[int]string{400: "The code is wrong, or nothing was begun."}},
		{pattern: "POST /api/me/totp/backup-codes", tag: "Sessions and two factors", summary: "Make new backup codes", body: secretParams, out: backupCodesAnswer{}, also: map[int]string{400: "Password or code is wrong."}},
		{pattern: "DELETE /api/me/totp", tag: "Sessions and two factors", summary: "Switch the second factor off", body: secretParams, status: http.StatusNoContent, also: map[int]string{400: "Password or code is wrong.", 403: "It is required here."}},

		{pattern: "POST /api/verify-email", tag: "Mail and codes", summary: "Confirm an address", body: []param{textParam("token", 1, 200, "the text behind token= in the e-mail's link")}, out: verified{}, also: map[int]string{400: "The link is wrong, was used or is too old."}},
		{pattern: "POST /api/me/verify-email/resend", tag: "Mail and codes", summary: "Ask for the link again", out: message{}, also: map[int]string{400: "The address is confirmed.", 403: "This server sends no mail; code is mail_off."}},
		{pattern: "POST /api/password/forgot", tag: "Mail and codes", summary: "Ask for a link to choose a new password", body: []param{textParam("email", 3, 254, "ada@example.com").in("email")}, out: message{},
			about: "The answer is the same whether or not there is such an account.", also: map[int]string{403: "This server sends no mail; code is mail_off."}},
		{pattern: "POST /api/password/reset", tag: "Mail and codes", summary: "Choose a new password by a link", body: []param{textParam("token", 1, 200, "the text behind token= in the e-mail's link"), passwordParam}, out: message{}, also: map[int]string{400: "The link is wrong, was used or is too old."}},
		{pattern: "POST /api/reset-password", tag: "Mail and codes", summary: "Choose a new password by an admin's code", body: []param{textParam("username", 1, 254, "ada"), textParam("reset_code", 1, 40, "K7Q2M9XA"), passwordParam}, out: message{}, also: map[int]string{400: "The code is wrong, was used or is too old."}},

		{pattern: "GET /profile/me", tag: "Profiles", summary: "One's own profile", out: profile{}},
		{pattern: "GET /profile/{username}", tag: "Profiles", summary: "Somebody's profile", out: profile{}, also: map[int]string{404: "There is no such account."}},
		{pattern: "GET /profile/{username}/comments", tag: "Profiles", summary: "What somebody has written", query: []param{numberParam("limit", 1, 200, 50).usually(50), offsetParam}, out: profileCommentsAnswer{}, also: map[int]string{404: "There is no such account."}},
		{pattern: "PUT /profile", tag: "Profiles", summary: "Change one's own profile", body: []param{optionalParam("location", 100, "London"), optionalParam("bio", 500, "I compute.")}, out: profileChange{}, also: map[int]string{400: "The bio is too long."}},
		{pattern: "POST /profile/picture", tag: "Profiles", summary: "Upload one's own picture", body: []param{fileParam("file").saying("png, jpeg, gif or webp up to 5 MB; stored as PNG within 400 × 400 pixels")}, out: pictureAnswer{}, also: map[int]string{400: "The file is no such picture, or too large."}},
		{pattern: "DELETE /profile/picture", tag: "Profiles", summary: "Delete one's own picture", out: message{}, also: map[int]string{404: "There is none."}},
		{pattern: "GET /profile_pictures/{file}", tag: "Profiles", summary: "A profile picture", media: "image/png", stored: true, also: map[int]string{404: "There is no such picture."}},
		{pattern: "GET /api/users/{username}/comments_count", tag: "Profiles", summary: "How many comments a profile counts", about: "Nobody has none.", out: countAnswer{}},
		{pattern: "GET /api/me/notifications", tag: "Profiles", summary: "Which letters one wants", out: notifications{}},
		{pattern: "PUT /api/me/notifications", tag: "Profiles", summary: "Choose which letters one wants", body: []param{flagParam("replies"), flagParam("mentions"), flagParam("projects"), flagParam("reports")}, out: notifications{}, about: "What is left out stays."},
		{pattern: "GET /api/me/warnings", tag: "Profiles", summary: "What moderators have told one", out: []warning{}},
		{pattern: "POST /api/me/warnings/{id}/seen", tag: "Profiles", summary: "Note that a warning was read", out: message{}},

		{pattern: "GET /api/summary", tag: "Pages", summary: "The counts of many pages", cached: true, out: []pageSummary{},
			query: []param{{name: "url", kind: "array", required: true, max: maxSummaries, example: []string{"blog/engine.html"}, about: "once for each page"}}},
		{pattern: "POST /interact/like", tag: "Likes", summary: "Like a page, or take it back", body: []param{pageParam}, out: likeAnswer{}},
		{pattern: "GET /interact/likes/{url}", tag: "Likes", summary: "The likes of a page", cached: true, out: pageLikesAnswer{}},
		{pattern: "GET /interact/like-status/{url}", tag: "Likes", summary: "The same in short", cached: true, out: likeStatusAnswer{}},
		{pattern: "GET /interact/user-like-status/{url}", tag: "Likes", summary: "Whether one likes a page", cached: true, out: userLikeAnswer{}},
		{pattern: "GET /interact/most-liked", tag: "Likes", summary: "The pages with the most likes", query: []param{limitParam}, out: []likedPage{}},
		{pattern: "POST /interact/refresh-most-liked", tag: "Likes", summary: "Nothing any more", about: "Counts are always up to date.", out: message{}},
		{pattern: "POST /api/likes", tag: "Likes", summary: "Like a page", body: []param{pageParam}, status: http.StatusCreated, out: likeRead{}, also: map[int]string{409: "One likes it already."}},
		{pattern: "DELETE /api/likes/{id}", tag: "Likes", summary: "Take a like back", status: http.StatusNoContent, also: map[int]string{403: "It is somebody else's."}},
		{pattern: "GET /api/likes/count", tag: "Likes", summary: "How a page is liked", query: []param{pageParam}, cached: true, out: likeCountAnswer{}},
		{pattern: "GET /api/likes/most-liked", tag: "Likes", summary: "The pages with the most likes", query: []param{limitParam}, out: []likedPage{}},
		{pattern: "POST /api/likes/refresh-view", tag: "Likes", summary: "Nothing any more", about: "Counts are always up to date.", out: message{}},
		{pattern: "POST /api/likes/entity", tag: "Likes", summary: "Like a project", body: entityParams, status: http.StatusCreated, out: likeRead{}, also: map[int]string{404: "There is no such project.", 409: "One likes it already."}},
		{pattern: "DELETE /api/likes/entity/{id}", tag: "Likes", summary: "Take a like back", status: http.StatusNoContent, also: map[int]string{403: "It is somebody else's."}},
		{pattern: "GET /api/likes/entity/count", tag: "Likes", summary: "How a project is liked", query: entityParams, cached: true, out: likeCountAnswer{}, also: map[int]string{404: "There is no such project."}},

		{pattern: "POST /interact/comment", tag: "Comments", summary: "Comment on a page", body: []param{pageParam, contentParam, parentParam}, out: commentRead{},
			also: map[int]string{400: "The text is empty, too long, or holds what is not allowed here.", 403: "A moderator has asked the author to pause.", 404: "There is no such parent comment."}},
		{pattern: "GET /interact/comments/{url}", tag: "Comments", summary: "The comments of a page", about: "X-Total-Count is the number of visible ones, replies included.", query: threadParams, cached: true, out: []commentWithUser{}},
		{pattern: "PUT /interact/comments/{id}", tag: "Comments", summary: "Edit one's own comment", body: []param{contentParam}, out: commentRead{}, also: map[int]string{400: "The text is not allowed, or the comment is hidden.", 403: "It is somebody else's, or too old to be edited."}},
		{pattern: "DELETE /interact/comments/{id}", tag: "Comments", summary: "Remove one's own comment", about: "Its replies stay.", out: message{}, also: map[int]string{400: "It is removed already.", 403: "It is somebody else's."}},
		{pattern: "GET /interact/comments/{id}/versions", tag: "Comments", summary: "What a comment said before", about: "For its author and admins; newest first.", out: []commentVersion{}, also: map[int]string{403: "It is somebody else's."}},
		{pattern: "POST /interact/comments/{id}/like", tag: "Comments", summary: "Like a comment, or take it back", out: likeAnswer{}},
		{pattern: "GET /interact/comments/{id}/likers", tag: "Comments", summary: "Who likes a comment", about: "The last ten, latest first.", out: likersAnswer{}},
		{pattern: "POST /interact/comments/{id}/report", tag: "Comments", summary: "Report a comment to the moderators", body: []param{choiceParam("reason", reportReasons...).needed(), optionalParam("details", 1000, "An advertisement")}, out: reportAnswer{},
			also: map[int]string{400: "It is one's own.", 403: "A moderator has asked the reporter to pause."}},
		{pattern: "POST /interact/entity/comment", tag: "Comments", summary: "Comment on a project", body: append(entityParams[:2:2], contentParam, parentParam), out: commentRead{},
			also: map[int]string{400: "The text is not allowed.", 403: "A moderator has asked the author to pause.", 404: "There is no such project or parent comment."}},
		{pattern: "GET /interact/entity/comments", tag: "Comments", summary: "The comments of a project", query: append(entityParams[:2:2], threadParams...), cached: true, out: []commentWithUser{}, also: map[int]string{404: "There is no such project."}},
		{pattern: "GET /feeds/comments.atom", tag: "Feeds", summary: "The newest comments, of all or of one page or project", media: "application/atom+xml", cached: true,
			query: []param{{name: "url", kind: "string", max: maxURL, example: "blog/engine.html"}, choiceParam("entity_type", "project"), numberParam("entity_id", 0, math.MaxInt32, 1).like(nil)}, also: map[int]string{404: "There is no such project."}},
		{pattern: "GET /feeds/users/{file}", tag: "Feeds", summary: "The newest comments of somebody", about: "The file is the name with .atom behind it.", media: "application/atom+xml", cached: true, also: map[int]string{404: "There is no such account."}},
		{pattern: "GET /feeds/projects.atom", tag: "Feeds", summary: "The newest projects", query: []param{optionalParam("tag", maxTagLength, "radio")}, media: "application/atom+xml", cached: true},

		{pattern: "POST /analytics/page-view", tag: "Page views", summary: "Report a view", about: "Taken as text/plain too, as navigator.sendBeacon sends it. The visitor's address is the connection's. Bots get the same answer and are not counted.",
			body: []param{pageParam, optionalParam("referrer", 0, "https://www.example.org/").saying("the page that led here; only its host is kept"), optionalParam("user_agent", 0, "").like(nil), optionalParam("ip_address", 0, "").like(nil).saying("ignored")}, out: viewLogged{}},
		{pattern: "GET /analytics/page-views/{url}", tag: "Page views", summary: "The views of a page", cached: true, out: pageViews{}},
		{pattern: "GET /analytics/page-views/{url}/timeline", tag: "Page views", summary: "The views of a page over time", query: []param{choiceParam("period", "weekly", "monthly", "annual").usually("weekly")}, cached: true, out: timeline{}},
		{pattern: "GET /analytics/most-viewed", tag: "Page views", summary: "The pages with the most views", query: []param{limitParam}, out: []pageViews{}},
		{pattern: "POST /analytics/refresh-page-view-counts", tag: "Page views", summary: "Nothing any more", about: "Counts are always up to date.", out: message{}},

		{pattern: "POST /api/projects", tag: "Projects", summary: "Begin a project", about: "It is a draft.", body: projectParams, status: http.StatusCreated, out: projectDetail{}, also: map[int]string{409: "One has as many as one may."}},
		{pattern: "GET /api/projects", tag: "Projects", summary: "Find projects", about: fmt.Sprintf("Published ones, and one's own drafts. A search finds the newest %d that fit.", maxFound), cached: true, out: gallery{}, also: map[int]string{401: "Drafts are asked for, and nobody is signed in."},
			query: []param{optionalParam("search", 200, "weather"), optionalParam("tag", maxTagLength, "radio"), optionalParam("difficulty", 50, "Beginner"), numberParam("author_id", 0, math.MaxInt32, 1).like(nil), choiceParam("status_filter", "draft", "published").like(nil),
				choiceParam("sort", "recent", "popular", "views", "downloads", "relevance", "most_liked", "most_viewed"), numberParam("page", 1, 1_000_000, 1).usually(1), numberParam("per_page", 1, 100, 20).usually(20),
				optionalParam("after", 500, "").like(nil).saying("next_cursor of the page before, instead of page")}},
		{pattern: "GET /api/projects/{project}", tag: "Projects", summary: "A project with all its parts", about: "Counts a view of a published one.", out: projectDetail{}},
		{pattern: "PUT /api/projects/{project}", tag: "Projects", summary: "Change a project", about: "What is left out stays; null or an empty text clears what may be missing.", body: partly(projectParams), out: projectDetail{}},
		{pattern: "DELETE /api/projects/{project}", tag: "Projects", summary: "Delete a project", about: "With its files, comments and likes.", status: http.StatusNoContent},
		{pattern: "POST /api/projects/{project}/publish", tag: "Projects", summary: "Publish a project", out: statusChange{}, also: map[int]string{400: "It is published already."}},
		{pattern: "PUT /api/projects/{project}/publish", tag: "Projects", summary: "The same", out: statusChange{}, also: map[int]string{400: "It is published already."}},
		{pattern: "POST /api/projects/{project}/unpublish", tag: "Projects", summary: "Take a project back", out: statusChange{}, also: map[int]string{400: "It is a draft already."}},
		{pattern: "PUT /api/projects/{project}/unpublish", tag: "Projects", summary: "The same", out: statusChange{}, also: map[int]string{400: "It is a draft already."}},
		{pattern: "GET /api/projects/{project}/download", tag: "Projects", summary: "A project as a ZIP", about: "README.md, files and pictures, and project.json, of which an import makes the project again. Counts a download.", media: "application/zip", cached: true},
		{pattern: "POST /api/projects/import", tag: "Projects", summary: "Make a project of its ZIP", about: "A draft equal to the project whose download the ZIP is, from here or another server.", body: []param{fileParam("bundle")},
			status: http.StatusCreated, out: remixAnswer{}, also: map[int]string{400: "The ZIP can't be taken.", 409: "There are as many projects as there may be."}},
		{pattern: "POST /api/projects/{project}/remix", tag: "Projects", summary: "Build on a project", about: "A draft of one's own with copies of its files, where its licence allows that.", status: http.StatusCreated, out: remixAnswer{},
			also: map[int]string{400: "Its files are more than one may store.", 403: "Its licence does not allow that, or it is a draft.", 409: "It was changed meanwhile, or one has as many as one may."}},
		{pattern: "GET /api/tags", tag: "Projects", summary: "The tags of published projects", about: "Most used first.", query: []param{optionalParam("q", maxTagLength, "ra"), numberParam("limit", 1, 200, 50).usually(50)}, cached: true, out: []tagCount{}},
		{pattern: "GET /api/licenses", tag: "Projects", summary: "The licences that a project can have", out: []license{}},
		{pattern: "POST /api/markdown", tag: "Projects", summary: "A text as pages show it", body: []param{optionalParam("text", maxContent, "A *little* text")}, out: markdownAnswer{}},
		{pattern: "GET /api/components/search", tag: "Projects", summary: "Find components", about: "With fewer than two characters none.", query: []param{optionalParam("q", 255, "bme"), limitParam}, out: []component{}},
		{pattern: "POST /api/components", tag: "Projects", summary: "Add a component that every project can use", body: []param{textParam("name", 1, 255, "BME280"), optionalParam("description", 5000, "Pressure, humidity, temperature"), linkParam("datasheet_url", 500, "https://example.com/bme280.pdf")},
			status: http.StatusCreated, out: component{}, also: map[int]string{400: "There is one of this name."}},

		{pattern: "GET /api/projects/{project}/steps", tag: "Parts of projects", summary: "The steps", out: []step{}},
		{pattern: "POST /api/projects/{project}/steps", tag: "Parts of projects", summary: "Add a step", body: append(stepParams[:3:3], numberParam("step_number", 1, 100_000, 1).saying("left out, the next one").like(nil)), status: http.StatusCreated, out: step{}, also: map[int]string{400: "The number is taken.", 409: "There are as many as there may be."}},
		{pattern: "PUT /api/projects/{project}/steps/reorder", tag: "Parts of projects", summary: "Put the steps in order", ids: "the ids of all steps, once each, in their new order", out: []step{}, also: map[int]string{400: "These are not all the steps, once each."}},
		{pattern: "PUT /api/projects/{project}/bom/reorder", tag: "Parts of projects", summary: "Put the bill of materials in order", ids: "the ids of all lines, once each, in their new order", out: []bomItem{}, also: map[int]string{400: "These are not all the lines, once each."}},
		{pattern: "PUT /api/projects/{project}/steps/{id}", tag: "Parts of projects", summary: "Change a step", body: partly(stepParams), out: step{}},
		{pattern: "DELETE /api/projects/{project}/steps/{id}", tag: "Parts of projects", summary: "Delete a step", status: http.StatusNoContent},
		{pattern: "GET /api/projects/{project}/bom", tag: "Parts of projects", summary: "The bill of materials", out: []bomItem{}},
		{pattern: "POST /api/projects/{project}/bom", tag: "Parts of projects", summary: "Add to the bill of materials", body: bomParams, status: http.StatusCreated, out: bomItem{}, also: map[int]string{409: "There are as many as there may be."}},
		{pattern: "PUT /api/projects/{project}/bom/{id}", tag: "Parts of projects", summary: "Change a line of the bill of materials", body: partly(bomParams), out: bomItem{}},
		{pattern: "DELETE /api/projects/{project}/bom/{id}", tag: "Parts of projects", summary: "Delete a line of the bill of materials", status: http.StatusNoContent},
		{pattern: "POST /api/projects/{project}/bom/import", tag: "Parts of projects", summary: "Read a bill of materials from a file", about: "Of KiCad, or of any spreadsheet as CSV.", query: []param{flagParam("preview").saying("saves nothing").usually(false)},
			body: []param{fileParam("csv")}, status: http.StatusCreated, out: bomImport{}, also: map[int]string{200: "What would be saved.", 400: "The file can't be read.", 409: "There are as many lines as there may be."}},
		{pattern: "GET /api/projects/{project}/bom.csv", tag: "Parts of projects", summary: "The bill of materials for a spreadsheet", media: "text/csv"},
		{pattern: "GET /api/projects/{project}/components", tag: "Parts of projects", summary: "The components", out: []projectComponent{}},
		{pattern: "POST /api/projects/{project}/components", tag: "Parts of projects", summary: "Add a component", body: []param{numberParam("component_id", 0, math.MaxInt32, 1).needed(), numberParam("quantity", 1, maxQuantity, 1).usually(1), optionalParam("notes", 5000, "Mind the voltage")},
			status: http.StatusCreated, out: projectComponent{}, also: map[int]string{400: "It is part of the project already.", 409: "There are as many as there may be."}},
		{pattern: "DELETE /api/projects/{project}/components/{id}", tag: "Parts of projects", summary: "Delete a component", status: http.StatusNoContent},
		{pattern: "GET /api/projects/{project}/links", tag: "Parts of projects", summary: "The links", out: []link{}},
		{pattern: "POST /api/projects/{project}/links", tag: "Parts of projects", summary: "Add a link", body: linkParams, status: http.StatusCreated, out: link{}, also: map[int]string{409: "There are as many as there may be."}},
		{pattern: "PUT /api/projects/{project}/links/{id}", tag: "Parts of projects", summary: "Change a link", body: partly(linkParams), out: link{}},
		{pattern: "DELETE /api/projects/{project}/links/{id}", tag: "Parts of projects", summary: "Delete a link", status: http.StatusNoContent},
		{pattern: "GET /api/projects/{project}/tools", tag: "Parts of projects", summary: "The tools and materials", out: []tool{}},
		{pattern: "POST /api/projects/{project}/tools", tag: "Parts of projects", summary: "Add a tool or material", body: toolParams, status: http.StatusCreated, out: tool{}, also: map[int]string{409: "There are as many as there may be."}},
		{pattern: "PUT /api/projects/{project}/tools/{id}", tag: "Parts of projects", summary: "Change a tool or material", body: partly(toolParams), out: tool{}},
		{pattern: "DELETE /api/projects/{project}/tools/{id}", tag: "Parts of projects", summary: "Delete a tool or material", status: http.StatusNoContent},

		{pattern: "GET /api/projects/{project}/files", tag: "Files and pictures", summary: "The files", out: []projectFile{}},
		{pattern: "POST /api/projects/{project}/files", tag: "Files and pictures", summary: "Upload a file", body: []param{fileParam("file").saying("up to 25 MB, of the kinds that the error names"), optionalParam("title", 0, "Firmware"), optionalParam("description", 5000, "For version 2"), uploadIDParam},
			status: http.StatusCreated, out: projectFile{}, also: map[int]string{400: "The file is of a wrong kind or too large, or there is no room for it.", 409: "It was sent twice at once, or there are as many as there may be."}},
		{pattern: "GET /api/projects/{project}/files/{id}/download", tag: "Files and pictures", summary: "A file", media: "application/octet-stream", stored: true},
		{pattern: "DELETE /api/projects/{project}/files/{id}", tag: "Files and pictures", summary: "Delete a file", status: http.StatusNoContent},
		{pattern: "GET /api/projects/{project}/images", tag: "Files and pictures", summary: "The pictures", out: []projectImage{}},
		{pattern: "POST /api/projects/{project}/images", tag: "Files and pictures", summary: "Upload a picture", body: []param{fileParam("image").saying("png, jpeg, gif, webp or svg up to 10 MB; file is another name for the field"), optionalParam("caption", 500, "The finished thing"), uploadIDParam},
			status: http.StatusCreated, out: projectImage{}, also: map[int]string{400: "The file is no such picture or too large, or there is no room for it.", 409: "It was sent twice at once, or there are as many as there may be."}},
		{pattern: "PUT /api/projects/{project}/images/reorder", tag: "Files and pictures", summary: "Put the pictures in order", ids: "the ids of all pictures, once each, in their new order", out: []projectImage{}, also: map[int]string{400: "These are not all the pictures, once each."}},
		{pattern: "GET /api/projects/{project}/images/{id}", tag: "Files and pictures", summary: "A picture", about: "Without the place and the camera that its file may name.", media: "image/*", stored: true},
		{pattern: "GET /api/projects/{project}/images/{id}/file", tag: "Files and pictures", summary: "The same", media: "image/*", stored: true},
		{pattern: "GET /api/projects/{project}/images/{id}/{size}", tag: "Files and pictures", summary: "A picture in one of its sizes", media: "image/*", stored: true},
		{pattern: "GET /api/projects/{project}/images/{id}/original", tag: "Files and pictures", summary: "A picture as it was uploaded", media: "application/octet-stream", stored: true},
		{pattern: "PUT /api/projects/{project}/images/{id}/primary", tag: "Files and pictures", summary: "Let a picture stand for the project", out: projectDetail{}},
		{pattern: "PUT /api/projects/{project}/primary-image/{id}", tag: "Files and pictures", summary: "The same", out: projectDetail{}},
		{pattern: "DELETE /api/projects/{project}/images/{id}", tag: "Files and pictures", summary: "Delete a picture", status: http.StatusNoContent},

		{pattern: "GET /interact/comments/flagged", tag: "Moderation", summary: "Comments that were reported", about: "Most reports first.", out: []flaggedComment{}},
		{pattern: "GET /api/admin/moderation", tag: "Moderation", summary: "What waits for a moderator", query: []param{optionalParam("q", 100, "spam").saying("in texts, names and addresses, or an id"), choiceParam("show", "open", "flagged", "hidden").usually("open"), numberParam("limit", 1, maxQueue, 50).usually(50), offsetParam}, out: []moderationItem{}},
		{pattern: "POST /interact/comments/{id}/hide", tag: "Moderation", summary: "Hide a comment", body: []param{reasonParam}, maybe: true, out: message{}},
		{pattern: "POST /interact/comments/{id}/unhide", tag: "Moderation", summary: "Show a comment again, or let one through", out: message{}},
		{pattern: "POST /interact/comments/{id}/clear-flags", tag: "Moderation", summary: "Clear the reports of a comment", out: message{}},
		{pattern: "POST /api/admin/comments/{id}/remove", tag: "Moderation", summary: "Remove a comment", out: message{}, also: map[int]string{400: "It is removed already."}},
		{pattern: "POST /api/admin/comments/{id}/warn", tag: "Moderation", summary: "Warn the author of a comment", body: []param{textParam("text", 1, 1000, "Please stay friendly.")}, out: message{}, also: map[int]string{400: "The author's account is gone."}},
		{pattern: "POST /api/admin/comments/{id}/ban", tag: "Moderation", summary: "Keep the author of a comment from writing", body: []param{numberParam("days", 1, maxBan, 7).needed(), reasonParam}, out: message{}, also: map[int]string{400: "The author is an admin, or gone."}},
		{pattern: "POST /api/admin/users/{id}/unban", tag: "Moderation", summary: "Let somebody write again", out: message{}},

		{pattern: "GET /api/admin/users", tag: "Administration", summary: "Find accounts", about: "The newest first; X-Total-Count is how many there are.", out: []adminUser{},
			query: []param{optionalParam("q", 100, "ada").saying("in names and addresses, or an id"), choiceParam("show", "all", "active", "inactive", "admins", "unverified", "locked", "doubles").usually("all"), numberParam("limit", 1, maxUsers, 1000).usually(maxUsers), offsetParam}},
		{pattern: "PATCH /accounts/admin/{id}/status", tag: "Administration", summary: "Switch an account off or on", body: []param{choiceParam("status", "active", "inactive").needed()}, out: adminAnswer{}, also: map[int]string{400: "The status is none of the two, or it is one's own account."}},
		{pattern: "POST /accounts/admin/{id}/reset-password", tag: "Administration", summary: "Set somebody's password", body: []param{passwordParam}, out: adminAnswer{}, also: map[int]string{400: "It is one's own account."}},
		{pattern: "DELETE /accounts/admin/{id}", tag: "Administration", summary: "Delete an account", out: message{}, also: map[int]string{400: "It is one's own."}},
		{pattern: "POST /api/admin/users/{id}/{action}", tag: "Administration", summary: "Do something to an account", out: adminAnswer{}, maybe: true,
			about: "reset-code makes a code by which the user can choose a password, and shows it once; force-reset asks for a new password at the next sign-in; unlock lifts the locks after failed attempts; verify confirms the address; sign-out ends all sessions; totp-reset removes the second factor; role, status and reset-password take the fields below.",
			body:  []param{choiceParam("role", "admin", "member").like(nil), choiceParam("status", "active", "inactive").like(nil), optionalParam("new_password", maxPassword, "").in("password").like(nil)}, also: map[int]string{400: "That can't be done to this account."}},
		{pattern: "POST /api/admin/urls/move", tag: "Administration", summary: "Move what belongs to a renamed page", body: []param{{name: "old", kind: "string", required: true, max: maxURL, example: "old.html"}, {name: "new", kind: "string", required: true, max: maxURL, example: "new.html"}}, out: move{},
			also: map[int]string{400: "The two are the same page."}},
		{pattern: "GET /api/admin/views", tag: "Administration", summary: "Page views per day, page, referrer and bot", query: []param{choiceParam("days", "30", "90", "365").usually("30"), numberParam("limit", 1, maxTraffic, 100).usually(100)}, out: traffic{}},
		{pattern: "POST /api/admin/projects/{id}/feature", tag: "Administration", summary: "Put a project on the front page", out: message{}, also: map[int]string{400: "It is a draft."}},
		{pattern: "POST /api/admin/projects/{id}/unfeature", tag: "Administration", summary: "Take a project from the front page", out: message{}},
		{pattern: "POST /api/admin/projects/{id}/unpublish", tag: "Administration", summary: "Take a project off the site", about: "It is a draft again, which its author can mend and publish. The author is told why by e-mail, and on the draft.",
			body: []param{textParam("note", 1, 2000, "The battery gets hot: please add a fuse.")}, out: message{}, also: map[int]string{400: "It is a draft already."}},
		{pattern: "POST /api/admin/log-level", tag: "Administration", summary: "Change the level of the log for a while", body: []param{choiceParam("level", "debug", "info", "warn", "error").needed(), numberParam("minutes", 0, 24*60, 15).usually(15).saying("0 takes it back")}, out: logLevelAnswer{}},

		{pattern: "GET /embed.js", tag: "Operation", summary: "The script for other sites' pages", media: "text/javascript", cached: true},
		{pattern: "GET /health", tag: "Operation", summary: "Whether the server is well", about: "Details are for admins and the networks of ALLOWED_METRICS.", out: healthState{}, down: true},
		{pattern: "GET /livez", tag: "Operation", summary: "Whether the process is there", out: message{}},
		{pattern: "GET /readyz", tag: "Operation", summary: "Whether the server takes requests", about: "Not while it stops.", out: healthState{}, down: true},
		{pattern: "GET /metrics", tag: "Operation", summary: "Metrics for Prometheus", about: "For admins and the networks of ALLOWED_METRICS.", media: "text/plain", also: map[int]string{404: "Whoever asks may not see them."}},
		{pattern: "GET /openapi.json", tag: "Operation", summary: "This document", media: "application/json", cached: true},
	}
}
