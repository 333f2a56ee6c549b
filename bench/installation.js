// What connected devices are measured on: a homeserver and clients in processes of their own, hosts with the module that share a database, and
// an nginx that only passes polls on, as an anchor.
'use strict';

const path = require('node:path');
const { Postgres } = require('../t/lib/postgres');
const { Nginx } = require('../t/lib/nginx');
const { request, path: at } = require('../t/lib/client');
const { until } = require('../t/lib/tap');
const { Remote } = require('./process');
const { cpuTime, postgresTime, now, sum } = require('./figures');

const workers = 2;                // of each nginx: a worker with 5,000 devices would need more open files than there may be

class Installation {
  constructor(hosts) {
    Object.assign(this, { hosts: Array(hosts).fill(null), postgres: new Postgres() });
  }

  async start() {
    this.homeserver = new Remote(path.join(__dirname, 'homeserver.js'));
    this.clients = new Remote(path.join(__dirname, 'clients.js'));
    this.homeserverPort = await this.homeserver.call('listen');
    await this.postgres.start();
    const upstream = `upstream homeserver { server 127.0.0.1:${this.homeserverPort}; keepalive 8192; }`;
    this.hosts = this.hosts.map(() => this.nginx({
      http: `${upstream} matrix_sync_database "${this.postgres.conninfo()}";`,
      server: `location = ${at} { matrix_sync http://homeserver; } location = /status { matrix_sync_status; }`,
    }));
    this.direct = this.nginx({
      http: upstream,
      server: `location = ${at} { proxy_pass http://homeserver; proxy_http_version 1.1; proxy_set_header Connection ""; }`,
    });
    for (const nginx of [...this.hosts, this.direct]) await nginx.start();
    await until(async () => (await Promise.all(this.hosts.map((host) => sites(host)))).flat().every(({ postgresql }) => postgresql.connected), 'every worker has a database');
  }

  nginx({ http, server }) {
    return new Nginx({ workers, connections: 16_384, level: 'warn', main: 'worker_rlimit_nofile 32768;', http: `access_log off; ${http}`, server });
  }

  /** Clients of the homeserver behind an nginx that passes polls on, or where `ports` say; until all wait for news. */
  async connectDirectly({ size, devices, ports = [this.direct.port] }) {
    await this.clients.call('make', 'direct', { ports, size, devices, classic: true });
    await this.clients.call('begin', 'direct', devices);
    await this.clients.call('listen', 'direct');
    await this.resting('direct', devices);
  }

  /** Clients of the module. */
  async connect({ size, devices }) {
    await this.clients.call('make', 'module', { ports: this.hosts.map(({ port }) => port), size, devices });
    await this.clients.call('begin', 'module', devices);
    await this.clients.call('listen', 'module');
    await this.resting('module', devices);
  }

  resting(name, devices) {
    return until(async () => (await this.homeserver.call('waiting', name)) === devices && (name === 'direct' || (await this.waiting()) === devices), `all of ${name} wait`, 120_000);
  }

  /** How many requests wait for news, on all hosts. */
  async waiting() { return sum((await Promise.all(this.hosts.map((host) => sites(host)))).flat().map(({ waiting }) => waiting)); }

  /** Milliseconds that each of the events took to each of the devices. */
  async delays(name, events) {
    return this.clients.call('heard', name, await this.homeserver.call('send', name, events));
  }

  workerPids() { return this.hosts.flatMap((host) => host.workerPids()); }

  /** CPU time so far, in milliseconds. */
  cpu() {
    return {
      at: now(), workers: cpuTime(...this.workerPids()), direct: cpuTime(...this.direct.workerPids()), homeserver: cpuTime(this.homeserver.pid), clients: cpuTime(this.clients.pid),
      postgres: postgresTime(this.postgres),
    };
  }

  /** What PostgreSQL has written so far: bytes of WAL, and rows. */
  written() {
    const [[wal, rows]] = this.postgres.query(`SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), tup_inserted + tup_updated + tup_deleted
      FROM pg_stat_database WHERE datname = current_database()`);
    return { wal: Number(wal), rows: Number(rows) };
  }

  async point() {
    return { ...this.cpu(), ...this.written(), delivered: await this.homeserver.call('delivered', 'module') };
  }

  async end() {
    await this.clients?.end();
    for (const nginx of [...this.hosts, this.direct]) await nginx?.stop();
    await this.homeserver?.end();
    await this.postgres.end();
  }
}

/** What a host's status page says of its workers' databases. */
async function sites({ port }) {
  const { body } = await request({ port, method: 'GET', path: '/status' });
  const all = JSON.parse(body).workers.flatMap(({ databases = [] }) => databases);
  return all.length === workers ? all : [{ postgresql: {} }];
}

/** What something used between two points. */
const between = (from, to) => Object.fromEntries(Object.keys(to).map((name) => [name, to[name] - from[name]]));

/** Runs with an installation of its own, of so many hosts. */
async function installed(run, hosts = 1) {
  const installation = new Installation(hosts);
  try {
    await installation.start();
    return await run(installation);
  } finally {
    await installation.end();
  }
}

module.exports = { installed, between };
