// Compares every file of quartapp/static/vendor with the package on npm that it is of: `node tests/node/vendor.mjs`.
// With `--write` it lays the files anew, and their hashes into the manifest. For both it asks npm.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const FOLDER = fileURLToPath(new URL("../../quartapp/static/vendor/", import.meta.url));
const MANIFEST = join(FOLDER, "manifest.json");
const isToWrite = process.argv.includes("--write");

/** The package as npm has it, in a folder; what it brings with it is left out, and nothing of it is run. */
function fetched({ npm, version }, folder) {
  const options = { cwd: folder, encoding: "utf8" };
  const packed = execFileSync("npm", ["pack", "--json", "--ignore-scripts", `${npm}@${version}`], options);
  const [{ filename }] = JSON.parse(packed);
  execFileSync("tar", ["-xzf", filename], options);
  return join(folder, "package");
}

/** Compares or lays the files of one library; gives those that differ. */
function held(library) {
  const folder = mkdtempSync(join(tmpdir(), "vendor-"));
  try {
    const source = fetched(library, folder);
    return library.files.filter((file) => {
      const bytes = readFileSync(join(source, file.from));
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      if (isToWrite) {
        mkdirSync(dirname(join(FOLDER, file.file)), { recursive: true });
        writeFileSync(join(FOLDER, file.file), bytes);
        file.sha256 = sha256;
      }
      return file.sha256 !== sha256 || !readFileSync(join(FOLDER, file.file)).equals(bytes);
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const manifest = JSON.parse(readFileSync(MANIFEST, "utf8"));
const differing = manifest.libraries.flatMap(held);
if (isToWrite) writeFileSync(MANIFEST, `${JSON.stringify(manifest, null, 2)}\n`);
for (const { file } of differing) console.error(`${file} is not what npm has`);
process.exitCode = differing.length ? 1 : 0;
