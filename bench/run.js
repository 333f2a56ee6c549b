'use strict';

const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { parseArgs } = require('node:util');
const { test, before, after } = require('../t/lib/tap');
const { Postgres } = require('../t/lib/postgres');
const { Figures, heading, machine } = require('./figures');

const rows = fs.readdirSync(path.join(__dirname, 'rows')).map((name) => path.basename(name, '.js')).sort();
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'string' }, runs: { type: 'string', default: '5' }, list: { type: 'boolean' } },
});
const unknown = positionals.find((name) => !rows.includes(name));
if (options.list || unknown !== undefined) {
  if (unknown !== undefined) console.error(`There is no row '${unknown}'.`);
  console.log(rows.join('\n'));
  process.exit(unknown === undefined ? 0 : 1);
}

// One server for all rows; each makes a database.
const server = new Postgres(null, 'bench');
server.database = 'bench';
before(async () => {
  await server.start();
  process.env.MATRIX_SYNC_PG = server.socket;
});
after(() => server.end());

const all = [];
console.log(`${os.cpus().length} CPUs (${os.cpus()[0].model.trim()}), ${new Date().toISOString()}`);
console.log(heading());
for (const name of positionals.length > 0 ? positionals : rows) {
  test(name, async () => {
    const figures = new Figures(name, Number(options.runs));
    const before = machine();
    const own = await require(`./rows/${name}`)(figures);
    const after = machine();
    // What the row started is not told apart from others; a row that measures CPU itself says how much of it was its own.
    console.log(`# ${name}: the machine was busy to ${((100 * (after.busy - before.busy)) / (after.all - before.all)).toFixed(0)} %${own ? `; ${own}` : ''}`);
    all.push(...figures.all);
    if (options.json) fs.writeFileSync(options.json, `${JSON.stringify(all, null, 1)}\n`);
  }, { limit: 1_800_000 });
}
