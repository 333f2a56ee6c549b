// The first poll of an account, members not lazily loaded and lazily loaded, beside COPY of the same rows into the same tables. A new
// database for each run.
'use strict';

const { execFileSync, spawnSync } = require('node:child_process');
const { Stage } = require('../../t/lib/stage');
const { bin, env } = require('../../t/lib/postgres');
const matrix = require('../../t/lib/matrix');
const { took, now, pause } = require('../figures');

const user = '@bench:hs.test';
const shapes = [
  { name: '500 rooms x 100 members', rooms: [[500, 100]], whole: 1000, lazy: 1000 },
  { name: '3,000 rooms, one of 20,000 members', rooms: [[1, 20_000], [9, 2000], [90, 200], [2900, 8]], whole: 4000, lazy: 2000 },
];

/** The answer as text: rooms with so many members each; `lazy`: with the user's own member event only. */
function account(shape, lazy) {
  const parts = shape.rooms.flatMap(([rooms, members]) => Array.from({ length: rooms }, () => {
    const part = matrix.room(user, [matrix.message('last')], { unread_notifications: { highlight_count: 0, notification_count: 1 } });
    part.summary = { 'm.heroes': ['@member_0:hs.test', '@member_1:hs.test'], 'm.joined_member_count': members, 'm.invited_member_count': 0 };
    const loaded = lazy ? 0 : members - 1;
    for (let i = 0; i < loaded; i++) {
      part.state.events.push(matrix.member(`@member_${i}:hs.test`, 'join', {
        content: { membership: 'join', displayname: `Member ${i}`, avatar_url: `mxc://hs.test/${'a'.repeat(24)}${i}` }, unsigned: { age: 123_456 },
      }));
    }
    return [matrix.roomId(), part];
  }));
  const text = JSON.stringify(matrix.join(Object.fromEntries(parts)));
  return (next_batch) => `${text.slice(0, -1)},"next_batch":${JSON.stringify(next_batch)}}`;
}

/** Milliseconds until a first page is there, and until everything is; and what COPY takes for the same rows. */
async function firstPoll(initial, copies) {
  const stage = new Stage({ level: 'warn', directives: 'matrix_sync_first_poll_timeout 50ms;' });
  await stage.start();
  try {
    const device = stage.homeserver.device(user);
    device.initial = initial;
    const session = stage.session(device);
    const begun = now();
    const times = {};
    for (let body = { room_list: { p: { limit: 20 } } }; !times.complete; body = { room_list: { p: { since: '1' } } }) {
      const answer = await session.sync(body, { timeout: 0 });
      if (answer.room_list.rooms.length >= 20) times.page ??= now() - begun;
      if (!answer.partial) times.complete = now() - begun;
      else await pause(20);
    }
    if (copies) times.copy = await copy(stage.postgres);
    return times;
  } finally {
    await stage.end();
  }
}

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
    for (const shape of shapes) {
      const initial = account(shape, lazy);
      const runs = [];
      for (let run = 0; run < Math.min(figures.runs, 3); run++) runs.push(await firstPoll(initial, !lazy));
      const of = (name) => runs.map((times) => times[name]);
      const name = `${shape.name}, ${lazy ? 'lazily loaded' : 'all members'} (${(initial('').length / 1e6).toFixed(0)} MB)`;
      figures.note(`${name}: first page`, 'ms', of('page'), [], lazy ? {} : { most: 1000 });
      if (lazy) figures.note(`${name}: complete`, 'ms', of('complete'), [], { most: shape.lazy });
      else figures.note(`${name}: complete`, 'ms', of('complete'), of('copy'), { ratio: 2, most: shape.whole });
    }
  }
};
