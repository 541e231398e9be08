// What scripts add to the editor: forms are sent without leaving the page, drafts
// are saved while they are typed, and what is typed is kept in the browser until
// the server has it. What sections and rows look like only the server knows: they
// come from it ready to be put into the page.
"use strict";

const editor = document.querySelector(".editor");
const isDraft = "draft" in editor.dataset;
const isNew = editor.dataset.project === "new";
const project = `/projects/${editor.dataset.project}`;
const byID = (id, within = document) => within.querySelector("#" + CSS.escape(id));
const button = (text, does, properties = {}) => {
  const b = make("button", { type: "button", className: "button small plain", textContent: text, ...properties });
  b.addEventListener("click", does);
  return b;
};

// What everybody sees of saving.
const stateText = make("span");
const stateButtons = make("span", { className: "actions" });
const stateLine = make("p", { className: "save-state", hidden: true }, stateText, stateButtons);
editor.append(stateLine);

// Screen readers are told again, also where it is the same words.
function announce(text) {
  say("");
  requestAnimationFrame(() => say(text));
}

function showState(text, kind = "", ...buttons) {
  stateLine.className = "save-state " + kind;
  stateLine.hidden = false;
  stateText.textContent = text;
  stateButtons.replaceChildren(...buttons);
}

const clockTime = (date) => date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });

function showSaved() {
  const waiting = guarded().filter(isDirty);
  if (!waiting.length) return showState("Saved " + clockTime(new Date()), "good");
  showUnsaved(waiting);
}

function showUnsaved(forms) {
  const other = forms.find((form) => !savesItself(form));
  if (!other) return showState("Changed");
  showState("Unsaved changes", "", button("Save", () => other.requestSubmit(), { ariaLabel: "Save " + other.dataset.what }));
}

// Fields and forms

const fieldsOf = (form) => [...form.elements].filter((field) => field.name && !["hidden", "file", "submit", "button", "fieldset"].includes(field.type));

function differs(field) {
  if (field.type === "checkbox") return field.checked !== field.defaultChecked;
  if (field.tagName === "SELECT") return [...field.options].some((option) => option.selected !== option.defaultSelected) && field.value !== (field.querySelector("option[selected]") || field.options[0])?.value;
  return field.value !== field.defaultValue;
}

const wasRefused = (form) => Boolean(form.querySelector(":scope > .notice.bad"));
const inConflict = (form) => Boolean(form.querySelector(".theirs"));
const isDirty = (form) => wasRefused(form) || fieldsOf(form).some(differs);
const guarded = () => [...editor.querySelectorAll("form[data-what]")];
const savesItself = (form) => isDraft && !form.id.endsWith("-new-form") && !inConflict(form);

// The values of a form, by the ids of its fields.
const valuesOf = (form) => Object.fromEntries(fieldsOf(form).map((field) => [field.id, field.type === "checkbox" ? field.checked : field.value]));

function fill(form, values) {
  for (const field of fieldsOf(form)) {
    if (!(field.id in values)) continue;
    if (field.type === "checkbox") field.checked = values[field.id];
    else field.value = values[field.id];
    if (field.matches("textarea")) grow(field);
  }
}

// These values are what the server has.
function settle(form, values) {
  for (const field of fieldsOf(form)) {
    const value = values[field.id];
    if (field.type === "checkbox") field.defaultChecked = value;
    else if (field.tagName === "SELECT") for (const option of field.options) option.defaultSelected = option.value === value;
    else {
      const typed = field.value;
      field.defaultValue = value;
      if (field.value !== typed) field.value = typed;
    }
  }
}

const sameValues = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// What is typed is kept in the browser, for this person and this project, until
// the server has it.
const keptPrefix = `chatter:${editor.dataset.user}:${editor.dataset.project}:`;
const keptFor = 30 * 24 * 3600 * 1000; // milliseconds
const store = (() => {
  try {
    localStorage.setItem("chatter", "");
    localStorage.removeItem("chatter");
    return localStorage;
  } catch {
    return null;
  }
})();

function keep(form) {
  if (!form.dataset.what) return; // nothing is typed into it
  try {
    store?.setItem(keptPrefix + form.id, JSON.stringify({ at: Date.now(), what: form.dataset.what, values: valuesOf(form) }));
    if (store) delete form.dataset.guard; // leaving loses nothing
  } catch {
    form.dataset.guard = ""; // it is full
  }
}

const forget = (id) => store?.removeItem(keptPrefix + id);

function listKept() {
  const list = [];
  for (const key of Object.keys(store || {})) {
    if (!key.startsWith("chatter:")) continue;
    let kept = {};
    try {
      kept = JSON.parse(store.getItem(key));
    } catch { /* not ours to read any more */ }
    if (!(kept.at > Date.now() - keptFor) || !kept.what) store.removeItem(key);
    else if (key.startsWith(keptPrefix)) list.push({ id: key.slice(keptPrefix.length), ...kept });
  }
  return list.sort((a, b) => a.at - b.at);
}

// Offers what was typed before and never reached the server.
function offerKept() {
  const rows = [];
  for (const kept of listKept()) {
    const form = byID(kept.id);
    if (form && sameValues({ ...valuesOf(form), ...kept.values }, valuesOf(form))) {
      forget(kept.id);
      continue;
    }
    if (form && isDirty(form)) continue; // it is being typed
    const row = make("li");
    const rowID = kept.id.replace(/-form$/, "");
    const done = () => {
      row.remove();
      if (!list.children.length) box.remove();
    };
    const text = Object.values(kept.values).filter((value) => typeof value === "string" && value.trim()).join("\n\n");
    const buttons = make("div", { className: "actions" });
    if (form || byID(rowID)) buttons.append(button("Take it over", async () => {
      const target = byID(kept.id) || (await openRow(byID(rowID)));
      if (!target) return;
      const details = target.closest("details");
      if (details) details.open = true;
      fill(target, kept.values);
      fieldsOf(target)[0].focus();
      done();
      noticed(target);
    }));
    buttons.append(button("Discard", () => {
      forget(kept.id);
      done();
      announce("Discarded.");
      editor.querySelector("h1").focus();
    }, { ariaLabel: "Discard " + kept.what }));
    row.append(make("p", {}, `${kept.what[0].toUpperCase()}${kept.what.slice(1)}, typed on ${new Date(kept.at).toLocaleString(undefined, { dateStyle: "long", timeStyle: "short" })}`),
      make("details", {}, make("summary", { textContent: "Show it" }), make("pre", { textContent: text })), buttons);
    rows.push(row);
  }
  const list = make("ul", {}, ...rows);
  const box = make("section", { className: "notice kept-typing" }, make("h2", { textContent: "Typed here and not saved" }), list);
  box.setAttribute("aria-label", "Typed here and not saved");
  editor.querySelector(".kept-typing")?.remove();
  if (rows.length) editor.querySelector("h1").closest(".section-head, h1").after(box);
}

// Talking to the server

// ask returns a page of the server's, or throws an error in words. Nothing but
// the section or the row that is named is in the page, and what depends on all.
async function ask(address, section, options = {}) {
  let answer, text;
  try {
    answer = await fetch(address, { ...options, headers: { "Chatter-Section": section } });
    text = await answer.text();
  } catch {
    throw Object.assign(new Error("offline, kept in this browser"), { offline: true });
  }
  const page = new DOMParser().parseFromString(text, "text/html");
  if (answer.status === 401) {
    askToSignIn();
    throw new Error("signed out, kept in this browser");
  }
  if (!byID(section.split("-")[0], page)) throw new Error(page.querySelector(".error-page .lead")?.textContent || "the server could not answer");
  return { page, ok: answer.ok, status: answer.status, query: new URL(answer.url).searchParams };
}

let again = []; // what waits for somebody to be signed in, or on line
const signInDialog = make("dialog", { className: "panel dialog" });
signInDialog.setAttribute("aria-labelledby", "signed-out");

function askToSignIn() {
  if (signInDialog.open) return;
  const fault = make("p", { className: "fault" });
  fault.setAttribute("role", "alert");
  const check = async () => {
    if (!signInDialog.open || document.hidden) return;
    const who = await fetch("/api/viewer").then((answer) => answer.json()).catch(() => ({}));
    if (who.username !== editor.dataset.user) {
      fault.textContent = who.username ? `You are signed in as ${who.username} now, and this was typed by ${editor.dataset.user}.` : "";
      return !who.username;
    }
    window.removeEventListener("focus", check);
    document.removeEventListener("visibilitychange", check);
    signInDialog.close();
    announce("You are signed in again.");
    const waiting = again;
    again = [];
    waiting.forEach((repeat) => repeat());
  };
  signInDialog.replaceChildren(make("h2", { id: "signed-out", textContent: "You are signed out" }),
    make("p", { textContent: "Nothing is lost: what you typed is kept in this browser, and the files that you chose in this tab. Sign in, come back to this tab, and it goes on where it was." }), fault,
    make("div", { className: "actions" }, make("a", { className: "button", href: "/login?return_to=/account", target: "_blank", textContent: "Sign in in a new tab" }),
      button("I have signed in", async () => (await check()) && (fault.textContent = "You are not signed in yet."), { className: "button plain" }),
      button("Later", () => signInDialog.close(), { className: "button plain" })));
  editor.append(signInDialog);
  window.addEventListener("focus", check);
  document.addEventListener("visibilitychange", check);
  signInDialog.showModal();
}

// Puts a section as the server sent it in place of the one in the page. Forms in
// which somebody types stay, but for the one that was sent.
function place(page, section, sent) {
  const focused = document.activeElement;
  const focusID = focused.id;
  const anchor = focused.closest("li[id], form[id], section[id]");
  const before = anchor?.getBoundingClientRect().top;
  for (const id of new Set([section, "publish"])) {
    const old = byID(id);
    const fresh = byID(id, page);
    if (!old || !fresh) continue;
    for (const form of old.querySelectorAll("form[id]")) {
      if (form === sent || !(form.matches(".part-form, [data-upload]") || form.dataset.what && isDirty(form))) continue;
      const holder = form.closest("li[id], details.add") || form;
      const counterpart = byID(holder.id, fresh);
      if (!counterpart) continue;
      const row = holder.querySelector(":scope > .part-row");
      if (row) row.replaceWith(counterpart.querySelector(":scope > .part-row"));
      const picks = counterpart.querySelector(".picks");
      if (picks) {
        for (const box of form.querySelectorAll(".picks [type=checkbox]")) (byID(box.id, picks) || {}).checked = box.checked;
        form.querySelector(".picks")?.remove();
        [...form.children].at(-1).before(picks);
      }
      counterpart.replaceWith(holder);
    }
    each("details[id]", (details) => {
      const counterpart = byID(details.id, fresh);
      if (counterpart && details.open && counterpart !== details && !details.contains(sent)) counterpart.open = true;
    }, old);
    old.replaceWith(fresh);
    dress(fresh);
  }
  editor.querySelector(".editor-nav ol").replaceWith(page.querySelector(".editor-nav ol"));
  editor.querySelector("h1").textContent = page.querySelector("h1").textContent;
  if (!focusID || focused.isConnected) {
    if (focusID && document.activeElement !== focused) focused.focus({ preventScroll: true });
  } else {
    byID(focusID)?.focus({ preventScroll: true });
  }
  const now = anchor?.id && byID(anchor.id);
  if (now) scrollBy({ top: now.getBoundingClientRect().top - before, behavior: "instant" });
}

// Goes to the first of the ids that is there.
function goTo(...ids) {
  const target = ids.map((id) => byID(id)).find((element) => element && element.offsetParent);
  target?.focus();
}

const fieldName = (field) => field.labels?.[0]?.firstChild?.textContent.trim() || "A field";

// Sends a form as its button would, and shows what became of it.
async function save(form, submitter) {
  if (form.dataset.busy) return;
  form.dataset.busy = "true";
  clearTimeout(timers.get(form));
  const section = form.closest("section[id]").id;
  const data = new URLSearchParams(new FormData(form));
  if (submitter?.name) data.append(submitter.name, submitter.value);
  const sent = valuesOf(form);
  showState("Saving…");
  try {
    const { page, ok, query } = await ask(form.getAttribute("action"), section, { method: "POST", body: data });
    const typed = valuesOf(form);
    const isCurrent = sameValues(sent, typed);
    if (ok && isCurrent) forget(form.id);
    place(page, section, form);
    if (ok) {
      const saved = query.get("saved");
      const done = query.get("done");
      const row = byID(saved);
      if (!isCurrent && form.id.endsWith("-new-form") === false && row) await reopen(form.id, row, typed);
      else if (done === "added") goTo(...fieldsOf(byID(section + "-new-form")).slice(0, 1).map((field) => field.id), saved);
      else if (done === "moved") goTo(submitter.id, saved + (submitter.value === "up" ? "-down" : "-up"), saved);
      else if (form.id === "basics-form") goTo("basics-save");
      else goTo(saved + "-edit", saved);
      const place = done === "moved" && row ? ` Now number ${[...row.parentElement.children].indexOf(row) + 1} of ${row.parentElement.children.length}.` : "";
      announce((byID(saved)?.querySelector(":scope > .notice")?.textContent || "Saved.") + place);
      showSaved();
    } else {
      const now = byID(form.id);
      if (!isCurrent && now) fill(now, typed);
      keep(now || form);
      now?.closest("details")?.setAttribute("open", "");
      (now?.querySelector("[autofocus]") || now?.querySelector(".notice.bad"))?.focus();
      showState(now && inConflict(now) ? "Not saved: it was changed elsewhere" : "Not saved: please check the form", "bad");
    }
  } catch (error) {
    keep(form);
    failed(error, () => save(form, submitter));
  } finally {
    delete form.dataset.busy;
  }
}

// More was typed while the form was under way.
async function reopen(id, row, typed) {
  const form = byID(id) || (await openRow(row));
  if (!form) return;
  fill(form, typed);
  noticed(form);
}

function failed(error, repeat) {
  showState("Not saved – " + error.message.replace(/\.$/, ""), "bad", button("Try again", repeat));
  announce("Not saved: " + error.message);
  if (error.offline || signInDialog.open) again.push(repeat);
}

window.addEventListener("online", () => {
  const waiting = again;
  again = [];
  waiting.forEach((repeat) => repeat());
});

// A new project is kept once more as it is sent, and not while its page is left:
// what follows takes that away when there is a draft.
let isSent = false;
if (isNew) {
  editor.addEventListener("submit", ({ target: form }) => {
    clearTimeout(keepSoon.get(form));
    keep(form);
    isSent = true;
  });
  editor.addEventListener("input", () => (isSent = false)); // it was stopped
  window.addEventListener("pageshow", () => (isSent = false)); // back again
}

editor.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || isNew || form.method !== "post" || !form.getAttribute("action").startsWith(project + "/edit") || form.enctype === "multipart/form-data") return;
  event.preventDefault();
  save(form, event.submitter);
});

// Drafts save themselves some seconds after the last key, and on leaving. Of
// what is published readers would see half sentences.
const timers = new Map();
const quietFor = 3000; // milliseconds

function noticed(form) {
  if (!form.isConnected || form.dataset.busy) return;
  keep(form);
  clearTimeout(timers.get(form));
  if (savesItself(form)) timers.set(form, setTimeout(() => saveQuietly(form), quietFor));
  if (isNew) return showState("Kept in this browser until you create the draft");
  showUnsaved(guarded().filter(isDirty));
}

const keepSoon = new Map();
for (const kind of ["input", "change"]) editor.addEventListener(kind, (event) => {
  const form = event.target.form;
  if (!form?.dataset.what || event.target.type === "file") return;
  clearTimeout(keepSoon.get(form));
  keepSoon.set(form, setTimeout(() => noticed(form), 200));
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden || isSent) return;
  for (const form of guarded().filter(isDirty)) {
    keep(form);
    if (savesItself(form)) saveQuietly(form, true);
  }
});

async function saveQuietly(form, leaving = false) {
  clearTimeout(timers.get(form));
  if (!form.isConnected || form.dataset.busy || !isDirty(form) || !savesItself(form)) return;
  const wrong = fieldsOf(form).find((field) => !field.validity.valid);
  if (wrong) return showState(`Not saved yet: ${fieldName(wrong)} – ${wrong.validationMessage}`, "bad");
  form.dataset.busy = "true";
  const row = form.closest("li[id]");
  const section = form.closest("section[id]").id;
  const sent = valuesOf(form);
  const body = new URLSearchParams(new FormData(form));
  body.append("action", "keep");
  showState("Saving…");
  try {
    // A request that outlives its page may have 64 KB.
    const { page, ok, status } = await ask(form.getAttribute("action"), row && section !== "images" ? row.id : section, { method: "POST", body, keepalive: leaving && String(body).length < 60000 });
    const fresh = byID(form.id, page);
    if (!ok || !fresh) {
      if (status === 412 && fresh) {
        const typed = valuesOf(form);
        const focusID = document.activeElement.id;
        form.replaceWith(fresh);
        fill(fresh, typed);
        dress(fresh);
        byID(focusID)?.focus({ preventScroll: true });
      }
      const text = (fresh || page).querySelector(".notice.bad")?.textContent.trim() || "please check the form";
      showState("Not saved – " + text, "bad");
      announce("Not saved: " + text);
      return;
    }
    const seen = form.querySelector("[name=seen]");
    if (seen) seen.value = fresh.querySelector("[name=seen]").value;
    form.querySelector(":scope > .notice.bad")?.remove();
    settle(form, sent);
    if (sameValues(sent, valuesOf(form))) forget(form.id);
    const freshRow = row && byID(row.id, page)?.querySelector(".part-row");
    if (freshRow) {
      row.querySelector(".part-row").replaceWith(freshRow);
      dress(row);
    }
    place(page, "publish");
    showSaved();
  } catch (error) {
    failed(error, () => saveQuietly(form));
  } finally {
    delete form.dataset.busy;
    if (isDirty(form) && !wasRefused(form) && !again.length && !signInDialog.open && stateLine.className.includes("good") === false && !stateLine.className.includes("bad")) {
      timers.set(form, setTimeout(() => saveQuietly(form), quietFor));
    }
  }
}

// Rows open and close in their place.

async function openRow(row) {
  try {
    const { page } = await ask(`${project}/edit?edit=${row.id}`, row.id);
    const fresh = byID(row.id, page);
    if (!fresh) throw new Error("it is not there any more; please reload the page");
    row.replaceWith(fresh);
    dress(fresh);
    return byID(row.id + "-form");
  } catch (error) {
    failed(error, () => openRow(row));
  }
}

editor.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-open]");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  const row = link.closest("li[id]");
  const form = row.querySelector(".part-form");
  if (!form) return (await openRow(row)) && fieldsOf(byID(row.id + "-form"))[0].focus();
  if (isDirty(form)) {
    if (savesItself(form)) return save(form);
    if (!confirm("This is not saved. Close it all the same? What you typed stays in this browser.")) return;
    keep(form);
  }
  form.remove();
  dress(row);
  byID(row.id + "-edit").focus();
  offerKept();
});

editor.addEventListener("keydown", (event) => {
  const form = event.target.closest?.(".part-form, form[data-what]");
  if (form && event.key === "s" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    form.requestSubmit();
  }
});

// Order, by pointer and by keys

let orderSoon;
function putOrder(list) {
  clearTimeout(orderSoon);
  const section = list.closest("section[id]").id;
  const rows = [...list.children];
  rows.forEach((row, i) => {
    const number = row.querySelector(".step-number");
    if (number) number.textContent = i + 1;
  });
  orderSoon = setTimeout(async () => {
    showState("Saving…");
    try {
      const answer = await fetch(list.dataset.order, { method: "PUT", headers: { "Content-Type": "application/json" }, body: JSON.stringify(rows.map((row) => Number(row.dataset.id))) })
        .catch(() => { throw new Error("offline"); });
      if (answer.status === 401) {
        again.push(() => putOrder(list));
        askToSignIn();
        throw new Error("signed out");
      }
      if (!answer.ok) throw new Error((await answer.json()).detail);
      await refresh(section);
      showSaved();
    } catch (error) {
      if (signInDialog.open) return;
      failed(error, () => putOrder(byID(section).querySelector("[data-order]")));
      refresh(section).catch(() => {});
    }
  }, 500);
}

async function refresh(section) {
  const open = byID(section).querySelector(".part-form")?.closest("li").id;
  const { page } = await ask(`${project}/edit${open ? "?edit=" + open : ""}`, section);
  // A row that is being dragged stays in its hand; where it is let go brings the section anew.
  if (!byID(section).querySelector(".dragged")) place(page, section);
}

function sayPlace(row) {
  const rows = [...row.parentElement.children];
  announce(`${row.dataset.name}: place ${rows.indexOf(row) + 1} of ${rows.length}`);
}

function moveRow(row, to) {
  const list = row.parentElement;
  const from = [...list.children].indexOf(row);
  to = Math.max(0, Math.min(to, list.children.length - 1));
  if (to !== from) {
    list.children[to][to > from ? "after" : "before"](row);
    putOrder(list);
  }
  row.querySelector(".handle").focus();
  sayPlace(row);
}

function dressHandle(row) {
  const tools = row.querySelector(".row-tools");
  const list = row.parentElement;
  if (!tools || !list?.dataset.order || list.children.length < 2 || tools.querySelector(".handle")) return;
  const handle = make("button", { type: "button", className: "handle", id: row.id + "-handle", title: "Drag, or use the arrow keys" });
  handle.setAttribute("aria-label", `Move ${row.dataset.name}: arrow keys`);
  tools.prepend(handle);
  handle.addEventListener("keydown", (event) => {
    const at = [...list.children].indexOf(row);
    const to = { ArrowUp: at - 1, ArrowLeft: at - 1, ArrowDown: at + 1, ArrowRight: at + 1, Home: 0, End: list.children.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    moveRow(row, to);
  });
  handle.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const before = [...list.children];
    let scrolling = 0;
    let at = event;
    const frame = () => {
      if (scrolling) scrollBy({ top: scrolling, behavior: "instant" });
      over();
      running = requestAnimationFrame(frame);
    };
    const over = () => {
      const other = document.elementFromPoint(at.clientX, at.clientY)?.closest("li");
      if (!other || other === row || other.parentElement !== list) return;
      const box = other.getBoundingClientRect();
      const rows = [...list.children];
      const later = rows.indexOf(other) > rows.indexOf(row);
      const across = list.matches(".picture-list");
      const passed = across ? true : later ? at.clientY > box.bottom - Math.min(box.height / 2, 24) : at.clientY < box.top + Math.min(box.height / 2, 24);
      if (passed) other[later ? "after" : "before"](row);
    };
    const moved = (move) => {
      at = move;
      scrolling = move.clientY < 60 ? -12 : move.clientY > innerHeight - 60 ? 12 : 0;
    };
    const end = (how) => {
      cancelAnimationFrame(running);
      row.classList.remove("dragged");
      for (const [name, does] of Object.entries(listeners)) document.removeEventListener(name, does);
      if (how === "back") list.append(...before);
      else if (before.some((other, i) => other !== list.children[i])) {
        sayPlace(row);
        putOrder(list);
      }
      handle.focus({ preventScroll: true });
    };
    const listeners = { pointermove: moved, pointerup: () => end(), pointercancel: () => end("back"), keydown: (key) => key.key === "Escape" && end("back") };
    for (const [name, does] of Object.entries(listeners)) document.addEventListener(name, does);
    row.classList.add("dragged");
    event.preventDefault();
    let running = requestAnimationFrame(frame);
  });
}

// Markdown: a toolbar and a preview

const helpDialog = make("dialog", { className: "panel dialog" });
helpDialog.setAttribute("aria-label", "How to format text");

function insert(area, text, selectFrom, selectTo) {
  area.focus();
  const start = area.selectionStart;
  // What is typed this way can be taken back by Ctrl+Z.
  if (!document.execCommand("insertText", false, text)) {
    area.setRangeText(text);
    area.dispatchEvent(new Event("input", { bubbles: true }));
  }
  area.setSelectionRange(start + (selectFrom ?? text.length), start + (selectTo ?? selectFrom ?? text.length));
}

const selected = (area) => area.value.slice(area.selectionStart, area.selectionEnd);
const around = (mark, word) => (area) => {
  const text = selected(area) || word;
  insert(area, mark + text + mark, mark.length, mark.length + text.length);
};

const markdownTools = [
  ["Bold", "B", "b", around("**", "bold")],
  ["Italic", "I", "i", around("*", "italic")],
  ["Link", "Link", "k", (area) => {
    const text = selected(area) || "words";
    insert(area, `[${text}](https://)`, text.length + 3, text.length + 11);
  }],
  ["Code", "</>", "", (area) => {
    const text = selected(area);
    if (text.includes("\n")) insert(area, "```\n" + text + "\n```\n");
    else around("`", "code")(area);
  }],
  ["List", "• List", "", (area) => {
    const text = (selected(area) || "one").split("\n").map((line) => "- " + line).join("\n");
    const start = area.selectionStart;
    insert(area, (start && area.value[start - 1] !== "\n" ? "\n" : "") + text);
  }],
  ["Picture", "Picture", "", choosePicture],
];

function choosePicture(area) {
  const images = [...editor.querySelectorAll("#images .picture-list > li")];
  const dialog = make("dialog", { className: "panel dialog" });
  dialog.setAttribute("aria-label", "Choose a picture");
  const list = make("ul", { className: "choices" });
  for (const row of images) {
    const image = row.querySelector("img");
    const choice = make("button", { type: "button" }, make("img", { src: image.src, srcset: image.srcset, sizes: "8rem", alt: image.alt, width: 120, height: 90 }));
    choice.addEventListener("click", () => {
      dialog.close();
      insert(area, `![${image.alt.replace(/[[\]]/g, "")}](/api${project}/images/${row.dataset.id}/file)`);
    });
    list.append(make("li", {}, choice));
  }
  dialog.append(make("h2", { textContent: "Choose a picture" }), images.length ? list : make("p", { textContent: "There are none yet: upload them in the section Pictures." }),
    button("Cancel", () => dialog.close(), { className: "button plain" }));
  dialog.addEventListener("close", () => {
    dialog.remove();
    area.focus();
  });
  editor.append(dialog);
  dialog.showModal();
}

function dressMarkdown(area) {
  if (area.closest(".markdown")) return;
  const bar = make("div", { className: "toolbar" });
  bar.setAttribute("role", "toolbar");
  bar.setAttribute("aria-label", "Formatting of " + fieldName(area));
  bar.setAttribute("aria-controls", area.id);
  const box = make("div", { className: "markdown" });
  const preview = make("div", { className: "preview prose", tabIndex: 0, hidden: true });
  preview.setAttribute("role", "region");
  preview.setAttribute("aria-label", "Preview of " + fieldName(area));
  for (const [name, text, key, does] of markdownTools) {
    const tool = button(text, () => does(area), { title: name + (key ? ` (Ctrl+${key.toUpperCase()})` : "") });
    tool.setAttribute("aria-label", name);
    bar.append(tool);
  }
  const shows = button("Preview", () => {
    preview.hidden = !preview.hidden;
    box.classList.toggle("split", !preview.hidden);
    shows.setAttribute("aria-pressed", !preview.hidden);
    render();
  });
  shows.setAttribute("aria-pressed", "false");
  const help = byID("markdown-help");
  bar.append(shows);
  if (help) bar.append(button("?", () => {
    const table = help.querySelector("table").cloneNode(true);
    helpDialog.replaceChildren(make("h2", { textContent: "How to format text" }), table, button("Close", () => helpDialog.close(), { className: "button" }));
    editor.append(helpDialog);
    helpDialog.showModal();
  }, { ariaLabel: "How to format text" }));
  // One stop of the tab key; the arrow keys go on from there.
  const tools = [...bar.children];
  tools.forEach((tool, i) => (tool.tabIndex = i ? -1 : 0));
  bar.addEventListener("keydown", (event) => {
    const at = tools.indexOf(document.activeElement);
    const to = { ArrowRight: (at + 1) % tools.length, ArrowLeft: (at + tools.length - 1) % tools.length, Home: 0, End: tools.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    tools.forEach((tool, i) => (tool.tabIndex = i === to ? 0 : -1));
    tools[to].focus();
  });
  area.addEventListener("keydown", (event) => {
    if (!event.ctrlKey && !event.metaKey || event.altKey || event.shiftKey) return;
    const tool = markdownTools.find(([, , key]) => key && key === event.key.toLowerCase());
    if (!tool) return;
    event.preventDefault();
    tool[3](area);
  });
  let wait, shown;
  const render = () => {
    clearTimeout(wait);
    if (preview.hidden || area.value === shown) return;
    wait = setTimeout(async () => {
      const text = area.value;
      const answer = await fetch("/api/markdown", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ text }) }).catch(() => null);
      if (!answer?.ok) {
        preview.replaceChildren(make("p", { className: "quiet", textContent: answer?.status === 429 ? "The preview takes a rest; it is back in a moment." : "There is no preview at the moment." }));
        return;
      }
      preview.innerHTML = (await answer.json()).html; // escaped and cleaned by the server, as on the project's page
      if (!text.trim()) preview.replaceChildren(make("p", { className: "quiet", textContent: "Nothing to show yet." }));
      shown = text;
      if (area.value !== text) render();
    }, 300);
  };
  area.addEventListener("input", render);
  area.replaceWith(box);
  box.append(bar, area, preview);
  if (area.value) grow(area);
}

// Components are found while their name is typed (combobox, WAI-ARIA APG).

function dressCombobox(input) {
  if (input.getAttribute("role")) return;
  const list = make("ul", { className: "options", id: "component-options", hidden: true });
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Known components");
  const box = make("div", { className: "combobox" });
  input.replaceWith(box);
  box.append(input, list);
  for (const [name, value] of Object.entries({ role: "combobox", autocomplete: "off", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": list.id })) input.setAttribute(name, value);
  byID("components-search")?.setAttribute("hidden", "");
  const onlyNew = input.form.querySelector("fieldset");
  let at = -1;
  let wait, found = [];
  const close = () => {
    list.hidden = true;
    at = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const mark = (to) => {
    at = to;
    [...list.children].forEach((option, i) => option.setAttribute("aria-selected", i === at));
    input.setAttribute("aria-activedescendant", list.children[at].id);
    list.children[at].scrollIntoView({ block: "nearest" });
  };
  const knows = () => {
    const known = found.find((component) => component.name.toLowerCase() === input.value.trim().toLowerCase());
    if (onlyNew) onlyNew.hidden = Boolean(known);
  };
  const choose = (i) => {
    input.value = found[i].name;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    close();
    knows();
  };
  const search = async () => {
    const text = input.value.trim();
    const answer = text.length > 1 && (await fetch("/api/components/search?q=" + encodeURIComponent(text)).catch(() => null));
    if (input.value.trim() !== text) return;
    found = answer?.ok ? await answer.json() : [];
    list.replaceChildren(...found.map((component, i) => {
      const option = make("li", { id: "component-option-" + i }, make("strong", { textContent: component.name }));
      if (component.description) option.append(make("span", { className: "quiet", textContent: " " + component.description }));
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", "false");
      option.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
      option.addEventListener("click", () => choose(i));
      return option;
    }));
    close();
    knows();
    if (document.activeElement !== input || !text) return;
    list.hidden = !found.length;
    input.setAttribute("aria-expanded", String(!list.hidden));
    announce(found.length ? `${found.length} known components` : text.length > 1 ? "Nobody has used this yet; a new component is made" : "");
  };
  input.addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(search, 200);
  });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const count = list.hidden ? 0 : found.length;
    if (event.key === "ArrowDown" && !count && input.value.trim()) search();
    else if (event.key === "ArrowDown" && count) mark((at + 1) % count);
    else if (event.key === "ArrowUp" && count) mark((at + count - (at < 0 ? 0 : 1)) % count);
    else if (event.key === "Enter" && at >= 0) choose(at);
    else if (event.key === "Escape" && count) close();
    else return;
    event.preventDefault();
  });
}

// Uploads: several at once, dropped, chosen or pasted, two at a time, each with
// its progress. One that failed can be sent again: its id tells the server that
// it is the same.

let uploading = 0;
window.addEventListener("beforeunload", (event) => (uploading > 0 || editor.querySelector(".progress .waits")) && event.preventDefault());

const megabytes = (bytes) => (bytes / 1048576).toLocaleString(undefined, { maximumFractionDigits: 1 }) + " MB";

function send(address, data, started, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address);
    request.setRequestHeader("Accept", "application/json");
    request.upload.onprogress = (event) => progress(event.loaded / event.total);
    request.onerror = () => reject(Object.assign(new Error("the connection was lost. It goes on by itself when it is back."), { waits: true }));
    request.onabort = () => reject(Object.assign(new Error("cancelled."), { refused: true }));
    request.onload = () => {
      if (request.status === 401) {
        askToSignIn();
        return reject(Object.assign(new Error("you are signed out. It goes on by itself once you are signed in."), { waits: true }));
      }
      try {
        const answer = JSON.parse(request.responseText);
        if (request.status < 300) return resolve(answer);
        const refused = request.status < 500 && request.status !== 429; // again it would be the same
        reject(Object.assign(new Error(answer.detail), { refused }));
      } catch {
        reject(new Error("The server could not take this file."));
      }
    };
    started(request);
    request.send(data);
  });
}

function dressUpload(form) {
  if (form.dataset.dressed) return;
  form.dataset.dressed = "true";
  const input = form.querySelector("input[type=file]");
  const drop = form.querySelector(".drop");
  const list = make("ul", { className: "progress" });
  const queue = [];
  let running = 0;
  let stored = 0;
  form.append(list);
  input.multiple = true;
  input.required = false;
  drop.querySelector("label").textContent = "Choose files, drop them here, or paste pictures";
  for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", over);
      if (name === "drop") form.add(event.dataTransfer.files);
    });
  }
  const chosen = () => input.files.length ? form.add([...input.files]) : input.focus();
  input.addEventListener("change", chosen);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    chosen();
  });

  const wrongWith = (file) => {
    const extension = /\.[^.]*$/.exec(file.name)?.[0].toLowerCase();
    if (!input.accept.split(",").includes(extension)) return `files of this kind are not taken; allowed: ${input.accept.replaceAll(",", " ")}`;
    if (!file.size) return "the file is empty.";
    if (file.size > form.dataset.most) return `the file is too large: ${megabytes(file.size)}, and at most ${megabytes(form.dataset.most)} are taken.`;
    if (form.dataset.room >= 0 && file.size > form.dataset.room) return `there is no room for it: you can store ${megabytes(form.dataset.room)} more. Delete some that you no longer need.`;
  };

  // add puts files in the queue; then gets what the server says of each.
  form.add = (files, then = () => {}) => {
    each("li.done", (row) => row.remove(), list);
    for (const file of files) {
      const row = make("li", {}, file.name + " waits");
      list.append(row);
      const wrong = wrongWith(file);
      if (wrong) {
        row.className = "done";
        row.replaceChildren(make("span", { className: "fault", textContent: `${file.name}: ${wrong}` }));
        announce(row.textContent);
        continue;
      }
      if (form.dataset.room >= 0) form.dataset.room -= file.size;
      const data = new FormData(form);
      data.set(input.name, file);
      data.set("upload_id", Date.now() + "-" + Math.random());
      queue.push({ file, data, row, then });
    }
    input.value = "";
    run();
  };

  async function run() {
    while (running < 2 && queue.length) {
      running++;
      uploading++;
      upload(queue.shift()).finally(() => {
        running--;
        uploading--;
        run();
        if (stored && !running && !queue.length) settled();
      });
    }
  }

  async function settled() {
    stored = 0;
    each("input[type=text]", (field) => (field.value = field.defaultValue), form);
    try {
      await refresh(form.closest("section").id);
      if (form.closest("section").id === "images" && byID("steps")) await refresh("steps");
    } catch (error) {
      failed(error, settled);
    }
  }

  async function upload(item) {
    const { file, data, row, then } = item;
    const bar = make("progress", { max: 1, value: 0 });
    bar.setAttribute("aria-label", file.name);
    let request;
    row.replaceChildren(file.name, bar, button("Cancel", () => request.abort(), { ariaLabel: "Cancel " + file.name }));
    try {
      const answer = await send(form.dataset.upload, data, (r) => (request = r), (part) => (bar.value = part));
      stored++;
      row.className = "done";
      row.replaceChildren(`${file.name}: uploaded.` + (answer.location_removed ? " It said where it was taken; that was removed from what others see." : ""));
      then(answer);
    } catch (error) {
      row.replaceChildren(make("span", { className: "fault", textContent: `${file.name}: ${error.message}` }));
      if (error.refused) {
        row.className = "done";
        if (form.dataset.room >= 0) form.dataset.room = Number(form.dataset.room) + file.size;
      } else {
        row.className = "waits";
        const repeat = () => {
          if (row.className !== "waits") return;
          row.className = "";
          row.replaceChildren(file.name + " waits");
          queue.push(item);
          run();
        };
        if (error.waits) again.push(repeat);
        row.append(make("br"), button("Try again", repeat, { ariaLabel: "Try again: " + file.name }));
      }
    }
    announce(row.firstChild.textContent);
  }
}

document.addEventListener("paste", (event) => {
  const form = byID("images-new-form");
  const files = [...(event.clipboardData?.files || [])].filter((file) => file.type.startsWith("image/"));
  if (!form || !files.length) return;
  event.preventDefault();
  const area = event.target.closest?.("textarea[data-markdown]");
  const now = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
  form.add(files.map((file) => (file.name === "image.png" ? new File([file], `pasted-${now}.png`, { type: file.type }) : file)),
    (image) => area?.isConnected && insert(area, `![](/api${project}/images/${image.id}/file)`));
});

// Both texts of a conflict: one is in the field, the other can take its place.
function dressTheirs(theirs) {
  if (theirs.querySelector("button")) return;
  const field = theirs.closest(".field").querySelector("input, textarea, select");
  theirs.append(button("Use this instead of mine", () => {
    field.value = theirs.querySelector("pre").textContent;
    theirs.remove();
    field.focus();
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }));
}

// Adds to a part of the page what works by scripts alone.
function dress(part) {
  const all = (selector, does) => {
    if (part.matches(selector)) does(part);
    each(selector, does, part);
  };
  all("[data-order] > li", dressHandle);
  all("textarea[data-markdown]", dressMarkdown);
  all("#components-new-name", dressCombobox);
  all("form[data-upload]", dressUpload);
  all(".theirs", dressTheirs);
  all("textarea[data-grow]", (area) => area.value && grow(area));
  all("li[id]", (row) => {
    const link = row.querySelector("a[data-open]");
    if (link) link.firstChild.textContent = row.querySelector(".part-form") ? "Close" : "Edit";
  });
  if (store) all("form[data-what]", (form) => delete form.dataset.guard);
}

editor.querySelector("h1").tabIndex = -1;
dress(editor);
offerKept();

// What was kept of a new project is in its draft by now.
const arrived = new URLSearchParams(location.search).get("saved");
if (arrived === "new") store?.removeItem(`chatter:${editor.dataset.user}:new:new-form`);
if (arrived) history.replaceState(null, "", location.pathname + location.hash); // said once
