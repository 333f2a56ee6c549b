#!/usr/bin/env node
// "Backup and restore" of docs/operating.md, done as it says.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { spawnSync } = require('node:child_process');
const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const { bin, env } = require('./lib/postgres');
const matrix = require('./lib/matrix');

const s = stage({ privatePostgres: true });
const room = matrix.roomId();
const asks = { room: { room_id: room, timeline_limit: 50 }, to_device: {} };
const said = (json) => (json.room?.timeline.events ?? []).filter(({ type }) => type === 'm.room.message').map(({ content }) => content.body);
const unknown = { status: 400, errcode: 'M_UNKNOWN_SYNC_SESSION' };
const refusal = async (session) => {
  const answer = await session.ask('');
  return { status: answer.status, errcode: answer.json.errcode };
};

function device() {
  const made = s.homeserver.device();
  made.initial = matrix.join({ [room]: matrix.room(made.user_id) });
  return made;
}

const say = (to, text) => to.push(matrix.join({ [room]: matrix.more(matrix.message(text)) }));
const workers = () => s.postgres.value('SELECT count(*) FROM matrix_sync.worker');
const registered = () => until(() => {
  const there = s.postgres.value("SELECT to_regclass('matrix_sync.worker') IS NOT NULL") === 't';
  return there && workers() > 0;
}, 'the worker is registered again');

/** The database as the dump has it; without one, empty. */
function replaceDatabase(dump) {
  s.postgres.query(`DROP DATABASE ${s.postgres.database} WITH (FORCE)`, 'postgres');
  if (dump === undefined) return s.postgres.create(s.postgres.database);
  const made = `${s.postgres.database}_restored`;
  s.postgres.create(made);
  const restored = spawnSync(`${bin}/psql`, ['-Xq', '-v', 'ON_ERROR_STOP=1', '-d', s.postgres.conninfo(made)], { env, input: dump });
  assert.equal(restored.status, 0, String(restored.stderr));
  s.postgres.query(`DELETE FROM matrix_sync.worker`, made);
  s.postgres.query(`ALTER DATABASE ${made} RENAME TO ${s.postgres.database}`, 'postgres');
}

test('the database was restored from a backup: devices go on from where they stood, tokens since then count, later sessions begin anew', async () => {
  const mine = device();
  const session = s.session(mine);
  await session.sync(asks);
  say(mine, 'before');
  assert.deepEqual(said(await session.syncUntil((json) => said(json).length > 0)), ['before']);
  await mine.stored();
  const dump = s.postgres.dump();
  const later = s.session(mine);
  await later.sync(asks);
  say(mine, 'lost');
  mine.toDevice(matrix.toDevice('lost too'));
  assert.deepEqual(said(await session.syncUntil((json) => said(json).length > 0)), ['lost']);
  await mine.stored();

  replaceDatabase(dump);
  await registered();
  say(mine, 'after');
  const heard = [];
  while (!heard.includes('after')) heard.push(...said(await session.syncUntil((json) => said(json).length > 0)));
  assert.deepEqual(heard, ['lost', 'after']);
  assert.deepEqual(await refusal(later), unknown);
  const anew = await s.session(mine).sync(asks);
  assert.deepEqual([said(anew), anew.to_device?.events ?? []], [['before', 'lost', 'after'], []]);
});

const inRoom = (user, room, ...state) => {
  user.initial = matrix.join({ [room]: { state: { events: [matrix.create(), matrix.member(user.user_id), ...state] }, timeline: { events: [], limited: false, prev_batch: 'p' } } });
};

test('the database was restored: a set of state that has the number of a lost one is not taken for it', async () => {
  const dump = s.postgres.dump();
  const newest = () => s.postgres.value('SELECT max(id) FROM matrix_sync.room_state');
  const many = (type, content) => Array.from({ length: 12 }, (_, i) => matrix.state(type, content, { state_key: `${i}` }));
  const [lost, mine, strangers] = [s.homeserver.device(), s.homeserver.device(), s.homeserver.device()];
  const [first, second, third] = [matrix.roomId(), matrix.roomId(), matrix.roomId()];
  const stateOf = async (user, of) => (await s.session(user).sync({ room: { room_id: of } })).room.state_after.events.map(({ type }) => type);
  inRoom(lost, first, ...many('m.lost', {}));
  assert.equal((await stateOf(lost, first)).filter((type) => type === 'm.lost').length, 12);
  const number = newest();
  await lost.stored();

  replaceDatabase(dump);
  await registered();
  inRoom(mine, second, matrix.state('m.room.topic', { topic: 'mine' }));
  await s.session(mine).sync({});
  await mine.stored();
  assert.equal(newest(), number);
  inRoom(strangers, third, ...many('m.secret', { secret: 'not for others' }));
  await s.session(strangers).sync({});
  await strangers.stored();
  assert.deepEqual((await stateOf(mine, second)).sort(), ['m.room.create', 'm.room.member', 'm.room.topic']);
});

test('the database is lost: the module makes its schema in an empty one, and clients begin anew', async () => {
  const mine = device();
  const session = s.session(mine);
  await session.sync(asks);
  replaceDatabase();
  await registered();
  assert.deepEqual(await refusal(session), unknown);
  say(mine, 'new');
  assert.equal((await s.session(mine).sync(asks)).room.initial, true);
});

test('the homeserver was restored from a backup, and nginx was stopped before: all devices are polled from the start, and clients begin anew', async () => {
  const mine = device();
  const session = s.session(mine);
  await session.sync(asks);
  await mine.stored();
  await s.nginx.quit();
  const operating = fs.readFileSync(path.join(__dirname, '../docs/operating.md'), 'utf8').split('**The homeserver was restored')[1];
  s.postgres.query(/^```sql\n([\s\S]*?)^```/m.exec(operating)[1]);
  const polls = mine.polls.length;
  await s.nginx.start();
  assert.deepEqual(await refusal(session), unknown);
  assert.equal((await s.session(mine).sync(asks)).room.initial, true);
  assert.equal(mine.polls[polls].query.since, undefined);
});
