// pgbench, PostgreSQL's own load generator: SELECT of events by primary key.
'use strict';

const { execFile } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { promisify } = require('node:util');
const { dir } = require('../t/lib/dir');
const { bin, env } = require('../t/lib/postgres');

/** Milliseconds for a prepared SELECT of the rows with these keys, on average over some seconds. */
async function selected(postgres, refs, seconds) {
  const file = path.join(dir, 'select.sql');
  fs.writeFileSync(file, `SELECT body FROM matrix_sync.event WHERE ref = ANY ('{${refs}}');\n`);
  const { stdout } = await promisify(execFile)(`${bin}/pgbench`, ['-n', '-M', 'prepared', '-T', String(seconds), '-f', file, postgres.conninfo()], { env });
  return Number(/latency average = ([\d.]+) ms/.exec(stdout)[1]);
}

module.exports = { selected };
