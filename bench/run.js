'use strict';

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { parseArgs } = require('node:util');
const { test, before, after } = require('../t/lib/tap');
const { Postgres } = require('../t/lib/postgres');
const { Figures, heading, machine, now, treeTime } = require('./figures');

const rows = fs.readdirSync(path.join(__dirname, 'rows')).map((name) => path.basename(name, '.js')).sort();
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'string' }, runs: { type: 'string', default: '3' }, list: { type: 'boolean' } },
});
const unknown = positionals.find((name) => !rows.includes(name));
if (options.list || unknown !== undefined) {
  if (unknown !== undefined) console.error(`There is no row '${unknown}'.`);
  console.log(rows.join('\n'));
  process.exit(unknown === undefined ? 0 : 1);
}

/** Durable, as PostgreSQL is by itself; tests turn that off. */
class Durable extends Postgres {
  restart() { return super.restart(['fsync=on', 'autovacuum=on']); }
}

// One server for all rows; each makes a database.
const server = new Durable(null, 'bench');
server.database = 'bench';
before(async () => {
  await server.start();
  process.env.MATRIX_SYNC_PG = server.socket;
  const settings = server.query("SELECT name, setting FROM pg_settings WHERE name IN ('server_version', 'fsync', 'synchronous_commit', 'autovacuum', 'shared_buffers') ORDER BY name");
  console.log(`PostgreSQL: ${settings.map((each) => each.join(' ')).join(', ')}`);
  console.log(heading());
});
after(() => server.end());

const all = [];
console.log(`${os.cpus().length} CPUs (${os.cpus()[0].model.trim()}), ${new Date().toISOString()}`);
for (const name of positionals.length > 0 ? positionals : rows) {
  test(name, async () => {
    const figures = new Figures(name, Number(options.runs));
    const begun = now();
    const before = { ...machine(), own: treeTime(process.pid) };
    const more = await require(`./rows/${name}`)(figures);
    const after = { ...machine(), own: treeTime(process.pid) };
    const share = (of) => `${((100 * (after[of] - before[of])) / (after.all - before.all)).toFixed(0)} %`;
    const seconds = ((now() - begun) / 1000).toFixed(0);
    console.log(`# ${name}, ${seconds} s: the machine was busy to ${share('busy')}, ${share('own')} by this row${more ? `; ${more}` : ''}`);
    all.push(...figures.all);
    if (options.json) fs.writeFileSync(options.json, `${JSON.stringify(all, null, 1)}\n`);
  }, { limit: 1_800_000 });
}
