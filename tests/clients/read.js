// Reads a repository with tuf-js; prints what it came to trust as one line of JSON.
//
//   node read.js METADATA_URL TARGETS_URL STATE NAME...     STATE/root.json is what it trusts at first
"use strict";

const { createHash } = require("crypto");
const fs = require("fs");
const path = require("path");
const { Updater } = require("tuf-js");

async function main() {
  const [metadataBaseUrl, targetBaseUrl, metadataDir, ...names] = process.argv.slice(2);
  const targetDir = path.join(metadataDir, "targets");
  fs.mkdirSync(targetDir, { recursive: true });
  const config = { fetchRetry: 0 };
  const updater = new Updater({ metadataDir, metadataBaseUrl, targetDir, targetBaseUrl, config });
  await updater.refresh();
  const targets = {};
  for (const name of names) {
    const info = await updater.getTargetInfo(name);
    if (!info) throw new Error(`no target ${name}`);
    const file = await updater.downloadTarget(info);
    targets[name] = createHash("sha256").update(fs.readFileSync(file)).digest("hex");
  }
  const versions = {};
  for (const role of ["root", "timestamp", "snapshot", "targets"]) {
    const file = path.join(metadataDir, `${role}.json`);
    versions[role] = JSON.parse(fs.readFileSync(file, "utf8")).signed.version;
  }
  console.log(JSON.stringify({ versions, targets }));
}

main().catch((error) => {
  console.error(`${error.name}: ${error.message}`);
  process.exit(1);
});
