// Writes a picture with a palette of few colours, which makes it small: node shrink.mjs FROM TO
// The packages are found through NODE_PATH.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const COLORS = 64;

const upng = createRequire(join(process.env.NODE_PATH, "/"))("upng-js");
const [from, to] = process.argv.slice(2);
const picture = upng.decode(await readFile(from));
const small = upng.encode(upng.toRGBA8(picture), picture.width, picture.height, COLORS);
await mkdir(dirname(to), { recursive: true });
await writeFile(to, Buffer.from(small));
