// The first poll of an account, members not lazily loaded and lazily loaded, beside COPY of the same rows into the same tables. A new
// database for each run.
'use strict';

const { execFileSync, spawnSync } = require('node:child_process');
const { bin, env } = require('../../t/lib/postgres');
const { took } = require('../figures');
const { staged } = require('../staged');
const { shapes, account, firstPoll } = require('../accounts');

const most = { '500 rooms': { whole: 1000, lazy: 1000 }, '3,000 rooms': { whole: 4000, lazy: 2000 } };

/** Milliseconds until a first page is there, and until everything is; and what COPY takes for the same rows. */
const once = (initial, copies) => staged(async (stage) => {
  const times = await firstPoll(stage, initial);
  return { ...times, copy: copies && (await copy(stage.postgres)) };
}, { directives: 'matrix_sync_first_poll_timeout 50ms;' });

async function copy(postgres) {
  const dump = (...options) => execFileSync(`${bin}/pg_dump`, [...options, '-d', postgres.conninfo()], { env, maxBuffer: 1 << 30 });
  const schema = dump('--schema-only'), data = dump('--data-only');
  postgres.create('copied');
  const run = (input) => {
    const { status, stderr } = spawnSync(`${bin}/psql`, ['-Xq', '-v', 'ON_ERROR_STOP=1', '-d', postgres.conninfo('copied')], { env, input, maxBuffer: 1 << 30 });
    if (status !== 0) throw new Error(String(stderr));
  };
  run(schema);
  const time = await took(() => run(data));
  postgres.query('DROP DATABASE copied', 'postgres');
  return time;
}

module.exports = async function firstPolls(figures) {
  for (const lazy of [false, true]) {
    for (const [name, shape] of Object.entries(shapes)) {
      const { initial } = account(shape, lazy);
      const runs = [];
      for (let run = 0; run < Math.min(figures.runs, 3); run++) runs.push(await once(initial, !lazy));
      const of = (time) => runs.map((times) => times[time]);
      const title = `${name}, ${lazy ? 'lazily loaded' : 'all members'} (${(initial('').length / 1e6).toFixed(0)} MB)`;
      figures.note(`${title}: first page`, 'ms', of('page'), [], lazy ? {} : { most: 1000 });
      if (lazy) figures.note(`${title}: complete`, 'ms', of('complete'), [], { most: most[name].lazy });
      else figures.note(`${title}: complete`, 'ms', of('complete'), of('copy'), { ratio: 2, most: most[name].whole });
    }
  }
};
