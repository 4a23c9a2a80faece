// Asks the built documentation's own search, as its page does: node search.js HTML_DIRECTORY QUERY...
// Prints, as JSON, what each query finds: [page, title], the best first.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");

const [directory, ...queries] = process.argv.slice(2);
const context = vm.createContext({
  document: { getElementById: () => null },
  DOCUMENTATION_OPTIONS: {},
  SPHINX_HIGHLIGHT_ENABLED: false,
  _: (text) => text,
  _ready: () => {},
  console,
});
context.window = context;
for (const file of ["_static/language_data.js", "_static/searchtools.js", "searchindex.js"]) {
  vm.runInContext(fs.readFileSync(path.join(directory, file), "utf-8"), context, { filename: file });
}
const ask = (query) => {
  context.query = query;
  const found = vm.runInContext("Search._performSearch(...Search._parseQuery(query))", context);
  return found.reverse().map(([page, title]) => [page, title]);
};
console.log(JSON.stringify(queries.map(ask)));
