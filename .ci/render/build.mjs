// Bundles the page that draws dashboards into a folder: node build.mjs FOLDER
// The packages are found through NODE_PATH, because they are not installed beside this file.

import { cp, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const packages = process.env.NODE_PATH;
const folder = process.argv[2];
const esbuild = createRequire(join(packages, "/"))("esbuild");

await esbuild.build({
    entryPoints: { page: join(here, "src/main.jsx") },
    outdir: folder,
    bundle: true,
    nodePaths: [packages],
    format: "iife",
    jsx: "automatic",
    target: "chrome110",
    define: { "process.env.NODE_ENV": '"production"' },
    // The editor of code is loaded on demand, and nothing here demands it.
    external: ["monaco-editor"],
    logLevel: "error",
});
// Where Grafana's global styles and icons are read from.
const published = join(folder, "public");
await cp(join(packages, "@grafana/ui/dist/public/img/icons"), join(published, "build/img/icons"), { recursive: true });
for (const [file, name] of [
    ["inter/files/inter-latin-400-normal", "inter/Inter-Regular"],
    ["inter/files/inter-latin-500-normal", "inter/Inter-Medium"],
    ["roboto-mono/files/roboto-mono-latin-400-normal", "roboto/L0xTDF4xlVMF-BfR8bXMIhJHg45mwgGEFl0_3vrtSM1J-gEPT5Ese6hmHSh0mQ"],
]) {
    await cp(join(packages, `@fontsource/${file}.woff2`), join(published, `fonts/${name}.woff2`));
}
await writeFile(
    join(folder, "index.html"),
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Dashboard</title><link rel="icon" href="data:,">' +
        '<link rel="stylesheet" href="page.css"><body><div id="root"></div><script src="page.js"></script></body></html>\n',
);
