// Comments, likes and views of Chatter on any page; docs/EMBEDDING.md says how.
// It runs under a strict Content-Security-Policy: texts become text nodes, and
// styles a constructed sheet in each element's own shadow tree.
(() => {
  "use strict";
  const base = new URL(".", document.currentScript.src).href;
  const sheet = new CSSStyleSheet();
  // Text, links and lines take the colour of the page around; what has a
  // background has a text colour with it. So all can be read on any page.
  sheet.replaceSync(`
    :host { display: block; text-align: start; --line: var(--chatter-line, color-mix(in srgb, currentColor 25%, transparent));
      --edge: var(--chatter-edge, color-mix(in srgb, currentColor 65%, transparent));
      --muted: var(--chatter-muted, color-mix(in srgb, currentColor 85%, transparent));
      --accent: var(--chatter-accent, light-dark(#0d6b45, #62cf98)); --on-accent: var(--chatter-on-accent, light-dark(#fff, #0b1f15));
      --radius: var(--chatter-radius, 6px); }
    :host([data-chatter="likes"]), :host([data-chatter="views"]) { display: inline-block; }
    :host([hidden]), [hidden] { display: none !important; }
    * { box-sizing: border-box; }
    :focus-visible { outline: 3px solid currentColor; outline-offset: 2px; }
    h2 { font-size: 1.25em; line-height: 1.3; margin: 0 0 .5rem; }
    .head h2 { margin: 0; }
    p, form { margin: 0 0 .75em; }
    a { color: inherit; text-underline-offset: .18em; }
    button, input, select, textarea { font: inherit; }
    button { min-height: 2.5rem; padding: .35rem .9rem; border: 1px solid var(--edge); border-radius: var(--radius); background: none; color: inherit; cursor: pointer; }
    button:hover { text-decoration: underline; }
    button[aria-disabled="true"] { opacity: .6; cursor: progress; }
    .main { border-color: var(--accent); background: var(--accent); color: var(--on-accent); font-weight: 600; }
    .main:focus-visible { outline-color: var(--accent); }
    .small { min-height: 2rem; padding: .15rem .5rem; border-color: transparent; font-size: .9em; }
    [aria-pressed="true"] { font-weight: 600; border-color: currentColor; }
    label { display: block; font-weight: 600; margin-bottom: .25em; }
    input, textarea, select { padding: .5rem; border: 1px solid var(--edge); border-radius: var(--radius); background: var(--chatter-field, Field); color: var(--chatter-field-text, FieldText); }
    input, textarea { display: block; width: 100%; margin-bottom: .5rem; }
    textarea { resize: vertical; min-height: 6em; }
    .row { display: flex; flex-wrap: wrap; gap: .25rem .75rem; align-items: center; }
    .head { justify-content: space-between; margin-bottom: .75em; }
    .row > p, .row > label { margin: 0; }
    .tools { margin-left: -.5rem; }
    ol { list-style: none; margin: 0; padding: 0; }
    li ol { padding-left: clamp(.6rem, 3vw, 1.5rem); border-left: 2px solid var(--line); }
    article { padding: .75em 0 .5em; border-top: 1px solid var(--line); overflow-wrap: anywhere; }
    li li article { border-top: 0; }
    .text { white-space: pre-wrap; margin: .35em 0; }
    .muted, time { color: var(--muted); font-size: .9em; }
    code { font-family: ui-monospace, monospace; font-size: .9em; }
    .avatar { display: inline-grid; place-items: center; width: 1.75em; height: 1.75em; border-radius: 50%; background: var(--accent); color: var(--on-accent); font-weight: 600; }
    .error { display: block; padding: .5em .75em; border-radius: var(--radius); background: light-dark(#fbe6e1, #3c1f1c); color: light-dark(#8f1d16, #ffb9b0); }
    .error:empty { display: none; }
    .sr { position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
    dialog { width: calc(100% - 2rem); max-width: 25rem; padding: 1.25rem; border: 1px solid; border-radius: var(--radius); background: Canvas; color: CanvasText; }
    dialog::backdrop { background: rgb(0 0 0 / .5); }`);

  // el makes an element; what it has no property for becomes an attribute.
  function el(tag, properties, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
      if (name in element) element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child != null));
    return element;
  }
  const sr = (text) => el("span", { className: "sr" }, text);

  // call asks Chatter. Its error is a sentence for the person who reads it.
  async function call(path, method = "GET", body) {
    let answer;
    try {
      answer = await fetch(base + path, { method, body, credentials: "include" });
    } catch {
      throw new Error("The comment server can't be reached. Please try again in a moment.");
    }
    const data = await answer.json().catch(() => null);
    if (answer.ok) return data;
    const error = new Error((data && data.detail) || "The comment server has a problem. Please try again later.");
    throw Object.assign(error, { status: answer.status, code: data && data.code });
  }

  let me = { id: 0 }; // who is signed in, once a part of the page has to know
  const found = []; // {kind, url, part} of every element
  const of = (...kinds) => found.filter((f) => kinds.includes(f.kind));
  const refreshAll = () => Promise.all([summaries(of("likes")), ...of("comments").map((f) => f.part.refresh())]);

  // ownPage is an address of Chatter's that leads back here.
  function ownPage(path) {
    const back = location.href.length > 500 ? location.origin + location.pathname : location.href;
    return base + path + "?return_to=" + encodeURIComponent(back);
  }

  // signIn asks for name and password without leaving the page, and resolves
  // to whether somebody has signed in.
  function signIn(root, url) {
    return new Promise((resolve) => {
      const input = (label, name, autocomplete, type = "text") => {
        const field = el("input", { name, type, autocomplete, required: true, id: "sign-in-" + name, autocapitalize: "none", part: "field" });
        return { field, box: el("p", {}, el("label", { htmlFor: field.id }, label), field) };
      };
      const name = input("Username or e-mail address", "username", "username");
      const password = input("Password", "password", "current-password", "password");
      const code = input("Code of your second factor", "totp", "one-time-code");
      code.box.hidden = true; // until it is asked for
      code.field.required = false;
      const error = el("p", { className: "error", part: "error", role: "alert" });
      const send = el("button", { className: "main", part: "button main" }, "Sign in");
      const form = el("form", { part: "form" }, error, name.box, password.box, code.box,
        el("p", { className: "row" }, send, el("button", { type: "button", part: "button", onclick: () => dialog.close() }, "Cancel")));
      const dialog = el("dialog", { part: "dialog", lang: "en", "aria-labelledby": "sign-in-title" },
        el("h2", { id: "sign-in-title" }, "Sign in"), form,
        el("p", { className: "muted" }, el("a", { href: ownPage("register") }, "Create an account"), " · ",
          el("a", { href: ownPage("login") }, "Sign in on a page of its own")));
      let done = false;
      form.onsubmit = async (event) => {
        event.preventDefault();
        if (send.ariaDisabled === "true") return;
        send.ariaDisabled = "true";
        error.textContent = "";
        try {
          const fields = new URLSearchParams({ username: name.field.value, password: password.field.value });
          if (code.field.value) fields.set("totp", code.field.value.trim());
          await call("api/login", "POST", fields);
          me = await call("api/viewer");
          done = !!me.id;
          if (done) dialog.close();
          else {
            error.append("The password was right, but this page can't see that you are signed in: your browser keeps the cookie from other sites, or your account has to be completed first. ",
              el("a", { href: base + "thread?url=" + encodeURIComponent(url) }, "Go on at the comments' own page"), ".");
          }
        } catch (e) {
          error.textContent = e.message;
          if (e.code === "totp_required") {
            code.box.hidden = false;
            code.field.required = true;
            code.field.focus();
          } else if (e.code === "password_reset_required") {
            error.append(" ", el("a", { href: ownPage("login") }, "Choose a new password"), ".");
          } else (code.box.hidden ? password : code).field.select();
        }
        send.ariaDisabled = null;
      };
      dialog.onclose = async () => {
        dialog.remove();
        if (done) await refreshAll().catch(() => {});
        resolve(done);
      };
      root.append(dialog);
      dialog.showModal();
    });
  }

  // like toggles a like. Who is not signed in yet does that first, and may turn
  // out to like it already.
  async function like(root, url, path, body, isLiked) {
    try {
      return await call(path, "POST", body);
    } catch (e) {
      if (e.status !== 401) throw e;
    }
    return (await signIn(root, url)) && !isLiked() ? call(path, "POST", body) : null;
  }

  const heart = (button, liked, count, of) => {
    button.ariaPressed = String(liked);
    button.replaceChildren(el("span", { ariaHidden: "true" }, liked ? "♥ " : "♡ "), "Like", sr(of), " ", el("span", { part: "count" }, count));
  };

  // Likes of a page.
  function likes(root, url) {
    let liked = false;
    const button = el("button", { type: "button", part: "like button" });
    const error = el("p", { className: "error", part: "error", role: "alert" });
    const show = (count) => heart(button, liked, count, " this page, likes:");
    button.onclick = async () => {
      error.textContent = "";
      try {
        const answer = await like(root, url, "interact/like", JSON.stringify({ url }), () => liked);
        if (!answer) return;
        liked = answer.liked;
        show(answer.like_count);
      } catch (e) {
        error.textContent = e.message;
      }
    };
    show("");
    root.append(el("div", { lang: "en" }, button, error));
    return {
      show(summary) {
        liked = summary.user_has_liked;
        show(summary.like_count);
      },
    };
  }

  // Views of a page.
  function views(root, url) {
    const text = el("span", { part: "views", lang: "en" });
    root.append(text);
    const part = {
      show(summary) {
        const first = part.logged && !summary.view_count; // ours, which may be on its way
        text.title = first ? "" : summary.view_count.toLocaleString();
        text.replaceChildren(el("span", { part: "count" }, first ? "1" : summary.view_count_formatted), first || summary.view_count === 1 ? " view" : " views");
      },
      log() {
        part.logged = true;
        navigator.sendBeacon(base + "analytics/page-view", JSON.stringify({ url }));
      },
    };
    return part;
  }

  // prose writes a comment's text with `code`, **bold** and *italic*.
  function prose(text) {
    const marks = /(`[^`\n]+`|(?<![\w*])(?:\*\*(?=\S)[^*\n]*[^*\s]\*\*|\*(?=\S)[^*\n]*[^*\s]\*)(?![\w*]))/;
    return text.split(marks).map((piece, i) => {
      if (i % 2 === 0) return piece;
      const mark = piece[0] === "`" ? ["code", 1] : piece[1] === "*" ? ["strong", 2] : ["em", 1];
      return el(mark[0], {}, piece.slice(mark[1], -mark[1]));
    });
  }

  const deepest = 4; // replies below stand in one line with those that they answer

  // Comments of a page.
  function comments(root, url) {
    let sort = "recent";
    let list = [];
    const drafts = new Map(); // texts of the open forms, by "reply-ID" and "edit-ID"
    const status = el("p", { className: "sr", role: "status" });
    const title = el("h2", { part: "title", id: "title", tabIndex: -1 }, "Comments");
    const order = el("select", { part: "field sort", id: "sort" }, el("option", { value: "recent" }, "Newest"), el("option", { value: "popular" }, "Most liked"));
    const orderRow = el("div", { className: "row", hidden: true }, el("label", { htmlFor: "sort" }, "Sort by"), order);
    const writing = el("div", { part: "writing" });
    const state = el("p", { className: "muted" }, "Loading the comments…");
    const box = el("ol", { part: "comments" });
    root.append(el("section", { lang: "en", "aria-labelledby": "title" }, el("div", { className: "row head" }, title, orderRow), writing, state, box, status));

    const find = (key) => root.querySelector(`[data-key="${key}"]`);
    const say = (text) => (status.textContent = text);
    const failed = (e) => state.replaceChildren(el("span", { className: "error", part: "error", role: "alert" }, e.message));

    async function load() {
      const flat = await call(`interact/comments/${encodeURIComponent("/" + url)}?flat=true&sort=${sort}`);
      list = flat;
      render();
    }

    function render() {
      const focused = root.activeElement && root.activeElement.dataset.key;
      const total = list.filter((c) => c.user_id).length;
      title.textContent = total === 0 ? "Comments" : total === 1 ? "1 comment" : total + " comments";
      orderRow.hidden = list.length < 2;
      state.textContent = list.length ? "" : "Nobody has commented yet.";
      const places = new Map(); // by id: {item, into, depth, name}
      const top = [];
      for (const c of list) {
        const above = places.get(c.parent_comment_id);
        const depth = above ? above.depth + 1 : 0;
        const item = el("li", {}, show(c, above));
        let into = null;
        if (above && depth <= deepest) into = above.own ||= above.item.appendChild(el("ol"));
        else if (above) into = above.into;
        if (into) into.append(item);
        else top.push(item);
        places.set(c.id, { item, into, depth, name: c.username });
      }
      box.replaceChildren(...top);
      if (focused && find(focused)) find(focused).focus();
    }

    // show makes the article of a comment, with its open forms.
    function show(c, above) {
      const article = el("article", { part: "comment", tabIndex: -1, "data-key": "comment-" + c.id });
      if (!c.user_id) {
        article.append(el("p", { className: "muted" }, c.content));
        return article;
      }
      const of = ` the comment of ${c.username}`;
      const tools = el("div", { className: "row tools", part: "tools" });
      const error = el("p", { className: "error", part: "error", role: "alert" });
      const tool = (key, properties, act, ...label) => {
        const button = el("button", { type: "button", className: "small", part: "button tool", "data-key": `${key}-${c.id}`, ...properties }, ...label);
        button.onclick = async () => {
          error.textContent = "";
          try {
            await act(button);
          } catch (e) {
            (find("error-" + c.id) || error).textContent = e.message;
          }
        };
        tools.append(button);
        return button;
      };
      // open shows a form in the article, until it is sent or cancelled.
      const open = (kind, label, text, act) => {
        const key = `${kind}-${c.id}`;
        const button = tools.querySelector(`[data-key="${key}"]`);
        if (article.querySelector(`[data-form="${key}"]`)) return close();
        function close() {
          drafts.delete(key);
          article.querySelector(`[data-form="${key}"]`).remove();
          button.ariaExpanded = "false";
          button.focus();
        }
        button.ariaExpanded = "true";
        drafts.set(key, text);
        const form = newForm(key, label, text, kind === "edit" ? "Save" : "Post reply", async (value) => {
          await act(value);
          drafts.delete(key);
        }, close);
        form.oninput = () => drafts.set(key, form.elements[0].value);
        article.append(form);
        return form;
      };
      const reply = () => open("reply", `Reply to ${c.username}`, drafts.get("reply-" + c.id) || "", (content) => post(content, c.id));
      const edit = () => open("edit", "Your comment", drafts.get("edit-" + c.id) ?? c.content, async (content) => {
        await call("interact/comments/" + c.id, "PUT", JSON.stringify({ content }));
        await settle(c.id, "Your comment is changed.");
      });

      heart(tool("like", { part: "like button tool" }, async (button) => {
        const now = () => list.find((other) => other.id === c.id) || c;
        const answer = await like(root, url, `interact/comments/${c.id}/like`, undefined, () => now().user_has_liked);
        if (!answer) return;
        Object.assign(now(), { user_has_liked: answer.liked, like_count: answer.like_count });
        heart(find("like-" + c.id) || button, answer.liked, answer.like_count, of + ", likes:");
      }), c.user_has_liked, c.like_count, of + ", likes:");
      tool("reply", { ariaExpanded: "false" }, async () => {
        if (!me.id && !(await signIn(root, url))) return;
        const form = article.isConnected ? reply() : (find("reply-" + c.id).click(), null);
        if (form) form.elements[0].focus();
      }, "Reply", sr(` to ${c.username}`));
      if (c.user_id === me.id) {
        tool("edit", { ariaExpanded: "false" }, () => {
          const form = edit();
          if (form) form.elements[0].focus();
        }, "Edit", sr(" your comment"));
        tool("remove", {}, async () => {
          if (!confirm("Remove this comment?")) return;
          await call("interact/comments/" + c.id, "DELETE");
          await settle(c.id, "Your comment is removed.");
        }, "Remove", sr(" your comment"));
      } else {
        // Reporting takes a form of its own, on the comments' own page.
        tools.append(el("a", { className: "tool", part: "tool", href: `${base}thread?url=${encodeURIComponent(url)}#comment-${c.id}` }, "Report", sr(" the comment of " + c.username)));
      }
      const day = new Date(c.created_at);
      article.append(
        el("header", { className: "row" }, el("span", { className: "avatar", part: "avatar", ariaHidden: "true" }, [...c.username][0].toUpperCase()),
          el("strong", { part: "author", lang: "", dir: "auto" }, c.username), above ? el("span", { className: "muted" }, "to " + above.name) : null,
          el("a", { href: "#comment-" + c.id, part: "time" }, el("time", { dateTime: c.created_at, title: day.toLocaleString() }, day.toLocaleDateString(undefined, { dateStyle: "medium" }))),
          c.edited_at ? el("span", { className: "muted" }, "edited") : null,
          c.awaiting_review ? el("span", { className: "muted" }, "waits for a moderator") : null),
        el("p", { className: "text", part: "text", lang: "", dir: "auto" }, ...prose(c.content)), tools, error);
      error.dataset.key = "error-" + c.id;
      if (drafts.has("reply-" + c.id)) reply();
      if (drafts.has("edit-" + c.id) && c.user_id === me.id) edit();
      return article;
    }

    // newForm makes a form for one text. A text that is refused stays in it.
    function newForm(key, label, text, send, act, cancel) {
      const error = el("p", { className: "error", part: "error", role: "alert", id: "error-" + key });
      const area = el("textarea", { part: "field", id: key + "-text", required: true, rows: 3, value: text, "aria-describedby": error.id, "data-key": key + "-text" });
      const button = el("button", { className: "main", part: "button main" }, send);
      const form = el("form", { part: "form", "data-form": key }, el("label", { htmlFor: area.id }, label), area, error,
        el("p", { className: "row" }, button, cancel ? el("button", { type: "button", part: "button", onclick: cancel }, "Cancel") : null));
      form.onsubmit = async (event) => {
        event.preventDefault();
        if (button.ariaDisabled === "true") return;
        button.ariaDisabled = "true";
        error.textContent = "";
        area.ariaInvalid = null;
        try {
          try {
            await act(area.value);
          } catch (e) {
            if (e.status !== 401 || !(await signIn(root, url))) throw e;
            await act(area.value);
          }
        } catch (e) {
          // After a sign-in the form may have been made anew.
          const shown = root.getElementById(error.id) || error;
          shown.textContent = e.status === 401 ? "Sign in to send this; your text is still here." : e.message;
          const field = root.getElementById(area.id) || area;
          field.ariaInvalid = "true";
          field.focus();
        }
        button.ariaDisabled = null;
      };
      return form;
    }

    async function post(content, parent) {
      const made = await call("interact/comment", "POST", JSON.stringify({ url, content, parent_comment_id: parent }));
      drafts.delete("reply-" + parent);
      await settle(made.id, "Your comment is posted.", "Thank you. Your comment is shown once a moderator has read it.");
    }

    // settle loads what has changed and leads to the comment id.
    async function settle(id, done, missing = done) {
      drafts.delete("edit-" + id);
      await load();
      const shown = find("comment-" + id);
      (shown || title).focus();
      say(shown ? done : missing);
      if (!shown && missing !== done) state.textContent = missing;
    }

    // offer shows the form for a new comment, or the way to one.
    function offer() {
      if (me.id) {
        const kept = writing.querySelector("textarea");
        if (kept) return;
        const form = newForm("new", "Write a comment", "", "Post comment", async (content) => {
          await post(content);
          form.reset();
        });
        form.append(el("p", { className: "row muted" }, "Signed in as " + me.username, el("button", { type: "button", className: "small", part: "button", onclick: leave }, "Sign out")));
        writing.replaceChildren(form);
      } else {
        writing.replaceChildren(el("p", {}, el("button", { type: "button", className: "main", part: "button main", onclick: async () => {
          if (await signIn(root, url)) root.getElementById("new-text").focus();
        } }, "Sign in to comment")));
      }
    }

    async function leave() {
      try {
        await call("logout?redirect=false");
        me = { id: 0 };
        await refreshAll();
        title.focus();
        say("You are signed out.");
      } catch (e) {
        failed(e);
      }
    }

    // lead goes to the comment that the address names.
    function lead() {
      const match = /^#comment-(\d+)$/.exec(location.hash);
      const article = match && find("comment-" + match[1]);
      if (article) article.focus();
    }

    order.onchange = async () => {
      sort = order.value;
      await load().catch(failed);
    };
    addEventListener("hashchange", lead);
    const start = async () => {
      try {
        offer();
        await load();
        lead();
      } catch (e) {
        failed(e);
        state.append(" ", el("button", { type: "button", part: "button", onclick: start }, "Try again"));
      }
    };
    return {
      start,
      refresh: async () => {
        offer();
        await load();
      },
    };
  }

  // summaries asks for the counts of all parts with one request, or as many as
  // addresses of a usual length allow.
  async function summaries(wanted) {
    const batches = [];
    let room = 0;
    for (const url of new Set(wanted.map((f) => f.url))) {
      const length = encodeURIComponent(url).length + 5;
      if (length > room || batches.at(-1).length === 100) {
        batches.push([]);
        room = 6000;
      }
      batches.at(-1).push(url);
      room -= length;
    }
    await Promise.all(batches.map(async (urls) => {
      const answers = await call("api/summary?" + urls.map((url) => "url=" + encodeURIComponent(url)).join("&"));
      answers.forEach((summary, i) => wanted.filter((f) => f.url === urls[i]).forEach((f) => f.part.show(summary)));
    }));
  }

  async function start() {
    const kinds = { comments, likes, views };
    for (const element of document.querySelectorAll("[data-chatter]")) {
      const kind = element.dataset.chatter;
      if (!Object.hasOwn(kinds, kind) || element.shadowRoot) continue;
      const root = element.attachShadow({ mode: "open" });
      root.adoptedStyleSheets = [sheet];
      const url = element.dataset.url ?? location.pathname;
      found.push({ kind, url, part: kinds[kind](root, url) });
    }

    // One load of a page is one view: of the page itself, or of the one page
    // that is named. A list of other pages has looked at none of them.
    const shown = of("views");
    const viewed = shown.find((f) => f.url === location.pathname) || (new Set(shown.map((f) => f.url)).size === 1 ? shown[0] : null);
    if (viewed) {
      if (document.prerendering) document.addEventListener("prerenderingchange", viewed.part.log, { once: true });
      else viewed.part.log();
    }
    // Without the counts the buttons still work.
    summaries(of("likes", "views")).catch(() => {});
    if (of("comments").length) {
      me = await call("api/viewer").catch(() => me);
      of("comments").forEach((f) => f.part.start());
    }
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
