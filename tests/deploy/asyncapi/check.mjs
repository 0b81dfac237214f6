// Usage: node check.mjs FILE, where node_modules is. Prints what AsyncAPI's own parser says of it, as JSON.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";

const { Parser } = createRequire(join(process.cwd(), "package.json"))("@asyncapi/parser");
const [file] = process.argv.slice(2);
const { document, diagnostics } = await new Parser().parse(await readFile(file, "utf8"), { source: file });
const said = diagnostics.map(({ severity, code, path, message }) => ({ severity, code, path: path.join("."), message }));
const channels = document ? document.channels().all().map((channel) => channel.address()) : null;
console.log(JSON.stringify({ version: document?.version() ?? null, channels, said }));
