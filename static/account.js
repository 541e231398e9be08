// What scripts add to forms with passwords and codes.
"use strict";

// Passwords can be looked at while they are typed.
each("input[type=password]", (input) => {
  const button = make("button", { type: "button", className: "button plain small show", textContent: "Show", ariaPressed: "false" });
  button.setAttribute("aria-controls", input.id);
  button.setAttribute("aria-label", "Show " + (input.labels[0]?.textContent.trim() || "password"));
  button.addEventListener("click", () => {
    const shown = input.type === "password";
    input.type = shown ? "text" : "password";
    button.textContent = shown ? "Hide" : "Show";
    button.ariaPressed = String(shown);
  });
  input.form.addEventListener("submit", () => (input.type = "password")); // so that browsers offer to keep it
  const box = make("div", { className: "with-button" });
  input.replaceWith(box);
  box.append(input, button);
  if (input.autofocus) input.focus();
});

// The rules for a new password, ticked off.
const rules = {
  length: (text) => [...text].length >= 8,
  upper: (text) => /\p{Lu}/u.test(text),
  lower: (text) => /\p{Ll}/u.test(text),
  digit: (text) => /\p{Nd}/u.test(text),
};
each("[data-rules]", (list) => {
  const input = list.closest("form").querySelector("input[autocomplete=new-password]");
  each("[data-rule]", (item) => item.append(make("span", { className: "sr" })), list);
  input.addEventListener("input", () => each("[data-rule]", (item) => {
    const kept = rules[item.dataset.rule](input.value);
    item.classList.toggle("kept", kept);
    item.lastChild.textContent = kept ? " (done)" : "";
  }, list));
});

// Codes that are shown once can be copied and printed.
each("[data-codes]", (panel) => {
  const bar = panel.querySelector(".actions");
  const add = (text, does) => {
    const button = make("button", { type: "button", className: "button plain", textContent: text });
    button.addEventListener("click", () => does(button));
    bar.append(button);
  };
  if (navigator.clipboard) add("Copy", async (button) => {
    await navigator.clipboard.writeText([...panel.querySelectorAll("li")].map((li) => li.textContent).join("\n"));
    button.textContent = "Copied";
  });
  add("Print", () => print());
});
