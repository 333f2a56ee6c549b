// Debian's own nginx with the module, in the foreground, in a private directory; as root or not.
// SANITIZE=1: the module was built with the sanitizers; their reports count as errors.
'use strict';

const { spawn, spawnSync, execFileSync } = require('node:child_process');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { dir: home, atExit } = require('./dir');
const { freePort } = require('./port');
const { until } = require('./tap');

const binary = process.env.NGINX || '/usr/sbin/nginx';
const so = path.resolve(process.env.MATRIX_SYNC_MODULE || path.join(__dirname, '../../build/ngx_http_matrix_sync_module.so'));
const sanitized = Boolean(process.env.SANITIZE);

function environment(reports) {
  if (!sanitized) return process.env;
  const library = (name) => execFileSync('gcc', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim();
  const suppressions = path.join(reports, 'suppressions');
  // OpenSSL's one-off objects, and nginx's tables of connections and events, which it leaves to the end of the process.
  fs.writeFileSync(suppressions, 'leak:libssl\nleak:libcrypto\nleak:ngx_alloc\n');
  return {
    ...process.env,
    LD_PRELOAD: `${library('libasan.so')}:${library('libubsan.so')}`,
    ASAN_OPTIONS: `log_path=${reports}/report:detect_odr_violation=0`,
    UBSAN_OPTIONS: `log_path=${reports}/report:print_stacktrace=1`,
    LSAN_OPTIONS: `suppressions=${suppressions}:print_suppressions=0`,
  };
}

let count = 0;

class Nginx {
  /** `http` and `server` are configuration text; see config() for the whole. `daemon`: as a service runs, which upgrade() needs. `under`: a
      function of the prefix that gives the command that nginx runs under. */
  constructor({ workers = 1, connections = 1024, http = '', server = '', main = '', level = 'info', daemon = false, under = () => [] } = {}) {
    Object.assign(this, { workers, connections, http, server, main, level, daemon, under });
    this.prefix = path.join(home, `nginx${count++}`);
    this.reports = path.join(this.prefix, 'reports');
    for (const each of [this.prefix, this.reports]) {
      fs.mkdirSync(each);
      fs.chmodSync(each, 0o777);
    }
    this.errorLog = path.join(this.prefix, 'error.log');
    this.killed = [];
  }

  config() {
    const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${this.prefix}/${name};`).join('\n    ');
    const listen = `listen 127.0.0.1:${this.port}${this.workers > 1 ? ' reuseport' : ''};`;
    return `load_module ${so};
daemon ${this.daemon ? 'on' : 'off'};
${sanitized ? 'env LD_PRELOAD; env ASAN_OPTIONS; env UBSAN_OPTIONS; env LSAN_OPTIONS;' : ''}
worker_processes ${this.workers};
pid ${this.prefix}/nginx.pid;
error_log ${this.errorLog} ${this.level};
${this.main}
events { worker_connections ${this.connections}; }
http {
    ${temp}
    access_log ${this.prefix}/access.log;
    ${this.http}
    server {
        ${listen}
        location = /worker { return 200 $pid; }
        ${this.server}
    }
}
`;
  }

  write(config = this.config()) {
    fs.writeFileSync(path.join(this.prefix, 'nginx.conf'), config);
    return ['-p', `${this.prefix}/`, '-c', `${this.prefix}/nginx.conf`, '-e', this.errorLog];
  }

  /** What `nginx -t` says. */
  check(config) {
    const env = environment(this.reports);
    // nginx itself frees nothing when it refuses a configuration.
    if (env.ASAN_OPTIONS) env.ASAN_OPTIONS += ':detect_leaks=0';
    const { status, stderr } = spawnSync(binary, [...this.write(config), '-t'], { encoding: 'utf8', env });
    return { ok: status === 0, said: stderr };
  }

  async start() {
    this.port = this.port || (await freePort());
    const out = fs.openSync(path.join(this.prefix, 'output'), 'a');
    const [command, ...args] = [...this.under(this.prefix), binary, ...this.write()];
    this.master = spawn(command, args, { env: environment(this.reports), stdio: ['ignore', out, out] });
    fs.closeSync(out);
    const { master } = this;
    master.ended = new Promise((end) => master.once('exit', (code, signal) => end((master.over = { code, signal }))));
    if (this.daemon && (await master.ended).code === 0) this.master = adopted(await until(() => this.writtenPid(), 'a PID in the file'));
    atExit(() => { if (!this.master.over) this.pids().forEach((pid) => kill(pid, 'SIGKILL')); });
    await until(async () => {
      if (this.master.over) throw new Error(`nginx did not start: ${this.output()}${this.log()}`);
      return (await this.answers()) && this.workerPids().length >= this.workers;
    }, 'nginx answers', 20_000);
  }

  answers() {
    return new Promise((resolve) => {
      const socket = net.connect(this.port, '127.0.0.1');
      socket.on('error', () => resolve(false));
      socket.on('connect', () => { socket.destroy(); resolve(true); });
    });
  }

  /** Workers that are not on their way out. */
  workerPids() {
    return workersOf(this.master.pid);
  }

  /** The master's, as its file says; 0 when there is none. */
  writtenPid() {
    const file = path.join(this.prefix, 'nginx.pid');
    return fs.existsSync(file) ? Number(fs.readFileSync(file, 'utf8')) : 0;
  }

  pids() {
    return [this.master.pid, ...children(this.master.pid)];
  }

  /** A new configuration, as SIGHUP does it; comes back when the new workers are there. Old ones may still be ending. */
  async reload() {
    const old = new Set(this.workerPids());
    this.write();
    this.master.kill('SIGHUP');
    await until(() => this.workerPids().filter((pid) => !old.has(pid)).length >= this.workers, 'new workers', 20_000);
    return [...old];
  }

  /** A reload after which nobody of the old workers is left, whatever connections they kept. */
  async replaceWorkers(limit = 20_000) {
    const old = await this.reload();
    await until(() => this.pids().every((pid) => !old.includes(pid)), 'the old workers have ended', limit);
  }

  /** A binary upgrade as nginx documents it: USR2 starts the new master, WINCH ends the old one's workers, QUIT the old one. Gives how long
      the old workers took to end, in milliseconds. */
  async upgrade() {
    const old = this.master;
    const workers = this.workerPids();
    old.kill('SIGUSR2');
    const pid = await until(() => {
      const written = this.writtenPid();
      return written !== old.pid && workersOf(written).length >= this.workers && written;
    }, 'workers of the new master', 20_000);
    const begun = Date.now();
    old.kill('SIGWINCH');
    await until(() => workers.every((worker) => !alive(worker)), 'the old workers have ended', 20_000);
    const took = Date.now() - begun;
    old.kill('SIGQUIT');
    await old.ended;
    this.master = adopted(pid);
    return took;
  }

  /** A worker dies without a word; comes back when there is another in its place. */
  async killWorker(pid) {
    this.killed.push(pid);
    kill(pid, 'SIGKILL');
    await until(() => !this.workerPids().includes(pid) && this.workerPids().length >= this.workers, 'another worker', 20_000);
  }

  /** The master dies without a word; gives its workers, which go on without it. start() makes another one, once they have ended. */
  async killMaster() {
    const orphans = children(this.master.pid);
    atExit(() => orphans.forEach((pid) => kill(pid, 'SIGKILL')));
    this.master.kill('SIGKILL');
    await this.master.ended;
    return orphans;
  }

  async quit(limit = 20_000) {
    if (this.master.over) return this.master.over;
    this.master.kill('SIGQUIT');
    await until(() => this.master.over, 'nginx ends gracefully', limit);
    return this.master.over;
  }

  async stop() {
    if (!this.master || this.master.over) return;
    this.master.kill('SIGTERM');
    await this.master.ended;
  }

  log() {
    return fs.existsSync(this.errorLog) ? fs.readFileSync(this.errorLog, 'utf8') : '';
  }

  output() {
    const file = path.join(this.prefix, 'output');
    return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
  }

  sanitizerReports() {
    return fs.readdirSync(this.reports).filter((name) => name !== 'suppressions')
      .map((name) => fs.readFileSync(path.join(this.reports, name), 'utf8')).join('\n');
  }

  /** No alert, no report of a sanitizer, and none of the secrets anywhere. `allowed`: patterns of lines that the test provoked. */
  assertCleanLog({ allowed = [], secrets = [] } = {}) {
    const provoked = [...allowed, ...this.killed.map((pid) => new RegExp(`worker process ${pid} exited on signal 9`))];
    const bad = this.log().split('\n')
      .filter((line) => /\[(alert|emerg|crit)\]|open socket #/.test(line) && !provoked.some((pattern) => pattern.test(line)));
    assert.deepEqual(bad, [], 'the error log holds');
    const said = [this.log(), this.output()].filter((text) => /runtime error:|(Address|Leak|UndefinedBehavior)Sanitizer/.test(text));
    assert.equal(this.sanitizerReports() + said.join(''), '', 'the sanitizers report');
    const access = path.join(this.prefix, 'access.log');
    const everything = this.log() + this.output() + (fs.existsSync(access) ? fs.readFileSync(access, 'utf8') : '');
    assert.equal(secrets.filter((secret) => everything.includes(secret)).length, 0, 'access tokens in the logs');
  }

  /** Resident memory of a process, in bytes. */
  memory(pid) {
    return 1024 * Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);
  }
}

function kill(pid, signal) {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

function children(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** Those under valgrind cannot change their title. */
const workersOf = (master) => children(master).filter((pid) => /nginx: worker process$|^\S*valgrind/.test(title(pid)));

/** A process that this one did not start, as far as it is like one that it did. */
function adopted(pid) {
  return {
    pid,
    kill: (signal) => kill(pid, signal),
    get over() { return alive(pid) ? undefined : { code: 0, signal: null }; },
    get ended() { return until(() => !alive(pid), `process ${pid} ends`, 20_000); },
  };
}

/** Nobody may be there to take notice of an orphan's end. */
function alive(pid) {
  try {
    return !/^State:\s+Z/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

function title(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').replace(/[\0 ]+$/, '');
  } catch {
    return '';
  }
}

module.exports = { Nginx, kill, so };
