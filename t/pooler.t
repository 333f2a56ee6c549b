#!/usr/bin/env node
// PgBouncer between nginx and PostgreSQL: it cannot LISTEN, so it is refused, and the log says what to do instead.
'use strict';

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { test, assert, until } = require('./lib/tap');
const { dir, atExit } = require('./lib/dir');
const { stage } = require('./lib/stage');
const { ids } = require('./lib/postgres');

const s = stage();

class PgBouncer {
  constructor(mode, settings = '') {
    this.socket = fs.mkdtempSync(path.join(dir, `${mode}-`));
    fs.chmodSync(this.socket, 0o755);
    if (ids.uid !== undefined) fs.chownSync(this.socket, ids.uid, ids.gid);
    fs.writeFileSync(`${this.socket}/users`, '"postgres" ""\n');
    fs.writeFileSync(`${this.socket}/ini`, `[databases]\n* = host=${s.postgres.socket}\n[pgbouncer]\nlisten_addr =\nunix_socket_dir = ${this.socket}
auth_type = trust\nauth_file = ${this.socket}/users\npool_mode = ${mode}\nlogfile = ${this.socket}/log\n${settings}\n`);
  }

  async start() {
    this.process = spawn('/usr/sbin/pgbouncer', [`${this.socket}/ini`], { ...ids, cwd: '/', stdio: 'ignore' });
    atExit(() => this.process.kill('SIGKILL'));
    await until(() => fs.existsSync(`${this.socket}/.s.PGSQL.6432`), 'PgBouncer listens');
  }

  async stop() {
    const ended = new Promise((end) => this.process.once('exit', end));
    this.process.kill('SIGINT');
    await ended;
  }

  conninfo() {
    return s.postgres.conninfo().replace(s.postgres.socket, this.socket) + ' port=6432';
  }
}

/** nginx with this connection string, and what it logs from then on. */
async function connectedBy(conninfo) {
  s.nginx.http = `matrix_sync_database "${conninfo}";`;
  const before = s.nginx.log().length;
  await s.nginx.replaceWorkers();
  return () => s.nginx.log().slice(before);
}

const why = /a connection pooler answers instead of PostgreSQL: matrix_sync_database has to connect to PostgreSQL directly/;
for (const [mode, settings] of [['transaction', ''], ['transaction', 'ignore_startup_parameters = options'], ['session', 'ignore_startup_parameters = options']]) {
  test(`pool_mode ${mode}, ${settings || 'and as it comes'}: 503, the log says why, and with a direct connection all is well`, async () => {
    const device = s.homeserver.device();
    const session = s.session(device);
    await session.sync({ to_device: {} });
    const pooler = new PgBouncer(mode, settings);
    await pooler.start();
    assert.deepEqual(s.postgres.ask('SELECT 1', pooler.conninfo()), [['1']]);
    const logged = await connectedBy(pooler.conninfo());
    const answer = await session.ask();
    assert.equal(answer.status, 503);
    assert.ok(Number(answer.headers['retry-after']) > 0);
    await until(() => why.test(logged()), 'a log line');
    assert.equal(logged().match(new RegExp(why, 'g')).length, 1, 'it is said once');
    await connectedBy(s.postgres.conninfo());
    await session.sync();
    await pooler.stop();
  });
}
