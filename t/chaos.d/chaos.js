// The whole of it: two hosts, PostgreSQL and its standby, the homeserver, the clients, and the steps of the schedule among them.
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { Homeserver } = require('../lib/homeserver');
const { Cluster } = require('../lib/cluster');
const { Nginx } = require('../lib/nginx');
const { request, path: sync } = require('../lib/client');
const { until } = require('../lib/tap');
const { Random } = require('../walk.d/random');
const { schedule } = require('./schedule');
const { Outages } = require('./outages');
const { Figures } = require('./figures');
const { Feed } = require('./feed');
const { Client } = require('./client');
const { kinds } = require('./faults');

const host_count = 2, worker_count = 2, device_count = 200;
const most_open_at_once = 20;       // first requests
const probe_every = 100, probe_limit = 3_000, answer_limit = 60_000, heal_limit = 120_000;
const database_connections = 3;
// While it goes on, what is unused is cleared away every 15 s (a sixth of that); afterwards nobody has to wait for it.
const session_expiry = 90, expiry_afterwards = 2;

class Chaos {
  constructor({ seed, seconds, directory }) {
    Object.assign(this, { seed, seconds });
    this.random = new Random(`chances ${seed}`);
    this.steps = schedule(seed, seconds, host_count, worker_count);
    this.homeserver = new Homeserver();
    this.cluster = new Cluster();
    this.outages = new Outages();
    this.figures = new Figures();
    this.failures = [];
    this.queues = new Map();
    this.frozen = new Set();      // workers
    this.file = path.join(directory, `chaos-${seed}.log`);
    fs.mkdirSync(directory, { recursive: true });
    fs.writeFileSync(this.file, `seed ${seed}, ${seconds} s\n`);
  }

  note(text) { fs.appendFileSync(this.file, `${new Date().toISOString()} ${text}\n`); }

  // --- before

  async begin() {
    await this.homeserver.listen();
    await this.cluster.start();
    this.feed = new Feed(this.homeserver, this.random.fork('feed'), device_count);
    this.probe = this.homeserver.device();
    this.hosts = Array.from({ length: host_count }, () => ({ nginx: new Nginx(this.nginxOptions()) }));
    for (const host of this.hosts) {
      await host.nginx.start();
      host.port = host.nginx.port;
    }
    await this.answers();
    this.clients = this.feed.devices.flatMap((device, i) => Array.from({ length: 1 + (i % 2) }, (_, j) => this.client(device, `device ${i}, session ${j + 1}`)));
    await inTurns(this.clients, most_open_at_once, (client) => client.begin());
  }

  nginxOptions(expiry = session_expiry) {
    const url = `http://127.0.0.1:${this.homeserver.port}`;
    return {
      workers: worker_count, connections: 4096,
      http: `matrix_sync_database "${this.cluster.conninfo()}";
    matrix_sync_database_connections ${database_connections};
    matrix_sync_session_expiry ${expiry}s;
    matrix_sync_poll_idle 10s;`,
      server: `location = ${sync} { matrix_sync ${url}; proxy_pass ${url}; add_header X-Worker $pid always; }
        location = /status { matrix_sync_status; }`,
    };
  }

  client(device, name) {
    const random = this.random.fork(name);
    return new Client({ name, device, random, hosts: this.hosts, outages: this.outages, figures: this.figures, failed: (...what) => this.failed(...what) });
  }

  failed(client, error, exchange) {
    this.failures.push(`${client.name}: ${error.message}`);
    this.note(`FAILED ${client.name}: ${error.stack}\n  ${JSON.stringify(exchange)}\n  before: ${JSON.stringify(client.exchanges)}`);
  }

  // --- meanwhile

  async run() {
    const running = this.clients.map((client) => client.run());
    this.feed.start();
    const watching = setInterval(() => this.note(this.feed.state()), 1000);
    const begun = Date.now(), steps = [];
    this.until = begun + this.seconds * 1000;
    for (const step of this.steps) {
      const due = () => Date.now() - begun >= step.at && (!step.calm || this.feed.polled > this.feed.devices.length / 2);
      await until(() => due() || Date.now() > this.until || this.fault, 'the next step', this.seconds * 1000 + answer_limit);
      steps.push(this.act(step));
    }
    await Promise.all(steps);
    this.feed.stop();
    this.note('everything is healed');
    this.database_away = this.outages.share('database', begun, Date.now());
    if (this.fault) throw this.fault;
    await until(() => this.clients.every((client) => client.broken || client.lacks() === ''), 'everybody has everything', heal_limit)
      .catch((error) => { throw new Error(error.message + this.lacking()); });
    this.note('everybody has everything');
    clearInterval(watching);
    for (const client of this.clients) client.stop();
    await Promise.all(running);
    await inTurns(this.clients, most_open_at_once, (client) => client.acknowledge());
  }

  lacking() {
    return this.clients.filter((client) => client.lacks()).map((client) => `\n${client.name}: ${client.lacks()}`).slice(0, 10).join('');
  }

  async act(step) {
    try {
      await kinds[step.kind](this, step);
    } catch (error) {
      this.fault ??= new Error(`${step.kind}: ${error.stack}`);
    }
  }

  /** A step, after those before it that concern the same thing; unless it is too late by then. */
  queued(step, what, run) {
    const turn = (this.queues.get(what) || Promise.resolve()).then(async () => {
      if (Date.now() > this.until) return;
      this.note(`begins ${JSON.stringify(step)}`);
      await run();
      this.note(`is over: ${step.kind} of ${step.at}`);
      this.figures.fault(step.kind);
    });
    this.queues.set(what, turn.catch(() => {}));
    return turn;
  }

  /** Until every worker that could has answered something that needs the database. */
  async answers() {
    const good = new Set();
    const pids = () => this.hosts.filter(({ nginx }) => !nginx.master.over).flatMap(({ nginx }) => nginx.workerPids());
    const missing = () => pids().filter((pid) => !good.has(pid) && !this.frozen.has(pid));
    const asking = setInterval(() => { for (const { port } of this.hosts) this.probed(port, good); }, probe_every);
    await until(() => missing().length === 0, 'every worker answers', answer_limit).finally(() => clearInterval(asking));
  }

  /** Which worker it is that answers is chance. */
  async probed(port, good) {
    const agent = new http.Agent();
    try {
      const headers = { authorization: `Bearer ${this.probe.token}` };
      const { status, headers: { 'x-worker': worker } } = await request({ port, path: sync, body: {}, agent, headers, signal: AbortSignal.timeout(probe_limit) });
      if (status === 200) good.add(Number(worker));
    } catch {
      // Not yet.
    } finally {
      agent.destroy();
    }
  }

  // --- after

  /** What every worker says of itself, on the hosts' status pages. */
  async workers() {
    const pages = await Promise.all(this.hosts.map(({ port }) => request({ port, method: 'GET', path: '/status' })));
    return pages.flatMap(({ json }) => json.workers);
  }

  /** From now on a session that nobody uses is forgotten at once. */
  async expire() {
    for (const { nginx } of this.hosts) {
      nginx.http = this.nginxOptions(expiry_afterwards).http;
      await nginx.replaceWorkers();
    }
    await this.answers();   // a worker begins to clear away when it has been asked for something
  }

  /** Tables that hold anything of users. */
  async filled() {
    const tables = await this.cluster.query(`SELECT table_name FROM information_schema.tables
      WHERE table_schema = 'matrix_sync' AND table_name NOT IN ('schema_version', 'server', 'pruning', 'worker') ORDER BY table_name`);
    const asked = tables.map(([table]) => `SELECT '${table}' WHERE EXISTS (SELECT FROM matrix_sync.${table})`);
    return (await this.cluster.query(asked.join(' UNION ALL '))).map(([table]) => table);
  }

  async end() {
    for (const client of this.clients || []) client.close();
    for (const { nginx } of this.hosts || []) await nginx.stop();
    await this.cluster.end();
  }
}

/** Runs them all, so many at a time. */
async function inTurns(list, most, run) {
  const left = [...list];
  await Promise.all(Array.from({ length: most }, async () => { while (left.length > 0) await run(left.shift()); }));
}

module.exports = { Chaos, host_count, worker_count, database_connections };
