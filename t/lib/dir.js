// A private directory of this test file; it goes when the process ends, unless KEEP is set.
'use strict';

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'ms-'));
fs.chmodSync(dir, 0o755);

const atExit = [];
process.on('exit', () => {
  for (const run of atExit.reverse()) run();
  if (process.env.KEEP) process.stderr.write(`# kept: ${dir}\n`);
  else fs.rmSync(dir, { recursive: true, force: true });
});

module.exports = { dir, atExit: (run) => atExit.push(run) };
