#!/usr/bin/env node
// Databases that must not be used: another homeserver's (rule 34), one of a newer schema, one that is not UTF-8; and several beside each other.
'use strict';

const { test, assert, until } = require('./lib/tap');
const { stage } = require('./lib/stage');

const name = `t${process.pid}`;
const s = stage({
  serverDirectives: (self) => ['second', 'newer', 'latin'].map((each) => `
        location = /${each} { matrix_sync ${self.url}; matrix_sync_database "${self.postgres.conninfo(`${name}_${each}`)}"; }`).join(''),
});
const { start } = s;
s.start = async function startAll() {
  const create = this.postgres.start.bind(this.postgres);
  this.postgres.start = async () => {
    await create();
    for (const each of ['second', 'newer']) this.postgres.create(`${name}_${each}`);
    this.postgres.query(`CREATE DATABASE ${name}_latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0`, 'postgres');
  };
  await start.call(this);
};

test('rule 34: a user of another homeserver is refused, and the log says what to configure', async () => {
  const stranger = s.homeserver.device('@stranger:other.test');
  const answer = await s.session(stranger).ask();
  assert.equal(answer.status, 403);
  assert.equal(answer.json.errcode, 'M_FORBIDDEN');
  assert.match(s.nginx.log(), /other\.test[^\n]*matrix_sync_database|matrix_sync_database[^\n]*other\.test/);
  assert.equal(s.postgres.value("SELECT count(*) FROM matrix_sync.device WHERE user_id LIKE '%other.test'"), 0);
  assert.equal(stranger.polls.length, 0);
});

test('rule 34: with a database of its own it is served', async () => {
  const stranger = s.homeserver.device('@stranger:other.test:8448');
  await s.session(stranger, { at: '/second' }).sync();
  assert.deepEqual(s.postgres.query('SELECT name FROM matrix_sync.server', `${name}_second`), [['other.test:8448']]);
  assert.deepEqual(s.postgres.query('SELECT name FROM matrix_sync.server'), [['hs.test']]);
});

test('a token of a session in one database is unknown in the other', async () => {
  const device = s.homeserver.device('@both:hs.test');
  const session = s.session(device);
  await session.sync();
  const answer = await s.session(device, { at: '/second' }).ask({}, { since: session.next });
  assert.notEqual(answer.status, 200);
});

test('a database that is not UTF-8 is refused, and the log says so', async () => {
  const answer = await s.session(s.homeserver.device(), { at: '/latin' }).ask();
  assert.equal(answer.status, 503);
  await until(() => /UTF-?8/.test(s.nginx.log()), 'a log line');
  assert.deepEqual(s.postgres.query("SELECT 1 FROM pg_namespace WHERE nspname = 'matrix_sync'", `${name}_latin`), []);
});

test('a schema newer than the module is left alone, and the log says what to do', async () => {
  const session = s.session(s.homeserver.device(), { at: '/newer' });
  await session.sync();
  s.postgres.query('INSERT INTO matrix_sync.schema_version (number) VALUES (999)', `${name}_newer`);
  await s.nginx.replaceWorkers();
  assert.equal((await session.ask()).status, 503);
  await until(() => /schema version 999/.test(s.nginx.log()), 'a log line');
});

test('the schema is made once, whoever comes first', async () => {
  assert.ok(s.postgres.value("SELECT count(*) FROM pg_tables WHERE schemaname = 'matrix_sync'") > 10);
});
