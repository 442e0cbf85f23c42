// Shows the document of /openapi.json, and lets every operation be tried.
"use strict";

const element = (name, attributes = {}, ...children) => {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children.filter((child) => child !== null));
  return made;
};

const resolved = (api, schema) =>
  schema && schema.$ref
    ? schema.$ref.slice(2).split("/").reduce((at, key) => at[key], api)
    : schema || {};

// The type of a field in a few words; of a choice, its parts.
const kind = (api, schema) => {
  if (schema.$ref) return schema.$ref.split("/").pop();
  const choice = schema.oneOf || schema.anyOf;
  if (choice) return choice.map((one) => kind(api, one)).join(" or ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  const type = [].concat(schema.type || "anything").filter((one) => one !== "null").join(" or ");
  return type === "array" ? `list of ${kind(api, schema.items || {})}` : schema.format || type;
};

// A body to begin with: examples where there are some, else something of the type.
const example = (api, given, depth = 0) => {
  const schema = resolved(api, given);
  if (schema.example !== undefined) return schema.example;
  if (schema.examples) return schema.examples[0];
  if (schema.enum) return schema.enum[0];
  const choice = schema.oneOf || schema.anyOf || schema.allOf;
  if (choice) return example(api, choice.find((one) => one.type !== "null") || {}, depth);
  if (schema.properties && depth < 5) {
    const fields = Object.entries(schema.properties);
    return Object.fromEntries(fields.map(([name, of]) => [name, example(api, of, depth + 1)]));
  }
  const type = [].concat(schema.type)[0];
  const least = schema.minimum ?? 0;
  return { array: [], integer: least, number: least, boolean: false, object: {} }[type] ?? "";
};

const fields = (api, given) => {
  const schema = resolved(api, given);
  const rows = Object.entries(schema.properties || {}).map(([name, of]) =>
    element("tr", {},
      element("td", {}, element("code", { textContent: name })),
      element("td", { textContent: kind(api, of) }),
      element("td", { textContent: (schema.required || []).includes(name) ? "needed" : "" }),
      element("td", { textContent: of.description || resolved(api, of).description || "" })));
  return rows.length ? element("table", {}, ...rows) : null;
};

const trial = (api, method, path, operation) => {
  const inputs = (operation.parameters || []).map((parameter) => ({
    parameter,
    input: element("input", { placeholder: parameter.description || "" }),
  }));
  const [type, content] = Object.entries(operation.requestBody?.content || {})[0] || [];
  const isJson = type && type.includes("json");
  const body = !type ? null : isJson
    ? element("textarea", { value: JSON.stringify(example(api, content.schema), null, 2) })
    : element("input", { type: "file" });
  const answer = element("pre", { hidden: true });
  const send = async () => {
    const headers = {};
    const token = document.getElementById("token").value.trim();
    if (token) headers.authorization = `Bearer ${token}`;
    let url = path;
    for (const { parameter, input } of inputs) {
      if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      if (parameter.in === "header" && input.value) headers[parameter.name] = input.value;
    }
    if (type) headers["content-type"] = type;
    answer.hidden = false;
    try {
      const sent = isJson ? body.value : body && body.files[0];
      const response = await fetch(url, { method: method.toUpperCase(), headers, body: sent || undefined });
      const shown = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
      const text = await response.text();
      let pretty = text;
      try { pretty = JSON.stringify(JSON.parse(text), null, 2); } catch { /* it is no JSON */ }
      answer.textContent = `${response.status} ${response.statusText}\n${shown}\n\n${pretty}`;
    } catch (error) {
      answer.textContent = String(error);
    }
  };
  return element("div", {},
    ...inputs.map(({ parameter, input }) =>
      element("p", {}, element("label", {}, element("code", { textContent: parameter.name }), " ", input))),
    body && element("p", {}, body),
    element("p", {}, element("button", { type: "button", textContent: "Send", onclick: send })),
    answer);
};

const shown = (api, method, path, operation) => {
  const words = (operation.summary || "") + (operation.description ? ` ${operation.description}` : "");
  const content = Object.values(operation.requestBody?.content || {})[0];
  const details = element("details", {},
    element("summary", {},
      element("span", { className: "method", textContent: method.toUpperCase() }),
      element("code", { textContent: path }), " ",
      element("span", { className: "about", textContent: operation.security ? "needs a token" : "" })),
    element("p", { textContent: words }),
    content ? fields(api, content.schema) : null);
  // Made when it is first looked at: there are many, and few are tried.
  details.addEventListener("toggle", () => details.append(trial(api, method, path, operation)), { once: true });
  return details;
};

const show = async () => {
  const operations = document.getElementById("operations");
  try {
    const api = await (await fetch("/openapi.json")).json();
    document.getElementById("title").textContent = api.info.title;
    document.getElementById("about").textContent = api.info.description || "";
    const groups = new Map();
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        const tag = (operation.tags || ["others"])[0];
        groups.set(tag, [...(groups.get(tag) || []), shown(api, method, path, operation)]);
      }
    }
    operations.replaceChildren(...[...groups].flatMap(([tag, all]) => [element("h2", { textContent: tag }), ...all]));
  } catch (error) {
    operations.replaceChildren(element("p", { textContent: `/openapi.json could not be shown: ${error}` }));
  }
};

show();
