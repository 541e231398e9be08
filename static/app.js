// What scripts add to pages that work without them.
"use strict";

const each = (selector, does, within = document) => within.querySelectorAll(selector).forEach(does);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Times in the reader's own zone.
each("time[datetime]", (time) => {
  const when = new Date(time.dateTime);
  if (isNaN(when)) return;
  const minutes = /\d:\d\d/.test(time.textContent) ? { hour: "numeric", minute: "2-digit" } : {};
  time.textContent = when.toLocaleString(undefined, { day: "numeric", month: "long", year: "numeric", ...minutes });
  time.title = when.toLocaleString();
});

// Likes without loading the page again. Whatever goes wrong, the form is sent
// as it would be without this script.
each("form[data-like]", (form) => form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(answer.status);
    const { liked, like_count } = await answer.json();
    button.setAttribute("aria-pressed", liked);
    form.querySelector("[data-count]").textContent = like_count;
  } catch {
    form.submit();
  } finally {
    button.disabled = false;
  }
}));

each("select[data-submit]", (select) => select.addEventListener("change", () => select.form.requestSubmit()));

const confirmed = (within) => each("[data-confirm]", (element) => {
  element.addEventListener(element.tagName === "FORM" ? "submit" : "click", (event) => {
    if (!confirm(element.dataset.confirm)) event.preventDefault();
  });
}, within);
confirmed(document);

// The queue of the moderators by keys, as long as one of its comments has the
// focus and nothing is typed.
const queue = [...document.querySelectorAll("[data-queue]")];
if (queue.length) document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
  const at = queue.findIndex((item) => item.contains(document.activeElement));
  const key = event.key.toLowerCase();
  if (key === "j" || key === "k") queue[Math.max(0, Math.min(queue.length - 1, at + (key === "j" ? 1 : -1)))].focus();
  else queue[at]?.querySelector(`[data-key="${CSS.escape(key)}"]`)?.click();
});

// A form is sent once, however often the button is pressed.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "true";
  sending = form;
});
window.addEventListener("pageshow", () => each("form[data-sent]", (form) => delete form.dataset.sent));

// Text that was typed and not sent is not lost by mistake, nor because another
// form of the page is sent.
let sending = null;
let uploading = 0;
const changed = (field) => field.type !== "hidden" && "defaultValue" in field && field.value !== field.defaultValue;
window.addEventListener("beforeunload", (event) => {
  const typed = uploading > 0 || [...document.querySelectorAll("form[data-guard]")].some((form) => form !== sending && [...form.elements].some(changed));
  if (!typed) return;
  event.preventDefault();
  if (sending) delete sending.dataset.sent;
  sending = null;
});

// Text fields grow with their text.
const grow = (area) => {
  if (!area.offsetParent) return;
  area.style.height = "auto";
  area.style.height = Math.min(area.scrollHeight + 2, 0.8 * innerHeight) + "px";
};
each("textarea[data-grow]", (area) => area.addEventListener("input", () => grow(area)));
each("textarea[data-grow]", (area) => area.value && grow(area));
each("details", (details) => details.addEventListener("toggle", () => each("textarea[data-grow]", grow, details)));

// Code can be copied.
each(".prose pre", (pre) => {
  if (!navigator.clipboard) return;
  const button = make("button", { type: "button", className: "button small", textContent: "Copy" });
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(pre.textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  const box = make("div", { className: "code-box" });
  pre.replaceWith(box);
  pre.tabIndex = 0; // so that the keyboard can scroll it
  box.append(button, pre);
});

// Pictures open over the page; the arrow keys turn them.
each("[data-viewer]", (gallery) => {
  const links = [...gallery.querySelectorAll("a")];
  if (!links.length) return;
  let at = 0;
  const image = make("img", { alt: "" });
  const caption = make("p");
  const dialog = make("dialog", { className: "viewer", ariaLabel: "Pictures" });
  const turn = (by) => {
    at = (at + by + links.length) % links.length;
    image.src = links[at].href;
    image.alt = links[at].querySelector("img").alt;
    caption.textContent = [links[at].dataset.caption, links.length > 1 && `${at + 1} of ${links.length}`].filter(Boolean).join(" · ");
  };
  const button = (text, does) => {
    const b = make("button", { type: "button", className: "button", textContent: text });
    b.addEventListener("click", does);
    return b;
  };
  const bar = make("div", { className: "viewer-bar" });
  if (links.length > 1) bar.append(button("Previous", () => turn(-1)), button("Next", () => turn(1)));
  bar.append(button("Close", () => dialog.close()));
  dialog.append(make("div", { className: "viewer-in" }, bar, make("figure", {}, image), caption));
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") turn(-1);
    if (event.key === "ArrowRight") turn(1);
  });
  document.body.append(dialog);
  links.forEach((link, i) => link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    at = i;
    turn(0);
    dialog.showModal();
  }));
});

// Names of known components are offered while typing.
const nameField = document.getElementById("components-new-name");
if (nameField) {
  const list = make("datalist", { id: "component-names" });
  nameField.after(list);
  nameField.setAttribute("list", list.id);
  let wait;
  nameField.addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(async () => {
      const answer = await fetch("/api/components/search?q=" + encodeURIComponent(nameField.value.trim()));
      if (answer.ok) list.replaceChildren(...(await answer.json()).map((c) => make("option", { value: c.name })));
    }, 200);
  });
}

// Several files at once, dropped or chosen, each with its progress. One that
// failed can be sent again: its id tells the server that it is the same.
function send(address, data, bar) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address);
    request.setRequestHeader("Accept", "application/json");
    request.upload.onprogress = (event) => (bar.value = event.loaded / event.total);
    request.onerror = () => reject(new Error("The connection was lost."));
    request.onload = () => {
      try {
        const answer = JSON.parse(request.responseText);
        if (request.status < 300) return resolve(answer);
        const refused = request.status < 500 && request.status !== 429; // again it would be the same
        reject(Object.assign(new Error(answer.detail), { refused }));
      } catch {
        reject(new Error("The server could not take this file."));
      }
    };
    request.send(data);
  });
}

// Puts into the page what its section has on the server by now and the page
// has not, and leaves the rest alone: somebody may be typing there.
async function showNew(section) {
  const answer = await fetch(location.pathname);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector(`#${section.id} > ul`);
  if (!fresh) return;
  const list = section.querySelector(":scope > ul");
  const known = new Set();
  if (list) each("form", (form) => known.add(form.getAttribute("action")), list);
  const added = [...fresh.children].filter((row) => !known.has(row.querySelector("form")?.getAttribute("action")));
  added.forEach(confirmed);
  if (list && section.id === "files") list.prepend(...added);
  else if (list) list.append(...added);
  else section.querySelector("form[data-upload]").before(fresh);
  document.querySelector(".editor-nav ol").replaceWith(page.querySelector(".editor-nav ol"));
}

each("form[data-upload]", (form) => {
  const input = form.querySelector("input[type=file]");
  const drop = form.querySelector(".drop");
  const button = form.querySelector("button");
  const list = make("ul", { className: "progress", ariaLive: "polite" });
  const queue = [];
  let busy = false;
  form.append(list);
  input.multiple = true;
  drop.querySelector("label").textContent = "Choose files or drop them here";
  for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", over);
      if (name === "drop") add(event.dataTransfer.files);
    });
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    add(input.files);
  });

  function add(files) {
    each("li.done", (row) => row.remove(), list);
    for (const file of files) {
      const data = new FormData(form);
      data.set(input.name, file);
      data.set("upload_id", Date.now() + "-" + Math.random());
      const row = make("li", {}, file.name + " waits");
      list.append(row);
      queue.push({ file, data, row });
    }
    input.value = "";
    run();
  }

  async function run() {
    if (busy || !queue.length) return;
    busy = true;
    uploading++;
    button.disabled = true;
    let stored = 0;
    let failed = 0;
    while (queue.length) (await upload(queue.shift())) ? stored++ : failed++;
    if (stored) await showNew(form.closest("section")).catch(() => {});
    if (!failed) each("input[type=text]", (field) => (field.value = field.defaultValue), form);
    button.disabled = false;
    uploading--;
    busy = false;
    run(); // what was added meanwhile
  }

  async function upload(item) {
    const { file, data, row } = item;
    const bar = make("progress", { max: 1, value: 0, ariaLabel: file.name });
    row.replaceChildren(file.name, bar);
    try {
      const answer = await send(form.dataset.upload, data, bar);
      row.className = "done";
      row.replaceChildren(`${file.name}: uploaded.` + (answer.location_removed ? " It said where it was taken; that was removed from what others see." : ""));
      return true;
    } catch (error) {
      const again = make("button", { type: "button", className: "button small plain", textContent: "Try again" });
      again.addEventListener("click", () => {
        row.replaceChildren(file.name + " waits");
        queue.push(item);
        run();
      });
      row.replaceChildren(make("span", { className: "fault", textContent: `${file.name}: ${error.message}` }));
      if (error.refused) row.className = "done";
      else row.append(document.createElement("br"), again);
      return false;
    }
  }
});
