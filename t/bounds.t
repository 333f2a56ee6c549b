#!/usr/bin/env node
// What happens at the bounds that docs/directives.md lists and no other file has: access tokens that nobody knows, transactions, and the
// cache.
'use strict';

const { spawn } = require('node:child_process');
const http = require('node:http');
const { test, assert, until } = require('./lib/tap');
const { bin, env } = require('./lib/postgres');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const limit = 256 * 1024;
const s = stage({ connections: 1024, http: `matrix_sync_cache ${limit / 1024}k;`,
  server: (made) => `
        location = /_matrix/client/v3/sync { matrix_sync ${made.url}; }
        location = /small { matrix_sync ${made.url}; matrix_sync_cache 1k; }
        location = /status { matrix_sync_status; }` });
const waitingTransactions = async () => (await s.status()).workers[0].databases[0].postgresql.queued;
const whoami = () => s.homeserver.requests.filter((seen) => seen.route === 'whoami').length;

test('a hundred unknown access tokens are asked about at a time, and those who are known go on', async () => {
  const there = s.session(s.homeserver.device());
  await there.sync({ to_device: {} });
  const before = whoami();
  let release;
  s.homeserver.fail((seen) => seen.route === 'whoami', { hold: new Promise((resolve) => { release = resolve; }) }, 1000);
  const asking = Array.from({ length: 130 }, (_, i) => s.session(s.homeserver.devices[0], { token: `stranger${i}` }).ask({ to_device: {} }));
  const refused = [];
  for (const answer of asking) answer.then((got) => { if (got.status === 429) refused.push(got); });
  await until(() => whoami() === before + 100 && refused.length === 30, 'a hundred are asked about, thirty refused');
  for (const answer of refused) {
    assert.equal(answer.json.errcode, 'M_LIMIT_EXCEEDED');
    assert.ok(answer.json.retry_after_ms > 0);
    assert.ok(Number(answer.headers['retry-after']) > 0);
  }
  await there.sync({ to_device: {} });
  release();
  s.homeserver.heal();
  const statuses = (await Promise.all(asking)).map((answer) => answer.status);
  assert.equal(statuses.filter((status) => status === 401).length, 100);
  assert.equal((await s.session(s.homeserver.device()).ask()).status, 200);
});

const MB = 1024 * 1024;
/** By how much the worker grows meanwhile; the sanitizers keep what is freed. */
async function growth(run) {
  const [worker] = s.nginx.workerPids();
  const before = s.nginx.memory(worker);
  await run();
  return process.env.SANITIZE ? 0 : (s.nginx.memory(worker) - before) / MB;
}

test('of unknown access tokens, however long, 16 MB are remembered', async () => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 50 });
  const strangers = (from, to) => Promise.all(Array.from({ length: to - from }, (_, i) =>
    s.session(s.homeserver.devices[0], { token: `secret_${from + i}_${'x'.repeat(7500)}`, agent }).ask({})));
  await strangers(0, 200);
  const grown = await growth(async () => {
    for (let from = 200; from < 8200; from += 500) {
      for (const { status } of await strangers(from, from + 500)) assert.equal(status, 401);
    }
  });
  agent.destroy();
  assert.ok(grown < 32, `${grown.toFixed(0)} MB for 60 MB of tokens`);
}, { limit: 120_000 });

test('of ever new parameters for the same token a worker remembers some, and PostgreSQL the newest hundred', async () => {
  const session = s.session(s.homeserver.device());
  await session.sync({ to_device: {} });
  const ask = async (from, to) => {
    for (let i = from; i < to; i++) assert.equal((await session.ask({ typing: { room_id: `!${i}${'x'.repeat(50_000)}` } })).status, 200);
  };
  await ask(0, 120);
  const grown = await growth(() => ask(120, 520));
  assert.ok(grown < 10, `${grown.toFixed(0)} MB for 20 MB of parameters`);
  assert.ok(Number(s.postgres.value('SELECT max(n) FROM (SELECT count(*) AS n FROM matrix_sync.filter GROUP BY session) AS f')) <= 102);
});

test('when PostgreSQL does not come to it, transactions wait in order, for ten seconds; whoever asked gets 503 and may ask again', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync({ to_device: {} });
  const lock = spawn(`${bin}/psql`, ['-XAtq', '-d', s.postgres.conninfo()], { env, stdio: ['pipe', 'ignore', 'ignore'] });
  lock.stdin.write('BEGIN; LOCK TABLE matrix_sync.session IN ACCESS EXCLUSIVE MODE;\n');
  await until(() => s.postgres.value("SELECT count(*) FROM pg_locks WHERE relation = 'matrix_sync.session'::regclass AND mode = 'AccessExclusiveLock' AND granted"), 'the lock');
  const asked = Array.from({ length: 100 }, () => s.session(device).ask({ to_device: {} }));
  try {
    await until(async () => (await waitingTransactions()) >= 90, 'transactions wait');
    for (const { status, json, headers, took } of await Promise.all(asked)) {
      assert.deepEqual([status, json.errcode], [503, 'M_UNKNOWN']);
      assert.ok(Number(headers['retry-after']) > 0);
      assert.ok(took < 20_000, `it took ${took} ms`);
    }
    assert.equal(await waitingTransactions(), 0);
  } finally {
    lock.stdin.end('ROLLBACK;\n');
  }
  assert.equal((await s.session(device).ask({ to_device: {} })).status, 200);
  device.toDevice(matrix.toDevice('after it'));
  assert.equal((await session.syncUntil((json) => json.to_device)).to_device.events.length, 1);
});

test('the cache stays within its size, the largest of those that share a database, and answers are what they would be', async () => {
  const device = s.homeserver.device();
  const rooms = Array.from({ length: 60 }, () => matrix.roomId()).sort();
  const text = (id) => `${id} ${'x'.repeat(2000)}`;
  device.initial = matrix.join(Object.fromEntries(rooms.map((id) => [id, matrix.room(device.user_id, [matrix.message(text(id))])])));
  const session = s.session(device);
  const asks = { room_list: { p: { limit: 1000 }, timeline_limit: 1 } };
  const cached = async () => (await s.figure('events_bytes')) + (await s.figure('states_bytes')) + (await s.figure('members_bytes'));
  for (let turn = 0; turn < 2; turn++) {
    const answer = await session.sync(turn ? { room_list: { p: { since: '1' } } } : asks);
    const shown = new Map();
    let page = answer.room_list;
    for (;;) {
      for (const room of page.rooms) shown.set(room.room_id, room.timeline.events[0].content.body);
      if (!page.p.next) break;
      page = (await session.sync({ room_list: { p: { since: page.p.next } } })).room_list;
    }
    assert.deepEqual([...shown.keys()].sort(), rooms);
    for (const [id, body] of shown) assert.equal(body, text(id));
    assert.ok((await cached()) > limit / 4, 'it is used');
    assert.ok((await cached()) <= limit, `${await cached()} bytes`);
  }
  device.push(matrix.join({ [rooms[7]]: matrix.more(matrix.message('new')) }));
  const news = await session.syncUntil((json) => json.room_list);
  assert.deepEqual(news.room_list.rooms.map((room) => [room.room_id, room.timeline.events[0].content.body]), [[rooms[7], 'new']]);
});
