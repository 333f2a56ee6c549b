// What a test file stands on: a scripted homeserver, PostgreSQL, and nginx with the module between them. stage() sets it up before the first
// test and adds two at the end: clean logs, and connections to PostgreSQL as few as after the start.
'use strict';

const { Homeserver } = require('./homeserver');
const { Postgres } = require('./postgres');
const { Nginx } = require('./nginx');
const { Session, agentTo, request, path } = require('./client');
const { before, last, after, onFailure, assert, until } = require('./tap');

const text = (part, stage) => (typeof part === 'function' ? part(stage) : part);

const proxied = (stage) => `
        ${text(stage.serverDirectives, stage)}
        location = ${path} {
            matrix_sync ${stage.url};
            proxy_pass ${stage.url};
            add_header X-Worker $pid always;
            ${stage.locationDirectives}
        }
        location /_matrix { proxy_pass ${stage.url}; }
        location = /status { matrix_sync_status; }`;

class Stage {
  /** Directives are configuration text; `server` replaces what is in the server block: a function of the stage. */
  constructor({ workers = 1, connections, directives = '', http = '', serverDirectives = '', server = proxied, main, privatePostgres = false, allowed = [], level, daemon, under } = {}) {
    Object.assign(this, { workers, allowed, serverDirectives, locationDirectives: directives, httpText: http, serverText: server });
    this.options = { workers, connections, main, level, daemon, under };
    this.homeserver = new Homeserver();
    this.postgres = privatePostgres ? new Postgres(null) : new Postgres();
    this.sessions = [];
    this.exposed = new Set();     // access tokens that a test put where nginx logs them
  }

  get url() { return `http://127.0.0.1:${this.homeserver.port}`; }
  get port() { return this.nginx.port; }

  async start() {
    await this.homeserver.listen();
    await this.postgres.start();
    this.nginx = new Nginx(this.options);
    this.configure();
    await this.nginx.start();
    await this.ready();
    this.connectionsAtStart = this.postgres.connections();
  }

  /** Puts the texts together; for a reload after one of them has changed. */
  configure() {
    this.nginx.http = `matrix_sync_database "${this.postgres.conninfo()}";\n    ${text(this.httpText, this)}`;
    this.nginx.server = text(this.serverText, this);
  }

  /** Until the module answers something that needs the database. */
  async ready() {
    const device = this.homeserver.device();
    await until(async () => (await this.session(device).ask()).status === 200, 'a first answer 200');
  }

  /** A new session of a device, with its newest token unless told. */
  session(device, { token = device.token, agent, port = this.port, at } = {}) {
    const session = new Session({ port, token, agent, at });
    this.sessions.push(session);
    return session;
  }

  /** One on the worker with this pid. */
  async sessionOn(worker, device) {
    return this.session(device, { agent: await agentTo(this.port, worker) });
  }

  request(options) {
    return request({ port: this.port, ...options });
  }

  /** The status page: the worker that answers shows its own figures as of now, those of others as of some time in the last second. */
  async status(agent) {
    const { body } = await this.request({ method: 'GET', path: '/status', agent });
    return JSON.parse(body);
  }

  /** A figure of the status page wherever it stands, added up over all workers, each asked for its own. */
  async figure(name) {
    let sum = 0;
    for (const pid of this.nginx.workerPids()) {
      const agent = this.workers > 1 ? await agentTo(this.port, pid) : undefined;
      const { workers } = await this.status(agent);
      sum += figures(workers.find((worker) => worker.pid === pid), name);
      agent?.destroy();
    }
    return sum;
  }

  /** Until so many v3 requests wait. */
  waiting(count) {
    return until(async () => (await this.figure('waiting')) === count, `${count} waiting requests`);
  }

  secrets() {
    return this.homeserver.devices.flatMap((device) => device.tokens).filter((token) => !this.exposed.has(token));
  }

  async end() {
    for (const session of this.sessions) session.close();
    if (this.nginx) await this.nginx.stop();
    await this.postgres.end();
  }
}

function figures(value, name) {
  if (!value || typeof value !== 'object') return 0;
  return Object.entries(value).reduce((sum, [key, inner]) => sum + (key === name && typeof inner === 'number' ? inner : figures(inner, name)), 0);
}

/** The stage of a test file; `check` false leaves the closing tests out. */
function stage(options) {
  const made = new Stage(options);
  before(() => made.start());
  last('connections to PostgreSQL did not grow', () =>
    until(() => made.postgres.connections() <= Math.max(made.connectionsAtStart, most(made)), 'as few connections as at first'));
  last('nginx ends gracefully, its logs are clean and hold no access token', async () => {
    assert.deepEqual(await made.nginx.quit(), { code: 0, signal: null });
    made.nginx.assertCleanLog({ allowed: made.allowed, secrets: made.secrets() });
  });
  after(() => made.end());
  onFailure(() => (made.nginx ? made.nginx.log().split('\n').filter((line) => !/client closed connection|keepalive connection/.test(line)).slice(-25).join('\n') : ''));
  return made;
}

/** What the workers may hold at most; connections are opened as they are needed. */
function most(made) {
  const given = /matrix_sync_database_connections\s+(\d+)/.exec(made.nginx.config());
  return made.workers * (given ? Number(given[1]) : 3);
}

module.exports = { stage, Stage };
