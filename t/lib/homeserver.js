// A homeserver that says what a test tells it to. A device has a list of answers: the one behind `since` is given again and again until a
// request with the next `since` acknowledges it, and its to-device messages are gone after that, as on a real homeserver. When there is
// none, /sync waits as long as it was asked to. Every request is recorded, and any of them can be made to fail.
'use strict';

const { execFileSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const path = require('node:path');
const { Readable } = require('node:stream');
const { pipeline } = require('node:stream/promises');
const { dir: home } = require('./dir');
const { freePort } = require('./port');
const { until } = require('./tap');

const server_name = 'hs.test';
const most_merged = 50;

class Device {
  constructor(homeserver, user_id, device_id) {
    Object.assign(this, { homeserver, user_id, device_id });
    this.number = homeserver.devices.push(this);
    this.tokens = [];
    this.answers = [];            // what was pushed; answer i leads from position i to i + 1
    this.acknowledged = 0;
    this.initial = {};            // the answer to a poll without since
    this.merge = null;            // makes one answer of several, as a real homeserver does; else each is given alone
    this.polls = [];              // every GET /sync, as recorded
    this.waiting = new Set();     // polls in flight
    this.overlaps = 0;            // polls that began while another was in flight (rule 1)
    this.newToken();
  }

  get token() { return this.tokens[this.tokens.length - 1]; }

  newToken() {
    const token = `secret_${this.number}_${this.tokens.length}_${Math.random().toString(36).slice(2)}`;
    this.tokens.push(token);
    this.homeserver.tokens.set(token, this);
    return token;
  }

  /** From now on the token is refused, and its polls end with 401. */
  revoke(token, { errcode = 'M_UNKNOWN_TOKEN', error = 'Access token has expired', ...more } = {}) {
    this.homeserver.tokens.delete(token);
    this.homeserver.revoked.set(token, { errcode, error, ...more });
    for (const poll of this.waiting) if (poll.token === token) poll.wake();
  }

  /** The next answer: an object (next_batch is added) or a function of next_batch that gives its text or an async iterable of texts. */
  push(answer) {
    this.answers.push(answer);
    for (const poll of this.waiting) poll.wake();
    return this.batch(this.answers.length);
  }

  toDevice(...events) {
    return this.push({ to_device: { events } });
  }

  /** The classic token of a position. */
  batch(position) { return `s${position}_${this.number}`; }

  position(batch) {
    const found = /^s(\d+)_(\d+)$/.exec(batch);
    return found && Number(found[2]) === this.number && Number(found[1]) <= this.answers.length ? Number(found[1]) : -1;
  }

  /** The newest since that a poll came with. */
  get since() {
    const newest = this.polls[this.polls.length - 1];
    return newest && newest.query.since;
  }

  /** Whether everything pushed has been acknowledged and the next poll waits for more. */
  get quiet() {
    return this.waiting.size > 0 && this.since === this.batch(this.answers.length);
  }

  /** Until everything pushed is stored: acknowledged by the next poll. */
  stored() {
    return until(() => this.quiet, 'everything pushed is acknowledged', 20_000);
  }

  /** What the next polls meet instead of an answer; see Homeserver.fail. */
  failPolls(fault, times) {
    this.homeserver.fail((seen) => seen.device === this && seen.route === 'sync', fault, times);
  }

  failWhoami(fault, times) {
    this.homeserver.fail((seen) => seen.device === this && seen.route === 'whoami', fault, times);
  }
}

class Homeserver {
  constructor() {
    this.devices = [];
    this.tokens = new Map();
    this.revoked = new Map();
    this.requests = [];
    this.faults = [];
    this.rooms = {};              // room_id → {members: [event], state: [event]}
    this.sockets = new Set();
    this.features = { 'org.matrix.msc4222': true };
    this.users = 0;
  }

  /** A device; of a new user unless told. */
  device(user_id = `@u${++this.users}:${server_name}`, device_id = `DEV${this.devices.length}`) {
    return new Device(this, user_id, device_id);
  }

  /** Requests that match get a fault, so many times: {status, body, headers} | {raw} | {cut: bytes} | {reset} | {never} | {hold: promise}. */
  fail(matches, fault, times = 1) {
    this.faults.push({ matches, fault, times });
  }

  heal() { this.faults = []; }

  async listen(where, tls = null) {
    where ??= { host: '127.0.0.1', port: (this.port ??= await freePort()) };
    const server = tls ? https.createServer(tls) : http.createServer();
    server.keepAliveTimeout = 60_000;
    server.on('request', (request, response) => this.serve(request, response).catch((error) => {
      if (!response.destroyed && !response.socket?.destroyed) throw error;
    }));
    server.on('connection', (socket) => {
      this.sockets.add(socket);
      socket.on('close', () => this.sockets.delete(socket));
      socket.on('error', () => {});
    });
    server.listen(where);
    await once(server, 'listening');
    if (where.path) fs.chmodSync(where.path, 0o777);
    this.server = server;
    return server;
  }

  /** The same homeserver with TLS as well; gives {port, certificate}. */
  async listenTls() {
    const [key, certificate] = ['key', 'crt'].map((name) => path.join(home, `homeserver.${name}`));
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2', '-subj', `/CN=${server_name}`,
      '-addext', `subjectAltName=DNS:${server_name},IP:127.0.0.1`, '-keyout', key, '-out', certificate], { stdio: 'ignore' });
    const server = await this.listen({ host: '127.0.0.1', port: 0 }, { key: fs.readFileSync(key), cert: fs.readFileSync(certificate) });
    return { port: server.address().port, certificate };
  }

  /** Refuses connections from now on, and cuts those there are. open() takes the same port again. */
  async refuse() {
    const closed = once(this.server, 'close');
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
    await closed;
  }

  open() { return this.listen(); }

  async serve(request, response) {
    const body = [];
    for await (const part of request) body.push(part);
    const url = new URL(request.url, 'http://homeserver');
    const token = /^Bearer (.*)$/.exec(request.headers.authorization || '')?.[1] ?? null;
    const seen = {
      method: request.method, url: request.url, path: url.pathname, query: Object.fromEntries(url.searchParams), headers: request.headers,
      body: Buffer.concat(body), at: Date.now(), token, device: this.tokens.get(token) || null, tls: Boolean(request.socket.encrypted),
      route: { '/_matrix/client/v3/sync': 'sync', '/_matrix/client/v3/account/whoami': 'whoami' }[url.pathname] || 'other',
      closed: false, wake() {},
    };
    this.requests.push(seen);
    response.on('close', () => { seen.closed = true; seen.wake(); });
    response.on('error', () => {});
    if (seen.route === 'sync' && seen.device) {
      seen.device.polls.push(seen);
      if ([...seen.device.waiting].some((poll) => !poll.closed)) seen.device.overlaps++;
      seen.device.waiting.add(seen);
      response.on('close', () => seen.device.waiting.delete(seen));
    }
    if (seen.route === 'sync' && seen.device) await this.news(seen);
    if (seen.closed) return;
    const fault = this.fault(seen);
    if (fault.never) return;
    if (fault.hold) await fault.hold;
    if (fault.reset) { request.socket.destroy(); return; }
    if (fault.raw !== undefined) { reply(response, fault.status || 200, fault.raw, fault.headers); return; }
    if (fault.status) { reply(response, fault.status, fault.body, fault.headers); return; }
    const [status, answer, headers] = await this.answer(seen);
    if (seen.closed) return;
    if (fault.cut !== undefined) await cut(response, answer, fault.cut);
    else if (answer && answer[Symbol.asyncIterator]) await stream(response, answer);
    else reply(response, status, answer, headers);
  }

  /** The fault that the request meets, if any; a poll meets it when its wait ends. */
  fault(seen) {
    const found = this.faults.find((each) => each.matches(seen));
    if (found && --found.times <= 0) this.faults.splice(this.faults.indexOf(found), 1);
    return found ? found.fault : {};
  }

  /** Waits until there is something for a poll to be told, or its time is up. */
  async news(seen) {
    const { device, query } = seen;
    const limit = Number(query.timeout || 0);
    if (query.since === undefined || device.position(query.since) !== device.answers.length || limit === 0) return;
    device.acknowledged = device.answers.length;
    await new Promise((wake) => {
      const timer = setTimeout(wake, limit);
      seen.wake = () => { clearTimeout(timer); wake(); };
    });
  }

  /** [status, body, headers] as a homeserver in good health gives it. */
  async answer(seen) {
    if (seen.path === '/_matrix/client/versions') return [200, { versions: ['v1.1', 'v1.11'], unstable_features: this.features }];
    if (seen.method === 'OPTIONS') return [204, '', { 'access-control-allow-origin': '*', 'x-from': 'homeserver' }];
    if (this.revoked.has(seen.token)) return [401, this.revoked.get(seen.token)];
    if (!seen.token) return [401, { errcode: 'M_MISSING_TOKEN', error: 'Missing access token' }];
    if (!seen.device) return [401, { errcode: 'M_UNKNOWN_TOKEN', error: 'Unknown token', soft_logout: false }];
    if (seen.route === 'whoami') {
      const { user_id, device_id } = seen.device;
      return [200, { user_id, ...(device_id === null ? {} : { device_id }), is_guest: false }];
    }
    if (seen.route === 'sync') return this.sync(seen);
    const room = /^\/_matrix\/client\/v3\/rooms\/([^/]+)\/(members|state)$/.exec(seen.path);
    if (room) {
      const known = this.rooms[decodeURIComponent(room[1])];
      if (!known) return [403, { errcode: 'M_FORBIDDEN', error: 'You are not in the room' }];
      return [200, room[2] === 'members' ? { chunk: known.members || [] } : known.state || []];
    }
    if (/\/user\/[^/]+\/filter$/.test(seen.path)) return [200, { filter_id: '1' }];
    return [404, { errcode: 'M_UNRECOGNIZED', error: 'Unrecognized request' }];
  }

  sync({ device, query }) {
    if (query.since === undefined) return [200, complete(device, device.initial, 0)];
    const at = device.position(query.since);
    if (at < 0) return [400, { errcode: 'M_UNKNOWN', error: 'Invalid stream token' }];
    device.acknowledged = Math.max(device.acknowledged, at);
    if (at === device.answers.length) return [200, { next_batch: device.batch(at) }];
    if (!device.merge) return [200, complete(device, remaining(device, at), at + 1)];
    const to = Math.min(device.answers.length, at + most_merged);
    const parts = Array.from({ length: to - at }, (_, i) => remaining(device, at + i));
    return [200, complete(device, device.merge(parts), to)];
  }
}

/** An answer, without the to-device messages that were acknowledged before. */
function remaining(device, at) {
  const answer = device.answers[at];
  if (typeof answer === 'function' || device.acknowledged <= at) return answer;
  const { to_device, ...rest } = answer;
  return rest;
}

function complete(device, answer, position) {
  const next_batch = device.batch(position);
  return typeof answer === 'function' ? answer(next_batch) : { next_batch, ...answer };
}

function bytes(body) {
  if (body === undefined) return Buffer.alloc(0);
  return Buffer.isBuffer(body) ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
}

function reply(response, status, body, headers = {}) {
  const whole = bytes(body);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': whole.length, ...headers });
  response.end(whole);
}

/** Says how long the answer is and breaks off after `length` bytes of it. */
async function cut(response, body, length) {
  const whole = bytes(body);
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': whole.length });
  response.flushHeaders();
  if (length > 0) await new Promise((written) => response.write(whole.subarray(0, length), written));
  response.socket.destroySoon();
}

async function stream(response, parts) {
  response.writeHead(200, { 'content-type': 'application/json' });
  await pipeline(Readable.from(parts), response);
}

module.exports = { Homeserver, server_name };
