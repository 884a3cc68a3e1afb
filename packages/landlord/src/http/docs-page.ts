/** The API reference: one page without anything from elsewhere, drawn from the OpenAPI document. */
export const DOCS_PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Landlord API</title>
<style>
  :root { color-scheme: light dark; --line: #8884; --soft: #8881; }
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
  h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line) }
  details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: .4rem .8rem }
  summary { cursor: pointer } summary code { font-weight: 600 }
  .method { display: inline-block; width: 4.5rem; font: 600 12px monospace }
  pre { background: var(--soft); padding: .8rem; overflow: auto; border-radius: 6px; font-size: 13px }
  table { border-collapse: collapse } td, th { text-align: left; padding: .2rem .8rem .2rem 0; vertical-align: top }
  .muted { opacity: .7 }
</style>
</head>
<body>
<h1>Landlord API</h1>
<p class="muted" id="about">Loading /v1/openapi.json …</p>
<main id="main"></main>
<script>
const el = (tag, text, ...children) => {
  const node = document.createElement(tag);
  if (text) node.textContent = text;
  node.append(...children);
  return node;
};
const schemaOf = (holder) => Object.values(holder?.content ?? {})[0]?.schema;
let api;
const example = (holder) => {
  const content = Object.values(holder?.content ?? {})[0] ?? {};
  const shown = content.example ?? api.components.examples[Object.values(content.examples ?? {})[0]?.$ref.split("/").pop()]?.value;
  return shown === undefined ? [] : [el("h4", "Example"), el("pre", typeof shown === "string" ? shown : JSON.stringify(shown, null, 2))];
};
const block = (title, schema) => schema ? [el("h4", title), el("pre", JSON.stringify(schema, null, 2))] : [];
fetch("/v1/openapi.json").then((answer) => answer.json()).then((document_) => {
  api = document_;
  document.getElementById("about").textContent = api.info.description + " Version " + api.info.version + ".";
  const resolve = (schema, depth = 0) => {
    if (!schema || typeof schema !== "object" || depth > 6) return schema;
    if (schema.$ref) return resolve(api.components.schemas[schema.$ref.split("/").pop()], depth + 1);
    if (Array.isArray(schema)) return schema.map((item) => resolve(item, depth + 1));
    return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, resolve(value, depth + 1)]));
  };
  const main = document.getElementById("main");
  for (const tag of api.tags) {
    main.append(el("h2", tag.name), el("p", tag.description));
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (!operation.tags?.includes(tag.name)) continue;
        const name = el("span", method.toUpperCase()); name.className = "method";
        const summary = el("summary", "", name, el("code", path), document.createTextNode("  " + (operation.summary ?? "")));
        const rows = (operation.parameters ?? []).map((p) => el("tr", "",
          el("td", "", el("code", p.name)), el("td", p.in + (p.required ? ", required" : "")), el("td", p.description ?? p.schema?.description ?? "")));
        const answers = Object.entries(operation.responses ?? {}).map(([status, response]) =>
          el("details", "", el("summary", status + "  " + (response.description ?? "")),
            ...example(response), ...(response["x-problem-codes"] ? [] : block("Schema", resolve(schemaOf(response))))));
        main.append(el("details", "", summary, el("p", operation.description ?? ""),
          el("p", operation["x-roles"] ? "Roles: " + operation["x-roles"].join(", ") : "Public"), ...example(operation.requestBody),
          ...(rows.length ? [el("h4", "Parameters"), el("table", "", ...rows)] : []),
          ...block("Body", resolve(schemaOf(operation.requestBody))), el("h4", "Answers"), ...answers));
      }
    }
  }
}).catch((error) => { document.getElementById("about").textContent = "Could not load the document: " + error; });
</script>
</body>
</html>
`;
