// Comments, likes and views of a page on any site:
//   <script src="https://chatter.example.com/embed.js" defer></script>
//   <div data-chatter="comments"></div>   (or likes, or views)
// See docs/EMBED.md. Nothing here makes HTML of text, and no style is inline,
// so that the strictest Content-Security-Policy allows it.
(() => {
  "use strict";

  const script = document.currentScript;
  const base = new URL(script.src).origin;
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`
    :host { display: block; color-scheme: light dark; --_accent: var(--chatter-accent, light-dark(#0d6b45, #62cf98));
      --_text: var(--chatter-text, inherit); --_soft: var(--chatter-soft, light-dark(#5a5f60, #a9aca7));
      --_line: var(--chatter-line, light-dark(#d6cfbf, #454c4d)); --_field: var(--chatter-field, light-dark(#fff, #1e2223));
      --_ink: var(--chatter-accent-text, light-dark(#fff, #0b1f15)); --_bad: var(--chatter-bad, light-dark(#a8201a, #ff9a8f));
      color: var(--_text); font: var(--chatter-font, inherit); line-height: 1.5; overflow-wrap: anywhere; }
    :host([data-theme="light"]) { color-scheme: light; }
    :host([data-theme="dark"]) { color-scheme: dark; }
    :host([hidden]) { display: none; }
    * { box-sizing: border-box; }
    [hidden] { display: none !important; }
    ol { list-style: none; margin: 0; padding: 0; }
    li li { margin-left: min(4vw, 1.75rem); }
    li li li li li { margin-left: 0; }
    article { padding: .75rem 0; border-top: 1px solid var(--_line); }
    p { margin: 0 0 .5rem; }
    a { color: var(--_accent); }
    .soft, time { color: var(--_soft); font-size: .875em; }
    .bad { color: var(--_bad); }
    [role="status"]:not(:empty) { position: sticky; bottom: 0; margin: 0; padding: .5rem .75rem; border: 1px solid; border-radius: 6px; background: var(--_field); }
    .row { display: flex; flex-wrap: wrap; gap: .25rem .75rem; align-items: center; }
    button, input, textarea, select { font: inherit; color: inherit; }
    button { min-height: 2.25rem; padding: .25rem .75rem; border: 1px solid var(--_line); border-radius: 6px; background: none; cursor: pointer; }
    button.main { background: var(--_accent); border-color: var(--_accent); color: var(--_ink); }
    button.text { border: 0; padding: .25rem; color: var(--_soft); text-decoration: underline; font-size: .875em; }
    button[aria-pressed="true"] { color: var(--_accent); border-color: var(--_accent); }
    button:disabled { opacity: .6; }
    :focus-visible { outline: 3px solid var(--_accent); outline-offset: 2px; }
    label { display: block; margin: .5rem 0; }
    textarea, input, select { display: block; width: 100%; padding: .5rem; border: 1px solid var(--_soft); border-radius: 6px; background: var(--_field); }
    textarea { min-height: 5rem; resize: vertical; }
    form { margin: .5rem 0 1rem; max-width: 40rem; }
    code { padding: .1em .3em; border-radius: 3px; background: var(--_line); font-family: ui-monospace, monospace; }
    .sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }`);

  let me = null; // who is signed in
  const widgets = [];
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    for (const [name, value] of Object.entries(properties)) if (name.includes("-")) element.setAttribute(name, value);
    element.append(...children.filter((child) => child || child === 0));
    return element;
  };
  const button = (text, does, properties = {}) => {
    const b = make("button", { type: "button", textContent: text, ...properties });
    b.addEventListener("click", () => does(b));
    return b;
  };
  const plural = (n, one, many) => `${n} ${n === 1 ? one : many}`;

  // ask returns the JSON of an answer, or throws an Error with the sentence that
  // the server has for people. A body without a content type needs no preflight.
  async function ask(method, path, body, credentials = "include") {
    let answer;
    try {
      answer = await fetch(base + path, { method, credentials, body: body && (body instanceof URLSearchParams ? body : JSON.stringify(body)) });
    } catch {
      throw new Error("The comments can't be reached at the moment. Please try again.");
    }
    const data = await answer.json().catch(() => ({}));
    if (answer.ok) return Object.assign(data, { total: answer.headers.get("X-Total-Count") });
    throw Object.assign(new Error(data.detail || "Something went wrong. Please try again."), { status: answer.status, code: data.code });
  }

  // Text with line breaks, `code`, **bold** and *italic*, as nodes.
  function formatted(text) {
    const out = document.createDocumentFragment();
    const marks = /(`[^`\n]+`)|\*\*([^\s*](?:[^\n]*?[^\s*])?)\*\*|(?<![\w*])\*([^\s*](?:[^\n*]*[^\s*])?)\*(?![\w*])|(\n)/g;
    let at = 0;
    for (const found of text.matchAll(marks)) {
      out.append(text.slice(at, found.index));
      at = found.index + found[0].length;
      if (found[1]) out.append(make("code", { textContent: found[1].slice(1, -1) }));
      else if (found[2]) out.append(make("strong", {}, formatted(found[2])));
      else if (found[3]) out.append(make("em", {}, formatted(found[3])));
      else out.append(make("br"));
    }
    out.append(text.slice(at));
    return out;
  }

  // A widget is an element of the page with what is said aloud about it.
  class Widget {
    constructor(host) {
      this.host = host;
      this.kind = host.dataset.chatter;
      this.url = host.dataset.url || location.pathname;
      this.root = host.attachShadow({ mode: "open" });
      this.root.adoptedStyleSheets = [sheet];
      this.body = make("div");
      this.status = make("p", { className: "soft", role: "status", "aria-live": "polite" });
      this.root.append(this.body, this.status);
      widgets.push(this);
    }
    say(text, bad) {
      this.status.textContent = text;
      this.status.classList.toggle("bad", Boolean(bad));
    }
    // run does something that can fail, with the button off meanwhile. Who turns
    // out to be signed out is asked to sign in.
    async run(does, b) {
      if (b) b.disabled = true;
      try {
        this.say("");
        return await does();
      } catch (error) {
        if (error.status === 401 && this.kind !== "views") {
          me = null;
          this.signIn();
        }
        this.say(error.status === 401 ? "Please sign in first." : error.message, true);
      } finally {
        if (b) b.disabled = false;
      }
    }
    get thread() { return `${base}/thread?url=${encodeURIComponent(this.url)}`; }

    // signIn shows a form that signs in on this page. Where the browser keeps the
    // cookie from this site, and with a second factor, the server's own page does.
    signIn() {
      if (this.form?.isConnected) return this.form.querySelector("input").focus();
      const name = make("input", { name: "username", autocomplete: "username", required: true });
      const password = make("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
      const there = `${base}/login?return_to=${encodeURIComponent(location.href)}`;
      this.form = make("form", { "aria-label": "Sign in" },
        make("label", {}, "Name or e-mail address", name), make("label", {}, "Password", password),
        make("div", { className: "row" }, make("button", { className: "main", textContent: "Sign in" }),
          button("Cancel", () => this.form.remove()), make("a", { href: there, textContent: "Sign in on the other page" }),
          make("a", { href: base + "/register", textContent: "Register" })));
      this.form.addEventListener("submit", (event) => {
        event.preventDefault();
        const send = this.form.querySelector("button");
        send.disabled = true;
        ask("POST", "/api/login", new URLSearchParams({ username: name.value, password: password.value }))
          .then(whoAmI)
          .then(() => {
            if (!me) return location.assign(there);
            this.form.remove();
            this.say(`You are signed in as ${me.username}.`);
            return Promise.all(widgets.map((widget) => widget.kind !== "views" && widget.show()));
          })
          .catch((error) => (error.code ? location.assign(there) : this.say(error.message, true)))
          .finally(() => (send.disabled = false));
      });
      this.body.after(this.form);
      name.focus();
    }

    show() { return this.run(() => this[this.kind]()); }

    async views() {
      if (this.host.dataset.count !== "false") await ask("POST", "/analytics/page-view", { url: this.url, referrer: document.referrer }, "omit");
      const [page] = await ask("GET", `/api/summary?url=${encodeURIComponent(this.url)}`, null, "omit");
      this.body.replaceChildren(make("span", { textContent: page.view_count_formatted, title: String(page.view_count) }), page.view_count === 1 ? " view" : " views");
    }

    async likes() {
      const [page] = await ask("GET", `/api/summary?url=${encodeURIComponent(this.url)}`);
      const count = make("span");
      const like = button("", () => this.run(async () => set(await ask("POST", "/interact/like", { url: this.url })), like));
      const set = ({ liked, like_count }) => {
        like.setAttribute("aria-pressed", liked);
        count.textContent = like_count;
      };
      like.append(make("span", { textContent: "♥ ", "aria-hidden": "true" }), "Like ", count);
      set({ liked: page.user_has_liked, like_count: page.like_count });
      this.body.replaceChildren(like);
    }

    async comments() {
      const list = await ask("GET", `/interact/comments/${encodeURIComponent(this.url)}${this.sort === "popular" ? "?sort=popular" : ""}`);
      const head = make("div", { className: "row" }, make("strong", { textContent: plural(Number(list.total), "comment", "comments") }));
      if (list.length > 1) {
        const other = this.sort === "popular" ? "recent" : "popular";
        head.append(button(other === "popular" ? "Most liked first" : "Newest first", () => { this.sort = other; this.show(); }, { className: "text" }));
      }
      const write = me ? this.writer("Write a comment", "Post comment", (content) => ask("POST", "/interact/comment", { url: this.url, content }), this.main?.value)
        : make("p", {}, button("Sign in to comment", () => this.signIn()), " ", make("a", { className: "soft", href: this.thread, textContent: "Open the discussion page" }));
      this.main = write.querySelector("textarea"); // whose text outlives what happens elsewhere
      this.body.replaceChildren(head, write, make("ol", {}, ...list.map((comment) => this.comment(comment))));
    }

    // writer is a form with one text; what was typed stays when it is refused.
    writer(label, action, send, value = "") {
      const area = make("textarea", { maxLength: 5000, required: true, value });
      const submit = make("button", { className: "main", textContent: action });
      const form = make("form", {}, make("label", {}, label, area), submit);
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.run(async () => {
          const made = await send(area.value);
          area.value = "";
          await this.comments();
          this.root.getElementById(`comment-${made.id}`)?.focus();
          this.say(made.awaiting_review ? "A moderator will look at your comment before others can see it." : "Saved.");
        }, submit);
      });
      return form;
    }

    comment(c) {
      const path = `/interact/comments/${c.id}`;
      const item = make("article", { id: `comment-${c.id}`, tabIndex: -1 });
      const below = make("ol", {}, ...c.replies.map((reply) => this.comment(reply)));
      if (!c.user_id) {
        item.append(make("p", { className: "soft", textContent: c.content }));
        return make("li", {}, item, below);
      }
      const when = new Date(c.created_at);
      item.append(make("div", { className: "row" }, make("strong", { textContent: c.username }),
        make("time", { dateTime: c.created_at, textContent: when.toLocaleDateString(), title: when.toLocaleString() }),
        c.edited_at && make("span", { className: "soft", textContent: "edited", title: new Date(c.edited_at).toLocaleString() }),
        c.awaiting_review && make("span", { className: "soft", textContent: "waits for a moderator" })),
      make("p", {}, formatted(c.content)));
      const place = make("div");
      const toggle = (text, build) => button(text, (b) => {
        const open = b.getAttribute("aria-expanded") === "true";
        tools.querySelectorAll("[aria-expanded]").forEach((other) => other.setAttribute("aria-expanded", "false"));
        place.replaceChildren(...(open ? [] : [build()]));
        b.setAttribute("aria-expanded", String(!open));
        place.querySelector("textarea, select")?.focus();
      }, { className: "text", "aria-expanded": "false" });
      const count = make("span", { textContent: c.like_count });
      const like = button("", () => this.run(async () => {
        const now = await ask("POST", `${path}/like`);
        like.setAttribute("aria-pressed", now.liked);
        count.textContent = now.like_count;
      }, like), { className: "text", "aria-pressed": String(c.user_has_liked) });
      like.append(make("span", { className: "sr", textContent: `Like the comment of ${c.username}, likes: ` }), make("span", { textContent: "♥ ", "aria-hidden": "true" }), count);
      const tools = make("div", { className: "row" }, !c.awaiting_review && like);
      if (me && !c.awaiting_review) tools.append(toggle("Reply", () => this.writer(`Reply to ${c.username}`, "Post reply", (content) =>
        ask("POST", "/interact/comment", { url: this.url, content, parent_comment_id: c.id }))));
      if (me?.id === c.user_id) {
        tools.append(toggle("Edit", () => this.writer("Your comment", "Save", (content) => ask("PUT", path, { content }), c.content)),
          button("Remove", (b) => confirm("Remove this comment?") && this.run(async () => {
            await ask("DELETE", path);
            await this.comments();
            this.say("The comment is removed.");
          }, b), { className: "text" }));
      } else if (me) tools.append(toggle("Report", () => this.reporter(path, place)));
      item.append(tools, place);
      return make("li", {}, item, below);
    }

    reporter(path, place) {
      const reason = make("select", {}, ...[["spam", "Advertising or spam"], ["abusive", "It attacks somebody"],
        ["inappropriate", "It does not belong here"], ["other", "Something else"]].map(([value, text]) => make("option", { value, textContent: text })));
      const details = make("textarea", { maxLength: 1000 });
      const send = make("button", { className: "main", textContent: "Report to the moderators" });
      const form = make("form", {}, make("label", {}, "What is wrong with it?", reason), make("label", {}, "What should the moderators know? (optional)", details), send);
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.run(async () => {
          const { message } = await ask("POST", `${path}/report`, { reason: reason.value, details: details.value });
          place.replaceChildren();
          this.say(message + ".");
        }, send);
      });
      return form;
    }
  }

  async function whoAmI() {
    me = await ask("GET", "/api/me").catch(() => null);
  }

  async function start() {
    const hosts = [...document.querySelectorAll("[data-chatter]")].filter((host) => ["comments", "likes", "views"].includes(host.dataset.chatter) && !host.shadowRoot);
    const made = hosts.map((host) => new Widget(host));
    // Only comments show who is signed in.
    if (made.some((widget) => widget.kind === "comments")) await whoAmI();
    made.forEach((widget) => widget.show());
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
