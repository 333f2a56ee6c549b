// A client: one session of a device. It asks whichever host it likes, loses answers, hangs up, asks twice at once, and keeps a model of what
// it was told, by the tokens that it really used.
'use strict';

const http = require('node:http');
const { request, path } = require('../lib/client');
const { Numbered } = require('./numbered');

const shortest_wait = 2000, longest_wait = 12_000;
const patience = 40_000;      // beyond the wait: a frozen worker answers late
const kept_exchanges = 12;

class Client {
  /** `failed(client, error, exchange)` is told what was not allowed. */
  constructor({ name, device, hosts, random, outages, failed, figures }) {
    Object.assign(this, { name, device, hosts, random, outages, failed, figures });
    this.agents = hosts.map(() => new http.Agent({ keepAlive: true, maxSockets: 2 }));
    this.messages = new Numbered(`${name}: to-device messages`, outages);
    this.events = new Numbered(`${name}: events`, outages);
    this.lists = new Map();
    this.exchanges = [];
    this.listed = random.chance(0.25);
    this.asks = {
      to_device: { limit: random.pick([3, 20, 100]) }, e2ee: {},
      room: { room_id: device.truth.room.id, timeline_limit: 200, required_state: [['m.room.name', '']] },
      ...(this.listed && { room_list: { timeline_limit: 1 } }),
    };
  }

  /** A session that it knows of: one whose first answer is lost would hold messages back until it expires. */
  async begin() {
    while (!this.next && !this.broken) {
      const answer = await this.ask(0);
      if (answer) this.take(answer);
    }
  }

  async run() {
    while (!this.stopped && !this.broken) await this.once();
  }

  async once() {
    const timeout = this.random.between(shortest_wait, longest_wait);
    const first = this.random.chance(0.02) ? this.ask(timeout) : undefined;     // its answer is forgotten
    const answer = await this.ask(timeout, this.random.chance(0.05) ? this.random.between(0, 1500) : undefined);
    const lost = this.random.chance(0.04);
    if (answer && lost) this.figures.lost++;
    if (answer && !lost) this.take(answer);
    await first;
  }

  /** A good answer; nothing when there was none, and that was to be expected. `hangUp`: after so many milliseconds. */
  async ask(timeout, hangUp) {
    const host = this.random.below(this.hosts.length);
    const exchange = { host, since: this.next, from: Date.now(), at: new Date().toISOString() };
    const hung = new AbortController();
    const timers = [setTimeout(() => hung.abort('no answer'), timeout + patience)];
    if (hangUp !== undefined) timers.push(setTimeout(() => hung.abort('cut'), hangUp));
    this.exchanges.push(exchange);
    if (this.exchanges.length > kept_exchanges) this.exchanges.shift();
    this.asking = hung;
    try {
      const answer = await this.send(host, timeout, hung.signal);
      Object.assign(exchange, { to: Date.now(), status: answer.status, worker: answer.headers['x-worker'], body: answer.body.toString().slice(0, 1000) });
      this.figures.requests++;
      if (answer.status === 200) return answer.json;
      await this.refused(answer, exchange);
    } catch (error) {
      Object.assign(exchange, { to: Date.now(), error: `${error.code} ${error.message}` });
      await this.unanswered(error, hung.signal.reason, exchange);
    } finally {
      timers.forEach(clearTimeout);
    }
    return undefined;
  }

  send(host, timeout, signal) {
    const query = new URLSearchParams({ timeout, ...(this.next !== undefined && { since: this.next }) });
    const whole = this.next === undefined || this.random.chance(0.1);
    return request({
      port: this.hosts[host].port, agent: this.agents[host], signal, path: `${path}?${query}`, body: whole ? this.asks : '{}',
      headers: { authorization: `Bearer ${this.device.token}`, 'content-type': 'application/json' },
    });
  }

  /** Hangs up, whatever is under way. */
  cut() {
    this.asking?.abort('cut');
  }

  stop() {
    this.stopped = true;
    this.cut();
  }

  async refused(answer, exchange) {
    const documented = answer.status === 503 && answer.json.errcode === 'M_UNKNOWN' && Number(answer.headers['retry-after']) > 0;
    if (documented && this.outages.between(exchange.from, exchange.to, 'database', 'locks')) {
      this.figures.unavailable++;
      await pause(this.random.between(300, 1000));
      return;
    }
    this.fail(new Error(`answered ${answer.status}: ${answer.body}`), exchange);
    if (answer.status !== 503) this.broken = true;
    await pause(1000);
  }

  async unanswered(error, reason, exchange) {
    if (reason === 'cut') { this.figures.hung_up++; return; }
    const known = ['ECONNREFUSED', 'ECONNRESET', 'EPIPE'].includes(error.code);
    if (known && this.outages.between(exchange.from, exchange.to, `host ${exchange.host}`)) {
      this.figures.disconnected++;
    } else {
      this.fail(reason ? new Error(`${reason} within ${patience / 1000} s beyond the wait`) : error, exchange);
    }
    await pause(this.random.between(50, 300));
  }

  fail(error, exchange) { this.failed(this, error, exchange); }

  take(answer) {
    this.next = answer.next;
    try {
      for (const { content } of answer.to_device?.events || []) this.arrived(this.messages, content);
      for (const word of ['changed', 'left']) for (const user of answer.e2ee?.device_lists?.[word] || []) this.lists.set(user, word);
      if (answer.room) this.takeRoom(answer.room);
      for (const room of answer.room_list?.rooms || []) Object.assign(this, { listedName: room.name, listedEvent: room.timeline.events.at(-1)?.content.number || 0 });
    } catch (error) {
      this.broken = true;
      this.fail(error, this.exchanges.at(-1));
    }
  }

  takeRoom({ initial, timeline, state_after }) {
    if (initial && this.roomName !== undefined) throw new Error('the room began anew');
    if (!initial && timeline?.limited) throw new Error('a gap in the room');
    for (const { content } of timeline?.events || []) if (content.number) this.arrived(this.events, content);
    for (const event of state_after?.events || []) if (event.type === 'm.room.name') this.roomName = event.content.name;
  }

  arrived(numbered, { number, at }) {
    const before = numbered.newest;
    numbered.take(number);
    if (numbered.newest > before) this.figures.delivered(Date.now() - at);
  }

  /** What it still lacks, for a person; empty when it has everything. */
  lacks() {
    const { messages, lists, room } = this.device.truth;
    const missing = [];
    if (!this.messages.complete(messages)) missing.push(`to-device messages: ${this.messages.next - 1} of ${messages}`);
    if (!this.events.complete(room.events)) missing.push(`events: ${this.events.next - 1} of ${room.events}`);
    const wrong = [...lists].filter(([user, word]) => this.lists.get(user) !== word);
    if (wrong.length > 0 || this.lists.size !== lists.size) missing.push(`device lists: ${wrong.length} of ${lists.size}, ${wrong.slice(0, 3)}`);
    if (this.roomName !== room.name) missing.push(`the room's name is ${this.roomName}, not ${room.name}`);
    if (this.listed && (this.listedName !== room.name || this.listedEvent !== room.events)) {
      missing.push(`its list shows ${this.listedName} and event ${this.listedEvent}, not ${room.name} and ${room.events}`);
    }
    return missing.join('; ');
  }

  /** Comes back with the newest token, which says that everything has arrived. */
  async acknowledge() {
    while (!(await this.ask(0))) if (this.broken) return;
  }

  close() { for (const agent of this.agents) agent.destroy(); }
}

const pause = (ms) => new Promise((go) => setTimeout(go, ms));

module.exports = { Client };
