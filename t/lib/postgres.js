// A private PostgreSQL: its own cluster on a unix socket. Root starts it as the user postgres, which initdb insists on.
// With MATRIX_SYNC_PG (the socket directory of a server that trusts its user postgres) files share it and have a database each.
'use strict';

const { spawn, spawnSync, execFileSync } = require('node:child_process');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { dir: home, atExit } = require('./dir');
const { until } = require('./tap');

function binaries() {
  const roots = fs.existsSync('/usr/lib/postgresql') ? fs.readdirSync('/usr/lib/postgresql') : [];
  const newest = roots.sort((a, b) => a - b).pop();
  return newest ? `/usr/lib/postgresql/${newest}/bin` : path.dirname(execFileSync('which', ['initdb'], { encoding: 'utf8' }));
}
const bin = binaries();

const ids = (() => {
  if (process.getuid() !== 0) return {};
  const id = (flag) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
})();

const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PG') && name !== 'LD_PRELOAD'));

function run(program, args, options = {}) {
  const done = spawnSync(path.join(bin, program), args, { encoding: 'utf8', env, maxBuffer: 1 << 30, cwd: '/', ...options });
  if (done.status !== 0) throw new Error(`${program} ${args.join(' ')}: ${done.stderr || done.error}`);
  return done.stdout;
}

class Postgres {
  constructor(shared = process.env.MATRIX_SYNC_PG, name = 'pg') {
    this.shared = Boolean(shared);
    this.socket = shared || path.join(home, name);
    this.log = path.join(this.socket, 'log');
    this.database = `t${process.pid}`;
  }

  async start() {
    if (!this.shared) {
      this.makeDirectory();
      run('initdb', ['-D', `${this.socket}/data`, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'], ids);
      await this.restart();
    }
    this.create(this.database);
  }

  makeDirectory() {
    fs.mkdirSync(this.socket);
    if (ids.uid !== undefined) fs.chownSync(this.socket, ids.uid, ids.gid);
    atExit(() => { if (this.server) this.server.kill('SIGQUIT'); });
  }

  /** Becomes a copy of another server, and streams from it until it is promoted. */
  async follow(primary) {
    if (fs.existsSync(this.socket)) fs.rmSync(`${this.socket}/data`, { recursive: true });
    else this.makeDirectory();
    run('pg_basebackup', ['-d', `host=${primary.socket} user=postgres`, '-D', `${this.socket}/data`, '-R', '-c', 'fast', '-X', 'stream', '--no-sync'], ids);
    await this.restart();
  }

  async promote() {
    this.ownQuery('SELECT pg_promote()');
    await until(() => this.ownQuery('SELECT pg_is_in_recovery()')[0][0] === 'f', 'the standby is the primary');
  }

  /** Of this server, whichever the connection string would choose. */
  ownQuery(sql) {
    return this.ask(sql, `host=${this.socket} dbname=postgres user=postgres`);
  }

  /** The whole server stands still and says nothing, as when the network drops every packet. Gives what thaws it. */
  freeze() {
    const { pid } = this.server;
    const pids = [pid, ...fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)];
    const tell = (signal) => {
      for (const each of pids) {
        try { process.kill(each, signal); } catch (error) { if (error.code !== 'ESRCH') throw error; }
      }
    };
    tell('SIGSTOP');
    return () => tell('SIGCONT');
  }

  create(name) {
    this.query(`CREATE DATABASE ${name}`, 'postgres');
  }

  /** Starts the server that stop() ended; the data is what it was. */
  async restart(settings = []) {
    const options = ['listen_addresses=', `unix_socket_directories=${this.socket}`, 'fsync=off', 'max_connections=100',
      'autovacuum=off', 'log_line_prefix=%m [%p] %d ', ...settings];
    const out = fs.openSync(this.log, 'a');
    this.server = spawn(path.join(bin, 'postgres'), ['-D', `${this.socket}/data`, ...options.flatMap((each) => ['-c', each])],
      { ...ids, env, cwd: '/', stdio: ['ignore', out, out] });
    fs.closeSync(out);
    this.server.ended = new Promise((end) => this.server.once('exit', end));
    await until(() => spawnSync(path.join(bin, 'pg_isready'), ['-q', '-h', this.socket], { env }).status === 0, 'PostgreSQL accepts connections');
  }

  /** SIGINT: connections are cut and everything is written; SIGQUIT: as in a crash; SIGSTOP would freeze it. */
  async stop(signal = 'SIGINT') {
    this.server.kill(signal);
    await this.server.ended;
    this.server = null;
    await until(() => this.refuses(), 'nobody listens any more');
  }

  /** Children that a killed server has only just forked hold its listening socket a moment longer: who connects then is cut off. */
  refuses() {
    return new Promise((tell) => {
      const connection = net.connect(`${this.socket}/.s.PGSQL.5432`, () => {
        connection.destroy();
        tell(false);
      });
      connection.once('error', ({ code }) => tell(['ECONNREFUSED', 'ENOENT'].includes(code)));
    });
  }

  async end() {
    if (this.shared) this.query(`DROP DATABASE ${this.database} WITH (FORCE)`, 'postgres');
    else if (this.server) await this.stop('SIGQUIT');
  }

  conninfo(database = this.database) {
    return `host=${this.socket} dbname=${database} user=postgres`;
  }

  /** Rows as arrays of strings. */
  query(sql, database = this.database) {
    return this.ask(sql, this.conninfo(database));
  }

  ask(sql, conninfo) {
    const text = run('psql', ['-XAtq', '-F', '\x1f', '-R', '\x1e', '-v', 'ON_ERROR_STOP=1', '-d', conninfo, '-c', sql]);
    const body = text.replace(/\n$/, '');
    return body === '' ? [] : body.split('\x1e').map((row) => row.split('\x1f'));
  }

  /** The first column of the first row; a number if it looks like one. */
  value(sql) {
    const [[text] = []] = this.query(sql);
    return text !== undefined && /^-?\d{1,15}$/.test(text) ? Number(text) : text;
  }

  connections() {
    return Number(this.query(`SELECT count(*) FROM pg_stat_activity WHERE datname = '${this.database}' AND pid <> pg_backend_pid()`, 'postgres')[0][0]);
  }

  /** Ends every connection of the module. */
  killConnections() {
    this.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${this.database}' AND pid <> pg_backend_pid()`, 'postgres');
  }

  dump() {
    return run('pg_dump', ['-d', this.conninfo()]);
  }

  logText() {
    return fs.readFileSync(this.log, 'latin1');
  }
}

module.exports = { Postgres, bin, env, ids };
