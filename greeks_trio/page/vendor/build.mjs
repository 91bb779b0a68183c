// Makes the files of this directory from the packages of package-lock.json, and
// manifest.json with their versions, licences and checksums.

import { createHash } from "node:crypto";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { buildSync } from "esbuild";

const HERE = new URL(".", import.meta.url).pathname;
const MODULES = `${HERE}node_modules`;
const MODERN = { target: "es2022", format: "esm", minify: true, legalComments: "none" };

// The file names its source map, which is larger than itself and stays away.
function copyWithoutMap(from, to) {
  const text = readFileSync(`${MODULES}/${from}`, "utf8");
  writeFileSync(HERE + to, text.replace(/\n\/\*# sourceMappingURL=.*\*\/\s*$/, "\n"));
}

// Each entry: a file, the packages in it, and the function that makes it.
const FILES = [
  ["preact.js", ["preact", "@preact/signals", "@preact/signals-core", "htm"], () =>
    buildSync({ ...MODERN, bundle: true, entryPoints: [`${HERE}preact.entry.mjs`], outfile: `${HERE}preact.js` })],
  ["uplot.js", ["uplot"], () =>
    buildSync({ ...MODERN, entryPoints: [`${MODULES}/uplot/dist/uPlot.esm.js`], outfile: `${HERE}uplot.js` })],
  ["uplot.css", ["uplot"], () =>
    copyFileSync(`${MODULES}/uplot/dist/uPlot.min.css`, `${HERE}uplot.css`)],
  ["swagger-ui.js", ["swagger-ui-dist"], () =>
    copyFileSync(`${MODULES}/swagger-ui-dist/swagger-ui-bundle.js`, `${HERE}swagger-ui.js`)],
  ["swagger-ui.css", ["swagger-ui-dist"], () => copyWithoutMap("swagger-ui-dist/swagger-ui.css", "swagger-ui.css")],
  ["inter.woff2", ["@fontsource-variable/inter"], () =>
    copyFileSync(`${MODULES}/@fontsource-variable/inter/files/inter-latin-wght-normal.woff2`, `${HERE}inter.woff2`)],
];

// A notice, and the licences of the packages inside of a bundle.
const FURTHER = { "swagger-ui-dist": ["NOTICE", "swagger-ui-bundle.js.LICENSE.txt"] };

const packages = {};
const files = {};
for (const [name, parts, make] of FILES) {
  make();
  const bytes = readFileSync(HERE + name);
  files[name] = { sha256: createHash("sha256").update(bytes).digest("hex"), bytes: bytes.length, packages: parts };
  for (const part of parts) {
    const { version, license } = JSON.parse(readFileSync(`${MODULES}/${part}/package.json`));
    packages[part] = { version, license };
  }
}
const licences = Object.keys(packages).sort().map((name) => {
  const texts = ["LICENSE", ...(FURTHER[name] ?? [])].map((file) => readFileSync(`${MODULES}/${name}/${file}`, "utf8").trim());
  return `${name} ${packages[name].version} (${packages[name].license})\n\n${texts.join("\n\n")}\n`;
});
writeFileSync(`${HERE}LICENCES.txt`, licences.join(`\n${"-".repeat(72)}\n\n`));
writeFileSync(`${HERE}manifest.json`, JSON.stringify({ packages, files }, null, 2) + "\n");
