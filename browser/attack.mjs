// Writes what would run as a script, if anything let it, into every text that
// people can write, and looks at every page that shows it: node attack.mjs JSON.
import { setup, launch, visitor, faults, say, signIn } from "./site.mjs";

const password = "Workshop-2026"; // of everybody in the demo
const foreign = "https://evil.example";
const hit = "hit(1)";
// Each breaks out of something: text, attributes, addresses, comments, Markdown.
const corpus = [
  `<script>${hit}</script>`, `"><script>${hit}</script>`, `'"><img src=x onerror=${hit}>`, `</title></textarea></script><svg onload=${hit}>`, `<svg><animate onbegin=${hit} attributeName=x dur=1s>`,
  `" autofocus onfocus=${hit} x="`, `' onmouseover='${hit}' x='`, `<a href="javascript:${hit}">a</a>`, `<iframe srcdoc="<script>parent.${hit}</script>">`, `<math><mtext><table><mglyph><style><!--</style><img title="--><img src=1 onerror=${hit}>">`,
  `<noscript><p title="</noscript><img src=x onerror=${hit}>">`, `<form><button formaction=javascript:${hit}>b`, `--><!--<img src=x onerror=${hit}>-->`, `{{constructor.constructor('${hit}')()}}`, `<base href="${foreign}/"><link rel=stylesheet href="${foreign}/x.css">`,
  `<meta http-equiv=refresh content="0;url=javascript:${hit}">`, `\u003cscript\u003e${hit}\u003c/script\u003e＜script＞${hit}＜/script＞`, `<scr<script>ipt>${hit}</scr</script>ipt>`, `\u2028</script><script>${hit}//`, `&lt;img src=x onerror=${hit}&gt;&#60;svg/onload=${hit}&#62;`,
];
const markdown = [
  `[a](javascript:${hit})`, `[a](JaVaScRiPt&#58;${hit})`, `[a](java\nscript:${hit})`, `[a](&#x6a;avascript:${hit})`, `![a](x" onerror="${hit})`, `![a"onerror=${hit} x="](x.png)`, `[a](data:text/html,<script>${hit}</script>)`, `[a](vbscript:${hit})`,
  `<javascript:${hit}>`, `[a]: javascript:${hit}\n\n[a]`, `| a"onmouseover=${hit} | <img src=x onerror=${hit}> |\n| :-: | --- |\n| [x](javascript:${hit}) | \`</code><script>${hit}</script>\` |`, "```\"><script>" + hit + "</script>\n</code></pre><script>" + hit + "</script>\n```",
  `[a](https://a.example/" onmouseover="${hit})`, `[a](x 'y" onclick="${hit}')`, `[\`a\`](\u0001javascript:${hit})`, `[a](//evil.example/x)`,
];
const long = [...corpus, ...markdown].join("\n\n");
const svg = `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" height="9" onload="${hit}"><script>${hit}</script><a xlink:href="javascript:${hit}"><rect width="9" height="9"/></a><foreignObject><body xmlns="http://www.w3.org/1999/xhtml" onload="${hit}"/></foreignObject><image href="${foreign}/x.png"/></svg>`;
const page = `<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body onload="${hit}"><script>${hit}</script></body></html>`;

// caller calls the API as somebody; what is refused is of no use to an attacker.
async function caller(name, secret) {
  const answer = await fetch(setup.site + "/api/login", { method: "POST", body: new URLSearchParams({ username: name, password: secret }) });
  const { access_token: token } = await answer.json();
  if (!token) throw new Error(`${name} can't sign in`);
  return async (method, path, body, form = false) => {
    const headers = { authorization: "Bearer " + token, "user-agent": corpus[2] };
    const answer = await fetch(setup.site + path, { method, headers: form || !body ? headers : { ...headers, "content-type": "application/json" }, body: form || !body ? body : JSON.stringify(body) });
    if (answer.status >= 500) say(path, `answered ${answer.status}`);
    const made = await answer.json().catch(() => ({}));
    return answer.ok ? made : {};
  };
}

function file(field, name, content, texts) {
  const form = new FormData();
  form.set(field, new Blob([content]), name);
  for (const [key, value] of Object.entries(texts)) form.set(key, value);
  return form;
}

// write puts the corpus into every field, and returns the pages that it can be
// seen on.
async function write() {
  const mira = await caller("mira", password);
  const admin = await caller(setup.admin, setup.password);
  const pages = { reader: ["/", "/projects", "/tags", "/u/mira", "/docs"], author: ["/account", "/account/profile", "/account/sessions", "/account/data", "/projects/new"], admin: ["/admin", "/admin/users", "/admin/projects", "/admin/moderation", "/admin/moves", "/admin/log", "/admin/system", "/admin/storage", "/admin/views"], raw: [] };
  await mira("PATCH", "/accounts/me", { firstname: corpus[1].slice(0, 50), lastname: corpus[2].slice(0, 50), location: corpus[3], bio: long.slice(0, 1000) });
  await mira("PUT", "/profile", { location: corpus[5], bio: corpus.slice(0, 8).join(" ") });
  const details = { description: long, background: long, difficulty_level: corpus[2].slice(0, 50), estimated_time: corpus[2].slice(0, 50), license: corpus[1] };
  const { id } = await mira("POST", "/api/projects", { title: corpus[3], description: long, background: long, tags: corpus.slice(0, 9) });
  const project = "/api/projects/" + id;
  for (const [name, value] of Object.entries(details)) await mira("PUT", project, { [name]: value });
  for (const address of [`javascript:${hit}`, `https://a.example/'onmouseover=${hit}`, `data:text/html,<script>${hit}</script>`, ` javascript:${hit}//https://`, `https://a.example/\`${hit}`]) {
    await mira("PUT", project, { code_link: address });
    await mira("POST", project + "/links", { url: address, title: corpus[1], link_type: "video", description: corpus[2] });
    await mira("POST", project + "/bom", { item_name: corpus[0], link: address });
    await mira("POST", "/api/components", { name: "c " + address, datasheet_url: address });
  }
  for (const [i, text] of corpus.entries()) {
    const made = await mira("POST", "/api/components", { name: `${i} ${text}`.slice(0, 255), description: text });
    await mira("POST", project + "/components", { component_id: made.id, notes: text });
    await mira("POST", project + "/bom", { item_name: text, description: text });
    await mira("POST", project + "/tools", { name: text, tool_type: "tool", notes: text });
    await mira("POST", project + "/links", { url: "https://a.example/", title: text, link_type: "other", description: text });
    await mira("POST", project + "/files", file("file", `${text.replace(/[/\\]/g, "")}${i}.md`, long, { title: text, description: text }), true);
    const small = await mira("POST", "/api/projects", { title: text, description: text });
    await mira("POST", `/api/projects/${small.id}/publish`);
    pages.reader.push(`/projects/${small.id}`);
    await mira("POST", "/analytics/page-view", { url: "p/" + text, referrer: `https://${i}.example/` });
  }
  for (const text of [long, ...markdown.slice(0, 4)]) await mira("POST", project + "/steps", { title: corpus[4], content: text });
  const { id: picture } = await mira("POST", project + "/images", file("image", `a"onload=${hit}.svg`, svg, { caption: corpus[2] }), true);
  for (const [name, content] of [["a.xml", page], ["b.txt", page], ["c.json", page], ["d.md", page]]) await mira("POST", project + "/files", file("file", name, content, {}), true);
  await mira("POST", project + "/publish");
  const { files = [] } = await mira("GET", project);
  for (const one of files.slice(0, 6)) pages.reader.push(`/projects/${id}/files/${one.id}`);
  pages.raw.push(...files.slice(0, 4).map((one) => `${project}/files/${one.id}/download`), `${project}/images/${picture}`, `${project}/images/${picture}/original`);

  const url = `p/${corpus[2]}`;
  for (const target of [{ url: "attack" }, { url }]) {
    for (const text of [corpus.slice(0, 10).join("\n"), corpus.slice(10).join("\n").replaceAll("example", "xample"), markdown.join("\n").slice(0, 4000), "**&lt;script&gt;** `<b` @mira *&quot;*", "hello"]) await mira("POST", "/interact/comment", { ...target, content: text });
    await mira("POST", "/interact/like", target);
  }
  const { id: said } = await mira("POST", "/interact/entity/comment", { entity_type: "project", entity_id: id, content: corpus[8] + " spoken " + corpus[6] });
  if (said) {
    await admin("POST", `/interact/comments/${said}/report`, { reason: "other", details: corpus[2] });
    await admin("POST", `/api/admin/comments/${said}/warn`, { text: corpus[2] });
  }
  await admin("POST", "/api/admin/urls/move", { old: "old/" + corpus[1], new: "new/" + corpus[2] });
  pages.author.push(`/projects/${id}/edit`, "/thread?url=" + encodeURIComponent(url));
  pages.reader.push(`/projects/${id}`, "/thread?url=attack", "/thread?url=" + encodeURIComponent(url));
  pages.raw.push("/feeds/comments.atom", "/feeds/projects.atom", "/feeds/users/mira.atom", "/sitemap.xml", "/openapi.json", project, "/interact/comments/attack");
  // What is only reflected.
  for (const text of corpus.slice(0, 8).concat(`javascript:${hit}`, `//evil.example/"onload=${hit}`)) {
    const q = encodeURIComponent(text);
    pages.reader.push(`/projects?search=${q}&tag=${q}`, `/thread?url=${q}`, `/login?return_to=${q}&error=${q}&verified=${q}`, `/register?return_to=/${q}`);
  }
  const q = encodeURIComponent(corpus[2]);
  pages.reader.push(`/tags/${q}`, `/u/${q}`, `/${q}`, `/verify-email?token=${q}`, `/reset-password?token=${q}`, `/unlock?token=${q}`, `/unsubscribe?token=${q}`, `/forgot-password?return_to=${q}`, `/projects?after=${q}&sort=${q}`, `/docs#${q}`);
  pages.admin.push(`/admin/users?q=${q}&show=${q}`, `/admin/projects?q=${q}`, `/admin/log?q=${q}`, `/admin/moves?old=${q}&new=${q}`, `/admin/projects/${id}?list=${q}`, `/admin/users/1?list=${q}`, `/projects/${id}`);
  return pages;
}

// injected lists what only a text of somebody's could have brought into the
// page, whether the policy let it run or not.
function injected([site, embedding]) {
  const found = [...(window.hits || [])];
  const origin = (address) => URL.canParse(address, document.baseURI) ? new URL(address, document.baseURI).origin : "none";
  const look = (root) => {
    for (const element of root.querySelectorAll("*")) {
      for (const { name, value } of element.attributes) {
        if (name.startsWith("on") || name === "srcdoc" || name === "style" || ["href", "src", "action", "formaction", "xlink:href", "poster"].includes(name) && /^[\s\u0000-\u0020]*(javascript|vbscript|data:text)/i.test(value)) found.push(`${element.localName} ${name}=${value.slice(0, 60)}`);
      }
      const own = element.localName === "script" && (element.type === "application/ld+json" || element.src && [site, embedding].includes(origin(element.src)));
      if (["iframe", "object", "embed", "base", "script", "style", "frame", "applet", "math", "foreignObject"].includes(element.localName) && !own) found.push(element.outerHTML.slice(0, 120));
      if (element.localName === "link" && ![site, embedding].includes(origin(element.href)) && element.rel === "stylesheet" || element.localName === "meta" && element.httpEquiv) found.push(element.outerHTML.slice(0, 120));
      if (element.localName === "form" && origin(element.getAttribute("action") || "") !== site) found.push(element.outerHTML.slice(0, 120));
      if (element.shadowRoot) look(element.shadowRoot);
    }
  };
  look(document);
  return found;
}

async function looker(browser, name, secret) {
  const page = await visitor(browser, name);
  for (const status of [400, 404, 422]) page.expects.add(status);
  page.on("dialog", (dialog) => say(page.url(), `a dialog says ${dialog.message()}`));
  await page.addInitScript(() => {
    window.hits = [];
    window.hit = () => window.hits.push("a script of a text ran");
  });
  if (secret) await signIn(page, name, secret);
  return page;
}

async function look(page, addresses) {
  for (const address of addresses) {
    const url = new URL(address, setup.site).href;
    await page.goto(url, { waitUntil: "load" });
    for (const what of await page.evaluate(injected, [setup.site, setup.page])) say(url, `holds ${what}`);
  }
}

const browser = await launch();
try {
  const pages = await write();
  const reader = await looker(browser, "visitor");
  const author = await looker(browser, "mira", password);
  const admin = await looker(browser, setup.admin, setup.password);
  const embedded = await looker(browser, "visitor");
  await Promise.all([
    look(reader, pages.reader),
    look(admin, pages.admin),
    (async () => {
      await look(author, pages.author);
      // What the editor puts into its preview.
      await author.evaluate(async (text) => {
        const answer = await fetch("/api/markdown", { method: "POST", body: JSON.stringify({ text }) });
        const box = document.createElement("div");
        box.innerHTML = (await answer.json()).html;
        document.body.append(box);
      }, long);
      for (const what of await author.evaluate(injected, [setup.site, setup.page])) say("the preview", `holds ${what}`);
    })(),
    (async () => {
      await embedded.goto(setup.page + "/attack");
      await embedded.locator("[data-chatter=comments] article").first().waitFor();
      for (const what of await embedded.evaluate(injected, [setup.site, setup.page])) say("the embedded comments", `hold ${what}`);
    })(),
  ]);
  // What is opened by itself: its scripts may be there, and must not run.
  const context = await browser.newContext();
  const bare = await context.newPage();
  await bare.addInitScript(() => { window.hit = () => console.log("HIT"); });
  bare.on("console", (message) => message.text() === "HIT" && say(bare.url(), "a script of a file ran"));
  bare.on("dialog", (dialog) => say(bare.url(), `a dialog says ${dialog.message()}`));
  // What the policy blocks is announced as a request, and not sent; what is sent fails, since there is no other host.
  bare.on("requestfailed", (request) => request.url().startsWith(foreign) && request.failure().errorText !== "csp" && say(bare.url(), `asked another host: ${request.url()} ${request.failure().errorText}`));
  for (const address of pages.raw) {
    await bare.goto(setup.site + address, { waitUntil: "load" }).catch((error) => { if (!/Download is starting|ERR_ABORTED/.test(error.message)) throw error; });
  }
  console.log(`${pages.reader.length + pages.author.length + pages.admin.length + pages.raw.length + 2} pages`);
} catch (error) {
  say("attack", error.stack);
}
await browser.close();
process.exitCode = faults.length ? 1 : 0;
