// The real Synapse in the place of the scripted homeserver of a stage (lib/stage.js), and accounts on it.
//   const s = stage(); const synapse = realHomeserver(s);
// Programs are unpacked once for all test files (tools/synapse), the data is this file's own.
'use strict';

const { spawn, execFileSync } = require('node:child_process');
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { dir: home, atExit } = require('./dir');
const { freePort } = require('./port');
const { until, after, onFailure } = require('./tap');

const top = path.join(__dirname, '../..');
const programs = process.env.MATRIX_SYNC_SYNAPSE || path.join(top, 'run/synapse');

/** Fetches the programs if they are not there, which takes longer than listen() waits. */
const unpack = () => execFileSync(path.join(top, 'tools/synapse'), ['--unpack', programs], { stdio: 'ignore' });

let transactions = 0;

/** A device of a user; everything it does goes straight to Synapse. */
class Account {
  constructor(synapse, { user_id, device_id, access_token, refresh_token }) {
    Object.assign(this, { synapse, user_id, device_id, refresh_token, tokens: [access_token] });
    synapse.devices.push(this);
  }

  get token() { return this.tokens[this.tokens.length - 1]; }

  call(method, target, body) {
    return this.synapse.call(method, target, { body, token: this.token });
  }

  async createRoom(settings = {}) {
    return (await this.call('POST', '/createRoom', { preset: 'public_chat', ...settings })).room_id;
  }

  join(room) { return this.call('POST', `/join/${encodeURIComponent(room)}`, {}); }

  typing(room, typing = true) {
    return this.call('PUT', `/rooms/${encodeURIComponent(room)}/typing/${encodeURIComponent(this.user_id)}`, typing ? { typing, timeout: 30_000 } : { typing });
  }

  async send(room, type, content) {
    return (await this.call('PUT', `/rooms/${encodeURIComponent(room)}/send/${type}/${++transactions}`, content)).event_id;
  }

  async setState(room, type, content, key = '') {
    return (await this.call('PUT', `/rooms/${encodeURIComponent(room)}/state/${type}/${encodeURIComponent(key)}`, content)).event_id;
  }

  toDevice(type, messages) {
    return this.call('PUT', `/sendToDevice/${type}/${++transactions}`, { messages });
  }

  setAccountData(type, content) {
    return this.call('PUT', `/user/${encodeURIComponent(this.user_id)}/account_data/${type}`, content);
  }

  /** Another device of the same user. */
  login(more = {}) { return this.synapse.login(this.user_id, more); }

  /** A new access token for the device; the old one ends when the new one is used. */
  async refresh() {
    const answer = await this.synapse.call('POST', '/refresh', { body: { refresh_token: this.refresh_token } });
    this.refresh_token = answer.refresh_token;
    this.tokens.push(answer.access_token);
  }
}

class Synapse {
  constructor() {
    this.devices = [];
    this.data = path.join(home, 'synapse');
  }

  async listen() {
    this.port = await freePort();
    fs.mkdirSync(this.data);
    const out = fs.openSync(path.join(this.data, 'output'), 'a');
    this.process = spawn(path.join(top, 'tools/synapse'), [programs, String(this.port)],
      { env: { ...process.env, SYNAPSE_DATA: this.data }, stdio: ['ignore', out, out], detached: true });
    fs.closeSync(out);
    this.process.ended = new Promise((end) => this.process.once('exit', (code) => end((this.process.over = { code }))));
    atExit(() => this.kill('SIGKILL'));
    await until(() => {
      if (this.process.over) throw new Error(`Synapse did not start: ${this.log()}`);
      return fetch(`${this.url}/_matrix/client/versions`).then((answer) => answer.ok, () => false);
    }, 'Synapse answers', 55_000);
    this.first = await this.register('first');
  }

  get url() { return `http://127.0.0.1:${this.port}`; }

  /** For the stage, which asks with some device whether the module answers. */
  device() { return this.first; }

  async call(method, target, { body, token } = {}) {
    const answer = await fetch(`${this.url}/_matrix/client/v3${target}`, {
      method, body: body && JSON.stringify(body), headers: token ? { authorization: `Bearer ${token}` } : {},
    });
    const json = await answer.json();
    assert.ok(answer.ok, `${method} ${target.split('?')[0]}: ${answer.status} ${json.errcode} ${json.error}`);
    return json;
  }

  async register(username) {
    const body = { username, password: `password of ${username}`, auth: { type: 'm.login.dummy' } };
    return new Account(this, await this.call('POST', '/register', { body }));
  }

  async login(user, more = {}) {
    const name = user.replace(/^@|:.*$/g, '');
    const body = { type: 'm.login.password', identifier: { type: 'm.id.user', user }, password: `password of ${name}`, ...more };
    return new Account(this, await this.call('POST', '/login', { body }));
  }

  log() {
    return ['output', 'homeserver.log'].map((name) => path.join(this.data, name)).filter((file) => fs.existsSync(file))
      .map((file) => fs.readFileSync(file, 'utf8').split('\n').slice(-30).join('\n')).join('\n');
  }

  kill(signal) {
    if (!this.process || this.process.over) return;
    try {
      process.kill(-this.process.pid, signal);
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  }

  async stop() {
    this.kill('SIGTERM');
    await this.process?.ended;
  }
}

/** Puts Synapse in the place of the stage's homeserver. */
function realHomeserver(stage) {
  const synapse = new Synapse();
  stage.homeserver = synapse;
  after(() => synapse.stop());
  onFailure(() => `Synapse:\n${synapse.log()}`);
  return synapse;
}

module.exports = { unpack, Synapse, Account, realHomeserver };
