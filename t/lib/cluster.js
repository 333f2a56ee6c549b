// Two PostgreSQL servers: a primary, and a standby that has every durable commit before the primary says so. Either may be promoted; the
// other one is then made anew from it. Nothing here blocks the event loop: clients and the homeserver live in the same process.
'use strict';

const { execFile } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { promisify } = require('node:util');
const { atExit } = require('./dir');
const { Postgres, bin, env, ids } = require('./postgres');
const { until } = require('./tap');

const run = (program, args, as = {}) => promisify(execFile)(path.join(bin, program), args, { env, cwd: '/', maxBuffer: 1 << 28, ...as });
const settings = ['wal_retrieve_retry_interval=200ms', 'wal_receiver_status_interval=1s', 'max_wal_size=256MB'];

class Cluster {
  constructor() {
    this.primary = new Postgres(null, 'pg_a');
    this.standby = new Postgres(null, 'pg_b');
    this.servers = [this.primary, this.standby];
  }

  get database() { return this.primary.database; }

  async start() {
    atExit(() => this.servers.forEach(({ server }) => server && server.kill('SIGQUIT')));
    await this.primary.start();
    await this.follow();
  }

  /** libpq goes to the one that takes writes. */
  conninfo() {
    return `host=${this.servers.map((server) => server.socket).join(',')} dbname=${this.database} user=postgres target_session_attrs=read-write`;
  }

  /** Rows as arrays of strings, from the primary. */
  async query(sql, server = this.primary, database = this.database) {
    const { stdout } = await run('psql', ['-XAtq', '-F', '\x1f', '-v', 'ON_ERROR_STOP=1', '-d', server.conninfo(database), '-c', sql]);
    return stdout.split('\n').filter(Boolean).map((row) => row.split('\x1f'));
  }

  async value(sql) {
    const [[text] = []] = await this.query(sql);
    return text !== undefined && /^-?\d{1,15}$/.test(text) ? Number(text) : text;
  }

  connections() {
    return this.value(`SELECT count(*) FROM pg_stat_activity WHERE datname = '${this.database}' AND pid <> pg_backend_pid()`);
  }

  killConnections() {
    return this.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${this.database}' AND pid <> pg_backend_pid()`, this.primary, 'postgres');
  }

  /** SIGINT: everything is on disk, and with the standby. SIGQUIT, as in a crash: what was not durable is lost. */
  async restart(signal) {
    await this.primary.stop(signal);
    await this.primary.restart(settings);
  }

  /** The standby takes over from a primary that has ended so. */
  async failOver(signal) {
    await this.primary.stop(signal);
    [this.primary, this.standby] = [this.standby, this.primary];
    await this.synchronous(false);
    await run('pg_ctl', ['promote', '-D', `${this.primary.socket}/data`, '--wait'], ids);
    await until(async () => (await this.query('SELECT pg_is_in_recovery()', this.primary, 'postgres'))[0][0] === 'f', 'the standby is promoted', 30_000);
  }

  /** Makes the standby anew, from the primary; comes back when commits wait for it. */
  async follow() {
    const { standby } = this;
    if (!fs.existsSync(standby.socket)) fs.mkdirSync(standby.socket);
    if (ids.uid !== undefined) fs.chownSync(standby.socket, ids.uid, ids.gid);
    await fs.promises.rm(`${standby.socket}/data`, { recursive: true, force: true });
    await run('pg_basebackup', ['-D', `${standby.socket}/data`, '-h', this.primary.socket, '-U', 'postgres', '-X', 'stream', '-R', '--checkpoint=fast', '--no-sync'], ids);
    await standby.restart(settings);
    await this.replicates("state = 'streaming'");     // else commits would wait for it already
    await this.synchronous(true);
    await this.replicates("sync_state = 'sync'");
  }

  replicates(how) {
    return until(async () => (await this.query(`SELECT 1 FROM pg_stat_replication WHERE ${how}`)).length > 0, `a standby: ${how}`, 60_000);
  }

  async synchronous(on) {
    await this.query(`ALTER SYSTEM SET synchronous_standby_names = '${on ? '*' : ''}'`, this.primary, 'postgres');
    await this.query('SELECT pg_reload_conf()', this.primary, 'postgres');
  }

  async end() {
    for (const server of this.servers) if (server.server) await server.stop('SIGQUIT');
  }
}

module.exports = { Cluster };
