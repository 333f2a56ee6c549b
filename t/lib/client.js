// A client of sync v3: requests as they are, and sessions that keep their token.
'use strict';

const http = require('node:http');
const assert = require('node:assert/strict');

const path = '/_matrix/client/v3/sync';

/** One request. Gives {status, headers, body, json, took}; `signal` (an AbortSignal) hangs up. */
function request(options) {
  const { port, method = 'POST', path: target = path, headers = {}, body, agent, signal } = options;
  return new Promise((resolve, reject) => {
    const begun = process.hrtime.bigint();
    const sent = http.request({ host: '127.0.0.1', port, method, path: target, headers, agent, signal }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('error', reject);
      response.on('end', () => {
        const whole = Buffer.concat(parts);
        const took = Number(process.hrtime.bigint() - begun) / 1e6;
        resolve({
          status: response.statusCode, headers: response.headers, rawHeaders: response.rawHeaders, body: whole, took,
          get json() { return JSON.parse(whole.toString('utf8')); },
        });
      });
    });
    // A connection that was kept alive may end just when it is used again; every client tries once more.
    sent.on('error', (error) => (error.code === 'ECONNRESET' && sent.reusedSocket ? resolve(request(options)) : reject(error)));
    if (body === undefined) sent.end();
    else sent.end(typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body));
  });
}

/** One session of a device. sync() sends what is given and goes on from `next`; what is not 200 is an error that holds the answer. */
class Session {
  constructor({ port, token, agent = new http.Agent({ keepAlive: true }), at = path }) {
    Object.assign(this, { port, token, agent, at });
    this.next = undefined;
  }

  target({ since = this.next, timeout } = {}) {
    const query = new URLSearchParams();
    if (since !== undefined) query.set('since', since);
    if (timeout !== undefined) query.set('timeout', timeout);
    return [this.at, query.toString()].filter(Boolean).join('?');
  }

  /** The answer whatever it is; `next` stays. */
  ask(body = {}, options = {}) {
    return request({
      port: this.port, agent: this.agent, path: this.target(options), body, signal: options.signal,
      headers: { authorization: `Bearer ${this.token}`, 'content-type': 'application/json', ...options.headers },
    });
  }

  async sync(body = {}, options = {}) {
    const answer = await this.ask(body, options);
    if (answer.status !== 200) throw Object.assign(new Error(`${answer.status}: ${answer.body}`), { answer });
    assert.equal(typeof answer.json.next, 'string', 'next is always there');
    this.next = answer.json.next;
    return answer.json;
  }

  /** Syncs until found(json) is true and gives that answer: what a client does that waits for something. */
  async syncUntil(found, body = {}, limit = 15_000) {
    const deadline = Date.now() + limit;
    for (;;) {
      const json = await this.sync(body, { timeout: 1000 });
      if (found(json)) return json;
      assert.ok(Date.now() < deadline, `waited ${limit / 1000} s in vain for: ${found}`);
    }
  }

  close() {
    this.agent.destroy();
  }
}

/** An agent with one connection, to the given worker: as many tries as it takes. */
async function agentTo(port, worker) {
  for (;;) {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const { body } = await request({ port, method: 'GET', path: '/worker', agent });
    if (Number(body) === worker) return agent;
    agent.destroy();
  }
}

module.exports = { path, request, Session, agentTo };
