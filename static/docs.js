// The page /docs: search, and forms that send requests. Without this script it
// is a page to read.
"use strict";

const tools = document.getElementById("docs-tools");
const search = document.getElementById("docs-search");
const found = document.getElementById("docs-found");
const token = document.getElementById("docs-token");
const articles = [...document.querySelectorAll(".operation")];
tools.hidden = false;
tools.addEventListener("submit", (event) => event.preventDefault());

search.addEventListener("input", () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const article of articles) {
    const text = article.querySelector("summary").textContent.toLowerCase();
    article.hidden = !words.every((word) => text.includes(word));
    if (!article.hidden) count++;
  }
  for (const section of document.querySelectorAll(".docs-section")) {
    const own = [...section.querySelectorAll(".operation")];
    section.hidden = own.length > 0 && own.every((article) => article.hidden);
  }
  found.textContent = words.length ? `${count} of ${articles.length} endpoints` : "";
});

// An address that names an endpoint opens it.
const open = () => {
  const details = location.hash && document.getElementById(location.hash.slice(1))?.querySelector("details");
  if (details) details.open = true;
};
addEventListener("hashchange", open);
open();

let document31; // the API document, once somebody wants to try something
const load = () => document31 ??= fetch("/openapi.json").then((answer) => {
  if (!answer.ok) throw new Error(answer.status);
  return answer.json();
}).catch((error) => { document31 = undefined; throw error; });

for (const article of articles) article.querySelector("details").addEventListener("toggle", async (event) => {
  if (!event.target.open || article.querySelector(".try")) return;
  const { method, path } = article.dataset;
  try {
    const operation = (await load()).paths[path][method.toLowerCase()];
    if (!article.querySelector(".try")) event.target.append(form(method, path, operation));
  } catch {
    // The page can still be read.
  }
});

const kindOf = (schema) => [schema.type].flat()[0];

// field makes a label and a control for a parameter or a property.
function field(id, name, schema, required, value) {
  let control;
  if (schema.contentMediaType) control = make("input", { type: "file" });
  else if (schema.enum || kindOf(schema) === "boolean") {
    control = make("select", {}, make("option", { value: "", textContent: "" }),
      ...(schema.enum ?? ["true", "false"]).map((option) => make("option", { value: option, textContent: option })));
  } else if (kindOf(schema) === "string" && !(schema.maxLength <= 1000)) control = make("textarea", { rows: 2 });
  else control = make("input", { type: schema.format === "password" ? "password" : "text", autocomplete: "off" });
  if (value !== undefined && control.type !== "file") control.value = value;
  Object.assign(control, { id, name, required });
  const label = make("label", { htmlFor: id, textContent: name });
  if (!required) label.append(" ", make("span", { className: "optional", textContent: "optional" }));
  return [make("div", { className: "field" }, label, control), control];
}

function form(method, path, operation) {
  const id = (name) => `${operation.operationId}-${name}`;
  const fields = make("div", { className: "try-fields" });
  const parameters = operation.parameters.map((p) => {
    const [box, control] = field(id(p.in + "-" + p.name), p.name, p.schema, p.required ?? false, p.required ? p.schema.examples?.[0] : undefined);
    fields.append(box);
    return { ...p, control };
  });
  const content = operation.requestBody?.content ?? {};
  const media = content["multipart/form-data"] ? "multipart/form-data" : Object.keys(content).length ? "application/json" : "";
  const schema = content[media]?.schema;
  const properties = Object.entries(schema?.properties ?? {}).map(([name, s]) => {
    const required = schema.required?.includes(name) ?? false;
    const [box, control] = field(id("body-" + name), name, s, required, s.examples?.[0] !== undefined && required ? s.examples[0] : undefined);
    fields.append(box);
    return { name, schema: s, control };
  });
  let whole;
  if (media && !schema.properties) {
    const [box, control] = field(id("body"), "Body", { type: "string" }, true, JSON.stringify(content[media].example));
    fields.append(box);
    whole = control;
  }
  const send = make("button", { className: "button small", type: "submit", textContent: "Send" });
  const result = make("div", { ariaLive: "polite" });
  const box = make("form", { className: "try", noValidate: false }, make("h4", { textContent: "Try it" }));
  if (method !== "GET") box.append(make("p", { className: "hint", textContent: "This really does it, on this server." }));
  box.append(fields, send, result);

  box.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    try {
      result.replaceChildren(...await request());
    } catch (error) {
      result.replaceChildren(make("p", { className: "notice bad", textContent: `Nothing came back: ${error.message}` }));
    } finally {
      send.disabled = false;
    }
  });

  async function request() {
    let address = path;
    const query = new URLSearchParams();
    const headers = { Accept: "application/json" };
    for (const { name, in: where, schema, control } of parameters) {
      const value = control.value;
      if (where === "path") address = address.replace(`{${name}}`, encodeURIComponent(value));
      else if (value === "") continue;
      else if (where === "header") headers[name] = value;
      else for (const one of kindOf(schema) === "array" ? value.split(",") : [value]) query.append(name, one.trim());
    }
    if (query.size) address += `?${query}`;
    const options = { method, headers };
    if (token.value.trim()) {
      headers.Authorization = `Bearer ${token.value.trim()}`;
      options.credentials = "omit";
    }
    if (media === "multipart/form-data") {
      options.body = new FormData();
      for (const { name, control } of properties) {
        if (control.type === "file") control.files[0] && options.body.append(name, control.files[0]);
        else if (control.value !== "") options.body.append(name, control.value);
      }
    } else if (media) {
      headers["Content-Type"] = "application/json";
      options.body = whole ? whole.value : JSON.stringify(Object.fromEntries(
        properties.filter(({ control }) => control.value !== "").map(({ name, schema, control }) => [name, valueOf(schema, control.value)])));
    }
    const began = performance.now();
    const answer = await fetch(address, options);
    const type = answer.headers.get("Content-Type") ?? "";
    const shown = await bodyOf(answer, type);
    const took = Math.round(performance.now() - began);
    const head = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    return [
      make("p", { className: `notice ${answer.ok ? "good" : "bad"}`, textContent: `${answer.status} ${answer.statusText} · ${took} ms` }),
      make("details", {}, make("summary", { textContent: "Headers" }), make("pre", { textContent: head })),
      ...shown,
    ];
  }
  return box;
}

function valueOf(schema, text) {
  switch (kindOf(schema)) {
    case "integer": return isNaN(text) ? text : Number(text);
    case "boolean": return text === "true";
    case "array": return text.split(",").map((one) => schema.items.type === "integer" ? Number(one) : one.trim()).filter((one) => one !== "");
  }
  return text;
}

async function bodyOf(answer, type) {
  if (type.startsWith("image/")) return [make("img", { src: URL.createObjectURL(await answer.blob()), alt: "The picture that came back" })];
  if (!/json|text|xml|javascript/.test(type)) {
    const blob = await answer.blob();
    return blob.size ? [make("p", {}, make("a", { href: URL.createObjectURL(blob), download: "answer", textContent: `Save ${blob.size} bytes` }))] : [];
  }
  let text = await answer.text();
  if (type.includes("json")) try { text = JSON.stringify(JSON.parse(text), null, 2); } catch { /* shown as it is */ }
  return text ? [make("pre", { textContent: text, tabIndex: 0 })] : [];
}
