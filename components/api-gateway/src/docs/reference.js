// Shows the OpenAPI document of the gateway. All text goes in as text, never as markup.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete", "head", "options"];

function node(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function resolve(api, schema) {
  const name = schema && schema.$ref && schema.$ref.replace("#/components/schemas/", "");
  return name ? { name, schema: api.components.schemas[name] || {} } : { name: null, schema: schema || {} };
}

function typeOf(api, schema) {
  const found = resolve(api, schema);
  if (found.name) return found.name;
  const it = found.schema;
  if (it.type === "array") return typeOf(api, it.items) + "[]";
  if (it.allOf || it.oneOf || it.anyOf) {
    return (it.allOf || it.oneOf || it.anyOf).map((one) => typeOf(api, one)).join(it.allOf ? " & " : " | ");
  }
  if (it.enum) return it.enum.map((value) => JSON.stringify(value)).join(" | ");
  return (it.type || "any") + (it.format ? ` (${it.format})` : "");
}

function members(api, schema) {
  const it = resolve(api, schema).schema;
  const properties = Object.entries(it.properties || {});
  if (properties.length === 0) return null;
  const required = new Set(it.required || []);
  return node("table", null, ...properties.map(([name, property]) => node("tr", null,
    node("td", null, node("code", null, name), required.has(name) ? "" : node("span", { class: "dim" }, " optional")),
    node("td", { class: "dim" }, typeOf(api, property)),
    node("td", null, property.description || resolve(api, property).schema.description || ""))));
}

function content(api, title, holder) {
  const parts = [];
  for (const [type, media] of Object.entries((holder && holder.content) || {})) {
    parts.push(node("p", null, node("strong", null, title), " ", node("span", { class: "dim" }, `${type} · ${typeOf(api, media.schema)}`)));
    const table = media.schema && members(api, media.schema);
    if (table) parts.push(table);
    if (media.example !== undefined) parts.push(node("pre", null, JSON.stringify(media.example, null, 2)));
  }
  return parts;
}

function parameters(api, list) {
  if (!list || list.length === 0) return [];
  return [node("p", null, node("strong", null, "Parameters")), node("table", null, ...list.map((parameter) => node("tr", null,
    node("td", null, node("code", null, parameter.name), parameter.required ? "" : node("span", { class: "dim" }, " optional")),
    node("td", { class: "dim" }, `${parameter.in} · ${typeOf(api, parameter.schema)}`),
    node("td", null, parameter.description || ""))))];
}

function operation(api, path, method, it) {
  const body = node("div", { class: "body" });
  const details = node("details", { class: it.deprecated ? "deprecated" : "", id: it.operationId || "" },
    node("summary", null,
      node("span", { class: `method ${method}` }, method),
      node("span", { class: "path" }, path),
      node("span", { class: "dim" }, it.summary || "")), body);
  details.dataset.words = `${method} ${path} ${it.summary || ""} ${it.description || ""}`.toLowerCase();
  // Filled when it is opened: there are hundreds.
  details.addEventListener("toggle", () => {
    if (!details.open || body.hasChildNodes()) return;
    if (it.description) body.append(node("p", null, it.description));
    if (it.security) body.append(node("p", { class: "dim" }, "Needs a token: Authorization: Bearer … or X-API-Key."));
    body.append(...parameters(api, it.parameters), ...content(api, "Request", it.requestBody));
    for (const [status, response] of Object.entries(it.responses || {})) {
      const title = `${status} ${response.description || ""}`;
      if (status >= "400") body.append(node("p", { class: "dim" }, title));
      else body.append(...(response.content ? content(api, title, response) : [node("p", null, node("strong", null, title))]));
    }
  });
  return details;
}

function show(api) {
  const byTag = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS) {
      if (!item[method]) continue;
      const tag = (item[method].tags || ["other"])[0];
      if (!byTag.has(tag)) byTag.set(tag, []);
      byTag.get(tag).push(operation(api, path, method, item[method]));
    }
  }
  // In the order of the document: signing in first.
  const known = (api.tags || []).map((tag) => tag.name).filter((tag) => byTag.has(tag));
  const tags = [...known, ...[...byTag.keys()].filter((tag) => !known.includes(tag))];
  document.getElementById("version").textContent = api.info.version;
  document.getElementById("introduction").hidden = false;
  document.getElementById("tags").replaceChildren(...tags.map((tag) => node("a", { href: `#area-${tag}` }, tag)));
  document.getElementById("operations").replaceChildren(...tags.map((tag) =>
    node("section", null, node("h2", { id: `area-${tag}` }, tag), ...byTag.get(tag))));
}

function filter(words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  for (const section of document.querySelectorAll("#operations section")) {
    let some = false;
    for (const details of section.querySelectorAll("details")) {
      const fits = wanted.every((word) => details.dataset.words.includes(word));
      details.hidden = !fits;
      some = some || fits;
    }
    section.hidden = !some;
  }
}

document.getElementById("filter").addEventListener("input", (event) => filter(event.target.value));
fetch("/openapi.json")
  .then((answer) => {
    if (!answer.ok) throw new Error(`the gateway answered ${answer.status}`);
    return answer.json();
  })
  .then(show)
  .catch((error) => {
    document.getElementById("operations").replaceChildren(node("p", null, `The document could not be read: ${error.message}`));
  });
