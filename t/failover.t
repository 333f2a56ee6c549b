#!/usr/bin/env node
// A second PostgreSQL takes over (docs/operating.md, "Failover"): one that has everything, one that lacks the last commits, and one whose
// predecessor says nothing any more instead of being gone.
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const { Postgres } = require('./lib/postgres');
const matrix = require('./lib/matrix');

const s = stage({ workers: 2, privatePostgres: true, directives: 'matrix_sync_poll_timeout 2s;' });
const bodies = (json) => (json.to_device ? json.to_device.events.map((event) => event.content.body) : []);
const asks = { to_device: {} };
const initialPolls = (device) => device.polls.filter((poll) => poll.query.since === undefined).length;
const numbers = (from, to) => Array.from({ length: to - from }, (_, i) => `${from + i}`);

let primary, standby;
s.start = async function startBoth() {
  primary = this.postgres;
  standby = new Postgres(null, 'standby');
  const { start } = primary;
  primary.start = async () => {
    await start.call(primary);
    await standby.follow(primary);
  };
  const hosts = `${primary.socket},${standby.socket}`;
  primary.conninfo = (database = primary.database) => `host=${hosts} dbname=${database} user=postgres target_session_attrs=read-write`;
  const [both, ends] = [[primary, standby], primary.end];
  primary.end = async () => { for (const each of both) await ends.call(each); };
  await Object.getPrototypeOf(this).start.call(this);
};

/** The standby is the primary from now on; the old one comes back as its standby. */
async function failBack() {
  [primary, standby] = [standby, primary];
  if (standby.server) await standby.stop('SIGKILL');
  await standby.follow(primary);
}

/** Asks until there is an answer 200, as a client does that meets 502, 503 and broken connections; what else comes is an error. */
async function patient(session, body, options = {}) {
  return until(async () => {
    const answer = await session.ask(body, options);
    assert.ok([200, 502, 503].includes(answer.status), `${answer.status}: ${answer.body}`);
    if (answer.status === 503) assert.ok(Number(answer.headers['retry-after']) > 0);
    if (answer.status === 200) session.next = answer.json.next;
    return answer.status === 200 && answer.json;
  }, 'an answer', 50_000);
}

async function read(session, count, body = '') {
  const got = [];
  while (got.length < count) got.push(...bodies(await patient(session, body, { timeout: 1000 })));
  return got;
}

const inDatabase = (server, sql) => server.ask(sql, `host=${server.socket} dbname=${s.postgres.database} user=postgres`);
const keyOf = (device, server) => Number(inDatabase(server, `SELECT id FROM matrix_sync.device WHERE user_id = '${device.user_id}'`)[0][0]);

test('the primary is killed and the standby promoted, with synchronous replication: nothing is lost, nothing comes twice', async () => {
  primary.ownQuery("ALTER SYSTEM SET synchronous_standby_names = '*'");
  primary.ownQuery('SELECT pg_reload_conf()');
  const device = s.homeserver.device();
  const sessions = [s.session(device), s.session(device)];
  for (const session of sessions) await session.sync(asks);
  const reads = Promise.all(sessions.map((session) => read(session, 60)));
  for (const text of numbers(0, 30)) device.toDevice(matrix.toDevice(text));
  await until(() => device.acknowledged > 5, 'some are acknowledged');
  await primary.stop('SIGKILL');
  for (const text of numbers(30, 60)) device.toDevice(matrix.toDevice(text));
  await standby.promote();
  for (const got of await reads) assert.deepEqual(got, numbers(0, 60));
  assert.equal(initialPolls(device), 1);
  assert.equal(device.overlaps, 0);
  await failBack();
}, { limit: 90_000 });

test('a promotion that loses the last commits: tokens of then count as the last number that is left, and nothing is anybody else\'s', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync({ to_device: {}, account_data: {} });
  device.push({ to_device: { events: [matrix.toDevice('kept')] }, account_data: { events: [{ type: 'a.kept', content: {} }] } });
  await device.stored();
  const before = session.next;
  await until(() => standby.ownQuery('SELECT pg_last_wal_replay_lsn()')[0][0] === primary.ownQuery('SELECT pg_current_wal_flush_lsn()')[0][0], 'the standby has it');

  // From here on the standby hears nothing.
  standby.ownQuery("ALTER SYSTEM SET primary_conninfo = ''");
  standby.ownQuery('SELECT pg_reload_conf()');
  await until(() => primary.ownQuery('SELECT count(*) FROM pg_stat_replication')[0][0] === '0', 'nobody streams');
  assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device)), ['kept']);
  device.push({ to_device: { events: [matrix.toDevice('lost')] }, account_data: { events: [{ type: 'a.lost', content: {} }] } });
  assert.deepEqual(bodies(await session.syncUntil((json) => json.to_device)), ['lost']);
  await device.stored();
  await session.sync();
  // A new owner of the log, and what only the old primary ever knew of: a session, and a device with its messages.
  await s.nginx.replaceWorkers();
  for (const n of [1, 2, 3]) device.push({ to_device: { events: [matrix.toDevice('lost')] }, account_data: { events: [{ type: `a.lost${n}`, content: {} }] } });
  assert.equal((await read(session, 3)).length, 3);
  await session.sync();
  await device.stored();
  const lostSession = s.session(device);
  await lostSession.sync(asks);
  const lostDevice = s.homeserver.device();
  lostDevice.initial = { to_device: { events: [matrix.toDevice('mine')] } };
  const itsSession = s.session(lostDevice);
  await itsSession.sync(asks);
  await lostDevice.stored();
  const number = keyOf(lostDevice, primary);
  const wait = itsSession.ask({}, { timeout: 20_000 });

  await primary.stop('SIGKILL');
  // A stranger gets the number that the lost device had, before that one comes back: PostgreSQL gives it out anew when enough is lost.
  const stranger = s.homeserver.device();
  const workers = s.nginx.workerPids();
  for (const pid of workers) process.kill(pid, 'SIGSTOP');
  await standby.promote();
  inDatabase(standby, `INSERT INTO matrix_sync.device (id, user_id, device_id) OVERRIDING SYSTEM VALUE VALUES (${number}, '${stranger.user_id}', '${stranger.device_id}')`);
  inDatabase(standby, "SELECT setval(pg_get_serial_sequence('matrix_sync.device', 'id'), max(id)) FROM matrix_sync.device");
  for (const pid of workers) process.kill(pid, 'SIGCONT');
  stranger.initial = { to_device: { events: [matrix.toDevice('the stranger\'s')] } };
  assert.deepEqual(await read(s.session(stranger), 1, asks), ['the stranger\'s']);
  assert.equal(keyOf(stranger, standby), number);
  const waited = await wait;
  assert.ok([400, 503].includes(waited.status) && waited.took < 15_000, `${waited.status} after ${waited.took} ms`);

  // Whose session is lost begins anew, and is told so in one word.
  for (const lost of [lostSession, itsSession]) {
    const answer = await until(async () => {
      const got = await lost.ask();
      return got.status !== 503 && got;
    }, 'an answer', 30_000);
    assert.deepEqual([answer.status, answer.json.errcode], [400, 'M_UNKNOWN_SYNC_SESSION'], String(answer.body));
    lost.next = undefined;
  }
  assert.ok(bodies(await patient(lostSession, asks)).every((text) => text === 'kept'));
  assert.deepEqual(await read(itsSession, 1, asks), ['mine'], 'of a device that has to be polled anew');
  // Whose is not goes on from the last number that is left: it misses nothing that comes now.
  device.push({ to_device: { events: [matrix.toDevice('after')] }, account_data: { events: [{ type: 'a.after', content: {} }] } });
  const types = [];
  const got = [];
  while (!types.includes('a.after')) {
    const json = await patient(session, '', { timeout: 1000 });
    got.push(...bodies(json));
    types.push(...(json.account_data ? json.account_data.events.map((event) => event.type) : []));
  }
  assert.ok(got.includes('after'), `${got}`);
  assert.ok(!got.includes('lost'), 'what was acknowledged to the homeserver and lost is gone');
  session.next = before;
  assert.ok(bodies(await patient(session, '')).every((text) => ['kept', 'after'].includes(text)));
  assert.equal(initialPolls(device), 1, 'the homeserver is asked from where the standby stood');
  await failBack();
}, { limit: 90_000 });

test('a primary that says nothing any more: after the time-outs the other host is asked', async () => {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync(asks);
  await device.stored();
  const thaw = primary.freeze();
  try {
    await standby.promote();
    device.toDevice(matrix.toDevice('1'));
    assert.deepEqual(await read(session, 1), ['1']);
    assert.equal(initialPolls(device), 1);
  } finally {
    thaw();
  }
  await primary.stop('SIGKILL');
  [primary, standby] = [standby, primary];
}, { limit: 90_000 });
