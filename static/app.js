// What scripts add to pages that work without them.
"use strict";

const each = (selector, does, within = document) => within.querySelectorAll(selector).forEach(does);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Says something to those who hear the page.
const said = make("p", { className: "sr", role: "status" });
document.body.append(said);
const say = (text) => (said.textContent = text);

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
    say(`${liked ? "Liked" : "Like taken back"}, ${like_count} in all`);
  } catch {
    form.submit();
  } finally {
    button.disabled = false;
  }
}));

each("select[data-submit]", (select) => select.addEventListener("change", () => select.form.requestSubmit()));

// Also of what comes into the page later, and before what else listens.
for (const kind of ["click", "submit"]) document.addEventListener(kind, (event) => {
  const asks = event.target.closest("[data-confirm]");
  if (!asks || (asks.tagName === "FORM") !== (kind === "submit") || confirm(asks.dataset.confirm)) return;
  event.preventDefault();
  event.stopPropagation();
}, true);

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
const changed = (field) => field.type !== "hidden" && "defaultValue" in field && field.value !== field.defaultValue;
window.addEventListener("beforeunload", (event) => {
  const typed = [...document.querySelectorAll("form[data-guard]")].some((form) => form !== sending && [...form.elements].some(changed));
  if (!typed) return;
  event.preventDefault();
  if (sending) delete sending.dataset.sent;
  sending = null;
});

// Text fields grow with their text, where the browser does not do it itself.
const grow = (area) => {
  if (!area.offsetParent || CSS.supports("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = Math.min(area.scrollHeight + 2, 0.8 * innerHeight) + "px";
};
document.addEventListener("input", (event) => event.target.matches("textarea[data-grow]") && grow(event.target));
document.addEventListener("toggle", (event) => each("textarea[data-grow]", grow, event.target), true);
each("textarea[data-grow]", (area) => area.value && grow(area));

// What is wider than its place can be scrolled by the keyboard, also where the
// browser does not see to it.
each(".prose table, .prose pre", (box) => box.scrollWidth > box.clientWidth && (box.tabIndex = 0));

// Code can be copied.
each(".prose pre", (pre) => {
  if (!navigator.clipboard) return;
  const button = make("button", { type: "button", className: "button small", textContent: "Copy" });
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(pre.textContent);
    button.textContent = "Copied";
    say("Copied");
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  const box = make("div", { className: "code-box" });
  pre.replaceWith(box);
  box.append(button, pre);
});

// Pictures open over the page; the arrow keys turn them.
each("[data-viewer]", (gallery) => {
  const links = [...gallery.querySelectorAll("a[data-caption]")];
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
  let from = null; // where a finger came down
  dialog.addEventListener("touchstart", (event) => (from = event.touches.length === 1 ? event.touches[0].clientX : null), { passive: true });
  dialog.addEventListener("touchend", (event) => {
    const moved = from === null ? 0 : event.changedTouches[0].clientX - from;
    if (Math.abs(moved) > 50) turn(moved < 0 ? 1 : -1);
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

// Parts are ticked off, and this browser remembers which.
each("[data-checks]", (list) => {
  const key = "checks-" + list.dataset.checks;
  const rows = [...list.querySelectorAll("[data-check]")];
  const load = () => {
    try {
      return new Set(JSON.parse(localStorage.getItem(key)));
    } catch {
      return new Set();
    }
  };
  const show = () => {
    const done = load();
    rows.forEach((row) => {
      row.querySelector(".tick").checked = done.has(row.dataset.check);
      row.classList.toggle("checked", done.has(row.dataset.check));
    });
  };
  rows.forEach((row) => {
    const box = make("input", { type: "checkbox", className: "tick", ariaLabel: `I have ${row.dataset.name}` });
    box.addEventListener("change", () => {
      const done = load();
      if (box.checked) done.add(row.dataset.check);
      else done.delete(row.dataset.check);
      try {
        localStorage.setItem(key, JSON.stringify([...done]));
      } catch {
        return; // no room, or not allowed: it is not remembered
      }
      show();
      say(`${rows.filter((other) => done.has(other.dataset.check)).length} of ${rows.length}`);
    });
    row.querySelector(".tick-box").before(box);
  });
  show();
  window.addEventListener("storage", show); // another tab of the same page
});

// Pictures that nobody has scrolled to yet are on the paper too.
each("[data-print]", (button) => button.addEventListener("click", async () => {
  const pictures = [...document.querySelectorAll("main img")];
  pictures.forEach((picture) => (picture.loading = "eager"));
  await Promise.allSettled(pictures.map((picture) => picture.decode()));
  print();
}));

// Of tabs that do not fit beside each other, the one that is shown is in sight.
each(".tabs [aria-current]", (tab) => {
  const bar = tab.closest(".tabs");
  bar.scrollLeft = tab.offsetLeft + (tab.offsetWidth - bar.clientWidth) / 2;
});
