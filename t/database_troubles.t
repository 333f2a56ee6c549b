#!/usr/bin/env node
// PostgreSQL is there and does not do what it should: it is full, refuses, is slow, or says nothing at all. Nothing is acknowledged to the
// homeserver that is not stored, whoever is not concerned is served, and afterwards everything goes on by itself.
'use strict';

const { spawn } = require('node:child_process');
const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');
const matrix = require('./lib/matrix');

const s = stage({ privatePostgres: true, directives: 'matrix_sync_poll_timeout 2s;' });
const bodies = (json) => (json.to_device ? json.to_device.events.map((event) => event.content.body) : []);
const asks = { to_device: {} };

async function started() {
  const device = s.homeserver.device();
  const session = s.session(device);
  await session.sync(asks);
  await device.stored();
  return { device, session };
}

/** Reads so many messages; 503 with Retry-After is tried again, and counted. */
async function read(session, count, limit = 50_000) {
  const got = [];
  await until(async () => {
    const answer = await session.ask('', { timeout: 500 });
    assert.ok([200, 503].includes(answer.status), `${answer.status}: ${answer.body}`);
    if (answer.status === 503) assert.ok(Number(answer.headers['retry-after']) > 0);
    if (answer.status === 200) {
      session.next = answer.json.next;
      got.push(...bodies(answer.json));
    }
    return got.length >= count;
  }, `${count} messages`, limit);
  return got;
}
const acknowledged = (device) => device.acknowledged === device.answers.length;

/** Every write to these tables fails, or whatever `then` says, until the function that it gives is called. */
function breakWrites(tables, then) {
  s.postgres.query(`CREATE FUNCTION break_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ${then} RETURN NULL; END $$;
    ${tables.map((table) => `CREATE TRIGGER break_it BEFORE INSERT OR UPDATE OR DELETE ON matrix_sync.${table} FOR EACH STATEMENT EXECUTE FUNCTION break_it();`).join('\n')}`);
  return () => s.postgres.query('DROP FUNCTION break_it CASCADE');
}
const everything = ['device', 'to_device', 'log', 'session', 'event'];
const raise = (code) => `RAISE EXCEPTION SQLSTATE '${code}' USING MESSAGE = 'no more of this';`;

for (const [name, code] of [['the disk is full', '53100'], ['read-only', '25006'], ['an internal error', 'XX000']]) {
  test(`${name}: 503 where something is to be written, nothing acknowledged, and the waiting client gets all of it afterwards`, async () => {
    const { device, session } = await started();
    const wait = session.ask('', { timeout: 1500 });
    await s.waiting(1);
    const mend = breakWrites(everything, raise(code));
    let polls;
    try {
      polls = device.polls.length;
      for (const text of ['1', '2']) device.toDevice(matrix.toDevice(text));
      const answer = await s.session(s.homeserver.device()).ask(asks);
      assert.equal(answer.status, 503, String(answer.body));
      assert.equal(answer.json.errcode, 'M_UNKNOWN');
      assert.ok(Number(answer.headers['retry-after']) > 0);
      const waited = await wait;
      assert.ok([200, 503].includes(waited.status));
      if (waited.status === 200) assert.deepEqual(bodies(waited.json), []);
      assert.ok(!acknowledged(device));
      assert.ok(device.polls.length - polls <= 5, `${device.polls.length - polls} polls meanwhile`);
      assert.match(s.nginx.log(), new RegExp(`${code}.*no more of this`), 'the log says what PostgreSQL says');
    } finally {
      mend();
    }
    assert.deepEqual(await read(session, 2), ['1', '2']);
    assert.deepEqual(bodies(await session.sync()), []);
    assert.equal(device.polls.filter((poll) => poll.query.since === undefined).length, 1);
  });
}

test('slow: everything comes, in order', async () => {
  const { device, session } = await started();
  const mend = breakWrites(['to_device'], 'PERFORM pg_sleep(0.3);');
  try {
    const all = Array.from({ length: 5 }, (_, i) => `${i}`);
    for (const text of all) device.toDevice(matrix.toDevice(text));
    assert.deepEqual(await read(session, 5), all);
  } finally {
    mend();
  }
});

test('a device\'s row is locked by somebody: others are served, and it goes on when the lock is gone', async () => {
  const [locked, free] = [await started(), await started()];
  const psql = spawn('psql', ['-X', '-d', s.postgres.conninfo()], { stdio: ['pipe', 'ignore', 'ignore'] });
  try {
    psql.stdin.write(`BEGIN; SELECT id FROM matrix_sync.device WHERE user_id = '${locked.device.user_id}' FOR UPDATE;\n`);
    await until(() => s.postgres.value("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND application_name = 'psql'") === 1);
    for (const each of [locked, free]) each.device.toDevice(matrix.toDevice('1'));
    const begun = Date.now();
    assert.deepEqual(await read(free.session, 1), ['1']);
    assert.ok(Date.now() - begun < 8000, `${Date.now() - begun} ms`);
    await until(() => /55P03/.test(s.nginx.log()), 'lock_timeout ends the wait');
    assert.ok(!acknowledged(locked.device));
  } finally {
    psql.stdin.end('ROLLBACK;\n');
  }
  assert.deepEqual(await read(locked.session, 1), ['1']);
});

test('PostgreSQL says nothing any more: who waits goes on waiting or gets 503, nothing is acknowledged, and it goes on by itself', async () => {
  const { device, session } = await started();
  const other = await started();
  const wait = session.ask('', { timeout: 5000 });
  await s.waiting(1);
  const thaw = s.postgres.freeze();
  try {
    device.toDevice(matrix.toDevice('1'));
    const answers = await Promise.all([wait, other.session.ask({ e2ee: {} }), s.session(s.homeserver.device()).ask(asks)]);
    for (const answer of answers) {
      assert.ok(answer.took < 15_000, `${answer.took} ms`);
      if (answer === answers[0] && answer.status === 200) continue;
      assert.equal(answer.status, 503, String(answer.body));
      assert.ok(Number(answer.headers['retry-after']) > 0);
    }
    assert.ok(!acknowledged(device));
    assert.match(s.nginx.log(), /no answer within 10 s/);
  } finally {
    thaw();
  }
  assert.deepEqual(await read(session, 1), ['1']);
  await read(other.session, 0);
});
